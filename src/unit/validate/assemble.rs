//! Values → [`Settings`], field by field. No judgement here but on mounts, whose options are a language of their own.

use super::super::decode::{Sink, UserWord, Value, Values};
use super::super::keys::Number;
use super::super::layer;
use super::super::value::limit_resource;
use super::super::*;
use super::{mounts, peers, sockets, timers};
use crate::plan::CapabilitySet;
use std::time::Duration;

/// The value of a key that always has one, or of any key as an option.
macro_rules! read {
    ($values:expr, $table:literal, $key:literal, $kind:ident) => {
        match $values.at(const { Number::of($table, $key) }).map(|e| &e.value) {
            Some(Value::$kind(value)) => value.clone(),
            other => unreachable!("the key table gives {}.{} a value: {other:?}", $table, $key),
        }
    };
    ($values:expr, $table:literal, $key:literal, $kind:ident?) => {
        match $values.at(const { Number::of($table, $key) }).map(|e| &e.value) {
            Some(Value::$kind(value)) => Some(value.clone()),
            None => None,
            other => unreachable!("the key table gives {}.{} another kind: {other:?}", $table, $key),
        }
    };
}

/// The meaning of a word.
fn pick<T: Copy>(word: &str, meanings: &[(&str, T)]) -> T {
    let found = meanings.iter().find(|(w, _)| *w == word);
    found.expect("the decoder lets only words of the key table pass").1
}

fn finite(span: Option<Duration>) -> Duration {
    span.expect("the decoder lets only finite delays pass")
}

fn small(number: i64) -> u32 {
    u32::try_from(number).expect("the key table limits this integer to 32 bits")
}

fn signed(number: i64) -> i32 {
    i32::try_from(number).expect("the key table limits this integer to 32 bits")
}

/// Builds the settings. A missing `exec` leaves an empty argv; that problem is already reported.
pub(super) fn assemble(sink: &mut Sink<'_>, name: &str, file: &str, values: &mut Values) -> Settings {
    let mounts = mounts::assemble(sink, values);
    let sockets = sockets::assemble(sink, name, values);
    let timers = timers::assemble(sink, values);
    timers::imply_on_demand(values);
    sockets::imply_accept(values, &sockets);
    let v = &*values;
    Settings {
        name: name.to_owned(),
        file: file.to_owned(),
        connection_of: None,
        unit: unit(v),
        service: service(v),
        ready: Ready {
            listen: read!(v, "ready", "listen", Addresses),
            path: read!(v, "ready", "path", Path?),
            command: read!(v, "ready", "command", Argv?).unwrap_or_default(),
            timeout: read!(v, "ready", "timeout", Time?).flatten(),
        }
        .into(),
        restart: restart(v).into(),
        health: health(v),
        hooks: hooks(v).into(),
        rootfs: rootfs(v).into(),
        filesystem: filesystem(v).into(),
        mounts,
        sockets,
        timers,
        directories: directories(v).into(),
        devices: Devices {
            policy: pick(
                read!(v, "devices", "policy", Word),
                &[("closed", DevicePolicy::Closed), ("strict", DevicePolicy::Strict), ("auto", DevicePolicy::Auto)],
            ),
            private: read!(v, "devices", "private", Bool),
            allow: read!(v, "devices", "allow", Devices),
        }
        .into(),
        namespaces: namespaces(v).into(),
        network: Network {
            mode: read!(v, "network", "mode", Network),
            address_families: read!(v, "network", "address_families", Families),
            peers: peers::rules(&read!(v, "network", "ip_allow", Texts), &read!(v, "network", "ip_deny", Texts)),
            bind_allow: read!(v, "network", "bind_allow", Ports),
            connect_allow: read!(v, "network", "connect_allow", Ports),
            abstract_sockets: read!(v, "network", "abstract_sockets", Bool),
        }
        .into(),
        capabilities: capabilities(v),
        syscalls: syscalls(v).into(),
        security: security(v).into(),
        resources: resources(v).into(),
        logging: logging(v),
        credentials: credentials(v),
        install: Install {
            wanted_by: read!(v, "install", "wanted_by", Texts),
            alias: read!(v, "install", "alias", Texts),
        }
        .into(),
    }
}

