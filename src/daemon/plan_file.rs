//! `rsvc plan FILE`: what a start would do on this host, without a daemon.

use super::engine::{Engine, Options};
use super::foreground::{read_for_run, understand};
use crate::cgroup::{RootOptions, Tree};
use crate::compile::{Purpose, compile};
use crate::load::{self, Lookup, Trust};
use crate::unit::Unit;
use crate::unit::problem::{Style, render};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Name of the group of an instance with redirected directories: the same for each daemon of it, another for each
/// runtime directory.
pub fn instance_name(runtime_dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    (runtime_dir.display().to_string(), [0_u8; 0].as_slice()).hash(&mut hasher);
    format!("rsvc-{:016x}", hasher.finish())
}

/// What is to be planned.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file, without drop-ins.
    File(PathBuf),
    /// A unit of the search path, with its drop-ins.
    Unit(String),
}

fn read(options: &Options, target: &Target) -> Result<(Unit, String), String> {
    let name = match target {
        Target::File(file) => return read_for_run(file, None),
        Target::Unit(name) => name,
    };
    match load::find(&options.unit_path, name, Trust::Any) {
        Ok(Lookup::Found(found)) => understand(&found, None),
        Ok(Lookup::Masked { file }) => Err(format!("rsvc: {name} is masked by {}\n", file.display())),
        Ok(Lookup::NotFound) => Err(format!("rsvc: {name}: no such unit\n")),
        Err(problem) => Err(render(&[*problem], "", Style::default())),
    }
}

/// Prints the plan of a unit as `rsvc start` would carry it out here; returns the exit code.
pub fn plan_file(options: Options, target: &Target, json: bool) -> u8 {
    let (unit, warnings) = match read(&options, target) {
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
