//! Facts that come in, in the past tense, and the labels that they carry.

use super::replicas::KeptSet;
use super::{Cause, ServiceResult};
use crate::unit::Hook;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Label of a service: an index that the daemon hands out and never reuses while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId(pub u32);

/// Label of a client's request that waits for an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A point in time: microseconds of CLOCK_BOOTTIME. Comparable across daemons of one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `wait` later; the end of time when that cannot be written.
    pub fn after(self, wait: Duration) -> Moment {
        Moment(u64::try_from(wait.as_micros()).map_or(u64::MAX, |micros| self.0.saturating_add(micros)))
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What a launched process is to its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// `service.exec`.
    Main,
    /// `service.exec_start_pre[n]`: own container, before the main process.
    StartPre(u16),
    /// `service.exec_start_post[n]`: joins the main process's container.
    StartPost(u16),
    /// `service.exec_reload[n]`: joins.
    Reload(u16),
    /// `service.exec_stop[n]`: joins.
    Stop(u16),
    /// `service.exec_stop_post[n]`: own container, after everything else is gone.
    StopPost(u16),
    /// `ready.command`: joins. Launched by who carries out `WatchReadiness`, as often as it takes.
    Ready,
    /// `health.command`: joins. Launched by who carries out `Check`.
    Health,
    /// One of `[hooks]`: own container, after `exec_stop_post`.
    Hook(Hook),
}

/// How a process ended (waitid(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// Exit status, 0 to 255.
    Exited(u8),
    /// Signal number.
    Killed(u8),
    /// Signal number, with a core dump.
    Dumped(u8),
    /// Nobody saw it: the daemon was away and no record was left. Never success.
    Unknown,
}

/// Why a launch did not reach exec. The daemon made the words; the machine only keeps and shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchFailure {
    /// Name of the step, as in systemd's table: `NAMESPACE`, `EXEC`, `SECCOMP`...
    pub step: String,
    /// systemd's exit code for the step, 200 to 245.
    pub code: u8,
    /// The whole message, several lines, without the unit's name in front.
    pub message: String,
}

