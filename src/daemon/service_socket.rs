//! Datagram sockets through which one service talks to the daemon: `<runtime>/io/NAME/{notify,log}`.
//!
//! The directory is 0755 and holds nothing but sockets of mode 0666: it is bound read-only into the sandbox, where a
//! service of any user must reach them. Which socket a datagram arrives at says which unit it is for; the sender's
//! pid, which the kernel attaches and translates, only says whether that process may speak.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// A bound, non-blocking datagram socket that learns each sender's credentials.
#[derive(Debug)]
pub struct ServiceSocket {
    socket: UnixDatagram,
    path: PathBuf,
    /// The first datagrams, which were looked at and are still there.
    seen: Cell<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: usize,
    /// Of all of them.
    bytes: usize,
}

/// Who sent a datagram, as the kernel says, in the numbers of this process's namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// At least 1. It may have ended since.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
}

/// One datagram.
#[derive(Debug)]
pub struct Datagram {
    /// Payload, cut to the buffer's size.
    pub bytes: Vec<u8>,
    /// It was longer than the buffer; the rest is lost.
    pub truncated: bool,
    /// Host pid of the sender, `None` when it is in a pid namespace that the daemon cannot see. The process may be
    /// gone already.
    pub sender: Option<Sender>,
    /// Descriptors that came along, close-on-exec. Dropped with the datagram unless somebody takes them.
    pub descriptors: Vec<OwnedFd>,
    /// There were more, for which this process had no room (EMFILE): the kernel closed them.
    pub descriptors_lost: bool,
}

impl ServiceSocket {
    /// Binds `directory/name`, replacing what an earlier daemon left there. Missing directories are made (0755).
    ///
    /// # Errors
    /// Of mkdir(2), bind(2) and chmod(2), naming the path.
    pub fn bind(directory: &Path, name: &str) -> io::Result<ServiceSocket> {
        let path = directory.join(name);
        bind_in(directory, name)
            .map(|socket| ServiceSocket { socket, path: path.clone(), seen: Cell::default() })
            .map_err(|e| super::scarcity::at(&path, e))
    }

