//! Service, restart, readiness, resources: keys that need or exclude each other.

use super::super::decode::{Entry, Sink, Source, Value};
use super::super::problem::Code;
use super::super::{
    Activation, NotifyAccess, RestartPolicy, RestrictNamespaces, RootfsKind, ServiceType, SyscallMode, Upper,
};
use super::Checked;
use std::ops::Range;

impl Checked<'_> {
    /// Place of the value of a key that the file set, else of the whole table or the top.
    pub(super) fn value_place(&self, table: &'static str, key: &'static str) -> Range<usize> {
        match self.values.place(table, key) {
            Some(place) => place.value.clone(),
            None => self.values.headers.get(table).cloned().unwrap_or(0..0),
        }
    }

    /// Place of element `n` of a list of the file.
    pub(super) fn item_place(&self, table: &'static str, key: &'static str, n: usize) -> Range<usize> {
        let item = self.values.place(table, key).and_then(|p| p.items.get(n).cloned());
        item.unwrap_or_else(|| self.value_place(table, key))
    }

    pub(super) fn is_written(&self, table: &'static str, key: &'static str) -> bool {
        self.values.place(table, key).is_some()
    }

    /// Does a profile from outside (`--profile host`) win over what the file says?
    fn has_forced_profile(&self) -> bool {
        matches!(self.values.get("security", "profile"), Some(Entry { source: Source::Profile, .. }))
    }

    /// Does the file name the key, well-formed or not?
    pub(super) fn is_attempted(&self, table: &'static str, key: &'static str) -> bool {
        self.values.attempted.contains(&(table, key))
    }
}

/// Reports `key` of the file, if it was written.
pub(super) fn no_effect(sink: &mut Sink<'_>, c: &Checked<'_>, table: &'static str, key: &'static str, why: &str) {
    if let Some(place) = c.values.place(table, key) {
        let dotted = format!("{table}.{key}");
        sink.add(Code::NoEffect, place.key.clone(), &dotted, format!("`{dotted}` has no effect: {why}"), None);
    }
}

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    kind(sink, c);
    restart(sink, c);
    dependencies(sink, c);
    rootfs(sink, c);
    resources(sink, c);
    repeated(sink, c);
    variables(sink, c);
    super::calls::all(sink, c);
    if c.settings.syscalls.mode == SyscallMode::Off && c.is_written("syscalls", "mode") {
        for key in ["allow", "deny", "errno", "unknown_errno", "on_deny", "log", "architectures"] {
            no_effect(sink, c, "syscalls", key, "`syscalls.mode` is \"off\"");
        }
    } else if c.settings.syscalls.mode == SyscallMode::Off && !c.has_forced_profile() {
        unfiltered(sink, c);
    }
}

/// Lists for a filter that the unit's profile does not load: what the author wrote would close nothing.
fn unfiltered(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let (security, network) = (&c.settings.security, &c.settings.network);
    // Each of them has a filter of its own, which is for the listed architectures as well.
    let has_filter = security.lock_personality
        || security.restrict_realtime
        || security.restrict_suid_sgid
        || security.restrict_namespaces != RestrictNamespaces::No
        || security.protect_kernel_modules
        || security.protect_kernel_logs
        || security.protect_clock
        || security.protect_hostname
        || network.address_families.is_some()
        || network.bind_allow.is_some()
        || network.connect_allow.is_some();
    for key in ["allow", "deny", "log", "architectures"] {
        if let Some(place) = c.values.place("syscalls", key).filter(|_| key != "architectures" || !has_filter) {
            let dotted = format!("syscalls.{key}");
            let profile = security.profile.as_str();
            let message = format!("`{dotted}` has no effect: the profile `{profile}` loads no filter");
            let help = "write syscalls.mode = \"enforce\" as well; then `allow` is in force, too".to_owned();
            sink.add(Code::NoEffect, place.key.clone(), &dotted, message, Some(help));
        }
    }
}

