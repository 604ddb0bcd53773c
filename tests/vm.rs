//! rsvc on real targets: Debian virtual machines with systemd, journald and cgroup v2 that has all its controllers.
//!
//! Needs `RSVC_TESTVM`, the directory of the machine builder (`run`, `build-image`), and what that needs: root, QEMU.
//! Else everything here is skipped, and says so. `RSVC_TESTVM_SUITES` chooses among `bookworm trixie`.
//!
//! What happens inside is told by the scripts in `tests/vm/`; each runs in a machine of its own, which is thrown away.
//! The checkout and the build directory are seen there read-only and under the same paths as here, so the static test
//! executables of this suite run as they are.

#[macro_use]
#[path = "instance/skip.rs"]
mod skip;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A test executable that looks at the kernel, and so is run on it.
struct Executable {
    name: &'static str,
    /// Which of its tests, as names separated by commas; empty is all.
    tests: &'static str,
    /// Where.
    suites: &'static [&'static str],
}

/// As much as an emulated machine does in a few minutes; `RSVC_TESTVM_FULL=1` runs all of all everywhere.
const EXECUTABLES: [Executable; 6] = [
    Executable { name: "cgroup", tests: "", suites: &BOTH },
    Executable { name: "stage", tests: "", suites: &BOTH },
    Executable { name: "lifecycle", tests: "", suites: &BOTH },
    Executable { name: "inside", tests: INSIDE, suites: &BOTH },
    Executable { name: "pods", tests: "", suites: &BOTH },
    Executable { name: "slices", tests: "", suites: &BOTH },
];

/// What looks at control groups, mounts, rights and profiles. The rest of it is about what is the same on every host, or
/// takes an emulated machine too long: ranges of ids, the wall of Landlock, packets, rules about arguments.
const INSIDE: &str = "confinement::,credentials::,devices::,filesystem::,identity::,limits::,namespaces::,process::,\
    profiles::,rootfs::,standard::,user::an_ordinary,user::limits_of,user::rsvc_run_of,user::what_an";

/// Debian 12 and 13.
const BOTH: [&str; 2] = ["bookworm", "trixie"];

/// The program under test.
const RSVC: &str = env!("CARGO_BIN_EXE_rsvc");
/// The checkout.
const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
/// Seconds for everything in one machine: emulated code is slow, and so may be the host.
const TIMEOUT: &str = "3600";

/// For the machines' kernel. QEMU 7.2 emulates CMPXCHG16B without bringing the flags up to date before it: an interrupt
/// right behind it saves half a pointer as EFLAGS, and the kernel dies of the return. Without the feature it uses a lock.
const KERNEL: &str = "clearcpuid=cx16";

/// A machine takes 2 GiB, and there are two at a time: one of each suite.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The builder, or why there is none.
fn builder() -> Result<PathBuf, String> {
    let directory = std::env::var_os("RSVC_TESTVM").ok_or("RSVC_TESTVM is not set")?;
    let run = Path::new(&directory).join("run");
    if !run.is_file() {
        return Err(format!("{} is missing", run.display()));
    }
    if !rustix::process::geteuid().is_root() {
        return Err("images are built and read by root".to_owned());
    }
    let has = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
    };
    let machine = if cfg!(target_arch = "x86_64") { "qemu-system-x86_64" } else { "qemu-system-aarch64" };
    for tool in [machine, "mmdebstrap"] {
        if !has(tool) {
            return Err(format!("{tool} is not installed"));
        }
    }
    if [CHECKOUT, RSVC].iter().any(|path| path.contains(':')) {
        return Err("a path with a colon cannot be shared".to_owned());
    }
    Ok(run)
}

/// Runs `tests/vm/SCRIPT` with `arguments` in a machine of each suite among `suites`.
fn in_machines(suites: &[&str], script: &str, arguments: &(dyn Fn(&str) -> Vec<PathBuf> + Sync)) {
    let run = match builder() {
        Ok(run) => run,
        Err(why) => return skipped!("{why}"),
    };
    let chosen = std::env::var("RSVC_TESTVM_SUITES").unwrap_or_else(|_| "bookworm trixie".to_owned());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = stripped();
    // The scripts do one thing after the other: two machines side by side keep two processors busy.
    std::thread::scope(|scope| {
        for suite in suites {
            if chosen.split_ascii_whitespace().any(|name| name == *suite) {
                scope.spawn(|| in_machine(&run, suite, &program.path().join("rsvc"), script, &arguments(suite)));
            } else {
                skipped!("{suite} is not in RSVC_TESTVM_SUITES");
            }
        }
    });
}

