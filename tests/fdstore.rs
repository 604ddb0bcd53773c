//! Descriptors that a service leaves for its next run, with real processes: what comes back, what is dropped, what a
//! killed daemon or keeper costs. The services are perl programs; perl sends descriptors by a bare sendmsg(2).

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, eventually, skipped};
use std::fs;

/// What every program begins with. `give(TEXT, FDS)` sends one datagram with descriptors, `barrier` returns when all
/// that was sent before has been acted on, `wait_for(NAME)` waits for a file in the state directory. The first line says
/// what the run found; `@found` are the descriptors.
fn program(rest: &str) -> String {
    let sendmsg = if cfg!(target_arch = "x86_64") { 46 } else { 211 };
    format!(
        r#"
use Socket; $| = 1; $^F = 0;
sub give {{
  my ($text, @fds) = @_;
  socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; connect($s, sockaddr_un($ENV{{NOTIFY_SOCKET}})) or die "connect: $!";
  my $part = pack("PQ", $text, length $text);
  my $control = @fds ? pack("Qll", 16 + 4 * @fds, 1, 1) . pack("l*", @fds) : "";
  $control .= "\0" x (-length($control) % 8);
  my $header = pack("QQPQPQlx4", 0, 0, $part, 1, $control, length $control, 0);
  $header = pack("QQPQQQlx4", 0, 0, $part, 1, 0, 0, 0) unless @fds;
  # ETOOMANYREFS: as many descriptors are on their way, of all processes of the user, as one may have open.
  until (syscall({sendmsg}, fileno($s), $header, 0x4000) >= 0) {{
    $!{{ETOOMANYREFS}} or die "sendmsg: $!"; select(undef, undef, undef, 0.02);
  }}
}}
sub barrier {{ pipe(my $r, my $w) or die; give("BARRIER=1", fileno $w); close $w; sysread($r, my $x, 1) }}
sub wait_for {{ select(undef, undef, undef, 0.02) until -e "$ENV{{STATE_DIRECTORY}}/$_[0]" }}
my $count = $ENV{{LISTEN_FDS}} // 0;
my @found = map {{ open(my $h, "+<&=", $_) or open($h, "<&=", $_) or die; $h }} (3 .. 2 + $count);
print "found $count ", $ENV{{LISTEN_FDNAMES}} // "none", " of ", $ENV{{FDSTORE}} // "none", "\n";
{rest}
"#
    )
}

/// A unit that may store `max` descriptors; `rest` is what its program does, `more` are more tables.
fn unit(instance: &Instance, name: &str, max: u32, rest: &str, more: &str) {
    instance.unit(
        name,
        &format!(
            "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''{}''']\nfile_descriptor_store_max = {max}\n\
             [restart]\ndelay = \"10ms\"\n[directories]\nstate = [\"{name}\"]\n{more}\n[logging]\ntarget = \"file\"\n",
            program(rest)
        ),
    );
}

fn signal_by_file(instance: &Instance, unit: &str, file: &str) {
    fs::write(instance.file(&format!("state/directories/state/{unit}/{file}")), "").expect("file");
}

fn stored(instance: &Instance, unit: &str) -> u64 {
    instance.status(unit)["stored_descriptors"].as_u64().expect("a number")
}

fn wait_for_stored(instance: &Instance, unit: &str, count: u64) {
    eventually(&format!("{unit} has stored {count}"), || (stored(instance, unit) == count).then_some(()));
}

/// Waits until the program has said so in its log so many times.
fn wait_for_words(instance: &Instance, unit: &str, words: &str, times: usize) {
    eventually(&format!("`{words}` {times} times"), || {
        (instance.log(unit).matches(words).count() >= times).then_some(())
    });
}

/// The keeper of a unit, as its file names it.
fn keeper(instance: &Instance, unit: &str) -> Option<Process> {
    let text = fs::read_to_string(instance.file(&format!("run/services/{unit}/sockets"))).ok()?;
    let saved: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    Process::with_pid(i32::try_from(saved["keeper"]["pid"].as_i64().expect("a pid")).expect("a pid"))
}

/// Open descriptors of the daemon.
fn descriptors(instance: &Instance) -> usize {
    fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid())).expect("the daemon runs").count()
}

