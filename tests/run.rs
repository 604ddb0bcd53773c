//! `rsvc run`, by root and by an ordinary user: exit codes, what is seen on the terminal, and that nothing is left.

mod instance;
#[path = "run/terminal.rs"]
mod terminal;

use instance::process::Process;
use instance::{PATIENCE, RSVC, Said, eventually, install, is_root, skipped};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// An ordinary user without a name of interest.
const NOBODY: &str = "65534";

/// Whose run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Root,
    User,
}

/// A directory that everybody can read, with a copy of the executable and units; and the right to run them.
struct Place {
    directory: tempfile::TempDir,
    _runs: fs::File,
}

impl Place {
    /// For runs that end as they should, side by side with those of others.
    fn new() -> Place {
        Place::locked(FlockOperation::LockShared)
    }

    /// For runs of which one is killed: what is left of it is looked at, and the next run of anybody removes it.
    fn alone() -> Place {
        Place::locked(FlockOperation::LockExclusive)
    }

    /// The lock is on the directory that all these tests make theirs in, as other processes may run them too.
    fn locked(operation: FlockOperation) -> Place {
        let runs = fs::File::open("/var/tmp").expect("a directory");
        rustix::fs::flock(&runs, operation).expect("a lock");
        let directory = tempfile::Builder::new().prefix("rsvc-run-test-").tempdir_in("/var/tmp").expect("directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        install(Path::new(RSVC), &directory.path().join("rsvc"));
        Place { directory, _runs: runs }
    }

    fn unit(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(format!("{name}.toml"));
        fs::write(&path, text).expect("unit");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
        path
    }

    fn command(&self, who: Who) -> Command {
        let program = self.directory.path().join("rsvc");
        let mut command = match who {
            Who::Root => Command::new(program),
            Who::User => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
                command
            }
        };
        for name in ["RSVC_UNIT_PATH", "RSVC_RUNTIME_DIR", "RSVC_STATE_DIR", "XDG_RUNTIME_DIR", "RSVC_CGROUP_ROOT"] {
            command.env_remove(name);
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs a unit to its end; nothing of it may be left then.
    #[track_caller]
    fn run(&self, who: Who, unit: &Path) -> Said {
        let child = self.command(who).arg("run").arg(unit).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("it starts");
        let pid = child.id();
        let said: Said = child.wait_with_output().expect("it ends").into();
        nothing_is_left(pid);
        said
    }

    /// Starts a unit and reads along.
    fn begin(&self, who: Who, unit: &Path) -> Running {
        let mut child = self
            .command(who)
            .arg("run")
            .arg(unit)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
        let other = sender.clone();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        std::thread::spawn(move || BufReader::new(err).lines().map_while(Result::ok).try_for_each(|l| other.send(l)));
        Running { child, lines, read: Vec::new() }
    }
}

/// A run that is watched.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    read: Vec<String>,
}

impl Running {
    /// The next line, on either stream, that contains `text`.
    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("`{text}` does not come: {:#?}", self.read);
            };
            self.read.push(line.clone());
            // A warning may quote the unit.
            if line.contains(text) && !line.contains("exec = ") {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// The exit status; whatever it made must be gone.
    #[track_caller]
    fn end(mut self) -> i32 {
        let status = eventually("the run ends", || self.child.try_wait().expect("wait"));
        let code = Said::from(std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() }).code;
        self.read.extend(self.lines.iter());
        assert_eq!(traces(self.child.id()), Vec::<PathBuf>::new(), "code {code}: {:#?}", self.read);
        code
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everywhere a run could have left something.
fn traces(run: u32) -> Vec<PathBuf> {
    let name = format!("rsvc-run-{run}");
    let mut places = vec![Path::new("/run").join(&name), Path::new("/tmp").join(&name)];
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let groups = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
    for mount in mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(at))
    }) {
        for own in groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
            let own = mount.join(own.trim_start_matches('/'));
            places.extend([own.join(&name), own.join(format!("{name}-supervisor"))]);
        }
    }
    let mut found: Vec<PathBuf> = places.into_iter().filter(|place| place.exists()).collect();
    found.extend(mounts.lines().filter(|line| line.contains(&name)).map(PathBuf::from));
    found
}

#[track_caller]
fn nothing_is_left(run: u32) {
    assert_eq!(traces(run), Vec::<PathBuf>::new());
}

