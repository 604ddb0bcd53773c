//! Good units parse and mean what they say.

#[path = "units/parsed.rs"]
mod parsed;

use parsed::{MINIMAL, clean, parse, parse_with};
use rsvc::unit::*;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NGINX: &str = r#"[unit]
description = "nginx web server"

[service]
type = "exec"
exec = ["/usr/sbin/nginx", "-c", "/etc/nginx/nginx-rsvc.conf", "-g", "daemon off;"]  # pid /run/nginx/nginx.pid, no `user` line
exec_start_pre = [["/usr/sbin/nginx", "-c", "/etc/nginx/nginx-rsvc.conf", "-t", "-q"]]
user = "www-data"
reload_signal = "SIGHUP"
stop_signal = "SIGQUIT"
kill_mode = "mixed"
timeout_stop = "10s"

[ready]
listen = ["tcp:0.0.0.0:80"]

[directories]
runtime = ["nginx"]
state = ["nginx"]
logs = ["nginx"]

[filesystem]
protect_system = "strict"
proc_subset = "pid"

[network]
address_families = ["AF_UNIX", "AF_INET", "AF_INET6"]

[capabilities]
ambient = ["CAP_NET_BIND_SERVICE"]

[syscalls]
deny = ["@privileged", "@resources"]

[security]
memory_deny_write_execute = true   # false with Lua or pcre_jit

[resources]
memory_high = "400M"               # cgroup v2 only: refused on v1 unless listed in security.optional
memory_max = "512M"
tasks_max = 128
rlimits = { nofile = "65536:65536" }

[install]
wanted_by = ["default"]
"#;

const REDIS: &str = r#"[unit]
description = "redis cache (socket only)"

[service]
type = "notify"
exec = ["/usr/bin/redis-server", "/etc/redis/redis.conf", "--supervised", "systemd", "--daemonize", "no",
        "--port", "0", "--unixsocket", "/run/redis/redis.sock", "--unixsocketperm", "770"]
user = "redis"
umask = "0007"
timeout_stop = "infinity"          # saving the RDB may be long

[restart]
policy = "always"

[directories]
runtime = ["redis"]
runtime_mode = "2755"
state = ["redis"]
logs = ["redis"]

[filesystem]
protect_system = "strict"
proc_subset = "pid"

[namespaces]
user = "identity"                  # fine: no low port, no capability

[network]
mode = "loopback"                  # own network namespace, lo only
address_families = ["AF_UNIX"]

[capabilities]
bounding = []

[syscalls]
deny = ["@privileged", "@resources"]

[security]
memory_deny_write_execute = true

[resources]
memory_max = "1G"
rlimits = { nofile = 65535 }
"#;

const DUMP: &str = r#"[unit]
description = "nightly database dump"
after = ["postgresql"]

[service]
type = "oneshot"
exec = ["/usr/bin/pg_dump", "-Fc", "-f", "/var/backups/pg/app.dump", "app"]
user = "postgres"
umask = "0077"
timeout_start = "2h"
nice = 10

[restart]
policy = "no"

[filesystem]
protect_system = "strict"
read_write_paths = ["/var/backups/pg"]

[network]
mode = "loopback"                  # talks to /run/postgresql only
address_families = ["AF_UNIX"]

[resources]
cpu_max = "50%"
io_weight = 20
memory_max = "1G"
"#;

const SHOP: &str = r#"[unit]
description = "legacy shop (bullseye userland)"

[service]
type = "exec"
exec = ["/opt/shop/bin/server", "--listen", "0.0.0.0:8080"]
user = "1000"
environment = { SHOP_ENV = "production" }
working_directory = "/opt/shop"

[rootfs]
type = "overlay"
lower = ["/srv/rootfs/shop-app", "/srv/rootfs/bullseye"]   # top first; or: type = "oci-layout", path = "/srv/oci/shop", reference = "1.4"
upper = "ephemeral"
size = "128M"