    /// Takes over a socket that was bound by an earlier daemon and kept open beyond it. The path goes on naming it.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a Unix datagram socket.
    pub fn adopt(descriptor: OwnedFd, path: PathBuf) -> io::Result<ServiceSocket> {
        let unix = nix::sys::socket::getsockname::<nix::sys::socket::UnixAddr>(descriptor.as_raw_fd()).is_ok();
        let kind = nix::sys::socket::getsockopt(&descriptor, sockopt::SockType);
        if !unix || kind != Ok(SockType::Datagram) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a Unix datagram socket"));
        }
        let socket = UnixDatagram::from(descriptor);
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        crate::sys::socket::forget_peeks(socket.as_fd())?;
        Ok(ServiceSocket { socket, path, seen: Cell::default() })
    }

    /// Where services find it on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next datagram; `None` when there is none now. Never blocks.
    ///
    /// # Errors
    /// Of recvmsg(2); the socket stays usable.
    pub fn receive(&self, limit: usize) -> io::Result<Option<Datagram>> {
        let mut bytes = vec![0; limit];
        Ok(crate::sys::socket::receive(self.socket.as_fd(), &mut bytes)?.map(|received| datagram(bytes, received)))
    }

    /// The same, and it stays where it is.
    ///
    /// # Errors
    /// Of recvmsg(2).
    pub fn peek(&self, limit: usize) -> io::Result<Option<Datagram>> {
        let mut bytes = vec![0; limit];
        Ok(crate::sys::socket::peek(self.socket.as_fd(), &mut bytes)?.map(|received| datagram(bytes, received)))
    }

    /// The first datagram that has not been seen yet, which counts as seen then: it stays until [`Self::take_seen`].
    ///
    /// # Errors
    /// Of recvmsg(2).
    pub fn see(&self, limit: usize) -> io::Result<Option<Datagram>> {
        let mut bytes = vec![0; limit];
        let Seen { count, bytes: before } = self.seen.get();
        let fd = self.socket.as_fd();
        let behind = (count > 0).then_some(before);
        let looked = crate::sys::socket::peek_whole(fd, &mut bytes, behind);
        if behind.is_some() {
            crate::sys::socket::forget_peeks(fd)?;
        }
        Ok(looked?.map(|(received, length)| {
            self.seen.set(Seen { count: count + 1, bytes: before + length });
            datagram(bytes, received)
        }))
    }

    /// Are there datagrams that were seen and not taken?
    pub fn has_seen(&self) -> bool {
        self.seen.get().count > 0
    }

    /// Takes away what was seen.
    pub fn take_seen(&self) {
        for _ in 0..self.seen.take().count {
            // What is to be taken is there; no byte of it is needed.
            let _ = crate::sys::socket::receive(self.socket.as_fd(), &mut []);
        }
    }

    /// Removes the name; who holds the socket keeps it.
    pub fn unlink(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

impl AsFd for ServiceSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn datagram(mut bytes: Vec<u8>, received: crate::sys::socket::Received) -> Datagram {
    bytes.truncate(received.length);
    let sender = received.sender.filter(|sender| sender.pid > 0);
    Datagram {
        bytes,
        truncated: received.truncated,
        sender: sender.map(|sender| Sender { pid: sender.pid, uid: sender.uid }),
        descriptors: received.descriptors,
        descriptors_lost: received.descriptors_lost,
    }
}

fn bind_in(directory: &Path, name: &str) -> io::Result<UnixDatagram> {
    let opened = open_directory(directory)?;
    match rustix::fs::unlinkat(&opened, name, AtFlags::empty()) {
        Err(e) if e != rustix::io::Errno::NOENT => return Err(e.into()),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = UnixDatagram::from(socket(AddressFamily::Unix, SockType::Datagram, flags, None)?);
    setsockopt(&socket, sockopt::PassCred, &true)?;
    // By descriptor: the path of an instance in a deep directory may exceed the 107 bytes of a socket address.
    let address = UnixAddr::new(&PathBuf::from(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd())))?;
    bind(socket.as_raw_fd(), &address)?;
    rustix::fs::chmodat(&opened, name, Mode::from_raw_mode(0o666), AtFlags::empty())?;
    Ok(socket)
}

/// The directory, 0755, made when it is missing.
fn open_directory(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(directory, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => {
            super::launch::make_directory(directory, 0o755)?;
            rustix::fs::open(directory, flags, Mode::empty())?
        }
        other => other?,
    };
    if rustix::fs::fstat(&opened)?.st_mode & 0o7777 != 0o755 {
        rustix::fs::fchmod(&opened, Mode::from_raw_mode(0o755))?;
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_datagram_carries_the_senders_pid() {
        let directory = tempfile::tempdir().unwrap();
        let socket = ServiceSocket::bind(&directory.path().join("io/web"), "notify").unwrap();
        assert!(socket.receive(100).unwrap().is_none());
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(b"READY=1", socket.path()).unwrap();
        let datagram = socket.receive(100).unwrap().unwrap();
        assert_eq!(datagram.bytes, b"READY=1");
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(datagram.sender, Some(Sender { pid: std::process::id() as i32, uid }));
        assert!(!datagram.truncated);
        assert_eq!(fs::metadata(socket.path()).unwrap().permissions().mode() & 0o777, 0o666);
    }

    #[test]
    fn received_descriptors_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        let socket = ServiceSocket::bind(directory.path(), "notify").unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let client = UnixDatagram::unbound().unwrap();
        let many = vec![write.as_raw_fd(); 253];
        let address = UnixAddr::new(socket.path()).unwrap();
        let payload = [io::IoSlice::new(b"X=1")];
        let rights = [ControlMessage::ScmRights(&many)];
        sendmsg(client.as_raw_fd(), &payload, &rights, MsgFlags::empty(), Some(&address)).unwrap();
        drop(write);
        assert_eq!(socket.receive(100).unwrap().unwrap().descriptors.len(), 253);
        // End of file: nobody holds the write end any more.
        assert_eq!(nix::unistd::read(&read, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn too_long_a_datagram_is_marked() {
        let directory = tempfile::tempdir().unwrap();
        let socket = ServiceSocket::bind(directory.path(), "notify").unwrap();
        UnixDatagram::unbound().unwrap().send_to(&[b'x'; 200], socket.path()).unwrap();
        let datagram = socket.receive(100).unwrap().unwrap();
        assert!(datagram.truncated);
        assert_eq!(datagram.bytes.len(), 100);
    }

    #[test]
    fn a_deep_directory_is_no_obstacle_and_a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
        drop(ServiceSocket::bind(&deep, "log").unwrap());
        let again = ServiceSocket::bind(&deep, "log").unwrap();
        again.unlink().unwrap();
        again.unlink().unwrap();
        assert!(!again.path().exists());
    }

    #[test]
    fn what_was_seen_stays_until_it_is_taken_and_nothing_else_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let socket = ServiceSocket::bind(directory.path(), "notify").unwrap();
        let client = UnixDatagram::unbound().unwrap();
        let send = |bytes: &[u8]| assert_eq!(client.send_to(bytes, socket.path()).unwrap(), bytes.len());
        let text = |datagram: io::Result<Option<Datagram>>| datagram.unwrap().map(|d| d.bytes.len());
        [b"a".as_slice(), b"", &[b'x'; 200], b"four"].iter().for_each(|bytes| send(bytes));
        assert_eq!([0; 5].map(|_| text(socket.see(100))), [Some(1), Some(0), Some(100), Some(4), None]);
        send(b"later");
        assert_eq!(text(socket.see(100)), Some(5));
        send(b"unseen");
        // Whoever looks next begins with the first.
        assert_eq!(text(socket.peek(100)), Some(1));
        assert!(socket.has_seen());
        socket.take_seen();
        assert!(!socket.has_seen());
        assert_eq!(text(socket.receive(100)), Some(6));
        assert_eq!(text(socket.receive(100)), None);
    }

    #[test]
    fn the_next_daemon_sees_again_what_this_one_has_seen() {
        let directory = tempfile::tempdir().unwrap();
        let first = ServiceSocket::bind(directory.path(), "notify").unwrap();
        let client = UnixDatagram::unbound().unwrap();
        for text in ["one", "second"] {
            client.send_to(text.as_bytes(), first.path()).unwrap();
        }
        assert!(first.see(100).unwrap().is_some() && first.see(100).unwrap().is_some());
        // As if it had been killed in the middle of a look.
        crate::sys::socket::peek_whole(first.as_fd(), &mut [0; 9], Some(3)).unwrap().unwrap();
        let copy = first.as_fd().try_clone_to_owned().unwrap();
        let next = ServiceSocket::adopt(copy, first.path().to_owned()).unwrap();
        assert_eq!(next.peek(100).unwrap().unwrap().bytes, b"one");
        assert_eq!([0; 2].map(|_| next.see(100).unwrap().unwrap().bytes.len()), [3, 6]);
    }

    #[test]
    fn only_a_datagram_socket_is_adopted() {
        let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(ServiceSocket::adopt(stream.into(), PathBuf::new()).is_err());
        let (datagram, peer) = UnixDatagram::pair().unwrap();
        let socket = ServiceSocket::adopt(datagram.into(), PathBuf::new()).unwrap();
        peer.send(b"STATUS=x").unwrap();
        assert_eq!(socket.receive(100).unwrap().unwrap().bytes, b"STATUS=x");
    }
}
