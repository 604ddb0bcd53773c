//! Facts that come in (past tense) and orders that go out (imperative).

use super::replicas::KeptSet;
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
    NotLaunched(LaunchFailure),
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
    /// All of `[[sockets]]` are open and the timers armed: the answer to [`Action::Listen`].
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
    /// Something waits in one of them, or a timer is due. Comes once after each [`Action::Listen`].
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
}

/// To whom a signal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The main process.
    Main,
    /// The command that runs beside it, if any.
    Control,
    /// Every process of the group.
    All,
}

/// What is removed on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A restart follows.
    AfterRun,
    /// The service is down for good.
    AtStop,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch a process of the unit. The outcome comes as an event.
    Launch {
        /// Which.
        id: ServiceId,
        /// What.
        role: Role,
        /// For `Stop`, `StopPost` and `Hook`: SERVICE_RESULT and how the main process ended.
        result: ServiceResult,
        /// Last end of the main process, for EXIT_CODE and EXIT_STATUS.
        main_exit: Option<Exit>,
    },
    /// Send a signal (to pidfds, never to numbers), then SIGCONT when it is a stop signal.
    Signal {
        /// Which.
        id: ServiceId,
        /// To whom.
        target: Target,
        /// Number.
        signal: i32,
    },
    /// Kill everything in the unit's group, whatever it does. `CgroupEmptied` follows, also when the group was empty
    /// already or was never made.
    KillCgroup {
        /// Which.
        id: ServiceId,
    },
    /// Begin to look for the sockets of `[ready] listen` or the `pid_file`; `BecameReady` follows.
    WatchReadiness {
        /// Which.
        id: ServiceId,
    },
    /// Stop looking.
    UnwatchReadiness {
        /// Which.
        id: ServiceId,
    },
    /// Open those of `[[sockets]]` that are not open, and look for the first thing that arrives in any; arm `[[timers]]`.
    /// One of `SocketsOpened`, `SocketsFailed` follows. (A launch of the main process opens them too.)
    Listen {
        /// Which.
        id: ServiceId,
    },
    /// Look whether the service is well, as `[health]` says; `Checked` follows.
    Check {
        /// Which.
        id: ServiceId,
        /// To be named in the answer; never that of an earlier check of the same run.
        number: u32,
    },
    /// The answer is not waited for any more; what looks is ended.
    AbandonCheck {
        /// Which.
        id: ServiceId,
    },
    /// Remove runtime directories as the unit says; `AtStop` closes the sockets and disarms the timers as well.
    Remove {
        /// Which.
        id: ServiceId,
        /// How much.
        removal: Removal,
    },
    /// Look whether conditions and asserts of the unit are met and tell `Examined`.
    Examine {
        /// Which.
        id: ServiceId,
    },
    /// Read the unit of this name and tell `Triggered`. One that cannot be used is reported, and that is all.
    StartUnit {
        /// On whose behalf.
        id: ServiceId,
        /// Which.
        name: String,
        /// How many such starts led here.
        links: u8,
    },
    /// Answer a waiting client.
    Reply {
        /// Whom.
        request: RequestId,
        /// What.
        outcome: Outcome,
    },
    /// Write to the log; the status has changed as well, so persist it.
    Record {
        /// Which.
        id: ServiceId,
        /// What happened.
        note: Note,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// It did not come about, with the cause.
    Failed(Cause),
    /// A stop or another request overtook it.
    Cancelled,
    /// It was not started, as a condition of the unit is not met; no failure.
    Skipped(Cause),
    /// Not running (reload, kill).
    NotRunning,
    /// The unit has neither `exec_reload` nor `reload_signal`.
    NotSupported,
}

/// systemd's result words (systemd.service(5)); the first failure of a run wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The words are systemd's.
pub enum ServiceResult {
    #[default]
    Success,
    Resources,
    Protocol,
    Timeout,
    ExitCode,
    Signal,
    CoreDump,
    Watchdog,
    StartLimitHit,
    OomKill,
    ExecCondition,
}

