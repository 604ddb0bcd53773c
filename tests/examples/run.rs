//! Every example is run, and does what its first lines say.

use super::files;
use super::instance::home::Home;
use super::instance::{Instance, eventually, skipped};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The examples that some test here runs.
const RUN: [&str; 14] = [
    "credentials",
    "hello",
    "job",
    "legacy",
    "nightly",
    "on-demand",
    "overlay",
    "pages@",
    "shop",
    "shop-watch",
    "shop.slice",
    "user",
    "web",
    "worker",
];

/// Some listen on ports of the host, which are the same for every instance.
static PORTS: Mutex<()> = Mutex::new(());

fn ports() -> MutexGuard<'static, ()> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is a port that an example wants free? Else the test cannot run here.
fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The text of an example. Its output goes to a file, where the test finds it.
fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{name}.toml"));
    std::fs::read_to_string(path).expect("an example")
}

/// An instance with these examples among its units, running.
fn instance_with(names: &[&str]) -> Instance {
    let instance = Instance::start();
    for name in names {
        match name.ends_with(".slice") {
            true => instance.unit_as_is(name, &example(name)),
            false => instance.unit(name, &example(name)),
        };
    }
    instance
}

/// Where a service of the instance has its state, on the host.
fn state(instance: &Instance, name: &str) -> PathBuf {
    eventually("the unit has a state directory", || {
        let mut open = vec![instance.file("state")];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).ok()?.flatten().filter(|entry| entry.path().is_dir()) {
                if entry.file_name() == name {
                    return Some(entry.path());
                }
                open.push(entry.path());
            }
        }
        None
    })
}

/// What a server at 127.0.0.1 answers to a request for `path`.
fn get(port: u16, path: &str) -> String {
    eventually("somebody answers", || {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then_some(text)
    })
}

#[test]
fn every_example_has_a_test_that_runs_it() {
    let name = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".toml").map(str::to_owned);
    let mut names: Vec<String> = files("examples").into_iter().filter_map(name).collect();
    names.sort();
    let mut known = RUN.to_vec();
    known.sort_unstable();
    assert_eq!(names, known);
}

#[test]
fn hello_says_hello_and_is_started_again() {
    root_only!();
    let instance = instance_with(&["hello"]);
    instance.rsvc(&["start", "hello"]).expect(0);
    instance.wait_for_log("hello", "(as it should be: /usr is read-only here)");
    instance.wait_for_log("hello", "now I fail");
    eventually("it is started again", || (instance.status("hello")["restarts"].as_u64()? > 0).then_some(()));
}

#[test]
fn a_job_is_waited_for_and_over() {
    root_only!();
    let instance = instance_with(&["job"]);
    instance.rsvc(&["start", "job"]).expect(0);
    instance.wait_for_log("job", "programs in /usr/bin");
    let status = instance.wait_for_state("job", "inactive");
    assert_eq!(status["result"], "success", "{status}");
}

#[test]
fn credentials_are_for_the_service_only() {
    root_only!();
    let instance = instance_with(&["credentials"]);
    instance.rsvc(&["start", "credentials"]).expect(0);
    let log = instance.wait_for_log("credentials", "(as it should be: nothing is written there)");
    assert!(log.contains("of mode"), "{log}");
}

#[test]
fn the_timer_is_armed_and_runs_its_job() {
    root_only!();
    let instance = instance_with(&[]);
    // Nobody waits for the night.
    let text = example("nightly");
    let soon = text.replace("*-*-* 02:30", "*-*-* *:*:*").replace("jitter = \"30min\"\n", "");
    assert!(soon != text, "the example has another time");
    instance.unit("nightly", &soon);
    instance.unit("as-it-is", &text);
    instance.rsvc(&["start", "nightly", "as-it-is"]).expect(0);
    instance.wait_for_log("nightly", "good night");
    let timers = instance.rsvc(&["list", "--timers"]).expect(0);
    assert!(timers.out.contains("as-it-is"), "{}", timers.out);
}

