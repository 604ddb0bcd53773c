//! `[[mounts]]`: their options, and what cannot be mounted where.

use super::super::decode::{MountEntry, Sink, Value, Values};
use super::super::layer;
use super::super::problem::Code;
use super::super::value::{Bad, absolute_path, byte_size, file_mode, nearest};
use super::super::{Mount, MountKind, MountOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};

const FLAGS: [&str; 17] = [
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "atime", "relatime", "bind", "rbind",
    "optional", "private", "rprivate", "defaults",
];

/// What the options of one mount say.
#[derive(Default)]
struct Words {
    options: MountOptions,
    bind_only: bool,
    lower: Vec<PathBuf>,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
}

/// Builds all mounts, in order. Broken ones are left out; their problems are reported.
pub(super) fn assemble(sink: &mut Sink<'_>, values: &mut Values) -> Vec<Mount> {
    let mut entries = std::mem::take(&mut values.mounts);
    let mut mounts: Vec<Mount> = Vec::new();
    for entry in &mut entries {
        let attempted = entry.values.attempted.contains(&("mounts", "destination"));
        layer::entry_defaults(&mut entry.values);
        if let Some(mount) = one(sink, entry, attempted) {
            if mounts.iter().any(|m| m.destination == mount.destination) {
                let message = format!("{} is mounted twice", mount.destination.display());
                let help = Some("the later mount would hide the earlier one".to_owned());
                sink.add(Code::Conflict, place(entry, "destination"), &key(entry, "destination"), message, help);
            }
            mounts.push(mount);
        }
    }
    values.mounts = entries;
    mounts
}

fn key(entry: &MountEntry, name: &str) -> String {
    format!("mounts[{}].{name}", entry.index)
}

/// The value's place, or the header's.
fn place(entry: &MountEntry, name: &'static str) -> Range<usize> {
    entry.values.place("mounts", name).map_or(entry.span.clone(), |p| p.value.clone())
}

fn one(sink: &mut Sink<'_>, entry: &MountEntry, attempted: bool) -> Option<Mount> {
    let get = |name| entry.values.get("mounts", name).map(|e| &e.value);
    let (Some(Value::Word(kind)), Some(Value::Texts(options))) = (get("type"), get("options")) else { return None };
    let Some(Value::Path(destination)) = get("destination") else {
        if !attempted {
            let message = "`destination` is missing in [[mounts]]";
            sink.add(Code::Missing, entry.span.clone(), &key(entry, "destination"), message, None);
        }
        return None;
    };
    if let Some(message) = reserved(destination, kind) {
        let help = Some("the unit has a /proc of its own; see filesystem.protect_proc".to_owned());
        let help = help.filter(|_| destination.starts_with("/proc"));
        sink.add(Code::ReservedPath, place(entry, "destination"), &key(entry, "destination"), message, help);
    }
    let words = words(sink, entry, kind, options)?;
    let source = match get("source") {
        Some(Value::Path(path)) => Some(path.clone()),
        _ => None,
    };
    if source.is_some() && *kind != "bind" {
        let message = format!("`source` has no meaning for a mount of type {kind}");
        sink.add(Code::NoEffect, place(entry, "source"), &key(entry, "source"), message, None);
    }
    let kind = match *kind {
        "tmpfs" => MountKind::Tmpfs,
        "proc" => MountKind::Proc,
        "mqueue" => MountKind::Mqueue,
        "sysfs" => MountKind::Sysfs,
        "overlay" => overlay(sink, entry, &words)?,
        _ => {
            let Some(source) = source else {
                let broken = entry.values.attempted.contains(&("mounts", "type"))
                    && entry.values.place("mounts", "type").is_none();
                if !broken && !entry.values.attempted.contains(&("mounts", "source")) {
                    let message = "`source` is missing: which path of the host is to be bound?";
                    sink.add(Code::Missing, entry.span.clone(), &key(entry, "source"), message, None);
                }
                return None;
            };
            MountKind::Bind { source, recursive: !words.bind_only }
        }
    };
    Some(Mount { destination: destination.clone(), kind, options: words.options, index: entry.index })
}

/// Why nothing may be mounted there.
fn reserved(destination: &Path, kind: &str) -> Option<String> {
    let own_proc = destination == Path::new("/proc") && kind == "proc";
    if destination == Path::new("/") {
        return Some("nothing can be mounted on /: that is [rootfs]".to_owned());
    }
    if destination.starts_with("/proc") && !own_proc {
        return Some(format!("nothing can be mounted on {}", destination.display()));
    }
    if destination.starts_with("/dev/rsvc") || destination == Path::new("/dev") {
        return Some(format!("{} is made by rsvc itself", destination.display()));
    }
    None
}