fn unit(v: &Values) -> UnitTable {
    let relations = Relations {
        documentation: read!(v, "unit", "documentation", Texts),
        after: read!(v, "unit", "after", Texts),
        before: read!(v, "unit", "before", Texts),
        wants: read!(v, "unit", "wants", Texts),
        requires: read!(v, "unit", "requires", Texts),
        requisite: read!(v, "unit", "requisite", Texts),
        binds_to: read!(v, "unit", "binds_to", Texts),
        part_of: read!(v, "unit", "part_of", Texts),
        upholds: read!(v, "unit", "upholds", Texts),
        conflicts: read!(v, "unit", "conflicts", Texts),
        replicas: read!(v, "unit", "replicas", Int?).map(small),
        default_order: read!(v, "unit", "default_order", Bool),
        on_failure: read!(v, "unit", "on_failure", Texts),
        on_success: read!(v, "unit", "on_success", Texts),
        condition: read!(v, "unit", "condition", Conditions),
        assert: read!(v, "unit", "assert", Conditions),
    };
    UnitTable {
        description: read!(v, "unit", "description", Text?).or_else(|| read!(v, "slice", "description", Text?)),
        relations: relations.into(),
    }
}

fn service(v: &Values) -> Service {
    let kinds = [
        ("exec", ServiceType::Exec),
        ("simple", ServiceType::Exec),
        ("notify", ServiceType::Notify),
        ("notify-reload", ServiceType::NotifyReload),
        ("oneshot", ServiceType::Oneshot),
        ("forking", ServiceType::Forking),
    ];
    let files = read!(v, "service", "environment_files", Paths);
    let kind = pick(read!(v, "service", "type", Word), &kinds);
    let watchdog = Some(finite(read!(v, "service", "watchdog", Time))).filter(|interval| !interval.is_zero());
    let reload_signal = read!(v, "service", "reload_signal", Signal?);
    let conduct = Conduct {
        kind,
        activation: pick(
            read!(v, "service", "activation", Word),
            &[("start", Activation::Start), ("on-demand", Activation::OnDemand)],
        ),
        exec_start_pre: read!(v, "service", "exec_start_pre", Commands),
        exec_start_post: read!(v, "service", "exec_start_post", Commands),
        exec_reload: read!(v, "service", "exec_reload", Commands),
        exec_stop: read!(v, "service", "exec_stop", Commands),
        exec_stop_post: read!(v, "service", "exec_stop_post", Commands),
        group: read!(v, "service", "group", Account?),
        supplementary_groups: read!(v, "service", "supplementary_groups", Accounts),
        umask: read!(v, "service", "umask", Mode),
        working_directory: read!(v, "service", "working_directory", Path),
        pass_environment: read!(v, "service", "pass_environment", Texts),
        environment_files: files.into_iter().map(|f| (f.path, f.optional)).collect(),
        pid_file: read!(v, "service", "pid_file", Path?),
        remain_after_exit: read!(v, "service", "remain_after_exit", Bool),
        success_exit_status: read!(v, "service", "success_exit_status", Statuses),
        // systemd's default for this type, and what programs of it expect.
        reload_signal: reload_signal.or((kind == ServiceType::NotifyReload).then_some(SignalName(SIGHUP))),
        stop_signal: read!(v, "service", "stop_signal", Signal),
        kill_mode: pick(
            read!(v, "service", "kill_mode", Word),
            &[("control-group", KillMode::ControlGroup), ("mixed", KillMode::Mixed)],
        ),
        timeout_start: read!(v, "service", "timeout_start", Time),
        timeout_stop: read!(v, "service", "timeout_stop", Time),
        runtime_max: read!(v, "service", "runtime_max", Time),
        watchdog,
        notify_access: notify_access(v, kind, watchdog),
        file_descriptor_store_max: small(read!(v, "service", "file_descriptor_store_max", Int)),
        nice: signed(read!(v, "service", "nice", Int)),
        oom_score_adjust: signed(read!(v, "service", "oom_score_adjust", Int)),
    };
    Service {
        exec: read!(v, "service", "exec", Argv?).unwrap_or_default(),
        environment: read!(v, "service", "environment", Variables),
        user: read!(v, "service", "user", Account?),
        conduct: conduct.into(),
    }
}

/// SIGHUP; the same number on all architectures (signal(7)).
const SIGHUP: i32 = 1;

/// Whoever needs to be heard is heard without a word about it.
fn notify_access(v: &Values, kind: ServiceType, watchdog: Option<Duration>) -> NotifyAccess {
    let words = [
        ("none", NotifyAccess::None),
        ("main", NotifyAccess::Main),
        ("exec", NotifyAccess::Exec),
        ("all", NotifyAccess::All),
    ];
    let stores = read!(v, "service", "file_descriptor_store_max", Int) > 0;
    match read!(v, "service", "notify_access", Word?) {
        Some(word) => pick(word, &words),
        None if kind.notifies() || watchdog.is_some() || stores => NotifyAccess::Main,
        None => NotifyAccess::None,
    }
}

