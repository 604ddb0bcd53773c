//! Hosts that never had something: the daemon finds out when it begins, and refuses by name before anything is done; what
//! is only a default is reported as degraded, and so is what `security.optional` names.

use crate::instance::Instance;
use crate::instance::namespace::Namespace;
use crate::judge::{Fault, Judged};
use crate::missing as m;
use crate::trial::{RAN, degraded, write};

/// A host without something.
pub struct Host {
    /// In words.
    pub without: &'static str,
    /// What is wrong with its calls.
    pub faults: &'static [Fault],
    /// The daemon finds no place for control groups.
    pub no_groups: bool,
    /// The daemon sees no cgroup v2 tree.
    pub no_v2_tree: bool,
    /// A key, and lines that ask for it.
    pub asks: &'static [(&'static str, &'static str)],
    /// Keys that are degraded where nobody wrote them, by profile.
    pub degraded: &'static [(&'static str, &'static [&'static str])],
}

const HOST: Host = Host { without: "", faults: &[], no_groups: false, no_v2_tree: false, asks: &[], degraded: &[] };

/// All of them.
pub static HOSTS: &[Host] = &[
    Host {
        without: "Landlock, PR_SET_MDWE, listeners of filters, BPF programs, security modules",
        faults: &[
            m::LANDLOCK.fault,
            m::MDWE_PROBE.fault,
            m::LISTENERS.fault,
            m::PROGRAMS.fault,
            m::APPARMOR.fault,
            m::SELINUX.fault,
        ],
        asks: &[
            ("security.landlock", "security.landlock = true\nfilesystem.protect_system = \"strict\""),
            ("security.restrict_signals", "security.restrict_signals = true"),
            ("network.abstract_sockets", "network.abstract_sockets = false"),
            ("network.bind_allow", "network.bind_allow = [\"tcp:80\"]"),
            ("network.connect_allow", "network.connect_allow = [\"tcp:80\"]"),
            ("security.memory_deny_write_execute", "security.memory_deny_write_execute = true"),
            ("network.ip_deny", "network.ip_deny = [\"any\"]"),
            ("security.apparmor_profile", "security.apparmor_profile = \"closed\""),
            ("security.selinux_context", "security.selinux_context = \"a:b:c:s0\""),
            ("syscalls.on_deny", "syscalls.mode = \"enforce\"\nsyscalls.on_deny = \"notify-errno\""),
        ],
        degraded: &[
            ("standard", &["security.landlock"]),
            ("strict", &["security.landlock", "security.memory_deny_write_execute"]),
        ],
        ..HOST
    },
    Host {
        without: "a cgroup v2 tree",
        no_v2_tree: true,
        asks: &[("network.ip_deny", "network.ip_deny = [\"any\"]")],
        ..HOST
    },
    Host {
        without: "control groups",
        no_groups: true,
        asks: &[
            ("resources.memory_max", "resources.memory_max = \"100M\""),
            ("resources.memory_high", "resources.memory_high = \"100M\""),
            ("resources.memory_low", "resources.memory_low = \"10M\""),
            ("resources.memory_min", "resources.memory_min = \"10M\""),
            ("resources.memory_swap_max", "resources.memory_swap_max = 0"),
            ("resources.memory_oom_group", "resources.memory_oom_group = true"),
            ("resources.cpu_max", "resources.cpu_max = \"50%\""),
            ("resources.cpu_weight", "resources.cpu_weight = 50"),
            ("resources.cpuset_cpus", "resources.cpuset_cpus = \"0\""),
            ("resources.cpuset_mems", "resources.cpuset_mems = \"0\""),
            ("resources.tasks_max", "resources.tasks_max = 100"),
            ("resources.io_weight", "resources.io_weight = 50"),
            ("resources.io_max", "resources.io_max = [{ device = \"8:0\", rbps = 1000000 }]"),
            ("resources.hugetlb", "resources.hugetlb = { \"2MB\" = \"64M\" }"),
            ("resources.delegate", "resources.delegate = true"),
            ("resources.slice", "resources.slice = \"closed\""),
            ("devices.policy", "devices.policy = \"closed\""),
            ("devices.allow", "devices.allow = [{ path = \"/dev/null\" }]"),
            ("network.ip_deny", "network.ip_deny = [\"any\"]"),
        ],
        degraded: &[("standard", &["devices.policy", "resources.memory_oom_group", "resources.tasks_max"])],
        ..HOST
    },
];

