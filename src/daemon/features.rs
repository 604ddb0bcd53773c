//! `rsvc features`: what this kernel and this host offer, tried here and now, and what rsvc uses it for.
//!
//! Nothing is deduced from the version of the kernel, and nothing is changed by asking.

use super::host;
use crate::sys;
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// One line of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Version of this form, 1.
    pub v: u32,
    /// Such as `clone3`.
    pub name: &'static str,
    /// Is it there?
    pub available: bool,
    /// A number, a list, or why it is missing.
    pub detail: String,
    /// What rsvc does with it, or without it.
    pub used_for: &'static str,
}

fn feature(name: &'static str, found: Result<String, String>, used_for: &'static str) -> Feature {
    let available = found.is_ok();
    Feature { v: 1, name, available, detail: found.unwrap_or_else(|why| why), used_for }
}

/// Tries everything.
pub fn probe() -> Vec<Feature> {
    let mut features = system_calls();
    features.extend(file_systems());
    features.extend(control_groups());
    features.extend(confinement());
    features.push(feature("journald", journald(), "output of services; log files without it"));
    features
}

/// The matrix for people.
pub fn as_text(features: &[Feature]) -> String {
    let width = features.iter().map(|f| f.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Feature { name, available, detail, used_for, .. } in features {
        let word = if *available { "yes" } else { "no " };
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{word}  {name:width$}  {used_for}{detail}");
    }
    text
}

/// The matrix for programs: one object per line.
pub fn as_json(features: &[Feature]) -> String {
    let line = |feature| serde_json::to_string(feature).expect("names and texts are always JSON");
    features.iter().map(|f| line(f) + "\n").collect()
}

fn yes_or(found: bool, why: &str) -> Result<String, String> {
    if found { Ok(String::new()) } else { Err(why.to_owned()) }
}

fn from_call<T>(answer: sys::Result<T>) -> Result<String, String> {
    answer.map(|_| String::new()).map_err(|e| e.to_string())
}

fn system_calls() -> Vec<Feature> {
    let own = sys::process::pidfd_open(sys::process::own_pid());
    // PIDFD_GET_INFO with the exit status, asked of a process that lives.
    let information = match &own {
        Ok(pidfd) => from_call(sys::process::pidfd_exit_status(pidfd.as_fd())),
        Err(e) => Err(e.to_string()),
    };
    vec![
        feature("clone3", yes_or(sys::probe::has_clone3(), "not in this kernel"), "every start; needed"),
        feature("pidfd", from_call(own), "signals and exits without races; needed"),
        feature("pidfd-exit-info", information, "exit statuses of services that ended while the daemon was away"),
        feature(
            "mount_setattr",
            yes_or(sys::probe::has_mount_setattr(), "not in this kernel"),
            "read-only trees; needed for a private mount namespace",
        ),
        feature(
            "memory-deny-write-execute",
            yes_or(sys::credentials::knows_deny_write_execute(), "needs Linux 6.3"),
            "security.memory_deny_write_execute",
        ),
    ]
}

fn file_systems() -> Vec<Feature> {
    let context = |name: &std::ffi::CStr| sys::mount::fsopen(name);
    let option = |key: &std::ffi::CStr, value: Option<&std::ffi::CStr>| match context(c"overlay") {
        Ok(overlay) => from_call(sys::mount::fsconfig(overlay.as_fd(), key, value)),
        Err(e) => Err(e.to_string()),
    };
    vec![
        feature("fsopen", from_call(context(c"tmpfs")), "private /tmp, /dev and /proc; needed"),
        feature("overlay", from_call(context(c"overlay")), "rootfs.type = \"overlay\""),
        feature("overlay-userxattr", option(c"userxattr", None), "overlays in a user namespace"),
        feature("overlay-lowerdir+", option(c"lowerdir+", Some(c"/")), "long lists of layers"),
        feature(
            "proc-mountable",
            yes_or(
                fs::read("/proc/self/mountinfo").is_ok_and(|info| host::proc_mountable(&info)),
                "parts of /proc are covered here",
            ),
            "a fresh /proc in a user namespace",
        ),
    ]
}

fn control_groups() -> Vec<Feature> {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let (v2, v1) = cgroup_mounts(&info);
    let controllers = |mount: &String| {
        fs::read_to_string(Path::new(mount).join("cgroup.controllers")).unwrap_or_default().trim().to_owned()
    };
    let unified = match v2.first() {
        Some(mount) => Ok(format!("{mount}: {}", controllers(mount))),
        None => Err("not mounted".to_owned()),
    };
    let legacy = if v1.is_empty() { Err("none mounted".to_owned()) } else { Ok(v1.join(" ")) };
    let pressure = fs::metadata("/proc/pressure/memory").map(|_| String::new()).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "not in this kernel, or psi=0".to_owned(),
        _ => e.to_string(),
    });
    vec![
        feature("cgroup-v2", unified, "birth into the group, kill, freeze; limits of its controllers"),
        feature("cgroup-v1", legacy, "limits where v2 has no controllers"),
        feature(
            "device-programs",
            yes_or(crate::cgroup::has_device_programs(), "BPF programs for devices cannot be loaded here"),
            "devices.policy and devices.allow where v1 has no device controller",
        ),
        feature(
            "packet-programs",
            yes_or(crate::cgroup::has_packet_programs(), "BPF programs for packets and ports cannot be loaded here"),
            "network.ip_deny, network.ip_allow, and ports of UDP in network.bind_allow, in a v2 tree",
        ),
        feature("psi", pressure, "memory, CPU and I/O pressure in `rsvc status`"),
    ]
}