fn kind(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let service = &c.settings.service;
    match service.kind {
        ServiceType::Forking if service.pid_file.is_none() && !c.is_attempted("service", "pid_file") => {
            let message = "`type = \"forking\"` needs `pid_file`: rsvc does not guess which process is the daemon";
            let help = "give pid_file, or let the program run in the foreground with type = \"exec\"".to_owned();
            sink.add(Code::Forking, c.value_place("service", "type"), "service.type", message, Some(help));
        }
        ServiceType::Forking => {}
        _ if c.is_written("service", "pid_file") && !c.is_broken("service", "type") => {
            let message = "`pid_file` has a meaning only with `type = \"forking\"`";
            let help = "rsvc knows the main process of every other type".to_owned();
            sink.add(Code::Forking, c.value_place("service", "pid_file"), "service.pid_file", message, Some(help));
        }
        _ => {}
    }
    remaining(sink, c);
    notifications(sink, c);
    super::watched::all(sink, c);
    if service.kind == ServiceType::Oneshot {
        no_effect(sink, c, "service", "watchdog", "a oneshot service is never up; `timeout_start` is its time");
        no_effect(sink, c, "service", "runtime_max", "a oneshot service is never up; `timeout_start` is its time");
        for key in ["exec_reload", "reload_signal"] {
            no_effect(sink, c, "service", key, "a oneshot service is over when it has started");
        }
    }
    if !service.exec_reload.is_empty() && c.is_written("service", "reload_signal") {
        let message = "both `exec_reload` and `reload_signal` are given";
        let help = Some("keep one: the signal is the shorter way".to_owned());
        sink.add(Code::Conflict, c.value_place("service", "reload_signal"), "service.reload_signal", message, help);
    }
}

/// Who stays up without a process.
fn remaining(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let service = &c.settings.service;
    if !service.remain_after_exit || c.is_broken("service", "type") {
        return;
    }
    let (message, help) = if service.kind != ServiceType::Oneshot {
        ("`remain_after_exit` is for `type = \"oneshot\"`", "other types are up as long as their program runs")
    } else if service.activation == Activation::OnDemand {
        let message = "`remain_after_exit` does not go with a start on demand: the unit would never be started again";
        (message, "drop it: such a unit waits, and what needs it finds it")
    } else {
        return;
    };
    let place = c.value_place("service", "remain_after_exit");
    sink.add(Code::Conflict, place, "service.remain_after_exit", message.to_owned(), Some(help.to_owned()));
}

/// What needs the notify socket, and a reload that is answered on it.
fn notifications(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let service = &c.settings.service;
    if service.notify_access == NotifyAccess::None && !c.is_broken("service", "notify_access") {
        let needs = [
            ("type", service.kind.notifies()),
            ("watchdog", service.watchdog.is_some()),
            ("file_descriptor_store_max", service.file_descriptor_store_max > 0),
        ];
        if let Some((key, _)) = needs.into_iter().find(|(_, needs)| *needs) {
            let message = format!("`notify_access = \"none\"`, but `{key}` needs the notify socket");
            let help = Some("leave notify_access out, or say who may send: \"main\", \"exec\", \"all\"".to_owned());
            let place = c.value_place("service", "notify_access");
            sink.add(Code::Conflict, place, "service.notify_access", message, help);
        }
    }
    if service.kind == ServiceType::NotifyReload && !service.exec_reload.is_empty() {
        let message = "`exec_reload` is not supported yet with `type = \"notify-reload\"`";
        let help = Some("such a program reloads on `reload_signal`; with commands use type = \"notify\"".to_owned());
        sink.add(Code::NotSupported, c.value_place("service", "exec_reload"), "service.exec_reload", message, help);
    }
}

impl Checked<'_> {
    /// Named in the file and not decoded: its problem is already reported, follow-ups would be noise.
    pub(super) fn is_broken(&self, table: &'static str, key: &'static str) -> bool {
        self.is_attempted(table, key) && !self.is_written(table, key)
    }
}

fn restart(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let (service, restart) = (&c.settings.service, &c.settings.restart);
    let after_success = matches!(restart.policy, RestartPolicy::Always | RestartPolicy::OnSuccess);
    if service.kind == ServiceType::Oneshot && after_success {
        let message = "a oneshot service that restarts after success would never end";
        let help = Some("one of \"no\", \"on-failure\", \"on-abnormal\", \"on-abort\"".to_owned());
        sink.add(Code::OneshotRestart, c.value_place("restart", "policy"), "restart.policy", message, help);
    }
    if restart.policy == RestartPolicy::No {
        for key in ["delay", "backoff", "max_delay", "reset_after", "prevent_exit_status"] {
            no_effect(sink, c, "restart", key, "`restart.policy` is \"no\"");
        }
    }
    if restart.max_delay < restart.delay {
        let message = "`max_delay` is shorter than `delay`";
        let key = if c.is_written("restart", "max_delay") { "max_delay" } else { "delay" };
        let help = (key == "delay").then(|| "give max_delay as well; it is 30s unless given".to_owned());
        sink.add(Code::Conflict, c.value_place("restart", key), &format!("restart.{key}"), message, help);
    }
    if restart.limit_burst == 0 {
        no_effect(sink, c, "restart", "limit_interval", "without `limit_burst` there is no limit");
    }
    if restart.limit_burst > 0 && restart.limit_interval.is_zero() {
        let message = "`limit_interval` of 0 would never count a restart";
        sink.add(Code::OutOfRange, c.value_place("restart", "limit_interval"), "restart.limit_interval", message, None);
    }
}

