//! `rsvc init`: the parent of the daemon where there is no service manager, as the first process of a container above all.
//!
//! It starts `rsvc daemon`, starts it again when it dies, and reaps every process whose parent is gone; nothing else. It
//! knows no unit and keeps no state, so that there is nothing in it that could go wrong: what a daemon leaves is the next
//! one's to find, and how services end is in the records of their own inits, whoever reaps these.
//!
//! ```text
//! start ──▶ daemon runs ── exit 0, or told to end ──▶ end
//!   ▲            │ dies
//!   └── pause ◀──┘   0 at first, then 100 ms to 5 s; none once it has lasted
//! ```
//!
//! Signals are taken one by one (sigtimedwait(2)), there are no handlers. The daemon is born with SIGTERM, SIGINT and
//! SIGHUP blocked and opens them when it can act on them: what it is told in between waits, and does not kill it.

use crate::sys::process::{self, Fork, signal};
use crate::sys::{SysError, credentials, memory};
use std::ffi::{CString, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

/// First pause that is one, and the longest.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A daemon that lasted so long is started again at once.
const LASTED: Duration = Duration::from_secs(10);
/// Exit status of a daemon whose command line is wrong: another try would not be better.
const USAGE: i32 = 2;
/// The kernel never takes a process with this for lack of memory.
const NEVER_FOR_MEMORY: &str = "-1000";

/// What this process calls itself once it has read its command line.
pub const NAME: &str = "rsvc init";
/// Its argument when all services are to be stopped first.
const STOPS: &str = "--stop-on-exit";

/// Executes this program once more, by its [`NAME`]: what was needed to read the command line is gone then, which is most
/// of what this process would have in memory for as long as the machine runs. Returns where that cannot be done.
pub fn begin_anew(charge: &Charge) {
    let stops = charge.stop_on_exit.then(|| OsString::from(STOPS));
    let argv = strings([OsString::from(NAME)].into_iter().chain(stops));
    let envp = strings(charge.environment.iter().cloned().map(variable));
    let program = std::env::current_exe().ok().and_then(|program| strings([program.into_os_string()]).ok());
    if let (Ok(argv), Ok(envp), Some([program])) = (argv, envp, program.as_deref()) {
        process::execve(program, &argv, &envp);
    }
}

/// What this process has to do when it is called by its [`NAME`].
pub fn charge_of(arguments: &[OsString], environment: Vec<(OsString, OsString)>) -> Charge {
    let stop_on_exit = arguments.iter().skip(1).any(|word| word == STOPS);
    Charge::new(stop_on_exit, environment)
}

fn variable((mut name, value): (OsString, OsString)) -> OsString {
    name.push("=");
    name.push(value);
    name
}

/// What is to be kept running.
#[derive(Debug)]
pub struct Charge {
    /// The arguments of the daemon, its name first.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Told to end it stops all services first; so it does whenever this process is pid 1.
    pub stop_on_exit: bool,
}

impl Charge {
    /// `rsvc daemon`
    pub fn new(stop_on_exit: bool, environment: Vec<(OsString, OsString)>) -> Charge {
        let words = ["rsvc", "daemon"].into_iter().chain(stop_on_exit.then_some(STOPS));
        Charge { arguments: words.map(OsString::from).collect(), environment, stop_on_exit }
    }
}

/// How the daemon stands.
struct Watch {
    program: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    stops: bool,
    /// Own `oom_score_adj` before it was lowered, which is the daemon's.
    oom_score_adj: Option<String>,
    daemon: Option<Daemon>,
    /// Before the next start.
    pause: Duration,
    /// The signal that told us to end.
    ending: Option<i32>,
}

struct Daemon {
    pid: i32,
    pidfd: OwnedFd,
    since: Instant,
}

/// Keeps the daemon running until it ends well or is told to. The value is the exit status.
///
/// # Errors
/// What keeps it from beginning.
pub fn keep_running(charge: Charge) -> Result<u8, String> {
    let program = std::env::current_exe().map_err(|error| {
        format!("cannot find out which file this program is: {error}\n  hint: /proc must be mounted: mount -t proc proc /proc")
    })?;
    let failed = |error: SysError| error.to_string();
    process::block_signals().map_err(failed)?;
    let is_first = process::own_pid() == 1;
    if !is_first {
        credentials::become_subreaper().map_err(failed)?;
    }
    let mut argv = strings(charge.arguments)?;
    if is_first && !charge.stop_on_exit {
        argv.push(CString::new(STOPS).unwrap_or_default());
    }
    let pairs = charge.environment.into_iter().map(variable);
    let mut watch = Watch {
        program: strings([program.into_os_string()])?.remove(0),
        argv,
        envp: strings(pairs)?,
        stops: is_first || charge.stop_on_exit,
        oom_score_adj: escape_the_killer(),
        daemon: None,
        pause: Duration::ZERO,
        ending: None,
    };
    memory::give_back();
    Ok(watch.run())
}

fn strings(words: impl IntoIterator<Item = OsString>) -> Result<Vec<CString>, String> {
    let string = |word: OsString| CString::new(word.into_vec()).map_err(|_| "a NUL in an argument".to_owned());
    words.into_iter().map(string).collect()
}

/// Where that is allowed (CAP_SYS_RESOURCE): whoever looks after the daemon should outlive it.
fn escape_the_killer() -> Option<String> {
    let before = fs::read_to_string("/proc/self/oom_score_adj").ok()?;
    fs::write("/proc/self/oom_score_adj", NEVER_FOR_MEMORY).ok().map(|()| before.trim().to_owned())
}

impl Watch {
    fn run(&mut self) -> u8 {
        self.start();
        loop {
            let pause = self.daemon.is_none().then_some(self.pause);
            let caught = match process::wait_for_signal_within(pause) {
                Ok(caught) => caught,
                Err(error) => {
                    // Cannot be; but an init that ends takes everything along.
                    say(&error.to_string());
                    std::thread::sleep(SHORTEST);
                    continue;
                }
            };
            let over = match caught {
                None => {
                    self.start();
                    None
                }
                Some(signal::CHLD) => self.reap(),
                Some(number @ (signal::TERM | signal::INT)) => self.told_to_end(number),
                Some(signal::HUP) => {
                    self.pass_on(signal::HUP);
                    None
                }
                // Nobody has an agreement with us about any other.
                Some(_) => None,
            };
            if let Some(code) = over {
                return code;
            }
        }
    }

    fn start(&mut self) {
        match self.launch() {
            Ok(daemon) => {
                self.daemon = Some(daemon);
                // It was dead when we were told: it is there for the stop.
                if let Some(number) = self.ending {
                    self.pass_on(number);
                }
            }
            Err(error) => {
                self.lengthen_pause();
                say(&format!("cannot start the daemon: {error}; again in {} ms", self.pause.as_millis()));
            }
        }
    }

    fn launch(&self) -> Result<Daemon, SysError> {
        match process::fork()? {
            Fork::Parent(pid) => {
                // Its number is its own until we reap it.
                Ok(Daemon { pid, pidfd: process::pidfd_open(pid)?, since: now() })
            }
            Fork::Child => {
                // Away from the terminal's process group: what Ctrl-C sends it would come twice.
                let _ = process::setsid();
                if let Some(value) = &self.oom_score_adj {
                    let _ = fs::write("/proc/self/oom_score_adj", value);
                }
                let prepared = process::default_signals()
                    .and_then(|()| process::block_only(&[signal::TERM, signal::INT, signal::HUP]));
                let error = match prepared {
                    Ok(()) => {
                        // By its name, which may be a newer version by now; else what we are ourselves.
                        let error = process::execve(&self.program, &self.argv, &self.envp);
                        process::execve(c"/proc/self/exe", &self.argv, &self.envp);
                        error
                    }
                    Err(error) => error,
                };
                say(&format!("{}: {error}", self.program.to_string_lossy()));
                process::exit_now(127)
            }
        }
    }

    /// Takes every child that has ended. The value is our exit status, when the daemon's end is ours.
    fn reap(&mut self) -> Option<u8> {
        let mut over = None;
        while let Ok(Some(end)) = process::wait_any(true) {
            if self.daemon.as_ref().is_some_and(|daemon| daemon.pid == end.pid) {
                over = self.daemon_ended(end.code, end.status);
            }
        }
        over
    }

    fn daemon_ended(&mut self, code: i32, status: i32) -> Option<u8> {
        let lasted = self.daemon.take().map_or(Duration::ZERO, |daemon| daemon.since.elapsed());
        let exited = code == process::CLD_EXITED;
        if exited && (status == 0 || status == USAGE) {
            return u8::try_from(status).ok();
        }
        let how = if exited { format!("ended with status {status}") } else { format!("was killed by signal {status}") };
        if self.ending.is_some() && !self.stops {
            say(&format!("the daemon {how}"));
            return Some(0);
        }
        if lasted >= LASTED {
            self.pause = Duration::ZERO;
        }
        match self.pause.as_millis() {
            0 => say(&format!("the daemon {how}; it is started again")),
            pause => say(&format!("the daemon {how}; it is started again in {pause} ms")),
        }
        if self.pause.is_zero() {
            self.start();
        }
        self.lengthen_pause();
        None
    }

    fn lengthen_pause(&mut self) {
        self.pause = (self.pause * 2).clamp(SHORTEST, LONGEST);
    }

    /// The value is our exit status, when there is nothing left to wait for.
    fn told_to_end(&mut self, number: i32) -> Option<u8> {
        self.ending = Some(number);
        match &self.daemon {
            Some(_) => self.pass_on(number),
            None if self.stops => self.start(),
            None => return Some(0),
        }
        None
    }

    fn pass_on(&self, number: i32) {
        if let Some(daemon) = &self.daemon {
            // It may have ended just now; then there is a SIGCHLD.
            let _ = process::pidfd_send_signal(daemon.pidfd.as_fd(), number);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is a shell of its own: it waits between two starts")]
fn now() -> Instant {
    Instant::now()
}

fn say(text: &str) {
    eprintln!("rsvc init: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end_with_a_daemon_that_lasts() {
        let mut watch = Watch {
            program: c"/nonexistent/rsvc".to_owned(),
            argv: Vec::new(),
            envp: Vec::new(),
            stops: true,
            oom_score_adj: None,
            daemon: None,
            pause: Duration::ZERO,
            ending: None,
        };
        let pauses: Vec<u128> = (0..8)
            .map(|_| {
                watch.lengthen_pause();
                watch.pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(watch.daemon_ended(process::CLD_EXITED, 0), Some(0));
        assert_eq!(watch.daemon_ended(process::CLD_EXITED, 2), Some(2));
        watch.stops = false;
        assert_eq!(watch.told_to_end(15), Some(0), "there is nothing to stop, and no daemon to be told");
    }
}
