//! The last step: environment, look-up of the program, exec.
//!
//! Everything is made ready before the filters are loaded that only `Execute` follows: behind a filter nothing is
//! allocated, opened or looked up, as the service may be allowed less than that takes.

use super::paths::{self, ENOENT, is_missing};
use super::{Failure, Stage};
use crate::plan::wire::Report;
use crate::plan::{FilterProgram, LaunchPlan, Step};
use crate::sys::fd::{self, Open};
use crate::sys::{confine, mount, process};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Search path for a program without a slash when the environment names none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Bytes of a program that are looked at: the `#!` line (at most 255) and an ELF header with its loader's name.
const HEAD: usize = 1024;

/// All of exec's arguments, and the filters before it, ready for use.
pub(super) struct Prepared {
    /// Absolute or relative paths to try in turn.
    candidates: Vec<CString>,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

/// Does nothing but filters stand between step `index` and `Execute`?
fn only_filters_follow(plan: &LaunchPlan, index: usize) -> bool {
    plan.steps[index..].iter().all(|planned| matches!(planned.step, Step::LoadFilter { .. } | Step::Execute { .. }))
}

pub(super) fn load_filter(
    stage: &mut Stage,
    plan: &LaunchPlan,
    program: &FilterProgram,
    log: bool,
) -> Result<(), Failure> {
    let filter = confine::Filter::new(&program.0)?;
    super::fork::await_init(stage)?;
    if stage.prepared.is_none() && only_filters_follow(plan, stage.index) {
        prepare_last_step(stage, plan)?;
    }
    let loaded = match program.asks_listener() {
        true => super::denials::load(stage, &filter, program, log),
        false => filter.load(log).map_err(Failure::from),
    };
    // Its memory is not given back: that may take a system call which the filter does not allow.
    std::mem::forget(filter);
    loaded
}

/// Prepares `Execute` ahead of its turn. A failure is one of `Execute`, and is reported as that.
fn prepare_last_step(stage: &mut Stage, plan: &LaunchPlan) -> Result<(), Failure> {
    let Some(last @ Step::Execute { argv, environment }) = plan.steps.last().map(|planned| &planned.step) else {
        return Ok(());
    };
    debug_assert!(matches!(last, Step::Execute { .. }));
    match prepare(stage, plan, argv, environment) {
        Ok(prepared) => stage.prepared = Some(prepared),
        Err(failure) => {
            stage.index = plan.steps.len() - 1;
            stage.fail(&failure);
        }
    }
    Ok(())
}

/// Executes the program; comes back only with a failure.
pub(super) fn execute(
    stage: &mut Stage,
    plan: &LaunchPlan,
    argv: &[String],
    environment: &[(String, String)],
) -> Result<(), Failure> {
    let prepared = match stage.prepared.take() {
        Some(prepared) => prepared,
        None => prepare(stage, plan, argv, environment)?,
    };
    if let Some(image) = &stage.inherited.program {
        let error = process::execveat(image.as_fd(), &prepared.argv, &prepared.envp);
        std::mem::forget(prepared);
        return Err(Failure::new(error.errno, String::new()));
    }
    let mut failure = ENOENT;
    for candidate in &prepared.candidates {
        let error = process::execve(candidate, &prepared.argv, &prepared.envp);
        // As execvp(3): go on where there is nothing, remember that something was there but not for us.
        const EACCES: i32 = 13;
        match error.errno {
            errno if is_missing(errno) => {}
            EACCES => failure = EACCES,
            errno => return Err(Failure::new(errno, String::new())),
        }
    }
    // Nothing is freed behind a filter.
    std::mem::forget(prepared);
    Err(Failure::new(failure, String::new()))
}

/// Makes all ready and announces the exec to the daemon.
fn prepare(
    stage: &mut Stage,
    plan: &LaunchPlan,
    argv: &[String],
    environment: &[(String, String)],
) -> Result<Prepared, Failure> {
    let pid = process::own_pid().to_string();
    let numbers = stage.pid_variables.iter().map(|name| (name.clone(), pid.clone()));
    let start: Vec<_> = stage.environment.iter().cloned().chain(numbers).chain(listen_variables(stage)).collect();
    let environment = merge(environment, &start, stage.journal_stream());
    let program = argv.first().ok_or(Failure::new(0, "there is no program to execute"))?;
    let candidates = match stage.inherited.program {
        Some(_) => Vec::new(),
        None => candidates(program, &environment)?,
    };
    refuse_hopeless(&candidates, stage.host.own_program)?;
    let prepared = Prepared {
        candidates,
        argv: argv.iter().map(|word| paths::c_string(word.as_bytes())).collect::<Result<_, _>>()?,
        envp: environment
            .iter()
            .map(|(name, value)| paths::c_string(format!("{name}={value}").as_bytes()))
            .collect::<Result<_, _>>()?,
    };
    if !stage.umask_set {
        process::umask(stage.inherited_umask);
    }
    super::fork::await_init(stage)?;
    super::fork::tie_to_parent(stage, plan)?;
    stage.report(&Report::Executing);
    Ok(prepared)
}

/// What tells a service about the descriptors that it was passed. The pid is the one that this process has in its own
/// pid namespace, and keeps over the exec. Source: sd_listen_fds(3).
fn listen_variables(stage: &Stage) -> Vec<(String, String)> {
    let passed = &stage.inherited.passed;
    if passed.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = passed.iter().map(|(_, name)| name.as_str()).collect();
    vec![
        ("LISTEN_PID".to_owned(), process::own_pid().to_string()),
        ("LISTEN_FDS".to_owned(), passed.len().to_string()),
        ("LISTEN_FDNAMES".to_owned(), names.join(":")),
    ]
}

/// The plan's environment, then this start's, which wins, then the stage's own.
fn merge(
    planned: &[(String, String)],
    start: &[(String, String)],
    journal_stream: Option<&str>,
) -> Vec<(String, String)> {
    let mut merged: Vec<(String, String)> = Vec::with_capacity(planned.len() + start.len() + 1);
    let own = journal_stream.map(|stream| ("JOURNAL_STREAM".to_owned(), stream.to_owned()));
    for (name, value) in planned.iter().chain(start).chain(&own) {
        match merged.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => merged.push((name.clone(), value.clone())),
        }
    }
    merged
}