/// Stores the read end of a pipe that holds a line, with its write end, unless an earlier run did.
const STORES_A_LINE: &str = r#"
if ($count == 0) {
  pipe(my $r, my $w) or die; syswrite($w, "from the first run\n");
  give("FDSTORE=1\nFDNAME=in", fileno $r); give("FDSTORE=1\nFDNAME=out", fileno $w); barrier();
  print "stored\n";
} else {
  my $h = $found[$count - 2]; sysread($h, my $line, 100); print "read $line";
  syswrite($found[$count - 1], $line);
}
sleep 1000"#;

#[test]
fn what_is_stored_comes_back_after_the_sockets_whoever_dies_in_between() {
    root_and_perl!();
    let mut instance = Instance::start();
    let listen = format!("[[sockets]]\nlisten = \"unix:{}\"\nname = \"web\"\n", instance.file("web.sock").display());
    // The socket is there in every run, so the program counts without it.
    let rest = STORES_A_LINE.replace("$count == 0", "$count == 1");
    unit(&instance, "web", 4, &rest, &listen);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "found 1 web of 4");
    instance.wait_for_log("web", "stored");
    assert_eq!(stored(&instance, "web"), 2, "a barrier is answered after the store");
    let page = instance.rsvc(&["status", "web"]).expect(0);
    assert!(page.out.contains("FD store: 2 of 4"), "{}", page.out);

    instance.rsvc(&["restart", "web"]).expect(0);
    wait_for_words(&instance, "web", "found 3 web:in:out of 4", 1);
    wait_for_words(&instance, "web", "read from the first run", 1);
    // An end that nobody asked for.
    instance.main_process("web").signal(rustix::process::Signal::KILL);
    wait_for_words(&instance, "web", "found 3 web:in:out of 4", 2);
    wait_for_words(&instance, "web", "read from the first run", 2);
    // The daemon is killed; then with it the service.
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(stored(&instance, "web"), 2);
    instance.rsvc(&["restart", "web"]).expect(0);
    wait_for_words(&instance, "web", "read from the first run", 3);
    let main = instance.main_process("web");
    instance.kill_daemon();
    main.signal(rustix::process::Signal::KILL);
    instance.start_daemon();
    wait_for_words(&instance, "web", "found 3 web:in:out of 4", 4);
    wait_for_words(&instance, "web", "read from the first run", 4);

    let kept = keeper(&instance, "web").expect("a keeper");
    instance.rsvc(&["stop", "web"]).expect(0);
    assert_eq!(stored(&instance, "web"), 0);
    eventually("no keeper", || (!kept.is_alive()).then_some(()));
    instance.rsvc(&["start", "web"]).expect(0);
    wait_for_words(&instance, "web", "found 1 web of 4", 2);
}

#[test]
fn a_killed_keeper_is_replaced_and_one_that_no_file_names_is_ended() {
    root_and_perl!();
    let mut instance = Instance::start();
    unit(&instance, "web", 4, STORES_A_LINE, "");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "stored");
    let first = keeper(&instance, "web").expect("a keeper");
    first.signal(rustix::process::Signal::KILL);
    let second = eventually("another keeper", || keeper(&instance, "web").filter(|keeper| *keeper != first));
    instance.rsvc(&["restart", "web"]).expect(0);
    wait_for_words(&instance, "web", "read from the first run", 1);
    // As if the daemon had been killed before it could write which keeper is the right one.
    instance.kill_daemon();
    fs::remove_file(instance.file("run/services/web/sockets")).expect("the file");
    assert!(second.is_alive());
    instance.start_daemon();
    if fs::read_to_string("/proc/self/cgroup").is_ok_and(|text| text.contains("0::")) {
        eventually("it is ended", || (!second.is_alive()).then_some(()));
    } else {
        skipped("without cgroup v2 keepers have no group in which they are found");
    }
    assert_eq!(instance.status("web")["state"], "active", "the service has lost nothing but what it stored");
    assert_eq!(stored(&instance, "web"), 0);
}

