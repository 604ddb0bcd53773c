//! One unit, started without something and then with it.

use crate::instance::{Instance, Said};
use crate::judge::Judged;
use crate::missing::{ByDefault, Missing};
use crate::rows::Row;
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs;

/// What the main process says, and nobody else.
pub const RAN: &str = "the main process ran";

/// What the roots of some rows need.
pub fn prepare(instance: &Instance) {
    let root = instance.file("root");
    for directory in ["dev", "proc", "sys", "run", "tmp", "var/tmp", "etc", "usr"] {
        fs::create_dir_all(root.join(directory)).expect("directory");
    }
    instance.unit_as_is("closed.slice", "[resources]\ntasks_max = 100\n");
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).expect("link");
    }
}

/// A unit of dotted keys, each on its line; the number of the line with `key`.
pub fn write(instance: &Instance, name: &str, profile: &str, lines: &[&str], key: &str) -> usize {
    let place = instance.path().display().to_string();
    let text = format!(
        "service.exec = [\"/bin/sh\", \"-c\", \"echo {RAN}; exec sleep 1000\"]\nservice.timeout_stop = \"2s\"\n\
         restart.policy = \"no\"\nlogging.target = \"file\"\nsecurity.profile = \"{profile}\"\n{}\n",
        lines.join("\n").replace("{place}", &place).replace("{disk}", &disk())
    );
    instance.unit_as_is(name, &text);
    // A key of an element stands where its list does.
    let is_it = |line: &str| line.starts_with(&format!("{key} =")) || line.starts_with(&format!("{} =", table(key)));
    text.lines().position(is_it).map_or(0, |line| line + 1)
}

/// Numbers of a disk; of one that is not there, where there is none.
fn disk() -> String {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut disks = devices.filter(|device| device.path().join("device").exists());
    let number = disks.find_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
    number.map_or("8:0".to_owned(), |number| number.trim().to_owned())
}

fn table(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

fn times_run(instance: &Instance, name: &str) -> usize {
    instance.log(name).matches(RAN).count()
}

/// Everything that is wrong with a row.
pub fn row(judged: &Judged, number: usize, row: &Row) -> Vec<String> {
    let Row { key, missing, .. } = row;
    let name = format!("r{number}");
    let instance = &judged.instance;
    let lines = [if row.own_mounts { "namespaces.mount = \"private\"" } else { "" }, row.asks];
    let named = row.named.unwrap_or(key);
    let line = write(instance, &name, "host", &lines, named);
    let mut wrong = Vec::new();
    let (said, answered) = judged.without(missing.fault, |instance| instance.rsvc(&["start", &name]));
    let refused = is_refused(&said, &mut wrong);
    if refused {
        let errno = (answered.times > 0).then_some(answered.last);
        wrong.extend(unnamed(&said, named, &format!("{name}.toml:{line}"), errno));
    }
    if answered.times == 0 && !row.is_rare {
        wrong.push("nothing that it does needs what is missing".to_owned());
    }
    instance.rsvc(&["stop", &name]).expect(0);
    // With it the unit starts: so it is this that was missing, and what ran before would have been heard by now.
    let said = instance.rsvc(&["start", &name]);
    if said.code == 0 {
        instance.wait_for_log(&name, RAN);
        instance.rsvc(&["stop", &name]).expect(0);
    } else if row.is_rare {
        skipped!("{key} with {}: this host has none: {}", missing.name, said.err.trim_end());
    } else {
        wrong.push(format!("cannot be started with it either: {}", said.err));
    }
    let times = times_run(instance, &name);
    if times > usize::from(said.code == 0) {
        wrong.push(format!("ran {times} times, and was to run once: the refused one has run"));
    }
    let about = format!("{key} without {}:", missing.name);
    if wrong.is_empty() { wrong } else { vec![format!("{about} {}", wrong.join("\n  "))] }
}

fn is_refused(said: &Said, wrong: &mut Vec<String>) -> bool {
    if said.code != 1 {
        wrong.push(format!("was not refused: {said:?}"));
    }
    said.code == 1
}

/// Key, or the place where it stands; cause; remedy.
fn unnamed(said: &Said, key: &str, place: &str, errno: Option<i32>) -> Vec<String> {
    let mut lacks = Vec::new();
    if !said.err.contains(key) && !said.err.contains(place) {
        lacks.push(format!("neither {key} nor {place}"));
    }
    let told = |errno: i32| {
        said.err.contains(Errno::from_raw(errno).desc()) || said.err.contains(&format!("os error {errno})"))
    };
    // It has no words.
    let is_mute = said.err.contains("the resident init could not");
    if let Some(errno) = errno.filter(|errno| !told(*errno) && !is_mute) {
        lacks.push(format!("no {:?}", Errno::from_raw(errno)));
    }
    if !said.err.contains("hint: ") {
        lacks.push("no hint".to_owned());
    }
    if lacks.is_empty() { lacks } else { vec![format!("{} in: {}", lacks.join(", "), said.err)] }
}

/// What status calls degraded.
pub fn degraded(instance: &Instance, name: &str) -> BTreeSet<String> {
    let status = instance.status(name);
    let lines = status["degraded"].as_array().cloned().unwrap_or_default();
    lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect()
}

/// The same for a unit that says nothing.
pub fn default(judged: &Judged, missing: &Missing) -> Vec<String> {
    let instance = &judged.instance;
    let name = "plain";
    let _ = fs::remove_file(instance.file("state/log/plain.log"));
    write(instance, name, "standard", &[], "");
    let (said, answered) = judged.without(missing.fault, |instance| instance.rsvc(&["start", name]));
    let found = match (said.code, answered.times) {
        (0, 0) => Some(ByDefault::NotUsed),
        (0, _) => None,
        _ if times_run(instance, name) > 0 => None,
        _ => Some(ByDefault::Refused),
    };
    let mut wrong = Vec::new();
    if found != Some(missing.by_default) {
        wrong.push(format!(
            "a plain unit without {}: {found:?} ({} calls), and not {:?}: {said:?} {:?}",
            missing.name,
            answered.times,
            missing.by_default,
            degraded(instance, name)
        ));
    } else if found == Some(ByDefault::Refused) {
        wrong.extend(unnamed(&said, "set by default: ", "asked for by", Some(answered.last)));
    }
    instance.rsvc(&["stop", name]).expect(0);
    wrong
}