/// Mount points of v2, and controllers (or names) of the v1 hierarchies.
fn cgroup_mounts(mountinfo: &str) -> (Vec<String>, Vec<String>) {
    let (mut v2, mut v1) = (Vec::new(), Vec::new());
    for line in mountinfo.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let mut back = back.split(' ');
        let (kind, options) = (back.next().unwrap_or(""), back.nth(1).unwrap_or(""));
        match kind {
            "cgroup2" => v2.extend(front.split(' ').nth(4).map(str::to_owned)),
            "cgroup" => v1.extend(options.split(',').filter(|o| !is_mount_option(o)).map(str::to_owned)),
            _ => {}
        }
    }
    v1.sort();
    v1.dedup();
    (v2, v1)
}

/// Options of a v1 mount that name no controller.
fn is_mount_option(option: &str) -> bool {
    matches!(option, "rw" | "ro" | "xattr" | "clone_children" | "noprefix") || option.starts_with("release_agent")
}

fn confinement() -> Vec<Feature> {
    let setting = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let actions = setting("/proc/sys/kernel/seccomp/actions_avail").map_err(|_| "not in this kernel".to_owned());
    let landlock = sys::probe::landlock_abi();
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let missing: Vec<&str> =
        kinds.into_iter().filter(|kind| !Path::new(&format!("/proc/self/ns/{kind}")).exists()).collect();
    let namespaces =
        if missing.is_empty() { Ok(kinds.join(" ")) } else { Err(format!("missing: {}", missing.join(" "))) };
    let forbidden = [
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces = 0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone = 0"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns = 1",
        ),
    ];
    let refusal = forbidden.iter().find(|(path, value, _)| setting(path).is_ok_and(|found| found == *value));
    vec![
        feature("namespaces", namespaces, "isolation"),
        feature(
            "user-namespaces",
            refusal.map_or(Ok(String::new()), |(_, _, why)| Err((*why).to_owned())),
            "`rsvc run` of an ordinary user; namespaces.user",
        ),
        feature("seccomp", actions, "system-call filters"),
        feature(
            "landlock",
            landlock.map(|abi| format!("interface {abi}")).ok_or_else(|| "missing or switched off".to_owned()),
            "security.landlock, from interface 2 and all of files from 3; network.bind_allow and connect_allow from 4; \
             network.abstract_sockets and security.restrict_signals from 6",
        ),
    ]
}

fn journald() -> Result<String, String> {
    yes_or(host::listens(Path::new(host::JOURNAL_STREAM)), "nobody listens on /run/systemd/journal/stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_each_feature_once_and_reads_both_ways() {
        let features = probe();
        let mut names: Vec<&str> = features.iter().map(|f| f.name).collect();
        let text = as_text(&features);
        let json: Vec<serde_json::Value> =
            as_json(&features).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((text.lines().count(), json.len()), (names.len(), names.len()));
        assert!(json.iter().zip(&features).all(|(j, f)| j["available"] == f.available && j["name"] == f.name));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), features.len());
        let clone3 = features.iter().find(|f| f.name == "clone3").unwrap();
        assert!(clone3.available, "{clone3:?}");
    }

    #[test]
    fn what_is_missing_says_why() {
        for feature in probe().iter().filter(|f| !f.available) {
            assert!(!feature.detail.is_empty(), "{feature:?}");
        }
    }

    #[test]
    fn hierarchies_are_read_from_mountinfo() {
        let info = "30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
            31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let (v2, v1) = cgroup_mounts(info);
        assert_eq!(v2, ["/sys/fs/cgroup/unified"]);
        assert_eq!(v1, ["cpu", "cpuacct", "name=systemd"]);
    }
}