[[mounts]]
destination = "/opt/shop/data"
type = "bind"
source = "/var/lib/shop"
options = ["rbind", "rw", "nosuid", "nodev"]

[[mounts]]
destination = "/etc/resolv.conf"
type = "bind"
source = "/etc/resolv.conf"
options = ["bind", "ro"]

[namespaces]
hostname = "shop"

[ready]
listen = ["tcp:0.0.0.0:8080"]

[resources]
memory_max = "768M"
cpu_max = "200%"
tasks_max = 256

[logging]
identifier = "shop"
"#;

fn bits(names: &[&str]) -> u64 {
    names.iter().map(|n| value::capability(n).expect("a capability").0).fold(0, |a, b| a | b)
}

#[test]
fn a_unit_with_only_exec_is_the_profile_standard() {
    let (unit, warnings) = parse(MINIMAL);
    let codes: Vec<_> = warnings.iter().map(|w| w.code).collect();
    assert_eq!(codes, [Code::RunsAsRoot]);
    let ten = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    assert_eq!(unit.capabilities.bounding.0, bits(&ten));
    assert_eq!(unit.capabilities.ambient.0, 0);
    assert_eq!(unit.filesystem.protect_system, ProtectSystem::Standard);
    assert_eq!(unit.filesystem.protect_home, ProtectHome::Hidden);
    assert_eq!(unit.filesystem.protect_proc, ProtectProc::Invisible);
    assert!(unit.filesystem.private_tmp && !unit.filesystem.proc_pid_only);
    assert!(unit.devices.private && unit.devices.policy == DevicePolicy::Closed);
    let n = &unit.namespaces;
    assert_eq!([&n.mount, &n.pid, &n.ipc, &n.uts, &n.cgroup], [&Isolation::Private; 5]);
    assert_eq!((&n.time, &n.user, n.init), (&Isolation::Host, &UserNamespace::Host, true));
    assert_eq!(unit.network.mode, NetworkMode::Host);
    let families: Vec<_> =
        unit.network.address_families.as_ref().expect("restricted").iter().map(|f| f.number).collect();
    assert_eq!(families, [1, 2, 10, 16]);
    assert_eq!(unit.syscalls.allow, ["@system-service", "@sandbox", "chroot"]);
    assert!(unit.syscalls.deny.is_empty());
    assert_eq!((unit.syscalls.errno, unit.syscalls.unknown_errno), (1, 38));
    let s = &unit.security;
    assert!(s.no_new_privileges && s.lock_personality && s.restrict_realtime && s.restrict_suid_sgid);
    assert_eq!(s.restrict_namespaces, RestrictNamespaces::Except(vec![]));
    assert!(s.protect_kernel_tunables && s.protect_kernel_modules && s.protect_kernel_logs && s.protect_clock);
    assert!(s.protect_hostname && s.protect_control_groups && s.private_keyring);
    assert!(!s.memory_deny_write_execute && !s.control_socket);
    assert_eq!(unit.resources.tasks_max, Some(4096));
    assert_eq!((unit.resources.memory_max, unit.resources.cpu_max), (None, None));
    let limits: Vec<_> =
        unit.resources.rlimits.iter().map(|(r, soft, hard)| (value::limit_name(*r), *soft, *hard)).collect();
    assert_eq!(limits, [("core", 0, u64::MAX), ("nofile", 1024, 524_288)]);
    assert_eq!(unit.service.umask, 0o022);
    assert_eq!(unit.restart.delay, Duration::from_millis(200));
    assert_eq!(unit.restart.policy, RestartPolicy::OnFailure);
    assert_eq!(unit.log_identifier(), "web");
    assert_eq!(unit.install.wanted_by, ["default"]);
}

