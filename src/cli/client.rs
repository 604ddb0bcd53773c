//! The client's end of the control socket: connect, ask, wait.
//!
//! While the socket's name is there and nobody listens, a daemon is probably being restarted: the client tries again
//! for some seconds. No name means that no daemon runs, which is said at once.

use super::Failure;
use crate::control::{
    Answer, Call, CallError, CallOptions, Description, FrameReader, REPLY_LIMIT, Reply, UnitStatus, decode_reply,
    encode_call,
};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Exit code when the supervisor cannot be reached (rsvc(1), EXIT STATUS).
pub const UNREACHABLE: u8 = 150;

/// Exit code when `--timeout` is over.
pub const TIMED_OUT: u8 = 124;

/// How long a socket that refuses is tried.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to the daemon; one call at a time.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    reader: FrameReader,
    path: PathBuf,
}

/// What came of one call.
pub type Answered = Result<Answer, CallError>;

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`UNREACHABLE`], with what to do; 4 when the file system forbids it.
    pub fn connect(path: &Path) -> Result<Client, Failure> {
        Client::connect_within(path, PATIENCE)
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
                    return Ok(Client { stream, reader: FrameReader::new(REPLY_LIMIT), path: path.to_owned() });
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::WouldBlock if begun.elapsed() < patience => {
                    std::thread::sleep(PAUSE);
                }
                _ => return Err(unreachable(path, &error)),
            }
        }
    }

    /// Sends a call.
    ///
    /// # Errors
    /// [`UNREACHABLE`] when the daemon went away.
    pub fn send(&mut self, call: &Call, options: CallOptions) -> Result<(), Failure> {
        self.stream.write_all(&encode_call(call, options)).map_err(|error| self.lost(&error.to_string()))
    }

    /// Waits for the next reply to `call`, until `deadline` if there is one. The flag says that another will follow.
    ///
    /// # Errors
    /// [`TIMED_OUT`], [`UNREACHABLE`]; a refusal of the daemon is in the value.
    pub fn receive(
        &mut self,
        call: &Call,
        deadline: Option<Instant>,
    ) -> Result<Result<(Answer, bool), CallError>, Failure> {
        let mut chunk = [0u8; 16 * 1024];
        loop {
            if let Some(frame) = self.reader.next_frame().map_err(|error| self.lost(&error.to_string()))? {
                let reply = decode_reply(call.verb(), &frame).map_err(|error| self.lost(&error.to_string()))?;
                return match reply {
                    Reply::Answer(answer, continues) => Ok(Ok((answer, continues))),
                    Reply::Error(error) => Ok(Err(error)),
                    Reply::Service(error) => Err(Failure::new(
                        1,
                        format!(
                            "the supervisor does not understand {}: {error}; is it another version?",
                            call.verb().name()
                        ),
                    )),
                };
            }
            let remaining = deadline.map(|deadline| deadline.saturating_duration_since(now()));
            if remaining == Some(Duration::ZERO) {
                return Err(Failure::new(TIMED_OUT, "timeout".to_owned()));
            }
            self.stream.set_read_timeout(remaining).map_err(|error| self.lost(&error.to_string()))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.lost("the connection was closed")),
                Ok(count) => self.reader.push(&chunk[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(error) => return Err(self.lost(&error.to_string())),
            }
        }
    }

    /// Asks and waits for the one reply.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn call(&mut self, call: &Call) -> Result<Answered, Failure> {
        self.send(call, CallOptions::default())?;
        Ok(self.receive(call, None)?.map(|(answer, _)| answer))
    }

    /// All units, in the daemon's order.
    ///
    /// # Errors
    /// As [`Client::receive`], and what the daemon refuses.
    pub fn list(&mut self) -> Result<Vec<UnitStatus>, Failure> {
        self.send(&Call::List, CallOptions { more: true, ..CallOptions::default() })?;
        let mut all = Vec::new();
        loop {
            match self.receive(&Call::List, None)? {
                Ok((Answer::Units(units), continues)) => {
                    all.extend(units);
                    if !continues {
                        return Ok(all);
                    }
                }
                Ok(_) => return Err(self.lost("an answer to another question")),
                Err(error) => return Err(Failure::from(error)),
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
            Ok(_) => Err(self.lost("an answer to another question")),
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
            Ok(_) => Err(self.lost("an answer to another question")),
            Err(error) => Err(Failure::from(error)),
        }
    }

    fn lost(&self, why: &str) -> Failure {
        let path = self.path.display();
        Failure::new(
            UNREACHABLE,
            format!("lost the supervisor at {path}: {why}; what was asked for may have been begun, see `rsvc status`"),
        )
    }
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
mod tests {
    use super::*;
    use crate::control::{Request, encode_answer, encode_error};
    use std::os::unix::net::UnixListener;

    /// A daemon that answers each connection's first call with these bytes.
    fn daemon(replies: Vec<Vec<u8>>) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<Vec<Request>>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("io.rsvc");
        let listener = UnixListener::bind(&path).expect("bind");
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for reply in replies {
                let (mut stream, _) = listener.accept().expect("a client");
                let (mut reader, mut chunk) = (FrameReader::new(REPLY_LIMIT), [0u8; 512]);
                let frame = loop {
                    if let Some(frame) = reader.next_frame().expect("short") {
                        break frame;
                    }
                    let count = stream.read(&mut chunk).expect("a call");
                    reader.push(&chunk[..count]);
                };
                asked.push(Request::decode(&frame).expect("a call"));
                stream.write_all(&reply).expect("reply");
            }
            asked
        });
        (directory, path, thread)
    }

    #[test]
    fn no_socket_is_said_at_once_with_what_to_do() {
        let failure = Client::connect(Path::new("/nonexistent/io.rsvc")).unwrap_err();
        assert_eq!(failure.code(), UNREACHABLE);
        assert_eq!(
            failure.to_string(),
            "supervisor not reachable: no socket at /nonexistent/io.rsvc; start it with `rsvc daemon`"
        );
    }

    #[test]
    fn a_list_is_collected_from_many_replies() {
        let unit = |name: &str| UnitStatus { name: name.into(), ..UnitStatus::default() };
        let part = |name, continues| encode_answer(&Answer::Units(vec![unit(name)]), continues).expect("short");
        let (_directory, path, thread) = daemon(vec![[part("a", true), part("b", true), part("c", false)].concat()]);
        let units = Client::connect(&path).unwrap().list().unwrap();
        assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(thread.join().unwrap()[0].more);
    }

    #[test]
    fn refusals_closed_connections_and_silence_are_told_apart() {
        let refusal = CallError::UnitNotFound { unit: "web".into() };
        let (_directory, path, thread) = daemon(vec![encode_error(&refusal), b"{\"par".to_vec(), Vec::new()]);
        let call = Call::Start { unit: "web".into() };
        assert_eq!(Client::connect(&path).unwrap().call(&call).unwrap(), Err(refusal));
        let failure = Client::connect(&path).unwrap().call(&call).unwrap_err();
        assert_eq!(failure.code(), UNREACHABLE);
        assert!(failure.to_string().contains("the connection was closed"), "{failure}");
        let mut client = Client::connect(&path).unwrap();
        let past = now();
        assert_eq!(client.receive(&call, Some(past)).unwrap_err().code(), TIMED_OUT);
        client.send(&call, CallOptions::default()).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_socket_that_refuses_is_tried_again_until_a_daemon_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d".repeat(120)).join("io.rsvc");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let door = File::open(path.parent().unwrap()).unwrap();
        let short = PathBuf::from(format!("/proc/self/fd/{}/io.rsvc", door.as_raw_fd()));
        drop(UnixListener::bind(&short).unwrap());
        let connecting = std::thread::spawn({
            let path = path.clone();
            move || Client::connect(&path).map(|_| ())
        });
        std::thread::sleep(PAUSE * 2);
        let temporary = short.with_file_name("new");
        let _listener = UnixListener::bind(&temporary).unwrap();
        std::fs::rename(path.with_file_name("new"), &path).unwrap();
        assert!(connecting.join().unwrap().is_ok());
    }
}
