//! `rsvc exec` and `rsvc shell`: a command in the container of a unit that runs.
//!
//! The daemon gets the standard streams and one side of a socket pair, on whose other side the command's end is told
//! here; the daemon itself is needed only until the command has been executed. Nothing in the container ever has this
//! terminal open: with a person at it the command gets one of the container, which is relayed; else what would be the
//! terminal is a pipe from here, or nothing.

mod relay;
mod streams;

use super::args::Exec;
use super::client::Client;
use super::terminal::{harmless, variable};
use super::{Failure, Session};
use crate::control::{Call, Terminal};
use relay::{End, Relay};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use streams::Streams;

/// rsvc itself failed, as the daemon says it too.
const FAILED: u8 = 125;

/// What is tried for `rsvc shell`.
const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash; exec sh";

/// `exec`
pub fn exec(session: &mut Session<'_>, wish: &Exec) -> Result<u8, Failure> {
    let command = super::run::command_words(&wish.command)?;
    let persons = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if wish.pty && !persons {
        let text = "`--pty` needs a terminal as standard input and output: leave it out where there is none";
        return Err(Failure::new(2, text));
    }
    run(session, &wish.unit, command, persons && !wish.no_pty, wish.user.clone())
}

/// `shell`
pub fn shell(session: &mut Session<'_>, unit: &str, user: Option<String>) -> Result<u8, Failure> {
    let persons = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let command = ["/bin/sh", "-c", SHELL].map(str::to_owned).to_vec();
    run(session, unit, command, persons, user)
}

fn run(
    session: &mut Session<'_>,
    unit: &str,
    command: Vec<String>,
    pty: bool,
    user: Option<String>,
) -> Result<u8, Failure> {
    let failed = |what: &'static str| move |error: std::io::Error| Failure::new(FAILED, format!("{what}: {error}"));
    let unit = unit.strip_suffix(".toml").unwrap_or(unit).to_owned();
    let streams = Streams::open(pty).map_err(failed("standard streams"))?;
    let Streams { given, caller, ours } = streams;
    let relay = Relay::new(ours).map_err(failed("signals"))?;
    let mut client = Client::connect(&session.instance.socket())?;
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok();
    let terminal = pty.then(|| Terminal {
        kind: variable("TERM").unwrap_or_default(),
        rows: size.map_or(0, |size| size.ws_row),
        columns: size.map_or(0, |size| size.ws_col),
    });
    let call = Call::Exec { unit: unit.clone(), command, terminal, user, image: false };
    let descriptors = [given[0].as_fd(), given[1].as_fd(), given[2].as_fd(), caller.as_fd()];
    client.send_once_with(&call, &descriptors)?;
    // Else the end of what the command writes would never come.
    drop((given, caller));
    let lost = match client.answer(None) {
        Ok(answered) => answered.map_err(Failure::from).map(|_| None)?,
        // A daemon that is gone may have launched it: its own socket tells.
        Err(lost) => Some(lost),
    };
    drop(client);
    match (relay.run(pty), lost) {
        (Ok(End::Exited(status)), _) => Ok(status),
        (Ok(End::Killed(signal)), _) => Ok(128_u8.saturating_add(signal)),
        (Ok(End::Lost) | Err(_), Some(lost)) => Err(lost),
        (Err(error), None) => Err(failed("passing on what the command reads and writes")(error)),
        (Ok(End::Lost), None) => {
            let text = format!("{}: the command was killed; has the unit been stopped?", harmless(&unit));
            Err(Failure::new(128 + 9, text))
        }
    }
}
