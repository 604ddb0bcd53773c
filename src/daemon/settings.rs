//! The daemon's own settings, `/etc/rsvc/rsvc.toml`; all are optional and so is the file.
//!
//! ```toml
//! [daemon]
//! cgroup_root   = "/system.slice/rsvc-payload.service"  # where the services' group is to be; default: below the daemon's
//! control_group = "rsvc"       # members may start and stop units
//! status        = "everyone"   # who may look: "everyone", "group" or "root"
//! log_level     = "info"       # or "rsvc::daemon=debug,warn"
//! strict_host   = false        # refuse to start what would run degraded
//! [logs]
//! directory     = "/var/log/rsvc"
//! max_total     = "1G"         # of all log files; the oldest rotated ones go first
//! ```
//!
//! Read by its own small decoder, because a mistake here must be found like one in a unit: all at once, each with its
//! place, and nothing unknown is passed over.

use super::log_layer;
use crate::unit::value::byte_size;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest file taken, bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// Who may ask for the status of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The words of the file.
pub enum StatusAccess {
    Everyone,
    Group,
    Root,
}

/// All settings, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// `daemon.cgroup_root`: absolute path below the mount of the hierarchy.
    pub cgroup_root: Option<PathBuf>,
    /// `daemon.control_group`: name of a group of the host, which need not exist.
    pub control_group: String,
    /// `daemon.status`
    pub status: StatusAccess,
    /// `daemon.log_level`, as [`log_layer::parse_filter`] takes it.
    pub log_level: String,
    /// `daemon.strict_host`: what would run degraded is refused.
    pub strict_host: bool,
    /// `logs.directory`
    pub log_directory: Option<PathBuf>,
    /// `logs.max_total`, bytes; `None` is infinity.
    pub log_max_total: Option<u64>,
}

impl Default for DaemonSettings {
    fn default() -> DaemonSettings {
        DaemonSettings {
            cgroup_root: None,
            control_group: "rsvc".into(),
            status: StatusAccess::Everyone,
            log_level: "info".into(),
            strict_host: false,
            log_directory: None,
            log_max_total: Some(1 << 30),
        }
    }
}

/// One mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// The file.
    pub path: PathBuf,
    /// Line and column from 1; `None` for the file as a whole.
    pub place: Option<(u32, u32)>,
    /// What is wrong and what is right.
    pub message: String,
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.path.display(), self.message),
            None => write!(f, "{}: {}", self.path.display(), self.message),
        }
    }
}

