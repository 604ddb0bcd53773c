//! Where an instance of rsvc lives: unit directories, runtime and state directory, control socket, control group.

use super::Failure;
use super::args::{Global, Whose};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Unit directories of the system, the first wins.
const UNIT_PATH: [&str; 3] = ["/etc/rsvc/units", "/run/rsvc/units", "/usr/lib/rsvc/units"];

/// Places as the command line or the environment gave them, made absolute; `None` where neither said anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `--unit-path`
    pub given_unit_path: Option<Vec<PathBuf>>,
    /// `--runtime-dir`
    pub given_runtime_dir: Option<PathBuf>,
    /// `--state-dir`
    pub given_state_dir: Option<PathBuf>,
    /// `--socket`
    pub given_socket: Option<PathBuf>,
    /// `--cgroup-root`
    pub cgroup_root: Option<PathBuf>,
}

impl Instance {
    /// From the options; an empty one is as good as none. Of the user's instance what was not given is the user's own
    /// place; `user` as if `--instance user` stood there.
    ///
    /// # Errors
    /// The user has no such place.
    pub(super) fn new(global: &Global, user: bool) -> Result<Instance, Failure> {
        let mut instance = Instance::given(global);
        if user || global.instance == Some(Whose::User) {
            instance.fill_in(&UserPlaces::of(|name| std::env::var_os(name))?);
        }
        Ok(instance)
    }

    fn fill_in(&mut self, places: &UserPlaces) {
        let UserPlaces { runtime, configuration, state } = places;
        self.given_runtime_dir.get_or_insert_with(|| runtime.clone());
        self.given_state_dir.get_or_insert_with(|| state.clone());
        self.given_unit_path.get_or_insert_with(|| vec![configuration.join("units"), runtime.join("units")]);
    }

    fn given(global: &Global) -> Instance {
        let one = |path: &Option<OsString>| path.as_ref().and_then(|path| absolute(Path::new(path)));
        let directories = |text: &OsString| {
            let all: Vec<PathBuf> = std::env::split_paths(text).filter_map(|path| absolute(&path)).collect();
            (!all.is_empty()).then_some(all)
        };
        Instance {
            given_unit_path: global.unit_path.as_ref().and_then(directories),
            given_runtime_dir: one(&global.runtime_dir),
            given_state_dir: one(&global.state_dir),
            given_socket: one(&global.socket),
            // A path in the hierarchy, not of the file system: as it was given.
            cgroup_root: global.cgroup_root.clone().filter(|path| !path.is_empty()).map(PathBuf::from),
        }
    }

    /// What was given, as variables of the environment, for another process of the same instance.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        let units = self.given_unit_path.as_ref().and_then(|paths| std::env::join_paths(paths).ok());
        [
            ("RSVC_UNIT_PATH", units),
            ("RSVC_RUNTIME_DIR", path(&self.given_runtime_dir)),
            ("RSVC_STATE_DIR", path(&self.given_state_dir)),
            ("RSVC_SOCKET", path(&self.given_socket)),
            ("RSVC_CGROUP_ROOT", path(&self.cgroup_root)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((OsString::from(name), value?)))
        .collect()
    }

    /// Unit directories, the first wins.
    pub fn unit_path(&self) -> Vec<PathBuf> {
        self.given_unit_path.clone().unwrap_or_else(|| UNIT_PATH.iter().map(PathBuf::from).collect())
    }

    /// Runtime directory.
    pub fn runtime_dir(&self) -> PathBuf {
        self.given_runtime_dir.clone().unwrap_or_else(|| PathBuf::from("/run/rsvc"))
    }

    /// State directory.
    pub fn state_dir(&self) -> PathBuf {
        self.given_state_dir.clone().unwrap_or_else(|| PathBuf::from("/var/lib/rsvc"))
    }

    /// Control socket.
    pub fn socket(&self) -> PathBuf {
        self.given_socket.clone().unwrap_or_else(|| self.runtime_dir().join("io.rsvc"))
    }

    /// Where log files are: `/var/log/rsvc`, or `log/` of a redirected state directory.
    pub fn log_dir(&self) -> PathBuf {
        match &self.given_state_dir {
            Some(state) => state.join("log"),
            None => PathBuf::from("/var/log/rsvc"),
        }
    }