/// Who can run units here.
fn everybody(place: &Place) -> Vec<Who> {
    if !is_root() {
        skipped("needs root, who can be anybody");
        return Vec::new();
    }
    let unit = place.unit("probe", "[service]\nexec = [\"/bin/true\"]\n");
    let user = place.run(Who::User, &unit);
    if user.code == 0 {
        return vec![Who::Root, Who::User];
    }
    skipped(&format!("the ordinary user's half: no user namespaces here: {}", user.err));
    vec![Who::Root]
}

/// A unit that is run once.
fn once(exec: &str) -> String {
    format!("[service]\nexec = {exec}\n[restart]\npolicy = \"no\"\n")
}

#[test]
fn the_exit_status_is_the_services_own_or_says_what_went_wrong() {
    let place = Place::new();
    for who in everybody(&place) {
        for (exec, code, word) in [
            (r#"["/bin/true"]"#, 0, "started, pid "),
            (r#"["/bin/sh", "-c", "exit 42"]"#, 42, "exited with status 42"),
            (r#"["/bin/sh", "-c", "kill -KILL $$"]"#, 137, "SIGKILL"),
            (r#"["/bin/sh", "-c", "kill -SEGV $$"]"#, 139, "SIGSEGV"),
            (r#"["/no/such/program"]"#, 127, "ENOENT"),
            (r#"["/etc/passwd"]"#, 126, "EACCES"),
            (r#"["/usr"]"#, 126, "EACCES"),
        ] {
            let said = place.run(who, &place.unit("once", &once(exec)));
            assert_eq!(said.code, code, "{who:?} {exec}: {said:?}");
            assert!(said.err.contains(word), "{who:?} {exec}: {said:?}");
        }
        let said = place.run(who, &place.unit("user", &once("[\"/bin/true\"]\nuser = \"no-such-user\"")));
        assert!(said.code == 125 && said.err.contains("no-such-user"), "{who:?}: {said:?}");
        let said = place.run(who, &place.unit("bad", "[service]\nexec = [\"/bin/true\"]\nusr = \"x\"\n"));
        assert!(said.code == 6 && said.err.contains("did you mean"), "{who:?}: {said:?}");
        let said = place.run(who, Path::new("/no/such/unit.toml"));
        assert!(said.code == 6 && said.err.contains("no such file"), "{who:?}: {said:?}");
    }
}

#[test]
fn ctrl_c_stops_and_a_second_one_kills() {
    let place = Place::new();
    for who in everybody(&place) {
        let unit = place.unit("polite", &once(r#"["/bin/sh", "-c", "echo is ready; exec sleep 1000"]"#));
        let mut run = place.begin(who, &unit);
        run.wait_for("is ready");
        run.signal(Signal::INT);
        assert_eq!(run.end(), 130, "{who:?}");

        let script =
            r#"["/bin/sh", "-c", "trap 'echo I hear nothing' TERM INT; echo is ready; while :; do sleep 0.05; done"]"#;
        let mut run = place.begin(who, &place.unit("deaf", &once(script)));
        run.wait_for("is ready");
        run.signal(Signal::INT);
        run.wait_for("I hear nothing");
        run.signal(Signal::INT);
        assert_eq!(run.end(), 130, "{who:?}");
    }
}

#[test]
fn a_terminal_that_goes_away_ends_the_run() {
    let place = Place::new();
    for who in everybody(&place) {
        let unit = place.unit("polite", &once(r#"["/bin/sh", "-c", "echo is ready; exec sleep 1000"]"#));
        let mut run = place.begin(who, &unit);
        run.wait_for("is ready");
        run.signal(Signal::HUP);
        assert_eq!(run.end(), 130, "{who:?}");
    }
}

#[test]
fn restarts_and_limits_are_seen() {
    let place = Place::new();
    for who in everybody(&place) {
        let text = r#"
[service]
exec = ["/bin/sh", "-c", "exit 9"]
[restart]
delay = "10ms"
limit_burst = 2
[resources]
memory_max = "64M"
tasks_max = 16
[security]
optional = ["resources.memory_max", "resources.tasks_max"]
"#;
        let said = place.run(who, &place.unit("again", text));
        for word in ["(restart 1)", "(restart 2)", "restart.limit_burst", "done (2 restarts"] {
            assert!(said.err.contains(word), "{who:?} `{word}`: {said:?}");
        }
        assert_eq!(said.code, 9, "{who:?}: {said:?}");
        match who {
            Who::Root => assert!(said.err.contains("memory limit 64M, tasks limit 16"), "{said:?}"),
            Who::User => assert!(said.err.contains("degraded: resources.memory_max"), "{said:?}"),
        }
    }
}

#[test]
fn the_example_of_the_readme_runs_for_everybody() {
    let place = Place::new();
    let unit = place.unit("hello", include_str!("../examples/hello.toml"));
    for who in everybody(&place) {
        let mut run = place.begin(who, &unit);
        run.wait_for("hello from hello: I am pid 2");
        run.wait_for("open files: at most 256");
        run.wait_for("as it should be");
        run.wait_for("hello 1");
        run.signal(Signal::INT);
        assert_eq!(run.end(), 130, "{who:?}");
    }
}

#[test]
fn what_an_ordinary_user_cannot_have_is_refused_by_name() {
    let place = Place::new();
    if !everybody(&place).contains(&Who::User) {
        return;
    }
    for (text, key) in [
        ("user = \"daemon\"\n", "service.user"),
        ("[resources]\nmemory_max = \"64M\"\n", "resources.memory_max"),
        ("[resources]\ntasks_max = 16\n", "resources.tasks_max"),
        (
            "[namespaces]\nuser = \"identity\"\nuid_mappings = [{ container_id = 0, host_id = 100000, size = 65536 }]\ngid_mappings = [{ container_id = 0, host_id = 100000, size = 65536 }]\n",
            "namespaces.",
        ),
        ("[network]\nmode = \"path:/proc/1/ns/net\"\n", "failed at step NETWORK"),
    ] {
        let unit = format!("[service]\nexec = [\"/bin/true\"]\n{text}");
        let said = place.run(Who::User, &place.unit("refused", &unit));
        assert!(matches!(said.code, 6 | 125), "{text}: {said:?}");
        assert!(said.err.contains(key), "`{key}`: {said:?}");
    }
}

#[test]
fn directories_of_a_run_are_its_own_and_go_with_it() {
    let place = Place::new();
    let text = r#"
[service]
exec = ["/bin/sh", "-c", "touch $STATE_DIRECTORY/file $RUNTIME_DIRECTORY/file $LOGS_DIRECTORY/file && echo made"]
[restart]
policy = "no"
[directories]
state = ["rsvc-run-test"]
runtime = ["rsvc-run-test"]
logs = ["rsvc-run-test"]
"#;
    for who in everybody(&place) {
        let said = place.run(who, &place.unit("keeps", text)).expect(0);
        assert!(said.out.contains("made"), "{who:?}: {said:?}");
        for parent in ["/var/lib", "/run", "/var/log"] {
            assert!(!Path::new(parent).join("rsvc-run-test").exists(), "{who:?}: {parent}");
        }
    }
}

#[test]
fn a_run_that_is_killed_takes_its_service_along() {
    let place = Place::alone();
    let whole = "echo is ready; sleep 1001 & exec sleep 1000";
    for who in everybody(&place) {
        let unit = place.unit("dies", &once(&format!("[\"/bin/sh\", \"-c\", \"{whole}\"]")));
        let mut run = place.begin(who, &unit);
        let started = run.wait_for("started, pid ");
        let others = processes_of_namespace(number_after(&started, "pid "));
        assert!(others.len() >= 2, "its PID 1 and itself: {others:?}");
        run.signal(Signal::KILL);
        let killed = run.child.id();
        run.child.wait().expect("wait");
        eventually("nothing lives", || others.iter().all(|process| !process.is_alive()).then_some(()));
        // Groups and files are left: the next run sweeps.
        assert!(!traces(killed).is_empty());
        place.run(who, &place.unit("next", &once("[\"/bin/true\"]"))).expect(0);
        nothing_is_left(killed);
    }
}

#[test]
fn a_killed_run_without_a_pid_namespace_leaves_nothing_beyond_the_next() {
    let place = Place::alone();
    if !everybody(&place).contains(&Who::Root) {
        return;
    }
    let text = format!(
        "{}[namespaces]\npid = \"host\"\n",
        once(r#"["/bin/sh", "-c", "sleep 1001 & echo child=$!; exec sleep 1000"]"#)
    );
    let mut run = place.begin(Who::Root, &place.unit("open", &text));
    let (mut main, mut child) = (None, None);
    while main.is_none() || child.is_none() {
        let line = run.wait_for("");
        if line.contains("started, pid ") {
            main = Process::with_pid(number_after(&line, "pid "));
        } else if line.starts_with("child=") {
            child = Process::with_pid(number_after(&line, "child="));
        }
    }
    let gone = |process: &Option<Process>| process.as_ref().is_some_and(|process| !process.is_alive()).then_some(());
    run.signal(Signal::KILL);
    let killed = run.child.id();
    run.child.wait().expect("wait");
    eventually("the main process is gone", || gone(&main));
    place.run(Who::Root, &place.unit("next", &once("[\"/bin/true\"]"))).expect(0);
    nothing_is_left(killed);
    eventually("its child as well", || gone(&child));
}

#[test]
fn a_run_that_is_at_work_is_not_swept() {
    let place = Place::new();
    for who in everybody(&place) {
        let unit = place.unit("works", &once(r#"["/bin/sh", "-c", "echo is ready; exec sleep 1000"]"#));
        let mut run = place.begin(who, &unit);
        let pid = number_after(&run.wait_for("started, pid "), "pid ");
        let main = Process::with_pid(pid).expect("it runs");
        place.run(who, &place.unit("next", &once("[\"/bin/true\"]"))).expect(0);
        assert!(main.is_alive() && !traces(run.child.id()).is_empty());
        run.signal(Signal::TERM);
        run.end();
    }
}

fn number_after(line: &str, text: &str) -> i32 {
    let rest = line.split_once(text).expect("the text").1;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

/// Every process of the pid namespace of `pid`.
fn processes_of_namespace(pid: i32) -> Vec<Process> {
    let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = of(pid);
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|other| of(*other) == own);
    pids.filter_map(Process::with_pid).collect()
}

/// `rsvc run` with more words and something to read.
fn run_command(place: &Place, who: Who, words: &[&str], input: &str) -> Said {
    use std::io::Write;
    let mut command = place.command(who);
    command.arg("run").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let pid = child.id();
    // Who does not read its input may be gone before all of it is written.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let said: Said = child.wait_with_output().expect("it ends").into();
    nothing_is_left(pid);
    said
}

#[test]
fn a_command_reads_its_input_and_its_status_is_passed_on() {
    let place = Place::new();
    for who in everybody(&place) {
        let said = run_command(&place, who, &["--", "cat"], "one\ntwo\n").expect(0);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("one\ntwo\n", ""), "{who:?}: nothing else is said");
        let said = run_command(&place, who, &["--", "/bin/sh", "-c", "echo out; echo err >&2; exit 7"], "").expect(7);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
        run_command(&place, who, &["--", "sh", "-c", "kill -TERM $$; sleep 100"], "").expect(143);
        run_command(&place, who, &["--", "/nonexistent/program"], "").expect(127);
        run_command(&place, who, &["--", "no-such-command-anywhere"], "").expect(127);
        run_command(&place, who, &["--", "/etc/passwd"], "").expect(126);
    }
}

#[test]
fn keys_of_the_command_line_are_those_of_a_file() {
    let place = Place::new();
    for who in everybody(&place) {
        let words = [
            "-k",
            "service.umask=0077",
            "--set",
            "service.environment={ A = \"b c\" }",
            "--",
            "sh",
            "-c",
            "umask; echo $A",
        ];
        assert_eq!(run_command(&place, who, &words, "").expect(0).out, "0077\nb c\n", "{who:?}");
        for (words, reason) in [
            (&["-k", "service.umsk=0", "--", "true"][..], "did you mean `umask`"),
            (&["-k", "service.umask=lots", "--", "true"], "umask"),
            (&["--mem", "lots", "--", "true"], "lots"),
            (&["--profile", "lax", "--", "true"], "lax"),
            (&["-t", "--", "true"], "needs a terminal"),
            (&["-k", "umask", "--", "true"], "table.key=value"),
        ] {
            let said = run_command(&place, who, words, "").expect(2);
            assert!(said.err.contains(reason), "{words:?}: {}", said.err);
        }
    }
}

#[test]
fn named_variables_of_the_caller_are_passed_on_and_no_others() {
    let place = Place::new();
    let file = place.unit("variables.env", "C=file\n");
    for who in everybody(&place) {
        let mut command = place.command(who);
        command.envs([("A", "caller's"), ("B", "caller's"), ("C", "caller's"), ("D", "caller's")]);
        command.args(["run", "-k", "service.pass_environment=[\"A\", \"B\", \"C\", \"ABSENT\"]"]);
        command.args(["-k", "service.environment={ B = \"unit\" }"]);
        command.args(["-k", &format!("service.environment_files=[\"{}\"]", file.display())]);
        command.args(["--", "sh", "-c", "echo $A, $B, $C, ${D-none}, ${ABSENT-none}"]);
        let said = Said::from(command.output().expect("it ends")).expect(0);
        assert_eq!(said.out, "caller's, unit, file, none, none\n", "{who:?}");
    }
}
