//! Compiles the resident init, a freestanding program, with the compiler that compiles the crate.
//!
//! The result is embedded by `sys::RESIDENT_INIT`. No C compiler and no target library but `core` is needed; it is
//! linked by the C compiler driver, which every other link of this build uses as well, or else by the linker that
//! comes with the Rust tool chain.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/init/resident.rs";
/// Included by the source.
const CALLS: &str = "src/sys/raw.rs";

fn main() {
    for file in ["build.rs", SOURCE, CALLS] {
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
            return;
        }
        complaints.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    panic!("the resident init could not be compiled:\n{complaints}");
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
