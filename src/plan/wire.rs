//! The encoding of a plan for the memfd, versioned. Decoding trusts nothing.
//!
//! A plan has a header, so that a stage of another version says so instead of misreading it. Reports and exit records
//! are exchanged by processes of one start and have none.
//!
//! ```text
//! magic "rsvc-plan\0" | version u16 LE | body length u32 LE | body: postcard of (LaunchPlan, PerStart)
//! ```

use super::LaunchPlan;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What differs from start to start of one compiled plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerStart {
    /// Added to the environment of `Step::Execute`, replacing entries of the same name: INVOCATION_ID, MAINPID,
    /// SERVICE_RESULT, the content of `environment_files`.
    pub environment: Vec<(String, String)>,
    /// Variables that hold the pid of the process that executes, as it counts itself: WATCHDOG_PID.
    pub pid_variables: Vec<String>,
    /// Numbers of the inherited descriptors.
    pub descriptors: Descriptors,
    /// What is launched ends with the launching process, whatever that dies of: for `rsvc run`, after which nobody
    /// would look after it.
    pub die_with_launcher: bool,
    /// What is launched is the main process, not a command around it. The resident init has it among its arguments, for
    /// a daemon that finds no state of the service.
    pub is_main: bool,
    /// For `Step::SetCredential`: text by name. It is here and not in the plan, which is printed and kept.
    pub credentials: Vec<(String, String)>,
    /// For `Step::OpenTerminal`: how the terminal is when the service finds it.
    pub terminal: TerminalSettings,
}

/// What a new terminal takes over from the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSettings {
    /// Lines; 0 when unknown.
    pub rows: u16,
    /// Columns; 0 when unknown.
    pub columns: u16,
    /// A character may have several bytes (IUTF8), which matters to the erase key.
    pub utf8: bool,
}

/// Descriptors that the stage inherits besides 0 (`/dev/null`), by number. They are fixed here so that the stage
/// guesses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// SOCK_SEQPACKET socket for [`crate::plan::wire::Report`]s; closed by exec.
    pub report: Option<i32>,
    /// Socket on which the resident init tells each child's end ([`ExitRecord`]); all inits share it.
    pub exits: Option<i32>,
    /// Regular file of [`RECORD_FILE_SIZE`] bytes that init maps and writes the same records to.
    pub record: Option<i32>,
    /// Sealed memfd of the resident init.
    pub init: Option<i32>,
    /// Read end from which one byte comes when the id maps are written, and, for a launch without a group, when it is
    /// written down which process this is.
    pub maps_ready: Option<i32>,
    /// `cgroup.procs` of v1 groups, opened for writing by the daemon.
    pub cgroup_procs: Vec<i32>,
    /// pidfd of the container's PID 1, for `Step::JoinContainer`.
    pub container: Option<i32>,
    /// Namespaces of other units, one for each `Step::JoinUnit`, in the plan's order.
    pub shared: Vec<i32>,
    /// Files of `Step::LoadCredential`, opened for reading.
    pub credentials: Vec<CredentialFile>,
    /// The mount of `Step::TakeImage`, attached nowhere.
    pub image: Option<i32>,
    /// For the service itself, which finds them as 3, 4, 5... in this order. The stage sets LISTEN_FDS, LISTEN_PID and
    /// LISTEN_FDNAMES (sd_listen_fds(3)) for them.
    pub passed: Vec<Passed>,
    /// Becomes standard output.
    pub stdout: Option<i32>,
    /// Standard input, instead of `/dev/null`: what `rsvc run -- COMMAND` was given.
    pub stdin: Option<i32>,
    /// Becomes standard error.
    pub stderr: Option<i32>,
    /// SOCK_SEQPACKET socket that a filter's listener is sent over, to whoever answers the service's denied calls; closed
    /// by exec.
    pub denials: Option<i32>,
    /// SOCK_SEQPACKET socket on which a command's end is told to whoever asked for it (`rsvc exec`).
    pub caller: Option<i32>,
    /// User namespace of the running container, for `Step::JoinUserNamespace`.
    pub user_namespace: Option<i32>,
    /// Kept open by init and nobody else: the read end of the log pipe and the notify socket, so that they outlive
    /// the daemon.
    pub pinned: Vec<i32>,
    /// Sealed memfd that `Step::Execute` executes instead of looking for the program: of a command that brings its own.
    pub program: Option<i32>,
}

