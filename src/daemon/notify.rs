//! What services say about themselves on their `NOTIFY_SOCKET` (sd_notify(3)).
//!
//! A datagram is a list of assignments, one a line. Parsing is a pure function over untrusted bytes. The caller decides by the *socket* which unit is meant and by the
//! sender's pid whether that process belongs to it; a number in `MAINPID=` counts inside the service's pid namespace
//! and must be translated (`NSpid:` in `/proc/PID/status`) before it means anything.

use super::service_socket::{Sender, ServiceSocket};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Longest datagram taken, bytes; a longer one is dropped whole.
pub const DATAGRAM_LIMIT: usize = 4096;

/// Longest `STATUS=` text kept, bytes of UTF-8.
pub const STATUS_LIMIT: usize = 1024;

/// Name of stored descriptors that were given none. Source: sd_notify(3).
pub const STORED_NAME: &str = "stored";

/// Longest name of stored descriptors, characters.
const NAME_LIMIT: usize = 255;

/// One assignment of a datagram. Those that this version does not act on are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`: started, or reloaded.
    Ready,
    /// `RELOADING=1`, and `MONOTONIC_USEC=` of the same datagram: when it began, microseconds of CLOCK_MONOTONIC.
    /// haproxy says it at its first start too.
    Reloading(Option<u64>),
    /// `STOPPING=1`
    Stopping,
    /// `STATUS=`: one line for people, control characters replaced; empty clears it.
    Status(String),
    /// `MAINPID=`: a number of the sender's pid namespace, at least 1.
    MainPid(i32),
    /// `ERRNO=`: why it fails, 0 to 4095.
    Errno(i32),
    /// `BUSERROR=` and `VARLINKERROR=`: why it fails, in another language; one line.
    Error(String),
    /// `EXTEND_TIMEOUT_USEC=`: asks for so many microseconds from now on for the present step.
    ExtendTimeout(u64),
    /// `WATCHDOG=1`: it lives.
    Alive,
    /// `WATCHDOG=trigger`: it wants to be treated as if it did not.
    Trigger,
    /// `WATCHDOG_USEC=`: how often it will say so from now on; 0 is not at all.
    WatchdogInterval(u64),
    /// `RESTART_RESET=1`: its restarts are forgotten.
    ResetRestarts,
    /// `FDSTORE=1`: the descriptors that came along are to be kept for its next run.
    Store {
        /// `FDNAME=`, else [`STORED_NAME`]: 1 to 255 printable ASCII characters, no `:`.
        name: String,
        /// Each is dropped when it hangs up; not with `FDPOLL=0`.
        poll: bool,
    },
    /// `FDSTOREREMOVE=1`: those of this `FDNAME=` are not needed any more.
    RemoveStored {
        /// As above.
        name: String,
    },
    /// `BARRIER=1` with one descriptor and nothing else: it waits until that is closed.
    Barrier,
    /// Something that is not acted on, and why: for one line in the log.
    Malformed {
        /// What was assigned, at most 64 bytes, printable.
        what: String,
        /// Why it is refused.
        why: &'static str,
    },
}

/// One datagram of a service. What nobody has taken of it is closed with it: that is what `BARRIER=1` waits for.
#[derive(Debug)]
pub struct Notification {
    /// Who says so; `None`: it cannot be seen from here, so it is nobody.
    pub sender: Option<Sender>,
    /// Its assignments in order; never acted on before the sender has been looked up.
    pub messages: Vec<Message>,
    /// What came along.
    pub descriptors: Vec<OwnedFd>,
}

/// The notify socket of one service.
#[derive(Debug)]
pub struct NotifySocket(ServiceSocket);

fn notification(datagram: super::service_socket::Datagram) -> Notification {
    let mut messages = if datagram.truncated {
        vec![malformed(&datagram.bytes, "the datagram is longer than 4096 bytes")]
    } else {
        with_descriptors(parse(&datagram.bytes), datagram.descriptors.len())
    };
    if datagram.descriptors_lost {
        messages.push(malformed(&datagram.bytes, "the daemon has no room for all descriptors that came along"));
    }
    Notification { sender: datagram.sender, messages, descriptors: datagram.descriptors }
}

