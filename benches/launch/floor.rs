//! The floor: the system calls of a standard launch, made by hand, with nothing decided and nothing reported.
//!
//! clone3 with all namespaces but net and user and birth into a v2 group where there is one; the host's tree
//! read-only, `/run` and `/var` open, `/proc`, private `/tmp`, a `/dev` with six nodes; pivot_root; bounding set,
//! no_new_privs, a filter of 300 calls as a balanced tree; exec. The crate's own wrappers make the calls, so that what
//! differs from rsvc is what is done and not how it is spelled.

use rsvc::filter;
use rsvc::sys::{confine, credentials, fd, mount, process};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Name of the group of one start.
const UNIT: &str = "unit";

/// What one start needs.
pub struct Floor {
    payload: CString,
    filter: Vec<(u16, u8, u8, u32)>,
    group: Option<OwnedFd>,
}

/// The filter and the number of calls it allows.
pub fn filter() -> (Vec<(u16, u8, u8, u32)>, usize) {
    let policy = filter::FilterPolicy {
        allow: Some(vec!["@system-service".to_owned(), "@sandbox".to_owned()]),
        ..filter::FilterPolicy::open()
    };
    let programs = filter::compile(&policy, filter::Arch::native()).expect("a filter");
    let calls = filter::group("@system-service").map_or(0, |calls| calls.len());
    (programs.into_iter().next().expect("one program").0, calls)
}

impl Floor {
    /// Compiles the filter; in `group`, of v2, each start makes a group to be born into.
    pub fn new(payload: &str, group: Option<OwnedFd>) -> Floor {
        let payload = CString::new(payload).expect("no NUL");
        Floor { payload, filter: filter().0, group }
    }

    /// Starts the payload, which ends at once, with its output on `output`; returns its pid and pidfd.
    pub fn start(&self, output: BorrowedFd<'_>, own_network: bool) -> (i32, OwnedFd) {
        use process::clone_flags as flag;
        #[repr(C)]
        #[derive(Default)]
        struct Arguments {
            flags: u64,
            pidfd: u64,
            child_tid: u64,
            parent_tid: u64,
            exit_signal: u64,
            rest: [u64; 5],
            cgroup: u64,
        }
        let mut pidfd: i32 = -1;
        let mut arguments = Arguments {
            flags: flag::PIDFD | flag::NEWNS | flag::NEWPID | flag::NEWIPC | flag::NEWUTS | flag::NEWCGROUP,
            pidfd: (&raw mut pidfd) as u64,
            exit_signal: libc::SIGCHLD as u64,
            ..Arguments::default()
        };
        if own_network {
            arguments.flags |= flag::NEWNET;
        }
        let birth = self.group.as_ref().map(|group| {
            rustix::fs::mkdirat(group, UNIT, rustix::fs::Mode::from_raw_mode(0o755)).expect("group");
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::openat(group, UNIT, flags, rustix::fs::Mode::empty()).expect("group")
        });
        if let Some(group) = &birth {
            arguments.flags |= flag::INTO_CGROUP;
            arguments.cgroup = group.as_raw_fd() as u64;
        }
        // SAFETY: a valid clone_args; without CLONE_VM the child has its own copy, and this process has one thread.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>()) };
        assert!(pid >= 0, "clone3: {}", std::io::Error::last_os_error());
        if pid == 0 {
            let error = self.child(output).expect_err("exec does not come back");
            eprintln!("floor: {error}");
            process::exit_now(1);
        }
        // SAFETY: CLONE_PIDFD stored a descriptor that nobody else owns.
        (pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })
    }

    /// Removes the group of a start that is over.
    pub fn clean(&self) {
        if let Some(group) = &self.group {
            rustix::fs::unlinkat(group, UNIT, rustix::fs::AtFlags::REMOVEDIR).expect("the group is empty");
        }
    }

    fn child(&self, output: BorrowedFd<'_>) -> Result<(), rsvc::sys::SysError> {
        mounts()?;
        let keep = [0u32, 1, 3, 4, 5, 6, 7, 8, 10, 18];
        for bit in 0..=40 {
            if !keep.contains(&bit) {
                credentials::drop_from_bounding_set(bit)?;
            }
        }
        process::setsid()?;
        fd::place_standard(output, 1)?;
        fd::close_range_cloexec(3)?;
        credentials::no_new_privileges()?;
        confine::Filter::new(&self.filter)?.load(false)?;
        let argv = [self.payload.clone(), c"once".to_owned()];
        Err(process::execve(&self.payload, &argv, &[]))
    }
}

fn mounts() -> Result<(), rsvc::sys::SysError> {
    use mount::attributes as flag;
    let here = rustix::fs::CWD;
    mount::mount_setattr(here, c"/", 0, Some(mount::Propagation::Private), true)?;
    let root = mount::open_tree(here, c"/", true, true)?;
    let run = mount::open_tree(here, c"/run", true, true)?;
    let var = mount::open_tree(here, c"/var", true, true)?;
    mount::mount_setattr(&root, c"", flag::RDONLY | flag::NODEV, None, true)?;
    mount::move_mount_path(root.as_fd(), c"/")?;
    mount::enter_directory(root.as_fd())?;
    attach(&root, &run, c"run")?;
    attach(&root, &var, c"var")?;
    attach(&root, &file_system(c"proc", &[], flag::NOSUID | flag::NODEV | flag::NOEXEC)?, c"proc")?;
    attach(&root, &file_system(c"tmpfs", &[(c"mode", c"1777")], flag::NOSUID | flag::NODEV)?, c"tmp")?;
    let dev = file_system(c"tmpfs", &[(c"mode", c"0755")], flag::NOSUID)?;
    attach(&root, &dev, c"dev")?;
    for (name, minor) in [(c"null", 3), (c"zero", 5), (c"full", 7), (c"random", 8), (c"urandom", 9)] {
        mount::make_node(dev.as_fd(), name, true, (1, minor), 0o666)?;
    }
    mount::make_node(dev.as_fd(), c"tty", true, (5, 0), 0o666)?;
    mount::make_directory(dev.as_fd(), c"pts", 0o755)?;
    mount::make_directory(dev.as_fd(), c"shm", 0o1777)?;
    attach(&dev, &file_system(c"devpts", &[(c"mode", c"0620"), (c"ptmxmode", c"0666")], flag::NOSUID)?, c"pts")?;
    attach(&dev, &file_system(c"tmpfs", &[(c"mode", c"1777")], flag::NOSUID | flag::NODEV)?, c"shm")?;
    for (name, target) in [(c"ptmx", c"pts/ptmx"), (c"fd", c"/proc/self/fd"), (c"stdin", c"/proc/self/fd/0")] {
        mount::make_symlink(dev.as_fd(), name, target)?;
    }
    mount::mount_setattr(&dev, c"", flag::RDONLY, None, false)?;
    mount::pivot_root_here()?;
    mount::detach_here()?;
    mount::change_directory(c"/")
}

fn file_system(kind: &CStr, options: &[(&CStr, &CStr)], flags: u64) -> Result<OwnedFd, rsvc::sys::SysError> {
    let context = mount::fsopen(kind)?;
    for (key, value) in options {
        mount::fsconfig(context.as_fd(), key, Some(value))?;
    }
    mount::fsconfig_create(&context)?;
    mount::fsmount(&context, flags)
}

fn attach(base: &OwnedFd, tree: &OwnedFd, at: &CStr) -> Result<(), rsvc::sys::SysError> {
    let target = mount::open_below(base.as_fd(), at, fd::Open::Path, mount::Links::InRoot)?;
    mount::move_mount(tree.as_fd(), target.as_fd())
}
