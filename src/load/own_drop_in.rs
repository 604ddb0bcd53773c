//! The drop-in that `rsvc set --persist` writes: `NAME.d/90-set.toml` in the first directory of the search path.
//!
//! It is a list of `key = value`, one a line, below a line that says whose it is. A file of that name without that line,
//! or with anything else in it, is somebody's own work and is left alone. For an instance of a template NAME is the
//! instance's, so that the other instances keep what they have.

use super::{DropIn, Found, Trust, read};
use crate::unit::Assignment;
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Behind the drop-ins that people number up to 89, before those that are to have the last word.
const FILE: &str = "90-set.toml";

/// First line; a file without it is not ours.
const HEADER: &str = "# Written by `rsvc set --persist`, which takes lines `key = value` back and replaces them.";

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDropIn {
    path: PathBuf,
    values: BTreeMap<String, String>,
}

impl OwnDropIn {
    /// Reads what was kept of a unit so far; nothing where there is no such file.
    ///
    /// # Errors
    /// A sentence for people: the search path is empty, the file is not ours or cannot be read.
    pub fn of(paths: &[PathBuf], unit: &str, trust: Trust) -> Result<OwnDropIn, String> {
        let directory = paths.first().ok_or("there is no unit directory to write to")?;
        let path = directory.join(format!("{unit}.d")).join(FILE);
        let shown = path.display();
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(format!("{shown} is not a regular file: what it means would be lost"));
        }
        let bytes = match read::read(&path, trust).map_err(|problem| format!("{shown}: {}", problem.message))? {
            read::Content::Missing => Vec::new(),
            read::Content::Null => return Err(format!("{shown} is a mask")),
            read::Content::Bytes(bytes) => bytes,
        };
        let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
        let values =
            if text.is_empty() { BTreeMap::new() } else { values(&text).map_err(|why| format!("{shown}{why}"))? };
        Ok(OwnDropIn { path, values })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the value of a key; an empty one takes it back. What lies inside of a key that is set as a whole is
    /// replaced with it.
    ///
    /// # Errors
    /// A sentence for people: the key lies inside of one that is set as a whole.
    pub fn change(&mut self, assignment: Assignment) -> Result<(), String> {
        let Assignment { key, value } = assignment;
        let inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
        if let Some(outer) = self.values.keys().find(|known| inside(&key, known)) {
            let file = self.path.display();
            return Err(format!("`{outer}` is set as a whole in {file}, so `{key}` cannot be set alone"));
        }
        self.values.retain(|known, _| !inside(known, &key));
        if value.is_empty() {
            self.values.remove(&key)
        } else {
            self.values.insert(key, value)
        };
        Ok(())
    }

    fn text(&self) -> String {
        let lines = self.values.iter().map(|(key, value)| format!("{key} = {value}\n"));
        std::iter::once(format!("{HEADER}\n")).chain(lines).collect()
    }

    /// The unit as it is read when this is written.
    pub fn applied_to(&self, found: &Found) -> Found {
        let mut changed = found.clone();
        let name = |drop_in: &DropIn| drop_in.file.file_name().unwrap_or_default().to_owned();
        changed.drop_ins.retain(|drop_in| drop_in.file != self.path);
        if !self.values.is_empty() {
            // Of files of one name the most specific one, highest in the search path, applies: this one.
            changed.drop_ins.retain(|drop_in| name(drop_in) != FILE);
            let own = DropIn { file: self.path.clone(), bytes: self.text().into_bytes() };
            let place = changed.drop_ins.partition_point(|drop_in| name(drop_in).as_os_str() < FILE);
            changed.drop_ins.insert(place, own);
        }
        changed
    }

    /// Writes the file whole, so that whoever reads it, or looks after a crash of the machine, finds the old content or
    /// the new one. Without values it is removed. Readable by those who can read `unit`, the unit's own file.
    ///
    /// # Errors
    /// What was tried and why it failed.
    pub fn write(&self, unit: &Path) -> Result<(), String> {
        let failed = |doing: &str, path: &Path| {
            let (doing, path) = (doing.to_owned(), path.display().to_string());
            move |error: io::Error| format!("cannot {doing} {path}: {error}")
        };
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if self.values.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.path)(error)),
                _ => {
                    // It stays while anything else is in it.
                    let _ = fs::remove_dir(directory);
                    Ok(())
                }
            };
        }
        match fs::DirBuilder::new().mode(0o755).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make the directory", directory)(error));
            }
            _ => {}
        }
        let mode = fs::metadata(unit).map_or(0o644, |found| found.mode() & 0o444 | 0o200);
        self.replace(mode).map_err(failed("write", &self.path))?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("write", directory))
    }

    fn replace(&self, mode: u32) -> io::Result<()> {
        // The dot keeps it from being read as a drop-in.
        let temporary = self.path.with_file_name(format!(".{FILE}.new"));
        let _ = fs::remove_file(&temporary);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(CWD, &temporary, flags, Mode::from_raw_mode(0o600))?);
        let written = file
            .write_all(self.text().as_bytes())
            .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// The values of a file that is ours, by key.
