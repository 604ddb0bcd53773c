//! Datagram sockets through which one service talks to the daemon: `<runtime>/io/NAME/{notify,log}`.
//!
//! The directory is 0755 and holds nothing but sockets of mode 0666: it is bound read-only into the sandbox, where a
//! service of any user must reach them. Which socket a datagram arrives at says which unit it is for; the sender's
//! pid, which the kernel attaches and translates, only says whether that process may speak.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt};
use rustix::fs::{AtFlags, Mode, OFlags};
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
            .map(|socket| ServiceSocket { socket, path: path.clone() })
            .map_err(|e| super::scarcity::at(&path, e))
    }

    /// Takes over a socket that was bound by an earlier daemon and kept open by the service's init. The path goes on
    /// naming it.
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
        Ok(ServiceSocket { socket, path })
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
    fn only_a_datagram_socket_is_adopted() {
        let (stream, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(ServiceSocket::adopt(stream.into(), PathBuf::new()).is_err());
        let (datagram, peer) = UnixDatagram::pair().unwrap();
        let socket = ServiceSocket::adopt(datagram.into(), PathBuf::new()).unwrap();
        peer.send(b"STATUS=x").unwrap();
        assert_eq!(socket.receive(100).unwrap().unwrap().bytes, b"STATUS=x");
    }
}