impl NotifySocket {
    /// Binds `directory/notify`, mode 0666; see [`ServiceSocket::bind`].
    ///
    /// # Errors
    /// Naming the path.
    pub fn bind(directory: &Path) -> io::Result<NotifySocket> {
        ServiceSocket::bind(directory, "notify").map(NotifySocket)
    }

    /// Takes over a socket that was kept open for the daemon ([`ServiceSocket::adopt`]).
    pub fn adopt(socket: ServiceSocket) -> NotifySocket {
        NotifySocket(socket)
    }

    /// Value of `NOTIFY_SOCKET` outside a sandbox.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The next datagram, `None` when there is none now. The caller takes a bounded number per turn (16 is good), so
    /// that one talkative service does not starve the others: the socket stays readable.
    ///
    /// # Errors
    /// Of recvmsg(2).
    pub fn receive(&self) -> io::Result<Option<Notification>> {
        Ok(self.0.receive(DATAGRAM_LIMIT)?.map(notification))
    }

    /// The same, and it stays where it is: what it says is acted on, and written down, before it is taken away.
    ///
    /// # Errors
    /// Of recvmsg(2).
    pub fn peek(&self) -> io::Result<Option<Notification>> {
        Ok(self.0.peek(DATAGRAM_LIMIT)?.map(notification))
    }

    /// The first that has not been seen yet. It stays until what it says is written down ([`Self::take_seen`]).
    ///
    /// # Errors
    /// Of recvmsg(2).
    pub fn see(&self) -> io::Result<Option<Notification>> {
        Ok(self.0.see(DATAGRAM_LIMIT)?.map(notification))
    }

    /// Was anything seen that is not taken?
    pub fn has_seen(&self) -> bool {
        self.0.has_seen()
    }

    /// Takes away what was seen.
    pub fn take_seen(&self) {
        self.0.take_seen();
    }

