//! Tests of the log files: what ends up on disk, byte for byte.

use super::super::log_pipe::{OutputPipe, PipeTurn, Scratch};
use super::*;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

const BEGIN: &str = "1970-01-01T00:00:01.000000Z ";
const BIG: LogLimits = LogLimits { max_size: 1 << 30, max_files: 3 };

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

struct Fixture {
    directory: tempfile::TempDir,
    log: LogFile,
    output: Vec<u8>,
}

impl Fixture {
    fn new(limits: LogLimits) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let opened = LogDirectory::open(&directory.path().join("log")).unwrap();
        Fixture { log: LogFile::new(&opened, "web", limits).unwrap(), directory, output: Vec::new() }
    }

    fn feed(&mut self, source: u32, bytes: &[u8]) -> Option<LogNotice> {
        self.log.feed(Source(source), bytes, at(1), &mut self.output)
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join("log").join(name)).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8(self.file("web.log")).unwrap().replace(BEGIN, "@")
    }

    /// All files, oldest first.
    fn all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        (1..100).rev().for_each(|n| all.extend(self.file(&format!("web.log.{n}"))));
        all.extend(self.file("web.log"));
        all
    }
}

#[test]
fn each_line_begins_with_its_time() {
    let mut f = Fixture::new(BIG);
    assert_eq!(f.feed(0, b"one\ntwo\n\n"), None);
    assert_eq!(f.text(), "@one\n@two\n@\n");
    assert!(f.file("web.log").starts_with(b"1970-01-01T00:00:01.000000Z one\n"));
}

#[test]
fn a_partial_line_is_stored_at_once_and_continued() {
    let mut f = Fixture::new(BIG);
    f.feed(0, b"wait");
    assert_eq!(f.text(), "@wait");
    f.feed(0, b"ing");
    f.feed(0, b"\nnext");
    f.log.finish(Source(0), at(1), &mut f.output);
    f.log.finish(Source(0), at(1), &mut f.output);
    assert_eq!(f.text(), "@waiting\n@next\n");
}

#[test]
fn another_source_never_continues_a_line() {
    let mut f = Fixture::new(BIG);
    f.feed(0, b"half");
    f.log.record(b"<syslog>\ntwo lines", at(1), &mut f.output, &mut Nowhere);
    f.feed(0, b" rest\n");
    assert_eq!(f.text(), "@half\n@<syslog>\n@two lines\n@ rest\n");
    assert_eq!(f.log.last_lines(9), ["half", "<syslog>", "two lines", " rest"]);
}

#[test]
fn nul_and_escape_codes_are_stored_as_they_are() {
    let mut f = Fixture::new(BIG);
    f.feed(0, b"a\0b\x1b[2J\xff\n");
    assert!(f.file("web.log").ends_with(b" a\0b\x1b[2J\xff\n"));
}

#[test]
fn a_line_of_ten_megabytes_streams_through() {
    let mut f = Fixture::new(BIG);
    for _ in 0..160 {
        f.feed(0, &[b'x'; READ_LIMIT]);
    }
    f.feed(0, b"\nnext\n");
    assert!(f.output.capacity() < 4 * WRITE_SIZE);
    let file = f.file("web.log");
    assert_eq!(file.len(), 160 * READ_LIMIT + 1 + 2 * BEGIN.len() + 5);
    assert_eq!(file.iter().filter(|b| **b == b'\n').count(), 2);
}

#[test]
fn rotation_happens_between_lines_and_keeps_so_many_files() {
    let mut f = Fixture::new(LogLimits { max_size: 4096, max_files: 3 });
    for n in 0..1000 {
        f.feed(0, format!("line {n:05} {}\n", "y".repeat(n % 50)).as_bytes());
    }
    for name in ["web.log", "web.log.1", "web.log.2"] {
        let file = String::from_utf8(f.file(name)).unwrap();
        assert!(file.len() <= 4096 && file.starts_with(BEGIN) && file.ends_with('\n'), "{name}");
        assert!(name == "web.log" || file.len() > 3500, "{name}: {}", file.len());
    }
    assert_eq!(fs::read_dir(f.directory.path().join("log")).unwrap().count(), 3);
    // Nothing is lost in between: the kept lines are consecutive, up to the last.
    let all = String::from_utf8(f.all()).unwrap();
    let numbers: Vec<u32> = all.lines().map(|l| l[BEGIN.len() + 5..][..5].parse().unwrap()).collect();
    assert_eq!(*numbers.last().unwrap(), 999);
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1));
}

#[test]
fn one_large_block_is_spread_over_files() {
    let mut f = Fixture::new(LogLimits { max_size: 4096, max_files: 40 });
    let block: String = (0..1500).map(|n| format!("line {n:05}\n")).collect();
    f.feed(0, block.as_bytes());
    let all = String::from_utf8(f.all()).unwrap().replace(BEGIN, "");
    assert_eq!(all, block);
}

#[test]
fn a_line_without_end_is_cut_at_the_limit() {
    let mut f = Fixture::new(LogLimits { max_size: 4096, max_files: 2 });
    for _ in 0..100 {
        f.feed(0, &[b'z'; READ_LIMIT]);
    }
    for name in ["web.log", "web.log.1"] {
        let length = f.file(name).len();
        assert!((4096..=4096 + READ_LIMIT).contains(&length), "{name}: {length}");
    }
}

#[test]
fn a_single_file_is_truncated_by_replacement() {
    let mut f = Fixture::new(LogLimits { max_size: 4096, max_files: 1 });
    for n in 0..500 {
        f.feed(0, format!("line {n}\n").as_bytes());
    }
    assert!(f.text().ends_with("@line 499\n"));
    assert_eq!(fs::read_dir(f.directory.path().join("log")).unwrap().count(), 1);
}

