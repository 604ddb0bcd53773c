//! The completions in the shells themselves, with the names of units that are really there.

use super::instance::{Instance, RSVC, skipped};
use super::{has, staged};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a shell completes: each name on a line, by `script`, which finds rsvc on its PATH and the tree at `$1`.
fn completed(instance: &Instance, shell: &str, options: &[&str], script: &str) -> Vec<String> {
    let tree = staged();
    let bin = instance.file("bin");
    if !bin.exists() {
        fs::create_dir(&bin).expect("a directory");
        symlink(RSVC, bin.join("rsvc")).expect("a link");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command: Command = instance.configured(shell);
    command.args(options).args(["-c", script]).env("PATH", format!("{}:{path}", bin.display()));
    command.env("ROOT", tree.path().join("root")).env("HOME", instance.path()).env_remove("XDG_CONFIG_HOME");
    let output = command.stdin(Stdio::null()).output().expect("the shell can be run");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace().map(str::to_owned).collect()
}

const UNIT: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

/// With a daemon it is asked; without one the directories are read.
fn completes(shell: &str, options: &[&str], script: &str) {
    if !has(shell) {
        return skipped(&format!("needs {shell}"));
    }
    for daemon in [false, true] {
        let mut instance = Instance::prepared();
        for name in ["web", "worker", "db"] {
            instance.unit(name, UNIT);
        }
        instance.unit_as_is("wide.slice", "[slice]\n");
        if daemon {
            instance.start_daemon();
        }
        let names = completed(&instance, shell, options, script);
        assert_eq!(names, ["web", "worker"], "{shell}, with a daemon: {daemon}");
    }
}

#[test]
fn bash_completes_units_that_are_there() {
    completes(
        "bash",
        &["--norc"],
        r#"source "$ROOT/usr/share/bash-completion/completions/rsvc"
        COMP_WORDS=(rsvc start w); COMP_CWORD=2; _rsvc_with_units rsvc w start; printf '%s\n' "${COMPREPLY[@]}""#,
    );
}

#[test]
fn fish_completes_units_that_are_there() {
    completes(
        "fish",
        &["--no-config"],
        r#"source "$ROOT/usr/share/fish/vendor_completions.d/rsvc.fish"; complete -C "rsvc start w""#,
    );
}

#[test]
fn zsh_completes_units_that_are_there() {
    // Outside of an interactive line there is nothing to complete: the function that offers the names is asked.
    completes(
        "zsh",
        &["-f"],
        r#"fpath=("$ROOT/usr/share/zsh/vendor-completions" $fpath); autoload -U compinit; compinit -u -D
        autoload +X _rsvc; _rsvc --help >/dev/null 2>&1
        compadd() { print -l ${(M)names:#w*} }
        _rsvc_units"#,
    );
}

#[test]
fn each_completion_is_where_its_shell_looks() {
    let tree = staged();
    let root = tree.path().join("root");
    for (path, begins) in [
        ("usr/share/bash-completion/completions/rsvc", "_rsvc() {"),
        ("usr/share/zsh/vendor-completions/_rsvc", "#compdef rsvc"),
        ("usr/share/fish/vendor_completions.d/rsvc.fish", "# Print an optspec"),
    ] {
        let text = fs::read_to_string(root.join(Path::new(path))).expect("a completion");
        assert!(text.trim_start().starts_with(begins), "{path}: {}", text.lines().next().unwrap_or_default());
    }
}
