//! Compiles the resident init, a freestanding program, with the compiler that compiles the crate; and has relocations
//! packed where the C library can unpack them.
//!
//! The result is embedded by `sys::RESIDENT_INIT`. No C compiler and no target library but `core` is needed; it is
//! linked by the C compiler driver, which every other link of this build uses as well, or else by the linker that
//! comes with the Rust tool chain.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/init/resident.rs";
/// Included by the source.
const INCLUDED: [&str; 3] = ["src/sys/raw.rs", "src/init/keeper.rs", "src/init/answerer.rs"];

fn main() {
    for file in ["build.rs", SOURCE].into_iter().chain(INCLUDED) {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("resident-init");
    let attempts = [&DRIVER[..], &RUST_LLD[..]];
    let mut complaints = String::new();
    for linking in attempts {
        let mut command = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
        command.args(["--edition=2024", "--crate-type=bin", "--crate-name=resident_init", "-Cpanic=abort"]);
        command.args(["-Copt-level=s", "-Coverflow-checks=no", "-Cdebug-assertions=no", "-Cstrip=symbols"]);
        command.args(["-Crelocation-model=static", "-Ccodegen-units=1", "-Cforce-unwind-tables=no"]);
        command.arg(format!("--target={}", env::var("TARGET").expect("cargo sets TARGET")));
        if let (Ok(linker), true) = (env::var("RUSTC_LINKER"), linking == DRIVER) {
            command.arg(format!("-Clinker={linker}"));
        }
        let output = command.args(linking).arg("-o").arg(&out).arg(SOURCE).output().expect("rustc can be run");
        if output.status.success() {
            name_build(&out);
            return pack_relocations();
        }
        complaints.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    panic!("the resident init could not be compiled:\n{complaints}");
}

/// Gives the build a name, for `rsvc status` to tell which services a restart would bring something: a digest (FNV-1a)
/// of what stays in a running service, of the version, and of `RSVC_BUILD`, by which who packages rsvc can say that the
/// same version starts services differently.
fn name_build(init: &std::path::Path) {
    println!("cargo::rerun-if-env-changed=RSVC_BUILD");
    let image = std::fs::read(init).expect("the resident init was just written");
    let words = [env::var("CARGO_PKG_VERSION"), env::var("RSVC_BUILD")].map(Result::unwrap_or_default).join("\n");
    let digest = words
        .bytes()
        .chain(image)
        .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    println!("cargo::rustc-env=RSVC_BUILD_ID={digest:016x}");
}

/// A table of 8,000 relocations takes 200 KB as it is, and 1 KB packed (DT_RELR). A static program unpacks them itself,
/// by what its C library has for that (glibc since 2.36), and dies at its first instruction otherwise: so it is tried.
fn pack_relocations() {
    const PACKED: &str = "-Wl,-z,pack-relative-relocs";
    /// Ends well only if the addresses in the table were relocated.
    const TRIAL: &str = r#"static WORDS: [&str; 64] = ["word"; 64];
fn main() { assert!(WORDS[std::env::args().count()] == "word") }"#;
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let is_static = variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    // Only a program of this machine can be tried.
    if !is_static || variable("TARGET") != variable("HOST") {
        return;
    }
    let trial = PathBuf::from(variable("OUT_DIR")).join("trial");
    let source = trial.with_extension("rs");
    std::fs::write(&source, TRIAL).expect("OUT_DIR can be written");
    let mut command = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    command.args(["--edition=2024", "-Ctarget-feature=+crt-static", &format!("-Clink-arg={PACKED}")]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    let compiled = command.arg("-o").arg(&trial).arg(&source).output().is_ok_and(|output| output.status.success());
    if compiled && Command::new(&trial).output().is_ok_and(|output| output.status.success()) {
        println!("cargo::rustc-link-arg-bins={PACKED}");
    }
}

/// One read-execute segment with the headers in it, nothing of the C library.
const DRIVER: [&str; 9] = [
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Wl,-z,noseparate-code",
    "-Clink-arg=-Wl,-z,norelro",
    "-Clink-arg=-Wl,--no-eh-frame-hdr",
    "-Clink-arg=-Wl,--gc-sections",
];

/// The same for the bare linker.
const RUST_LLD: [&str; 7] = [
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Clink-arg=-static",
    "-Clink-arg=--build-id=none",
    "-Clink-arg=-znoseparate-code",
    "-Clink-arg=-znorelro",
    "-Clink-arg=--gc-sections",
];