    /// Removes the name.
    ///
    /// # Errors
    /// Of unlink(2).
    pub fn unlink(&self) -> io::Result<()> {
        self.0.unlink()
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Holds what was said against what came along: a barrier has a use for one descriptor, the store for any number;
/// others are closed unseen.
fn with_descriptors(mut messages: Vec<Message>, count: usize) -> Vec<Message> {
    let barrier = messages.contains(&Message::Barrier);
    let store = messages.iter().any(|message| matches!(message, Message::Store { .. }));
    let why = match (barrier, store, count) {
        (false, false, 0) | (false, true, 1..) => return messages,
        (true, false, 1) if messages.len() == 1 => return messages,
        (false, true, 0) => "FDSTORE=1 came without descriptors",
        (true, true, _) => "BARRIER=1 must stand alone; the descriptors are closed and not stored",
        (true, false, 1) => "BARRIER=1 must stand alone; it counts for what is before it",
        (true, false, _) => "BARRIER=1 needs exactly one descriptor",
        (false, false, _) => "descriptors came along that nobody asked for; they are closed",
    };
    let with = match (barrier, store) {
        (true, _) => " with BARRIER=1",
        (false, true) => " with FDSTORE=1",
        (false, false) => "",
    };
    messages.retain(|message| !matches!(message, Message::Barrier | Message::Store { .. }));
    messages.push(Message::Malformed { what: format!("{count} descriptors{with}"), why });
    messages
}

/// Reads the assignments of one datagram: lines of `KEY=VALUE`. Unknown keys are passed over, as sd_notify(3) asks.
pub fn parse(datagram: &[u8]) -> Vec<Message> {
    // libsystemd's older callers count the terminating NUL.
    let trimmed = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if trimmed.contains(&0) {
        return vec![malformed(trimmed, "a NUL byte inside")];
    }
    let lines = || trimmed.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let monotonic = lines().find_map(|line| number(line.strip_prefix(b"MONOTONIC_USEC=")?));
    let about_store = store(lines());
    lines()
        .filter_map(assignment)
        .map(|message| match message {
            Message::Reloading(_) => Message::Reloading(monotonic),
            other => other,
        })
        .chain(about_store)
        .collect()
}

/// What the lines of one datagram say together about stored descriptors.
fn store<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Option<Message> {
    let (mut store, mut remove, mut poll, mut name) = (false, false, true, None);
    for line in lines {
        match line {
            b"FDSTORE=1" => store = true,
            b"FDSTOREREMOVE=1" => remove = true,
            b"FDPOLL=0" => poll = false,
            _ => name = line.strip_prefix(b"FDNAME=").or(name),
        }
    }
    let name = match name.map(descriptor_name) {
        Some(None) if store || remove => {
            let what = if store { b"FDSTORE=1".as_slice() } else { b"FDSTOREREMOVE=1" };
            return Some(malformed(what, "its FDNAME= is not 1 to 255 printable ASCII characters without `:`"));
        }
        Some(name) => name,
        None => None,
    };
    match (store, remove, name) {
        (false, false, _) => None,
        (true, true, _) => Some(malformed(b"FDSTORE=1", "FDSTOREREMOVE=1 in the same datagram says the opposite")),
        (true, false, name) => Some(Message::Store { name: name.unwrap_or(STORED_NAME).to_owned(), poll }),
        (false, true, Some(name)) => Some(Message::RemoveStored { name: name.to_owned() }),
        (false, true, None) => Some(malformed(b"FDSTOREREMOVE=1", "it needs FDNAME=")),
    }
}

/// A name as LISTEN_FDNAMES can carry it; `None`: it is none.
fn descriptor_name(bytes: &[u8]) -> Option<&str> {
    let is_fit = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b':';
    let fits = (1..=NAME_LIMIT).contains(&bytes.len()) && bytes.iter().all(is_fit);
    std::str::from_utf8(bytes).ok().filter(|_| fits)
}

fn assignment(line: &[u8]) -> Option<Message> {
    let Some(at) = line.iter().position(|b| *b == b'=') else {
        return Some(malformed(line, "no `=`"));
    };
    let (key, value) = (&line[..at], &line[at + 1..]);
    match key {
        b"READY" => (value == b"1").then_some(Message::Ready),
        b"RELOADING" => (value == b"1").then_some(Message::Reloading(None)),
        b"STOPPING" => (value == b"1").then_some(Message::Stopping),
        b"RESTART_RESET" => (value == b"1").then_some(Message::ResetRestarts),
        b"BARRIER" => (value == b"1").then_some(Message::Barrier),
        b"STATUS" => Some(text(line, value, Message::Status)),
        b"BUSERROR" | b"VARLINKERROR" => Some(text(line, value, Message::Error)),
        b"WATCHDOG" => match value {
            b"1" => Some(Message::Alive),
            b"trigger" => Some(Message::Trigger),
            _ => None,
        },
        b"WATCHDOG_USEC" => Some(match number(value) {
            Some(usec) => Message::WatchdogInterval(usec),
            None => malformed(line, "not a number of microseconds"),
        }),
        b"MONOTONIC_USEC" => number(value).is_none().then(|| malformed(line, "not a number of microseconds")),
        b"NOTIFYACCESS" => Some(malformed(line, "service.notify_access says who may send")),
        b"MAINPID" => Some(match number(value) {
            Some(pid @ 1..=0x7fff_ffff) => Message::MainPid(pid as i32),
            _ => malformed(line, "not a process id"),
        }),
        b"ERRNO" => Some(match number(value) {
            Some(errno @ 0..=4095) => Message::Errno(errno as i32),
            _ => malformed(line, "not an errno"),
        }),
        b"EXTEND_TIMEOUT_USEC" => Some(match number(value) {
            Some(usec) => Message::ExtendTimeout(usec),
            None => malformed(line, "not a number of microseconds"),
        }),
        _ => None,
    }
}

fn text(line: &[u8], value: &[u8], message: fn(String) -> Message) -> Message {
    match std::str::from_utf8(value) {
        Ok(text) => message(one_line(text)),
        Err(_) => malformed(line, "not UTF-8"),
    }
}

/// Decimal digits only: no sign, no blanks, no overflow.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The text without control characters (a terminal must be able to show it), at most [`STATUS_LIMIT`] bytes.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(STATUS_LIMIT));
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if line.len() + c.len_utf8() > STATUS_LIMIT {
            break;
        }
        line.push(c);
    }
    line
}