/// How a command around the main process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandOutcome {
    /// It ran.
    Exited(Exit),
    /// It could not be started.
    NotLaunched(Box<LaunchFailure>),
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    // ── requests of people ──
    /// Start this one, pulling in `wants` and `requires`. `request` is answered when it is ready or has failed.
    StartRequested {
        /// Which.
        id: ServiceId,
        /// Whom to answer; `None` for the boot set.
        request: Option<RequestId>,
    },
    /// A `StartUnit` was carried out as far as the unit was found.
    Triggered {
        /// Which.
        id: ServiceId,
        /// As the action said.
        links: u8,
    },
    /// Stop; always wins over a restart. Answered when the group is empty and `exec_stop_post` is done.
    StopRequested {
        /// Which.
        id: ServiceId,
        /// Whom to answer.
        request: Option<RequestId>,
    },
    /// Stop, then start. Starts when it was down.
    RestartRequested {
        /// Which.
        id: ServiceId,
        /// Whom to answer.
        request: Option<RequestId>,
    },
    /// `exec_reload` or `reload_signal`.
    ReloadRequested {
        /// Which.
        id: ServiceId,
        /// Whom to answer.
        request: Option<RequestId>,
    },
    /// Keep so many replicas of a set from now on; starts it when it is down. Answered when they are ready and those
    /// above are down.
    ScaleRequested {
        /// Which set.
        id: ServiceId,
        /// How many.
        number: u32,
        /// Whom to answer.
        request: Option<RequestId>,
    },
    /// Forget failure and counters.
    ResetFailedRequested {
        /// Which.
        id: ServiceId,
        /// Whom to answer.
        request: Option<RequestId>,
    },
    /// The client of a request went away; it is not answered any more, the work goes on.
    RequestAbandoned {
        /// Which request.
        request: RequestId,
    },

    // ── what launches report ──
    /// The program of `role` has been executed.
    Executed {
        /// Which.
        id: ServiceId,
        /// What.
        role: Role,
    },
    /// The launch of the main process failed before exec. (Other roles: `CommandEnded` with `NotLaunched`.)
    LaunchFailed {
        /// Which.
        id: ServiceId,
        /// Why, in words.
        failure: LaunchFailure,
    },
    /// The main process ended.
    MainExited {
        /// Which.
        id: ServiceId,
        /// How.
        exit: Exit,
        /// The kernel killed for lack of memory in this group since the start.
        oom: bool,
    },
    /// A command around the main process ended.
    CommandEnded {
        /// Which.
        id: ServiceId,
        /// What.
        role: Role,
        /// How.
        outcome: CommandOutcome,
    },
    /// No process of the unit is left in its group. Comes each time the group becomes empty, before or after the
    /// `MainExited` or `CommandEnded` of the last process, and after each `KillCgroup`. True at the moment of delivery.
    CgroupEmptied {
        /// Which.
        id: ServiceId,
    },

    // ── sockets of units that are started on demand ──
    /// All of `[[sockets]]` are open and the timers armed: the answer to [`super::Action::Listen`].
    SocketsOpened {
        /// Which.
        id: ServiceId,
    },
    /// They are not, and none is: the other answer.
    SocketsFailed {
        /// Which.
        id: ServiceId,
        /// Why, in words.
        failure: LaunchFailure,
    },
    /// Something waits in one of them, or a timer is due. Comes once after each [`super::Action::Listen`].
    Activated {
        /// Which.
        id: ServiceId,
    },

    // ── what services say ──
    /// READY=1, or the `[ready] listen` check succeeded, or the pid file of `forking` names a process of the group.
    BecameReady {
        /// Which.
        id: ServiceId,
    },
    /// RELOADING=1.
    Reloading {
        /// Which.
        id: ServiceId,
        /// When it began, as MONOTONIC_USEC= says.
        begun: Option<Moment>,
    },
    /// STOPPING=1.
    Stopping {
        /// Which.
        id: ServiceId,
    },
    /// STATUS=...
    StatusText {
        /// Which.
        id: ServiceId,
        /// One line.
        text: String,
    },
    /// Something else on its notify socket.
    Said {
        /// Which.
        id: ServiceId,
        /// What.
        word: Word,
    },
    /// What `Check` asked for came out.
    Checked {
        /// Which.
        id: ServiceId,
        /// That of the order.
        number: u32,
        /// Why it is not well; `None`: it is.
        failure: Option<String>,
    },

    // ── time and adoption ──
    /// What the last `Launch` orders has to wait for its turn: no time passes for it until then.
    LaunchWaits {
        /// Which.
        id: ServiceId,
    },
    /// Its turn has come.
    LaunchBegins {
        /// Which.
        id: ServiceId,
    },
    /// A deadline may have passed: `step` is called with the present moment.
    DeadlinePassed,
    /// A daemon that has just started found this service running (see `daemon::adopt`).
    Adopted {
        /// Which.
        id: ServiceId,
        /// It had become ready.
        ready: bool,
        /// When the present run began.
        since: Moment,
        /// Restart counter carried over.
        restarts: u32,
        /// A stop had been asked for and is to be continued.
        stopping: bool,
        /// Interval of the watchdog as the service had set it, zero for none; `None`: as the policy says.
        watchdog: Option<Duration>,
        /// It had become ready, and commands after the start were to come.
        said_ready: bool,
        /// When it was restarted automatically of late.
        restart_times: Vec<Moment>,
    },
    /// The same of a service whose start had been accepted, and of whose program nothing is known.
    AdoptedAtStart {
        /// Which.
        id: ServiceId,
        /// Something is in its group: it is ended before the start begins anew.
        populated: bool,
        /// Restart counter carried over.
        restarts: u32,
        /// When it was restarted automatically of late.
        restart_times: Vec<Moment>,
    },
    /// The same of a service on its way down: the signals of a stop had been sent, or its commands had begun. `MainExited`
    /// follows if the main process is gone and `descent` does not say so, `CgroupEmptied` if nobody is there.
    AdoptedGoingDown {
        /// Which.
        id: ServiceId,
        /// Restart counter carried over.
        restarts: u32,
        /// When it was restarted automatically of late.
        restart_times: Vec<Moment>,
        /// A stop had been asked for.
        stopping: bool,
        /// What it goes down for.
        descent: Descent,
    },
    /// The same of a service whose run is over but for commands after its end (`exec_stop_post`, `[hooks]`), which may
    /// still be there.
    AdoptedAtEnd {
        /// Which.
        id: ServiceId,
        /// A stop had been asked for.
        stopping: bool,
        /// How the run ended.
        end: Rest,
    },
    /// The same of one that stays up after its program has ended. `CgroupEmptied` follows if nobody is there.
    AdoptedExited {
        /// Which.
        id: ServiceId,
        /// When it came up.
        since: Moment,
        /// Restart counter carried over.
        restarts: u32,
        /// A stop had been asked for and is to be carried out.
        stopping: bool,
        /// How the program ended.
        main_exit: Option<Exit>,
    },
    /// A daemon that has just started knows from its predecessor that this service waits for its next automatic start,
    /// or has failed.
    Remembered {
        /// Which.
        id: ServiceId,
        /// In what state.
        rest: Rest,
    },
    /// The same daemon knows that its predecessor had been asked to start (or restart) this one, and had begun to. Asks
    /// for nothing: `request` is answered with what comes of that, or came.
    StartRejoined {
        /// Which.
        id: ServiceId,
        /// Whom to answer.
        request: RequestId,
    },
    /// A daemon that has just started knows from its predecessor that this set of replicas is kept.
    SetRemembered {
        /// Which.
        id: ServiceId,
        /// How it stood.
        kept: KeptSet,
    },
    /// The conditions of a unit were looked at.
    Examined {
        /// Which.
        id: ServiceId,
        /// The first that is not met.
        unmet: Option<Unmet>,
    },
    /// A daemon that has just started has told of everything that it found.
    Surveyed,
}