/// Paths under which the program may lie.
fn candidates(program: &str, environment: &[(String, String)]) -> Result<Vec<CString>, Failure> {
    if program.contains('/') {
        return Ok(vec![paths::c_string(program.as_bytes())?]);
    }
    let path = environment.iter().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| paths::c_string(format!("{directory}/{program}").as_bytes()))
        .collect()
}

/// Most interpreters of interpreters that the kernel follows. Source: `exec_binprm` of Linux.
const MOST_INTERPRETERS: usize = 6;

/// Fails early, and with a better word than exec has, when the file is there but what it needs is not; and when it is, by
/// whatever link, the program `own` that runs now, which is a file of the host (CVE-2019-5736).
fn refuse_hopeless(candidates: &[CString], own: Option<(u64, u64)>) -> Result<(), Failure> {
    for candidate in candidates {
        let Ok(file) = fd::open(candidate, Open::Path) else { continue };
        if fd::stat(file.as_fd())?.is_directory() {
            continue;
        }
        return refuse_chain(candidate, file, own);
    }
    Ok(())
}

/// The program, what it names to run it, and so on.
fn refuse_chain(program: &CStr, file: OwnedFd, own: Option<(u64, u64)>) -> Result<(), Failure> {
    const EACCES: i32 = 13;
    let (mut path, mut file) = (program.to_owned(), file);
    for _ in 0..MOST_INTERPRETERS {
        let found = fd::stat(file.as_fd())?;
        if own == Some((found.device, found.inode)) {
            let text = format!("{} leads to rsvc itself, a file of the host", path.to_string_lossy());
            return Err(Failure::new(EACCES, text));
        }
        let mut head = [0; HEAD];
        // What cannot be read may still be executed; then exec has the last word.
        let length = match fd::open(&path, Open::Read) {
            Ok(readable) => fd::read(readable.as_fd(), &mut head).unwrap_or(0),
            Err(_) => 0,
        };
        let Some((kind, needed)) = interpreter(&head[..length]) else { return Ok(()) };
        file = match fd::open(&needed, Open::Path) {
            Err(error) if is_missing(error.errno) => {
                let (needed, program) = (needed.to_string_lossy(), path.to_string_lossy());
                return Err(Failure::new(ENOENT, format!("{kind} {needed} of {program} is missing")));
            }
            Err(_) => return Ok(()),
            Ok(file) => file,
        };
        path = needed;
    }
    Ok(())
}

