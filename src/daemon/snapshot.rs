//! The state of a service as people and programs see it.

use super::engine::Engine;
use super::service::{Process, Service};
use crate::control::{GroupCounters, IdRange, LogPlace, ProcessLine, StopProgress, UnitStatus};
use crate::plan::Output;
use crate::supervise::{
    ActiveState, Cause, CommandOutcome, Exit, HealthState, Moment, Note, Role, ServiceId, ServiceResult, Status,
    StopStep,
};
use crate::unit::{ReadyKind, Unit};
use std::time::{Duration, SystemTime};

/// How many processes of a group are listed.
const PROCESSES: usize = 64;

/// systemd's word for a result.
pub(super) fn result_word(result: ServiceResult) -> &'static str {
    match result {
        ServiceResult::Success => "success",
        ServiceResult::Resources => "resources",
        ServiceResult::Protocol => "protocol",
        ServiceResult::Timeout => "timeout",
        ServiceResult::ExitCode => "exit-code",
        ServiceResult::Signal => "signal",
        ServiceResult::CoreDump => "core-dump",
        ServiceResult::Watchdog => "watchdog",
        ServiceResult::StartLimitHit => "start-limit-hit",
        ServiceResult::OomKill => "oom-kill",
        ServiceResult::ExecCondition => "exec-condition",
    }
}

/// `EXIT_CODE` and `EXIT_STATUS` of systemd.exec(5).
pub(super) fn exit_words(exit: Exit) -> Option<(&'static str, String)> {
    match exit {
        Exit::Exited(status) => Some(("exited", status.to_string())),
        Exit::Killed(signal) => Some(("killed", signal_name(signal).trim_start_matches("SIG").to_owned())),
        Exit::Dumped(signal) => Some(("dumped", signal_name(signal).trim_start_matches("SIG").to_owned())),
        Exit::Unknown => None,
    }
}

/// `SIGTERM`, `SIGRTMIN+3`, or the number.
pub(super) fn signal_name(signal: u8) -> String {
    match nix::sys::signal::Signal::try_from(i32::from(signal)) {
        Ok(name) => name.as_str().to_owned(),
        Err(_) if (34..=64).contains(&signal) => format!("SIGRTMIN+{}", signal - 34),
        Err(_) => format!("signal {signal}"),
    }
}

fn active_word(state: ActiveState) -> &'static str {
    match state {
        ActiveState::Inactive => "inactive",
        ActiveState::Activating => "activating",
        ActiveState::Active => "active",
        ActiveState::Reloading => "reloading",
        ActiveState::Deactivating => "deactivating",
        ActiveState::Failed => "failed",
    }
}