/// A copy of the program without what is for debuggers only, which a machine would have to carry.
fn stripped() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("rsvc");
    let strip = Command::new("strip").arg("-o").arg(&copy).arg(RSVC).stderr(Stdio::null()).status();
    if !strip.is_ok_and(|status| status.success()) {
        std::fs::copy(RSVC, &copy).expect("a copy");
    }
    directory
}

/// Runs a script in one machine and fails the test unless it says that all passed.
fn in_machine(run: &Path, suite: &str, program: &Path, script: &str, arguments: &[PathBuf]) {
    let mut command = Command::new(run);
    let console = tempfile::NamedTempFile::new().expect("a file");
    command.args(["--suite", suite, "--timeout", TIMEOUT, "--append", KERNEL, "--console"]).arg(console.path());
    for directory in shares() {
        command.arg("--share").arg(format!("{0}:{0}:ro", directory.display()));
    }
    command.arg("--copy").arg(format!("{}:/usr/bin/rsvc", program.display()));
    command.args(["--env", &format!("SUITE={suite}"), "--workdir", "/root", "--", "bash"]);
    command.arg(Path::new(CHECKOUT).join("tests/vm").join(script)).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("the builder's `run` can be executed");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let kernel = String::from_utf8_lossy(&std::fs::read(console.path()).unwrap_or_default()).into_owned();
    assert!(output.status.success(), "{suite}: {script}: {}\n{said}\n{errors}\n{kernel}", output.status);
    // What a script could not do there is told here too.
    said.lines().filter(|line| line.contains("skipped: ")).for_each(|line| skipped!("{suite}: {line}"));
    assert!(said.lines().any(|line| line == "all passed"), "{suite}: {script} ended early\n{said}\n{errors}");
}

/// The checkout, and the build directory when that is elsewhere.
fn shares() -> Vec<PathBuf> {
    let checkout = PathBuf::from(CHECKOUT);
    let build = Path::new(RSVC).parent().map(Path::to_owned);
    let outside = build.filter(|build| !build.starts_with(&checkout));
    [Some(checkout), outside].into_iter().flatten().collect()
}

/// The executables as arguments of `executables.sh`: `PATH` or `PATH=TESTS`.
fn arguments(built: &[PathBuf], suite: &str) -> Vec<PathBuf> {
    let full = std::env::var_os("RSVC_TESTVM_FULL").is_some();
    let mut arguments = Vec::new();
    for path in built {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let known = EXECUTABLES.iter().find(|known| file.starts_with(&format!("{}-", known.name)));
        match known.filter(|_| !full) {
            Some(known) if !known.suites.contains(&suite) => {}
            Some(known) if !known.tests.is_empty() => {
                arguments.push(format!("{}={}", path.display(), known.tests).into());
            }
            _ => arguments.push(path.clone()),
        }
    }
    arguments
}

/// Where cargo put the test executables of this build: a list in `RSVC_TEST_EXECUTABLES` (`PATH:PATH`), else cargo is
/// asked, which builds what is missing.
fn built() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("RSVC_TEST_EXECUTABLES") {
        return std::env::split_paths(&list).collect();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--no-run", "--message-format=json", "--quiet"]).current_dir(CHECKOUT);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.args(EXECUTABLES.iter().flat_map(|known| ["--test", known.name]));
    let output = command.stderr(Stdio::inherit()).output().expect("cargo");
    assert!(output.status.success(), "cargo cannot build the test executables");
    let found: Vec<PathBuf> = output.stdout.split(|byte| *byte == b'\n').filter_map(executable).collect();
    assert_eq!(found.len(), EXECUTABLES.len(), "{found:?}");
    found
}

