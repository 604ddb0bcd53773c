//! `service.environment_files`: variables from files, in the form that systemd's `EnvironmentFile=` has.
//!
//! ```text
//! # comment                ; comment
//! NAME=plain words         trailing blanks go; a backslash takes the next character as it is
//! NAME="quoted \"words\""  several lines possible; \" \\ \` \$ are escapes, a backslash before a newline joins lines
//! NAME='as it is'          no escapes at all
//! ```
//!
//! Nothing is expanded. Unlike there, a line that cannot be read refuses the start and is named: half a configuration
//! is worse than none.

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// Largest file taken, bytes.
pub const SIZE_LIMIT: u64 = 1 << 20;

/// Why the variables of a file cannot be had.
#[derive(Debug)]
pub struct EnvironmentError {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1; `None` when the file could not be read at all.
    pub line: Option<u32>,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.why),
            None => write!(f, "{}: {}", self.path.display(), self.why),
        }
    }
}

impl std::error::Error for EnvironmentError {}

/// Reads the files in order; of variables named twice the last counts (the caller applies them in order). `true`
/// beside a path: the file may be missing.
///
/// # Errors
/// The first file that cannot be read or understood.
pub fn load(files: &[(PathBuf, bool)]) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut variables = Vec::new();
    for (path, optional) in files {
        match read(path) {
            Ok(None) if *optional => {}
            Ok(None) => return Err(EnvironmentError { path: path.clone(), line: None, why: "does not exist".into() }),
            Ok(Some(text)) => variables.extend(parse(&text).map_err(|(line, why)| EnvironmentError {
                path: path.clone(),
                line: Some(line),
                why,
            })?),
            Err(e) => return Err(EnvironmentError { path: path.clone(), line: None, why: e.to_string() }),
        }
    }
    Ok(variables)
}

/// The text of a file, `None` when it does not exist.
fn read(path: &Path) -> io::Result<Option<String>> {
    // Not blocking on a FIFO, not acquiring a terminal: what else it may be is looked at afterwards.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        other => other?,
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(io::Error::other("is larger than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        io::Error::other(format!("is not UTF-8 at byte {at}"))
    })?;
    Ok(Some(text))
}

