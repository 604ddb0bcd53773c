//! The tracer with which other tests kill the daemon at its system calls, and make them fail.

#[macro_use]
mod instance;

use instance::Instance;
use instance::process::Process;
use instance::tracer::{Call, End, Tracer, Verdict, When};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

type Calls = Arc<Mutex<Vec<(String, When)>>>;

/// A judge that writes down what it sees, and the list.
fn recording() -> (Calls, impl FnMut(&Call, When) -> Verdict + Send + 'static) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&calls);
    (calls, move |call, when| {
        if call.is_effect() {
            list.lock().unwrap().push((call.to_string(), when));
        }
        Verdict::Go
    })
}

fn is_rename_of_state(call: &Call) -> bool {
    call.name() == "rename" && call.object().is_some_and(|path| path.ends_with("services/one/state"))
}

#[test]
fn calls_are_seen_with_their_names_and_paths_and_the_daemon_runs_on() {
    root_only!();
    let instance = Instance::start();
    instance.unit("one", SLEEP);
    let (calls, judge) = recording();
    let Some(tracer) = Tracer::attach(instance.daemon_pid(), judge) else { return };
    instance.rsvc(&["start", "one"]).expect(0);
    assert_eq!(tracer.release(), End::Released);
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    let state = instance.file("run/services/one/state");
    let rename = (format!("rename {}", state.display()), When::Before);
    assert!(calls.contains(&rename), "{calls:#?}");
    // Beginnings and ends take turns, and the services' calls are not among them.
    assert!(calls.chunks(2).all(|pair| pair[0].1 == When::Before && pair[1].1 != When::Before), "{calls:#?}");
    assert!(!calls.iter().any(|(call, _)| call.starts_with("execve")), "{calls:#?}");
    instance.rsvc(&["stop", "one"]).expect(0);
}

#[test]
fn a_daemon_is_killed_before_a_call_or_after_it() {
    root_only!();
    for after in [false, true] {
        let mut instance = Instance::start();
        instance.unit("one", SLEEP);
        let judge = move |call: &Call, when: When| match is_rename_of_state(call) && after == (when != When::Before) {
            true => Verdict::Kill,
            false => Verdict::Go,
        };
        let Some(tracer) = Tracer::attach(instance.daemon_pid(), judge) else { return };
        let mut client = instance.command().args(["start", "one"]).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(tracer.wait(), End::Killed);
        instance.kill_daemon();
        assert_eq!(instance.file("run/services/one/state").exists(), after);
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn a_call_fails_without_being_made() {
    root_only!();
    let instance = Instance::start();
    instance.unit("one", SLEEP);
    let judge = |call: &Call, when: When| match (is_rename_of_state(call), when) {
        (true, When::Before) => Verdict::Fail(libc::ENOSPC),
        (true, When::After(result)) => {
            assert_eq!(result, i64::from(-libc::ENOSPC));
            Verdict::Release
        }
        (false, _) => Verdict::Go,
    };
    let Some(tracer) = Tracer::attach(instance.daemon_pid(), judge) else { return };
    instance.rsvc(&["start", "--no-wait", "one"]).expect(0);
    assert_eq!(tracer.wait(), End::Released);
    instance::eventually("the daemon says so", || instance.daemon_log().contains("No space left").then_some(()));
    instance.wait_for_state("one", "active");
}

#[test]
fn a_daemon_is_traced_from_its_first_call_on_and_may_end_by_itself() {
    root_only!();
    let mut instance = Instance::prepared();
    instance.unit("one", SLEEP);
    let (calls, judge) = recording();
    let Some(tracer) = instance.start_traced_daemon(judge) else { return };
    assert!(instance.answers(&tracer));
    instance.rsvc(&["start", "one"]).expect(0);
    let daemon = Process::with_pid(instance.daemon_pid()).unwrap();
    // Passed on like any other signal.
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(tracer.wait(), End::Over);
    instance.kill_daemon();
    let lock = format!("flock {}", instance.file("run/lock").display());
    assert!(calls.lock().unwrap().iter().any(|(call, _)| *call == lock), "{calls:#?}");
}