/// Reads the settings; a missing file means the defaults.
///
/// # Errors
/// Every mistake of the file, in its order. A file that others than root or the daemon's user may write is refused.
pub fn read(path: &Path) -> Result<DaemonSettings, Vec<SettingsProblem>> {
    match read_text(path) {
        Ok(Some(text)) => parse(&text, path),
        Ok(None) => Ok(DaemonSettings::default()),
        Err(e) => Err(vec![SettingsProblem { path: path.into(), place: None, message: e.to_string() }]),
    }
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let stat = rustix::fs::fstat(&file)?;
    let refused = |why: String| Err(io::Error::other(why));
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return refused("is not a regular file".into());
    }
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return refused(format!("belongs to uid {}, who could change what the daemon does", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return refused(format!("mode {:04o} lets others change what the daemon does", stat.st_mode & 0o7777));
    }
    let mut bytes = Vec::new();
    File::from(file).take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return refused("is larger than 1 MiB".into());
    }
    String::from_utf8(bytes)
        .map(Some)
        .or_else(|e| refused(format!("is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))
}

/// Reads the text of a settings file.
///
/// # Errors
/// Every mistake, in the order of the file.
pub fn parse(text: &str, path: &Path) -> Result<DaemonSettings, Vec<SettingsProblem>> {
    let mut decoder = Decoder { settings: DaemonSettings::default(), problems: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        decoder.problems.push((error.span().map_or(0, |span| span.start), error.message().to_owned()));
    }
    for (table, content) in document.get_ref() {
        decoder.table(table, content);
    }
    let Decoder { settings, mut problems } = decoder;
    if problems.is_empty() {
        return Ok(settings);
    }
    problems.sort();
    let problem = |(at, message)| SettingsProblem { path: path.into(), place: Some(place(text, at)), message };
    Err(problems.into_iter().map(problem).collect())
}

/// Line and column, in characters, of a byte.
fn place(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

const TABLES: [&str; 2] = ["daemon", "logs"];
const DAEMON_KEYS: [&str; 5] = ["cgroup_root", "control_group", "status", "log_level", "strict_host"];
const LOGS_KEYS: [&str; 2] = ["directory", "max_total"];

struct Decoder {
    settings: DaemonSettings,
    /// Byte in the file, message.
    problems: Vec<(usize, String)>,
}

impl Decoder {
    fn table(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, content: &Spanned<DeValue<'_>>) {
        let at = name.span().start;
        let name: &str = name.get_ref();
        if name.starts_with("x-") {
            return;
        }
        if name == "defaults" {
            let message = "[defaults] is not supported yet: write the values into the units";
            return self.problems.push((at, message.into()));
        }
        let Some(keys) = (match name {
            "daemon" => Some(DAEMON_KEYS.as_slice()),
            "logs" => Some(LOGS_KEYS.as_slice()),
            _ => None,
        }) else {
            let hint = suggestion(name, &TABLES);
            return self.problems.push((at, format!("unknown table [{name}]{hint}; tables are [daemon] and [logs]")));
        };
        let DeValue::Table(table) = content.get_ref() else {
            return self.problems.push((at, format!("[{name}] is a table, not {}", kind(content.get_ref()))));
        };
        for (key, value) in table {
            let known: &str = key.get_ref();
            if !keys.contains(&known) {
                let message = format!("unknown key `{known}` in [{name}]{}", suggestion(known, keys));
                self.problems.push((key.span().start, message));
            } else if let Err(why) = self.set(name, known, value.get_ref()) {
                self.problems.push((value.span().start, format!("{name}.{known}: {why}")));
            }
        }
    }

    fn set(&mut self, table: &str, key: &str, value: &DeValue<'_>) -> Result<(), String> {
        let settings = &mut self.settings;
        match (table, key) {
            ("daemon", "cgroup_root") => settings.cgroup_root = Some(absolute(value)?),
            ("daemon", "control_group") => settings.control_group = group_name(value)?,
            ("daemon", "status") => {
                settings.status = match text(value)? {
                    "everyone" => StatusAccess::Everyone,
                    "group" => StatusAccess::Group,
                    "root" => StatusAccess::Root,
                    other => return Err(format!("`{other}` is none of \"everyone\", \"group\" and \"root\"")),
                };
            }
            ("daemon", "log_level") => {
                log_layer::parse_filter(text(value)?)?;
                settings.log_level = text(value)?.to_owned();
            }
            ("daemon", "strict_host") => {
                settings.strict_host =
                    value.as_bool().ok_or_else(|| format!("expected true or false, not {}", kind(value)))?;
            }
            ("logs", "directory") => settings.log_directory = Some(absolute(value)?),
            ("logs", "max_total") => settings.log_max_total = size(value)?,
            // `table` has checked the name against the same words.
            _ => return Err("unknown key".into()),
        }
        Ok(())
    }
}

fn suggestion(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|k| (strsim::damerau_levenshtein(word, k), k)).min();
    match nearest {
        Some((distance, k)) if distance <= (word.len() / 3).max(1) => format!(", did you mean `{k}`?"),
        _ => String::new(),
    }
}

/// What was written instead, with its article.
fn kind(value: &DeValue<'_>) -> String {
    let word = value.type_str();
    format!("{} {word}", if word.starts_with(['a', 'i']) { "an" } else { "a" })
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("expected a string, not {}", kind(value)))
}

fn absolute(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = Path::new(text(value)?);
    let parent = path.components().any(|c| c == std::path::Component::ParentDir);
    if !path.is_absolute() || parent || path == Path::new("/") {
        return Err(format!("`{}` is not an absolute path without `..` below /", path.display()));
    }
    Ok(path.to_owned())
}

fn group_name(value: &DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let good = name.bytes().all(plain) && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    good.then(|| name.to_owned()).ok_or_else(|| format!("`{name}` is not the name of a group"))
}

/// As sizes of units: `"512M"`, or bytes as a number, or `"infinity"`.
fn size(value: &DeValue<'_>) -> Result<Option<u64>, String> {
    let wrong = || "expected a size such as \"512M\", or \"infinity\"".to_owned();
    let bytes = match value {
        DeValue::Integer(_) => value.as_integer().and_then(|i| i.as_str().parse().ok()).ok_or_else(wrong)?,
        _ => byte_size(text(value).map_err(|_| wrong())?).map_err(|bad| bad.message)?,
    };
    match bytes {
        0 => Err("no log file fits into a size of 0".to_owned()),
        u64::MAX => Ok(None),
        bytes => Ok(Some(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text, Path::new("rsvc.toml")).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_or_missing_file_means_the_defaults() {
        assert_eq!(parse("", Path::new("x")).unwrap(), DaemonSettings::default());
        assert_eq!(read(Path::new("/nonexistent/rsvc.toml")).unwrap(), DaemonSettings::default());
    }

    #[test]
    fn every_key_is_read() {
        let text = "[daemon]\ncgroup_root = \"/a.slice\"\ncontrol_group = \"ops\"\nstatus = \"root\"\n\
            log_level = \"rsvc::daemon=debug,warn\"\nstrict_host = true\n\
            [logs]\ndirectory = \"/srv/log\"\nmax_total = \"512M\"\n[x-mine]\nany = 1\n";
        let expected = DaemonSettings {
            cgroup_root: Some("/a.slice".into()),
            control_group: "ops".into(),
            status: StatusAccess::Root,
            log_level: "rsvc::daemon=debug,warn".into(),
            strict_host: true,
            log_directory: Some("/srv/log".into()),
            log_max_total: Some(512 << 20),
        };
        assert_eq!(parse(text, Path::new("x")).unwrap(), expected);
        let total = |text: &str| parse(&format!("[logs]\nmax_total = {text}"), Path::new("x")).unwrap().log_max_total;
        assert_eq!((total("\"infinity\""), total("4096")), (None, Some(4096)));
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_their_places() {
        let found = problems(
            "[daemon]\nstatus = \"everybody\"\nlog_levle = \"info\"\nstrict_host = 1\n[log]\n[defaults]\n\
             [logs]\ndirectory = \"log\"\nmax_total = \"5X\"\n",
        );
        let expected = [
            "rsvc.toml:2:10: daemon.status: `everybody` is none of",
            "rsvc.toml:3:1: unknown key `log_levle` in [daemon], did you mean `log_level`?",
            "rsvc.toml:4:15: daemon.strict_host: expected true or false, not an integer",
            "rsvc.toml:5:2: unknown table [log], did you mean `logs`?",
            "rsvc.toml:6:2: [defaults] is not supported yet",
            "rsvc.toml:8:13: logs.directory: `log` is not an absolute path",
            "rsvc.toml:9:13: logs.max_total: `5X` is not a size",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    }

    #[test]
    fn values_that_would_do_harm_are_refused() {
        for (text, word) in [
            ("[daemon]\ncgroup_root = \"/\"", "absolute path"),
            ("[daemon]\ncgroup_root = \"\"", "absolute path"),
            ("[daemon]\ncgroup_root = \"/a/../b\"", "absolute path"),
            ("[daemon]\ncontrol_group = \"\"", "name of a group"),
            ("[daemon]\ncontrol_group = \"0\"", "name of a group"),
            ("[daemon]\nlog_level = \"loud\"", "not a log level"),
            ("[logs]\nmax_total = 0", "a size of 0"),
            ("[logs]\nmax_total = -1", "expected a size"),
            ("[logs]\nmax_total = \"99999999T\"", "size"),
            ("daemon = 1", "is a table"),
            ("[daemon\n", ""),
        ] {
            let found = problems(text);
            assert!(found[0].contains(word), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rsvc.toml");
        std::fs::write(&path, "[daemon]\nstrict_host = true\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap().strict_host);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read(&path).unwrap_err()[0].to_string().contains("mode 0666"));
        assert!(read(directory.path()).unwrap_err()[0].to_string().contains("not a regular file"));
    }
}
