//! The command line as people and scripts meet it: exit codes, messages, and what needs no daemon.

#[macro_use]
#[path = "instance/skip.rs"]
mod skip;

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const GOOD: &str = "[service]\nexec = [\"/bin/true\"]\nuser = \"nobody\"\n";

/// An instance of its own, in which no daemon runs.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["units", "run", "state"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        Place { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("write");
        path
    }

    fn unit(&self, name: &str, text: &str) {
        self.write(&format!("units/{name}.toml"), text);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsvc"));
        command
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("RSVC_UNIT_PATH", self.file("units"))
            .env("RSVC_RUNTIME_DIR", self.file("run"))
            .env("RSVC_STATE_DIR", self.file("state"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::from(self.command(words).output().expect("rsvc can be executed"))
    }
}

#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("one object per line")).collect()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn wrong_usage_is_exit_2_on_standard_error() {
    let place = Place::new();
    for words in [
        &["strat", "web"][..],
        &["start"],
        &["start", "web", "--nonsense"],
        &["start", "web", "--timeout", "soon"],
        &["kill", "web", "-s", "SIGNOPE"],
        &["list", "-o", "xml"],
        &["start", "web", "-o", "wide"],
        &["list", "-o", "github"],
        &["stop", "--all", "web"],
        &["logs", "../etc/passwd"],
        &[],
    ] {
        let ran = place.run(words).expect(2);
        assert_eq!(ran.out, "", "{words:?}");
        assert!(!ran.err.is_empty(), "{words:?}");
    }
    assert!(place.run(&["strat", "web"]).err.contains("'start'"), "a misspelt command gets a suggestion");
}

