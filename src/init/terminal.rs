//! `Step::OpenTerminal`: a terminal in the container's devpts for the service, its other side to the daemon; for a command
//! of `rsvc exec`, to whoever asked for it.
//!
//! The caller's own terminal never comes in here: what the service can do to its terminal ends at the new one.

use super::{Context, Failure, Stage};
use crate::plan::wire::{self, Report};
use crate::sys::fd::{self, Open};
use crate::sys::{socket, terminal};
use std::os::fd::AsFd;

/// Opens it, makes it this session's, and lets it stand for the three standard streams.
pub(super) fn open(stage: &mut Stage) -> Result<(), Failure> {
    // Without O_NOCTTY: opening a master gives nobody a controlling terminal.
    let master = fd::open(c"/dev/ptmx", Open::ReadWrite).context(|| "/dev/ptmx")?;
    if fd::stat(master.as_fd())?.node != terminal::MASTER_DEVICE {
        return Err(Failure::new(0, "/dev/ptmx is not the master of terminals"));
    }
    terminal::unlock(master.as_fd()).context(|| "unlock")?;
    let service = terminal::peer(master.as_fd()).context(|| "the service's side")?;
    let settings = stage.terminal;
    terminal::set_size(service.as_fd(), settings.rows, settings.columns).context(|| "size")?;
    terminal::set_utf8(service.as_fd(), settings.utf8).context(|| "modes")?;
    terminal::control(service.as_fd()).context(|| "controlling terminal")?;
    let inherited = &stage.inherited;
    let channel = inherited.caller.as_ref().or(inherited.report.as_ref());
    let channel = channel.ok_or(Failure::new(0, "nobody takes the terminal"))?;
    let report = wire::encode_report(&Report::Terminal);
    socket::send_with(channel.as_fd(), &report, &[master.as_fd(), service.as_fd()], None)
        .context(|| "sending it to who asked for it")?;
    for stream in [&mut stage.inherited.stdin, &mut stage.inherited.stdout, &mut stage.inherited.stderr] {
        *stream = Some(fd::duplicate(service.as_fd(), 3)?);
    }
    Ok(())
}