/// The word of a sub-state as serde writes it, which is systemd's.
fn sub_word(status: &Status) -> String {
    match serde_json::to_value(status.substate) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

pub(super) fn how(exit: Exit) -> String {
    match exit {
        Exit::Exited(status) => format!("exited with status {status}"),
        Exit::Killed(signal) => format!("was killed by {}", signal_name(signal)),
        Exit::Dumped(signal) => format!("was killed by {} and dumped core", signal_name(signal)),
        Exit::Unknown => "ended while no daemon ran, and left no record".to_owned(),
    }
}

fn role_words(role: Role) -> String {
    match role {
        Role::Main => "the main process".to_owned(),
        Role::StartPre(n) => format!("exec_start_pre[{n}]"),
        Role::StartPost(n) => format!("exec_start_post[{n}]"),
        Role::Reload(n) => format!("exec_reload[{n}]"),
        Role::Stop(n) => format!("exec_stop[{n}]"),
        Role::StopPost(n) => format!("exec_stop_post[{n}]"),
        Role::Ready => "ready.command".to_owned(),
        Role::Health => "health.command".to_owned(),
        Role::Hook(hook) => hook.dotted().to_owned(),
    }
}

/// The sentence of `why`, for the log, for `status` and for a failed `start`.
pub(super) fn cause_words(cause: &Cause, service: Option<&Service>) -> String {
    match cause {
        Cause::Launch(failure) => failure.message.clone(),
        Cause::Main { exit, result: ServiceResult::OomKill } => oom_words(*exit, service),
        Cause::Main { exit, .. } => end_words(Role::Main, *exit, service),
        Cause::Command { role, outcome: CommandOutcome::Exited(exit) } => end_words(*role, *exit, service),
        Cause::Command { role, outcome: CommandOutcome::NotLaunched(failure) } => {
            format!("{}: {}", role_words(*role), failure.message)
        }
        Cause::StartTimeout => timeout_words(service),
        Cause::StopTimeout => "did not stop within service.timeout_stop and was killed".to_owned(),
        Cause::HookTimeout { hook } => format!("{} did not end within hooks.timeout and was killed", hook.dotted()),
        Cause::RuntimeMax => "was up for service.runtime_max".to_owned(),
        Cause::ReloadTimeout => {
            "no RELOADING=1 with MONOTONIC_USEC= and READY=1 came within service.timeout_start of the reload signal; it \
             runs on\n  hint: a program that does not answer a reload wants `type = \"notify\"`"
                .to_owned()
        }
        Cause::Watchdog { interval } => format!(
            "no WATCHDOG=1 came for {} (service.watchdog): it hangs, or never sends any",
            crate::unit::TimeSpan(Some(*interval))
        ),
        Cause::WatchdogTriggered => "it asked for its own end with WATCHDOG=trigger".to_owned(),
        Cause::Unhealthy { failures: 1, why } => format!("unhealthy: {why}"),
        Cause::Unhealthy { failures, why } => format!("unhealthy, {failures} checks in a row: {why}"),
        Cause::Protocol => {
            "the main process ended before the service was ready\n  hint: `type = \"notify\"` waits for READY=1, \
             `forking` for the pid file: does the program do that in the foreground mode it was started in?"
                .to_owned()
        }
        Cause::StartLimit => {
            "restarted too often within restart.limit_interval (restart.limit_burst); a manual start is \
             always possible"
                .to_owned()
        }
        Cause::TriggerLimit => "started more than 20 times within 2 seconds by what arrives at its sockets: it ends without \
                                taking the connection\n  hint: the program must accept(2) from descriptor 3 on (LISTEN_FDS)"
            .to_owned(),
        Cause::Dependency { unit } => {
            format!("the required unit {unit} did not start; this one is started when that comes up")
        }
        Cause::Cycle { path } => format!("ordering cycle: {}", path.join(" -> ")),
        Cause::MissingDependency { unit } => format!("the required unit {unit} does not exist or is not usable"),
        Cause::NotUp { unit } => format!("the unit {unit}, which has to be up, is not; this one is started with it"),
        Cause::Bound { unit } => {
            format!("the unit {unit}, to which this one is bound, ended; it is started with it again")
        }
        Cause::Condition { what } => format!("skipped, as the condition {what} is not met"),
        Cause::Assert { what } => format!("the assert {what} is not met"),
        Cause::Conflict { unit } => {
            format!("it cannot be up together with the unit {unit} (unit.conflicts), which is up or needed")
        }
        Cause::Replicas { .. } | Cause::Roll { .. } => super::replicas::cause_words(cause),
    }
}

fn timeout_words(service: Option<&Service>) -> String {
    let ready = service.and_then(|s| s.running.as_ref()).map(|unit| unit.ready_kind());
    let refused = service.is_some_and(|s| s.said.ready_was_refused);
    let not_ready = service.and_then(|s| s.said.not_ready.as_deref());
    let what = match ready {
        Some(ReadyKind::Notify) if refused => {
            "no READY=1 came from the main process within service.timeout_start, but one of its children sent it\n  hint: \
             set `service.notify_access = \"all\"` to believe every process of the unit"
        }
        Some(ReadyKind::Checked | ReadyKind::PidFile) if not_ready.is_some() => {
            return format!("was not ready within ready.timeout: {}", not_ready.unwrap_or_default());
        }
        Some(ReadyKind::Notify) => {
            "no READY=1 came within service.timeout_start\n  hint: a program that does not know sd_notify wants `type = \
             \"exec\"`, with `[ready] listen` if it opens sockets"
        }
        Some(ReadyKind::Checked) => {
            "what `[ready]` asks for was not there within ready.timeout (service.timeout_start unless given)"
        }
        Some(ReadyKind::PidFile) => "no process of the unit was in `service.pid_file` within service.timeout_start",
        _ => "did not start within service.timeout_start",
    };
    what.to_owned()
}

/// An OOM kill with limit and peak, and whose limit it was.
fn end_words(role: Role, exit: Exit, service: Option<&Service>) -> String {
    let who = role_words(role);
    let unit = service.and_then(|service| service.running.as_deref().or(service.unit.as_deref()));
    let killed = service.filter(|_| role == Role::Main).and_then(|service| service.killed_call.as_deref());
    super::killed_call::words(&who, exit, unit, killed).unwrap_or_else(|| format!("{who} {}", how(exit)))
}

fn oom_words(exit: Exit, service: Option<&Service>) -> String {
    let counters = service.and_then(|s| s.last_counters.as_deref().cloned()).unwrap_or_default();
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), crate::unit::value::print_byte_size);
    let slice = service.filter(|service| service.from_slice.ran_out);
    if let Some(slice) = slice.and_then(|service| service.running.as_ref()?.resources.slice.clone()) {
        return format!(
            "out of memory: the main process {} (by the memory limit of the slice {slice}; peak of this unit {})\n  hint: \
             raise `resources.memory_max` in {slice}.slice.toml, or give this unit a limit of its own",
            how(exit),
            size(counters.memory_peak)
        );
    }
    let whose = match (counters.memory_max, counters.memory_events_oom) {
        (Some(limit), Some(0)) => {
            format!(
                "not by its own limit ({}) but by one above it: the slice's, the instance's or the host's",
                size(Some(limit))
            )
        }
        (Some(limit), _) => format!("limit {}, peak {}", size(Some(limit)), size(counters.memory_peak)),
        (None, _) => format!("the unit has no limit, so the host ran out; peak {}", size(counters.memory_peak)),
    };
    format!("out of memory: the main process {} ({whose})\n  hint: raise `resources.memory_max`", how(exit))
}

