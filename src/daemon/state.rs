//! What one daemon leaves for the next: `<runtime>/services/NAME/state`, one JSON object per running service.
//!
//! The file is written whole and renamed into place, so that a reader never meets a half of it. Reading tolerates
//! nothing silently: a damaged file, one of a newer version or of an earlier boot is refused with the reason, and the
//! caller treats the service as unknown, not as absent. A process is identified by more than its pid
//! ([`ProcessIdentity`]); a number alone may belong to anybody by now.

use super::connections::SavedConnection;
use super::remembered::Remembered;
use super::scarcity;
use crate::cgroup::Group;
use crate::supervise::{Descent, KeptSet, Moment, Rest};
use crate::sys::process;
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Version of the file's form. Fields may be added without a new number; it grows when an older reader would be wrong.
pub const VERSION: u32 = 1;

/// Room for any usual state, bytes: one read brings all of it.
const USUAL_SIZE: usize = 1024;

/// Names of the files that the resident inits of main processes write their records to: two runs in a row have not the
/// same, so that how one ended is known until it is written down that the next has begun.
pub const RECORDS: [&str; 2] = ["exit", "exit.1"];

/// Largest state file taken, bytes.
const SIZE_LIMIT: u64 = 64 * 1024;

/// A process that can be recognised later: its number, and what tells it from every other that had or gets this number.
///
/// The start time is counted in ticks of 10 ms, in which all numbers of a small pid namespace can come round. Where the
/// kernel has a number that is never used twice (pidfs, since Linux 6.9), that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Number on the host.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot.
    pub start_time: u64,
    /// Inode number of its pidfds, unique in this boot; missing on older kernels and in states of an older rsvc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfs: Option<u64>,
}

impl ProcessIdentity {
    /// Who has this number now; `None` when nobody has.
    pub fn of(pid: i32) -> Option<ProcessIdentity> {
        match scarcity::noted(process::pidfd_open(pid).map_err(io::Error::from)) {
            Ok(pidfd) => ProcessIdentity::behind(pid, pidfd.as_fd()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) || pid <= 0 => None,
            // No descriptor to be had (EMFILE, a filter around the daemon) does not mean that there is nobody.
            Err(_) => Some(ProcessIdentity { pid, start_time: start_time_of(pid)?, pidfs: None }),
        }
    }

    /// Who is behind a pidfd that was opened for this number; `None` when it has been reaped.
    pub fn behind(pid: i32, pidfd: BorrowedFd<'_>) -> Option<ProcessIdentity> {
        let start_time = start_time_of(pid)?;
        // Still not reaped: so it was this process whose start time was read. Others' processes may not be signalled.
        match process::pidfd_send_signal(pidfd, 0) {
            Err(error) if error.errno != libc::EPERM => None,
            _ => Some(ProcessIdentity { pid, start_time, pidfs: unique_number(pidfd) }),
        }
    }

    /// Who was behind this pidfd and has been reaped: without a number that anybody could have by now. `None` where the
    /// kernel has no unique number.
    pub fn of_the_dead(pidfd: BorrowedFd<'_>) -> Option<ProcessIdentity> {
        Some(ProcessIdentity { pid: i32::MAX, start_time: 0, pidfs: Some(unique_number(pidfd)?) })
    }

    /// Is it the same process? Where one of the two lacks the unique number the start time decides.
    pub fn is_same(&self, other: &ProcessIdentity) -> bool {
        let differs = matches!((self.pidfs, other.pidfs), (Some(one), Some(another)) if one != another);
        self.pid == other.pid && self.start_time == other.start_time && !differs
    }

    /// Is it this process that a pidfd was opened for by its number? With the unique number also after its end.
    pub fn is_behind(&self, pidfd: BorrowedFd<'_>) -> bool {
        if let (Some(own), Some(found)) = (self.pidfs, unique_number(pidfd)) {
            return own == found;
        }
        ProcessIdentity::behind(self.pid, pidfd).is_some_and(|found| found.is_same(self))
    }

