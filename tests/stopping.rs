//! What `rsvc stop` says on a terminal while it waits.

mod instance;

use instance::{Instance, eventually, is_root, skipped};
use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc::channel;

#[test]
fn a_stop_that_takes_its_time_says_on_a_terminal_what_holds_it_up() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit(
        "deaf",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"trap '' TERM; echo deaf; while :; do sleep 0.1; done\"]\n\
         timeout_stop = \"1h\"\n[restart]\npolicy = \"no\"\n",
    );
    instance.rsvc(&["start", "deaf"]).expect(0);
    instance.wait_for_log("deaf", "deaf");
    let Ok(pty) = nix::pty::openpty(None, None) else { return skipped("no pseudo-terminal") };
    let mut stop = instance
        .command()
        .args(["stop", "deaf"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(pty.slave))
        .spawn()
        .expect("rsvc runs");
    let (sender, pieces) = channel();
    std::thread::spawn(move || {
        let mut terminal = File::from(pty.master);
        let mut piece = [0; 1024];
        // EIO when the last writer is gone.
        while let Ok(count @ 1..) = terminal.read(&mut piece) {
            if sender.send(String::from_utf8_lossy(&piece[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut said = String::new();
    eventually("it says what it waits for", || {
        said.extend(pieces.try_iter());
        said.contains('\n').then_some(())
    });
    let main = instance.main_process("deaf");
    assert!(said.contains("deaf: stopping: SIGTERM was sent, killed in "), "{said}");
    assert!(said.contains(&format!("{} sh", main.pid)), "{said}");
    main.signal(rustix::process::Signal::KILL);
    assert!(stop.wait().expect("rsvc").success(), "{said}");
    assert!(!main.is_alive());
}
