//! A note of each run of a unit: `<state>/runs/NAME`, one line `TIME INVOCATION`, for `rsvc logs --invocation`.
//!
//! The directory is the daemon's; a service cannot reach it. Old lines go when the file grows past [`LIMIT`].

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of one file: about a thousand runs.
const LIMIT: u64 = 64 * 1024;

/// Adds the run `invocation`, begun at `time` (RFC 3339).
///
/// # Errors
/// Of open(2), write(2) and rename(2).
pub(super) fn record(directory: &Path, unit: &str, time: &str, invocation: &str) -> io::Result<()> {
    let path = directory.join(unit);
    let open = || {
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags).open(&path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            super::launch::make_directory(directory, 0o755)?;
            open()?
        }
        other => other?,
    };
    file.write_all(format!("{time} {invocation}\n").as_bytes())?;
    if file.metadata()?.len() > LIMIT { shorten(&path) } else { Ok(()) }
}

/// Keeps the newer half.
fn shorten(path: &Path) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let lines: Vec<&str> = text.lines().collect();
    // No unit's name begins with a dot.
    let name = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().display()));
    fs::write(&name, lines[lines.len() / 2..].join("\n") + "\n")?;
    fs::rename(&name, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_runs_keeps_the_newest_and_stays_small() {
        let directory = tempfile::tempdir().expect("a directory");
        let runs = directory.path().join("runs");
        for n in 0..2500 {
            record(&runs, "web", "2026-11-21T22:00:00.000000Z", &format!("{n:032x}")).expect("recorded");
        }
        let text = fs::read_to_string(runs.join("web")).expect("read");
        assert!(text.len() as u64 <= LIMIT, "{}", text.len());
        assert!(text.ends_with(&format!("{:032x}\n", 2499)) && text.lines().count() > 400);
        assert_eq!(fs::read_dir(&runs).expect("listing").count(), 1);
    }
}
