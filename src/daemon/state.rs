//! What one daemon leaves for the next: `<runtime>/services/NAME/state`, one JSON object per running service.
//!
//! The file is written whole and renamed into place, so that a reader never meets a half of it. Reading tolerates
//! nothing silently: a damaged file, one of a newer version or of an earlier boot is refused with the reason, and the
//! caller treats the service as unknown, not as absent. A process is identified by more than its pid
//! (`ProcessIdentity`); a number alone may belong to anybody by now.

use super::connections::SavedConnection;
use super::identity::{ProcessIdentity, boot_id};
use super::remembered::Remembered;
use super::whole_file::{overwrite, read_file, write_atomically};
use crate::cgroup::Group;
use crate::supervise::{Descent, KeptSet, Moment, Rest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Version of the file's form. Fields may be added without a new number; it grows when an older reader would be wrong.
pub const VERSION: u32 = 1;

/// Names of the files that the resident inits of main processes write their records to: two runs in a row have not the
/// same, so that how one ended is known until it is written down that the next has begun.
pub const RECORDS: [&str; 2] = ["exit", "exit.1"];

/// Largest state file taken, bytes.
const SIZE_LIMIT: u64 = 64 * 1024;

/// Everything that the next daemon needs to know of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// [`VERSION`]
    pub v: u32,
    /// Kernel's id of this boot; a state of another boot says nothing.
    pub boot_id: String,
    /// Name of the unit.
    pub unit: String,
    /// When this was written, microseconds of CLOCK_BOOTTIME: of two copies the later one counts.
    #[serde(default)]
    pub written: u64,
    /// The unit is down. Only of the copy on the group, which may be there for a moment longer, and of one that is kept
    /// for the sake of its `requested`.
    #[serde(default)]
    pub down: bool,
    /// 32 hex digits of the present run.
    #[serde(default)]
    pub invocation_id: String,
    /// PID 1 of the container, where there is one.
    #[serde(default)]
    pub init: Option<ProcessIdentity>,
    /// The main process, while it runs.
    #[serde(default)]
    pub main: Option<ProcessIdentity>,
    /// Number of the main process in its pid namespace; 0: unknown.
    #[serde(default)]
    pub inner_pid: i32,
    /// It has become ready.
    #[serde(default)]
    pub ready: bool,
    /// When its present state began, microseconds of CLOCK_BOOTTIME.
    #[serde(default)]
    pub since: u64,
    /// Automatic restarts so far.
    #[serde(default)]
    pub restarts: u32,
    /// A stop had been asked for, written before the first signal was sent.
    #[serde(default)]
    pub stop_requested: bool,
    /// The stop is one half of a restart.
    #[serde(default)]
    pub restart_requested: bool,
    /// A start has been accepted and nothing of its program was known: written before anything is done about it.
    #[serde(default)]
    pub starting: bool,
    /// Which of [`RECORDS`] is that of the present run; `None`: it has none yet.
    #[serde(default)]
    pub record: Option<usize>,
    /// It has said that it is ready, and commands after the start were to come.
    #[serde(default)]
    pub said_ready: bool,
    /// When it was restarted automatically within `restart.limit_interval`.
    #[serde(default)]
    pub restart_times: Vec<Moment>,
    /// There are no processes: it waits for its next automatic start, or has failed.
    #[serde(default)]
    pub rest: Option<Rest>,
    /// It is on its way down and has processes, or may have: what for.
    #[serde(default)]
    pub descent: Option<Descent>,
    /// The run is over but for commands after its end: how it ended.
    #[serde(default)]
    pub end: Option<Rest>,
    /// It stays up after its program has ended.
    #[serde(default)]
    pub exited: bool,
    /// How its program ended, for the same.
    #[serde(default)]
    pub main_exit: Option<crate::supervise::Exit>,
    /// Nothing of it runs: what arrives at its sockets starts it.
    #[serde(default)]
    pub listening: bool,
    /// Number of the last connection that it accepted for an instance.
    #[serde(default)]
    pub connections: u64,
    /// The connection that it serves.
    #[serde(default)]
    pub connection: Option<SavedConnection>,
    /// Interval of the watchdog, microseconds; 0: none. Missing: as the unit says.
    #[serde(default)]
    pub watchdog_usec: Option<u64>,
    /// The group's OOM kills when this run began.
    #[serde(default)]
    pub oom_kills_before: u64,
    /// Number under which PID 1 holds the pipe of the service's output, for a file log.
    #[serde(default)]
    pub log_pipe: Option<i32>,
    /// That pipe leads to the journal and not to a file.
    #[serde(default)]
    pub log_relayed: bool,
    /// Messages that the rate limit kept out of its log.
    #[serde(default)]
    pub log_suppressed: u64,
    /// There are more of them, which the log does not tell of yet.
    #[serde(default)]
    pub log_untold: bool,
    /// PID 1 stands outside of the pid namespace that its child has joined. Missing: not known.
    #[serde(default)]
    pub init_outside: Option<bool>,
    /// Real user of the process that was executed last.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Output was being dropped, as its log file could not be written to.
    #[serde(default)]
    pub log_losing: bool,
    /// Inode of the socket on which PID 1 tells the ends of its children.
    #[serde(default)]
    pub exits: Option<u64>,
    /// It was launched by a daemon that could make no control group: its processes are all that there is of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub groupless: bool,
    /// Number under which PID 1 holds the notify socket, with what has arrived while no daemon ran.
    #[serde(default)]
    pub notify_socket: Option<i32>,
    /// This is a set of replicas, which is kept.
    #[serde(default)]
    pub set: Option<KeptSet>,
    /// Requests of clients that have no answer yet (see `requested`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested: Vec<super::requested::Requested>,
    /// What was counted and said, and who started it.
    #[serde(default)]
    pub remembered: Remembered,
    /// Limits changed while it runs: TOML by key.
    #[serde(default)]
    pub live: BTreeMap<String, String>,
}

