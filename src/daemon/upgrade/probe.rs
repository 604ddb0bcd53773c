//! The question to a new program before anything depends on it: does it run here, can it read what this daemon leaves?
//!
//! It is started as a child, as the daemon itself was, with one option more and the sealed snapshot as descriptor 3, and
//! has to print one JSON object ([`Claim`]) and end well. The loop waits for nothing: the child, its output and a time
//! limit are descriptors and a deadline like all others. What it may have to say of itself is limited, whatever it is.

use super::program::Program;
use super::{handoff, range};
use crate::daemon::state;
use crate::supervise::Moment;
use crate::sys::fd::{self, NonBlocking};
use crate::sys::poll::{Interest, Poller, Token};
use crate::sys::process::{self, Spawn, SpawnFailure, spawn};
use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// Longest time for the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Most that is read of each of its outputs, bytes.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// The option that asks, and the one that hands over; see [`super::arguments`].
pub(super) const INFO_OPTION: &str = "--handoff-info";

/// Number of the snapshot in the child.
const SNAPSHOT: i32 = 3;

/// What a program says of itself and of what it was shown. Fields that are not known are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Version of this object, 1.
    pub v: u32,
    /// Of the package.
    pub version: String,
    /// Which build of that version.
    pub build: String,
    /// Oldest and newest snapshot that it reads.
    pub snapshot: [u32; 2],
    /// Oldest and newest state file that it reads.
    pub state: [u32; 2],
    /// Why it could not take over.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// One thing that it could not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Problem {
    /// Whose state; `None`: not that of a unit.
    #[serde(default)]
    pub unit: Option<String>,
    /// In words.
    pub why: String,
}

/// A program that was asked and has not answered yet.
pub(super) struct Probe {
    pid: i32,
    child: OwnedFd,
    token: Token,
    /// A failed exec is told here.
    error: OwnedFd,
    out: Output,
    err: Output,
    deadline: Moment,
    /// It has been waited for.
    reaped: bool,
}

/// How it went on.
pub(super) enum Progress {
    /// Nothing yet.
    Open,
    /// What it says; it can take over.
    Able(Claim),
    /// Why it cannot.
    Refused(String),
}

/// One of its output streams.
struct Output {
    pipe: OwnedFd,
    /// Registered as; `None`: it has ended.
    token: Option<Token>,
    bytes: Vec<u8>,
}

impl Output {
    fn new(poller: &mut Poller, pipe: OwnedFd) -> crate::sys::Result<Output> {
        let token = Some(poller.add(&pipe, Interest::Read)?);
        Ok(Output { pipe, token, bytes: Vec::new() })
    }