/// One line of the daemon's own log for what happened.
pub(super) fn log_note(service: &Service, note: &Note) {
    let unit = service.name.as_str();
    let invocation_id = service.invocation.as_str();
    match note {
        Note::Ended(cause @ Cause::Main { result: ServiceResult::Success, .. }) => {
            tracing::info!(unit, invocation_id, "{unit}: {}", cause_words(cause, Some(service)));
        }
        Note::Ended(cause) => tracing::warn!(unit, invocation_id, "{unit}: {}", cause_words(cause, Some(service))),
        Note::Failed(cause) => {
            tracing::error!(unit, invocation_id, "{unit}: failed: {}", cause_words(cause, Some(service)));
        }
        Note::Reloaded(Some(cause)) => {
            tracing::warn!(unit, invocation_id, "{unit}: reload failed: {}", cause_words(cause, Some(service)));
        }
        Note::Unhealthy(cause) | Note::HookFailed(cause) => {
            tracing::warn!(unit, invocation_id, "{unit}: {}", cause_words(cause, Some(service)));
        }
        Note::Incomplete(cause) | Note::Rolled(Some(cause)) => {
            tracing::warn!(unit, "{unit}: {}", cause_words(cause, Some(service)));
        }
        Note::Killing => tracing::warn!(unit, invocation_id, "{unit}: time is up, killing what is left"),
        Note::Listening
        | Note::Triggered
        | Note::Started
        | Note::Stopped
        | Note::Skipped(_)
        | Note::Reloaded(None)
        | Note::Scaled { .. }
        | Note::Rolling { .. }
        | Note::Rolled(None)
        | Note::Healthy => {
            tracing::info!(unit, invocation_id, "{unit}: {}", note_words(note));
        }
        // Of all that were taken over one line tells, when the last of them was.
        Note::Adopted
        | Note::Starting { .. }
        | Note::Stopping
        | Note::RestartScheduled { .. }
        | Note::Reloading
        | Note::StatusText
        | Note::Replicas { .. } => {
            tracing::debug!(unit, invocation_id, "{unit}: {}", note_words(note));
        }
    }
}

