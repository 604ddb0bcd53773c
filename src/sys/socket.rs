//! Unix sockets: pairs, passed descriptors, credentials stamped by the kernel.

use super::{Named, Result, SysError, cvt, cvt_retry};
use nix::sys::socket::{self as ns, ControlMessage, MsgFlags, SockFlag, SockType};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A connected pair of SOCK_SEQPACKET sockets: datagrams with an end of file.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    ns::socketpair(ns::AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).named("socketpair")
}

/// SO_PASSCRED: the kernel stamps every message received here with its sender's pid, uid and gid, translated to the
/// reader's namespaces.
///
/// # Errors
/// ENOTSOCK.
pub fn set_passcred(fd: BorrowedFd<'_>) -> Result<()> {
    ns::setsockopt(&fd, ns::sockopt::PassCred, &true).named("setsockopt")
}

/// Who sent a message or holds the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Pid in the reader's namespace; 0 when it has none there.
    pub pid: i32,
    /// User in the reader's namespace (65534 when unmapped).
    pub uid: u32,
    /// Group in the reader's namespace.
    pub gid: u32,
}

/// SO_PEERCRED: who connected.
///
/// # Errors
/// ENOTSOCK, ENOTCONN.
pub fn peer_credentials(fd: BorrowedFd<'_>) -> Result<Credentials> {
    let peer = ns::getsockopt(&fd, ns::sockopt::PeerCredentials).named("getsockopt")?;
    Ok(Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
}

/// One received message.
#[derive(Debug)]
pub struct Received {
    /// Bytes stored in the buffer; 0 with `end` set is the end of a SOCK_SEQPACKET or stream connection.
    pub length: usize,
    /// The message was longer than the buffer.
    pub truncated: bool,
    /// Sender, on sockets with [`set_passcred`].
    pub sender: Option<Credentials>,
    /// Descriptors that came along, close-on-exec. Dropping them closes them.
    pub descriptors: Vec<OwnedFd>,
    /// There were more, for which this process had no room (EMFILE): the kernel closed them.
    pub descriptors_lost: bool,
}

pub use super::message::{forget_peeks, peek, peek_whole, receive};

/// Reads one report without blocking: its length (0 at the end of file) and the sender's pid. `None`: nothing waits.
///
/// # Errors
/// EMSGSIZE when the buffer was too small; those of [`receive`].
pub fn recv_report(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<(usize, Option<i32>)>> {
    let Some(received) = receive(fd, buffer)? else { return Ok(None) };
    if received.truncated {
        return Err(SysError::new("recvmsg", libc::EMSGSIZE));
    }
    Ok(Some((received.length, received.sender.map(|sender| sender.pid))))
}

/// A readiness message (sd_notify(3)).
#[derive(Debug)]
pub struct Notify {
    /// Bytes stored in the buffer.
    pub length: usize,
    /// Sender in the reader's namespaces.
    pub sender: Option<Credentials>,
    /// Descriptors (FDSTORE, BARRIER); dropping them closes them, which is what BARRIER=1 waits for.
    pub descriptors: Vec<OwnedFd>,
}

/// Reads one readiness datagram without blocking. `None`: nothing waits. A message that was longer than the buffer is
/// cut, as systemd does.
///
/// # Errors
/// Those of [`receive`].
pub fn recv_notify(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<Notify>> {
    Ok(receive(fd, buffer)?.map(|received| Notify {
        length: received.length,
        sender: received.sender,
        descriptors: received.descriptors,
    }))
}

/// Sends one message and waits while the buffer is full. The kernel adds our credentials for a reader that asked.
///
/// # Errors
/// EPIPE (no signal is raised) when the reader is gone, and the rest of send(2).
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    loop {
        match ns::send(fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => return other.named("sendmsg"),
        }
    }
}

/// Sends one message with descriptors and, when given, credentials other than our own (a root sender may name any
/// living pid). Does not block.
///
/// # Errors
/// EAGAIN, EPIPE, ESRCH when the named pid is gone, EPERM.
pub fn send_with(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    credentials: Option<Credentials>,
) -> Result<usize> {
    let numbers: Vec<_> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
    let named =
        credentials.map(|who| ns::UnixCredentials::from(libc::ucred { pid: who.pid, uid: who.uid, gid: who.gid }));
    let mut control = Vec::new();
    if !numbers.is_empty() {
        control.push(ControlMessage::ScmRights(&numbers));
    }
    if let Some(who) = &named {
        control.push(ControlMessage::ScmCredentials(who));
    }
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match ns::sendmsg::<()>(fd.as_raw_fd(), &[IoSlice::new(bytes)], &control, flags, None) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => return other.named("sendmsg"),
        }
    }
}

