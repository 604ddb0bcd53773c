//! Plans by hand, and running them.

use rsvc::init::{STAGE_NAME, namespace_flags};
use rsvc::plan::wire::{self, Descriptors, ExitRecord, Passed, PerStart, RECORD_FILE_SIZE, Report};
use rsvc::plan::{
    CapabilitySet, CgroupSettings, Container, Create, IdMaps, LaunchPlan, MapWriter, MountFlags, Namespaces, Output,
    PlannedStep, Slot, Step, TreeSource,
};
use rsvc::sys::fd::{self, NonBlocking, Open};
use rsvc::sys::process::{self, Spawn};
use rsvc::sys::{RESIDENT_INIT, credentials, socket};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest life of a test container.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn is_root() -> bool {
    credentials::uids().unwrap()[1] == 0
}

/// A plan under construction. `before` runs in the stage, `after` in the service's process.
pub struct Draft {
    pub namespaces: Namespaces,
    pub id_maps: Option<IdMaps>,
    pub before: Vec<Step>,
    pub after: Vec<Step>,
    pub argv: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub start_environment: Vec<(String, String)>,
    pub init: bool,
    pub may_fail: fn(&Step) -> bool,
    pub container: Option<OwnedFd>,
    pub oom_group: bool,
    pub pinned: Vec<OwnedFd>,
    /// What the service gets, from 3 on, each with its name.
    pub passed: Vec<(OwnedFd, String)>,
    pub with_output: bool,
    /// Stand-ins for `cgroup.procs` files.
    pub cgroup_procs: Vec<std::fs::File>,
}

pub const ROOT: Slot = Slot::ROOT;
pub const PROC: Slot = Slot(1);
pub const DEV: Slot = Slot(2);
pub const NULL: Slot = Slot(3);

pub fn read_only() -> MountFlags {
    MountFlags { read_only: true, ..MountFlags::default() }
}

pub fn open_tree(slot: Slot, path: &str) -> Step {
    Step::OpenTree { slot, source: TreeSource::Host, path: path.into(), recursive: true, missing_ok: false }
}

pub fn attach(slot: Slot, at: &str, create: Create) -> Step {
    Step::Attach { slot, at: at.into(), create }
}

pub fn tmpfs(slot: Slot) -> Step {
    Step::NewFilesystem { slot, fs_type: "tmpfs".into(), options: vec![], flags: MountFlags::default() }
}

/// Everything of the bounding set but what makes a container's root dangerous.
pub fn all_capabilities() -> CapabilitySet {
    CapabilitySet(credentials::bounding_set().unwrap().0)
}

impl Draft {
    /// The host's tree read-only, own `/proc` and `/dev`, all namespaces but net; runs `script` in a shell.
    pub fn shell(script: &str) -> Draft {
        let mut draft = Draft::on("/", script);
        draft.before.insert(2, Step::SetAttributes { slot: ROOT, set: read_only(), recursive: true });
        draft
    }