impl SavedState {
    /// An empty state of this version and boot.
    pub fn new() -> SavedState {
        SavedState { v: VERSION, boot_id: boot_id().to_owned(), ..SavedState::default() }
    }
}

/// Why a state cannot be used.
#[derive(Debug)]
pub enum StateError {
    /// There is none.
    Missing,
    /// It cannot be read or written: which file and why.
    Io(PathBuf, io::Error),
    /// It is not what this daemon writes.
    Damaged(String),
    /// Written by a newer rsvc.
    Version(u32),
    /// Of an earlier boot.
    OtherBoot,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Missing => f.write_str("no state was recorded"),
            StateError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            StateError::Damaged(why) => write!(f, "the recorded state is damaged: {why}"),
            StateError::Version(v) => write!(f, "the recorded state is of version {v}, this rsvc reads {VERSION}"),
            StateError::OtherBoot => f.write_str("the recorded state is of an earlier boot"),
        }
    }
}

impl std::error::Error for StateError {}

/// `<runtime>/services/NAME`
pub fn directory(runtime_dir: &Path, name: &str) -> PathBuf {
    runtime_dir.join("services").join(name)
}

/// Names that have a directory of state, sorted.
///
/// # Errors
/// The directory of them cannot be listed.
pub fn names(runtime_dir: &Path) -> io::Result<Vec<String>> {
    let directory = runtime_dir.join("services");
    let in_words = |error| super::scarcity::at(&directory, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).map_err(in_words)? {
        names.extend(entry.map_err(in_words)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The state of a unit that has a group.
#[derive(Debug)]
pub(super) struct Newest {
    /// What counts.
    pub state: SavedState,
    /// As it was read.
    pub written: Written,
    /// Why the other copy cannot be used.
    pub spoiled: Option<StateError>,
}

/// The later one of the two copies of a unit's state: the file, and the note on its group, which needs neither room nor
/// a writable directory. Where only one can be used it is that one.
///
/// # Errors
/// Neither can be believed: why the file cannot.
pub(super) fn read_newest(runtime_dir: &Path, name: &str, group: Option<&Group>) -> Result<Newest, StateError> {
    let newest = |bytes: &[u8], state, spoiled| Newest { state, written: Written(Some(digest(bytes))), spoiled };
    let note = group.and_then(Group::note).unwrap_or_default();
    let file = match read_bytes(runtime_dir, name) {
        Ok(bytes) if bytes == note => return Ok(newest(&bytes, parse(&bytes, name, boot_id())?, None)),
        other => other.and_then(|bytes| Ok((parse(&bytes, name, boot_id())?, bytes))),
    };
    match (file, parse(&note, name, boot_id()).ok()) {
        // A file without a time was written by an rsvc that knows of no note, so after that.
        (Ok((file, _)), Some(state)) if file.written > 0 && state.written > file.written => {
            Ok(newest(&note, state, None))
        }
        (Ok((state, bytes)), _) => Ok(newest(&bytes, state, None)),
        (Err(why), Some(state)) => Ok(newest(&note, state, Some(why))),
        (Err(why), None) => Err(why),
    }
}

/// Reads the state of a unit from its file.
///
/// # Errors
/// Every way in which it cannot be believed.
pub fn read(runtime_dir: &Path, name: &str) -> Result<SavedState, StateError> {
    parse(&read_bytes(runtime_dir, name)?, name, boot_id())
}

fn read_bytes(runtime_dir: &Path, name: &str) -> Result<Vec<u8>, StateError> {
    let path = directory(runtime_dir, name).join("state");
    match read_file(&path, SIZE_LIMIT) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StateError::Missing),
        other => other.map_err(|e| StateError::Io(path, e)),
    }
}

/// Reads what [`write()`] wrote.
fn parse(bytes: &[u8], name: &str, boot_id: &str) -> Result<SavedState, StateError> {
    // The version decides how the rest is to be read: where that is not as it should be, it is looked at by itself.
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let damaged = |e: serde_json::Error| StateError::Damaged(e.to_string());
    let state = match serde_json::from_slice::<SavedState>(bytes) {
        Ok(state) if state.v == VERSION => state,
        Ok(state) => return Err(StateError::Version(state.v)),
        Err(why) => match serde_json::from_slice(bytes).map_err(damaged)? {
            Version { v: VERSION } => return Err(damaged(why)),
            Version { v } => return Err(StateError::Version(v)),
        },
    };
    if state.boot_id != boot_id {
        return Err(StateError::OtherBoot);
    }
    if state.unit != name {
        return Err(StateError::Damaged(format!("it is that of `{}`", state.unit.escape_debug())));
    }
    let unusable = |identity: &Option<ProcessIdentity>| identity.is_some_and(|process| process.pid <= 0);
    if unusable(&state.init) || unusable(&state.main) || state.inner_pid < 0 {
        return Err(StateError::Damaged("it names an impossible process".into()));
    }
    Ok(state)
}

/// Writes the state of `state.unit`; its directory (0700) is made when missing.
///
/// # Errors
/// Naming the file; what was written before stays.
pub fn write(runtime_dir: &Path, state: &SavedState) -> Result<(), StateError> {
    let bytes = serde_json::to_vec(state).map_err(|e| StateError::Damaged(e.to_string()))?;
    write_bytes(runtime_dir, &state.unit, &bytes)
}

fn write_bytes(runtime_dir: &Path, unit: &str, bytes: &[u8]) -> Result<(), StateError> {
    let directory = directory(runtime_dir, unit);
    let path = directory.join("state");
    let written = match write_atomically(&path, bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.and_then(|()| write_atomically(&path, bytes))
        }
        other => other,
    };
    let written = match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            overwrite(&path, bytes).map_err(|_| error)
        }
        other => other,
    };
    written.map_err(|e| StateError::Io(path, e))
}

