//! A service's `/dev/log` on a host without journald: `<runtime>/io/NAME/log`.
//!
//! Only the service's own processes are listened to. A datagram is what syslog(3) of the C libraries sends:
//! `<PRI>Mmm dd hh:mm:ss IDENT[PID]: text`; the time is dropped, as the log has its own, and of the rest nothing is
//! believed: it is text for the service's log.

use super::service_socket::{Sender, ServiceSocket};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Longest datagram taken, bytes; the rest of a longer one is lost.
const DATAGRAM_LIMIT: usize = 8192;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogLine {
    /// 0 (emergency) to 7 (debug); 5 (notice) where the sender said nothing.
    pub priority: u8,
    /// What is to be stored: identifier and text, without a final newline. May hold newlines and control characters.
    pub text: Vec<u8>,
}

/// The socket of one service.
#[derive(Debug)]
pub struct SyslogSocket(ServiceSocket);

impl SyslogSocket {
    /// Binds `directory/log`, mode 0666; see [`ServiceSocket::bind`].
    ///
    /// # Errors
    /// Naming the path.
    pub fn bind(directory: &Path) -> io::Result<SyslogSocket> {
        ServiceSocket::bind(directory, "log").map(SyslogSocket)
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes over a socket that was kept open for the daemon ([`ServiceSocket::adopt`]).
    pub fn adopt(socket: ServiceSocket) -> SyslogSocket {
        SyslogSocket(socket)
    }

    /// The next message and who sent it, `None` when there is none now. It stays where it is.
    ///
    /// # Errors
    /// Of recvmsg(2).
    pub fn peek(&self) -> io::Result<Option<(Option<Sender>, SyslogLine)>> {
        Ok(self.0.peek(DATAGRAM_LIMIT)?.map(|datagram| (datagram.sender, parse(&datagram.bytes))))
    }

    /// The same, taken away.
    ///
    /// # Errors
    /// Of recvmsg(2).
    pub fn receive(&self) -> io::Result<Option<(Option<Sender>, SyslogLine)>> {
        Ok(self.0.receive(DATAGRAM_LIMIT)?.map(|datagram| (datagram.sender, parse(&datagram.bytes))))
    }

    /// Removes the name.
    ///
    /// # Errors
    /// Of unlink(2).
    pub fn unlink(&self) -> io::Result<()> {
        self.0.unlink()
    }
}

impl AsFd for SyslogSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads a datagram; anything is a message.
pub fn parse(datagram: &[u8]) -> SyslogLine {
    let (priority, rest) = split_priority(datagram).unwrap_or((5, datagram));
    let rest = without_time(rest);
    let end = rest.iter().rposition(|b| !matches!(b, b'\n' | 0)).map_or(0, |at| at + 1);
    SyslogLine { priority, text: rest[..end].to_vec() }
}

/// `<PRI>`: facility times eight plus priority, 0 to 191.
fn split_priority(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let end = bytes.iter().take(5).position(|b| *b == b'>')?;
    let digits = bytes.get(..end)?.strip_prefix(b"<")?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number < 192).then(|| ((number % 8) as u8, &bytes[end + 1..]))
}

/// Without `Mmm dd hh:mm:ss ` in front.
fn without_time(bytes: &[u8]) -> &[u8] {
    const FORM: &[u8; 16] = b"Aaa 99 99:99:99 ";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'9' => byte.is_ascii_digit() || *byte == b' ',
        b'A' | b'a' => byte.is_ascii_alphabetic(),
        other => byte == other,
    };
    match bytes.split_at_checked(FORM.len()) {
        Some((time, rest)) if time.iter().zip(FORM).all(fits) => rest,
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_c_libraries_send_is_understood() {
        for (datagram, priority, text) in [
            ("<30>Nov 21 22:00:00 unbound[7]: start", 6, "unbound[7]: start"),
            ("<30>Nov  1 22:00:00 unbound: start\n\0", 6, "unbound: start"),
            ("<11>plain", 3, "plain"),
            ("no priority", 5, "no priority"),
            ("<192>too large", 5, "<192>too large"),
            ("<>x", 5, "<>x"),
            ("<-1>x", 5, "<-1>x"),
            ("<0>", 0, ""),
            ("", 5, ""),
            ("<13>two\nlines\n", 5, "two\nlines"),
            ("<13>Nov 21 late", 5, "Nov 21 late"),
        ] {
            assert_eq!(parse(datagram.as_bytes()), SyslogLine { priority, text: text.into() }, "{datagram}");
        }
    }

    #[test]
    fn the_c_library_reaches_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let socket = SyslogSocket::bind(directory.path()).unwrap();
        let Ok(status) = std::process::Command::new("logger")
            .args(["-t", "probe", "-p", "user.err", "--rfc3164", "-u"])
            .arg(socket.path())
            .arg("hello from logger")
            .status()
        else {
            skipped!("no logger(1) here");
            return;
        };
        assert!(status.success());
        let (sender, line) = socket.receive().unwrap().unwrap();
        assert!(sender.is_some());
        assert_eq!(line.priority, 3);
        let text = String::from_utf8(line.text).unwrap();
        assert!(text.ends_with("hello from logger"), "{text}");
        assert_eq!(socket.receive().unwrap(), None);
    }
}
