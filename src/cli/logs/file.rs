//! The daemon's log files of one unit: `NAME.log` and its predecessors `NAME.log.1`, `NAME.log.2`, older with each
//! number. Every line begins with its time, 27 bytes of RFC 3339, and a blank.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of the time before each line.
const TIME: usize = 27;

/// Bytes looked at in one step from the end of a file.
const BLOCK: u64 = 64 * 1024;

/// Longest line held in memory; the rest of a longer one comes as lines of its own.
const LINE: u64 = 1 << 20;

/// The files of one unit, and how far they were read.
#[derive(Debug)]
pub struct LogFiles {
    path: PathBuf,
    /// The newest file and what of it was shown.
    open: Option<BufReader<File>>,
    /// The beginning of a line whose end was not written yet.
    partial: Vec<u8>,
}

/// Takes a line without its end.
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

impl LogFiles {
    /// Of the newest file's path.
    pub fn new(path: PathBuf) -> LogFiles {
        LogFiles { path, open: None, partial: Vec::new() }
    }

    /// Path of the newest file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Is any of them there?
    pub fn exist(&self) -> bool {
        self.path.exists() || self.rotated(1).exists()
    }

    fn rotated(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    /// Hands over the last `count` lines (or all) from `since` on, oldest first, and remembers where the newest file
    /// ended. No file is no line.
    ///
    /// # Errors
    /// Of open(2) and read(2), and those of `sink`.
    pub fn read(&mut self, count: Option<u32>, since: Option<&str>, sink: &mut Sink<'_>) -> io::Result<()> {
        let mut files = Vec::new();
        let mut wanted = count.map(u64::from);
        for number in 0.. {
            let path = if number == 0 { self.path.clone() } else { self.rotated(number) };
            let mut file = match File::open(&path) {
                Ok(file) => file,
                // The newest is missing for a moment while files are rotated.
                Err(error) if error.kind() == ErrorKind::NotFound && number == 0 => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            if let Some(left) = wanted {
                wanted = Some(left - seek_to_last(&mut file, left)?);
            }
            files.push((number, file));
            if wanted == Some(0) {
                break;
            }
        }
        let mut shown = since.is_none();
        for (number, file) in files.into_iter().rev() {
            let mut reader = BufReader::new(file);
            let mut rest = lines(&mut reader, Vec::new(), &mut |line| {
                if let Some(since) = since {
                    shown = split_time(line).0.map_or(shown, |time| time >= since);
                }
                if shown { sink(line) } else { Ok(()) }
            })?;
            if number == 0 {
                self.open = Some(reader);
                self.partial = std::mem::take(&mut rest);
            }
            if !rest.is_empty() && shown {
                sink(&rest)?;
            }
        }
        // What has no end yet is shown as far as it goes, and continued as a line of its own.
        let partial = std::mem::take(&mut self.partial);
        if partial.is_empty() || !shown { Ok(()) } else { sink(&partial) }
    }

    /// Hands over what was written since the last time, over as many rotations as there were: whoever reads may have been
    /// stopped for long. `false` when files are gone that were not read.
    ///
    /// # Errors
    /// Of open(2), stat(2) and read(2), and those of `sink`.
    pub fn read_on(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        let mut complete = true;
        loop {
            if let Some(reader) = &mut self.open {
                self.partial = lines(reader, std::mem::take(&mut self.partial), sink)?;
            }
            match self.following()? {
                Next::Same => return Ok(complete),
                Next::File(file) => self.turn_to(file, sink)?,
                Next::Unknown(file) => {
                    complete = false;
                    self.turn_to(file, sink)?;
                }
            }
        }
    }

    /// Goes on with another file.
    fn turn_to(&mut self, file: File, sink: &mut Sink<'_>) -> io::Result<()> {
        if let Some(mut former) = self.open.replace(BufReader::new(file)) {
            // What was written to it between the last look and its rotation comes first.
            let rest = lines(&mut former, std::mem::take(&mut self.partial), sink)?;
            if !rest.is_empty() {
                sink(&rest)?;
            }
        }
        Ok(())
    }

    /// The file after the one that is open.
    fn following(&self) -> io::Result<Next> {
        /// Looks before a file that is not found counts as removed: while files are renamed one may be between two names.
        const LOOKS: u32 = 5;
        let Some(open) = &self.open else {
            return Ok(opened(&self.path)?.map_or(Next::Same, Next::File));
        };
        let metadata = open.get_ref().metadata()?;
        let open = identity(&metadata);
        let mut missed = 0;
        loop {
            match self.place_of(open)? {
                Some(0) => return Ok(Next::Same),
                Some(number) => {
                    let newer = if number == 1 { self.path.clone() } else { self.rotated(number - 1) };
                    let file = opened(&newer)?;
                    // Only if nothing was renamed meanwhile it is the next one.
                    if self.place_of(open)? == Some(number) {
                        // The newest is made by the first line that goes into it.
                        return Ok(file.map_or(Next::Same, Next::File));
                    }
                }
                None if missed < LOOKS => missed += 1,
                None => return self.oldest_since(metadata.modified()?),
            }
        }
    }

    /// Number of the file; 0 is the newest.
    fn place_of(&self, wanted: (u64, u64)) -> io::Result<Option<u32>> {
        let mut missing = 0;
        for number in 0.. {
            let path = if number == 0 { self.path.clone() } else { self.rotated(number) };
            match std::fs::metadata(path) {
                Ok(found) if identity(&found) == wanted => return Ok(Some(number)),
                Ok(_) => missing = 0,
                // One name may be free while files are renamed.
                Err(error) if error.kind() == ErrorKind::NotFound && missing < 2 => missing += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Where to go on when the open file, last written to at `since`, is gone: an older one was shown already, if it was
    /// wanted.
    fn oldest_since(&self, since: SystemTime) -> io::Result<Next> {
        let mut oldest = opened(&self.path)?;
        for number in 1.. {
            match opened(&self.rotated(number))? {
                Some(file) if file.metadata()?.modified()? >= since => oldest = Some(file),
                _ => break,
            }
        }
        Ok(oldest.map_or(Next::Same, Next::Unknown))
    }
}

/// What comes after a file.
enum Next {
    /// Nothing yet.
    Same,
    /// This one.
    File(File),
    /// This one, and perhaps there were others in between.
    Unknown(File),
}

fn opened(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(of: &std::fs::Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

/// Time and message of a line; no time for a line without one.
pub fn split_time(line: &[u8]) -> (Option<&str>, &[u8]) {
    let time = line.get(..TIME).and_then(|text| std::str::from_utf8(text).ok());
    match time.filter(|time| line.get(TIME) == Some(&b' ') && time.ends_with('Z') && super::time::parse(time).is_some())
    {
        Some(time) => (Some(time), &line[TIME + 1..]),
        None => (None, line),
    }
}

/// Hands over all lines that have an end; returns what follows the last end.
fn lines(reader: &mut BufReader<File>, begun: Vec<u8>, sink: &mut Sink<'_>) -> io::Result<Vec<u8>> {
    let mut line = begun;
    loop {
        let room = LINE.saturating_sub(line.len() as u64).max(1);
        let count = reader.by_ref().take(room).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(line);
        }
        if line.ends_with(b"\n") {
            line.pop();
        } else if (line.len() as u64) < LINE {
            continue;
        }
        sink(&line)?;
        line.clear();
    }
}

/// Seeks to the beginning of the last `count` lines; returns how many there are.
fn seek_to_last(file: &mut File, count: u64) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok(0);
    }
    let (mut end, mut found) = (length, 0);
    let mut block = vec![0; BLOCK as usize];
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let piece = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        for (at, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let next = start + at as u64 + 1;
            // The end of the last line begins no line.
            if next == length {
                continue;
            }
            found += 1;
            if found == count {
                file.seek(SeekFrom::Start(next))?;
                return Ok(found);
            }
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(if length == 0 { 0 } else { found + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn stamped(second: u32, text: &str) -> String {
        format!("2026-11-21T22:00:{second:02}.000000Z {text}\n")
    }

    struct Bench {
        _directory: tempfile::TempDir,
        log: LogFiles,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        let log = LogFiles::new(directory.path().join("web.log"));
        Bench { _directory: directory, log }
    }

    fn write(path: &Path, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).expect("open");
        file.write_all(text.as_bytes()).expect("write");
    }

    fn read(log: &mut LogFiles, count: Option<u32>, since: Option<&str>) -> Vec<String> {
        let mut got = Vec::new();
        log.read(count, since, &mut |line| {
            got.push(String::from_utf8_lossy(split_time(line).1).into_owned());
            Ok(())
        })
        .expect("read");
        got
    }

    #[test]
    fn the_last_lines_reach_over_rotated_files_and_over_blocks() {
        let mut bench = bench();
        let long = "x".repeat(BLOCK as usize + 10);
        write(&bench.log.rotated(2), &stamped(0, "oldest"));
        write(&bench.log.rotated(1), &[stamped(1, "a"), stamped(2, &long)].concat());
        write(bench.log.path(), &[stamped(3, "b"), stamped(4, "c")].concat());
        let log = &mut bench.log;
        assert_eq!(read(log, Some(1), None), ["c"]);
        assert_eq!(read(log, Some(2), None), ["b", "c"]);
        assert_eq!(read(log, Some(3), None), [long.as_str(), "b", "c"]);
        assert_eq!(read(log, Some(4), None), ["a", &long, "b", "c"]);
        assert_eq!(read(log, Some(99), None).len(), 5);
        assert_eq!(read(log, None, None).len(), 5);
        assert_eq!(read(log, Some(0), None), Vec::<String>::new());
        assert_eq!(read(log, None, Some("2026-11-21T22:00:03.000000Z")), ["b", "c"]);
        assert_eq!(read(log, Some(1), Some("2026-11-21T22:00:59.000000Z")), Vec::<String>::new());
    }

    #[test]
    fn an_empty_and_a_missing_file_have_no_lines() {
        let mut bench = bench();
        assert!(!bench.log.exist());
        assert!(read(&mut bench.log, Some(5), None).is_empty());
        write(bench.log.path(), "");
        assert!(bench.log.exist());
        assert!(read(&mut bench.log, Some(5), None).is_empty());
    }

    #[test]
    fn following_goes_over_rotations_without_losing_or_repeating_a_line() {
        let mut bench = bench();
        write(bench.log.path(), &stamped(1, "one"));
        let log = &mut bench.log;
        assert_eq!(read(log, Some(10), None), ["one"]);
        let mut got: Vec<String> = Vec::new();
        let follow = |log: &mut LogFiles, got: &mut Vec<String>| {
            let complete = log.read_on(&mut |line| {
                got.push(String::from_utf8_lossy(split_time(line).1).into_owned());
                Ok(())
            });
            assert!(complete.expect("read"));
        };
        follow(log, &mut got);
        write(&log.path.clone(), "2026-11-21T22:00:02.000000Z tw");
        follow(log, &mut got);
        assert_eq!(got, Vec::<String>::new(), "half a line waits");
        write(&log.path.clone(), "o\n");
        follow(log, &mut got);
        write(&log.path.clone(), &stamped(3, "three"));
        std::fs::rename(log.path(), log.rotated(1)).expect("rename");
        follow(log, &mut got);
        write(&log.path.clone(), &stamped(4, "four"));
        follow(log, &mut got);
        follow(log, &mut got);
        assert_eq!(got, ["two", "three", "four"]);
    }

    #[test]
    fn a_unit_that_has_not_written_yet_can_be_followed() {
        let mut bench = bench();
        let log = &mut bench.log;
        assert!(read(log, Some(10), None).is_empty());
        write(&log.path.clone(), &stamped(1, "first"));
        let mut got = 0;
        let complete = log.read_on(&mut |_| {
            got += 1;
            Ok(())
        });
        assert_eq!((got, complete.expect("read")), (1, true));
    }

    #[test]
    fn a_follower_that_was_stopped_reads_every_file_that_is_still_there_and_says_what_is_not() {
        let mut bench = bench();
        write(bench.log.path(), &stamped(0, "0"));
        let log = &mut bench.log;
        assert_eq!(read(log, Some(10), None), ["0"]);
        let mut got: Vec<String> = Vec::new();
        let follow = |log: &mut LogFiles, got: &mut Vec<String>| {
            let complete = log.read_on(&mut |line| {
                got.push(String::from_utf8_lossy(split_time(line).1).into_owned());
                Ok(())
            });
            complete.expect("read")
        };
        let rotate = |log: &LogFiles, kept: u32| {
            (1..kept).rev().for_each(|n| drop(std::fs::rename(log.rotated(n), log.rotated(n + 1))));
            std::fs::rename(log.path(), log.rotated(1)).expect("rename");
        };
        for n in 1..=4 {
            write(&log.path.clone(), &stamped(n, &format!("{n}")));
            rotate(log, 9);
            write(&log.path.clone(), &stamped(n, &format!("{n} in the next")));
        }
        assert!(follow(log, &mut got));
        let want = ["1", "1 in the next", "2", "2 in the next", "3", "3 in the next", "4", "4 in the next"];
        assert_eq!(got, want);
        got.clear();
        // Files that nobody rotates any more, since fewer are kept, were shown long ago.
        for n in 1..=4 {
            let file = File::options().append(true).open(log.rotated(n)).expect("open");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
        }
        // Three files are kept: two are gone when it looks again.
        for n in 5..=8 {
            rotate(log, 2);
            write(&log.path.clone(), &stamped(n, &format!("{n}")));
        }
        assert!(!follow(log, &mut got));
        assert_eq!(got, ["6", "7", "8"]);
        assert!(follow(log, &mut got));
        assert_eq!(got.len(), 3);
    }

    #[test]
    fn a_line_without_a_time_belongs_to_the_one_before() {
        assert_eq!(split_time(b"2026-11-21T22:00:00.000000Z x").1, b"x");
        for line in
            ["", "x", "2026-11-21T22:00:00.000000Z", "2026-11-21T22:00:00.000000Zx y", "9026-99-21T22:00:00.000000Z x"]
        {
            assert_eq!(split_time(line.as_bytes()), (None, line.as_bytes()), "{line}");
        }
    }
}