fn overlay(sink: &mut Sink<'_>, entry: &MountEntry, words: &Words) -> Option<MountKind> {
    if words.lower.is_empty() {
        let message = "an overlay needs the option `lowerdir=`";
        sink.add(Code::Incomplete, place(entry, "options"), &key(entry, "options"), message, None);
        return None;
    }
    let upper = match (&words.upper, &words.work) {
        (None, None) => None,
        (Some(upper), Some(work)) if is_pair(upper, work) => Some(upper.clone()),
        _ => {
            let message = "`upperdir=` and `workdir=` are given together, as DIR/upper and DIR/work";
            sink.add(Code::Incomplete, place(entry, "options"), &key(entry, "options"), message, None);
            return None;
        }
    };
    Some(MountKind::Overlay { lower: words.lower.clone(), upper })
}

fn is_pair(upper: &Path, work: &Path) -> bool {
    upper.ends_with("upper") && work.ends_with("work") && upper.parent() == work.parent()
}

fn words(sink: &mut Sink<'_>, entry: &MountEntry, kind: &str, options: &[String]) -> Option<Words> {
    // A mount brings neither set-uid programs nor device nodes unless it says so.
    let secure = MountOptions { no_suid: true, no_dev: true, ..MountOptions::default() };
    let mut words = Words { options: secure, ..Words::default() };
    let places = entry.values.place("mounts", "options").map(|p| p.items.clone()).unwrap_or_default();
    let mut good = true;
    for (n, option) in options.iter().enumerate() {
        if let Err(bad) = word(&mut words, kind, option) {
            let span = places.get(n).cloned().unwrap_or(entry.span.clone());
            sink.add(bad.code, span, &key(entry, "options"), bad.message, bad.help);
            good = false;
        }
    }
    good.then_some(words)
}

fn word(words: &mut Words, kind: &str, option: &str) -> Result<(), Bad> {
    let bad = |why: &str| Bad::new(Code::BadMountOption, format!("`{}` {why}", option.escape_debug()));
    let set = &mut words.options;
    match (option, kind) {
        ("ro", _) => set.read_only = true,
        ("rw", _) => set.read_only = false,
        ("nosuid", _) => set.no_suid = true,
        ("suid", _) => set.no_suid = false,
        ("nodev", _) => set.no_dev = true,
        ("dev", _) => set.no_dev = false,
        ("noexec", _) => set.no_exec = true,
        ("exec", _) => set.no_exec = false,
        ("noatime", _) => set.no_atime = true,
        ("optional", _) => set.optional = true,
        ("bind", "bind") => words.bind_only = true,
        ("rbind", "bind") => words.bind_only = false,
        ("bind" | "rbind", _) => return Err(bad("is for mounts of type bind")),
        // What holds anyway.
        ("atime" | "relatime" | "private" | "rprivate" | "defaults", _) => {}
        ("shared" | "rshared" | "slave" | "rslave" | "nosymfollow" | "idmap" | "ridmap", _) => {
            return Err(Bad::new(Code::NotSupported, format!("the mount option `{option}` is not supported yet")));
        }
        _ => return with_value(words, kind, option),
    }
    Ok(())
}

fn with_value(words: &mut Words, kind: &str, option: &str) -> Result<(), Bad> {
    let bad = |why: &str| Bad::new(Code::BadMountOption, format!("`{}` {why}", option.escape_debug()));
    let Some((name, value)) = option.split_once('=') else {
        return Err(match nearest(option, FLAGS) {
            Some(near) => bad("is not a mount option").help(format!("did you mean `{near}`?")),
            None if option.starts_with("read") => bad("is not a mount option").help("write `ro` or `rw`"),
            None => bad("is not a mount option").help("`rsvc explain mounts.options` lists them"),
        });
    };
    let number = || value.parse::<u32>().map_err(|_| bad("is not a number"));
    let data = match (name, kind) {
        ("size", "tmpfs") => byte_size(value).and_then(|bytes| match bytes {
            0 | u64::MAX => Err(bad("must be larger than 0, and finite")),
            _ => Ok(bytes.to_string()),
        })?,
        ("mode", "tmpfs") => format!("{:o}", file_mode(value)?),
        ("nr_inodes", "tmpfs") => value.parse::<u64>().map_err(|_| bad("is not a number"))?.to_string(),
        ("uid" | "gid", "tmpfs") => number()?.to_string(),
        ("lowerdir", "overlay") => {
            words.lower = value.split(':').map(absolute_path).collect::<Result<_, _>>()?;
            return Ok(());
        }
        ("upperdir", "overlay") => {
            words.upper = Some(absolute_path(value)?);
            return Ok(());
        }
        ("workdir", "overlay") => {
            words.work = Some(absolute_path(value)?);
            return Ok(());
        }
        _ => return Err(bad(&format!("is not an option of a mount of type {kind}"))),
    };
    words.options.data.retain(|(known, _)| known != name);
    words.options.data.push((name.to_owned(), data));
    Ok(())
}