/// Everything that is wrong on this host; `Err`: it cannot be had here.
pub fn host(host: &Host) -> Result<Vec<String>, String> {
    let mut instance = Instance::prepared();
    // Outlives the instance.
    let mut namespace = None;
    if host.no_groups {
        instance.without_groups();
    }
    if host.no_v2_tree {
        let script = "awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts | xargs -r umount -l";
        let made = Namespace::start(script).ok_or("no mount namespace can be made")?;
        instance.enter(&made);
        namespace = Some(made);
    }
    instance.unit_as_is("closed.slice", "[resources]\ntasks_max = 100\n");
    let judged = Judged::start(instance, host.faults).ok_or("calls cannot be judged here")?;
    let mut wrong = Vec::new();
    for (number, (key, asks)) in host.asks.iter().enumerate() {
        wrong.extend(asked_for(&judged.instance, &format!("a{number}"), key, asks));
        wrong.extend(optional(&judged.instance, &format!("o{number}"), key, asks));
    }
    for (profile, keys) in host.degraded {
        wrong.extend(by_default(&judged.instance, profile, keys));
    }
    drop(judged);
    drop(namespace);
    Ok(wrong.into_iter().map(|wrong| format!("without {}: {wrong}", host.without)).collect())
}

/// Refused with key, place and remedy, and never run.
fn asked_for(instance: &Instance, name: &str, key: &str, asks: &str) -> Vec<String> {
    let line = write(instance, name, "host", &[asks], key);
    let said = instance.rsvc(&["start", name]);
    let status = instance.status(name);
    let named = [key, &format!("set by {}", instance.path().display()), &format!("{name}.toml:{line}"), "hint: "];
    let lacking = named.into_iter().filter(|part| !said.err.contains(*part)).collect::<Vec<_>>();
    let ran = instance.log(name).contains(RAN);
    match said.code == 1 && lacking.is_empty() && !ran && status["state"] == "failed" {
        true => Vec::new(),
        false => vec![format!("{key}: {said:?}, in which is no {lacking:?}; ran: {ran}; {}", status["state"])],
    }
}

/// Runs, and status says that it does so without it. Of who answers denied calls, nothing can be left out.
fn optional(instance: &Instance, name: &str, key: &str, asks: &str) -> Vec<String> {
    if key == "syscalls.on_deny" {
        return Vec::new();
    }
    write(instance, name, "host", &[asks, &format!("security.optional = [\"{key}\"]")], key);
    let said = instance.rsvc(&["start", name]);
    let lines = degraded(instance, name);
    let told = lines.iter().any(|line| line.starts_with(&format!("{key}: ")));
    instance.rsvc(&["stop", name]).expect(0);
    match said.code == 0 && told {
        true => Vec::new(),
        false => vec![format!("{key}, optional: {said:?}, degraded are {lines:?}")],
    }
}

fn by_default(instance: &Instance, profile: &str, keys: &[&str]) -> Vec<String> {
    // The profile `strict` wants to know who it is.
    write(instance, profile, profile, &["service.user = \"65534\""], "");
    let said = instance.rsvc(&["start", profile]);
    let lines = degraded(instance, profile);
    let silent = keys.iter().filter(|key| !lines.iter().any(|line| line.starts_with(&format!("{key}: "))));
    let silent: Vec<_> = silent.collect();
    instance.rsvc(&["stop", profile]).expect(0);
    match said.code == 0 && silent.is_empty() {
        true => Vec::new(),
        false => vec![format!("the profile {profile}: {said:?}; nothing is said of {silent:?} in {lines:?}")],
    }
}