#[test]
fn without_root_there_are_no_capabilities_and_ambient_ones_join_the_bounding_set() {
    let unit = clean("[service]\nexec = [\"/usr/bin/program\"]\nuser = \"web\"\n");
    assert_eq!(unit.capabilities.bounding.0, 0);
    let unit = clean(NGINX);
    assert_eq!(unit.capabilities.bounding.0, bits(&["NET_BIND_SERVICE"]));
    assert_eq!(unit.capabilities.ambient.0, bits(&["NET_BIND_SERVICE"]));
    for root in ["0", "\"0\"", "\"root\""] {
        let unit = clean(&format!("{MINIMAL}user = {root}\n"));
        assert_ne!(unit.capabilities.bounding.0, 0, "{root}");
    }
}

#[test]
fn the_nginx_of_the_manual_means_what_it_says() {
    let unit = clean(NGINX);
    assert_eq!(unit.service.exec_start_pre.len(), 1);
    assert_eq!(unit.service.reload_signal.map(|s| s.number()), Some(1));
    assert_eq!(unit.service.stop_signal.number(), 3);
    assert_eq!(unit.service.kill_mode, KillMode::Mixed);
    assert_eq!(unit.service.timeout_stop, Some(Duration::from_secs(10)));
    assert_eq!(unit.ready_kind(), ReadyKind::Checked);
    assert_eq!(unit.directories.runtime, [PathBuf::from("nginx")]);
    assert_eq!(unit.resources.memory_high, Some(400 << 20));
    assert_eq!(unit.syscalls.deny, ["@privileged", "@resources"]);
    assert!(unit.security.memory_deny_write_execute && unit.filesystem.proc_pid_only);
    let place = unit.origin("resources.memory_max").place.expect("the file sets it");
    assert_eq!(NGINX.lines().nth(place.line as usize - 1), Some("memory_max = \"512M\""));
    assert!(unit.is_written("resources.rlimits") && unit.is_written("resources.rlimits.nofile"));
    assert!(!unit.is_written("resources.memory_low"));
}

#[test]
fn the_other_examples_of_the_manual_parse_without_a_warning() {
    let redis = clean(REDIS);
    assert_eq!(redis.service.timeout_stop, None);
    assert_eq!(redis.directories.runtime_mode, 0o2755);
    assert_eq!(redis.namespaces.user, UserNamespace::Identity);
    assert_eq!(redis.network.mode, NetworkMode::Loopback);
    assert_eq!(redis.capabilities.bounding.0, 0);
    let dump = clean(DUMP);
    assert_eq!(dump.ready_kind(), ReadyKind::Exited);
    assert_eq!(dump.resources.cpu_max.and_then(|c| c.quota), Some(50_000));
    let shop = clean(SHOP);
    assert_eq!(shop.service.user, Some(Account::Id(1000)));
    assert!(matches!(&shop.rootfs.kind, RootfsKind::Overlay { lower, upper: Upper::Ephemeral } if lower.len() == 2));
    assert_eq!(shop.mounts.len(), 2);
    assert!(matches!(&shop.mounts[0].kind, MountKind::Bind { recursive: true, .. }));
    assert!(matches!(&shop.mounts[1].kind, MountKind::Bind { recursive: false, .. }));
    assert!(shop.mounts[1].options.read_only && shop.mounts[1].options.no_suid);
    assert_eq!(
        shop.origin("mounts[1]").place.map(|p| p.line),
        SHOP.lines().position(|l| l.contains("resolv")).map(|n| n as u32)
    );
}

#[test]
fn the_profile_strict_closes_what_standard_leaves_open() {
    let text = format!("{MINIMAL}user = \"web\"\n[security]\nprofile = \"strict\"\n");
    let unit = clean(&text);
    assert_eq!(unit.filesystem.protect_system, ProtectSystem::Strict);
    assert!(unit.filesystem.proc_pid_only && unit.security.memory_deny_write_execute);
    assert_eq!(unit.service.umask, 0o077);
    assert_eq!(unit.filesystem.no_exec_paths[0].path, Path::new("/"));
    assert_eq!(unit.syscalls.deny, ["@privileged", "@resources", "memfd_create"]);
    let families: Vec<_> = unit.network.address_families.iter().flatten().map(|f| f.name.as_str()).collect();
    assert_eq!(families, ["AF_UNIX", "AF_INET", "AF_INET6"]);
    let allowed = clean(&format!("{text}[syscalls]\nallow = [\"@system-service\", \"memfd_create\"]\n"));
    assert_eq!(allowed.syscalls.deny, ["@privileged", "@resources"], "what the author allows by name stays allowed");
    assert!(
        Unit::parse_with(
            "web",
            "w",
            MINIMAL,
            ParseOptions { profile: Some(Profile::Strict), ..ParseOptions::default() }
        )
        .is_err()
    );
}

