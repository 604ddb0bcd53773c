//! `rsvc plan FILE`: what a start would do on this host, without a daemon.

use super::engine::{Engine, Options};
use super::foreground::read_for_run;
use crate::cgroup::{RootOptions, Tree};
use crate::compile::{Purpose, compile};
use std::io::Write;
use std::path::Path;

/// Name of the group of an instance with redirected directories: the same for each daemon of it, another for each
/// runtime directory.
pub fn instance_name(runtime_dir: &Path) -> String {
    let print = super::units::fingerprint(&runtime_dir.display().to_string(), b"");
    format!("rsvc-{print:016x}")
}

/// Prints the plan of a file as `rsvc start` would carry it out here; returns the exit code.
pub fn plan_file(options: Options, file: &Path, json: bool) -> u8 {
    let (unit, warnings) = match read_for_run(file, None) {
        Ok(read) => read,
        Err(text) => {
            eprint!("{text}");
            return 6;
        }
    };
    eprint!("{warnings}");
    // The group is made to learn what it offers, and removed again when nothing else is in it.
    let root = RootOptions { root: options.cgroup_root.clone(), name: options.cgroup_name.clone(), recorded: None };
    let tree = Tree::open(&root).ok();
    let mut engine = match Engine::new(options, tree) {
        Ok(engine) => engine,
        Err(error) => {
            eprintln!("rsvc: {error}");
            return 1;
        }
    };
    let facts = engine.facts(&unit);
    if let Some(tree) = &engine.tree {
        let _ = tree.remove_root();
    }
    let plan = match compile(&unit, &facts, Purpose::Main) {
        Ok(plan) => plan,
        Err(errors) => {
            for error in errors {
                eprintln!("{}: {error}", unit.name);
            }
            return 1;
        }
    };
    let mut out = std::io::stdout().lock();
    let written = plan.to_string().lines().try_for_each(|line| {
        if json { writeln!(out, "{}", serde_json::json!({ "v": 1, "line": line })) } else { writeln!(out, "{line}") }
    });
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}