#[test]
fn what_was_sent_and_said_while_no_daemon_ran_is_heard_by_the_next() {
    root_and_perl!();
    let mut instance = Instance::start();
    // More descriptors than a service has without them: nothing that PID 1 keeps may lose its number for them.
    let rest = r#"
if ($count == 0) {
  my @pipes = map { pipe(my $r, my $w) or die; [$r, $w] } (1 .. 10);
  give("FDSTORE=1", map { (fileno $_->[0], fileno $_->[1]) } @pipes); barrier(); print "stored\n"; sleep 1000;
}
wait_for("go");
open(my $f, "<", "/etc/passwd") or die; give("FDSTORE=1\nFDNAME=late\nSTATUS=alone", fileno $f);
open(my $s, ">", "$ENV{STATE_DIRECTORY}/sent") or die; print "sent\n"; sleep 1000"#;
    unit(&instance, "web", 30, rest, "");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "stored");
    instance.rsvc(&["restart", "web"]).expect(0);
    instance.wait_for_log("web", "found 20 ");
    instance.kill_daemon();
    signal_by_file(&instance, "web", "go");
    // Nobody reads the log now; the program says in a file that it has sent.
    eventually("it has sent", || instance.file("state/directories/state/web/sent").exists().then_some(()));
    instance.start_daemon();
    instance.wait_for_log("web", "sent");
    wait_for_stored(&instance, "web", 21);
    assert_eq!(instance.status("web")["status_text"], "alone");
}

#[test]
fn a_daemon_that_runs_out_of_descriptors_says_so_and_loses_none() {
    root_and_perl!();
    let mut instance = Instance::prepared();
    let rest = r#"
pipe(my $r, my $w) or die;
for (1 .. 5) { give("FDSTORE=1\nFDPOLL=0", (fileno $r) x 253) } barrier(); print "sent\n";
pipe(my $a, my $b) or die; give("FDSTORE=1\nFDPOLL=0\nFDNAME=b", map { pipe(my $x, my $y) or die; push @all, $x, $y; fileno $x } (1 .. 40));
barrier(); print "more\n"; sleep 1000"#;
    unit(&instance, "web", 5000, rest, "");
    instance.wrap_daemon(&["prlimit", "--nofile=120:120"]);
    instance.start_daemon();
    let before = descriptors(&instance);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "more");
    let log = instance.daemon_log();
    assert!(log.contains("the daemon has no room for all descriptors that came along"), "{log}");
    assert!(log.contains("of which all units together may store one in 4"), "{log}");
    let count = stored(&instance, "web");
    assert!((1..=30).contains(&count), "{count} are stored");
    instance.rsvc(&["stop", "web"]).expect(0);
    // One message that was not closed would be 33 or more; the first launch leaves a few of its own.
    eventually("nothing is left open", || (descriptors(&instance) < before + 20).then_some(()));
}

#[test]
fn what_hangs_up_is_dropped_unless_the_service_says_no_poll() {
    root_and_perl!();
    let instance = Instance::start();
    let rest = r#"
pipe(my $a, my $aw) or die; pipe(my $b, my $bw) or die;
open(my $f, "<", "/etc/passwd") or die;
give("FDSTORE=1\nFDNAME=polled", fileno $a); give("FDSTORE=1\nFDPOLL=0\nFDNAME=kept", fileno $b);
give("FDSTORE=1\nFDNAME=file", fileno $f); barrier();
print "stored\n"; wait_for("go"); close $aw; close $bw; print "closed\n"; sleep 1000"#;
    unit(&instance, "web", 4, rest, "");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "stored");
    assert_eq!(stored(&instance, "web"), 3);
    signal_by_file(&instance, "web", "go");
    wait_for_stored(&instance, "web", 2);
    instance.rsvc(&["restart", "web"]).expect(0);
    instance.wait_for_log("web", "found 2 kept:file of 4");
}