    /// Like [`Draft::shell`], writable, with `root` as the root.
    pub fn on(root: &str, script: &str) -> Draft {
        let user = !is_root();
        let before = vec![
            Step::PrivatePropagation,
            open_tree(ROOT, root),
            open_tree(NULL, "/dev/null"),
            Step::NewFilesystem { slot: PROC, fs_type: "proc".into(), options: vec![], flags: MountFlags::default() },
            tmpfs(DEV),
            Step::AttachRoot,
            attach(PROC, "/proc", Create::Never),
            attach(DEV, "/dev", Create::Never),
            Step::AttachNode { node: NULL, slot: DEV, name: "null".into() },
            Step::PivotRoot,
        ];
        Draft {
            namespaces: Namespaces { mount: true, pid: true, ipc: true, uts: true, user, ..Namespaces::default() },
            id_maps: user.then(one_id),
            before,
            after: vec![Step::ResetSignals],
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: vec![("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())],
            start_environment: vec![],
            init: true,
            may_fail: |_| false,
            container: None,
            oom_group: false,
            pinned: vec![],
            passed: vec![],
            with_output: true,
            cgroup_procs: vec![],
        }
    }

    /// Inserts steps before `PivotRoot`.
    pub fn before_pivot(mut self, steps: impl IntoIterator<Item = Step>) -> Draft {
        let at = self.before.iter().position(|step| *step == Step::PivotRoot).unwrap();
        self.before.splice(at..at, steps);
        self
    }

    /// Inserts steps before `AttachRoot`.
    pub fn before_root(mut self, steps: impl IntoIterator<Item = Step>) -> Draft {
        let at = self.before.iter().position(|step| *step == Step::AttachRoot).unwrap();
        self.before.splice(at..at, steps);
        self
    }

    /// Appends steps to the service's own.
    pub fn then(mut self, steps: impl IntoIterator<Item = Step>) -> Draft {
        self.after.extend(steps);
        self
    }

    fn plan(&self) -> LaunchPlan {
        let mut steps = Vec::new();
        if self.id_maps.is_some() {
            steps.push(Step::EnterUserNamespace);
        }
        steps.push(Step::NewSession);
        steps.extend(self.before.clone());
        if self.init || self.container.is_some() {
            steps.push(Step::ForkService);
        }
        // The filters are the last, the descriptors must be arranged before them.
        let filters = self.after.iter().position(|step| matches!(step, Step::LoadFilter { .. }));
        let (attributes, filters) = self.after.split_at(filters.unwrap_or(self.after.len()));
        steps.extend(attributes.to_vec());
        steps.push(Step::ArrangeDescriptors);
        steps.extend(filters.to_vec());
        steps.push(Step::Execute { argv: self.argv.clone(), environment: self.environment.clone() });
        LaunchPlan {
            unit: "test".into(),
            role: "main".into(),
            container: if self.container.is_some() { Container::Joined } else { Container::Own },
            origins: vec![],
            sockets: Vec::new(),
            timers: Vec::new(),
            prepare: vec![],
            cgroup: CgroupSettings { memory_oom_group: self.oom_group.then_some(true), ..CgroupSettings::default() },
            clone: self.namespaces,
            id_maps: self.id_maps.clone(),
            init: self.init,
            output: Output::Pipe,
            steps: steps
                .into_iter()
                .map(|step| PlannedStep { may_fail: (self.may_fail)(&step), step, origin: None })
                .collect(),
            degraded: vec![],
        }
    }

    /// Index of the first step that `wanted` accepts.
    pub fn index_of(&self, wanted: impl Fn(&Step) -> bool) -> u16 {
        self.plan().steps.iter().position(|planned| wanted(&planned.step)).unwrap() as u16
    }

    /// Starts it; `None`, after saying why, when this kernel or user may not make such a container.
    pub fn start(mut self) -> Option<Running> {
        let plan = self.plan();
        let (report, report_theirs) = socket::seqpacket_pair().unwrap();
        socket::set_passcred(report.as_fd()).unwrap();
        let (output, output_theirs) = fd::pipe(NonBlocking::None).unwrap();
        let (exits, exits_theirs) = fd::pipe(NonBlocking::Read).unwrap();
        let (maps_theirs, maps) = fd::pipe(NonBlocking::None).unwrap();
        let record = tempfile::tempfile().unwrap();
        record.set_len(RECORD_FILE_SIZE).unwrap();
        let init = fd::sealed_memfd(c"rsvc-init", RESIDENT_INIT, true).unwrap();
        let container = self.container.take();
        let start = PerStart {
            pid_variables: Vec::new(),
            is_main: true,
            environment: self.start_environment.clone(),
            descriptors: Descriptors {
                denials: None,
                caller: None,
                image: None,
                program: None,
                user_namespace: None,
                stdin: None,
                report: Some(4),
                exits: Some(5),
                record: Some(6),
                init: Some(7),
                maps_ready: Some(8),
                cgroup_procs: (0..self.cgroup_procs.len() as i32).map(|index| 30 + index).collect(),
                container: container.is_some().then_some(9),
                shared: Vec::new(),
                stdout: self.with_output.then_some(10),
                stderr: self.with_output.then_some(10),
                pinned: (0..self.pinned.len() as i32).map(|index| 20 + index).collect(),
                passed: (40..)
                    .zip(&self.passed)
                    .map(|(number, (_, name))| Passed { number, name: name.clone() })
                    .collect(),
                credentials: Vec::new(),
            },
            credentials: Vec::new(),
            die_with_launcher: false,
            terminal: Default::default(),
        };
        let plan_fd = fd::sealed_memfd(c"plan", &wire::encode(&plan, &start), false).unwrap();
        let program = fd::open(&CString::new(env!("CARGO_BIN_EXE_rsvc")).unwrap(), Open::Path).unwrap();
        let null = fd::open(c"/dev/null", Open::ReadWrite).unwrap();
        let mut inherit: Vec<(BorrowedFd<'_>, i32)> = vec![
            (null.as_fd(), 0),
            (plan_fd.as_fd(), 3),
            (report_theirs.as_fd(), 4),
            (exits_theirs.as_fd(), 5),
            (record.as_fd(), 6),
            (init.as_fd(), 7),
            (maps_theirs.as_fd(), 8),
        ];
        inherit.extend(self.passed.iter().zip(40..).map(|((fd, _), number)| (fd.as_fd(), number)));
        inherit.extend(container.as_ref().map(|fd| (fd.as_fd(), 9)));
        inherit.extend(self.with_output.then_some((output_theirs.as_fd(), 10)));
        inherit.extend(self.pinned.iter().enumerate().map(|(index, fd)| (fd.as_fd(), 20 + index as i32)));
        inherit.extend(self.cgroup_procs.iter().enumerate().map(|(index, file)| (file.as_fd(), 30 + index as i32)));
        let argv = [CString::new(STAGE_NAME).unwrap(), c"3".to_owned()];
        process::mark_heap_dontfork().unwrap();
        let spawned = process::spawn(&Spawn {
            flags: namespace_flags(self.namespaces),
            cgroup: None,
            program: program.as_fd(),
            argv: &argv,
            envp: &[],
            inherit: &inherit,
            raise_ambient: self.namespaces.user,
            error: Some(report_theirs.as_fd()),
        });
        let (pid, pidfd) = match spawned {
            Ok(born) => born,
            Err(error) => {
                skipped!("no container can be made here: {error}");
                return None;
            }
        };
        if let Some(id_maps) = &self.id_maps
            && let Err(error) = write_maps(pid, id_maps)
        {
            skipped!("the id maps cannot be written: {error}");
            process::pidfd_send_signal(pidfd.as_fd(), 9).unwrap();
            process::wait_pidfd(pidfd.as_fd(), false).unwrap();
            return None;
        }
        // The stage may have failed already; that will be in its reports.
        let _ = fd::write(maps.as_fd(), b"m");
        Some(Running { pid, pidfd, report, output, exits, record })
    }

    /// Runs it to its end.
    pub fn run(self) -> Option<Outcome> {
        Some(self.start()?.finish())
    }
}

/// The caller's own ids as 0, the only map an ordinary user may write.
pub fn one_id() -> IdMaps {
    let (uid, gid) = (credentials::uids().unwrap()[1], credentials::gids().unwrap()[1]);
    IdMaps { uid: vec![(0, uid, 1)], gid: vec![(0, gid, 1)], writer: MapWriter::DaemonAsUser }
}

fn write_maps(pid: i32, maps: &IdMaps) -> std::io::Result<()> {
    let lines = |map: &[(u32, u32, u32)]| {
        map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect::<String>()
    };
    if maps.writer == MapWriter::DaemonAsUser {
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    }
    std::fs::write(format!("/proc/{pid}/gid_map"), lines(&maps.gid))?;
    std::fs::write(format!("/proc/{pid}/uid_map"), lines(&maps.uid))
}

/// A container that lives.
pub struct Running {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub report: OwnedFd,
    pub output: OwnedFd,
    pub exits: OwnedFd,
    pub record: std::fs::File,
}

/// What is left of it.
#[derive(Debug)]
pub struct Outcome {
    /// All that was reported, and by which pid.
    pub reports: Vec<(Report, i32)>,
    /// Standard output and error.
    pub output: String,
    /// Code and status of PID 1 (or of the only process).
    pub end: (i32, i32),
    /// From the pipe.
    pub exits: Vec<ExitRecord>,
    /// From the file.
    pub record: Record,
}

/// The bytes of a record file; too many to show.
pub struct Record(pub Vec<u8>);

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Running {
    /// Reads output until `marker` has come.
    pub fn wait_for(&self, marker: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut text = String::new();
        while !text.contains(marker) {
            assert!(Instant::now() < deadline, "no {marker:?} in {text:?}; reports: {:?}", self.reports());
            if readable(self.output.as_fd(), 100) {
                let mut buffer = [0; 4096];
                let length = fd::read(self.output.as_fd(), &mut buffer).unwrap();
                assert!(length > 0, "ended with {text:?} before {marker:?}; reports: {:?}", self.reports());
                text.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        }
        text
    }

    fn reports(&self) -> Vec<(Report, i32)> {
        let mut reports = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(Some((length, pid))) = socket::recv_report(self.report.as_fd(), &mut buffer) {
            if length == 0 {
                break;
            }
            reports.push((wire::decode_report(&buffer[..length]).unwrap(), pid.unwrap_or(0)));
        }
        reports
    }

    pub fn signal(&self, signal: i32) {
        process::pidfd_send_signal(self.pidfd.as_fd(), signal).unwrap();
    }

    /// Waits for the end, killing it when it takes too long.
    pub fn finish(self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let mut output = String::new();
        let mut file = std::fs::File::from(self.output.try_clone().unwrap());
        while !readable(self.pidfd.as_fd(), 50) {
            if Instant::now() > deadline {
                self.signal(9);
                process::wait_pidfd(self.pidfd.as_fd(), false).unwrap();
                panic!("the container did not end; output {output:?}, reports {:?}", self.reports());
            }
            drain(&mut file, &mut output);
        }
        let end = process::wait_pidfd(self.pidfd.as_fd(), false).unwrap().unwrap();
        drain(&mut file, &mut output);
        let mut exits = Vec::new();
        let mut buffer = [0; ExitRecord::SIZE];
        while let Ok(ExitRecord::SIZE) = fd::read(self.exits.as_fd(), &mut buffer) {
            exits.push(ExitRecord::from_bytes(&buffer).unwrap());
        }
        let record = fd::read_whole(self.record.as_fd(), 4096).unwrap();
        Outcome { reports: self.reports(), output, end, exits, record: Record(record) }
    }
}

fn drain(file: &mut std::fs::File, text: &mut String) {
    while readable(file.as_fd(), 0) {
        let mut buffer = [0; 4096];
        match file.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
}

/// Waits up to so many milliseconds.
pub fn readable(fd: BorrowedFd<'_>, milliseconds: u16) -> bool {
    let mut polled = [nix::poll::PollFd::new(fd, nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut polled, milliseconds).unwrap() > 0
}

impl Outcome {
    /// The failure that was reported.
    #[track_caller]
    pub fn failure(&self) -> (u16, i32, &str) {
        match self.reports.last() {
            Some((Report::Failed { step, errno, detail }, _)) => (*step, *errno, detail),
            _ => panic!("no failure: {self:?}"),
        }
    }

    /// Asserts that the program ran and ended with status 0, and gives its output.
    #[track_caller]
    pub fn success(&self) -> &str {
        let executed = self.reports.iter().any(|(report, _)| *report == Report::Executing);
        assert!(executed && self.end == (1, 0), "{self:#?}");
        &self.output
    }
}

/// Lines of `/proc/mounts` form as seen by this process.
pub fn host_mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// A root file system of links into the host's: enough for `/bin/sh`.
pub fn scratch_root() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    for name in ["proc", "dev", "usr", "etc", "data"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    (directory, root)
}

/// The host's programs in a scratch root.
pub fn with_programs(draft: Draft) -> Draft {
    draft.before_root([open_tree(Slot(9), "/usr")]).before_pivot([attach(Slot(9), "/usr", Create::Never)])
}
