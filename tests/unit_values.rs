//! The small languages inside unit files, and what arbitrary bytes do to the decoder.

#[path = "units/parsed.rs"]
mod parsed;

use parsed::{MINIMAL, clean};
use proptest::prelude::*;
use rsvc::unit::*;
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let problems = Unit::parse_bytes("web", "web.toml", b"[unit]\nx = \"\xff\"").expect_err("not UTF-8");
    assert_eq!((problems[0].code, problems[0].line, problems[0].column), (Code::NotUtf8, 2, 6));
    let big = vec![b'#'; MAX_UNIT_SIZE + 1];
    assert_eq!(Unit::parse_bytes("web", "web.toml", &big).expect_err("too big")[0].code, Code::TooBig);
    for name in ["", "a/b", "web.toml", "tasks"] {
        assert_eq!(Unit::parse(name, "f", MINIMAL).expect_err(name)[0].code, Code::BadUnitName);
    }
    assert_eq!(Unit::parse("web@", "f", MINIMAL).expect_err("a template")[0].code, Code::BadUnitName);
    assert!(Unit::parse("web@x", "f", MINIMAL).is_ok());
}

/// Pieces of units, so that random texts get further than the first line.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "[service]",
        "[[mounts]]",
        "[filesystem]",
        "[resources]",
        "exec",
        "user",
        "memory_max",
        "options",
        "allow",
        "=",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        " ",
        ".",
        "1",
        "-1",
        "0o750",
        "1e9",
        "true",
        "infinity",
        "512M",
        "/proc",
        "size",
        "@system-service",
        "uid_mappings",
        "[namespaces]",
        "#",
        "\\u0000",
        "é",
        "2026-11-21",
        "inf",
        "destination",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|w| w.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_decoder_panic(text in "\\PC{0,200}") {
        let _ = Unit::parse("web", "web.toml", &text);
    }

    #[test]
    fn no_pieces_of_units_make_the_decoder_or_the_drawing_panic(text in pieces()) {
        match Unit::parse("web", "web.toml", &text) {
            Ok((unit, _)) => drop(unit.effective()),
            Err(problems) => {
                prop_assert!(problems.iter().any(|p| p.severity() == Severity::Error));
                let style = problem::Style { color: true, unicode: true };
                let drawn = problem::render(&problems, &text, style);
                prop_assert!(!drawn.is_empty());
                prop_assert!(!problem::json_lines(&problems).is_empty());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(problems) = Unit::parse_bytes("web", "web.toml", &bytes) {
            prop_assert!(!render_problems(&problems, &bytes).is_empty());
        }
    }
}

#[test]
fn mount_options_are_secure_unless_they_say_otherwise() {
    let mount = |lines: &str| {
        let text = format!("{MINIMAL}user = \"web\"\n[[mounts]]\ndestination = \"/data\"\n{lines}\n");
        clean(&text).mounts[0].clone()
    };
    let tmpfs = mount("type = \"tmpfs\"\noptions = [\"size=10M\", \"mode=0700\", \"noexec\"]");
    assert_eq!(tmpfs.kind, MountKind::Tmpfs);
    assert_eq!(tmpfs.options.data, [("size".into(), "10485760".into()), ("mode".into(), "700".into())]);
    assert!(tmpfs.options.no_suid && tmpfs.options.no_dev && tmpfs.options.no_exec && !tmpfs.options.read_only);
    let open = mount("source = \"/srv\"\noptions = [\"suid\", \"dev\", \"bind\", \"optional\"]");
    assert!(!open.options.no_suid && !open.options.no_dev && open.options.optional);
    assert_eq!(open.kind, MountKind::Bind { source: "/srv".into(), recursive: false });
    let overlay =
        mount("type = \"overlay\"\noptions = [\"lowerdir=/a:/b\", \"upperdir=/c/upper\", \"workdir=/c/work\"]");
    let expected = MountKind::Overlay { lower: vec!["/a".into(), "/b".into()], upper: Some("/c/upper".into()) };
    assert_eq!(overlay.kind, expected);
}

#[test]
fn values_of_every_kind_are_taken() {
    let unit = clean(
        r#"schema = 1
x-note = "free for other tools"

[service]
type = "forking"
exec = "/usr/bin/program --name 'two words'"
exec_start_pre = ["/bin/mkdir -p /run/x", ["/bin/true"], { argv = ["/bin/false"], ignore_failure = true }]
user = 33
group = "www-data"
supplementary_groups = ["adm", 4]
umask = 0o027
environment = { A = "1", B = "two\nlines" }
environment_files = ["/etc/default/web", "-/etc/default/local"]
pid_file = "/run/web/web.pid"
success_exit_status = [1, 143, "SIGKILL"]
timeout_start = 120

[restart]
backoff = 1
limit_burst = 5
force_exit_status = [75]

[devices]
allow = [
  { path = "/dev/fuse" },
  { type = "char", major = 10, minor = "*", access = "rwm" },
]

[namespaces]
ipc = "path:/proc/1/ns/ipc"
hostname = "web.example"

[syscalls]
errno = 13
log = ["ptrace"]
architectures = ["native", "x86"]

[security]
restrict_namespaces = ["user", "net"]
keyring = "inherit"

[resources]
memory_max = 1073741824
memory_low = "512M"
cpu_max = { quota = "50ms" }
cpuset_cpus = "8,0-3"
tasks_max = "infinity"
io_max = [{ device = "8:0", rbps = "1M", wiops = 100 }, { device = "/var", wbps = "infinity" }]
hugetlb = { "2MB" = "64M" }
slice = "shop"

[resources.rlimits]
nproc = 100
cpu = "1h"
rttime = "500ms"
stack = "8M:infinity"

[logging]
file = { max_size = "1M", max_files = 2 }

[x-other]
anything = true
"#,
    );
    let s = &unit.service;
    assert_eq!(s.exec, ["/usr/bin/program", "--name", "two words"]);
    assert_eq!(s.exec_start_pre[0].argv, ["/bin/mkdir", "-p", "/run/x"]);
    assert!(s.exec_start_pre[2].ignore_failure && !s.exec_start_pre[1].ignore_failure);
    assert_eq!((&s.user, s.umask), (&Some(Account::Id(33)), 0o027));
    assert_eq!(s.environment[1], ("B".to_owned(), "two\nlines".to_owned()));
    assert_eq!(s.environment_files[1], (PathBuf::from("/etc/default/local"), true));
    assert!(s.success_exit_status.statuses.contains(&143) && s.success_exit_status.signals.contains(&9));
    assert_eq!(s.timeout_start, Some(Duration::from_secs(120)));
    assert_eq!(unit.ready_kind(), ReadyKind::PidFile);
    assert_eq!(unit.devices.allow.len(), 2);
    assert_eq!(unit.namespaces.ipc, Isolation::Path("/proc/1/ns/ipc".into()));
    assert_eq!(unit.syscalls.errno, 13);
    assert_eq!(unit.security.restrict_namespaces, RestrictNamespaces::Except(vec!["user".into(), "net".into()]));
    assert!(!unit.security.private_keyring);
    let r = &unit.resources;
    assert_eq!((r.memory_max, r.memory_low, r.tasks_max), (Some(1 << 30), Some(512 << 20), None));
    assert_eq!(r.cpu_max.map(|c| (c.quota, c.period)), Some((Some(50_000), 100_000)));
    assert_eq!(r.cpuset_cpus.as_deref(), Some("0-3,8"));
    assert_eq!(r.hugetlb, [("2MB".to_owned(), 64 << 20)]);
    let limits: Vec<_> = r.rlimits.iter().map(|(r, soft, hard)| (value::limit_name(*r), *soft, *hard)).collect();
    let expected = [
        ("core", 0, u64::MAX),
        ("cpu", 3600, 3600),
        ("nofile", 1024, 524_288),
        ("nproc", 100, 100),
        ("rttime", 500_000, 500_000),
        ("stack", 8 << 20, u64::MAX),
    ];
    assert_eq!(limits, expected);
    assert_eq!((unit.logging.file_max_size, unit.logging.file_max_files), (1 << 20, 2));
}

#[test]
fn conditions_on_arguments_are_kept_in_one_form_and_edited_like_names() {
    let unit = clean(
        "[service]\nexec = [\"/bin/web\"]\nuser = \"root\"\n[syscalls]\non_deny = \"notify-errno\"\n\
         deny = [\"ioctl(1==TIOCSTI)\", \"socket( 0 == AF_INET ,1 & 0xf == SOCK_RAW)\", \"@debug\"]\n",
    );
    assert_eq!(unit.syscalls.on_deny, OnDeny::NotifyErrno);
    let denied = ["ioctl(1 == TIOCSTI)", "socket(0 == AF_INET, 1 & 0xf == SOCK_RAW)", "@debug"];
    assert_eq!(unit.syscalls.deny, denied);
    let texts = [
        UnitText {
            file: "web.toml",
            text: "[service]\nexec = [\"/bin/web\"]\nuser = \"root\"\n[syscalls]\ndeny = [\"ioctl(1 == TIOCSTI)\"]\n",
        },
        UnitText {
            file: "web.d/1.toml",
            text: "[syscalls]\ndeny.remove = [\"ioctl(1==TIOCSTI)\"]\ndeny.append = [\"prctl(0 == PR_SET_MM)\"]\n",
        },
    ];
    let (unit, problems) = Unit::parse_texts("web", &texts, ParseOptions::default()).expect("a unit");
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(unit.syscalls.deny, ["prctl(0 == PR_SET_MM)"]);
}