/// A word or two for a note without a cause.
pub(super) fn note_words(note: &Note) -> String {
    match note {
        Note::Starting { restarts: 0 } => "starting".to_owned(),
        Note::Starting { restarts } => format!("starting again (restart {restarts})"),
        Note::Started => "started".to_owned(),
        Note::Listening => "listening".to_owned(),
        Note::Triggered => "started by its sockets".to_owned(),
        Note::Stopping => "stopping".to_owned(),
        Note::Stopped => "stopped".to_owned(),
        Note::Skipped(what) => format!("skipped, as the condition {what} is not met"),
        Note::RestartScheduled { at, restarts } => {
            let seconds = at.0.saturating_sub(super::engine::now().0) as f64 / 1e6;
            format!("will be restarted in {seconds:.1} s (restart {restarts})")
        }
        Note::Reloading => "reloading".to_owned(),
        Note::Reloaded(_) => "reloaded".to_owned(),
        Note::Killing => "killing".to_owned(),
        Note::StatusText => "status changed".to_owned(),
        Note::Adopted => "taken over".to_owned(),
        Note::Scaled { number } => format!("{number} replicas are to be up"),
        Note::Replicas { ready, number } => format!("{ready} of {number} replicas are ready"),
        Note::Incomplete(_) => "started in part".to_owned(),
        Note::Rolling { replica } => format!("rolling restart: {replica}"),
        Note::Rolled(None) => "rolling restart done".to_owned(),
        Note::Rolled(Some(_)) => "rolling restart ended early".to_owned(),
        Note::Healthy => "healthy".to_owned(),
        Note::Unhealthy(_) => "unhealthy".to_owned(),
        Note::HookFailed(_) => "a hook failed".to_owned(),
        Note::Ended(_) => "ended".to_owned(),
        Note::Failed(_) => "failed".to_owned(),
    }
}

/// A moment of CLOCK_BOOTTIME as RFC 3339 in UTC.
pub(super) fn wall_time(moment: Moment) -> String {
    let present = super::engine::now();
    let wall = SystemTime::now();
    let at = if moment.0 >= present.0 {
        wall + Duration::from_micros(moment.0 - present.0)
    } else {
        wall - Duration::from_micros(present.0 - moment.0)
    };
    super::timestamp::text(at)
}

