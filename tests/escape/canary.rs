//! A directory of the host that nothing of a container may touch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// See the module documentation.
pub struct Canary {
    place: tempfile::TempDir,
    before: Vec<String>,
}

impl Canary {
    /// Below /var/lib, which is writable for root under the profile `standard`.
    pub fn new() -> Canary {
        let place = tempfile::Builder::new().prefix("rsvc-canary-").tempdir_in("/var/lib").expect("directory");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).expect("mode");
        fs::create_dir(place.path().join("inner")).expect("directory");
        let before = state(place.path());
        Canary { place, before }
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The same from any depth of a tree.
    pub fn relative(&self) -> PathBuf {
        Path::new("../../../../../../../..").join(self.path().strip_prefix("/").expect("absolute"))
    }

    /// Fails the test when anything was made in it or mounted on it.
    #[track_caller]
    pub fn assert_untouched(&self, when: &str) {
        assert_eq!(state(self.path()), self.before, "{when}");
    }
}

/// Names in it, and what is mounted there.
fn state(place: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(place).expect("it is there").chain(fs::read_dir(place.join("inner")).expect("it is there"));
    let names = entries.map(|entry| entry.expect("an entry").path().display().to_string());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc");
    let here = mounts.lines().filter(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(place)));
    let mut all: Vec<String> = names.chain(here.map(str::to_owned)).collect();
    all.sort();
    all
}
