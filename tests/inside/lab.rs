//! Starts units whose program is the probe, and hands back what it saw.

use crate::instance::namespace::Namespace;
use crate::instance::{Instance, RSVC, Said, install, is_root, skipped};
use crate::probe;
use std::collections::BTreeMap;
use std::ops::Index;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A running instance and a copy of the probe where no protection hides it.
pub struct Lab {
    pub instance: Instance,
    place: tempfile::TempDir,
}

/// Answers by question.
#[derive(Debug)]
pub struct Seen(BTreeMap<String, String>);

impl Index<&str> for Seen {
    type Output = str;

    #[track_caller]
    fn index(&self, question: &str) -> &str {
        self.0.get(question).unwrap_or_else(|| panic!("`{question}` was not answered: {self:#?}"))
    }
}

impl Seen {
    /// Fails the test, with all differences at once, unless these are the answers.
    #[track_caller]
    pub fn expect(&self, wanted: &[(&str, &str)]) {
        let wrong: Vec<String> = wanted
            .iter()
            .filter(|(question, answer)| self.0.get(*question).is_none_or(|found| found != answer))
            .map(|(question, answer)| format!("{question}: {:?}, not {answer:?}", self.0.get(*question)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

impl Lab {
    /// `None`, after saying so, where the tests are not root.
    pub fn new() -> Option<Lab> {
        if !is_root() {
            skipped("needs root");
            return None;
        }
        Some(Lab { instance: Instance::start(), place: place() })
    }

    /// Where all instances of a host look at each other's ids, a place of its own: what is damaged there disturbs nobody.
    /// The namespace must outlive it.
    pub fn with_own_ids() -> Option<(Lab, Namespace)> {
        if !is_root() {
            skipped("needs root");
            return None;
        }
        let Some(namespace) =
            Namespace::start("mkdir -p /run/rsvc-ids; mount -t tmpfs -o mode=0700 none /run/rsvc-ids")
        else {
            skipped("cannot make a mount namespace");
            return None;
        };
        let mut instance = Instance::prepared();
        instance.enter(&namespace);
        instance.start_daemon();
        Some((Lab { instance, place: place() }, namespace))
    }

    /// Without a daemon, for `rsvc run`.
    pub fn without_daemon() -> Lab {
        Lab { instance: Instance::prepared(), place: place() }
    }

    /// Directory of the probe, visible inside and writable under the profile `standard`.
    pub fn path(&self) -> String {
        self.place.path().display().to_string()
    }

    /// The probe as `exec`.
    pub fn exec(&self, words: &[&str]) -> String {
        exec(&format!("{}/probe", self.path()), words)
    }

    /// Copies the probe into a directory that is to be a root file system.
    pub fn probe_into(&self, root: &std::path::Path) {
        std::fs::create_dir_all(root).expect("directory");
        install(&self.place.path().join("probe"), &root.join("probe"));
    }

    /// Writes a unit that asks these questions once. `body` begins with lines of `[service]`; other tables follow.
    pub fn unit(&self, name: &str, body: &str, words: &[&str]) -> PathBuf {
        self.unit_of(name, &self.exec(words), body)
    }

    /// The same with another program.
    pub fn unit_of(&self, name: &str, exec: &str, body: &str) -> PathBuf {
        let mut text = format!("[service]\ntype = \"oneshot\"\n{exec}{body}\n");
        for (table, line) in [("restart", "policy = \"no\""), ("logging", "target = \"file\"")] {
            match text.contains(&format!("[{table}]")) {
                true => text = text.replace(&format!("[{table}]"), &format!("[{table}]\n{line}")),
                false => text.push_str(&format!("[{table}]\n{line}\n")),
            }
        }
        self.instance.unit(name, &text)
    }

    /// Starts such a unit, which must succeed, and returns the answers.
    #[track_caller]
    pub fn look(&self, name: &str, body: &str, words: &[&str]) -> Seen {
        self.unit(name, body, words);
        self.instance.rsvc(&["start", name]).expect(0);
        self.seen(name)
    }

    /// The same with `/probe`, in a root file system of the unit's own.
    #[track_caller]
    pub fn look_in(&self, name: &str, body: &str, words: &[&str]) -> Seen {
        self.unit_of(name, &exec("/probe", words), body);
        let _ = std::fs::remove_file(self.instance.file(&format!("state/log/{name}.log")));
        self.instance.rsvc(&["start", name]).expect(0);
        self.seen(name)
    }

    /// The answers of a unit that has run to its end.
    #[track_caller]
    pub fn seen(&self, name: &str) -> Seen {
        Seen(probe::answers(&self.instance.wait_for_log(name, "@@end\t")))
    }

    /// The answers in some output.
    pub fn answers(text: &str) -> Seen {
        Seen(probe::answers(text))
    }

    /// The start must fail (1) or the unit be refused as a whole (6), with all these words in what is printed, and the
    /// probe must not have run.
    #[track_caller]
    pub fn refused(&self, name: &str, body: &str, words: &[&str]) -> Said {
        self.unit(name, body, &["pid"]);
        let said = self.instance.rsvc(&["start", name]);
        assert!([1, 6].contains(&said.code), "{said:?}");
        for word in words {
            assert!(said.err.contains(word), "`{word}` in: {}", said.err);
        }
        assert!(!self.instance.log(name).contains("@@"), "it ran: {}", self.instance.log(name));
        said
    }

    /// `rsvc run` of such a unit, to its end.
    pub fn run(&self, name: &str, body: &str, words: &[&str], prepare: impl FnOnce(&mut Command)) -> Said {
        let exec = if is_root() { self.exec(words) } else { exec("/mnt/probe", words) };
        let mut text = format!("[service]\ntype = \"oneshot\"\n{exec}{body}\n");
        if !text.contains("[restart]") {
            text.push_str("[restart]\npolicy = \"no\"\n");
        }
        if !is_root() {
            // Wherever an ordinary user may write is hidden inside.
            let probe = format!("destination = \"/mnt\"\nsource = \"{}\"\noptions = [\"ro\"]", self.path());
            text.push_str(&format!("[[mounts]]\n{probe}\n"));
        }
        let unit = self.instance.unit_as_is(name, &text);
        // Beside the probe, where an ordinary user may go: a checkout can be anywhere.
        let program = self.place.path().join("rsvc");
        if !program.exists() {
            install(std::path::Path::new(RSVC), &program);
        }
        let mut command = Command::new(program);
        command.arg("run").arg(unit).env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8").stdin(std::process::Stdio::null());
        for name in ["RSVC_UNIT_PATH", "RSVC_RUNTIME_DIR", "RSVC_STATE_DIR", "RSVC_SOCKET", "RSVC_CGROUP_ROOT"] {
            command.env_remove(name);
        }
        prepare(&mut command);
        command.output().expect("rsvc runs").into()
    }
}

/// A directory for the probe. Below /var/lib for root, as /tmp and homes are hidden inside.
fn place() -> tempfile::TempDir {
    let program = std::env::current_exe().expect("own path");
    let parent = if is_root() { "/var/lib" } else { "/var/tmp" };
    let place = tempfile::Builder::new().prefix("rsvc-inside-").tempdir_in(parent).expect("directory");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    install(&program, &place.path().join("probe"));
    place
}

fn exec(program: &str, words: &[&str]) -> String {
    let words: Vec<&str> = [program, probe::WORD].into_iter().chain(words.iter().copied()).collect();
    format!("exec = {words:?}\n")
}

/// The questions for the five sets: inheritable, permitted, effective, bounding, ambient.
pub const CAPABILITY_SETS: [&str; 5] =
    ["status:CapInh", "status:CapPrm", "status:CapEff", "status:CapBnd", "status:CapAmb"];

/// A namespace of the host, as the tests see it.
pub fn host_namespace(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("namespace").display().to_string()
}