fn dependencies(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let (settings, unit) = (c.settings, &c.settings.unit);
    for (key, names) in unit.relations() {
        if let Some(n) = names.iter().position(|name| *name == settings.name) {
            let message = format!("the unit depends on itself: {} -> {}", settings.name, settings.name);
            sink.add(Code::Cycle, c.item_place("unit", key, n), &format!("unit.{key}"), message, None);
        }
    }
    if let Some(n) = unit.before.iter().position(|name| unit.after.contains(name)) {
        let message = format!("the unit cannot be both before and after `{}`", unit.before[n]);
        sink.add(Code::Cycle, c.item_place("unit", "before", n), "unit.before", message, None);
    }
    let needed = [("requires", &unit.requires), ("requisite", &unit.requisite), ("binds_to", &unit.binds_to)];
    for (key, names) in needed {
        if let Some(n) = unit.conflicts.iter().position(|name| names.contains(name)) {
            let message =
                format!("the unit needs `{}` (unit.{key}) and cannot be up together with it", unit.conflicts[n]);
            sink.add(Code::Conflict, c.item_place("unit", "conflicts", n), "unit.conflicts", message, None);
        }
    }
    if let Some(n) = settings.install.alias.iter().position(|name| *name == settings.name) {
        let message = "the alias is the unit's own name";
        sink.add(Code::Conflict, c.item_place("install", "alias", n), "install.alias", message, None);
    }
}

fn rootfs(sink: &mut Sink<'_>, c: &Checked<'_>) {
    if c.is_broken("rootfs", "type") {
        return;
    }
    let meanings = [
        ("path", &["directory", "squashfs", "erofs"][..], "it belongs to types directory, squashfs and erofs"),
        ("lower", &["overlay"], "it belongs to type overlay"),
        ("upper", &["overlay"], "it belongs to type overlay"),
        ("size", &["overlay", "tmpfs"], "it belongs to types overlay and tmpfs"),
        ("readonly", &["directory", "overlay", "tmpfs", "squashfs", "erofs"], "it belongs to own root file systems"),
    ];
    let kind = match c.values.get("rootfs", "type") {
        Some(Entry { value: Value::Word(word), .. }) => *word,
        _ => "host",
    };
    for (key, kinds, why) in meanings {
        if !kinds.contains(&kind) {
            no_effect(sink, c, "rootfs", key, &format!("{why}, and this is \"{kind}\""));
        }
    }
    let needs = match &c.settings.rootfs.kind {
        RootfsKind::Directory { .. } | RootfsKind::Image { .. } if !c.is_attempted("rootfs", "path") => Some("path"),
        RootfsKind::Overlay { lower, .. } if lower.is_empty() && !c.is_broken("rootfs", "lower") => Some("lower"),
        _ => None,
    };
    if let Some(key) = needs {
        let message = format!("`type = \"{kind}\"` needs `{key}`");
        sink.add(Code::Incomplete, c.value_place("rootfs", "type"), &format!("rootfs.{key}"), message, None);
    }
    if let RootfsKind::Overlay { upper, .. } = &c.settings.rootfs.kind
        && *upper != Upper::Ephemeral
    {
        no_effect(sink, c, "rootfs", "size", "an upper layer that is kept takes what its file system has");
    }
    if matches!(c.settings.rootfs.kind, RootfsKind::Image { .. }) && !c.settings.rootfs.readonly {
        let message = format!("`type = \"{kind}\"` is read-only, whatever `readonly` says");
        let help =
            "leave readonly out: [directories] and [[mounts]] are writable, or unpack it below an overlay".to_owned();
        sink.add(Code::Conflict, c.value_place("rootfs", "readonly"), "rootfs.readonly", message, Some(help));
    }
    if let RootfsKind::Directory { path } = &c.settings.rootfs.kind
        && path == std::path::Path::new("/")
        && c.is_written("rootfs", "path")
    {
        let message = "`path = \"/\"` is the host's own root";
        let help = Some("write type = \"host\"".to_owned());
        sink.add(Code::BadPath, c.value_place("rootfs", "path"), "rootfs.path", message, help);
    }
    if c.settings.rootfs.kind == RootfsKind::Tmpfs && c.settings.mounts.is_empty() && c.values.mounts.is_empty() {
        let message = "`type = \"tmpfs\"` is an empty tree: without [[mounts]] there is no program to run";
        sink.add(Code::Incomplete, c.value_place("rootfs", "type"), "rootfs.type", message, None);
    }
}

