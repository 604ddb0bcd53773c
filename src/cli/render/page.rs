//! The status page of one unit: what it is, whether it runs, what it uses, what went wrong, in this order.

use super::state_words;
use super::tree::process_tree;
use crate::cli::terminal::{Color, Look, harmless};
use crate::cli::time::{self, coarse};
use crate::cli::words::{cpu_time, size};
use crate::control::{DeniedCall, GroupCounters, Pressure, ProcessLine, RunsOn, SliceStatus, StopProgress, UnitStatus};
use crate::unit::TimeSpan;
use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

/// Processes named as those that hold up a stop.
const STOP_NAMES: usize = 5;

/// Columns before the colon.
const LABEL: usize = 11;

/// The page, each line ended; `log` holds the last lines of the unit's output.
pub fn status_page(unit: &UnitStatus, log: &[String], now: SystemTime, look: Look) -> String {
    let mut page = Page { look, text: String::new() };
    page.heading(unit);
    page.line("Loaded", &loaded(unit));
    page.drop_ins(unit);
    if let Some(error) = &unit.load_error {
        page.lines("", error);
    }
    if unit.changed_on_disk {
        let hint = format!(
            "unit file changed on disk, the running configuration differs: rsvc diff {0}; rsvc restart {0}",
            unit.name
        );
        page.line("", &look.paint(Color::Yellow, &hint));
    }
    page.line("Active", &active(unit, now, look));
    if let Some(cause) = unit.cause.as_deref().filter(|_| unit.state == "inactive" && unit.result == "exec-condition") {
        page.lines("Condition", cause);
    }
    page.replicas(unit, now);
    page.readiness(unit);
    page.watched(unit, now);
    page.listen(unit);
    page.timers(unit, now);
    page.store(unit);
    page.main_process(unit);
    page.runs_on(unit);
    page.counters(&unit.counters);
    page.restarts(unit, now);
    page.hooks(unit);
    page.sandbox(unit);
    page.limits_hit(&unit.counters, unit.log.as_ref().map(|log| log.suppressed));
    if let Some(slice) = &unit.slice {
        page.slice(slice);
    }
    page.processes(unit);
    if !log.is_empty() {
        page.text.push('\n');
        for line in log {
            page.raw(&look.cut(&harmless(line), look.width.unwrap_or(usize::MAX)));
        }
    }
    page.text
}

struct Page {
    look: Look,
    text: String,
}

