//! Ids that subuid(5) and subgid(5) give to the ordinary user who runs rsvc, and newuidmap(1) and newgidmap(1), which write
//! them into the maps of a user namespace: the kernel takes only the own id from such a user.
//!
//! Only the files are read. A host that keeps the ranges elsewhere (`subid:` in nsswitch.conf(5)) gives none.

use crate::compile::Subordinate;
use crate::plan::IdMaps;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Lines that the kernel takes in a map (since 4.15), without the one for the own id.
const MOST: usize = 339;

/// Where a tool is looked for behind `PATH`.
const PLACES: &str = "/usr/bin:/bin:/usr/sbin:/sbin:/run/wrappers/bin";

/// One of the two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Group,
}

impl Kind {
    fn tool(self) -> &'static str {
        match self {
            Kind::User => "newuidmap",
            Kind::Group => "newgidmap",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Kind::User => "subuid",
            Kind::Group => "subgid",
        }
    }
}

/// What a user has. `name` is its name, `own` its uid and gid; the files are in `directory`, which is `/etc`.
pub(super) fn find(name: &str, own: (u32, u32), directory: &Path) -> Subordinate {
    for kind in [Kind::User, Kind::Group] {
        if tool(kind).is_none() {
            return Subordinate::Missing {
                why: format!("{}(1), which maps other ids, is not installed", kind.tool()),
                remedy: "install it (package uidmap or shadow), or run rsvc as root".to_owned(),
            };
        }
    }
    let ranges = |kind: Kind, id: u32| {
        let path = directory.join(kind.file());
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let found = granted(&text, name, own.0, id);
        if found.is_empty() { Err(format!("{} gives {name} no ids", path.display())) } else { Ok(found) }
    };
    match (ranges(Kind::User, own.0), ranges(Kind::Group, own.1)) {
        (Ok(uid), Ok(gid)) => Subordinate::Granted { uid, gid },
        (Err(why), _) | (_, Err(why)) => Subordinate::Missing {
            why,
            remedy: format!(
                "as root: usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST {name}, with 65536 ids that nobody has; \
                 or run rsvc as root"
            ),
        },
    }
}

/// Ranges of a user in subuid(5), which names it by name or uid. `id` is the own one, which is mapped already.
fn granted(text: &str, name: &str, uid: u32, id: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let mut all: Vec<(u32, u32)> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [who, first, count] = fields[..] else { continue };
        let (Ok(first), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) else { continue };
        // Beyond the last id, of which there is none.
        let count = count.min(u32::MAX - first);
        let clash = |(other, size): (u32, u32)| first < other.saturating_add(size) && other < first + count;
        let is_usable = count > 0 && !clash((id, 1)) && !all.iter().any(|range| clash(*range));
        if (who == name || who == number) && is_usable && all.len() < MOST {
            all.push((first, count));
        }
    }
    all
}

/// Writes both maps of a process that waits in a new user namespace.
///
/// # Errors
/// With the name of the file below `/proc/PID`, and what the tool said.
pub(super) fn write_maps(pid: i32, maps: &IdMaps) -> Result<(), (&'static str, io::Error)> {
    write_map(Kind::Group, pid, &maps.gid).map_err(|error| ("gid_map", error))?;
    write_map(Kind::User, pid, &maps.uid).map_err(|error| ("uid_map", error))
}

fn write_map(kind: Kind, pid: i32, lines: &[(u32, u32, u32)]) -> io::Result<()> {
    let name = kind.tool();
    let path = tool(kind).ok_or_else(|| io::Error::other(format!("{name}(1) is gone")))?;
    let numbers = lines.iter().flat_map(|(inside, outside, count)| [*inside, *outside, *count]);
    // As `getent` is called: nothing in between that takes code.
    let said = Command::new(&path)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    if said.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&said.stderr).trim().replace('\n', "; ").escape_debug().to_string();
    let words = if words.is_empty() { format!("{name}: {}", said.status) } else { words };
    Err(io::Error::other(format!(
        "{words}\n  hint: {} must give these ids, and {} must be setuid root or have the capability",
        Path::new("/etc").join(kind.file()).display(),
        path.display()
    )))
}

fn tool(kind: Kind) -> Option<PathBuf> {
    let own = env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = env::split_paths(&own).chain(env::split_paths(PLACES)).collect();
    let files = places.into_iter().filter(|place| place.is_absolute()).map(|place| place.join(kind.tool()));
    let is_program = |path: &Path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    files.into_iter().find(|path| is_program(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number_and_what_overlaps_or_is_no_range_is_passed_over() {
        let text = "# alice:1:1\nalice:100000:65536\nbob:165536:65536\n1000:300000:10\nalice:300005:10\nalice:x:1\nalice:9\n\
                    alice:999:2\nalice:400000:0\nalice:4294967290:100\n";
        assert_eq!(granted(text, "alice", 1000, 1000), [(100_000, 65536), (300_000, 10), (4_294_967_290, 5)]);
        assert_eq!(granted(text, "carol", 1001, 1001), []);
    }

    #[test]
    fn a_user_without_ranges_is_told_which_file_and_what_to_do() {
        if tool(Kind::User).is_none() || tool(Kind::Group).is_none() {
            skipped!("newuidmap(1) and newgidmap(1) are not installed");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let found = |uid: &str, gid: &str| {
            fs::write(directory.path().join("subuid"), uid).unwrap();
            fs::write(directory.path().join("subgid"), gid).unwrap();
            find("alice", (1000, 1000), directory.path())
        };
        let range = "alice:100000:65536\n";
        let all = vec![(100_000, 65536)];
        assert_eq!(found(range, range), Subordinate::Granted { uid: all.clone(), gid: all });
        for (uid, gid, file) in [("", range, "subuid"), (range, "", "subgid")] {
            let Subordinate::Missing { why, remedy } = found(uid, gid) else { panic!("{file}") };
            assert!(why.contains(file) && why.contains("alice") && remedy.contains("usermod"), "{why} {remedy}");
        }
    }
}