    /// Takes what is there, one byte more than allowed at the most.
    fn take(&mut self, poller: &mut Poller) {
        let mut chunk = [0u8; 16 * 1024];
        while self.token.is_some() && !self.is_full() {
            match fd::read(self.pipe.as_fd(), &mut chunk) {
                Ok(count) if count > 0 => self.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.errno == libc::EAGAIN => return,
                Ok(_) | Err(_) => self.leave(poller),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.len() > OUTPUT_LIMIT
    }

    fn leave(&mut self, poller: &mut Poller) {
        if self.token.take().is_some() {
            let _ = poller.remove(&self.pipe);
        }
    }
}

impl Probe {
    /// Starts the program with these arguments, and `snapshot` as descriptor 3.
    ///
    /// # Errors
    /// In words: no descriptors or processes are left.
    pub fn start(
        poller: &mut Poller,
        program: &Program,
        arguments: Vec<OsString>,
        snapshot: &OwnedFd,
        now: Moment,
    ) -> Result<Probe, String> {
        Probe::try_start(poller, program, arguments, snapshot, now)
            .map_err(|error| format!("the new program cannot be asked: {error}"))
    }

    fn try_start(
        poller: &mut Poller,
        program: &Program,
        mut arguments: Vec<OsString>,
        snapshot: &OwnedFd,
        now: Moment,
    ) -> crate::sys::Result<Probe> {
        let null = fd::open(c"/dev/null", fd::Open::ReadWrite)?;
        let (out, their_out) = fd::pipe(NonBlocking::Read)?;
        let (err, their_err) = fd::pipe(NonBlocking::Read)?;
        let (error, their_error) = fd::pipe(NonBlocking::Read)?;
        arguments.extend([INFO_OPTION.into(), SNAPSHOT.to_string().into()]);
        let inherit = [(null.as_fd(), 0), (their_out.as_fd(), 1), (their_err.as_fd(), 2), (snapshot.as_fd(), SNAPSHOT)];
        let (pid, child) = spawn(&Spawn {
            flags: 0,
            cgroup: None,
            program: program.file.as_fd(),
            argv: &c_strings(arguments),
            envp: &super::environment(),
            inherit: &inherit,
            raise_ambient: false,
            error: Some(their_error.as_fd()),
        })?;
        let token = poller.add(&child, Interest::Read)?;
        Ok(Probe {
            pid,
            child,
            token,
            error,
            out: Output::new(poller, out)?,
            err: Output::new(poller, err)?,
            deadline: now.after(PATIENCE),
            reaped: false,
        })
    }

    /// Its process, which is waited for here and nowhere else.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Looks how far it is. `excused` says of a unit that its state cannot be read by this daemon either.
    pub fn look(&mut self, poller: &mut Poller, now: Moment, excused: &dyn Fn(&str) -> bool) -> Progress {
        let ended = process::wait_pidfd(self.child.as_fd(), true);
        self.reaped = !matches!(ended, Ok(None));
        // After the wait: whatever it has written before its end is there now.
        self.out.take(poller);
        self.err.take(poller);
        if self.out.is_full() || self.err.is_full() {
            return Progress::Refused(format!("it prints more than {} KiB about itself", OUTPUT_LIMIT / 1024));
        }
        match ended {
            Ok(None) if now >= self.deadline => {
                Progress::Refused(format!("it did not answer within {} s and was killed", PATIENCE.as_secs()))
            }
            Ok(None) => Progress::Open,
            Ok(Some((code, status))) => {
                let mut bytes = [0u8; SpawnFailure::LENGTH];
                let length = fd::read(self.error.as_fd(), &mut bytes).unwrap_or(0);
                let end = match SpawnFailure::parse(&bytes[..length]) {
                    Some(error) => End::NotExecuted(error.errno),
                    None if code == process::CLD_EXITED => End::Exited(status),
                    None => End::Killed(status),
                };
                match judge(&end, &self.out.bytes, &self.err.bytes, excused) {
                    Ok(claim) => Progress::Able(claim),
                    Err(why) => Progress::Refused(why),
                }
            }
            Err(error) => Progress::Refused(format!("how it ended is not known: {error}")),
        }
    }

    /// Out of the loop with it. One that still runs is killed; it is still to be waited for then, when its descriptor
    /// (registered as before) is ready.
    pub fn leave(mut self, poller: &mut Poller) -> Option<(Token, OwnedFd)> {
        self.out.leave(poller);
        self.err.leave(poller);
        if self.reaped {
            let _ = poller.remove(&self.child);
            return None;
        }
        let _ = process::pidfd_send_signal(self.child.as_fd(), libc::SIGKILL);
        Some((self.token, self.child))
    }
}

/// Strings as exec wants them; none of a command line or an environment has a NUL inside.
pub(super) fn c_strings(strings: Vec<OsString>) -> Vec<CString> {
    strings.into_iter().filter_map(|string| CString::new(string.into_vec()).ok()).collect()
}

/// How the child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// exec failed with this errno.
    NotExecuted(i32),
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// What exec's errno says of a file.
pub(super) fn exec_words(errno: i32) -> String {
    let text = crate::sys::SysError::new("execveat", errno).to_string();
    match errno {
        libc::ENOEXEC => {
            format!("it is no program for this machine: a text, or made for another kind of processor ({text})")
        }
        // A script would be opened by its interpreter through a descriptor that is closed by then.
        libc::ENOENT => {
            format!(
                "it is a script, which is not what was looked at once it runs, or lacks its dynamic loader ({text})"
            )
        }
        libc::EACCES => format!("it may not be executed: its file system is mounted noexec? ({text})"),
        libc::ETXTBSY => format!("somebody has it open for writing ({text})"),
        _ => format!("it cannot be executed ({text})"),
    }
}

/// Reads the answer.
///
/// # Errors
/// Why this program cannot take over, in words.
fn judge(end: &End, out: &[u8], err: &[u8], excused: &dyn Fn(&str) -> bool) -> Result<Claim, String> {
    let said = quote(err);
    match end {
        End::NotExecuted(errno) => return Err(exec_words(*errno)),
        End::Exited(0) => {}
        End::Exited(_) if said.contains(INFO_OPTION) => {
            return Err(format!(
                "it does not know `{INFO_OPTION}`: an rsvc from before upgrades in place, or no rsvc\n  hint: to go back \
                 to such a version end this daemon and start that one; services go on running meanwhile"
            ));
        }
        End::Exited(status) => {
            return Err(format!("asked what it can take over, it exited with status {status}{said}"));
        }
        End::Killed(signal) => {
            let signal = crate::daemon::snapshot::signal_name(u8::try_from(*signal).unwrap_or_default());
            return Err(format!("asked what it can take over, it was killed by {signal}{said}"));
        }
    }
    if out.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("asked what it can take over, it said nothing{said}"));
    }
    let claim: Claim = serde_json::from_slice(out)
        .map_err(|error| format!("asked what it can take over, it said something else ({error}): {}", excerpt(out)))?;
    let name = format!("rsvc {}", excerpt(claim.version.as_bytes()));
    let reads = |[oldest, newest]: [u32; 2], version: u32| (oldest..=newest).contains(&version);
    if !reads(claim.snapshot, handoff::VERSION) {
        let [oldest, newest] = claim.snapshot;
        return Err(format!(
            "{name} reads snapshots of version {}, this rsvc {} writes {}\n  hint: end this daemon and start that one; \
             services go on running meanwhile",
            range(oldest, newest),
            env!("CARGO_PKG_VERSION"),
            handoff::VERSION
        ));
    }
    let problems = claim.problems.iter().filter(|problem| !problem.unit.as_deref().is_some_and(excused));
    let problems: Vec<String> = problems.map(Problem::words).collect();
    if !problems.is_empty() {
        return Err(format!("{name} could not take over:\n  {}", problems.join("\n  ")));
    }
    if !reads(claim.state, state::VERSION) {
        let [oldest, newest] = claim.state;
        let wanted = range(oldest, newest);
        return Err(format!("{name} reads states of version {wanted}, this rsvc writes {}", state::VERSION));
    }
    Ok(claim)
}