fn malformed(bytes: &[u8], why: &'static str) -> Message {
    Message::Malformed { what: bytes[..bytes.len().min(64)].escape_ascii().to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn several_assignments_in_one_datagram_keep_their_order() {
        assert_eq!(
            parse(b"RELOADING=1\nREADY=1\nMAINPID=7\nSTATUS=Ready to accept\nX_FOO=1\nSTOPPING=1\n"),
            [
                Message::Reloading(None),
                Message::Ready,
                Message::MainPid(7),
                Message::Status("Ready to accept".into()),
                Message::Stopping,
            ]
        );
    }

    #[test]
    fn status_is_one_printable_bounded_line() {
        assert_eq!(parse(b"STATUS=a\x1b[31mb\tc"), [Message::Status("a\u{fffd}[31mb\u{fffd}c".into())]);
        assert_eq!(parse(b"STATUS="), [Message::Status(String::new())]);
        let long = [b"STATUS=".as_slice(), "ä".repeat(2000).as_bytes()].concat();
        assert_eq!(parse(&long), [Message::Status("ä".repeat(512))]);
    }

    #[test]
    fn what_is_not_a_process_id_is_refused() {
        for bad in ["", "0", "-1", "+1", " 1", "1 ", "0x1", "2147483648", "99999999999999999999", "١"] {
            let messages = parse(format!("MAINPID={bad}").as_bytes());
            assert!(
                matches!(messages[..], [Message::Malformed { why: "not a process id", .. }]),
                "{bad}: {messages:?}"
            );
        }
        assert_eq!(parse(b"MAINPID=2147483647"), [Message::MainPid(i32::MAX)]);
    }

    #[test]
    fn values_other_than_one_mean_nothing() {
        assert_eq!(parse(b"READY=0\nREADY=yes\nREADY=11\nSTOPPING=\nready=1"), []);
    }

    #[test]
    fn garbage_is_named_in_printable_form() {
        assert_eq!(parse(b""), []);
        assert_eq!(parse(b"READY=1\0"), [Message::Ready]);
        assert_eq!(parse(b"hello"), [Message::Malformed { what: "hello".into(), why: "no `=`" }]);
        assert_eq!(
            parse(b"READY=1\0\nSTATUS=x"),
            [Message::Malformed { what: "READY=1\\x00\\nSTATUS=x".into(), why: "a NUL byte inside" }]
        );
        assert!(matches!(parse(b"STATUS=\xff")[..], [Message::Malformed { why: "not UTF-8", .. }]));
        assert!(matches!(parse(b"ERRNO=4096")[..], [Message::Malformed { .. }]));
        assert_eq!(parse(b"ERRNO=2\nEXTEND_TIMEOUT_USEC=5000000").len(), 2);
    }

    #[test]
    fn an_oversized_datagram_is_dropped_whole() {
        let directory = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(directory.path()).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        let mut long = b"READY=1\n".to_vec();
        long.resize(5000, b'x');
        client.send_to(&long, socket.path()).unwrap();
        client.send_to(b"READY=1", socket.path()).unwrap();
        let first = socket.receive().unwrap().unwrap();
        assert!(matches!(first.messages[..], [Message::Malformed { .. }]));
        let second = socket.receive().unwrap().unwrap();
        let sender = Sender { pid: std::process::id() as i32, uid: rustix::process::geteuid().as_raw() };
        assert_eq!((second.sender, second.messages), (Some(sender), vec![Message::Ready]));
        assert!(socket.receive().unwrap().is_none());
    }

    #[test]
    fn the_time_of_a_reload_belongs_to_it_wherever_it_stands() {
        assert_eq!(parse(b"RELOADING=1\nMONOTONIC_USEC=12"), [Message::Reloading(Some(12))]);
        assert_eq!(parse(b"MONOTONIC_USEC=12\nRELOADING=1"), [Message::Reloading(Some(12))]);
        assert_eq!(parse(b"MONOTONIC_USEC=12\nREADY=1"), [Message::Ready]);
        let bad = parse(b"RELOADING=1\nMONOTONIC_USEC=-1");
        assert!(matches!(bad[..], [Message::Reloading(None), Message::Malformed { .. }]), "{bad:?}");
    }

    #[test]
    fn the_words_of_the_watchdog_are_told_apart() {
        assert_eq!(parse(b"WATCHDOG=1\nWATCHDOG=trigger"), [Message::Alive, Message::Trigger]);
        assert_eq!(parse(b"WATCHDOG=0\nWATCHDOG=\nWATCHDOG=TRIGGER\nWATCHDOG=11"), []);
        assert_eq!(parse(b"WATCHDOG_USEC=20000000"), [Message::WatchdogInterval(20_000_000)]);
        assert!(matches!(parse(b"WATCHDOG_USEC=99999999999999999999")[..], [Message::Malformed { .. }]));
    }

    #[test]
    fn what_is_refused_by_name_says_so() {
        for text in ["FDSTOREREMOVE=1", "NOTIFYACCESS=all", "FDSTORE=1\nFDNAME=x\nFDSTOREREMOVE=1"] {
            assert!(matches!(parse(text.as_bytes())[..], [Message::Malformed { .. }]), "{text}");
        }
    }

    #[test]
    fn what_is_said_of_stored_descriptors_belongs_together_in_any_order() {
        let store = |name: &str, poll| Message::Store { name: name.to_owned(), poll };
        assert_eq!(parse(b"FDSTORE=1"), [store("stored", true)]);
        assert_eq!(parse(b"FDNAME=a b\nFDPOLL=0\nFDSTORE=1"), [store("a b", false)]);
        assert_eq!(parse(b"FDSTORE=1\nSTATUS=x\nFDPOLL=1"), [Message::Status("x".into()), store("stored", true)]);
        assert_eq!(parse(b"FDSTOREREMOVE=1\nFDNAME=x"), [Message::RemoveStored { name: "x".into() }]);
        assert_eq!(parse(b"FDNAME=x\nFDPOLL=0\nFDSTORE=0\nFDSTOREREMOVE=2"), []);
        let longest = format!("FDSTORE=1\nFDNAME={}", "x".repeat(255));
        assert_eq!(parse(longest.as_bytes()), [store(&"x".repeat(255), true)]);
        for bad in ["", "a:b", "a\tb", "\u{e4}", &"x".repeat(256)] {
            for what in ["FDSTORE", "FDSTOREREMOVE"] {
                let messages = parse(format!("{what}=1\nFDNAME={bad}").as_bytes());
                assert!(matches!(messages[..], [Message::Malformed { .. }]), "{what} {bad:?}: {messages:?}");
            }
        }
    }

    #[test]
    fn descriptors_are_stored_where_they_were_announced_and_nowhere_else() {
        let store = || Message::Store { name: "x".into(), poll: true };
        assert_eq!(with_descriptors(vec![Message::Ready, store()], 7), [Message::Ready, store()]);
        for (messages, count) in [(vec![store()], 0), (vec![store(), Message::Barrier], 1), (vec![Message::Ready], 1)] {
            let held = with_descriptors(messages.clone(), count);
            assert!(!held.contains(&store()), "{messages:?} with {count}");
            assert!(matches!(held.last(), Some(Message::Malformed { .. })), "{messages:?} with {count}");
        }
    }

    #[test]
    fn a_barrier_is_one_descriptor_and_nothing_else() {
        assert_eq!(with_descriptors(vec![Message::Barrier], 1), [Message::Barrier]);
        assert_eq!(with_descriptors(vec![Message::Ready], 0), [Message::Ready]);
        for (messages, count) in [
            (vec![Message::Barrier], 0),
            (vec![Message::Barrier], 2),
            (vec![Message::Ready, Message::Barrier], 1),
            (vec![Message::Ready], 253),
            (Vec::new(), 1),
        ] {
            let held = with_descriptors(messages.clone(), count);
            assert!(!held.contains(&Message::Barrier), "{messages:?} with {count}");
            assert!(matches!(held.last(), Some(Message::Malformed { .. })), "{messages:?} with {count}");
            assert_eq!(held.contains(&Message::Ready), messages.contains(&Message::Ready), "the rest still counts");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in parse(&bytes) {
                if let Message::Status(text) | Message::Error(text) = message {
                    prop_assert!(!text.chars().any(char::is_control));
                }
            }
        }
    }
}