/// What a program names to run it: the interpreter of a script, the loader of a dynamic executable.
fn interpreter(head: &[u8]) -> Option<(&'static str, CString)> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let word = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
        return Some(("interpreter", CString::new(word).ok()?));
    }
    elf_loader(head).map(|loader| ("the loader", loader))
}

/// PT_INTERP of a 64-bit little-endian ELF file, as far as it lies in `head`. Source: elf(5).
fn elf_loader(head: &[u8]) -> Option<CString> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, width: usize| {
        let bytes = head.get(at..at.checked_add(width)?)?;
        Some(bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    for index in 0..count {
        let at = table.checked_add(index * size)?;
        if number(at, 4)? == PT_INTERP {
            let start = number(at.checked_add(8)?, 8)? as usize;
            let name = CStr::from_bytes_until_nul(head.get(start..)?).ok()?;
            return Some(name.to_owned());
        }
    }
    None
}

/// chdir(2) as the service's user. Magic links of procfs are refused (they could lead to a directory of the host that
/// some descriptor still holds), and the place must be inside of the root.
pub(super) fn change_directory(path: &Path, missing_ok: bool) -> Result<(), Failure> {
    let opened = match mount::open_directory_plainly(&paths::c_path(path)?) {
        Err(error) if missing_ok && is_missing(error.errno) => mount::open_directory_plainly(c"/"),
        other => other,
    };
    mount::enter_directory(opened?.as_fd())?;
    match mount::current_directory()?.first() {
        Some(b'/') => Ok(()),
        _ => Err(Failure::new(0, "the directory lies outside of the service's root")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn this_start_replaces_the_plans_value_in_place() {
        let merged = merge(&[pair("A", "1"), pair("B", "2")], &[pair("A", "3"), pair("C", "4")], Some("8:1"));
        assert_eq!(merged, [pair("A", "3"), pair("B", "2"), pair("C", "4"), pair("JOURNAL_STREAM", "8:1")]);
    }

    #[test]
    fn only_absolute_parts_of_the_search_path_are_used() {
        let found = candidates("prog", &[pair("PATH", "/a:.::/b")]).unwrap();
        assert_eq!(found, [c"/a/prog".to_owned(), c"/b/prog".to_owned()]);
        assert_eq!(candidates("./prog", &[]).unwrap(), [c"./prog".to_owned()]);
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#! /no/such/shell -e\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = CString::new(script.to_str().unwrap()).unwrap();
        let failure = refuse_hopeless(&[c"/absent".to_owned(), path], None).unwrap_err();
        assert_eq!(failure.errno, ENOENT);
        assert!(failure.detail.starts_with("interpreter /no/such/shell of "), "{}", failure.detail);
    }

    #[test]
    fn what_leads_to_the_program_that_runs_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| CString::new(directory.path().join(name).to_str().unwrap()).unwrap();
        let own = place("own");
        std::fs::write(directory.path().join("own"), "program").unwrap();
        std::os::unix::fs::symlink("own", directory.path().join("link")).unwrap();
        let (link, script) = (place("link"), place("script"));
        std::fs::write(directory.path().join("script"), format!("#!{}\n", link.to_str().unwrap())).unwrap();
        std::fs::write(directory.path().join("again"), format!("#!{} -x\n", script.to_str().unwrap())).unwrap();
        let found = fd::stat(fd::open(&own, Open::Path).unwrap().as_fd()).unwrap();
        let identity = Some((found.device, found.inode));
        for program in [own, link, script, place("again")] {
            assert_eq!(refuse_hopeless(std::slice::from_ref(&program), None), Ok(()), "{program:?}");
            let failure = refuse_hopeless(&[program], identity).unwrap_err();
            assert!(failure.detail.contains("rsvc itself"), "{}", failure.detail);
        }
    }

    #[test]
    fn a_loader_is_found_in_a_real_program_and_not_beyond_the_head() {
        let head = std::fs::read("/bin/sh").unwrap();
        let head = &head[..HEAD.min(head.len())];
        if let Some(loader) = elf_loader(head) {
            assert!(Path::new(loader.to_str().unwrap()).exists());
        }
        for cut in 0..head.len() {
            let _ = elf_loader(&head[..cut]);
        }
        // A program header table that points beyond everything.
        let mut hostile = b"\x7fELF\x02\x01".to_vec();
        hostile.resize(HEAD, 0xff);
        assert_eq!(elf_loader(&hostile), None);
    }
}