#[test]
fn what_is_too_much_or_there_already_is_named_and_closed() {
    root_and_perl!();
    let instance = Instance::start();
    let rest = r#"
my @pipes = map { pipe(my $r, my $w) or die; [$r, $w] } (1 .. 6);
my @ends = map { fileno $_->[0] } @pipes;
give("FDSTORE=1\nFDPOLL=0\nFDNAME=a", $ends[0], $ends[0]); give("FDSTORE=1\nFDPOLL=0\nFDNAME=a", $ends[0]);
give("FDSTORE=1\nFDPOLL=0\nFDNAME=b", $ends[0]);
give("FDSTORE=1\nFDPOLL=0", @ends); barrier();
print "full\n"; wait_for("go");
give("FDSTOREREMOVE=1\nFDNAME=stored"); give("FDSTOREREMOVE=1\nFDNAME=nobody"); barrier();
print "removed\n"; wait_for("more");
give("FDSTORE=1"); give("FDSTORE=1\nFDNAME=x:y", $ends[1]); give("FDSTORE=1", ($ends[1]) x 253); barrier();
print "again\n"; wait_for("flood");
for (1 .. 50) { give("FDSTORE=1\nFDNAME=z", @ends) } barrier();
print "flooded\n"; sleep 1000"#;
    unit(&instance, "web", 3, rest, "");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "full");
    assert_eq!(stored(&instance, "web"), 3, "one by name, two of the rest");
    for part in [
        "1 descriptors of the name \"b\" are closed: it is stored already under another name",
        "3 descriptors of the name \"stored\" are closed: 3 are there, as many as service.file_descriptor_store_max",
    ] {
        assert!(instance.daemon_log().contains(part), "`{part}` in: {}", instance.daemon_log());
    }
    signal_by_file(&instance, "web", "go");
    instance.wait_for_log("web", "removed");
    assert_eq!(stored(&instance, "web"), 1);
    let before = descriptors(&instance);
    signal_by_file(&instance, "web", "more");
    instance.wait_for_log("web", "again");
    assert_eq!(stored(&instance, "web"), 2, "253 copies of one descriptor are one");
    for part in ["FDSTORE=1 came without descriptors", "without `:`"] {
        assert!(instance.daemon_log().contains(part), "`{part}` in: {}", instance.daemon_log());
    }
    signal_by_file(&instance, "web", "flood");
    instance.wait_for_log("web", "flooded");
    assert_eq!(stored(&instance, "web"), 3);
    // Two more are stored than before, and nothing else is left open.
    eventually("nothing is left open", || (descriptors(&instance) <= before + 2).then_some(()));
}

#[test]
fn a_service_that_may_not_store_is_told_so_and_a_changed_unit_counts_at_the_next_start() {
    root_and_perl!();
    let instance = Instance::start();
    let rest = r#"
pipe(my $a, my $aw) or die; pipe(my $b, my $bw) or die;
give("FDSTORE=1\nFDNAME=a", fileno $a) ; give("FDSTORE=1\nFDNAME=b", fileno $b); barrier(); print "sent\n"; sleep 1000"#;
    unit(&instance, "never", 0, rest, "");
    let file = instance.file("units/never.toml");
    let text = fs::read_to_string(&file).expect("the unit");
    fs::write(&file, text.replace("file_descriptor_store_max", "notify_access = \"main\"\nfile_descriptor_store_max"))
        .expect("the unit");
    instance.rsvc(&["start", "never"]).expect(0);
    instance.wait_for_log("never", "sent");
    assert!(instance.daemon_log().contains("not stored: service.file_descriptor_store_max is 0"));
    assert!(instance.status("never")["stored_descriptors"].is_null());

    unit(
        &instance,
        "web",
        2,
        &rest
            .replace("pipe(my $a", "if ($count) { sleep 1000 } pipe(my $a")
            .replace("FDSTORE=1", "FDSTORE=1\\nFDPOLL=0"),
        "",
    );
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "sent");
    unit(&instance, "web", 1, "sleep 1000", "");
    instance.rsvc(&["restart", "web"]).expect(0);
    instance.wait_for_log("web", "found 1 a of 1");
    assert!(instance.daemon_log().contains("service.file_descriptor_store_max is 1 now"));
}

#[test]
fn strangers_store_nothing() {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::io::{IoSlice, Read};
    use std::os::fd::AsRawFd;
    root_and_perl!();
    let instance = Instance::start();
    unit(&instance, "web", 4, "sleep 1000", "");
    instance.rsvc(&["start", "web"]).expect(0);
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("socket");
    let address = UnixAddr::new(&instance.file("run/io/web/notify")).expect("address");
    let (copies, payload) = ([writer.as_raw_fd()], [IoSlice::new(b"FDSTORE=1")]);
    let rights = [ControlMessage::ScmRights(&copies)];
    sendmsg(socket.as_raw_fd(), &payload, &rights, MsgFlags::empty(), Some(&address)).expect("send");
    drop(writer);
    // End of file comes when the daemon has closed it.
    assert_eq!(reader.read(&mut [0; 1]).expect("read"), 0);
    assert_eq!(stored(&instance, "web"), 0);
    assert!(instance.daemon_log().contains("does not belong to it"));
}