/// What the file of a unit says, as far as this daemon knows: what would change nothing need not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written(Option<u64>);

impl Written {
    /// The file was read, and says this.
    pub fn by_others(state: &SavedState) -> Written {
        Written(serde_json::to_vec(state).ok().map(|bytes| digest(&bytes)))
    }

    /// There is no file any more.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// Writes the state, to the file and on the group, unless both say the same already. `state.written` is not looked
    /// at; `now` is written.
    ///
    /// # Errors
    /// Those of [`write()`]; the copy on the group is written even so, and the file by the next update.
    pub(super) fn update(
        &mut self,
        runtime_dir: &Path,
        mut state: SavedState,
        group: Option<&Group>,
        now: Moment,
    ) -> Result<(), StateError> {
        state.written = now.0;
        let bytes = serde_json::to_vec(&state).map_err(|e| StateError::Damaged(e.to_string()))?;
        let new = Some(digest(&bytes));
        if self.0 == new {
            return Ok(());
        }
        self.0 = None;
        note(group, &bytes);
        write_bytes(runtime_dir, &state.unit, &bytes)?;
        self.0 = new;
        Ok(())
    }
}

/// The copy on the group: a bonus where the kernel has room for it.
fn note(group: Option<&Group>, bytes: &[u8]) {
    if let Some(Err(error)) = group.map(|group| group.set_note(bytes)) {
        tracing::debug!("{error}");
    }
}

/// Of all that a state says but when it was written. Only compared with others of this process.
fn digest(bytes: &[u8]) -> u64 {
    const TIME: &[u8] = b"\"written\":";
    // In a name the quotes would have backslashes before them.
    let time = bytes.windows(TIME.len()).position(|word| word == TIME).map(|at| at + TIME.len());
    let (before, after) = bytes.split_at(time.unwrap_or(bytes.len()));
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, before);
    std::hash::Hasher::write(&mut hasher, &after[digits..]);
    std::hash::Hasher::finish(&hasher)
}

/// Removes the state: the service is down. Nothing there is fine, and of what cannot be removed the note on the group
/// says, as long as that is there, that it is out of date.
///
/// # Errors
/// Of unlink(2). A state of a run that is left names what the next daemon finds ended; one of a unit at rest is believed.
pub(super) fn remove(runtime_dir: &Path, name: &str, group: Option<&Group>, now: Moment) -> Result<(), StateError> {
    if group.is_some() {
        let down = SavedState { unit: name.to_owned(), down: true, written: now.0, ..SavedState::new() };
        note(group, &serde_json::to_vec(&down).unwrap_or_default());
    }
    let path = directory(runtime_dir, name).join("state");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::Io(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
