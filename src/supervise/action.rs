//! Orders that go out, in the imperative, and the words for what became of a run or a request.

use super::{CommandOutcome, Exit, LaunchFailure, Moment, RequestId, Role, ServiceId};
use crate::unit::Hook;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    Launch(Box<LaunchFailure>),
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