    /// Does the process still exist (as a zombie too)? To act on it, open a pidfd and ask [`ProcessIdentity::is_behind`].
    pub fn is_alive(&self) -> bool {
        ProcessIdentity::of(self.pid).is_some_and(|found| found.is_same(self))
    }
}

/// Inode number of a pidfd where those are of pidfs. Older kernels have one inode for all of them.
fn unique_number(pidfd: BorrowedFd<'_>) -> Option<u64> {
    /// `PID_FS_MAGIC` of linux/magic.h.
    const PIDFS: u64 = 0x5049_4446;
    static HAS_PIDFS: OnceLock<bool> = OnceLock::new();
    let is_pidfs = || crate::sys::mount::file_system_magic(pidfd) == Ok(PIDFS);
    let number = || rustix::fs::fstat(pidfd).ok().map(|stat| stat.st_ino);
    HAS_PIDFS.get_or_init(is_pidfs).then(number).flatten()
}

fn start_time_of(pid: i32) -> Option<u64> {
    start_time(&read_proc(&format!("/proc/{pid}/stat")).ok()?)
}

/// Opens a pidfd of a saved process, if it still is that process.
pub(super) fn open_verified(saved: &ProcessIdentity) -> Option<OwnedFd> {
    let pidfd = scarcity::noted(process::pidfd_open(saved.pid).map_err(io::Error::from)).ok()?;
    saved.is_behind(pidfd.as_fd()).then_some(pidfd)
}

/// Field 22.
fn start_time(stat: &[u8]) -> Option<u64> {
    fields_of(stat)?.nth(22 - 3)?.parse().ok()
}

/// How a process ended that its parent has not waited for, as of wait(2): field 52, which is told to whoever may trace
/// the process (proc_pid_stat(5)). `None` for one that is not dead.
pub(super) fn status_of_zombie(pid: i32) -> Option<i32> {
    zombie_status(&read_proc(&format!("/proc/{pid}/stat")).ok()?)
}

/// Field 4: who forked it, or has inherited it.
pub(super) fn parent_of(pid: i32) -> Option<i32> {
    fields_of(&read_proc(&format!("/proc/{pid}/stat")).ok()?)?.nth(4 - 3)?.parse().ok()
}

fn zombie_status(stat: &[u8]) -> Option<i32> {
    let mut fields = fields_of(stat)?;
    (fields.next()? == "Z").then(|| fields.nth(52 - 4)?.parse().ok())?
}

/// From the third on: counted behind the name in parentheses, which may itself hold blanks and parentheses.
fn fields_of(stat: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let behind_name = stat.iter().rposition(|b| *b == b')')? + 1;
    Some(std::str::from_utf8(&stat[behind_name..]).ok()?.split_ascii_whitespace())
}

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