/// Kind of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_STREAM
    Stream,
    /// SOCK_DGRAM
    Datagram,
}

/// A new Unix socket, close-on-exec, blocking.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn unix_socket(kind: Kind) -> Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SockType::Stream,
        Kind::Datagram => SockType::Datagram,
    };
    ns::socket(ns::AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).named("socket")
}

/// connect(2) to a path socket.
///
/// # Errors
/// ENOENT, ECONNREFUSED (nobody listens), EACCES; ENAMETOOLONG above 107 bytes.
pub fn connect(fd: BorrowedFd<'_>, path: &std::path::Path) -> Result<()> {
    let address = ns::UnixAddr::new(path).named("connect")?;
    ns::connect(fd.as_raw_fd(), &address).named("connect")
}

/// shutdown(2) of the reading side.
///
/// # Errors
/// ENOTCONN.
pub fn shutdown_read(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: shutdown takes two numbers.
    cvt("shutdown", unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RD) }).map(drop)
}

/// SO_SNDBUF, bytes; SO_SNDBUFFORCE with privilege, so that the system's limit does not apply.
///
/// # Errors
/// ENOTSOCK.
pub fn set_send_buffer(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    if ns::setsockopt(&fd, ns::sockopt::SndBufForce, &bytes).is_ok() {
        return Ok(());
    }
    ns::setsockopt(&fd, ns::sockopt::SndBuf, &bytes).named("setsockopt")
}

/// Sets the loopback interface of this network namespace up (SIOCSIFFLAGS); the kernel adds 127.0.0.1/8 and ::1.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN in the namespace's owner.
pub fn loopback_up() -> Result<()> {
    let socket =
        ns::socket(ns::AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).named("socket")?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo\0") {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the request is a live ifreq with a terminated name, as SIOCSIFFLAGS reads it (netdevice(7)).
    cvt_retry("ioctl", || unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_carries_its_senders_pid_and_ends_with_zero() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        set_passcred(ours.as_fd()).unwrap();
        assert_eq!(recv_report(ours.as_fd(), &mut [0; 8]).unwrap(), None);
        send(theirs.as_fd(), b"report").unwrap();
        let mut buffer = [0; 64];
        let (length, pid) = recv_report(ours.as_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..length], pid), (&b"report"[..], Some(std::process::id() as i32)));
        drop(theirs);
        assert_eq!(recv_report(ours.as_fd(), &mut buffer).unwrap().unwrap().0, 0);
    }

    #[test]
    fn passed_descriptors_arrive_close_on_exec_and_owned() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let (read, write) = crate::sys::fd::pipe(crate::sys::fd::NonBlocking::None).unwrap();
        send_with(theirs.as_fd(), b"x", &[write.as_fd()], None).unwrap();
        drop(write);
        let received = receive(ours.as_fd(), &mut [0; 4]).unwrap().unwrap();
        let [passed] = &received.descriptors[..] else { panic!("one descriptor") };
        assert!(rustix::io::fcntl_getfd(passed).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        drop(received);
        assert_eq!(crate::sys::fd::read(read.as_fd(), &mut [0; 4]).unwrap(), 0);
    }
}