fn values(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut lines = (1..).zip(text.lines());
    if lines.next().is_none_or(|(_, line)| line != HEADER) {
        return Err(" was not written by `rsvc set --persist`: change it by hand, or give it another name".to_owned());
    }
    let mut values = BTreeMap::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
        let plain = Assignment::new(key, "").is_ok() && !value.is_empty();
        if !plain || format!("x = {value}").parse::<toml::Table>().is_err() {
            return Err(format!(
                ":{number}: this line is not one `key = value`: change the file by hand, or remove it"
            ));
        }
        values.insert(key.to_owned(), value.to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(own: &mut OwnDropIn, word: &str) -> Result<(), String> {
        own.change(Assignment::parse(word).expect("an assignment"))
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let unit = directory.path().join("web.toml");
        fs::write(&unit, "[service]\nexec = [\"/bin/true\"]\n").expect("a unit");
        (directory, unit)
    }

    #[test]
    fn what_is_set_later_replaces_its_key_and_leaves_the_others() {
        let (directory, unit) = place();
        let paths = [directory.path().to_owned()];
        let read = || OwnDropIn::of(&paths, "web", Trust::Any).expect("it is ours");
        let mut own = read();
        set(&mut own, "resources.memory_max=1G").unwrap();
        set(&mut own, "service.umask=0077").unwrap();
        own.write(&unit).unwrap();
        let mut own = read();
        set(&mut own, "resources.memory_max=2G").unwrap();
        own.write(&unit).unwrap();
        let text = fs::read_to_string(own.path()).unwrap();
        assert_eq!(text, format!("{HEADER}\nresources.memory_max = \"2G\"\nservice.umask = \"0077\"\n"));
        assert_eq!(fs::metadata(own.path()).unwrap().mode() & 0o777, 0o644);
        for key in ["service.umask=", "resources.memory_max="] {
            set(&mut own, key).unwrap();
        }
        own.write(&unit).unwrap();
        assert!(!directory.path().join("web.d").exists(), "nothing is left");
    }

    #[test]
    fn a_key_as_a_whole_and_a_part_of_it_exclude_each_other() {
        let mut own = OwnDropIn { path: "/x/web.d/90-set.toml".into(), values: BTreeMap::new() };
        set(&mut own, "service.environment.A=1").unwrap();
        set(&mut own, "service.environment={ B = \"2\" }").unwrap();
        assert_eq!(own.text(), format!("{HEADER}\nservice.environment = {{ B = \"2\" }}\n"));
        assert!(set(&mut own, "service.environment.A=1").unwrap_err().contains("as a whole"));
    }

    #[test]
    fn what_others_have_written_is_left_alone() {
        let (directory, _) = place();
        let paths = [directory.path().to_owned()];
        fs::create_dir(directory.path().join("web.d")).unwrap();
        let file = directory.path().join("web.d").join(FILE);
        for (text, reason) in [
            ("[service]\numask = \"0077\"\n".to_owned(), "was not written by"),
            (format!("{HEADER}\n[service]\n"), ":2: "),
            (format!("{HEADER}\n\nservice.umask = 0 # why\nservice.user = [\n"), ":4: "),
        ] {
            fs::write(&file, &text).unwrap();
            let error = OwnDropIn::of(&paths, "web", Trust::Any).unwrap_err();
            assert!(error.contains(reason) && error.contains("90-set.toml"), "{text}: {error}");
        }
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/null", &file).unwrap();
        assert!(OwnDropIn::of(&paths, "web", Trust::Any).is_err(), "a mask");
    }

    #[test]
    fn it_applies_in_the_order_of_names() {
        let (directory, unit) = place();
        let drop_in = |name: &str| DropIn { file: directory.path().join("web.d").join(name), bytes: Vec::new() };
        let found = Found {
            name: "web".to_owned(),
            file: unit,
            bytes: Vec::new(),
            drop_ins: vec![drop_in("10-a.toml"), drop_in("90-set.toml"), drop_in("95-last.toml")],
            warnings: Vec::new(),
        };
        let mut own = OwnDropIn::of(&[directory.path().to_owned()], "web", Trust::Any).unwrap();
        assert_eq!(own.applied_to(&found).drop_ins, [drop_in("10-a.toml"), drop_in("95-last.toml")]);
        set(&mut own, "service.umask=0077").unwrap();
        let names: Vec<_> = own.applied_to(&found).drop_ins.into_iter().map(|drop_in| drop_in.file).collect();
        let wanted = ["10-a.toml", "90-set.toml", "95-last.toml"].map(|name| directory.path().join("web.d").join(name));
        assert_eq!(names, wanted);
    }
}