impl Engine {
    /// How a service stands: what costs no look at files or groups.
    pub(super) fn state_of(&self, id: ServiceId) -> Option<UnitStatus> {
        let service = self.service(id)?;
        let status = self.supervisor.status(id)?;
        let main = service.main.as_deref().filter(|p| p.exit.is_none() && p.executed);
        let stores = service.running.as_ref().or(service.unit.as_ref());
        let stores = stores.map(|unit| unit.service.file_descriptor_store_max).filter(|max| *max > 0);
        let counts = self.connection_counts(id);
        let mut result = UnitStatus {
            v: 1,
            name: service.name.clone(),
            load_state: if service.load_error.is_some() { "bad-setting" } else { "loaded" }.to_owned(),
            load_error: service.load_error.clone(),
            state: active_word(status.state).to_owned(),
            substate: sub_word(&status),
            result: result_word(status.result).to_owned(),
            cause: status.cause.as_ref().map(|cause| cause_words(cause, Some(service))),
            since: (status.since.0 > 0).then(|| wall_time(status.since)),
            hook_failure: status.hook_failure.as_ref().map(|cause| cause_words(cause, Some(service))),
            status_text: status.status_text.clone(),
            status_errno: service.said.errno,
            status_error: service.said.error.clone(),
            watchdog_usec: status.watchdog.filter(|interval| !interval.is_zero()).map(micros),
            runtime_ends_at: status.runtime_ends_at.map(wall_time),
            health: status.health.as_ref().map(|health| health_word(health.state).to_owned()),
            health_failures: status.health.as_ref().map(|health| health.failures),
            health_cause: status.health.and_then(|health| health.why),
            stop: status.stop_step.map(|step| StopProgress {
                step: stop_words(step),
                ends_at: status.step_ends_at.map(wall_time),
                remaining_usec: status.step_ends_at.map(|at| micros(at.since(super::engine::now()))),
            }),
            runs_on: service.runs_on(),
            main_pid: main.map(Process::main_pid),
            main_pid_inner: main.map(|p| p.inner_pid),
            restarts: status.restarts,
            next_restart_at: status.next_restart_at.map(wall_time),
            invocation_id: (!service.invocation.is_empty()).then(|| service.invocation.clone()),
            timers: self.timer_lines(id),
            stored_descriptors: stores.map(|_| u32::try_from(service.store.len()).unwrap_or(u32::MAX)),
            stored_descriptors_max: stores,
            connections: counts.map(|(present, _, _)| present),
            connections_accepted: counts.map(|(_, accepted, _)| accepted),
            connections_refused: counts.map(|(_, _, refused)| refused),
            listen: service.sockets.as_ref().map(|sockets| sockets.addresses()).unwrap_or_default(),
            ..UnitStatus::default()
        };
        match status.main_exit {
            Some(Exit::Exited(status)) => result.exit_code = Some(status.into()),
            Some(Exit::Killed(signal) | Exit::Dumped(signal)) => result.exit_signal = Some(signal_name(signal)),
            Some(Exit::Unknown) | None => {}
        }
        Some(result)
    }

    /// Everything about one service; without details neither processes nor counters beyond what is in use now, which is
    /// what makes a list of thousands cheap.
    pub(super) fn snapshot(&mut self, id: ServiceId, detailed: bool) -> Option<UnitStatus> {
        if self.is_replica_set(id) {
            return self.set_snapshot(id, detailed);
        }
        self.digest(id);
        let service = self.service(id)?;
        let unit = service.running.as_ref().or(service.unit.as_ref());
        let shown = service.unit.as_ref().or(unit);
        let mut result = UnitStatus {
            description: shown.and_then(|u| u.unit.description.clone()),
            file: shown.map(|u| u.file.clone()),
            drop_ins: shown.map(|u| u.drop_ins().map(str::to_owned).collect()).unwrap_or_default(),
            ready: unit.map(|u| ready_word(u).to_owned()),
            user_namespace: self.range_in_use(service).map(|first| IdRange { first, size: crate::plan::RANGE_SIZE }),
            profile: unit.map(|u| format!("{:?}", u.security.profile).to_lowercase()),
            frozen: service.frozen && service.group.as_ref().is_some_and(crate::cgroup::Group::is_frozen),
            changed_live: service.changes(),
            degraded: self.degraded(service),
            denied: if detailed { super::denials::denied(service) } else { Vec::new() },
            log: self.log_place(service),
            ..self.state_of(id)?
        };
        if let Some(group) = &service.group {
            result.cgroup = Some(group.path().display().to_string());
            result.counters = if detailed { group.counters() } else { group.usage() };
            if detailed {
                result.slice = self.slice_status(id);
                result.processes =
                    group.pids().unwrap_or_default().into_iter().take(PROCESSES).map(process_line).collect();
            }
        }
        if result.main_pid.is_none() && service.group.is_none() {
            // What the last run used at the most; nothing is in use now.
            let last = service.last_counters.as_deref().cloned().unwrap_or_default();
            result.counters = GroupCounters {
                memory_peak: last.memory_peak,
                memory_max: last.memory_max,
                cpu_usage_usec: last.cpu_usage_usec,
                tasks_peak: last.tasks_peak,
                oom_kills: last.oom_kills,
                ..GroupCounters::default()
            };
        }
        result.counters.oom_kills = result.counters.oom_kills.map(|n| n.saturating_sub(service.oom_kills_before));
        if detailed {
            result.enabled = crate::load::is_enabled(&self.options.unit_path, &service.name);
            result.changed_on_disk = self.changed_on_disk(service);
        }
        Some(result)
    }

