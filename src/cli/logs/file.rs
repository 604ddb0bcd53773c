//! The daemon's log files of one unit: `NAME.log` and its predecessors `NAME.log.1`, `NAME.log.2`, older with each
//! number. Every line begins with its time, 27 bytes of RFC 3339, and a blank.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

    /// Hands over what was written since the last time, over rotations.
    ///
    /// # Errors
    /// Of open(2), stat(2) and read(2).
    pub fn read_on(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut sink = |line: &[u8]| {
            sink(line);
            Ok(())
        };
        if let Some(reader) = &mut self.open {
            self.partial = lines(reader, std::mem::take(&mut self.partial), &mut sink)?;
            let newest = match std::fs::metadata(&self.path) {
                Ok(newest) => newest,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let open = reader.get_ref().metadata()?;
            if (open.dev(), open.ino()) == (newest.dev(), newest.ino()) {
                return Ok(());
            }
            // Rotated: what was written to the old file between the two looks comes first.
            self.partial = lines(reader, std::mem::take(&mut self.partial), &mut sink)?;
            if !self.partial.is_empty() {
                sink(&std::mem::take(&mut self.partial))?;
            }
        }
        match File::open(&self.path) {
            Ok(file) => {
                let reader = self.open.insert(BufReader::new(file));
                self.partial = lines(reader, Vec::new(), &mut sink)?;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
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
            log.read_on(&mut |line| got.push(String::from_utf8_lossy(split_time(line).1).into_owned())).expect("read");
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
        log.read_on(&mut |_| got += 1).expect("read");
        assert_eq!(got, 1);
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