fn restart(v: &Values) -> RestartSettings {
    let policies = [
        ("no", RestartPolicy::No),
        ("always", RestartPolicy::Always),
        ("on-success", RestartPolicy::OnSuccess),
        ("on-failure", RestartPolicy::OnFailure),
        ("on-abnormal", RestartPolicy::OnAbnormal),
        ("on-abort", RestartPolicy::OnAbort),
        ("on-watchdog", RestartPolicy::OnWatchdog),
    ];
    RestartSettings {
        policy: pick(read!(v, "restart", "policy", Word), &policies),
        delay: finite(read!(v, "restart", "delay", Time)),
        backoff: read!(v, "restart", "backoff", Factor),
        max_delay: finite(read!(v, "restart", "max_delay", Time)),
        reset_after: finite(read!(v, "restart", "reset_after", Time)),
        limit_burst: small(read!(v, "restart", "limit_burst", Int)),
        limit_interval: finite(read!(v, "restart", "limit_interval", Time)),
        prevent_exit_status: read!(v, "restart", "prevent_exit_status", Statuses),
        force_exit_status: read!(v, "restart", "force_exit_status", Statuses),
    }
}

/// `None` unless there is something to ask.
fn health(v: &Values) -> Option<Box<HealthSettings>> {
    let actions = [("restart", HealthAction::Restart), ("log", HealthAction::Log), ("stop", HealthAction::Stop)];
    let health = HealthSettings {
        command: read!(v, "health", "command", Argv?).unwrap_or_default(),
        listen: read!(v, "health", "listen", Addresses),
        interval: finite(read!(v, "health", "interval", Time)),
        timeout: finite(read!(v, "health", "timeout", Time)),
        retries: small(read!(v, "health", "retries", Int)),
        start_period: finite(read!(v, "health", "start_period", Time)),
        action: pick(read!(v, "health", "action", Word), &actions),
    };
    (!health.command.is_empty() || !health.listen.is_empty()).then(|| Box::new(health))
}

fn hooks(v: &Values) -> HookSettings {
    HookSettings {
        on_exit: read!(v, "hooks", "on_exit", Argv?).unwrap_or_default(),
        on_restart: read!(v, "hooks", "on_restart", Argv?).unwrap_or_default(),
        on_give_up: read!(v, "hooks", "on_give_up", Argv?).unwrap_or_default(),
        timeout: finite(read!(v, "hooks", "timeout", Time)),
    }
}

fn rootfs(v: &Values) -> Rootfs {
    // Without the path that it needs the unit is refused; see `checks`.
    let path = || read!(v, "rootfs", "path", Path?).unwrap_or_else(|| "/".into());
    let kind = match read!(v, "rootfs", "type", Word) {
        "directory" => RootfsKind::Directory { path: path() },
        "squashfs" => RootfsKind::Image { path: path(), format: ImageFormat::Squashfs },
        "erofs" => RootfsKind::Image { path: path(), format: ImageFormat::Erofs },
        "overlay" => RootfsKind::Overlay {
            lower: read!(v, "rootfs", "lower", PlainPaths),
            upper: read!(v, "rootfs", "upper", Upper),
        },
        "tmpfs" => RootfsKind::Tmpfs,
        _ => RootfsKind::Host,
    };
    Rootfs { kind, size: read!(v, "rootfs", "size", Size), readonly: read!(v, "rootfs", "readonly", Bool) }
}

fn filesystem(v: &Values) -> Filesystem {
    let systems = [
        ("off", ProtectSystem::Off),
        ("standard", ProtectSystem::Standard),
        ("full", ProtectSystem::Full),
        ("strict", ProtectSystem::Strict),
    ];
    let homes = [("off", ProtectHome::Off), ("read-only", ProtectHome::ReadOnly), ("hidden", ProtectHome::Hidden)];
    let procs =
        [("off", ProtectProc::Off), ("invisible", ProtectProc::Invisible), ("ptraceable", ProtectProc::Ptraceable)];
    Filesystem {
        protect_system: pick(read!(v, "filesystem", "protect_system", Word), &systems),
        read_write_paths: read!(v, "filesystem", "read_write_paths", Paths),
        read_only_paths: read!(v, "filesystem", "read_only_paths", Paths),
        inaccessible_paths: read!(v, "filesystem", "inaccessible_paths", Paths),
        temporary_paths: read!(v, "filesystem", "temporary_paths", Paths),
        exec_paths: read!(v, "filesystem", "exec_paths", Paths),
        no_exec_paths: read!(v, "filesystem", "no_exec_paths", Paths),
        protect_home: pick(read!(v, "filesystem", "protect_home", Word), &homes),
        private_tmp: read!(v, "filesystem", "private_tmp", Bool),
        protect_proc: pick(read!(v, "filesystem", "protect_proc", Word), &procs),
        proc_pid_only: read!(v, "filesystem", "proc_subset", Word) == "pid",
    }
}