#[test]
fn a_file_that_was_removed_is_made_again_and_an_existing_one_is_appended_to() {
    let mut f = Fixture::new(BIG);
    f.feed(0, b"one\n");
    fs::remove_file(f.log.path()).unwrap();
    f.feed(0, b"two\n");
    assert_eq!(f.text(), "@two\n");
    let opened = LogDirectory::open(&f.directory.path().join("log")).unwrap();
    f.log = LogFile::new(&opened, "web", BIG).unwrap();
    f.feed(0, b"three\nhalf");
    assert_eq!(f.text(), "@two\n@three\n@half");
    f.log = LogFile::new(&opened, "web", BIG).unwrap();
    f.feed(0, b"four\n");
    assert_eq!(f.text(), "@two\n@three\n@half\n@four\n");
}

#[test]
fn links_are_not_followed_and_nothing_is_ever_blocked_by_a_fifo() {
    let mut f = Fixture::new(BIG);
    let victim = f.directory.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, f.log.path()).unwrap();
    let notice = f.feed(0, b"x\n");
    assert!(matches!(notice, Some(LogNotice::Losing { .. })), "{notice:?}");
    fs::remove_file(f.log.path()).unwrap();
    fs::hard_link(&victim, f.log.path()).unwrap();
    assert_eq!(f.feed(0, b"x\n"), None);
    fs::remove_file(f.log.path()).unwrap();
    nix::unistd::mkfifo(&f.log.path(), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert_eq!(f.feed(0, b"x\n"), None);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
}

#[test]
fn a_full_disk_is_reported_once_and_the_gap_is_named() {
    let mut f = Fixture::new(BIG);
    f.feed(0, b"before");
    // A directory in the file's place stands for any refusal of the disk.
    fs::remove_file(f.log.path()).unwrap();
    fs::create_dir(f.log.path()).unwrap();
    assert!(matches!(f.feed(0, b" cut\n"), Some(LogNotice::Losing { .. })));
    assert_eq!(f.feed(0, b"more\n"), None);
    assert_eq!(f.log.last_lines(1), ["more"]);
    fs::remove_dir(f.log.path()).unwrap();
    let lost = 5 + (BEGIN.len() + 5) as u64;
    assert_eq!(f.feed(0, b"after\n"), Some(LogNotice::Recovered { path: f.log.path(), lost }));
    assert_eq!(f.text(), format!("@rsvc: {lost} bytes of output are missing here\n@after\n"));
}

#[test]
fn dev_full_itself_is_survived() {
    let mut f = Fixture::new(BIG);
    f.log.file = Some(File::options().write(true).open("/dev/full").unwrap());
    let notice = f.feed(0, b"x\n");
    assert!(matches!(&notice, Some(LogNotice::Losing { error, .. }) if error.contains("No space")), "{notice:?}");
}

#[test]
fn a_pipe_is_read_in_bounded_turns_until_its_end() {
    let mut f = Fixture::new(BIG);
    let mut scratch = Scratch::default();
    let (read, write) = nix::unistd::pipe().unwrap();
    let mut pipe = OutputPipe::new(read, Source(0)).unwrap();
    assert_eq!(pipe.turn(&mut f.log, at(1), &mut scratch).unwrap().0, PipeTurn::Idle);
    let mut write = File::from(write);
    write.write_all(b"hello\nworld").unwrap();
    assert_eq!(pipe.turn(&mut f.log, at(1), &mut scratch).unwrap().0, PipeTurn::Read { bytes: 11, rest: None });
    write.write_all(b"!\n").unwrap();
    let steady = PipeTurn::Read { bytes: 2, rest: Some(Duration::from_millis(1)) };
    assert_eq!(pipe.turn(&mut f.log, at(1), &mut scratch).unwrap().0, steady);
    write.write_all(b"end").unwrap();
    drop(write);
    pipe.turn(&mut f.log, at(9), &mut scratch).unwrap();
    assert_eq!(pipe.turn(&mut f.log, at(1), &mut scratch).unwrap().0, PipeTurn::Ended);
    assert_eq!(f.text().replace("1970-01-01T00:00:09.000000Z ", "@"), "@hello\n@world!\n@end\n");
}

#[test]
fn an_unsafe_directory_or_name_is_refused() {
    let f = Fixture::new(BIG);
    let open = f.directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert!(LogDirectory::open(&open).unwrap_err().to_string().contains("mode 0777"));
    for name in ["", ".", "..", "a/b", ".hidden", "a\0b"] {
        assert!(LogFile::new(&f.log.directory, name, BIG).is_err(), "{name:?}");
    }
}

#[test]
fn the_oldest_rotated_files_go_when_all_together_are_too_large() {
    let mut f = Fixture::new(LogLimits { max_size: 4096, max_files: 50 });
    let other = f.directory.path().join("log/other.log");
    fs::write(&other, [b'x'; 6000]).unwrap();
    f.log.directory.limit_total(Some(30_000));
    for n in 0..2000 {
        f.feed(0, format!("line {n}\n").as_bytes());
    }
    let files = fs::read_dir(f.directory.path().join("log")).unwrap();
    let total: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!((20_000..30_000 + 4096).contains(&total), "{total}");
    assert_eq!(fs::metadata(&other).unwrap().len(), 6000, "a current file is never removed");
    assert!(f.text().ends_with("@line 1999\n"));
}

#[test]
fn rotated_files_are_known_by_their_name() {
    for (name, expected) in [
        ("web.log.1", true),
        ("web.log.12", true),
        ("web.log", false),
        ("web.log.", false),
        ("web.log.1x", false),
        ("1", false),
        ("web.1", false),
        (".log.1", true),
    ] {
        assert_eq!(is_rotated(name.as_bytes()), expected, "{name}");
    }
}
