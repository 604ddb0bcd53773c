//! Paths: what contradicts itself, what is reserved, and programs that the service could not see.

use super::super::decode::Sink;
use super::super::problem::Code;
use super::super::{Isolation, MountKind, PathEntry, ProtectHome, RootfsKind};
use super::Checked;
use std::path::Path;

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    reserved(sink, c);
    contradictions(sink, c);
    directories(sink, c);
    let own_tree = c.settings.namespaces.mount == Isolation::Private;
    if own_tree && c.settings.rootfs.kind == RootfsKind::Host && !c.is_broken("filesystem", "protect_home") {
        hidden(sink, c);
    }
    if own_tree {
        not_executable(sink, c);
    }
    for mount in &c.settings.mounts {
        if let MountKind::Bind { source, .. } = &mount.kind
            && source.starts_with("/dev")
            && mount.options.no_dev
            // Memory and a socket: no devices.
            && ![Path::new("/dev/shm"), Path::new("/dev/log")].contains(&source.as_path())
        {
            let place = c.values.mounts.iter().find(|m| m.index == mount.index);
            let place = place.map_or(0..0, |m| m.span.clone());
            let message = format!("{} is bound without the option `dev`: its nodes cannot be opened", source.display());
            let help = Some("use devices.allow, or add \"dev\" to the options".to_owned());
            sink.add(Code::Conflict, place, &format!("mounts[{}].source", mount.index), message, help);
        }
    }
}

fn lists<'c>(c: &'c Checked<'_>) -> [(&'static str, &'c [PathEntry]); 6] {
    let f = &c.settings.filesystem;
    [
        ("read_write_paths", &f.read_write_paths),
        ("read_only_paths", &f.read_only_paths),
        ("inaccessible_paths", &f.inaccessible_paths),
        ("temporary_paths", &f.temporary_paths),
        ("exec_paths", &f.exec_paths),
        ("no_exec_paths", &f.no_exec_paths),
    ]
}

fn reserved(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let directory = &c.settings.service.working_directory;
    if directory.starts_with("/proc") || directory.starts_with("/dev/fd") {
        let message = "`working_directory` in /proc could be a descriptor that leads out of the sandbox";
        let place = c.value_place("service", "working_directory");
        sink.add(Code::ReservedPath, place, "service.working_directory", message, None);
    }
    for (key, entries) in lists(c) {
        for (n, entry) in entries.iter().enumerate() {
            let root = entry.path == Path::new("/");
            let problem = match key {
                "inaccessible_paths" | "temporary_paths" if root => "the whole tree cannot be hidden; see rootfs.type",
                "temporary_paths" if entry.path.starts_with("/proc") => "nothing can be mounted in /proc",
                "inaccessible_paths" | "temporary_paths"
                    if ["/proc", "/dev"].iter().any(|p| entry.path == Path::new(p)) =>
                {
                    "this directory is made by rsvc itself"
                }
                _ => continue,
            };
            let place = c.item_place("filesystem", key, n);
            sink.add(Code::ReservedPath, place, &format!("filesystem.{key}"), problem, None);
        }
    }
}

/// The same path in two lists that exclude each other, or twice in one.
fn contradictions(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let all = lists(c);
    for (n, (key, entries)) in all.iter().enumerate() {
        if !c.is_written("filesystem", key) {
            continue;
        }
        for (i, entry) in entries.iter().enumerate() {
            let place = || c.item_place("filesystem", key, i);
            let dotted = format!("filesystem.{key}");
            if entries[..i].iter().any(|e| e.path == entry.path) {
                let message = format!("{} is listed twice", entry.path.display());
                sink.add(Code::Repeated, place(), &dotted, message, None);
            }
            let about_exec = key.contains("exec");
            let other = all[..n].iter().find(|(other, list)| {
                other.contains("exec") == about_exec && list.iter().any(|e| e.path == entry.path)
            });
            if let Some((other, _)) = other {
                let message = format!("{} is in `{key}` and in `{other}`", entry.path.display());
                sink.add(Code::Conflict, place(), &dotted, message, None);
            }
        }
    }
}