/// The later one of the two copies of a unit's state: the file, and the note on its group, which needs neither room nor
/// a writable directory. Where only one can be used it is that one; the second value says why the other cannot.
///
/// # Errors
/// Neither can be believed: why the file cannot.
pub(super) fn read_newest(
    runtime_dir: &Path,
    name: &str,
    group: &Group,
) -> Result<(SavedState, Option<StateError>), StateError> {
    let (file, note) = (read_bytes(runtime_dir, name), group.note());
    if let (Ok(bytes), Some(note)) = (&file, &note)
        && bytes == note
    {
        return Ok((parse(bytes, name, boot_id())?, None));
    }
    let note = note.and_then(|note| parse(&note, name, boot_id()).ok());
    match (file.and_then(|bytes| parse(&bytes, name, boot_id())), note) {
        // A file without a time was written by an rsvc that knows of no note, so after that.
        (Ok(file), Some(note)) if file.written > 0 && note.written > file.written => Ok((note, None)),
        (Ok(file), _) => Ok((file, None)),
        (Err(why), Some(note)) => Ok((note, Some(why))),
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

/// Writes over a file whose file system is full: its first page is there already, and JSON may end in blanks. No reader
/// meets a half of it even so: what is written within one page is there or not when the writer is killed, as a fatal
/// signal is looked at between two pages.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    const PAGE: usize = 4096;
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX).max(bytes.len());
    if !metadata.is_file() || metadata.len() == 0 || length > PAGE {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let mut page = bytes.to_vec();
    page.resize(length, b' ');
    file.write_all_at(&page, 0)
}

/// What the file of a unit says, as far as this daemon knows: what would change nothing need not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written(Option<u64>);

impl Written {
    /// The file was read, and says this.
    pub fn by_others(state: &SavedState) -> Written {
        let without_time = SavedState { written: 0, ..state.clone() };
        Written(serde_json::to_vec(&without_time).ok().map(|bytes| digest(&bytes)))
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
        let encode = |state: &SavedState| serde_json::to_vec(state).map_err(|e| StateError::Damaged(e.to_string()));
        state.written = 0;
        let new = Some(digest(&encode(&state)?));
        if self.0 == new {
            return Ok(());
        }
        self.0 = None;
        state.written = now.0;
        let bytes = encode(&state)?;
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

/// Only compared with others of this process.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, bytes);
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

/// Writes a file (0600) whole: a reader sees the old content or the new one. Not synced to a disk: the runtime
/// directory does not outlive the boot.
///
/// # Errors
/// Of open(2), write(2) and rename(2).
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(CWD, &temporary, flags, Mode::from_raw_mode(0o600))?);
    let written = file.write_all(bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// At most `limit` bytes of a regular file, no link followed.
pub(super) fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from);
    let file = File::from(scarcity::noted(opened)?);
    if !scarcity::noted(file.metadata())?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    // Of a regular file less than was asked for is the end.
    while scarcity::noted(read_more(&file, &mut bytes))? != 0
        && bytes.len() == bytes.capacity()
        && bytes.len() as u64 <= limit
    {
        bytes.reserve(bytes.len());
    }
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// A file of /proc that the kernel shows as one record, in one read: what comes is all, unless it fills the room.
pub fn read_proc(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let file = scarcity::noted(opened.map_err(io::Error::from))?;
    while scarcity::noted(read_more(&file, &mut bytes))? != 0 && bytes.len() == bytes.capacity() {
        bytes.reserve(bytes.len());
    }
    Ok(bytes)
}

fn read_more<F: AsFd>(file: F, bytes: &mut Vec<u8>) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(&file, rustix::buffer::spare_capacity(bytes)))?)
}

/// The kernel's id of this boot, 36 characters; empty where /proc does not tell (then no state is of another boot). In a
/// pid namespace of its own, also what identifies the first process of that: to a container a new start is a boot, and
/// the numbers in its states are those of a namespace that is gone. Read once: it is part of every state that is written.
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let id = text.map(|text| text.trim().to_owned()).unwrap_or_default();
        match first_process() {
            Some(first) => format!("{id}/{first}"),
            None => id,
        }
    })
}

