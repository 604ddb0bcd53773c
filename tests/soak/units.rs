//! The services of the soak: what kinds there are, and their unit files.

use super::instance::{Instance, install};
use super::random::Random;
use super::worker::{Endings, WORD};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// So many go to the journal at most: it is not the journal's capacity that is tested.
const JOURNAL_LIMIT: usize = 10;

/// Where a service's lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// A file of rsvc's own.
    File,
    /// The journal, connected to the service directly.
    Journal,
}

/// One service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Name of the unit.
    pub name: String,
    /// A resident init is pid 1.
    pub has_init: bool,
    /// It shares the host's process table.
    pub on_host: bool,
    /// How it may end.
    pub endings: Endings,
    /// Where its lines go.
    pub lines: Lines,
    /// How a stop ends it.
    pub stopped_by: &'static str,
    user: Option<u32>,
    /// With ids of its own, and somebody who answers its denied calls.
    is_walled: bool,
    by_hook: bool,
    small_files: bool,
}

impl Service {
    /// Number `index`: every tenth is of the same kind.
    pub fn new(index: usize, journal: bool) -> Service {
        let (has_init, on_host, endings) = match index % 10 {
            3 => (false, false, Endings::First),
            7 => (false, true, Endings::All),
            5 => (true, false, Endings::Cores),
            _ => (true, false, Endings::All),
        };
        let journal = journal && index % 20 == 9 && index / 20 < JOURNAL_LIMIT;
        Service {
            name: format!("soak{index}"),
            has_init,
            on_host,
            endings,
            lines: if journal { Lines::Journal } else { Lines::File },
            stopped_by: if endings == Endings::First { "KILL" } else { "TERM" },
            user: (index % 10 == 1).then_some(54_321),
            is_walled: index % 10 == 6,
            // Both ways to hear of an end; the hook is told the number of restarts too.
            by_hook: index.is_multiple_of(2),
            small_files: index.is_multiple_of(3),
        }
    }

    /// What the worker keeps.
    pub fn directory(&self, instance: &Instance) -> PathBuf {
        instance.file("state/directories/state").join(&self.name)
    }

    fn text(&self, program: &str, mean: Duration, random: &mut Random) -> String {
        let Service { name, .. } = self;
        let seed = random.next().to_string();
        let mean = mean.as_millis().to_string();
        let exec = [program, WORD, "run", name, &seed, &mean, self.endings.word()];
        let told = [program, WORD, "told"];
        let mut text = format!("[service]\nexec = {exec:?}\nstop_signal = \"SIG{}\"\n", self.stopped_by);
        if let Some(user) = self.user {
            text += &format!("user = \"{user}\"\n");
        }
        if self.is_walled {
            text += "user = \"auto\"\n";
        }
        text += &match self.by_hook {
            true => format!("[hooks]\non_exit = {told:?}\n"),
            false => format!("exec_stop_post = [{told:?}]\n"),
        };
        // The delay neither grows nor falls back, so that the number of restarts is the number of runs.
        let delay = random.below(300);
        text +=
            &format!("[restart]\npolicy = \"always\"\ndelay = \"{delay}ms\"\nbackoff = 1.0\nreset_after = \"1d\"\n");
        text += &format!("[directories]\nstate = [{name:?}]\n");
        text += match self.lines {
            Lines::File if self.small_files => {
                "[logging]\ntarget = \"file\"\nfile = { max_size = \"32K\", max_files = 1000 }\n"
            }
            Lines::File => "[logging]\ntarget = \"file\"\nfile = { max_size = \"4M\", max_files = 1000 }\n",
            Lines::Journal => "[logging]\ntarget = \"journald\"\n",
        };
        if !self.has_init {
            text += "[namespaces]\ninit = false\n";
            text += if self.on_host { "pid = \"host\"\n" } else { "" };
        }
        if self.is_walled {
            text += "[namespaces]\nuser = \"auto\"\n[syscalls]\non_deny = \"notify-errno\"\n";
        }
        if self.endings == Endings::Cores {
            text += "[resources.rlimits]\ncore = \"infinity\"\n";
        }
        text
    }
}

/// The program of all services, where no protection hides it; gone with this.
pub struct Program(tempfile::TempDir);

impl Program {
    /// A copy of this executable.
    pub fn install() -> Program {
        let place = tempfile::Builder::new().prefix("rsvc-soak-").tempdir_in("/var/lib").expect("directory");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        install(&std::env::current_exe().expect("own path"), &place.path().join("worker"));
        Program(place)
    }

    /// Writes the units; their runs last `mean` in the middle.
    pub fn write(&self, instance: &Instance, services: &[Service], mean: Duration, random: &mut Random) {
        let program = self.0.path().join("worker").display().to_string();
        for service in services {
            instance.unit_as_is(&service.name, &service.text(&program, mean, random));
        }
    }
}