fn directories(v: &Values) -> Directories {
    let preserves = [("no", Preserve::No), ("restart", Preserve::Restart), ("yes", Preserve::Yes)];
    Directories {
        runtime: read!(v, "directories", "runtime", PlainPaths),
        state: read!(v, "directories", "state", PlainPaths),
        cache: read!(v, "directories", "cache", PlainPaths),
        logs: read!(v, "directories", "logs", PlainPaths),
        configuration: read!(v, "directories", "configuration", PlainPaths),
        runtime_mode: read!(v, "directories", "runtime_mode", Mode),
        state_mode: read!(v, "directories", "state_mode", Mode),
        cache_mode: read!(v, "directories", "cache_mode", Mode),
        logs_mode: read!(v, "directories", "logs_mode", Mode),
        configuration_mode: read!(v, "directories", "configuration_mode", Mode),
        runtime_preserve: pick(read!(v, "directories", "runtime_preserve", Word), &preserves),
    }
}

fn namespaces(v: &Values) -> NamespaceSettings {
    let user = match read!(v, "namespaces", "user", User) {
        UserWord::Host => UserNamespace::Host,
        UserWord::Identity => UserNamespace::Identity,
        UserWord::Auto => UserNamespace::Auto,
        UserWord::Path(path) => UserNamespace::Path(path),
        UserWord::Mapped => UserNamespace::Mapped {
            uid: read!(v, "namespaces", "uid_mappings", Mappings),
            gid: read!(v, "namespaces", "gid_mappings", Mappings),
        },
    };
    NamespaceSettings {
        mount: read!(v, "namespaces", "mount", Namespace),
        pid: read!(v, "namespaces", "pid", Namespace),
        ipc: read!(v, "namespaces", "ipc", Namespace),
        uts: read!(v, "namespaces", "uts", Namespace),
        cgroup: read!(v, "namespaces", "cgroup", Namespace),
        time: read!(v, "namespaces", "time", Namespace),
        user,
        hostname: read!(v, "namespaces", "hostname", Text?),
        init: read!(v, "namespaces", "init", Bool),
    }
}

fn capabilities(v: &Values) -> Capabilities {
    let ambient = read!(v, "capabilities", "ambient", Capabilities);
    let bounding = read!(v, "capabilities", "bounding", Capabilities);
    Capabilities { bounding: CapabilitySet(bounding.0 | ambient.0), ambient }
}

fn syscalls(v: &Values) -> Syscalls {
    let modes = [("enforce", SyscallMode::Enforce), ("log", SyscallMode::Log), ("off", SyscallMode::Off)];
    let denials =
        [("errno", OnDeny::Errno), ("kill-process", OnDeny::KillProcess), ("notify-errno", OnDeny::NotifyErrno)];
    let allow = read!(v, "syscalls", "allow", Texts);
    let mut deny = read!(v, "syscalls", "deny", Texts);
    if v.place("syscalls", "allow").is_some() && v.place("syscalls", "deny").is_none() {
        // What the author allows by name, the profile does not take away again.
        deny.retain(|name| !allow.contains(name));
    }
    Syscalls {
        mode: pick(read!(v, "syscalls", "mode", Word), &modes),
        allow,
        deny,
        errno: read!(v, "syscalls", "errno", Errno),
        unknown_errno: read!(v, "syscalls", "unknown_errno", Errno),
        on_deny: pick(read!(v, "syscalls", "on_deny", Word), &denials),
        log: read!(v, "syscalls", "log", Texts),
        architectures: read!(v, "syscalls", "architectures", Texts),
    }
}

