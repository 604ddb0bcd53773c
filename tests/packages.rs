//! The packages: that they contain what they are to contain, that their scripts do what they promise and nothing else, and
//! that what they bring is accepted by those for whom it is: systemd, shells, dpkg.

#[macro_use]
mod instance;

#[path = "packages/maintainer.rs"]
mod maintainer;
#[path = "packages/metadata.rs"]
mod metadata;
#[path = "packages/shells.rs"]
mod shells;

use instance::{RSVC, skipped};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The checkout.
const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the checkout.
fn file(name: &str) -> PathBuf {
    Path::new(CHECKOUT).join(name)
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// The tree that both packages contain, made of the program under test.
fn staged() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    succeeds(Command::new(file("packaging/stage")).arg(RSVC).arg(directory.path().join("root")));
    directory
}

/// Every file and link below `root`, as paths in the package.
fn files_below(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path();
                let below = path.strip_prefix(root).expect("it is below");
                found.insert(format!("/{}", below.to_str().expect("a plain name")));
            }
        }
    }
    found
}

/// The scripts of a folder of `packaging/`: those without an extension.
fn scripts(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(file("packaging").join(folder)).expect("a folder");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.is_file() && path.extension().is_none());
    found
}

#[test]
fn every_script_can_be_read_by_its_shell() {
    let not_scripts = ["changelog", "copyright", "lintian-overrides"].map(OsStr::new);
    let of_sh = ["debian", "rpm", "openrc"].into_iter().flat_map(scripts);
    let of_sh: Vec<PathBuf> =
        of_sh.filter(|path| !path.file_name().is_some_and(|name| not_scripts.contains(&name))).collect();
    assert_eq!(of_sh.len(), 7, "{of_sh:?}");
    for script in of_sh {
        succeeds(Command::new("sh").arg("-n").arg(script));
    }
    for script in ["packaging/build", "packaging/stage"] {
        succeeds(Command::new("bash").arg("-n").arg(file(script)));
    }
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    if !has("systemd-analyze") {
        return skipped("needs systemd-analyze");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut units = Vec::new();
    for name in ["rsvc.service", "rsvc-payload.service"] {
        let text = fs::read_to_string(file("packaging/systemd").join(name)).expect("a unit");
        assert!(text.contains("=/usr/bin/rsvc "), "{name}");
        let unit = directory.path().join(name);
        // It looks whether the program is there.
        fs::write(&unit, text.replace("=/usr/bin/rsvc ", &format!("={RSVC} "))).expect("a unit");
        units.push(unit);
    }
    let mut command = Command::new("systemd-analyze");
    let said = command.args(["verify", "--man=no"]).args(units).output().expect("systemd-analyze can be run");
    let text = String::from_utf8_lossy(&said.stderr);
    // Units of the host that these name may have their own problems.
    let about_ours: Vec<&str> = text.lines().filter(|line| line.contains("rsvc")).collect();
    assert!(about_ours.is_empty() && said.status.success(), "{text}");
}

#[test]
fn files_for_systemd_sysusers_and_tmpfiles_are_understood() {
    if !has("systemd-sysusers") || !has("systemd-tmpfiles") {
        return skipped("needs systemd-sysusers and systemd-tmpfiles");
    }
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("etc")).expect("a directory");
    let at = format!("--root={}", root.path().display());
    succeeds(Command::new("systemd-sysusers").arg(&at).arg(file("packaging/sysusers.conf")));
    let groups = fs::read_to_string(root.path().join("etc/group")).expect("groups");
    assert!(groups.lines().any(|line| line.starts_with("rsvc:")), "{groups}");
    if !instance::is_root() {
        return skipped("systemd-tmpfiles gives directories to root: needs root");
    }
    fs::write(root.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("users");
    fs::write(root.path().join("etc/group"), "root:x:0:\n").expect("groups");
    succeeds(Command::new("systemd-tmpfiles").args(["--create", &at]).arg(file("packaging/tmpfiles.conf")));
    for directory in ["etc/rsvc/units", "run/rsvc/units", "var/lib/rsvc"] {
        assert!(root.path().join(directory).is_dir(), "{directory}");
    }
}

#[test]
fn the_settings_that_are_shipped_are_valid_and_quiet() {
    let text = fs::read_to_string(file("packaging/rsvc.toml")).expect("settings");
    let settings = rsvc::daemon::settings::parse(&text, Path::new("rsvc.toml"));
    assert_eq!(settings.expect("valid settings").log_level, "warn");
}

/// Where cargo-deb is, if it is: packaging/build installs it into the build directory.
fn cargo_deb() -> bool {
    has("cargo-deb") || file("target/package/tools/bin/cargo-deb").is_file()
}

/// Packages a copy of the program under test, without what is for debuggers only.
fn package(out: &Path) -> PathBuf {
    let program = out.join("rsvc");
    let stripped = Command::new("strip").arg("-o").arg(&program).arg(RSVC).status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(RSVC, &program).expect("a copy");
    }
    let mut command = Command::new(file("packaging/build"));
    command.arg("deb").env("RSVC_PROGRAM", &program).env("RSVC_OUT", out).env("SOURCE_DATE_EPOCH", "1700000000");
    let said = succeeds(&mut command).stdout;
    PathBuf::from(String::from_utf8(said).expect("a path").trim())
}

#[test]
fn the_deb_contains_the_tree_and_is_the_same_each_time() {
    if !cargo_deb() || !has("dpkg-deb") {
        return skipped("needs dpkg-deb, and cargo-deb, which `packaging/build deb` installs");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let deb = package(directory.path());
    let first = fs::read(&deb).expect("a package");
    let again = fs::read(package(directory.path())).expect("a package");
    assert!(first == again, "two packages of one program differ");
    let inside = directory.path().join("inside");
    succeeds(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&inside));
    let tree = staged();
    let mut wanted = files_below(&tree.path().join("root"));
    wanted.insert("/usr/share/doc/rsvc/changelog.Debian.gz".to_owned());
    assert_eq!(files_below(&inside), wanted);
    assert_eq!(fs::read_link(inside.join("usr/bin/rsvcd")).expect("a link"), Path::new("rsvc"));
    for name in ["usr/share/doc/rsvc/copyright", "usr/share/rsvc/unit.schema.json", "etc/rsvc/rsvc.toml"] {
        let wanted = fs::read(tree.path().join("root").join(name)).expect("a file");
        assert!(fs::read(inside.join(name)).expect("a file") == wanted, "{name}");
    }
    let control = succeeds(Command::new("dpkg-deb").arg("--ctrl-tarfile").arg(&deb)).stdout;
    let control = String::from_utf8_lossy(&control);
    for name in ["postinst", "prerm", "postrm", "conffiles"] {
        assert!(control.contains(name), "{name} is not in the package");
    }
}

#[test]
fn lintian_finds_nothing_without_a_reason() {
    if !cargo_deb() || !has("lintian") {
        return skipped("needs lintian, and cargo-deb, which `packaging/build deb` installs");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let deb = package(directory.path());
    // Debian asks for strings of a build that this one, for trying it out, has not.
    let mut command = Command::new("lintian");
    command.args(["--allow-root", "--fail-on", "warning"]).arg(deb).stdin(Stdio::null());
    let said = command.output().expect("lintian can be run");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}
