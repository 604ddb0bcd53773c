//! `rsvc run --pty`, on a terminal that the test holds the other side of.

use super::{Place, Who, everybody, once, traces};
use crate::instance::desk::{Desk, size};
use crate::instance::{Said, eventually, is_root, skipped};
use rustix::process::Signal;
use rustix::termios::tcsetwinsize;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The exit code; nothing of the run is left.
#[track_caller]
fn end(desk: &mut Desk) -> i32 {
    let code = desk.end();
    assert_eq!(traces(desk.run.id()), Vec::<PathBuf>::new());
    code
}

/// `rsvc run -t -- WORDS`
fn command<W: AsRef<OsStr>>(place: &Place, who: Who, words: impl IntoIterator<Item = W>) -> Command {
    let mut command = place.command(who);
    command.args(["run", "-t", "--"]).args(words);
    command
}

fn shell(place: &Place, who: Who, script: &str) -> Desk {
    Desk::new(&command(place, who, ["/bin/sh", "-c", script]))
}

/// Somebody who can run units here.
fn somebody(place: &Place) -> Option<Who> {
    everybody(place).pop()
}

#[test]
fn the_program_has_a_terminal_of_its_own_and_no_other() {
    let place = Place::new();
    for who in everybody(&place) {
        let script = "echo term $TERM; tty; stty size; ps -o tty= -p $$ 2>/dev/null; : > /dev/tty && echo controls; \
                      echo fds $(readlink /proc/self/fd/* | sort -u); stat -c 'mine %U %a' $(tty); echo ready; \
                      read line; echo got $line; exit 7";
        let mut desk = shell(&place, who, script);
        assert!(desk.wait_for("rsvc: press ^]").ends_with("kill it"));
        assert_eq!(desk.wait_for("term "), "term vt102");
        assert_eq!(desk.wait_for("/dev/"), "/dev/pts/0", "{who:?}: the container has a devpts of its own");
        assert_eq!(desk.wait_for("31 "), "31 97");
        desk.wait_for("controls");
        // What the shell has open for the substitution is a pipe, what readlink lists is its own directory.
        let fds = desk.wait_for("fds ");
        let terminals: Vec<&str> = fds.split(' ').filter(|fd| fd.contains("pts") || fd.contains("tty")).collect();
        assert_eq!(terminals, ["/dev/pts/0"], "{who:?}: {fds}");
        assert!(desk.wait_for("mine ").ends_with(" 620"));
        desk.wait_for("ready");
        assert!(desk.is_raw(), "what a key means is the inner terminal's affair");
        desk.type_in("hallo\n");
        // The echo of the inner terminal, once, then the answer.
        assert_eq!(desk.wait_for("hallo"), "hallo");
        assert_eq!(desk.wait_for("got"), "got hallo");
        assert_eq!(end(&mut desk), 7, "{who:?}");
        assert_eq!(desk.seen, "", "{who:?}");
    }
}

#[test]
fn a_changed_window_reaches_the_program() {
    let place = Place::new();
    let Some(who) = somebody(&place) else { return };
    let mut desk = shell(&place, who, "trap 'stty size; exit 0' WINCH; echo ready; sleep 1000 & wait; exit 9");
    desk.wait_for("ready");
    tcsetwinsize(&desk.master, size(20, 111)).expect("a size");
    assert_eq!(desk.wait_for("20"), "20 111");
    assert_eq!(end(&mut desk), 0);
}

#[test]
fn control_characters_are_signals_of_the_inner_terminal() {
    let place = Place::new();
    for who in everybody(&place) {
        let mut desk = shell(&place, who, "trap 'echo caught; exit 3' INT; echo ready; sleep 1000 & wait; exit 9");
        desk.wait_for("ready");
        desk.type_in("\x03");
        desk.wait_for("caught");
        assert_eq!(end(&mut desk), 3, "{who:?}: Ctrl-C is the program's");
    }
}

#[test]
fn an_interactive_shell_has_job_control() {
    let place = Place::new();
    let Some(who) = somebody(&place) else { return };
    let mut desk = Desk::new(&command(&place, who, ["/bin/sh", "-i"]));
    desk.wait_for("rsvc: press");
    // Made of two words, so that what is typed is not what is waited for.
    desk.type_in("sh -c 'echo run''ning; kill -STOP $$; echo again'\n");
    desk.wait_for("running");
    desk.type_in("fg && exit 5\n");
    desk.wait_for("again\r");
    assert_eq!(end(&mut desk), 5);
}

#[test]
fn all_that_was_written_last_is_seen() {
    let place = Place::new();
    for who in everybody(&place) {
        let mut desk = shell(&place, who, "seq -f %07.0f 20000; printf the-end; exit 4");
        assert_eq!(end(&mut desk), 4, "{who:?}");
        let wanted: String = (1..=20_000).map(|number| format!("{number:07}\r\n")).collect();
        let (before, seen) = desk.seen.split_at(desk.seen.find("0000001").expect("the first line"));
        assert!(before.starts_with("rsvc: press"), "{before}");
        assert!(seen == wanted + "the-end", "{who:?}: {} bytes end with {:?}", seen.len(), &seen[seen.len() - 40..]);
    }
}

