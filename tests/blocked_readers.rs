//! Clients whose output nobody reads: the daemon and the services go on, nothing gathers anywhere, and who reads again
//! gets everything, or the number of what is missing.

mod instance;

use instance::{Instance, eventually, is_root, skipped};
use rustix::fs::OFlags;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};

/// A growth of the daemon that is no leak, KiB: what the allocator keeps.
const SLACK: u64 = 8 * 1024;

/// A command that is killed at the end.
struct Running(Child);

impl Running {
    fn start(instance: &Instance, arguments: &[&str], stdout: Stdio) -> Running {
        let child = instance.command().args(arguments).stdin(Stdio::null()).stdout(stdout).spawn();
        Running(child.expect("rsvc runs"))
    }

    fn output(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().expect("a pipe"))
    }

    /// It waits in write(2): nobody reads what it says.
    fn is_stuck(&self) -> bool {
        let syscall = fs::read_to_string(format!("/proc/{}/syscall", self.0.id())).unwrap_or_default();
        syscall.split(' ').next() == Some(&libc_write().to_string())
    }
}

/// Number of write(2).
fn libc_write() -> i64 {
    if cfg!(target_arch = "x86_64") { 1 } else { 64 }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident memory of the daemon, KiB.
fn memory(instance: &Instance) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", instance.daemon_pid())).expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// The N of `... line N`.
fn number(line: &str) -> u64 {
    line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn who_follows_a_log_and_does_not_read_misses_nothing_over_many_rotations() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit_as_is(
        "web",
        r#"
[service]
exec = ["/bin/sh", "-c", """
go=no; trap 'go=yes' USR1; echo line 0
while [ $go = no ]; do sleep 0.05; done
i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo a line of some length, so that it fills the files line $i; done
exec sleep 1000
"""]
[logging]
target = "file"
[logging.file]
max_size = "128K"
max_files = 50
"#,
    );
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "line 0");
    let mut follower = Running::start(&instance, &["logs", "-f", "web"], Stdio::piped());
    let mut output = follower.output();
    let mut first = String::new();
    output.read_line(&mut first).expect("a line");
    assert_eq!(number(first.trim_end()), 0);
    let before = memory(&instance);
    instance.main_process("web").signal(rustix::process::Signal::USR1);
    eventually("nobody reads", || follower.is_stuck().then_some(()));
    instance.wait_for_log("web", "line 20000");
    assert!(instance.file("state/log/web.log.5").exists(), "many rotations");
    assert!(memory(&instance) < before + SLACK, "{before} KiB, then {} KiB", memory(&instance));
    instance.rsvc(&["status", "web"]).expect(0);
    for (n, line) in output.lines().take(20_000).enumerate() {
        assert_eq!(number(&line.expect("text")), n as u64 + 1);
    }
}

#[test]
fn who_listens_to_events_and_does_not_read_costs_nothing_and_is_told_what_was_lost() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit(
        "web",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"trap : HUP; while :; do sleep 1000 & wait; kill $!; done\"]\n\
         reload_signal = \"SIGHUP\"\n",
    );
    instance.rsvc(&["start", "web"]).expect(0);
    let (reader, writer) = full_pipe();
    let listener = Running::start(&instance, &["events", "--present"], Stdio::from(writer));
    eventually("nobody reads", || listener.is_stuck().then_some(()));
    let before = memory(&instance);
    // More than the pipe, the two ends of the socket and the daemon's own share hold.
    reload(&instance, "web", 2000);
    assert!(memory(&instance) < before + SLACK, "{before} KiB, then {} KiB", memory(&instance));
    instance.rsvc(&["restart", "web"]).expect(0);
    let mut lines = BufReader::new(fs::File::from(reader)).lines().map(|line| line.expect("text"));
    let (mut kept, mut lost) = (0, 0);
    while lost == 0 {
        let line = lines.next().expect("it goes on");
        match line.split_once(" entries: this reader was too slow") {
            Some((begin, _)) => lost = number(&begin.replace('(', " ")),
            None if line.contains(" present ") => {}
            None => kept += 1,
        }
    }
    assert!(kept > 0);
    instance.rsvc(&["stop", "web"]).expect(0);
    assert!(lines.any(|line| line.contains(" web stopped")), "it goes on");
}

/// Reloads a unit so many times over one connection.
fn reload(instance: &Instance, unit: &str, times: usize) {
    let stream = UnixStream::connect(instance.file("run/io.rsvc")).expect("the socket");
    let mut stream = BufReader::new(stream);
    let call = format!("{{\"method\":\"io.rsvc.Manager.Reload\",\"parameters\":{{\"unit\":\"{unit}\"}}}}\0");
    for _ in 0..times {
        stream.get_mut().write_all(call.as_bytes()).expect("a call");
        let mut answer = Vec::new();
        stream.read_until(0, &mut answer).expect("an answer");
        assert!(!String::from_utf8_lossy(&answer).contains("error"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn a_status_that_nobody_reads_delays_no_one_and_is_whole_afterwards() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let (reader, writer) = full_pipe();
    let status = Running::start(&instance, &["status", "web"], Stdio::from(writer));
    let list = instance.rsvc(&["list"]).expect(0);
    assert!(list.out.contains("web"), "{list:?}");
    eventually("nobody reads", || status.is_stuck().then_some(()));
    instance.rsvc(&["restart", "web"]).expect(0);
    let mut text = Vec::new();
    fs::File::from(reader).read_to_end(&mut text).expect("read");
    let page = String::from_utf8(text).expect("text");
    let page = page.trim_start_matches('x');
    assert!(page.contains("web") && page.contains("active (running)") && page.ends_with('\n'), "{page}");
}

/// A pipe that takes no more; only a child gets the end for writing.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&writer).expect("flags");
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("non-blocking");
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).expect("blocking");
    (reader, writer)
}