/// A file that becomes a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFile {
    /// Name of the step's credential.
    pub credential: String,
    /// Name of the file inside; differs where the credential comes from a directory.
    pub name: String,
    /// Its number in the stage.
    pub number: i32,
}

/// A descriptor that the service gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Its number in the stage.
    pub number: i32,
    /// Its name in LISTEN_FDNAMES, without `:`.
    pub name: String,
}

/// One datagram from the set-up stage or the service's process before its exec. The kernel adds the sender's pid
/// (SCM_CREDENTIALS), translated to the daemon's pid namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// `steps[step]` failed; nothing more will come.
    Failed {
        /// Index into the plan's steps.
        step: u16,
        /// Raw errno; 0 where none applies.
        errno: i32,
        /// What the step was working on when that is more than the step says: a component of a path, a set that
        /// differs on read-back.
        detail: String,
    },
    /// `steps[step]` was allowed to fail and did.
    Degraded {
        /// Index into the plan's steps.
        step: u16,
        /// Raw errno.
        errno: i32,
        /// What was done instead: `clamped to 20000`.
        detail: String,
    },
    /// Sent by the service's process just before exec: its credentials carry its pid. End of file afterwards means
    /// that exec succeeded; end of file without it that the process was killed during set-up.
    Executing,
    /// `Step::OpenTerminal` has opened a terminal: two descriptors come along, the master's side and the service's.
    Terminal,
}

/// Size of the record file, bytes.
pub const RECORD_FILE_SIZE: u64 = 4096;

/// Marks a written [`ExitRecord`]; stored last.
pub const RECORD_MAGIC: u32 = 0x7273_7663;

/// End of one child of the resident init; 32 bytes, native byte order, layout frozen as version 1.
///
/// The record file holds the main process's record (the first child forked) at offset 0 and a ring of the others,
/// oldest overwritten, at offsets 32, 64, ... 4064.
///
/// ```text
/// 0 magic u32 | 4 inner pid i32 | 8 code i32 (CLD_EXITED 1, CLD_KILLED 2, CLD_DUMPED 3) | 12 status i32
/// 16 CLOCK_BOOTTIME ns u64 | 24 sequence number u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Pid in the container.
    pub pid: i32,
    /// CLD_EXITED, CLD_KILLED or CLD_DUMPED (waitid(2)).
    pub code: i32,
    /// Exit status or signal number.
    pub status: i32,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub boottime: u64,
    /// Counts up from 1.
    pub sequence: u64,
}

/// When the resident init let the main process begin, CLOCK_BOOTTIME in nanoseconds, from a record file in which its end
/// is not recorded: init writes this into the place of the first record, without the magic, before it opens the gate.
pub fn begun(file: &[u8]) -> Option<u64> {
    let first = file.first_chunk::<{ ExitRecord::SIZE }>()?;
    let (head, rest) = first.split_at(16);
    let time = u64::from_ne_bytes(*rest.first_chunk()?);
    (head.iter().all(|byte| *byte == 0) && time != 0).then_some(time)
}

/// Why bytes are not a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Shorter than the header, or than the header says.
    Truncated,
    /// Not a plan.
    Magic,
    /// Written by another version of rsvc.
    Version(u16),
    /// The body does not decode; what postcard says.
    Body(String),
}

/// Current version of the encoding.
pub const VERSION: u16 = 1;

/// First bytes of an encoded plan.
const MAGIC: &[u8; 10] = b"rsvc-plan\0";

/// Magic, version, length.
const HEADER: usize = MAGIC.len() + 2 + 4;