impl Page {
    fn raw(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A labelled line; an empty label continues the one before.
    fn line(&mut self, label: &str, value: &str) {
        let colon = if label.is_empty() { ' ' } else { ':' };
        self.raw(format!("{label:>LABEL$}{colon} {value}").trim_end());
    }

    /// Several lines under one label, made harmless.
    fn lines(&mut self, label: &str, value: &str) {
        for (index, line) in value.lines().enumerate() {
            self.line(if index == 0 { label } else { "" }, &harmless(line));
        }
    }

    /// For a failed unit the reason comes first, before everything else.
    fn heading(&mut self, unit: &UnitStatus) {
        let dot = self.look.dot(if unit.load_state == "bad-setting" { "failed" } else { &unit.state });
        let cause = unit.cause.as_deref().filter(|_| unit.state == "failed");
        let mut name = self.look.paint(Color::Bold, &harmless(&unit.name));
        if let Some(description) = &unit.description {
            name += &format!(" - {}", harmless(description));
        }
        match cause {
            None => self.raw(&format!("{dot} {name}")),
            Some(cause) => {
                for (index, line) in cause.lines().enumerate() {
                    let start = if index == 0 { format!("{dot} ") } else { "  ".to_owned() };
                    self.raw(&format!("{start}{}", harmless(line)));
                }
                self.raw(&format!("  {name}"));
            }
        }
    }

    /// The counts, then a line for each.
    fn replicas(&mut self, unit: &UnitStatus, now: SystemTime) {
        let Some(set) = &unit.replicas else { return };
        self.line("Replicas", &crate::cli::scale::words(set));
        for member in &set.members {
            let dot = self.look.dot(&member.state);
            let since = member.since.as_deref().map(|since| format!(" for {}", time::age(since, now)));
            let pid = member.main_pid.map(|pid| format!(", pid {pid}"));
            let restarts = (member.restarts > 0).then(|| format!(", restarts {}", member.restarts));
            let held = if member.held { ", stays down until the set is started or scaled" } else { "" };
            let more = [since, pid, restarts].map(Option::unwrap_or_default).concat();
            let (name, state) = (harmless(&member.name), harmless(&member.state));
            let text = format!("{dot} {name} {state} ({}){more}{held}", harmless(&member.substate));
            self.line("", &text);
            if let Some(cause) = member.cause.as_deref().and_then(|cause| cause.lines().next()) {
                self.line("", &format!("    {}", harmless(cause)));
            }
        }
    }

    fn readiness(&mut self, unit: &UnitStatus) {
        let listening = unit.substate == "listening" || (unit.substate == "waiting" && unit.state == "active");
        let running = matches!(unit.state.as_str(), "active" | "reloading" | "activating") && !listening;
        if let Some(ready) = unit.ready.as_deref().filter(|_| running) {
            let by = match (unit.state.as_str(), ready) {
                ("activating", "exec") => "when executed",
                ("activating", "notify") => "waiting for READY=1",
                ("activating", "listen") => "waiting for the sockets of [ready] listen",
                ("activating", "path") => "waiting for the path of [ready]",
                ("activating", "command") => "waiting for the command of [ready]",
                ("activating", "checks") => "waiting for what [ready] asks for",
                ("activating", "pid-file") => "waiting for the pid file",
                ("activating", "exit") => "when it has exited",
                (_, "exec") => "executed",
                (_, "notify") => "by notification",
                (_, "listen") => "listening",
                (_, "path") => "by its path",
                (_, "command") => "by its command",
                (_, "checks") => "by the checks of [ready]",
                (_, "pid-file") => "by pid file",
                (_, "exit") => "exited",
                (_, other) => other,
            };
            self.line("Ready", by);
        }
        if let Some(text) = unit.status_text.as_deref().filter(|text| !text.is_empty()) {
            self.line("Status", &format!("\"{}\"", harmless(text)));
        }
        let errno = unit.status_errno.map(|errno| std::io::Error::from_raw_os_error(errno).to_string());
        let error: Vec<String> = errno.into_iter().chain(unit.status_error.clone()).collect();
        if !error.is_empty() {
            self.line("Error", &harmless(&error.join(", ")));
        }
    }

    /// What watches over it: health, watchdog, the end of its time; and what holds a stop up.
    fn watched(&mut self, unit: &UnitStatus, now: SystemTime) {
        if let Some(health) = &unit.health {
            let failures = unit.health_failures.filter(|n| *n > 0).map(|n| format!(", {n} failed in a row"));
            let cause = unit.health_cause.as_deref().map(|why| format!(": {}", harmless(why)));
            let words = format!("{}{}{}", harmless(health), failures.unwrap_or_default(), cause.unwrap_or_default());
            let color = match health.as_str() {
                "healthy" => Color::Green,
                "unhealthy" => Color::Red,
                _ => Color::Yellow,
            };
            self.line("Health", &self.look.paint(color, &words));
        }
        if let Some(usec) = unit.watchdog_usec {
            self.line("Watchdog", &format!("every {}", TimeSpan(Some(Duration::from_micros(usec)))));
        }
        if let Some(end) = unit.runtime_ends_at.as_deref().and_then(time::parse) {
            self.line("Until", &time::relative(end, now));
        }
        if let Some(stop) = &unit.stop {
            self.line("Stopping", &self.look.paint(Color::Yellow, &stop_words(stop, &unit.processes)));
        }
    }

    fn listen(&mut self, unit: &UnitStatus) {
        for (index, address) in unit.listen.iter().enumerate() {
            self.line(if index == 0 { "Listen" } else { "" }, &harmless(address));
        }
        if let Some(present) = unit.connections {
            let (accepted, refused) =
                (unit.connections_accepted.unwrap_or_default(), unit.connections_refused.unwrap_or_default());
            self.line("Accepted", &format!("{present} connections now; {accepted} so far, {refused} refused"));
        }
    }

    fn store(&mut self, unit: &UnitStatus) {
        if let (Some(count), Some(max)) = (unit.stored_descriptors, unit.stored_descriptors_max) {
            self.line("FD store", &format!("{count} of {max}"));
        }
    }

    fn timers(&mut self, unit: &UnitStatus, now: SystemTime) {
        for (index, timer) in unit.timers.iter().enumerate() {
            let next = timer.next.as_deref().and_then(time::parse);
            let next = next.map_or("not due".to_owned(), |at| format!("next {}", time::relative(at, now)));
            let label = if index == 0 { "Timers" } else { "" };
            self.line(label, &format!("{}, {next}", harmless(&timer.timer)));
        }
        if let Some(last) = unit.timers.first().and_then(|timer| timer.last.as_deref()) {
            self.line("", &format!("last {}", time::absolute_and_relative(last, now)));
        }
        if unit.substate == "waiting"
            && unit.result != "success"
            && unit.restarts == 0
            && let Some(cause) = &unit.cause
        {
            self.lines("Cause", cause);
        }
    }

    fn main_process(&mut self, unit: &UnitStatus) {
        if let Some(pid) = unit.main_pid {
            let name = unit.processes.iter().find(|p| p.pid == pid).map(|p| first_word(&p.command));
            let inner = unit.main_pid_inner.filter(|inner| *inner != pid).map(|inner| format!(" (inside: {inner})"));
            self.line("Main PID", &format!("{pid}{} {}", inner.unwrap_or_default(), name.unwrap_or_default()));
        } else if let Some(end) = last_end(unit) {
            self.line("Last exit", &end);
        }
    }

    /// Only where a restart would change it.
    fn runs_on(&mut self, unit: &UnitStatus) {
        if let Some(runs_on) = unit.runs_on.as_ref().filter(|runs_on| runs_on.outdated) {
            self.line("Runs on", &self.look.paint(Color::Yellow, &outdated_words(runs_on)));
        }
    }

    fn counters(&mut self, c: &GroupCounters) {
        if let Some(tasks) = c.tasks_current {
            let mut parts = vec![c.tasks_max.map_or(tasks.to_string(), |limit| format!("{tasks} of {limit}"))];
            parts.extend(c.tasks_peak.map(|peak| format!("peak {peak}")));
            self.line("Tasks", &parts.join(", "));
        }
        let swap = c.memory_swap_current.filter(|n| *n > 0);
        let memory = [
            c.memory_current.map(size),
            c.memory_peak.map(|n| format!("peak {}", size(n))),
            c.memory_high.map(|n| format!("high {}", size(n))),
            c.memory_max.map(|n| format!("limit {}", size(n))),
            swap.map(|n| format!("swap {}", size(n))),
            pressure(c.memory_pressure),
        ];
        self.parts("Memory", c.memory_current.is_some() || c.memory_peak.is_some(), memory);
        let throttled = c.cpu_nr_throttled.filter(|n| *n > 0);
        let cpu = [
            c.cpu_usage_usec.map(cpu_time),
            throttled.map(|n| format!("throttled {n} times, {}", cpu_time(c.cpu_throttled_usec.unwrap_or(0)))),
            pressure(c.cpu_pressure),
        ];
        self.parts("CPU", c.cpu_usage_usec.is_some(), cpu);
        let io = [
            c.io_read_bytes.map(|n| format!("read {}", size(n))),
            c.io_write_bytes.map(|n| format!("written {}", size(n))),
            pressure(c.io_pressure),
        ];
        self.parts("IO", c.io_read_bytes.is_some() || c.io_write_bytes.is_some(), io);
    }

    fn parts<const N: usize>(&mut self, label: &str, known: bool, parts: [Option<String>; N]) {
        if known {
            self.line(label, &parts.into_iter().flatten().collect::<Vec<_>>().join(", "));
        }
    }

    fn restarts(&mut self, unit: &UnitStatus, now: SystemTime) {
        let next = unit.next_restart_at.as_deref().and_then(time::parse);
        if unit.restarts == 0 && next.is_none() {
            return;
        }
        let next = next.map(|at| format!(", next {}", time::relative(at, now))).unwrap_or_default();
        self.line("Restarts", &format!("{}{next}", unit.restarts));
        if let Some(cause) = unit.cause.as_deref().filter(|_| unit.state != "failed") {
            self.lines("Cause", cause);
        }
    }

    /// Of the last run that ended.
    fn hooks(&mut self, unit: &UnitStatus) {
        if let Some(failure) = &unit.hook_failure {
            self.lines("Hook", failure);
        }
    }

    fn sandbox(&mut self, unit: &UnitStatus) {
        if let Some(profile) = &unit.profile {
            self.line("Sandbox", &format!("profile {}", harmless(profile)));
        }
        if let Some(range) = &unit.user_namespace {
            let last = range.first.saturating_add(range.size.saturating_sub(1));
            self.line(
                "Users",
                &format!("ids 0 to {} are {} to {last} of the host", range.size.saturating_sub(1), range.first),
            );
        }
        for (index, item) in unit.changed_live.iter().enumerate() {
            let label = if index == 0 { "Changed" } else { "" };
            self.line(label, &self.look.paint(Color::Yellow, &harmless(item)));
        }
        for (index, item) in unit.degraded.iter().enumerate() {
            let label = if index == 0 { "Degraded" } else { "" };
            self.line(label, &self.look.paint(Color::Yellow, &harmless(item)));
        }
        for (index, denied) in unit.denied.iter().enumerate() {
            let label = if index == 0 { "Denied" } else { "" };
            self.line(label, &self.look.paint(Color::Yellow, &harmless(&denied_words(denied))));
        }
    }

    fn slice(&mut self, slice: &SliceStatus) {
        let of = |used: Option<String>, limit: Option<String>| Some(format!("{} of {}", used?, limit?));
        let memory = of(slice.memory_current.map(size), slice.memory_max.map(size));
        let number = |n: u64| n.to_string();
        let tasks = of(slice.tasks_current.map(number), slice.tasks_max.map(number));
        let limits: Vec<String> = [memory.map(|m| format!("memory {m}")), tasks.map(|t| format!("tasks {t}"))]
            .into_iter()
            .flatten()
            .collect();
        let limits = if limits.is_empty() { String::new() } else { format!(" ({})", limits.join(", ")) };
        self.line("Slice", &format!("{}{limits}", harmless(&slice.name)));
    }

    fn limits_hit(&mut self, c: &GroupCounters, suppressed: Option<u64>) {
        let hit = |count: Option<u64>, what: &str| count.filter(|n| *n > 0).map(|n| format!("{what} {n}"));
        let hits: Vec<String> = [
            hit(c.oom_kills, "OOM kills"),
            hit(c.memory_events_oom, "out of memory"),
            hit(c.memory_events_max, "memory limit"),
            hit(c.memory_events_high, "memory_high"),
            hit(c.tasks_refused, "refused forks"),
            hit(suppressed, "suppressed messages"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !hits.is_empty() {
            self.line("Limits hit", &self.look.paint(Color::Yellow, &hits.join(", ")));
        }
    }

    /// One line for each directory, with the files in it.
    fn drop_ins(&mut self, unit: &UnitStatus) {
        let mut label = "Drop-ins";
        for directory in unit.drop_ins.chunk_by(|a, b| folder(a).0 == folder(b).0) {
            let (folder, _) = folder(&directory[0]);
            let names: Vec<&str> = directory.iter().map(|file| self::folder(file).1).collect();
            self.line(label, &harmless(&format!("{folder}/{}", names.join(", "))));
            label = "";
        }
    }

    fn processes(&mut self, unit: &UnitStatus) {
        let Some(group) = &unit.cgroup else { return };
        if unit.processes.is_empty() {
            return;
        }
        self.line("CGroup", &harmless(group));
        for line in process_tree(&unit.processes, self.look) {
            let room = self.look.width.map_or(usize::MAX, |width| width.saturating_sub(LABEL + 2));
            self.line("", &self.look.cut(&line, room));
        }
    }
}

/// Which rsvc started a run, and what a restart brings.
fn outdated_words(runs_on: &RunsOn) -> String {
    let brings = harmless(&runs_on.restart_brings);
    let Some(version) = &runs_on.version else {
        return format!("an older or unknown rsvc (a restart brings {brings})");
    };
    let how = match compare_versions(version, &runs_on.restart_brings) {
        Ordering::Less => "older",
        Ordering::Equal => return format!("another build of rsvc {brings} (a restart brings the present one)"),
        Ordering::Greater => "newer",
    };
    format!("rsvc {} ({how}: a restart brings {brings})", harmless(version))
}

/// Part by part, numbers as numbers: 0.9 comes before 0.10.
fn compare_versions(one: &str, other: &str) -> Ordering {
    let part = |part: &str| (part.parse::<u64>().unwrap_or(0), part.to_owned());
    let parts = |version: &str| -> Vec<_> { version.split(['.', '-', '+', '~']).map(part).collect() };
    parts(one).cmp(&parts(other))
}

/// What a stop is at, how long that may still take, and whom it waits for.
pub fn stop_words(stop: &StopProgress, processes: &[ProcessLine]) -> String {
    let left = stop.remaining_usec.map(|usec| format!(", killed in {}", coarse(Duration::from_micros(usec))));
    let names: Vec<String> = processes
        .iter()
        .filter(|process| process.command != "[rsvc-init]")
        .take(STOP_NAMES)
        .map(|process| format!("{} {}", process.pid, first_word(&process.command)))
        .collect();
    let more = processes.len().saturating_sub(STOP_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let whom = if names.is_empty() { String::new() } else { format!("; still there: {}{more}", names.join(", ")) };
    format!("{}{}{whom}", harmless(&stop.step), left.unwrap_or_default())
}

fn first_word(command: &str) -> String {
    let word = command.split_whitespace().next().unwrap_or_default();
    harmless(word.rsplit('/').next().unwrap_or(word).trim_end_matches(':'))
}

/// Directory and name of a file.
fn folder(file: &str) -> (&str, &str) {
    file.rsplit_once('/').unwrap_or(("", file))
}

fn loaded(unit: &UnitStatus) -> String {
    let enabled = if unit.enabled { "enabled" } else { "disabled" };
    match &unit.file {
        Some(file) => format!("{} ({}; {enabled})", unit.load_state, harmless(file)),
        None => format!("{} ({enabled})", unit.load_state),
    }
}

fn active(unit: &UnitStatus, now: SystemTime, look: Look) -> String {
    let words = state_words(unit);
    let colored = match unit.state.as_str() {
        "active" | "reloading" => look.paint(Color::Green, &words),
        "failed" => look.paint(Color::Red, &words),
        "activating" | "deactivating" => look.paint(Color::Yellow, &words),
        _ => words,
    };
    match &unit.since {
        Some(since) => format!("{colored} since {}", time::absolute_and_relative(since, now)),
        None => colored,
    }
}

/// How the main process ended last, as a phrase.
fn last_end(unit: &UnitStatus) -> Option<String> {
    match (&unit.exit_signal, unit.exit_code) {
        (Some(signal), _) => Some(format!("killed by {}", harmless(signal))),
        (None, Some(code)) => Some(format!("status {code}")),
        (None, None) => None,
    }
}

/// Worth a word only when something had to wait.
fn pressure(pressure: Option<Pressure>) -> Option<String> {
    let p = pressure.filter(|p| p.some_avg10 >= 0.01)?;
    Some(format!("pressure some {:.2}% full {:.2}%", p.some_avg10, p.full_avg10))
}

/// `mount, 3 times: EPERM, first by web[123]; syscalls.allow.append = ["mount"] would allow it`
fn denied_words(denied: &DeniedCall) -> String {
    let times = if denied.times == 1 { "once".to_owned() } else { format!("{} times", denied.times) };
    if denied.errno.is_empty() {
        return format!("{}, {times}", denied.call);
    }
    let others =
        if denied.others > 0 { format!(", with other arguments {} more", denied.others) } else { String::new() };
    let DeniedCall { call, errno, command, pid, remedy, .. } = denied;
    format!("{call}, {times}{others}: {errno}, first by {command}[{pid}]; {remedy}")
}

#[cfg(test)]
mod tests;