/// The path in one of cargo's messages, if it is about a test executable.
fn executable(line: &[u8]) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_slice(line).ok()?;
    let target = message.get("target")?;
    let is_test = target.get("kind")?.as_array()?.iter().any(|kind| kind == "test");
    is_test.then(|| message.get("executable")?.as_str().map(PathBuf::from))?
}

#[test]
fn the_tests_that_ask_the_kernel_pass_with_real_v2_controllers() {
    match builder() {
        Ok(_) => {
            let built = built();
            in_machines(&BOTH, "executables.sh", &|suite| arguments(&built, suite));
        }
        Err(why) => skipped!("{why}"),
    }
}

#[test]
fn a_service_is_limited_named_when_it_fails_and_leaves_nothing() {
    in_machines(&BOTH, "daemon.sh", &|_| Vec::new());
}

#[test]
fn run_takes_what_its_group_offers_and_names_what_it_lacks() {
    in_machines(&BOTH, "run.sh", &|_| Vec::new());
}

#[test]
fn services_survive_their_daemon_in_a_delegated_group() {
    in_machines(&BOTH, "payload.sh", &|_| Vec::new());
}

/// Two packages of the program under test, the second newer than the first. Beside the program, which machines see.
fn packages(program: &Path) -> [PathBuf; 2] {
    let out = Path::new(RSVC).parent().expect("a directory").join("packages");
    ["1", "2"].map(|revision| {
        let mut command = Command::new(Path::new(CHECKOUT).join("packaging/build"));
        command.arg("deb").env("RSVC_PROGRAM", program).env("RSVC_OUT", &out).env("RSVC_REVISION", revision);
        command.env("SOURCE_DATE_EPOCH", "1700000000").stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().expect("packaging/build can be executed");
        assert!(output.status.success(), "packaging/build: {}", output.status);
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

#[test]
fn the_package_is_installed_upgraded_and_purged_and_services_notice_only_the_last() {
    if let Err(why) = builder() {
        return skipped!("{why}");
    }
    let tool = Path::new(CHECKOUT).join("target/package/tools/bin/cargo-deb");
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !tool.is_file() && !std::env::split_paths(&path).any(|directory| directory.join("cargo-deb").is_file()) {
        return skipped!("cargo-deb is missing: `packaging/build deb` installs it");
    }
    let program = stripped();
    let packages = packages(&program.path().join("rsvc"));
    in_machines(&BOTH, "package.sh", &|_| packages.to_vec());
}

#[test]
fn varlinkctl_lists_starts_and_stops() {
    // systemd 252 has no varlinkctl.
    in_machines(&["trixie"], "varlink.sh", &|_| Vec::new());
}

#[test]
fn a_profile_of_apparmor_confines_a_service_and_what_runs_beside_it() {
    let profile = Path::new(CHECKOUT).join("tests/vm/apparmor.profile");
    let compiled = Path::new(RSVC).parent().expect("a directory").join("apparmor.compiled");
    let compile = Command::new("apparmor_parser").args(["-Q", "-K", "-o"]).args([&compiled, &profile]).output();
    match compile {
        Ok(output) if output.status.success() => {
            in_machines(&BOTH, "apparmor.sh", &|_| vec![compiled.clone()]);
        }
        Ok(output) => panic!("{output:?}"),
        Err(error) => skipped!("apparmor_parser cannot be run: {error}"),
    }
}

#[test]
fn the_output_is_in_the_journal() {
    in_machines(&BOTH, "journal.sh", &|_| Vec::new());
}

#[test]
fn cargos_messages_are_understood() {
    let line =
        br#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"cgroup"},"executable":"/t/cgroup-1"}"#;
    assert_eq!(executable(line), Some(PathBuf::from("/t/cgroup-1")));
    for other in [
        r#"{"reason":"compiler-artifact","target":{"kind":["lib"]},"executable":"/t/rsvc-1"}"#,
        r#"{"reason":"compiler-artifact","target":{"kind":["test"]},"executable":null}"#,
        r#"{"reason":"build-finished","success":true}"#,
        "warning: text",
        "",
    ] {
        assert_eq!(executable(other.as_bytes()), None, "{other}");
    }
}
