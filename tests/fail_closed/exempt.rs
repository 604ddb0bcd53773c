//! Keys that have no row, with the reason.

/// Tables without a key that isolates: when and how a program runs, and what is said of it.
const TABLES: &[&str] =
    &["", "unit", "ready", "restart", "health", "hooks", "sockets", "timers", "logging", "logging.file", "install"];

/// Of `[service]`, which has a few that isolate, the others.
const SERVICE: &[&str] = &[
    "type",
    "activation",
    "exec",
    "exec_steps",
    "exec_start_pre",
    "exec_start_post",
    "exec_reload",
    "exec_stop",
    "exec_stop_post",
    "working_directory",
    "environment",
    "environment_files",
    "pass_environment",
    "stdin",
    "pid_file",
    "remain_after_exit",
    "success_exit_status",
    "reload_signal",
    "stop_signal",
    "kill_mode",
    "timeout_start",
    "timeout_stop",
    "runtime_max",
    "watchdog",
    "notify_access",
    "file_descriptor_store_max",
    "file_descriptor_store_preserve",
];

/// Others.
const KEYS: &[(&str, &str)] = &[
    ("service.umask", "umask(2) cannot fail"),
    ("filesystem.read_write_paths", "opens again what protect_system closes: without it less is writable"),
    ("filesystem.exec_paths", "opens again what no_exec_paths closes"),
    ("rootfs.path", "an object of rootfs.type"),
    ("rootfs.lower", "an object of rootfs.type"),
    ("rootfs.upper", "where an overlay is written; the overlay is rootfs.type's"),
    ("directories.runtime_preserve", "when a directory is removed: no mechanism but unlinkat(2), after the run"),
    ("namespaces.init", "who is process 1; without a pid namespace it means nothing"),
    ("syscalls.errno", "a number in the filter"),
    ("syscalls.unknown_errno", "a number in the filter"),
    ("network.ip_allow", "an exception of ip_deny, in the same program"),
    ("service.oom_score_adjust", "whom the kernel kills first; a wish that the host may cut short"),
    ("security.remove_ipc", "refused unless the ipc namespace and /dev are the unit's own, which have their rows"),
    ("security.profile", "values of other keys"),
    ("security.optional", "names other keys"),
    ("resources.rlimits", "the table of its limits, each of which has a row"),
    ("security.control_socket", "a right: nothing has to be there to refuse it"),
];

/// Why a key needs no row.
pub fn reason(table: &str, dotted: &str) -> Option<&'static str> {
    if TABLES.contains(&table) {
        return Some("isolates nothing");
    }
    if dotted.strip_prefix("service.").is_some_and(|name| SERVICE.contains(&name)) {
        return Some("isolates nothing");
    }
    KEYS.iter().find(|(key, _)| *key == dotted).map(|(_, reason)| *reason)
}

/// All keys that are named here.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}
