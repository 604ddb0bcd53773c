//! Questions about what can be reached: names in other directories, ports, abstract sockets, message queues.

use super::{c, checked, close, number, ok, open, system};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

pub fn answer(verb: &str, rest: &str) -> io::Result<String> {
    match verb {
        "rename" => pair(rest).and_then(|(from, to)| std::fs::rename(from, to)).map(ok),
        "link-to" => pair(rest).and_then(|(from, to)| std::fs::hard_link(from, to)).map(ok),
        "truncate" => truncate(rest),
        "connect" => std::net::TcpStream::connect(("127.0.0.1", number(rest) as u16)).map(ok),
        "fastopen" => connect_by_sending(number(rest) as u16),
        "abstract" => UnixStream::connect_addr(&SocketAddr::from_abstract_name(rest)?).map(ok),
        "own-abstract" => {
            let address = SocketAddr::from_abstract_name(rest)?;
            let listener = UnixListener::bind_addr(&address)?;
            UnixStream::connect_addr(&address).and_then(|_| listener.accept()).map(ok)
        }
        "queue" => queue(rest),
        "reopen" => open(rest, libc::O_WRONLY | libc::O_APPEND, 0).map(close),
        _ => Ok(format!("? {verb}")),
    }
}

/// `FROM=TO`
fn pair(text: &str) -> io::Result<(&str, &str)> {
    text.split_once('=').ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// By path, without opening the file.
fn truncate(path: &str) -> io::Result<String> {
    let path = c(path);
    // SAFETY: the path is a string.
    checked(i64::from(unsafe { libc::truncate(path.as_ptr(), 0) })).map(ok)
}

/// TCP Fast Open: connects by the first send.
fn connect_by_sending(port: u16) -> io::Result<String> {
    let socket = system(libc::SYS_socket, &[i64::from(libc::AF_INET), i64::from(libc::SOCK_STREAM), 0])?;
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    let byte = b'x';
    let (flags, length) = (i64::from(libc::MSG_FASTOPEN), size_of::<libc::sockaddr_in>() as i64);
    let arguments = [socket, &raw const byte as i64, 1, flags, &raw const address as i64, length];
    let answer = system(libc::SYS_sendto, &arguments).map(ok);
    close(socket as i32);
    answer
}

/// Makes a message queue and removes it.
fn queue(name: &str) -> io::Result<String> {
    let name = c(name);
    let attributes: *const libc::mq_attr = std::ptr::null();
    // SAFETY: the name is a string, and no attributes are given.
    let made =
        checked(i64::from(unsafe { libc::mq_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600, attributes) }))?;
    close(made as i32);
    // SAFETY: the name is a string.
    checked(i64::from(unsafe { libc::mq_unlink(name.as_ptr()) })).map(ok)
}
