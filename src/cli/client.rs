//! The client's end of the control socket: connect, ask, wait, and ask again when the daemon was lost meanwhile.
//!
//! While the socket's name is there and nobody listens, a daemon is probably being restarted: the client tries again
//! for some seconds, at first and whenever the connection breaks. No name means that no daemon runs, which is said at
//! once. A call that is made again is the same call: what could not be done twice carries a key
//! ([`RequestKey`], which says what that means for each verb), so that the next daemon joins
//! what the one before had begun. Limits of time count over all tries.

use super::Failure;
use crate::control::{
    Answer, Call, CallError, CallOptions, Description, FrameReader, REPLY_LIMIT, Reply, RequestKey, ServiceError,
    UnitStatus, Verb, decode_reply, encode_call,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Exit code when the supervisor cannot be reached (rsvc(1), EXIT STATUS).
pub const UNREACHABLE: u8 = 150;

/// Exit code when `--timeout` is over.
pub const TIMED_OUT: u8 = 124;

/// How long a socket that refuses is tried, each time that the daemon is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection that lasts so long was one: what follows its end is another loss.
const STEADY: Duration = Duration::from_millis(200);

/// A connection to the daemon, or to one after the other; one call at a time.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
    /// `None`: lost.
    line: Option<Line>,
    /// What the answer is awaited of.
    asked: Option<(Call, CallOptions)>,
    /// The daemon is older than keys: a call that cannot be made twice is made once.
    keyless: bool,
    /// Why the connection was lost last.
    why: String,
    /// How long there has been none since it was steady.
    without: Duration,
}

/// One connection.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    reader: FrameReader,
    since: Instant,
}

/// What came of one call.
pub type Answered = Result<Answer, CallError>;

