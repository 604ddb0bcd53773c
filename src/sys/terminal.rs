//! Pseudo-terminals: opening one, and making it a session's own. See pts(4).

use super::{Named, Result};
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions, Winsize};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Device number of `/dev/ptmx`, which every instance of devpts has. Source: Documentation/admin-guide/devices.txt.
pub const MASTER_DEVICE: u64 = 5 << 8 | 2;

/// Lets the service's side be opened.
///
/// # Errors
/// ENOTTY for what is no master.
pub fn unlock(master: BorrowedFd<'_>) -> Result<()> {
    rustix::pty::unlockpt(master).named("ioctl")
}

/// The service's side of a master (TIOCGPTPEER, since Linux 4.13), of the devpts that the master belongs to, whatever
/// is mounted elsewhere; close-on-exec, and not the controlling terminal yet.
///
/// # Errors
/// ENOTTY for what is no master, EIO while it is locked.
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(master, flags).named("ioctl")
}

/// Makes a terminal the controlling one of the session that this process leads (TIOCSCTTY).
///
/// # Errors
/// EPERM: this process leads no session, the session has a terminal, or the terminal a session.
pub fn control(terminal: BorrowedFd<'_>) -> Result<()> {
    rustix::process::ioctl_tiocsctty(terminal).named("ioctl")
}

/// Sets lines and columns (TIOCSWINSZ); the terminal's foreground processes get SIGWINCH when that changes anything.
///
/// # Errors
/// ENOTTY.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).named("ioctl")
}

/// IUTF8: the erase key takes whole characters away.
///
/// # Errors
/// ENOTTY.
pub fn set_utf8(terminal: BorrowedFd<'_>, on: bool) -> Result<()> {
    let mut modes = rustix::termios::tcgetattr(terminal).named("ioctl")?;
    modes.input_modes.set(InputModes::IUTF8, on);
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &modes).named("ioctl")
}
