//! The descriptors of a command: what goes to the daemon, and what stays here.

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// All of one command.
pub(super) struct Streams {
    /// Its standard input, output and error.
    pub given: [OwnedFd; 3],
    /// On which its end is told.
    pub caller: OwnedFd,
    /// What stays here.
    pub ours: Ours,
}

/// This side.
pub(super) struct Ours {
    /// The other side of `Streams::caller`.
    pub end: OwnedFd,
    /// The other side of the command's terminal, once it has come.
    pub master: Option<OwnedFd>,
    /// Read ends, and whether what comes is for standard error.
    pub outputs: Vec<(OwnedFd, bool)>,
}

impl Streams {
    /// # Errors
    /// EMFILE and others of pipe(2), socketpair(2) and pts(4).
    pub fn open(pty: bool) -> io::Result<Streams> {
        let (end, caller) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let null = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let mut outputs = Vec::new();
        if pty {
            let given = [null()?, null()?, null()?];
            return Ok(Streams { given, caller, ours: Ours { end, master: None, outputs } });
        }
        let stdin = if isatty(io::stdin()) { null()? } else { io::stdin().as_fd().try_clone_to_owned()? };
        let stdout = output(io::stdout(), false, &mut outputs)?;
        let stderr = output(io::stderr(), true, &mut outputs)?;
        Ok(Streams { given: [stdin, stdout, stderr], caller, ours: Ours { end, master: None, outputs } })
    }
}

/// The stream itself, or a pipe to it where it is a terminal.
fn output<F: AsFd>(stream: F, error: bool, outputs: &mut Vec<(OwnedFd, bool)>) -> io::Result<OwnedFd> {
    if !isatty(&stream) {
        return stream.as_fd().try_clone_to_owned();
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    outputs.push((reader, error));
    Ok(writer)
}

impl Ours {
    /// Takes the terminal that the command got, which is made like this one.
    ///
    /// # Errors
    /// What came is none.
    pub fn take_terminal(&mut self) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0; 64];
        recvmsg(&self.end, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let master = descriptors.next().and_then(|mut descriptors| descriptors.next());
        let master = master.filter(|master| isatty(master)).ok_or(io::Error::other("no terminal came"))?;
        tcsetattr(&master, OptionalActions::Now, &tcgetattr(io::stdin())?)?;
        tcsetwinsize(&master, tcgetwinsize(io::stdin())?)?;
        self.master = Some(master);
        Ok(())
    }
}
