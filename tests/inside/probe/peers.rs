//! Questions of the probe about other hosts: packets that leave, connections, what arrives.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// A datagram to an address.
pub fn send(to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    UdpSocket::bind(any)?.send_to(b"probe", to).map(|_| "ok".to_owned())
}

/// A socket of UDP at an address, or of UDP-Lite with `lite/` before it.
pub fn bind_datagrams(at: &str) -> io::Result<String> {
    let (at, protocol) = match at.strip_prefix("lite/") {
        Some(at) => (at, Some(rustix::net::ipproto::UDPLITE)),
        None => (at, None),
    };
    let at: SocketAddr = at.parse().map_err(io::Error::other)?;
    bind(&datagrams(at, protocol)?, &at)?;
    Ok("ok".to_owned())
}

/// A datagram from a socket that nobody bound.
pub fn send_unbound(to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let socket = UdpSocket::from(datagrams(to, None)?);
    socket.send_to(b"probe", to)?;
    Ok(if socket.local_addr()?.port() == 0 { "without a port" } else { "ok" }.to_owned())
}

/// For an address of this family.
fn datagrams(at: SocketAddr, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?)
}

/// A connection that is waited for.
pub fn dial(to: &str) -> io::Result<String> {
    TcpStream::connect(to).map(|_| "ok".to_owned())
}

/// A connection of which nobody is to hear. That nothing comes of it is seen for a moment; that something
/// would is shown elsewhere, by one that is waited for.
pub fn call(to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    begin(None, to).map(|socket| if is_connected(&socket) { "ok" } else { "silence" }.to_owned())
}

/// What is open after [`listen`].
static OPEN: OnceLock<(TcpListener, UdpSocket)> = OnceLock::new();

/// Sockets that stay open, TCP and UDP; the answer is their ports.
pub fn listen(at: &str) -> io::Result<String> {
    let (stream, datagrams) = (TcpListener::bind(at)?, UdpSocket::bind(at)?);
    let answer = format!("{} {}", stream.local_addr()?.port(), datagrams.local_addr()?.port());
    let _ = OPEN.set((stream, datagrams));
    Ok(answer)
}

/// The first datagram that arrives.
pub fn hear() -> io::Result<String> {
    let mut buffer = [0; 64];
    let (_, datagrams) = OPEN.get().ok_or(io::ErrorKind::NotConnected)?;
    let length = datagrams.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A connection that is begun, from an address of one's own if one is given.
pub fn begin(from: Option<SocketAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(from) = from {
        bind(&socket, &from)?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Has it come about, now or within a moment?
pub fn is_connected(socket: &OwnedFd) -> bool {
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let mut asked = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut asked, Some(&moment)).expect("poll");
    !asked[0].revents().is_empty() && sockopt::socket_error(socket).is_ok_and(|error| error.is_ok())
}