#[test]
fn a_worker_is_fed_through_a_directory_and_sees_no_network() {
    root_only!();
    let instance = instance_with(&["worker"]);
    instance.rsvc(&["start", "worker"]).expect(0);
    let spool = state(&instance, "worker");
    eventually("the worker waits for work", || spool.join("in").is_dir().then_some(()));
    std::fs::write(spool.join("in/first"), "three short words").expect("a job");
    instance.wait_for_log("worker", "done: first");
    assert_eq!(std::fs::read_to_string(spool.join("out/first")).expect("a result").trim(), "3");
    let pid = instance.main_process("worker").pid;
    let interfaces = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("interfaces");
    let names: Vec<&str> =
        interfaces.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    assert!(names.contains(&"lo") && !names.contains(&"eth0"), "{names:?}");
}

#[test]
fn a_web_server_serves_its_pages() {
    root_and_perl!();
    let _turn = ports();
    if !is_free(8481) {
        return skipped("port 8481 is in use");
    }
    let instance = instance_with(&["web"]);
    instance.rsvc(&["start", "web"]).expect(0);
    std::fs::write(state(&instance, "web").join("index.html"), "<h1>it works</h1>").expect("a page");
    assert!(get(8481, "").contains("it works"));
    assert!(get(8481, "missing.html").contains("404"));
}

#[test]
fn an_on_demand_service_is_started_by_who_connects() {
    root_and_perl!();
    let _turn = ports();
    if !is_free(8480) {
        return skipped("port 8480 is in use");
    }
    let instance = instance_with(&["on-demand"]);
    instance.rsvc(&["start", "on-demand"]).expect(0);
    assert!(instance.status("on-demand")["main_pid"].is_null(), "nobody has asked for it");
    assert!(get(8480, "").contains("have served 1 of you"));
    assert!(instance.status("on-demand")["main_pid"].is_u64());
}

#[test]
fn replicas_answer_each_on_its_port() {
    root_and_perl!();
    let _turn = ports();
    if ![8481, 8482, 8483].into_iter().all(is_free) {
        return skipped("ports 8481 to 8483 are in use");
    }
    let instance = instance_with(&["pages@"]);
    instance.rsvc(&["start", "pages"]).expect(0);
    for number in 1..=3 {
        assert!(get(8480 + number, "").contains(&format!("I am number {number}")));
    }
    instance.rsvc(&["scale", "pages=1"]).expect(0);
    assert!(get(8481, "").contains("I am number 1"));
    eventually("the highest are stopped", || is_free(8483).then_some(()));
}

#[test]
fn a_pod_of_two_talks_on_a_loopback_of_its_own() {
    root_and_perl!();
    let instance = instance_with(&["shop", "shop-watch", "shop.slice"]);
    instance.rsvc(&["start", "shop-watch"]).expect(0);
    instance.wait_for_log("shop-watch", "the shop says: customer number");
    assert_eq!(instance.status("shop")["state"], "active", "it was started before");
}

#[test]
fn a_legacy_daemon_is_followed_into_the_background_and_heard() {
    root_and_perl!();
    let instance = instance_with(&["legacy"]);
    let said = instance.rsvc(&["start", "legacy"]);
    assert_eq!(said.code, 0, "{}{}", said.err, instance.log("legacy"));
    let main = instance.main_process("legacy");
    assert!(main.command_line().contains("perl"), "{}", main.command_line());
    instance.wait_for_log("legacy", "here I am, uid 65534");
    instance.rsvc(&["stop", "legacy"]).expect(0);
    assert!(!main.is_alive());
}

#[test]
fn an_overlay_keeps_changes_from_the_host() {
    root_only!();
    let instance = instance_with(&["overlay"]);
    let said = instance.rsvc(&["start", "overlay"]);
    if said.err.contains("step") && said.err.contains("overlay") {
        return skipped(&format!("this host's root cannot be a layer: {}", said.err));
    }
    said.expect(0);
    instance.wait_for_log("overlay", "inside: changed, and no more /etc/os-release");
    assert!(!Path::new("/usr/overlay-example").exists() && Path::new("/etc/os-release").exists());
}

#[test]
fn a_unit_of_an_ordinary_user_runs_under_the_users_own_daemon() {
    let Some(home) = Home::new() else { return };
    home.unit("user", &example("user"));
    home.rsvc(&["start", "user"]).expect(0);
    let log = eventually("it says who it is", || {
        let said = home.rsvc(&["logs", "user"]);
        said.out.contains("and write to").then_some(said.out)
    });
    assert!(log.contains("/user-example"), "{log}");
    assert_eq!(home.status("user")["state"], "active");
}