#[test]
fn the_profiles_login_and_host_isolate_nothing() {
    for profile in ["login", "host"] {
        let unit = clean(&format!("{MINIMAL}[security]\nprofile = \"{profile}\"\n"));
        assert_eq!(unit.filesystem.protect_system, ProtectSystem::Off);
        assert_eq!([&unit.namespaces.mount, &unit.namespaces.pid], [&Isolation::Host; 2]);
        assert_eq!(unit.network.address_families, None);
        assert_eq!(unit.syscalls.mode, SyscallMode::Off);
        assert!(!unit.security.no_new_privileges && !unit.devices.private);
        assert_eq!(unit.capabilities.bounding.0, bits(&["all"]));
        assert_eq!(unit.resources.tasks_max.is_some(), profile == "login");
    }
}

#[test]
fn an_open_profile_gets_a_mount_namespace_when_the_unit_asks_for_file_rules() {
    let unit = clean(&format!("{MINIMAL}[security]\nprofile = \"host\"\n[filesystem]\nprotect_home = \"read-only\"\n"));
    assert_eq!(unit.namespaces.mount, Isolation::Private);
    assert_eq!(unit.filesystem.protect_home, ProtectHome::ReadOnly);
    assert_eq!(unit.filesystem.protect_system, ProtectSystem::Off);
}

#[test]
fn a_forced_host_profile_wins_over_the_units_own_isolation() {
    let (unit, _) = parse_with(REDIS, Some(Profile::Host));
    assert_eq!(unit.security.profile, Profile::Host);
    assert_eq!(unit.network.mode, NetworkMode::Host);
    assert_eq!(unit.namespaces.user, UserNamespace::Host);
    assert_eq!(unit.filesystem.protect_system, ProtectSystem::Off);
    assert_eq!(unit.syscalls.mode, SyscallMode::Off);
    assert_eq!(unit.resources.memory_max, Some(1 << 30), "limits are no isolation of the sandbox");
    assert_eq!(unit.directories.runtime, [PathBuf::from("redis")]);
    assert!(!unit.is_written("network.mode"));
    let (strict, _) = parse_with(NGINX, Some(Profile::Strict));
    assert_eq!(strict.service.umask, 0o077);
    assert_eq!(strict.syscalls.deny, ["@privileged", "@resources"], "the unit's own line stays");
}

#[test]
fn a_forced_host_profile_is_not_refused_for_what_it_overrides() {
    let text = format!(
        "{MINIMAL}user = \"web\"\n[namespaces]\nhostname = \"web\"\ninit = true\nuser = \"identity\"\n\
         [devices]\nallow = [{{ path = \"/dev/fuse\" }}]\n[filesystem]\nread_only_paths = [\"/srv\"]\n\
         [[mounts]]\ndestination = \"/data\"\nsource = \"/srv/data\"\n"
    );
    for profile in [Profile::Host, Profile::Login] {
        let (unit, _) = parse_with(&text, Some(profile));
        assert_eq!((unit.namespaces.hostname.as_deref(), unit.devices.allow.len()), (None, 0));
        assert_eq!(unit.namespaces.mount, Isolation::Private, "the mounts are no protection, the service needs them");
        assert!(unit.filesystem.read_only_paths.is_empty());
    }
}