impl Problem {
    fn words(&self) -> String {
        let why = excerpt(self.why.as_bytes());
        self.unit.as_ref().map_or(why.clone(), |unit| format!("{}: {why}", excerpt(unit.as_bytes())))
    }
}

/// What it said on standard error, behind a colon; nothing when it said nothing.
fn quote(err: &[u8]) -> String {
    let text = excerpt(err);
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// The beginning of a text of somebody else's, on one line.
fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 300;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * LONGEST)]).into_owned();
    let line: Vec<&str> = text.split_whitespace().collect();
    let line: String = line.join(" ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            v: 1,
            version: "0.2.0".into(),
            build: "0".repeat(16),
            snapshot: [handoff::VERSION, handoff::VERSION + 3],
            state: [state::VERSION, state::VERSION],
            problems: Vec::new(),
        }
    }

    fn asked(claim: &Claim) -> Result<Claim, String> {
        judge(&End::Exited(0), &serde_json::to_vec(claim).unwrap(), b"", &|_| false)
    }

    #[test]
    fn who_reads_both_is_able_whatever_else_it_says() {
        assert_eq!(asked(&claim()), Ok(claim()));
        let mut more = serde_json::to_value(claim()).unwrap();
        more["novel"] = serde_json::json!({ "a": 1 });
        more["v"] = serde_json::json!(2);
        assert!(judge(&End::Exited(0), more.to_string().as_bytes(), b"a warning\n", &|_| false).is_ok());
    }

    #[test]
    fn each_way_to_fail_has_its_words() {
        let good = serde_json::to_vec(&claim()).unwrap();
        let old = b"error: unexpected argument '--handoff-info' found";
        let table: [(End, &[u8], &[u8], &str); 11] = [
            (End::NotExecuted(libc::ENOEXEC), b"", b"", "no program for this machine"),
            (End::NotExecuted(libc::ENOENT), b"", b"", "a script"),
            (End::NotExecuted(libc::EACCES), b"", b"", "noexec"),
            (End::Exited(2), b"", old, "from before upgrades in place"),
            (End::Exited(1), &good, b"no such\nfile", "exited with status 1: no such file"),
            (End::Killed(11), &good, b"", "killed by SIGSEGV"),
            (End::Exited(0), b" \n", b"", "said nothing"),
            (End::Exited(0), b"hello\x1b[2J", b"", "something else"),
            (End::Exited(0), b"{}", b"", "something else"),
            (End::Exited(0), b"[1,2]", b"", "something else"),
            (End::Exited(0), &[b'['; 100_000], b"", "something else"),
        ];
        for (end, out, err, word) in table {
            let why = judge(&end, out, err, &|_| false).unwrap_err();
            assert!(why.contains(word), "{why}");
            assert!(!why.contains('\u{1b}') && why.len() < 3000, "{why}");
        }
    }

    #[test]
    fn who_cannot_read_what_is_left_is_refused_with_both_versions() {
        let future = Claim { snapshot: [handoff::VERSION + 1, handoff::VERSION + 1], ..claim() };
        assert!(asked(&future).unwrap_err().contains("reads snapshots of version"));
        let past = Claim { state: [0, state::VERSION - 1], ..claim() };
        assert!(asked(&past).unwrap_err().contains("reads states of version"));
        let problem = Problem { unit: Some("web".into()), why: "the recorded state is of version 2".into() };
        let blind = Claim { problems: vec![problem], ..claim() };
        let why = asked(&blind).unwrap_err();
        assert!(why.contains("web: the recorded state is of version 2"), "{why}");
        let bytes = serde_json::to_vec(&blind).unwrap();
        assert!(judge(&End::Exited(0), &bytes, b"", &|unit| unit == "web").is_ok(), "nobody can read that one");
    }
}
