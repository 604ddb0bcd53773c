//! A terminal with a command on it; the test is the person in front of it.

use super::{Said, eventually};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

/// See the module documentation.
pub struct Desk {
    pub master: OwnedFd,
    /// Kept open, so that the modes can be asked for when the run is over.
    pub slave: OwnedFd,
    found: Termios,
    /// What runs on it.
    pub run: Child,
    /// Written, and not waited for yet.
    pub seen: String,
}

/// Of a terminal.
pub fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Desk {
    /// Runs the command as the leader of a session whose terminal this is.
    pub fn new(run: &Command) -> Desk {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        unlockpt(&master).expect("unlocked");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).expect("the other side");
        tcsetwinsize(&master, size(31, 97)).expect("a size");
        rustix::io::ioctl_fionbio(&master, true).expect("it does not block");
        let found = tcgetattr(&slave).expect("modes");
        let stream = || Stdio::from(slave.try_clone().expect("a copy"));
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(run.get_program()).args(run.get_args()).current_dir("/").env("TERM", "vt102");
        for (name, value) in run.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let run = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("it starts");
        Desk { master, slave, found, run, seen: String::new() }
    }

    /// Takes what has been written.
    pub fn look(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = rustix::io::read(&self.master, &mut buffer) {
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    /// Waits until the text is on the screen, behind what was waited for before, and returns its line.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let found = eventually(&format!("`{text}`"), || {
            self.look();
            let ended = self.run.try_wait().expect("wait").is_some();
            let at = self.seen.find(text);
            assert!(at.is_some() || !ended, "`{text}` did not come: {}", self.seen);
            let line = self.seen[at?..].split_once('\n')?.0.to_owned();
            let end = at? + line.len() + 1;
            Some((line, end))
        });
        self.seen.drain(..found.1);
        found.0.trim_end_matches('\r').to_owned()
    }

    pub fn type_in(&self, text: &str) {
        assert_eq!(rustix::io::write(&self.master, text.as_bytes()), Ok(text.len()));
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.run), signal).expect("it runs");
    }

    /// The terminal echoes and knows lines: nobody has it in raw mode.
    pub fn is_as_found(&self) -> bool {
        let now = tcgetattr(&self.slave).expect("modes");
        (now.input_modes, now.output_modes, now.local_modes)
            == (self.found.input_modes, self.found.output_modes, self.found.local_modes)
    }

    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("modes").local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// The exit code; the terminal is as it was found, nothing was typed into it, and nothing else is left.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let status = eventually("the run ends", || {
            self.look();
            self.run.try_wait().expect("wait")
        });
        self.look();
        assert!(self.is_as_found(), "the modes of the terminal are not restored");
        rustix::io::ioctl_fionbio(&self.slave, true).expect("it does not block");
        let typed = rustix::io::read(&self.slave, &mut [0; 64]);
        assert_eq!(typed, Err(rustix::io::Errno::AGAIN), "somebody typed on the caller's terminal");
        Said::from(std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() }).code
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.run.kill();
        let _ = self.run.wait();
    }
}