/// Reads the variables of a text, in order.
///
/// # Errors
/// Line (from 1) and reason of the first thing that cannot be understood.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, (u32, String)> {
    let mut scanner = Scanner { rest: text.chars().peekable(), line: 1 };
    let mut variables = Vec::new();
    loop {
        scanner.skip_blanks();
        match scanner.rest.peek() {
            None => return Ok(variables),
            Some('\n') => _ = scanner.next(),
            Some('#' | ';') => while scanner.next().is_some_and(|c| c != '\n') {},
            Some(_) => {
                let line = scanner.line;
                let name = scanner.name().map_err(|why| (line, why))?;
                let value = scanner.value().map_err(|why| (line, format!("value of {name}: {why}")))?;
                if value.contains('\0') {
                    return Err((line, format!("value of {name}: a NUL character cannot stand in the environment")));
                }
                variables.push((name, value));
            }
        }
    }
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    line: u32,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.line += u32::from(c == '\n');
        Some(c)
    }

    fn skip_blanks(&mut self) {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\r')).is_some() {}
    }

    /// Up to and with the `=`.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        loop {
            match self.rest.peek() {
                None | Some('\n') => return Err("no `=` in this line".to_owned()),
                Some('=') => break,
                Some(_) => name.extend(self.next()),
            }
        }
        self.next();
        let name = name.trim_end();
        let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if valid {
            return Ok(name.to_owned());
        }
        let hint = if name.starts_with("export ") { "; leave `export` out, this is no shell" } else { "" };
        // The text is not shown: a line that went astray may be a piece of a secret.
        Err(format!("what stands before `=` is not a name of a variable{hint}"))
    }

    /// Up to the end of the line that ends the value.
    fn value(&mut self) -> Result<String, String> {
        let mut value = String::new();
        loop {
            self.skip_blanks();
            match self.next() {
                None | Some('\n') => return Ok(value),
                Some('\'') => self.single_quoted(&mut value)?,
                Some('"') => self.double_quoted(&mut value)?,
                Some(first) => {
                    self.plain(first, &mut value);
                    return Ok(value);
                }
            }
        }
    }

    /// The rest of the line without trailing blanks; quotes inside are ordinary characters.
    fn plain(&mut self, first: char, value: &mut String) {
        let (mut next, mut kept) = (Some(first), value.len());
        while let Some(c) = next {
            match c {
                '\n' => break,
                '\\' => {
                    // At the end of the line it joins the next one.
                    value.extend(self.next().filter(|c| *c != '\n'));
                    kept = value.len();
                }
                c => {
                    value.push(c);
                    if !matches!(c, ' ' | '\t' | '\r') {
                        kept = value.len();
                    }
                }
            }
            next = self.next();
        }
        value.truncate(kept);
    }

    fn single_quoted(&mut self, value: &mut String) -> Result<(), String> {
        loop {
            match self.next() {
                None => return Err("the single quote is never closed".into()),
                Some('\'') => return Ok(()),
                Some(c) => value.push(c),
            }
        }
    }

    fn double_quoted(&mut self, value: &mut String) -> Result<(), String> {
        loop {
            match self.next() {
                None => return Err("the double quote is never closed".into()),
                Some('"') => return Ok(()),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                    Some('\n') => {}
                    Some(c) => value.extend(['\\', c]),
                    None => {}
                },
                Some(c) => value.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    #[test]
    fn values_read_as_systemd_reads_them() {
        for (line, value) in [
            ("A=b", "b"),
            ("A=", ""),
            ("  A = b c  \t", "b c"),
            ("A=b # not a comment", "b # not a comment"),
            (r#"A="b c""#, "b c"),
            (r#"A="b \"c\" \\ \$x \n""#, r#"b "c" \ $x \n"#),
            (r"A='b \c'", r"b \c"),
            (r#"A='b'"c"d"#, "bcd"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=\"one \\\nline\"", "one line"),
            ("A=one \\\nline", "one line"),
            (r"A=b\ ", "b "),
            (r"A=C:\\dir", r"C:\dir"),
            (r#"A=it's "so""#, r#"it's "so""#),
            ("A=$HOME", "$HOME"),
            ("A=b\r", "b"),
            ("A=b=c", "b=c"),
        ] {
            assert_eq!(parsed(line), [("A".to_owned(), value.to_owned())], "{line}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_passed_over() {
        let text = "# c\\\n;d\n\n \t\nA=1\n  # x\nB=2";
        assert_eq!(parsed(text), [("A".into(), "1".into()), ("B".into(), "2".into())]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (text, line, word) in [
            ("A=1\nB", 2, "no `=`"),
            ("\nexport A=1", 2, "leave `export` out"),
            ("1A=x", 1, "is not a name"),
            ("=x", 1, "is not a name"),
            ("A=1\nB=\"x\ny\n", 2, "never closed"),
            ("A='", 1, "never closed"),
            ("A=\0", 1, "NUL"),
            ("Ä=1", 1, "is not a name"),
        ] {
            let (at, why) = parse(text).unwrap_err();
            assert_eq!(at, line, "{text:?}");
            assert!(why.contains(word), "{text:?}: {why}");
        }
    }

    #[test]
    fn files_may_be_optional_but_not_odd() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a"), "A=1\nB=1\n").unwrap();
        std::fs::write(path("b"), "B=2\n").unwrap();
        let both = load(&[(path("a"), false), (path("none"), true), (path("b"), false)]).unwrap();
        assert_eq!(both.len(), 3);
        assert_eq!(both[2], ("B".into(), "2".into()));
        assert!(load(&[(path("none"), false)]).unwrap_err().to_string().contains("none: does not exist"));
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(load(&[(path("fifo"), true)]).unwrap_err().to_string().contains("not a regular file"));
        assert!(load(&[(directory.path().into(), true)]).unwrap_err().to_string().contains("not a regular file"));
        std::fs::write(path("latin"), b"A=\xe4\n").unwrap();
        assert!(load(&[(path("latin"), false)]).unwrap_err().to_string().contains("UTF-8 at byte 2"));
        std::fs::write(path("big"), vec![b'\n'; SIZE_LIMIT as usize + 1]).unwrap();
        assert!(load(&[(path("big"), false)]).unwrap_err().to_string().contains("larger than 1 MiB"));
        std::fs::write(path("bad"), "A=1\nsecret words\n").unwrap();
        assert!(load(&[(path("bad"), false)]).unwrap_err().to_string().contains("bad:2: no `=`"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "[A-B=\"' \\\\\n#;\\t\u{0}-\u{ff}]{0,60}") {
            if let Ok(variables) = parse(&text) {
                prop_assert!(variables.iter().all(|(n, v)| !n.is_empty() && !v.contains('\0')));
            }
        }

        #[test]
        fn a_single_quoted_value_survives_as_it_is(value in "[^'\u{0}]{0,40}") {
            prop_assert_eq!(parsed(&format!("A='{value}'\n")), [("A".to_owned(), value)]);
        }
    }
}