/// Encodes a plan and what this start adds.
pub fn encode(plan: &LaunchPlan, start: &PerStart) -> Vec<u8> {
    // Strings, numbers and vectors of them always encode; a path would not if it were no UTF-8, which `compile` refuses.
    let body = postcard::to_allocvec(&(plan, start)).expect("paths of a compiled plan are UTF-8");
    let length = u32::try_from(body.len()).expect("a plan is far smaller than 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// Every malformed input; it never panics.
pub fn decode(bytes: &[u8]) -> Result<(LaunchPlan, PerStart), WireError> {
    let (magic, rest) = bytes.split_first_chunk::<10>().ok_or(WireError::Truncated)?;
    if magic != MAGIC {
        return Err(WireError::Magic);
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(WireError::Truncated)?;
    let version = u16::from_le_bytes(*version);
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let (length, body) = rest.split_first_chunk::<4>().ok_or(WireError::Truncated)?;
    let length = u32::from_le_bytes(*length) as usize;
    if body.len() < length {
        return Err(WireError::Truncated);
    }
    if body.len() > length {
        return Err(WireError::Body(format!("{} bytes too many", body.len() - length)));
    }
    decode_body(body)
}

/// Encodes one report, a datagram.
pub fn encode_report(report: &Report) -> Vec<u8> {
    postcard::to_allocvec(report).expect("numbers and a string always encode")
}

/// Decodes one datagram of the report socket.
///
/// # Errors
/// [`WireError::Body`] for every malformed datagram, also one with bytes too many; it never panics.
pub fn decode_report(bytes: &[u8]) -> Result<Report, WireError> {
    decode_body(bytes)
}

/// One value and nothing behind it.
fn decode_body<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(WireError::Body(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(WireError::Body(error.to_string())),
    }
}

impl ExitRecord {
    /// Bytes of one record.
    pub const SIZE: usize = 32;

    /// The 32 bytes as init writes them.
    pub fn to_bytes(&self) -> [u8; ExitRecord::SIZE] {
        let mut bytes = [0; ExitRecord::SIZE];
        bytes[0..4].copy_from_slice(&RECORD_MAGIC.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.code.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.status.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.boottime.to_ne_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_ne_bytes());
        bytes
    }

    /// Reads one record; `None` when the place was never written (no magic), is cut short, or holds a code that
    /// waitid(2) does not give for an ended process.
    pub fn from_bytes(bytes: &[u8]) -> Option<ExitRecord> {
        let bytes: &[u8; ExitRecord::SIZE] = bytes.try_into().ok()?;
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let long = |at: usize| {
            let mut value = [0; 8];
            value.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(value)
        };
        let record = ExitRecord {
            pid: i32::from_ne_bytes(word(4)),
            code: i32::from_ne_bytes(word(8)),
            status: i32::from_ne_bytes(word(12)),
            boottime: long(16),
            sequence: long(24),
        };
        (u32::from_ne_bytes(word(0)) == RECORD_MAGIC && (1..=3).contains(&record.code)).then_some(record)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated => f.write_str("the plan is cut short"),
            WireError::Magic => f.write_str("not a plan"),
            WireError::Version(version) => write!(f, "a plan of version {version}, this rsvc reads {VERSION}"),
            WireError::Body(why) => write!(f, "the plan does not decode: {why}"),
        }
    }
}

impl std::error::Error for WireError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        CgroupSettings, Container, FilterProgram, IdMaps, MapWriter, Namespaces, Origin, Output, PlannedStep, Slot,
        Step,
    };
    use proptest::prelude::*;

    fn example() -> (LaunchPlan, PerStart) {
        let steps = [
            Step::NewSession,
            Step::Mask { at: "/proc/kcore".into(), closed: false, missing_ok: true },
            Step::Seal { slot: Slot(3), set: Default::default() },
            Step::LoadCredential { slot: Slot(4), name: "key".into(), path: "/etc/key".into(), missing_ok: true },
            Step::SetCredential { slot: Slot(4), name: "word".into() },
            Step::SealCredentials { slot: Slot(4), uid: 33, gid: 33 },
            Step::LoadFilter {
                program: FilterProgram(vec![(0x20, 0, 0, 4), (6, 0, 0, 0x7fff_0000)]),
                log: false,
                rules: Vec::new(),
            },
            Step::Execute { argv: vec!["/bin/true".into()], environment: vec![("A".into(), "b".into())] },
        ];
        let plan = LaunchPlan {
            unit: "web".into(),
            role: "main".into(),
            container: Container::Own,
            origins: vec![Origin { key: "service.exec".into(), place: None }],
            sockets: Vec::new(),
            timers: Vec::new(),
            prepare: Vec::new(),
            cgroup: CgroupSettings { pids_max: Some(4096), ..Default::default() },
            clone: Namespaces { mount: true, ..Default::default() },
            id_maps: Some(IdMaps { uid: vec![(0, 1000, 1)], gid: vec![(0, 1000, 1)], writer: MapWriter::DaemonAsUser }),
            init: false,
            output: Output::Pipe,
            steps: steps.into_iter().map(|step| PlannedStep { step, origin: Some(0), may_fail: false }).collect(),
            degraded: Vec::new(),
        };
        let file = CredentialFile { credential: "key".into(), name: "key_a".into(), number: 9 };
        let start = PerStart {
            environment: vec![("INVOCATION_ID".into(), "0".into())],
            credentials: vec![("word".into(), "text".into())],
            descriptors: Descriptors { credentials: vec![file], ..Default::default() },
            ..Default::default()
        };
        (plan, start)
    }

    #[test]
    fn a_plan_survives_the_journey() {
        let (plan, start) = example();
        assert_eq!(decode(&encode(&plan, &start)), Ok((plan, start)));
    }

    #[test]
    fn every_shortened_plan_is_refused() {
        let (plan, start) = example();
        let bytes = encode(&plan, &start);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), Err(WireError::Truncated), "{length} bytes");
        }
    }

    #[test]
    fn bytes_behind_the_plan_are_refused_outside_and_inside_the_stated_length() {
        let (plan, start) = example();
        let mut bytes = encode(&plan, &start);
        bytes.push(0);
        assert_eq!(decode(&bytes), Err(WireError::Body("1 bytes too many".into())));
        let length = u32::try_from(bytes.len() - HEADER).expect("small");
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        assert_eq!(decode(&bytes), Err(WireError::Body("1 bytes too many".into())));
    }

    #[test]
    fn another_version_and_another_file_are_told_apart() {
        let (plan, start) = example();
        let mut bytes = encode(&plan, &start);
        bytes[10] = 9;
        assert_eq!(decode(&bytes), Err(WireError::Version(9)));
        bytes[0] = b'R';
        assert_eq!(decode(&bytes), Err(WireError::Magic));
        assert_eq!(decode(b""), Err(WireError::Truncated));
    }

    #[test]
    fn reports_survive_the_journey_and_nothing_longer_does() {
        let reports = [
            Report::Executing,
            Report::Terminal,
            Report::Failed { step: 8, errno: 13, detail: "/srv".into() },
            Report::Degraded { step: 300, errno: 1, detail: "clamped to 20000".into() },
        ];
        for report in reports {
            let mut bytes = encode_report(&report);
            assert_eq!(decode_report(&bytes), Ok(report));
            bytes.push(7);
            assert!(decode_report(&bytes).is_err());
        }
        assert!(decode_report(b"").is_err());
    }

    #[test]
    fn an_exit_record_has_the_documented_layout() {
        let record = ExitRecord { pid: 2, code: 2, status: 9, boottime: 0x0102_0304_0506_0708, sequence: 1 };
        let bytes = record.to_bytes();
        assert_eq!(&bytes[0..4], &RECORD_MAGIC.to_ne_bytes());
        assert_eq!(&bytes[16..24], &0x0102_0304_0506_0708u64.to_ne_bytes());
        assert_eq!(ExitRecord::from_bytes(&bytes), Some(record));
    }

    #[test]
    fn a_place_never_written_holds_no_record() {
        assert_eq!(ExitRecord::from_bytes(&[0; 32]), None);
        let record = ExitRecord { pid: 2, code: 1, status: 0, boottime: 0, sequence: 1 };
        assert_eq!(ExitRecord::from_bytes(&record.to_bytes()[..31]), None);
        let mut begun_at = [0; 64];
        assert_eq!(begun(&begun_at), None);
        begun_at[16] = 7;
        assert_eq!((begun(&begun_at), ExitRecord::from_bytes(&begun_at[..32])), (Some(7), None));
        assert_eq!(begun(&record.to_bytes()), None);
        let unfinished = ExitRecord { code: 0, ..record };
        assert_eq!(ExitRecord::from_bytes(&unfinished.to_bytes()), None);
    }

    proptest! {
        #[test]
        fn decoding_never_panics_on_changed_bytes(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let (plan, start) = example();
            let mut bytes = encode(&plan, &start);
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok((plan, start)) = decode(&bytes) {
                // What decodes encodes again: nothing half-read gets through.
                prop_assert_eq!(decode(&encode(&plan, &start)), Ok((plan, start)));
            }
        }

        #[test]
        fn decoding_never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
            let mut framed = MAGIC.to_vec();
            framed.extend_from_slice(&VERSION.to_le_bytes());
            framed.extend_from_slice(&u32::try_from(bytes.len()).expect("small").to_le_bytes());
            framed.extend_from_slice(&bytes);
            let _ = decode(&framed);
            let _ = decode_report(&bytes);
        }

        #[test]
        fn records_survive_the_journey(
            pid in any::<i32>(), code in 1..=3, status in any::<i32>(), boottime in any::<u64>(), sequence in any::<u64>(),
        ) {
            let record = ExitRecord { pid, code, status, boottime, sequence };
            prop_assert_eq!(ExitRecord::from_bytes(&record.to_bytes()), Some(record));
        }
    }
}