#[test]
fn help_and_version_are_results() {
    let place = Place::new();
    let help = place.run(&["--help"]).expect(0);
    assert!(help.out.contains("try-restart") && !help.out.contains("learn"), "{}", help.out);
    assert!(place.run(&["start", "--help"]).expect(0).out.contains("--no-wait"));
    assert_eq!(place.run(&["--version"]).expect(0).out, format!("rsvc {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(place.run(&["version"]).expect(0).out, format!("rsvc {}\n", env!("CARGO_PKG_VERSION")));
    let version = &place.run(&["version", "--json"]).expect(0).objects()[0];
    assert_eq!((&version["v"], &version["daemon"]), (&Value::from(1), &Value::Null));
}

#[test]
fn words_of_later_versions_say_so() {
    let place = Place::new();
    for word in ["learn", "why", "import", "export", "top", "edit", "new", "files", "clean"] {
        let ran = place.run(&[word, "web", "--whatever"]).expect(2);
        assert_eq!(ran.err, format!("rsvc: `{word}` is not in this version\n"));
    }
}

#[test]
fn without_a_daemon_everything_that_needs_one_is_exit_150() {
    let place = Place::new();
    let socket = place.file("run/io.rsvc");
    let expected =
        format!("rsvc: supervisor not reachable: no socket at {}; start it with `rsvc daemon`\n", socket.display());
    for words in [
        &["start", "web"][..],
        &["stop", "--all"],
        &["restart", "web*"],
        &["reload", "web"],
        &["status"],
        &["status", "web"],
        &["list"],
        &["is-active", "web"],
        &["is-failed", "-q", "web"],
        &["kill", "web"],
        &["reset-failed"],
    ] {
        let ran = place.run(words).expect(150);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", expected.as_str()), "{words:?}");
    }
}

#[test]
fn an_option_wins_over_its_variable_and_an_empty_variable_is_none() {
    let place = Place::new();
    let ran = Ran::from(place.command(&["list", "--socket", "/nonexistent/s"]).output().unwrap()).expect(150);
    assert!(ran.err.contains("no socket at /nonexistent/s;"), "{}", ran.err);
    let ran = Ran::from(place.command(&["list"]).env("RSVC_SOCKET", "/nonexistent/v").output().unwrap()).expect(150);
    assert!(ran.err.contains("no socket at /nonexistent/v;"), "{}", ran.err);
    let ran = Ran::from(place.command(&["list"]).env("RSVC_SOCKET", "").output().unwrap()).expect(150);
    assert!(ran.err.contains("run/io.rsvc;"), "{}", ran.err);
}

#[test]
fn a_good_file_is_exit_0_and_says_nothing_to_a_script() {
    let place = Place::new();
    let file = place.write("web.toml", GOOD);
    let ran = place.run(&["check", text(&file)]).expect(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    place.unit("web", GOOD);
    place.run(&["check", "web", "--strict"]).expect(0);
}

#[test]
fn a_bad_file_shows_all_its_problems_with_their_places() {
    let place = Place::new();
    let file = place
        .write("web.toml", "[service]\nexec = [\"/bin/true\"]\nuser = \"nobody\"\nexce = 1\n\n[filesystm]\na = 1\n");
    let ran = place.run(&["check", text(&file)]).expect(1);
    assert_eq!(ran.out, "");
    assert!(ran.err.contains("unknown key `exce`"), "{}", ran.err);
    assert!(ran.err.contains(&format!("{}:4:1", file.display())), "{}", ran.err);
    assert!(ran.err.contains("filesystm"), "{}", ran.err);
    assert!(ran.err.contains("not valid, 2 errors"), "{}", ran.err);
    assert!(!ran.err.contains('\u{1b}'), "no colours into a pipe");
    assert!(place.run(&["check", text(&file), "--color", "always"]).err.contains('\u{1b}'));
}

#[test]
fn problems_as_json_have_the_documented_fields() {
    let place = Place::new();
    let file =
        place.write("web.toml", "[service]\nexec = [\"/bin/true\"]\nuser = \"nobody\"\numask = \"9\"\nexce = 1\n");
    let ran = place.run(&["check", text(&file), "-o", "json"]).expect(1);
    assert_eq!(ran.err, "");
    let objects = ran.objects();
    assert_eq!(objects.len(), 2, "{}", ran.out);
    for object in &objects {
        let mut names: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["code", "column", "file", "help", "key", "line", "message", "severity", "v"]);
        assert_eq!((&object["v"], &object["severity"]), (&Value::from(1), &Value::from("error")));
    }
    assert_eq!(objects.iter().map(|o| o["line"].as_u64()).collect::<Vec<_>>(), [Some(4), Some(5)]);
}

#[test]
fn problems_become_annotations_of_a_workflow() {
    let place = Place::new();
    let file = place.write("web.toml", "[service]\nexec = [\"/bin/true\"]\nuser = \"nobody\"\nexce = 1\n");
    let ran = place.run(&["check", text(&file), "-o", "github"]).expect(1);
    assert!(ran.out.starts_with(&format!("::error file={},line=4,col=1,title=E0102::unknown key", file.display())));
}

#[test]
fn warnings_become_errors_when_asked() {
    let place = Place::new();
    let file = place.write("web.toml", &format!("[unit]\nafter = [\"nowhere\"]\n{GOOD}"));
    let ran = place.run(&["check", text(&file)]).expect(0);
    assert!(ran.err.contains("warning[W0308]") && ran.err.contains("nowhere"), "{}", ran.err);
    place.run(&["check", text(&file), "--strict"]).expect(1);
    place.write("nowhere.toml", GOOD);
    place.run(&["check", text(&file), "--strict"]).expect(0);
}

#[test]
fn what_is_no_unit_file_is_refused_with_its_kind() {
    let place = Place::new();
    let missing = place.run(&["check", "./none.toml"]).expect(1);
    assert!(missing.err.contains("none.toml"), "{}", missing.err);
    fs::create_dir(place.file("dir.toml")).unwrap();
    place.run(&["check", text(&place.file("dir.toml"))]).expect(1);
    fs::write(place.file("bytes.toml"), b"[service]\nexec = \"\xff\"\n").unwrap();
    let bytes = place.run(&["check", text(&place.file("bytes.toml")), "--json"]).expect(1);
    assert_eq!(bytes.objects()[0]["code"], "E0002");
    assert!(place.run(&["check", "none"]).expect(5).err.contains("none: no such unit"));
    std::os::unix::fs::symlink("/dev/null", place.file("units/gone.toml")).unwrap();
    assert!(place.run(&["check", "gone"]).expect(6).err.contains("is masked by"));
    let mixed = place.run(&["check", "none", text(&place.write("web.toml", GOOD))]).expect(5);
    assert_eq!(mixed.out, "");
}

#[test]
fn explain_knows_keys_tables_and_systemds_names() {
    let place = Place::new();
    for words in [&["explain", "filesystem.protect_system"][..], &["explain", "ProtectSystem="]] {
        let ran = place.run(words).expect(0);
        assert!(ran.out.starts_with("filesystem.protect_system\n") && ran.out.contains("\"strict\""), "{}", ran.out);
    }
    assert!(place.run(&["explain", "[resources]"]).expect(0).out.contains("memory_max"));
    assert!(place.run(&["explain"]).expect(0).out.contains("[filesystem]"));
    let ran = place.run(&["explain", "filesystem.protect_sytem"]).expect(2);
    assert!(ran.err.contains("did you mean `filesystem.protect_system`?"), "{}", ran.err);
    let all = place.run(&["explain", "--json"]).expect(0).objects();
    assert!(all.len() > 100 && all.iter().all(|o| o["doc"].as_str().is_some_and(|doc| !doc.is_empty())));
}

#[test]
fn show_tells_where_each_value_comes_from() {
    let place = Place::new();
    place.unit("web", &format!("{GOOD}\n[security]\nprofile = \"strict\"\n"));
    let ran = place.run(&["show", "web", "-p", "service.user", "-p", "filesystem"]).expect(0);
    assert!(ran.out.contains("user = \"nobody\""), "{}", ran.out);
    assert!(ran.out.contains(&format!("# {}:3", place.file("units/web.toml").display())), "{}", ran.out);
    assert!(ran.out.contains("protect_system = \"strict\"") && ran.out.contains("# profile strict"), "{}", ran.out);
    assert!(!ran.out.contains("umask"), "{}", ran.out);
    let objects = place.run(&["show", "web", "--json"]).expect(0).objects();
    let user = objects.iter().find(|o| o["key"] == "service.user").expect("the user");
    assert_eq!((&user["origin"], &user["line"]), (&Value::from("file"), &Value::from(3)));
    place.run(&["show", "web", "-p", "nonsense"]).expect(2);
    place.run(&["show", "none"]).expect(5);
    place.unit("bad", "[service]\n");
    assert!(place.run(&["show", "bad"]).expect(6).err.contains("service.exec"));
}

#[test]
fn cat_prints_files_with_their_names() {
    let place = Place::new();
    place.unit("web", GOOD);
    place.unit("worker", GOOD);
    let ran = place.run(&["cat", "w*"]).expect(0);
    assert_eq!(ran.out.matches(GOOD).count(), 2);
    assert!(ran.out.starts_with(&format!("# {}\n", place.file("units/web.toml").display())));
    place.run(&["cat", "x*"]).expect(5);
    place.run(&["cat", "none"]).expect(5);
}

#[test]
fn enable_and_disable_change_the_boot_set_and_nothing_else() {
    let place = Place::new();
    place.unit("web", GOOD);
    place.unit("bad", "[service]\n");
    assert_eq!(place.run(&["is-enabled", "web"]).expect(1).out, "disabled\n");
    assert_eq!(place.run(&["enable", "web"]).expect(0).out, "");
    assert!(place.file("units/default.wants/web.toml").symlink_metadata().is_ok());
    assert_eq!(place.run(&["is-enabled", "web"]).expect(0).out, "enabled\n");
    assert_eq!(place.run(&["is-enabled", "--json", "web"]).expect(0).objects()[0]["enabled"], "enabled");
    place.run(&["enable", "web"]).expect(0);
    place.run(&["disable", "web"]).expect(0);
    assert_eq!(place.run(&["is-enabled", "-q", "web"]).expect(1).out, "");
    place.run(&["disable", "web"]).expect(0);
    assert!(place.run(&["enable", "bad"]).expect(6).err.contains("service.exec"));
    place.run(&["enable", "none"]).expect(5);
    place.run(&["disable", "none"]).expect(5);
    assert_eq!(place.run(&["is-enabled", "none"]).expect(4).out, "not-found\n");
    place.run(&["enable", "--now", "web"]).expect(150);
}

#[test]
fn logs_are_read_from_files_without_a_daemon() {
    let place = Place::new();
    let line = |second: u32, text: &str| format!("2026-11-21T22:00:{second:02}.000000Z {text}\n");
    place.write("state/log/web.log.1", &[line(1, "one"), line(2, "two")].concat());
    place.write("state/log/web.log", &[line(3, "three"), line(4, "\u{1b}[31mfour")].concat());
    let all = place.run(&["logs", "web"]).expect(0);
    assert_eq!(all.out, [line(1, "one"), line(2, "two"), line(3, "three"), line(4, "\u{1b}[31mfour")].concat());
    assert_eq!(place.run(&["logs", "web", "-n", "3"]).expect(0).out.lines().count(), 3);
    let since = place.run(&["logs", "web", "--since", "2026-11-21 22:00:03"]).expect(0);
    assert_eq!(since.out.lines().count(), 2);
    let object = &place.run(&["logs", "web", "-n1", "-o", "json"]).expect(0).objects()[0];
    assert_eq!(object["message"], "\u{1b}[31mfour");
    assert_eq!(object["time"], "2026-11-21T22:00:04.000000Z");
    place.write("state/log/db.log", &line(5, "five"));
    let both = place.run(&["logs", "web", "db", "-n1"]).expect(0);
    assert!(
        both.out.starts_with("web: ") && both.out.lines().nth(1).is_some_and(|l| l.starts_with("db: ")),
        "{both:?}"
    );
}

#[test]
fn logs_can_be_followed_over_a_rotation() {
    let place = Place::new();
    let path = place.write("state/log/web.log", "2026-11-21T22:00:00.000000Z one\n");
    let mut follower = place.command(&["logs", "-f", "web"]).stdout(Stdio::piped()).spawn().expect("rsvc");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().expect("a pipe")));
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().ends_with(" one"));
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("open");
    writeln!(file, "2026-11-21T22:00:01.000000Z two").expect("write");
    assert!(next().ends_with(" two"));
    fs::rename(&path, place.file("state/log/web.log.1")).expect("rename");
    place.write("state/log/web.log", "2026-11-21T22:00:02.000000Z three\n");
    assert!(next().ends_with(" three"));
    follower.kill().expect("kill");
    follower.wait().expect("wait");
}

