//! What lies in the search path, seen once: for a daemon that looks for a thousand units in a row.
//!
//! Without it every unit asks for files and directories of a dozen names, nearly none of which exists, and for a system
//! instance for the owner of each directory on the way. A survey answers both from one reading of each directory. It says
//! nothing of the content of files, and is thrown away before anything can have changed that matters: whoever wants to
//! know what is on disk later asks without one.

use super::{Trust, read};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, FileType};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// See the module documentation. The empty one knows nothing, and everything is looked for on disk.
#[derive(Debug, Default)]
pub struct Survey {
    directories: HashMap<PathBuf, Directory>,
}

#[derive(Debug)]
struct Directory {
    entries: HashMap<OsString, FileType>,
    /// Where it really is, if only root can have put something there.
    trusted: OnceLock<Option<PathBuf>>,
}

impl Survey {
    /// Reads every directory of the search path. One that cannot be read is one of which nothing is known.
    pub fn of(paths: &[PathBuf]) -> Survey {
        let read = |path: &PathBuf| {
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?)))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Some(Directory { entries: HashMap::new(), trusted: OnceLock::new() });
                }
                Err(_) => return None,
            };
            let entries = entries.collect::<Result<_, _>>().ok()?;
            Some(Directory { entries, trusted: OnceLock::new() })
        };
        Survey { directories: paths.iter().filter_map(|path| Some((path.clone(), read(path)?))).collect() }
    }

    /// The directory that this path is in, if it was read, and what it has under the path's name.
    fn entry(&self, path: &Path) -> Option<(&Directory, Option<FileType>)> {
        if self.directories.is_empty() {
            return None;
        }
        let directory = self.directories.get(path.parent()?)?;
        Some((directory, directory.entries.get(path.file_name()?).copied()))
    }

    /// Is it known that nothing lies there?
    pub(super) fn is_missing(&self, path: &Path) -> bool {
        matches!(self.entry(path), Some((_, None)))
    }

    /// Is it known that what lies there is no link?
    pub(super) fn is_no_link(&self, path: &Path) -> bool {
        matches!(self.entry(path), Some((_, Some(kind))) if !kind.is_symlink())
    }

    /// Where to open a file that is known to be a regular one in a directory whose files are believed.
    pub(super) fn plain_file(&self, path: &Path, trust: Trust) -> Option<PathBuf> {
        let (directory, kind) = self.entry(path)?;
        if !kind?.is_file() {
            return None;
        }
        if trust == Trust::Any {
            return Some(path.to_path_buf());
        }
        let real = directory.trusted.get_or_init(|| {
            let real = fs::canonicalize(path.parent()?).ok()?;
            read::trusted_directory(&real).is_ok().then_some(real)
        });
        Some(real.as_ref()?.join(path.file_name()?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{UNIT, search_path, write};
    use super::super::{find, find_with};
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Some of everything that `find` tells apart.
    fn fill(paths: &[PathBuf]) {
        let [etc, run, usr] = paths else { panic!("three directories") };
        for (directory, name) in [(etc, "web.toml"), (usr, "web.toml"), (run, "db.toml"), (usr, "job@.toml")] {
            write(directory, name, UNIT);
        }
        write(usr, "large.toml", &" ".repeat(crate::unit::MAX_UNIT_SIZE + 1));
        write(usr, "empty.toml", "");
        symlink("web.toml", etc.join("www.toml")).unwrap();
        symlink("nowhere.toml", etc.join("lost.toml")).unwrap();
        symlink("/dev/null", etc.join("masked.toml")).unwrap();
        fs::create_dir(etc.join("folder.toml")).unwrap();
        for directory in ["web.d", "service.d", "job@.d"] {
            let directory = run.join(directory);
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
            write(&directory, "10-more.toml", "[service]\nnice = 1\n");
        }
        fs::create_dir(usr.join("db.toml.d")).unwrap();
        write(usr, "empty.d", "no directory");
    }

    const NAMES: [&str; 11] =
        ["web", "db", "job@1", "large", "empty", "www", "lost", "masked", "folder", "none", "not a name"];

    #[test]
    fn what_is_found_with_a_survey_is_what_is_found_without() {
        let (top, mut paths) = search_path();
        fill(&paths);
        paths.push(top.path().join("missing"));
        let survey = Survey::of(&paths);
        for trust in [Trust::Any, Trust::RootOnly] {
            for name in NAMES {
                assert_eq!(find_with(&survey, &paths, name, trust), find(&paths, name, trust), "{name} {trust:?}");
            }
        }
    }

    #[test]
    fn who_else_may_write_there_is_found_with_a_survey_too() {
        let (_top, paths) = search_path();
        fill(&paths);
        let file = paths[1].join("db.toml");
        fs::remove_dir(paths[2].join("db.toml.d")).unwrap();
        for (path, mode) in [(&file, 0o666), (&paths[1], 0o777), (&paths[1], 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let without = find(&paths, "db", Trust::RootOnly);
            assert_eq!(find_with(&Survey::of(&paths), &paths, "db", Trust::RootOnly), without, "{mode:o}");
            assert!(without.is_err(), "the file stays writable");
        }
    }

    #[test]
    fn what_is_no_file_any_more_is_not_waited_for_and_not_followed() {
        let (_top, paths) = search_path();
        fill(&paths);
        let survey = Survey::of(&paths);
        let file = paths[1].join("db.toml");
        fs::remove_dir(paths[2].join("db.toml.d")).unwrap();
        let again = |make: &dyn Fn()| {
            fs::remove_file(&file).unwrap();
            make();
            assert_eq!(find_with(&survey, &paths, "db", Trust::Any), find(&paths, "db", Trust::Any));
        };
        again(&|| nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap());
        again(&|| symlink("/dev/null", &file).unwrap());
    }
}