#[test]
fn whatever_ends_the_run_the_terminal_is_as_it_was() {
    let place = Place::new();
    let Some(who) = somebody(&place) else { return };
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut desk = shell(&place, who, "echo ready; sleep 1000");
        desk.wait_for("ready");
        assert!(desk.is_raw());
        desk.signal(signal);
        assert_eq!(end(&mut desk), 130, "{signal:?}");
    }
    // A program that cannot be executed.
    let mut desk = Desk::new(&command(&place, who, ["/etc/passwd"]));
    assert_eq!(end(&mut desk), 126);
    assert!(desk.seen.contains("failed at step EXEC"), "{}", desk.seen);
    assert!(desk.seen.lines().all(|line| line.trim_start() == line || line.starts_with("  ")), "{}", desk.seen);
}

#[test]
fn a_suspended_run_gives_the_terminal_back_and_takes_it_again() {
    let place = Place::new();
    let Some(who) = somebody(&place) else { return };
    let mut desk = shell(&place, who, "echo ready; read line; echo got $line");
    desk.wait_for("ready");
    desk.signal(Signal::TSTP);
    let stat = format!("/proc/{}/stat", desk.run.id());
    eventually("it stops", || std::fs::read_to_string(&stat).ok()?.contains(") T ").then_some(()));
    assert!(desk.is_as_found());
    desk.signal(Signal::CONT);
    eventually("it has the terminal again", || desk.is_raw().then_some(()));
    desk.type_in("more\n");
    assert_eq!(desk.wait_for("got"), "got more");
    assert_eq!(end(&mut desk), 0);
}

#[test]
fn three_escapes_end_a_program_that_hangs() {
    let place = Place::new();
    for who in everybody(&place) {
        let mut desk = shell(&place, who, "trap '' INT TERM HUP; stty raw -echo; echo ready; sleep 1000; echo over");
        desk.wait_for("ready");
        // More than a terminal keeps for a program that does not read.
        let line = "x".repeat(4000);
        for _ in 0..8 {
            eventually("the terminal takes it", || rustix::io::write(&desk.master, line.as_bytes()).ok());
        }
        eventually("the terminal takes it", || rustix::io::write(&desk.master, b"\x1d\x1d\x1d").ok());
        eventually("the terminal takes it", || rustix::io::write(&desk.master, b"\x1d\x1d\x1d").ok());
        assert_eq!(end(&mut desk), 130, "{who:?}");
    }
}

#[test]
fn nothing_inside_can_type_on_the_callers_terminal() {
    let place = Place::new();
    let Some(who) = somebody(&place) else { return };
    if Command::new("perl").arg("-v").stdout(Stdio::null()).status().is_err() {
        return skipped("needs perl inside");
    }
    // TIOCSTI types a character, TIOCLINUX pastes; on every descriptor and on the controlling terminal.
    let program = "open(T, '+<', '/dev/tty') or die; my $c = 'x'; my $p = pack('C', 3); \
                   for my $f (*STDIN, *STDOUT, *STDERR, *T) { for (1..3) { ioctl($f, 0x5412, $c) } \
                   print ioctl($f, 0x541c, $p) ? \"pasted\\n\" : \"no paste\\n\" } print \"done\\n\"; exit 6";
    let mut desk = Desk::new(&command(&place, who, ["perl", "-e", program]));
    desk.wait_for("done");
    // `end` looks what was typed on the caller's.
    assert_eq!(end(&mut desk), 6);
    assert!(!desk.seen.contains("pasted"));
}

#[test]
fn a_unit_has_its_terminal_again_after_a_restart_and_its_commands_have_none() {
    let place = Place::new();
    if !is_root() {
        return skipped("needs root");
    }
    let unit = place.unit(
        "shell",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"tty; echo answer; read line; exit $line\"]\n\
         exec_start_pre = [[\"/bin/sh\", \"-c\", \"tty; echo pre on $(readlink /proc/$$/fd/1)\"]]\n\
         [restart]\npolicy = \"on-failure\"\ndelay = \"10ms\"\n[logging]\ntarget = \"file\"\n",
    );
    let mut run = place.command(Who::Root);
    run.args(["run", "--pty"]).arg(&unit);
    let mut desk = Desk::new(&run);
    assert!(desk.wait_for("rsvc: with --pty").contains("logging.target"));
    for code in ["3", "0"] {
        assert_eq!(desk.wait_for("/dev/pts"), "/dev/pts/0");
        desk.wait_for("answer");
        eventually("the terminal is raw", || desk.is_raw().then_some(()));
        desk.type_in(&format!("{code}\n"));
    }
    assert_eq!(end(&mut desk), 0);
    let file = place.unit(
        "plain",
        &once(r#"["/bin/sh", "-c", "tty"]"#).replace(
            "[restart]",
            "exec_start_pre = [[\"/bin/sh\", \"-c\", \"echo one; readlink /proc/$$/fd/1\"]]\n[restart]",
        ),
    );
    let mut run = place.command(Who::Root);
    run.args(["run", "-q", "-t"]).arg(&file);
    let mut desk = Desk::new(&run);
    desk.wait_for("one");
    assert!(desk.wait_for("pipe:").ends_with(']'), "a command of the unit has no terminal");
    assert_eq!(desk.wait_for("/dev/pts"), "/dev/pts/0");
    assert_eq!(end(&mut desk), 0);
}

#[test]
fn without_a_terminal_there_is_none_to_give() {
    let place = Place::new();
    let output = place.command(Who::Root).args(["run", "-t", "--", "true"]).output().expect("it ends");
    let said = Said::from(output).expect(2);
    assert!(said.err.contains("needs a terminal as standard input"), "{}", said.err);
}