/// What comes in.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// An answer; the flag says that another will follow.
    Answer(Answer, bool),
    /// The daemon says no.
    Refused(CallError),
    /// Only to a call with `more`: the daemon was lost, and the call made again. The answers begin anew.
    Again,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`UNREACHABLE`], with what to do; 4 when the file system forbids it.
    pub fn connect(path: &Path) -> Result<Client, Failure> {
        Client::connect_within(path, PATIENCE)
    }

    /// The same, trying no longer than until `deadline`, if there is one.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_until(path: &Path, deadline: Option<Instant>) -> Result<Client, Failure> {
        let remaining = deadline.map_or(PATIENCE, |deadline| deadline.saturating_duration_since(now()).min(PATIENCE));
        Ok(Client { patience: PATIENCE, ..Client::connect_within(path, remaining)? })
    }

    /// Connects if somebody listens now, for what can be done without.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_now(path: &Path) -> Result<Client, Failure> {
        Client::connect_within(path, Duration::ZERO)
    }

    fn connect_within(path: &Path, patience: Duration) -> Result<Client, Failure> {
        let begun = now();
        loop {
            let error = match connect_long(path) {
                Ok(stream) => {
                    return Ok(Client {
                        path: path.to_owned(),
                        patience,
                        line: Some(Line::new(stream)),
                        asked: None,
                        keyless: false,
                        why: String::new(),
                        without: Duration::ZERO,
                    });
                }
                Err(error) => error,
            };
            if !may_pass(&error) || begun.elapsed() >= patience {
                return Err(unreachable(path, &error));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a call. That nobody takes it is seen by [`Client::receive`].
    ///
    /// # Errors
    /// The key of the request cannot be drawn.
    pub fn send(&mut self, call: &Call, options: CallOptions) -> Result<(), Failure> {
        let needs_key = call.verb().is_repeatable_by_key() && !self.keyless;
        let request = if needs_key { Some(new_key()?) } else { None };
        self.asked = Some((call.clone(), CallOptions { request, ..options }));
        self.ask();
        Ok(())
    }

    /// Sends a call with descriptors, once: over another connection it is not made again.
    ///
    /// # Errors
    /// [`UNREACHABLE`].
    pub fn send_once_with(&mut self, call: &Call, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        let options = CallOptions::default();
        self.asked = Some((call.clone(), options));
        let Some(line) = &mut self.line else { return Ok(()) };
        let bytes = encode_call(call, options);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(descriptors));
        let sent = sendmsg(&line.stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
        let sent = sent.map_err(io::Error::from).and_then(|count| line.stream.write_all(&bytes[count..]));
        sent.map_err(|error| {
            self.lose(error.to_string());
            self.lost("")
        })
    }

    /// Sends what was asked for (again) over the connection, if there is one.
    fn ask(&mut self) {
        let (Some((call, options)), Some(line)) = (&self.asked, &mut self.line) else { return };
        if let Err(error) = line.stream.write_all(&encode_call(call, *options)) {
            self.lose(error.to_string());
        }
    }

    /// Waits for what comes next in answer to the call that was sent, until `deadline` if there is one. A daemon that is
    /// lost meanwhile is looked for again, and asked again.
    ///
    /// # Errors
    /// [`TIMED_OUT`], after which it may be called again; [`UNREACHABLE`].
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Received, Failure> {
        let mut chunk = [0u8; 16 * 1024];
        loop {
            if self.line.is_none() {
                self.find_again(deadline)?;
                if self.asked.as_ref().is_some_and(|(_, options)| options.more) {
                    return Ok(Received::Again);
                }
            }
            let Some(line) = &mut self.line else { continue };
            if let Some(frame) = line.reader.next_frame().map_err(|error| self.garbled(&error.to_string()))? {
                self.without = Duration::ZERO;
                match self.understand(&frame)? {
                    Some(received) => return Ok(received),
                    None => continue,
                }
            }
            let Some(line) = &mut self.line else { continue };
            let remaining = deadline.map(|deadline| deadline.saturating_duration_since(now()));
            if remaining == Some(Duration::ZERO) {
                return Err(Failure::new(TIMED_OUT, "timeout".to_owned()));
            }
            let count = line.stream.set_read_timeout(remaining).and_then(|()| line.stream.read(&mut chunk));
            match count {
                Ok(0) => self.lose("the connection was closed".to_owned()),
                Ok(count) => line.reader.push(&chunk[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(error) => self.lose(error.to_string()),
            }
        }
    }

    /// `None`: the daemon is older than keys, and was asked again without.
    fn understand(&mut self, frame: &[u8]) -> Result<Option<Received>, Failure> {
        let Some(verb) = self.asked.as_ref().map(|(call, _)| call.verb()) else {
            return Err(self.garbled("an answer without a question"));
        };
        match decode_reply(verb, frame).map_err(|error| self.garbled(&error.to_string()))? {
            Reply::Answer(answer, continues) => Ok(Some(Received::Answer(answer, continues))),
            Reply::Error(error) => Ok(Some(Received::Refused(error))),
            Reply::Service(ServiceError::InvalidParameter { parameter }) if parameter == "request" && !self.keyless => {
                self.keyless = true;
                if let Some((_, options)) = &mut self.asked {
                    options.request = None;
                }
                self.ask();
                Ok(None)
            }
            Reply::Service(error) => Err(Failure::new(
                1,
                format!("the supervisor does not understand {}: {error}; is it another version?", verb.name()),
            )),
        }
    }

    /// Gives the connection up, so that the call is made again over another one.
    pub fn ask_again(&mut self) {
        self.lose("given up".to_owned());
        self.without = Duration::ZERO;
    }

    /// The connection is over.
    fn lose(&mut self, why: String) {
        if let Some(line) = self.line.take() {
            // Who lets in and throws out at once is not waited for any longer than who does not let in.
            let lasted = line.since.elapsed();
            self.without = if lasted >= STEADY { Duration::ZERO } else { self.without + PAUSE };
        }
        self.why = why;
    }

    /// Connects again and makes the call again.
    fn find_again(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        if let Some((call, options)) = &self.asked {
            let keyless = call.verb().is_repeatable_by_key() && options.request.is_none();
            // Another program may be what took the daemon away.
            if keyless || matches!(call.verb(), Verb::Upgrade | Verb::Exec) {
                return Err(self.lost(""));
            }
        }
        if self.without > Duration::ZERO {
            std::thread::sleep(PAUSE);
        }
        let begun = now();
        let before = self.without;
        while self.line.is_none() {
            match connect_long(&self.path) {
                Ok(stream) => {
                    self.line = Some(Line::new(stream));
                    self.ask();
                }
                Err(error) if may_pass(&error) => {
                    self.without = before + begun.elapsed();
                    if self.without >= self.patience {
                        return Err(self.lost(", and nobody listens there any more"));
                    }
                }
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(unreachable(&self.path, &error));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(self.lost(", and the socket is gone"));
                }
                Err(error) => return Err(self.lost(&format!(", and then {error}"))),
            }
            if self.line.is_none() {
                if self.without >= self.patience {
                    return Err(self.lost(", again and again"));
                }
                if deadline.is_some_and(|deadline| deadline <= now()) {
                    return Err(Failure::new(TIMED_OUT, "timeout".to_owned()));
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Waits for the one answer, until `deadline` if there is one.
    ///
    /// # Errors
    /// As [`Client::receive`]; a refusal of the daemon is in the value.
    pub fn answer(&mut self, deadline: Option<Instant>) -> Result<Answered, Failure> {
        loop {
            match self.receive(deadline)? {
                Received::Answer(answer, _) => return Ok(Ok(answer)),
                Received::Refused(error) => return Ok(Err(error)),
                Received::Again => {}
            }
        }
    }

    /// Asks and waits for the one answer.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn call(&mut self, call: &Call) -> Result<Answered, Failure> {
        self.send(call, CallOptions::default())?;
        self.answer(None)
    }

    /// All units, in the daemon's order.
    ///
    /// # Errors
    /// As [`Client::receive`], and what the daemon refuses.
    pub fn list(&mut self) -> Result<Vec<UnitStatus>, Failure> {
        self.send(&Call::List, CallOptions { more: true, ..CallOptions::default() })?;
        let mut all = Vec::new();
        loop {
            match self.receive(None)? {
                Received::Answer(Answer::Units(units), continues) => {
                    all.extend(units);
                    if !continues {
                        return Ok(all);
                    }
                }
                Received::Answer(..) => return Err(self.garbled("an answer to another question")),
                Received::Refused(error) => return Err(Failure::from(error)),
                Received::Again => all.clear(),
            }
        }
    }

    /// Status of one unit.
    ///
    /// # Errors
    /// As [`Client::receive`]; a refusal of the daemon is in the value.
    pub fn status(&mut self, unit: &str) -> Result<Result<UnitStatus, CallError>, Failure> {
        match self.call(&Call::Status { unit: unit.to_owned() })? {
            Ok(Answer::Status(status)) => Ok(Ok(*status)),
            Ok(_) => Err(self.garbled("an answer to another question")),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The daemon about itself.
    ///
    /// # Errors
    /// As [`Client::receive`], and what the daemon refuses.
    pub fn describe(&mut self) -> Result<Description, Failure> {
        match self.call(&Call::Describe)? {
            Ok(Answer::Description(description)) => Ok(*description),
            Ok(_) => Err(self.garbled("an answer to another question")),
            Err(error) => Err(Failure::from(error)),
        }
    }

    /// The connection was lost and there is no other.
    fn lost(&self, and: &str) -> Failure {
        let (path, why) = (self.path.display(), &self.why);
        Failure::new(
            UNREACHABLE,
            format!(
                "lost the supervisor at {path}: {why}{and}; what was asked for may have been begun, see `rsvc status`"
            ),
        )
    }

    /// What came is no answer; nothing more can be expected of who sends that.
    fn garbled(&self, why: &str) -> Failure {
        let path = self.path.display();
        Failure::new(
            UNREACHABLE,
            format!("lost the supervisor at {path}: {why}; what was asked for may have been begun, see `rsvc status`"),
        )
    }
}

impl Line {
    fn new(stream: UnixStream) -> Line {
        Line { stream, reader: FrameReader::new(REPLY_LIMIT), since: now() }
    }
}

/// Does somebody perhaps listen there soon?
fn may_pass(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::WouldBlock | ErrorKind::ConnectionReset)
}

fn new_key() -> Result<RequestKey, Failure> {
    let mut bytes = [0u8; 16];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| Failure::new(1, format!("/dev/urandom: {error}; nothing has been asked for")))?;
    Ok(RequestKey::new(bytes))
}

/// Monotonic time, for waiting.
#[allow(clippy::disallowed_methods, reason = "the client is a shell of its own, and its waiting has an end")]
pub fn now() -> Instant {
    Instant::now()
}

fn unreachable(path: &Path, error: &io::Error) -> Failure {
    let socket = path.display();
    let message = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            format!("supervisor not reachable: no socket at {socket}; start it with `rsvc daemon`")
        }
        ErrorKind::ConnectionRefused => {
            format!("supervisor not reachable: nobody listens at {socket}; start it with `rsvc daemon`")
        }
        ErrorKind::PermissionDenied => {
            return Failure::new(4, format!("permission denied: {socket} cannot be connected to"));
        }
        _ => format!("supervisor not reachable at {socket}: {error}"),
    };
    Failure::new(UNREACHABLE, message)
}

/// Connects to a path of any length: past the 107 bytes of sun_path it goes through a descriptor of the directory.
fn connect_long(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().as_bytes().len() < 107 {
        return UnixStream::connect(path);
    }
    let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests;