pub(super) fn resources(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let r = &c.settings.resources;
    let amounts = [
        ("memory_min", r.memory_min),
        ("memory_low", r.memory_low),
        ("memory_high", r.memory_high),
        ("memory_max", r.memory_max),
    ];
    let given: Vec<_> = amounts.iter().filter_map(|(key, n)| Some((*key, (*n)?))).collect();
    for pair in given.windows(2) {
        let ((low, less), (high, more)) = (pair[0], pair[1]);
        if less > more && c.is_written("resources", low) {
            let message = format!("`{low}` is above `{high}` and will never matter");
            sink.add(Code::LimitOrder, c.value_place("resources", low), &format!("resources.{low}"), message, None);
        }
    }
    let ranges = [("nice", 40), ("rtprio", 99)];
    for (key, most) in ranges {
        if let Some(Entry { value: Value::Limit(_, hard), source: Source::File(place) }) =
            c.values.get("resources.rlimits", key)
            && *hard > most
        {
            let dotted = format!("resources.rlimits.{key}");
            let message = format!("`{key}` ends at {most}");
            sink.add(Code::BadLimit, place.value.clone(), &dotted, message, None);
        }
    }
}

/// Lists of words that name the same thing twice.
fn repeated(sink: &mut Sink<'_>, c: &Checked<'_>) {
    for ((table, key), entry) in c.values.own() {
        let (Value::Texts(texts), Source::File(place)) = (&entry.value, &entry.source) else { continue };
        for (n, text) in texts.iter().enumerate() {
            if let (true, Some(span)) = (texts[..n].contains(text), place.items.get(n)) {
                let message = format!("`{text}` is listed twice");
                sink.add(Code::Repeated, span.clone(), &format!("{table}.{key}"), message, None);
            }
        }
    }
}

/// `$NAME` in an argument looks as if somebody expanded it.
fn variables(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let service = &c.settings.service;
    let commands = [
        ("exec_start_pre", &service.exec_start_pre),
        ("exec_start_post", &service.exec_start_post),
        ("exec_reload", &service.exec_reload),
        ("exec_stop", &service.exec_stop),
        ("exec_stop_post", &service.exec_stop_post),
    ];
    let all = std::iter::once(("exec", &service.exec))
        .chain(commands.into_iter().flat_map(|(key, list)| list.iter().map(move |command| (key, &command.argv))));
    let hooks = &c.settings.hooks;
    let hooks = [("on_exit", &hooks.on_exit), ("on_restart", &hooks.on_restart), ("on_give_up", &hooks.on_give_up)];
    let all = all.map(|(key, argv)| ("service", key, argv)).chain(hooks.map(|(key, argv)| ("hooks", key, argv)));
    for (table, key, argv) in all {
        if let Some((n, name)) = (0..argv.len()).find_map(|n| Some((n, expandable(argv, n)?))) {
            let message = format!("`{name}` is passed on as it stands: nothing expands the environment");
            let help = match name.as_str() {
                "$MAINPID" | "${MAINPID}" if key == "exec_reload" => "write reload_signal = \"SIGHUP\" instead",
                _ => "write [\"/bin/sh\", \"-c\", \"exec program $NAME\"] if a shell is meant",
            };
            let is_list = key != "exec" && table == "service";
            let place = if is_list { c.value_place(table, key) } else { c.item_place(table, key, n) };
            sink.add(Code::NotExpanded, place, &format!("{table}.{key}"), message, Some(help.to_owned()));
        }
    }
}

/// The variable in argument `n`, unless a shell or the like gets it (an option before it takes a script).
fn expandable(argv: &[String], n: usize) -> Option<String> {
    let script = n > 0 && argv[n - 1].starts_with('-') && argv[n - 1].ends_with(['c', 'e']);
    let rest = &argv[n][argv[n].find('$')?..];
    let inner = rest[1..].strip_prefix('{').unwrap_or(&rest[1..]);
    let length = inner.find(|ch: char| !ch.is_ascii_uppercase() && ch != '_' && !ch.is_ascii_digit());
    let name = &inner[..length.unwrap_or(inner.len())];
    let starts = name.starts_with(|ch: char| ch.is_ascii_uppercase() || ch == '_');
    let braces = rest[1..].starts_with('{');
    (!script && starts).then(|| if braces { format!("${{{name}}}") } else { format!("${name}") })
}