fn security(v: &Values) -> Security {
    Security {
        profile: layer::profile_of(v, None),
        optional: read!(v, "security", "optional", Texts),
        control_socket: read!(v, "security", "control_socket", Bool),
        no_new_privileges: read!(v, "security", "no_new_privileges", Bool),
        lock_personality: read!(v, "security", "lock_personality", Bool),
        restrict_realtime: read!(v, "security", "restrict_realtime", Bool),
        restrict_suid_sgid: read!(v, "security", "restrict_suid_sgid", Bool),
        restrict_namespaces: read!(v, "security", "restrict_namespaces", NamespaceKinds),
        restrict_signals: read!(v, "security", "restrict_signals", Bool),
        landlock: read!(v, "security", "landlock", Bool),
        memory_deny_write_execute: read!(v, "security", "memory_deny_write_execute", Bool),
        protect_kernel_tunables: read!(v, "security", "protect_kernel_tunables", Bool),
        protect_kernel_modules: read!(v, "security", "protect_kernel_modules", Bool),
        protect_kernel_logs: read!(v, "security", "protect_kernel_logs", Bool),
        protect_clock: read!(v, "security", "protect_clock", Bool),
        protect_hostname: read!(v, "security", "protect_hostname", Bool),
        protect_control_groups: read!(v, "security", "protect_control_groups", Bool),
        private_keyring: read!(v, "security", "keyring", Word) == "private",
        remove_ipc: read!(v, "security", "remove_ipc", Bool),
        apparmor_profile: read!(v, "security", "apparmor_profile", Text?).map(String::into_boxed_str),
        selinux_context: read!(v, "security", "selinux_context", Text?).map(String::into_boxed_str),
    }
}

fn resources(v: &Values) -> Resources {
    // An upper limit of "infinity" is none; a protection of "infinity" is one.
    let upper = |bytes: Option<u64>| bytes.filter(|b| *b != u64::MAX);
    let weight = |n: Option<i64>| n.map(i64::unsigned_abs);
    let mut rlimits: Vec<_> = v
        .of_table("resources.rlimits")
        .filter_map(|(key, entry)| match (limit_resource(key), &entry.value) {
            (Some(resource), Value::Limit(soft, hard)) => Some((resource, *soft, *hard)),
            _ => None,
        })
        .collect();
    rlimits.sort();
    Resources {
        memory_max: upper(read!(v, "resources", "memory_max", Size?)),
        memory_high: upper(read!(v, "resources", "memory_high", Size?)),
        memory_low: read!(v, "resources", "memory_low", Size?),
        memory_min: read!(v, "resources", "memory_min", Size?),
        memory_swap_max: upper(read!(v, "resources", "memory_swap_max", Size?)),
        memory_oom_group: read!(v, "resources", "memory_oom_group", Bool),
        cpu_max: read!(v, "resources", "cpu_max", CpuShare?).filter(|share| share.quota.is_some()),
        cpu_weight: weight(read!(v, "resources", "cpu_weight", Int?)),
        cpuset_cpus: read!(v, "resources", "cpuset_cpus", Text?),
        cpuset_mems: read!(v, "resources", "cpuset_mems", Text?),
        tasks_max: read!(v, "resources", "tasks_max", Count),
        io_weight: weight(read!(v, "resources", "io_weight", Int?)),
        io_max: read!(v, "resources", "io_max", IoMax),
        hugetlb: read!(v, "resources", "hugetlb", HugePages),
        delegate: read!(v, "resources", "delegate", Bool),
        slice: read!(v, "resources", "slice", Text?),
        rlimits,
    }
}

fn logging(v: &Values) -> Logging {
    let targets = [
        ("auto", LogTarget::Auto),
        ("journald", LogTarget::Journald),
        ("file", LogTarget::File),
        ("null", LogTarget::Null),
        ("inherit", LogTarget::Inherit),
    ];
    let treatment = Treatment {
        target: pick(read!(v, "logging", "target", Word), &targets),
        syslog_socket: read!(v, "logging", "syslog_socket", Bool),
        file_max_size: read!(v, "logging.file", "max_size", Size),
        file_max_files: small(read!(v, "logging.file", "max_files", Int)),
        level_max: level(read!(v, "logging", "level_max", Word)),
        rate_limit: RateLimit::of(
            read!(v, "logging", "rate_limit_burst", Int?).map(i64::unsigned_abs),
            read!(v, "logging", "rate_limit_interval", Time?).map(finite),
        ),
        fields: read!(v, "logging", "fields", Variables),
    };
    Logging {
        identifier: read!(v, "logging", "identifier", Text?).map(String::into_boxed_str),
        treatment: treatment.into(),
    }
}

/// `None` where there are none.
fn credentials(v: &Values) -> Option<Box<Credentials>> {
    let credentials = Credentials {
        load: read!(v, "credentials", "load", CredentialPaths),
        set: read!(v, "credentials", "set", CredentialTexts),
    };
    (credentials != Credentials::default()).then(|| Box::new(credentials))
}

/// Its number for syslog(3).
fn level(word: &str) -> u8 {
    let number = keys::LEVELS.iter().position(|level| *level == word);
    number.and_then(|number| u8::try_from(number).ok()).expect("the decoder lets only words of the key table pass")
}