#[test]
fn completion_scripts_and_the_manual_come_from_the_program() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.run(&["completion", shell]).expect(0).out.contains("try-restart"), "{shell}");
    }
    let manual = place.run(&["manual"]).expect(0).out;
    let kept = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/rsvc.1")).expect("man/rsvc.1");
    assert!(manual == kept, "man/rsvc.1 is not up to date: RSVC_BLESS=1 cargo test manual");
}

#[test]
fn manual_pages_are_clean() {
    for page in ["rsvc.1", "rsvcd.8"] {
        let path = format!("{}/man/{page}", env!("CARGO_MANIFEST_DIR"));
        match Command::new("mandoc").args(["-T", "lint", "-W", "warning", &path]).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => skipped!("no mandoc: {error}"),
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let mut child =
        place.command(&["explain", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("rsvc");
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().expect("wait"));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let ran = Ran::from(place.command(&["explain"]).stdout(full).output().expect("rsvc")).expect(1);
    assert!(ran.err.contains("cannot write to standard output"), "{}", ran.err);
}

#[test]
fn the_name_rsvcd_is_the_daemon() {
    let place = Place::new();
    let link = place.file("rsvcd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rsvc"), &link).expect("a link");
    let ran = Ran::from(Command::new(&link).arg("--help").output().expect("rsvcd")).expect(0);
    assert!(ran.out.contains("--stop-on-exit"), "{}", ran.out);
}