fn directories(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let d = &c.settings.directories;
    let all = [
        ("runtime", &d.runtime),
        ("state", &d.state),
        ("cache", &d.cache),
        ("logs", &d.logs),
        ("configuration", &d.configuration),
    ];
    for (key, names) in all {
        for (n, name) in names.iter().enumerate() {
            let dotted = format!("directories.{key}");
            if name.starts_with("rsvc") {
                let message = format!("`{}` belongs to rsvc itself", name.display());
                sink.add(Code::ReservedPath, c.item_place("directories", key, n), &dotted, message, None);
            }
            if names[..n].contains(name) {
                let message = format!("`{}` is listed twice", name.display());
                sink.add(Code::Repeated, c.item_place("directories", key, n), &dotted, message, None);
            }
        }
    }
}

/// Does anything of the unit put something at `path`?
fn is_opened(c: &Checked<'_>, path: &Path) -> bool {
    let f = &c.settings.filesystem;
    let named = [&f.read_write_paths, &f.read_only_paths, &f.exec_paths];
    named.iter().any(|list| list.iter().any(|e| path.starts_with(&e.path) && e.path != Path::new("/")))
        || c.settings.mounts.iter().any(|m| path.starts_with(&m.destination))
}

fn hidden(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let f = &c.settings.filesystem;
    let below = |path: &Path, roots: &[&'static str]| roots.iter().find(|r| path.starts_with(r)).copied();
    let why = |path: &Path| -> Option<(String, &'static str)> {
        if is_opened(c, path) {
            return None;
        }
        let home = below(path, &["/home", "/root", "/run/user"]).filter(|_| f.protect_home == ProtectHome::Hidden);
        let tmp = below(path, &["/tmp", "/var/tmp"]).filter(|_| f.private_tmp);
        let masked = f.inaccessible_paths.iter().chain(&f.temporary_paths);
        let masked = masked.filter(|e| e.path != Path::new("/")).find(|e| path.starts_with(&e.path));
        match (home, tmp, masked) {
            (Some(home), _, _) => {
                Some((format!("{home} is hidden by filesystem.protect_home"), "protect_home = \"off\""))
            }
            (_, Some(tmp), _) => {
                Some((format!("{tmp} is the service's own (filesystem.private_tmp)"), "private_tmp = false"))
            }
            (_, _, Some(entry)) => {
                Some((format!("{} is hidden", entry.path.display()), "nothing about it in [filesystem]"))
            }
            _ => None,
        }
    };
    let exec = &c.settings.service.exec;
    let Some(program) = exec.first() else { return };
    if let Some((why, way)) = why(Path::new(program)) {
        let message = format!("the service would not find {program}: {why}");
        let help = format!("move the program, or write {way}, or bind it with [[mounts]]");
        sink.add(Code::Hidden, c.item_place("service", "exec", 0), "service.exec", message, Some(help));
    }
    for (n, argument) in exec.iter().enumerate().skip(1) {
        let path = argument.split_once('=').map_or(argument.as_str(), |(_, value)| value);
        if let (true, Some((why, way))) = (path.starts_with('/'), why(Path::new(path))) {
            let message = format!("the service will not see {path}: {why}");
            let help = Some(format!("use another place, or write {way}"));
            sink.add(Code::HiddenArgument, c.item_place("service", "exec", n), "service.exec", message, help);
            return;
        }
    }
    let directory = &c.settings.service.working_directory;
    if let (true, Some((why, way))) = (c.is_written("service", "working_directory"), why(directory)) {
        // An empty private /tmp is a fine place to start in.
        if directory != Path::new("/tmp") && directory != Path::new("/var/tmp") {
            let message = format!("the service would not find its working directory {}: {why}", directory.display());
            let place = c.value_place("service", "working_directory");
            sink.add(Code::Hidden, place, "service.working_directory", message, Some(format!("write {way}")));
        }
    }
}

/// The longest of `exec_paths` and `no_exec_paths` decides.
fn not_executable(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let f = &c.settings.filesystem;
    let Some(program) = c.settings.service.exec.first().filter(|p| p.starts_with('/')) else { return };
    let longest = |list: &[PathEntry]| {
        let covers = list.iter().filter(|e| Path::new(program).starts_with(&e.path));
        covers.map(|e| e.path.components().count()).max()
    };
    let Some(denied) = longest(&f.no_exec_paths) else { return };
    if longest(&f.exec_paths).is_none_or(|allowed| allowed < denied) {
        let message = format!("{program} lies where nothing may be executed (filesystem.no_exec_paths)");
        let help = "add its directory to filesystem.exec_paths".to_owned();
        sink.add(Code::Hidden, c.item_place("service", "exec", 0), "service.exec", message, Some(help));
    }
}
