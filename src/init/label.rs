//! The label that a security module gives this process at its next execve(2).

use super::{Context, Failure, Stage};
use crate::plan::SecurityModule;
use crate::sys::fd::{self, Open};
use crate::sys::mount;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

/// Where it is asked for, below `/proc`: the module's own file, or the one that all shared before there were several.
/// Source: proc_pid_attr(5).
fn files(module: SecurityModule) -> &'static [&'static CStr] {
    match module {
        SecurityModule::AppArmor => &[c"thread-self/attr/apparmor/exec", c"thread-self/attr/exec"],
        SecurityModule::SeLinux => &[c"thread-self/attr/exec"],
    }
}

/// What is written there.
fn words(module: SecurityModule, label: &str) -> String {
    match module {
        SecurityModule::AppArmor => format!("exec {label}"),
        SecurityModule::SeLinux => label.to_owned(),
    }
}

/// Asks for the label. In the service's own process: it is the thread's, and a fork does not hand it down.
pub(super) fn ask(stage: &Stage, module: SecurityModule, label: &str) -> Result<(), Failure> {
    match &stage.host.proc {
        Some(Ok(proc)) => write(proc.as_fd(), module, label),
        Some(Err(failure)) => Err(failure.clone()),
        None => Err(Failure::new(0, "no procfs was opened")),
    }
}

fn write(proc: BorrowedFd<'_>, module: SecurityModule, label: &str) -> Result<(), Failure> {
    // `thread-self` is an ordinary symbolic link, so it is followed below the root given.
    let links = mount::Links::InRoot;
    let mut opened = Err(Failure::new(libc::ENOENT, "no file for it"));
    for file in files(module) {
        match mount::open_below(proc, file, Open::Write, links) {
            Err(error) if error.errno == libc::ENOENT => {}
            other => {
                opened = other.context(|| file.to_string_lossy().into_owned());
                break;
            }
        }
    }
    let file = opened?;
    // What was opened is the kernel's and no file that somebody could have put there.
    if mount::file_system_magic(file.as_fd())? != mount::PROC_MAGIC {
        return Err(Failure::new(0, "what was opened is no procfs"));
    }
    let text = words(module, label);
    // One write is one label.
    match fd::write(file.as_fd(), text.as_bytes())? {
        written if written == text.len() => Ok(()),
        _ => Err(Failure::new(libc::EINVAL, "the kernel took only a part of the label")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_is_told_in_its_own_words() {
        assert_eq!(words(SecurityModule::AppArmor, "web"), "exec web");
        assert_eq!(words(SecurityModule::SeLinux, "system_u:system_r:httpd_t:s0"), "system_u:system_r:httpd_t:s0");
        assert_eq!(files(SecurityModule::AppArmor)[0], c"thread-self/attr/apparmor/exec");
    }

    #[test]
    fn a_directory_that_is_no_procfs_is_not_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(directory.path().join("thread-self/attr")).expect("directories");
        std::fs::write(directory.path().join("thread-self/attr/exec"), "").expect("a file");
        let path = std::ffi::CString::new(directory.path().to_str().expect("UTF-8")).expect("no NUL");
        let place = fd::open(&path, Open::Directory).expect("opened");
        for module in [SecurityModule::AppArmor, SecurityModule::SeLinux] {
            let failure = write(place.as_fd(), module, "web").expect_err("no procfs");
            assert!(failure.detail.contains("no procfs"), "{}", failure.detail);
        }
        let written = std::fs::read_to_string(directory.path().join("thread-self/attr/exec")).expect("the file");
        assert_eq!(written, "", "nothing was written there");
    }
}