/// What a service says that only the machine cares about (sd_notify(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// EXTEND_TIMEOUT_USEC=: the present step may take so long from now on, if it has less.
    ExtendTimeout(Duration),
    /// WATCHDOG=1
    Alive,
    /// WATCHDOG=trigger: as if it had been late.
    Trigger,
    /// WATCHDOG_USEC=; zero turns the watchdog off.
    WatchdogInterval(Duration),
    /// RESTART_RESET=1: delays begin anew.
    ResetRestarts,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Which, for people: `path_exists = "/x"`.
    pub what: String,
    /// It is an assert: the start fails.
    pub assert: bool,
}

/// Why a run goes down, and what is known of its end, before it has come to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descent {
    /// First failure of the run so far.
    pub result: ServiceResult,
    /// Why, if it is for a failure.
    pub cause: Option<Cause>,
    /// How its main process ended, if it has.
    pub main_exit: Option<Exit>,
    /// Its signal is that of the watchdog.
    #[serde(default)]
    pub abort: bool,
}

/// A service that has no processes, as a former daemon left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Automatic restarts so far.
    pub restarts: u32,
    /// When the next automatic start is due; `None`: it has failed for good.
    pub until: Option<Moment>,
    /// Of the last run.
    pub result: ServiceResult,
    /// Why it ended.
    pub cause: Option<Cause>,
    /// How its main process ended.
    pub main_exit: Option<Exit>,
    /// The hook that failed after it.
    #[serde(default)]
    pub hook_failure: Option<Cause>,
    /// It failed for want of another unit and is started with that.
    #[serde(default)]
    pub wanted: bool,
    /// The next start is for the sake of a unit that upholds it.
    #[serde(default)]
    pub upheld: bool,
    /// The main process of the last run was launched.
    #[serde(default)]
    pub launched: bool,
    /// When it was restarted automatically of late.
    #[serde(default)]
    pub restart_times: Vec<Moment>,
}