/// Why a run ended or a start failed, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Set-up failed before exec.
    Launch(LaunchFailure),
    /// The main process ended.
    Main {
        /// How.
        exit: Exit,
        /// The word.
        result: ServiceResult,
    },
    /// A command around it failed.
    Command {
        /// Which.
        role: Role,
        /// How.
        outcome: CommandOutcome,
    },
    /// Not ready within `timeout_start`.
    StartTimeout,
    /// `timeout_stop` passed; it was killed.
    StopTimeout,
    /// A hook did not end in time; it was killed.
    HookTimeout {
        /// Which.
        hook: Hook,
    },
    /// Up for `runtime_max`.
    RuntimeMax,
    /// No RELOADING=1 and READY=1 within `timeout_start` of the reload signal.
    ReloadTimeout,
    /// No WATCHDOG=1 for so long.
    Watchdog {
        /// The interval in force.
        interval: Duration,
    },
    /// WATCHDOG=trigger.
    WatchdogTriggered,
    /// `[health]` says so.
    Unhealthy {
        /// Failed checks in a row.
        failures: u32,
        /// What the last one found.
        why: String,
    },
    /// Exited before it was ready (notify), or a forking service left no pid file.
    Protocol,
    /// `restart.limit_burst` reached.
    StartLimit,
    /// What arrives at its sockets starts it again and again, and it takes nothing in.
    TriggerLimit,
    /// A required unit did not start.
    Dependency {
        /// Its name.
        unit: String,
    },
    /// Ordering cycle; the path by names, first repeated at the end.
    Cycle {
        /// Names.
        path: Vec<String>,
    },
    /// A unit that has to exist does not, or is not usable.
    MissingDependency {
        /// Its name.
        unit: String,
    },
    /// A unit that has to be up already is not.
    NotUp {
        /// Its name.
        unit: String,
    },
    /// The unit that this one is bound to ended.
    Bound {
        /// Its name.
        unit: String,
    },
    /// A condition is not met: the start was skipped.
    Condition {
        /// Which.
        what: String,
    },
    /// An assert is not met: the start failed.
    Assert {
        /// Which.
        what: String,
    },
    /// It cannot be up together with a unit that is up or needed.
    Conflict {
        /// Its name.
        unit: String,
    },
    /// Replicas of the set did not come up.
    Replicas {
        /// Their names, and why not.
        failed: Vec<(String, Cause)>,
    },
    /// A rolling restart ended before its end.
    Roll {
        /// The replica that it ended with.
        replica: String,
        /// Why that one is not up; `None`: somebody stopped it, or it ended after it had been ready.
        cause: Option<Box<Cause>>,
        /// Restarted, in this order.
        done: Vec<String>,
        /// Left as they were.
        left: Vec<String>,
    },
}

/// What the daemon's log says about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A start begins; `attempt` counts automatic restarts.
    Starting {
        /// 0 for a manual start.
        restarts: u32,
    },
    /// Ready, or executed where no readiness is asked.
    Started,
    /// Waits for the first connection.
    Listening,
    /// The first connection is there.
    Triggered,
    /// A stop begins.
    Stopping,
    /// Down after a stop.
    Stopped,
    /// The run ended by itself.
    Ended(Cause),
    /// Will be started again.
    RestartScheduled {
        /// When.
        at: Moment,
        /// Which restart this will be, from 1.
        restarts: u32,
    },
    /// The start was skipped; the condition that is not met.
    Skipped(String),
    /// Gave up or may not be restarted.
    Failed(Cause),
    /// Reload began.
    Reloading,
    /// Reload ended; `Some` says why it failed.
    Reloaded(Option<Cause>),
    /// `timeout_stop` or `timeout_start` passed; killing.
    Killing,
    /// STATUS= changed, or something else that it says about itself.
    StatusText,
    /// One of `[hooks]` failed; nothing depends on it.
    HookFailed(Cause),
    /// `[health]`: it is well again.
    Healthy,
    /// `[health]`: it is not well.
    Unhealthy(Cause),
    /// Taken over by a new daemon.
    Adopted,
    /// Of a set: so many replicas are to be kept from now on.
    Scaled {
        /// How many.
        number: u32,
    },
    /// Of a set: how its replicas stand has changed.
    Replicas {
        /// So many are ready.
        ready: u32,
        /// Of so many.
        number: u32,
    },
    /// Of a set: it could not be started as a whole. What failed is tried again.
    Incomplete(Cause),
    /// Of a set: this replica is restarted now, as one of a rolling restart.
    Rolling {
        /// Its name.
        replica: String,
    },
    /// Of a set: the rolling restart is over; `Some` says why before its end.
    Rolled(Option<Cause>),
}