    fn degraded(&self, service: &Service) -> Vec<String> {
        let planned = service.digest.as_ref().map(|digest| digest.degraded.as_slice()).unwrap_or_default();
        let mut lines: Vec<String> = planned
            .iter()
            .chain(&service.group_degraded)
            .chain(&*service.degraded)
            .map(|item| format!("{}: {}", item.key, item.why))
            .collect();
        lines.dedup();
        lines
    }

    fn log_place(&self, service: &Service) -> Option<LogPlace> {
        let unit = service.running.as_ref().or(service.unit.as_ref())?;
        let output = service.digest.as_ref()?.output.clone();
        let suppressed = service.log.as_ref().map_or(service.suppressed, |log| log.suppressed());
        Some(match output {
            Output::Journal | Output::Relay => LogPlace {
                target: "journald".to_owned(),
                path: None,
                identifier: Some(unit.log_identifier().to_owned()),
                suppressed,
            },
            Output::Pipe => LogPlace {
                target: "file".to_owned(),
                path: Some(self.options.log_dir.join(format!("{}.log", service.name)).display().to_string()),
                identifier: None,
                suppressed,
            },
            Output::Null => LogPlace { target: "null".to_owned(), ..LogPlace::default() },
            Output::Inherit | Output::Terminal | Output::Caller => {
                LogPlace { target: "inherit".to_owned(), ..LogPlace::default() }
            }
        })
    }

    fn changed_on_disk(&self, service: &Service) -> bool {
        let Some(running) = &service.running else { return false };
        let name = running.connection_of.as_ref().unwrap_or(&running.name);
        match crate::load::find(&self.options.unit_path, name, self.trust()) {
            Ok(crate::load::Lookup::Found(found)) => {
                super::definition::fingerprint(&found) != service.running_fingerprint
            }
            _ => true,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn health_word(state: HealthState) -> &'static str {
    match state {
        HealthState::Starting => "starting",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    }
}

/// What a stop waits for.
fn stop_words(step: StopStep) -> String {
    match step {
        StopStep::Queued => "waits until the units that are ordered after it have stopped".to_owned(),
        StopStep::Command(role) => format!("{} runs", role_words(role)),
        StopStep::ByItself => "it said STOPPING=1 and ends by itself".to_owned(),
        StopStep::Signal(signal) => {
            format!("{} was sent", signal_name(u8::try_from(signal).unwrap_or_default()))
        }
        StopStep::Kill => "killed, waits for the kernel to end what is left".to_owned(),
    }
}

fn ready_word(unit: &Unit) -> &'static str {
    match unit.ready_kind() {
        ReadyKind::Executed => "exec",
        ReadyKind::Notify => "notify",
        ReadyKind::Exited => "exit",
        ReadyKind::PidFile => "pid-file",
        ReadyKind::Checked => match (unit.ready.listen.is_empty(), &unit.ready.path, unit.ready.command.is_empty()) {
            (false, None, true) => "listen",
            (true, Some(_), true) => "path",
            (true, None, false) => "command",
            _ => "checks",
        },
    }
}

fn process_line(pid: i32) -> ProcessLine {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&read("stat")).into_owned();
    let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    let parent = name.and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
    let command = read("cmdline");
    let command = String::from_utf8_lossy(command.strip_suffix(b"\0").unwrap_or(&command)).replace('\0', " ");
    let command = if command.is_empty() { format!("[{}]", name.map_or("?", |(name, _)| name)) } else { command };
    ProcessLine { pid, parent, command }
}