/// A number of the first process of this pid namespace; `None` in the host's, where the boot id says the same.
fn first_process() -> Option<u64> {
    /// Target of the link in the namespace that the kernel made at its boot (PROC_PID_INIT_INO, the same everywhere).
    const HOSTS: &str = "pid:[4026531836]";
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    if namespace == Path::new(HOSTS) {
        return None;
    }
    ProcessIdentity::of(1).map(|first| first.pidfs.unwrap_or(first.start_time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state() -> SavedState {
        SavedState {
            unit: "web".into(),
            invocation_id: "0123456789abcdef0123456789abcdef".into(),
            main: ProcessIdentity::of(std::process::id() as i32),
            inner_pid: 2,
            ready: true,
            since: 5_000_000,
            log_pipe: Some(7),
            ..SavedState::new()
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let runtime = tempfile::tempdir().unwrap();
        assert!(matches!(read(runtime.path(), "web"), Err(StateError::Missing)));
        write(runtime.path(), &state()).unwrap();
        assert_eq!(read(runtime.path(), "web").unwrap(), state());
        let stopping = SavedState { stop_requested: true, ..state() };
        write(runtime.path(), &stopping).unwrap();
        assert_eq!(read(runtime.path(), "web").unwrap(), stopping);
        let directory = directory(runtime.path(), "web");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file stays");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        remove(runtime.path(), "web", None, Moment(0)).unwrap();
        remove(runtime.path(), "web", None, Moment(0)).unwrap();
        assert!(matches!(read(runtime.path(), "web"), Err(StateError::Missing)));
    }

    #[test]
    fn what_the_file_says_already_is_not_written_again() {
        let runtime = tempfile::tempdir().unwrap();
        let mut written = Written::default();
        written.update(runtime.path(), state(), None, Moment(7)).unwrap();
        remove(runtime.path(), "web", None, Moment(0)).unwrap();
        written.update(runtime.path(), state(), None, Moment(7)).unwrap();
        assert!(matches!(read(runtime.path(), "web"), Err(StateError::Missing)));
        let stopping = SavedState { stop_requested: true, ..state() };
        written.update(runtime.path(), stopping.clone(), None, Moment(8)).unwrap();
        let found = read(runtime.path(), "web").unwrap();
        assert_eq!(found, SavedState { written: 8, ..stopping.clone() });
        let mut next = Written::by_others(&found);
        assert_eq!(next, written);
        remove(runtime.path(), "web", None, Moment(0)).unwrap();
        next.forget();
        next.update(runtime.path(), stopping.clone(), None, Moment(9)).unwrap();
        assert_eq!(read(runtime.path(), "web").unwrap(), SavedState { written: 9, ..stopping });
    }

    #[test]
    fn what_cannot_be_believed_is_refused_with_the_reason() {
        let good = String::from_utf8(serde_json::to_vec(&state()).unwrap()).unwrap();
        let why = |text: &str| parse(text.as_bytes(), "web", boot_id()).unwrap_err().to_string();
        assert!(parse(good.as_bytes(), "web", boot_id()).is_ok());
        assert!(parse(good.as_bytes(), "web", "other").unwrap_err().to_string().contains("earlier boot"));
        assert!(why(&good[..good.len() / 2]).contains("damaged"));
        assert!(why("").contains("damaged"));
        assert!(why(&good.replace("\"v\":1", "\"v\":2")).contains("of version 2"));
        assert!(why("{\"v\":9,\"everything\":\"new\"}").contains("of version 9"));
        assert!(why(&good.replace("\"web\"", "\"db\"")).contains("that of `db`"));
        let own = format!("\"pid\":{}", std::process::id());
        assert!(why(&good.replace(&own, "\"pid\":0")).contains("impossible process"));
        assert!(why(&good.replace(&own, "\"pid\":-1")).contains("impossible process"));
    }

    #[test]
    fn fields_of_a_later_version_with_the_same_number_are_passed_over() {
        let text = format!("{{\"v\":1,\"boot_id\":\"{}\",\"unit\":\"web\",\"later\":[1]}}", boot_id());
        let read = parse(text.as_bytes(), "web", boot_id()).unwrap();
        assert_eq!(read, SavedState { unit: "web".into(), ..SavedState::new() });
    }

    #[test]
    fn a_reused_pid_is_somebody_else() {
        let own = ProcessIdentity::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessIdentity { start_time: own.start_time + 1, ..own }.is_alive());
        assert!(ProcessIdentity { pidfs: None, ..own }.is_alive(), "as an older rsvc wrote it");
        assert_eq!(ProcessIdentity::of(0), None);
        assert_eq!(ProcessIdentity::of(i32::MAX), None);
    }

    #[test]
    fn a_pid_reused_within_one_tick_is_somebody_else() {
        let own = ProcessIdentity::of(std::process::id() as i32).unwrap();
        let Some(number) = own.pidfs else {
            return eprintln!("skipped: this kernel has no pidfs");
        };
        assert!(!ProcessIdentity { pidfs: Some(number + 1), ..own }.is_alive());
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id() as i32;
        let pidfd = process::pidfd_open(pid).unwrap();
        let identity = ProcessIdentity::behind(pid, pidfd.as_fd()).unwrap();
        assert_ne!(identity.pidfs, own.pidfs);
        assert!(identity.is_behind(pidfd.as_fd()));
        child.wait().unwrap();
        assert!(identity.is_behind(pidfd.as_fd()), "the descriptor is that of the process that was");
        assert!(!identity.is_alive(), "whoever has the number now is another one");
    }

    #[test]
    fn an_identity_without_the_unique_number_is_read_and_written() {
        let old: ProcessIdentity = serde_json::from_str("{\"pid\":7,\"start_time\":8}").unwrap();
        assert_eq!(old, ProcessIdentity { pid: 7, start_time: 8, pidfs: None });
        assert_eq!(serde_json::to_string(&old).unwrap(), "{\"pid\":7,\"start_time\":8}");
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = |name: &str| format!("1 ({name}) S 0 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 22 33\n");
        for name in ["sh", "a b", "x) S 1 2 (", ") R 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9"] {
            assert_eq!(start_time(stat(name).as_bytes()), Some(4711), "{name}");
        }
        assert_eq!(start_time(b"1 (x) S"), None);
    }

    #[test]
    fn a_zombie_tells_how_it_ended() {
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "exit 42"]).spawn().unwrap();
        let pid = child.id() as i32;
        assert_eq!(status_of_zombie(std::process::id() as i32), None);
        while status_of_zombie(pid).is_none() {
            std::thread::yield_now();
        }
        // An ordinary user may not trace what is not dumpable; a shell is.
        assert_eq!(status_of_zombie(pid), Some(42 << 8));
        child.wait().unwrap();
        assert_eq!(status_of_zombie(pid), None);
        let dead = "7 (x) ) Z 1 2 3".to_owned() + &" 0".repeat(45) + " 139\n";
        assert_eq!(zombie_status(dead.as_bytes()), Some(139));
        assert_eq!(zombie_status(dead.replace('Z', "S").as_bytes()), None);
    }

    #[test]
    fn a_state_that_is_written_over_is_read_again() {
        let runtime = tempfile::tempdir().unwrap();
        write(runtime.path(), &state()).unwrap();
        let path = directory(runtime.path(), "web").join("state");
        let short = SavedState { unit: "web".into(), ..SavedState::new() };
        overwrite(&path, &serde_json::to_vec(&short).unwrap()).unwrap();
        assert_eq!(read(runtime.path(), "web").unwrap(), short);
        let long = SavedState { invocation_id: "0".repeat(1000), ..state() };
        overwrite(&path, &serde_json::to_vec(&long).unwrap()).unwrap();
        assert_eq!(read(runtime.path(), "web").unwrap(), long);
        assert!(overwrite(&path, &[b' '; 5000]).is_err());
        assert_eq!(read(runtime.path(), "web").unwrap(), long);
    }

    #[test]
    fn links_and_large_files_are_not_read() {
        let runtime = tempfile::tempdir().unwrap();
        write(runtime.path(), &state()).unwrap();
        let path = directory(runtime.path(), "web").join("state");
        fs::write(&path, vec![b' '; SIZE_LIMIT as usize + 1]).unwrap();
        assert!(read(runtime.path(), "web").unwrap_err().to_string().contains("larger than"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(read(runtime.path(), "web"), Err(StateError::Io(..))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(&bytes, "web", "boot").is_err());
        }
    }
}