#[test]
fn without_a_mount_namespace_nothing_of_it_is_left() {
    let (unit, warnings) = parse(&format!("{MINIMAL}user = \"web\"\n[namespaces]\nmount = \"host\"\n"));
    assert_eq!(warnings.iter().map(|w| w.code).collect::<Vec<_>>(), [Code::SwitchedOff]);
    assert_eq!(unit.filesystem.protect_system, ProtectSystem::Off);
    assert_eq!(unit.namespaces.pid, Isolation::Host);
    assert!(!unit.devices.private && !unit.logging.syslog_socket && !unit.security.protect_control_groups);
    assert!(unit.security.no_new_privileges && unit.security.protect_kernel_modules);
}

#[test]
fn mappings_imply_a_mapped_user_namespace() {
    let maps = "uid_mappings = [{ container_id = 0, host_id = 100000, size = 65536 }]\n\
                gid_mappings = [{ container_id = 0, host_id = 200000, size = 65536 }]\n";
    for user in ["", "user = \"mapped\"\n"] {
        let (unit, _) = parse(&format!("{MINIMAL}[namespaces]\n{user}{maps}"));
        let expected = UserNamespace::Mapped { uid: vec![(0, 100_000, 65536)], gid: vec![(0, 200_000, 65536)] };
        assert_eq!(unit.namespaces.user, expected);
    }
}

#[test]
fn optional_covers_a_key_its_table_and_an_entry_of_a_list() {
    let unit =
        clean(&format!("{MINIMAL}user = \"web\"\n[security]\noptional = [\"resources.memory_high\", \"devices\"]\n"));
    assert!(
        unit.is_optional("resources.memory_high") && unit.is_optional("devices.allow") && unit.is_optional("devices")
    );
    assert!(!unit.is_optional("resources") && !unit.is_optional("resources.memory_high_water"));
}

#[test]
fn what_is_shown_parses_to_the_same_unit() {
    for text in [NGINX, REDIS, DUMP, SHOP] {
        let unit = clean(text);
        let mut tables: std::collections::BTreeMap<String, Vec<String>> = Default::default();
        for value in unit.effective() {
            // Rootfs keys of another type, and switched-off ones, are shown and could not be written.
            let file = matches!(value.origin, ValueOrigin::File(_));
            let (table, key) = value.key.rsplit_once('.').unwrap_or(("", &value.key));
            if file {
                tables.entry(table.to_owned()).or_default().push(format!("{key} = {}", value.value));
            }
        }
        let mut printed = String::new();
        for (table, lines) in tables {
            match table.split_once('[') {
                Some((name, _)) => printed.push_str(&format!("[[{name}]]\n")),
                None => printed.push_str(&format!("[{table}]\n")),
            }
            printed.push_str(&lines.join("\n"));
            printed.push('\n');
        }
        let again = clean(&printed);
        assert_eq!(*again, *unit, "{printed}");
    }
}

#[test]
fn every_built_in_value_may_also_be_written() {
    for value in parse(MINIMAL).0.effective() {
        if value.origin != ValueOrigin::Default
            || value.key.starts_with("rootfs.")
            || value.key == "restart.limit_interval"
        {
            continue;
        }
        let (table, key) = value.key.rsplit_once('.').unwrap_or(("", &value.key));
        let line = format!("{key} = {}", value.value);
        let text = match table {
            "" => format!("{line}\n{MINIMAL}"),
            "service" => format!("{MINIMAL}{line}\n"),
            "health" => format!("{MINIMAL}[health]\ncommand = [\"/bin/true\"]\n{line}\n"),
            "hooks" => format!("{MINIMAL}[hooks]\non_exit = [\"/bin/true\"]\n{line}\n"),
            _ => format!("{MINIMAL}[{table}]\n{line}\n"),
        };
        let (unit, _) = parse(&text);
        assert!(unit.is_written(&value.key), "{text}");
    }
}

#[test]
fn the_manual_page_is_the_one_that_the_key_table_writes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/rsvc.toml.5");
    if std::env::var_os("RSVC_BLESS").is_some() {
        std::fs::write(&file, manual()).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(page == manual(), "man/rsvc.toml.5 is out of date: RSVC_BLESS=1 cargo test --test units_parse");
}