    /// Neither runtime nor state directory were redirected: the instance of the system.
    pub fn is_system(&self) -> bool {
        self.given_runtime_dir.is_none() && self.given_state_dir.is_none()
    }
}

/// Where an ordinary user's instance is, by the XDG Base Directory Specification.
struct UserPlaces {
    /// `$XDG_RUNTIME_DIR/rsvc`
    runtime: PathBuf,
    /// `~/.config/rsvc`
    configuration: PathBuf,
    /// `~/.local/state/rsvc`
    state: PathBuf,
}

impl UserPlaces {
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<UserPlaces, Failure> {
        // The specification tells programs to pass over what is not absolute.
        let path = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let missing = |name: &str, hint: &str| {
            Failure::new(2, format!("the user's instance: ${name} is not set to an absolute path\n  hint: {hint}"))
        };
        let runtime = path("XDG_RUNTIME_DIR").ok_or_else(|| {
            missing("XDG_RUNTIME_DIR", "it is made at a login (pam_systemd, elogind); or give --runtime-dir")
        })?;
        let home = |name: &str, below: &str| {
            let place = path(name).or_else(|| path("HOME").map(|home| home.join(below)));
            place.ok_or_else(|| missing("HOME", &format!("set it, or ${name}")))
        };
        Ok(UserPlaces {
            runtime: runtime.join("rsvc"),
            configuration: home("XDG_CONFIG_HOME", ".config")?.join("rsvc"),
            state: home("XDG_STATE_HOME", ".local/state")?.join("rsvc"),
        })
    }
}

/// The path from `/` on, `..` and links untouched; `None` for an empty one.
fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Parsed, parse};

    fn instance(words: &[&str]) -> Instance {
        let words = ["rsvc", "list"].iter().chain(words).map(|w| (*w).into()).collect();
        match parse(words) {
            Ok(Parsed::Command(arguments)) => Instance::given(&arguments.global),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_redirected_instance_keeps_everything_together() {
        let redirected = instance(&["--runtime-dir", "/tmp/x/run", "--state-dir=/tmp/x/state", "--unit-path", "/a:/b"]);
        assert_eq!(redirected.socket(), Path::new("/tmp/x/run/io.rsvc"));
        assert_eq!(redirected.log_dir(), Path::new("/tmp/x/state/log"));
        assert_eq!(redirected.unit_path(), [Path::new("/a"), Path::new("/b")]);
        assert!(!redirected.is_system());
        let socket = instance(&["--runtime-dir", "/r", "--socket", "/s"]);
        assert_eq!(socket.socket(), Path::new("/s"));
    }

    #[test]
    fn a_user_has_places_of_its_own_unless_others_are_given() {
        let variables = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some("/run/user/7".into()),
            "XDG_CONFIG_HOME" => Some("relative".into()),
            "HOME" => Some("/home/seven".into()),
            _ => None,
        };
        let places = || UserPlaces::of(variables).unwrap_or_else(|failure| panic!("{failure:?}"));
        let mut own = instance(&["--instance", "user"]);
        own.fill_in(&places());
        assert_eq!(own.socket(), Path::new("/run/user/7/rsvc/io.rsvc"));
        assert_eq!(own.log_dir(), Path::new("/home/seven/.local/state/rsvc/log"));
        let units = [Path::new("/home/seven/.config/rsvc/units"), Path::new("/run/user/7/rsvc/units")];
        assert_eq!(own.unit_path(), units);
        assert!(!own.is_system());
        let mut given = instance(&["--instance", "user", "--runtime-dir", "/r"]);
        given.fill_in(&places());
        assert_eq!(given.socket(), Path::new("/r/io.rsvc"));
        let none = UserPlaces::of(|name| (name == "HOME").then(|| "/home/seven".into()));
        assert!(none.is_err_and(|failure| failure.code() == 2));
    }

    #[test]
    fn relative_places_are_made_absolute_and_empty_ones_ignored() {
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(instance(&["--runtime-dir", "run"]).runtime_dir(), here.join("run"));
        let empty = instance(&["--runtime-dir=", "--unit-path=", "--state-dir=", "--cgroup-root="]);
        assert_eq!(empty, Instance { given_socket: empty.given_socket.clone(), ..Instance::default() });
    }
}
