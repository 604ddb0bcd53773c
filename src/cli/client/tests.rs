//! A daemon that goes away at every stage of a call, and what the client makes of it.

use super::*;
use crate::control::{Asked, Manner, Request, Verb, encode_answer, encode_error, encode_service_error};
use std::os::unix::net::UnixListener;

/// What happens to one connection.
enum Act {
    /// It is closed before the call is read.
    Shut,
    /// The call is read, these bytes are sent, and it is closed.
    Say(Vec<u8>),
    /// The same, and the next call of the same connection is answered with the second.
    SayTwice(Vec<u8>, Vec<u8>),
    /// The daemon is away for a moment before it listens again.
    Away,
}

fn next_call(stream: &mut UnixStream, reader: &mut FrameReader) -> Option<Request> {
    let mut chunk = [0u8; 512];
    loop {
        if let Some(frame) = reader.next_frame().expect("short") {
            return Some(Request::decode(&frame).expect("a call"));
        }
        match stream.read(&mut chunk).expect("a call") {
            0 => return None,
            count => reader.push(&chunk[..count]),
        }
    }
}

/// A daemon that treats its connections so, one after the other, and ends.
fn daemon(acts: Vec<Act>) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<Vec<Request>>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("io.rsvc");
    let mut listener = Some(UnixListener::bind(&path).expect("bind"));
    let socket = path.clone();
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for act in acts {
            let accept = || listener.as_ref().expect("it listens").accept().expect("a client").0;
            match act {
                Act::Shut => drop(accept()),
                Act::Away => {
                    drop(listener.take());
                    std::thread::sleep(PAUSE * 2);
                    let new = socket.with_file_name("new");
                    listener = Some(UnixListener::bind(&new).expect("bind"));
                    std::fs::rename(&new, &socket).expect("rename");
                }
                Act::Say(bytes) => {
                    let mut stream = accept();
                    asked.extend(next_call(&mut stream, &mut FrameReader::new(REPLY_LIMIT)));
                    stream.write_all(&bytes).expect("reply");
                }
                Act::SayTwice(first, second) => {
                    let (mut stream, mut reader) = (accept(), FrameReader::new(REPLY_LIMIT));
                    for bytes in [first, second] {
                        asked.extend(next_call(&mut stream, &mut reader));
                        stream.write_all(&bytes).expect("reply");
                    }
                }
            }
        }
        asked
    });
    (directory, path, thread)
}

fn done() -> Vec<u8> {
    encode_answer(&Answer::Done, false).expect("short")
}

/// Verb and key of a call.
fn read(request: Request) -> (Verb, Manner) {
    let Ok(Asked::Verb(verb)) = request.asked() else { panic!("no verb") };
    (verb, verb.decode(request.into_parameters()).expect("parameters").1)
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
fn a_list_is_collected_from_many_replies_of_one_daemon() {
    let unit = |name: &str| UnitStatus { name: name.into(), ..UnitStatus::default() };
    let part = |name, continues| encode_answer(&Answer::Units(vec![unit(name)]), continues).expect("short");
    let (_directory, path, thread) = daemon(vec![
        Act::Say([part("a", true), part("b", true)].concat()),
        Act::Say([part("a", true), part("b", true), part("c", false)].concat()),
    ]);
    let units = Client::connect(&path).unwrap().list().unwrap();
    assert_eq!(units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(thread.join().unwrap().iter().all(|call| call.more));
}

#[test]
fn a_daemon_lost_at_any_stage_is_asked_again() {
    let call = Call::Status { unit: "web".into() };
    let status = UnitStatus { name: "web".into(), ..UnitStatus::default() };
    let answer = encode_answer(&Answer::Status(Box::new(status)), false).unwrap();
    let half = answer[..answer.len() / 2].to_vec();
    let (_directory, path, thread) =
        daemon(vec![Act::Shut, Act::Say(Vec::new()), Act::Say(half), Act::Away, Act::Say(answer)]);
    assert!(matches!(Client::connect(&path).unwrap().call(&call), Ok(Ok(Answer::Status(_)))));
    assert_eq!(thread.join().unwrap().len(), 3, "it was read three times");
}

#[test]
fn what_cannot_be_done_twice_is_asked_again_under_the_same_key() {
    for call in [
        Call::Start { unit: "web".into() },
        Call::Restart { unit: "web".into() },
        Call::TryRestart { unit: "web".into() },
        Call::Reload { unit: "web".into() },
        Call::Kill { unit: "web".into(), signal: 15, whole: false },
    ] {
        let (_directory, path, thread) = daemon(vec![Act::Say(Vec::new()), Act::SayTwice(done(), done())]);
        let mut client = Client::connect(&path).unwrap();
        assert_eq!(client.call(&call).unwrap(), Ok(Answer::Done));
        assert_eq!(client.call(&call).unwrap(), Ok(Answer::Done));
        let calls: Vec<_> = thread.join().unwrap().into_iter().map(read).collect();
        let keys: Vec<_> = calls.iter().map(|(_, manner)| manner.request.expect("a key")).collect();
        assert!(calls.iter().all(|(verb, _)| *verb == call.verb()));
        assert_eq!(keys[0], keys[1], "made again: {call:?}");
        assert_ne!(keys[1], keys[2], "another call: {call:?}");
    }
}

#[test]
fn a_daemon_older_than_keys_is_asked_without_and_only_once() {
    let refusal = encode_service_error(&ServiceError::InvalidParameter { parameter: "request".into() });
    let call = Call::Restart { unit: "web".into() };
    let (_directory, path, thread) = daemon(vec![Act::SayTwice(refusal.clone(), done())]);
    assert_eq!(Client::connect(&path).unwrap().call(&call).unwrap(), Ok(Answer::Done));
    let keys: Vec<bool> = thread.join().unwrap().into_iter().map(|call| read(call).1.request.is_some()).collect();
    assert_eq!(keys, [true, false]);

    let (_directory, path, thread) = daemon(vec![Act::SayTwice(refusal, Vec::new())]);
    let failure = Client::connect(&path).unwrap().call(&call).unwrap_err();
    assert_eq!(failure.code(), UNREACHABLE);
    assert!(failure.to_string().contains("the connection was closed; what was asked for may have been begun"));
    thread.join().unwrap();
}

#[test]
fn refusals_lost_daemons_and_silence_are_told_apart() {
    let refusal = CallError::UnitNotFound { unit: "web".into() };
    let (directory, path, thread) = daemon(vec![Act::Say(encode_error(&refusal)), Act::Say(b"nonsense\0".to_vec())]);
    let call = Call::Stop { unit: "web".into() };
    assert_eq!(Client::connect(&path).unwrap().call(&call).unwrap(), Err(refusal));
    assert_eq!(Client::connect(&path).unwrap().call(&call).unwrap_err().code(), UNREACHABLE, "no Varlink");
    thread.join().unwrap();
    // Nobody listens any more; then there is not even a name.
    let mut client = Client::connect_now(&path).unwrap_err();
    assert_eq!(client.code(), UNREACHABLE);
    let listener = UnixListener::bind(directory.path().join("other")).unwrap();
    let mut waiting = Client::connect(&directory.path().join("other")).unwrap();
    waiting.send(&call, CallOptions::default()).unwrap();
    assert_eq!(waiting.receive(Some(now())).unwrap_err().code(), TIMED_OUT);
    drop(listener);
    assert_eq!(waiting.receive(Some(now())).unwrap_err().code(), TIMED_OUT, "the limit is one for all tries");
    std::fs::remove_file(directory.path().join("other")).unwrap();
    client = waiting.receive(None).unwrap_err();
    assert_eq!(client.code(), UNREACHABLE);
    assert!(client.to_string().contains("and the socket is gone; what was asked for may have been begun"), "{client}");
}

#[test]
fn who_lets_in_and_throws_out_is_not_tried_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("io.rsvc");
    let listener = UnixListener::bind(&path).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let thread = std::thread::spawn({
        let stop = std::sync::Arc::clone(&stop);
        move || {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                drop(listener.accept());
            }
        }
    });
    let failure = Client::connect(&path).unwrap().call(&Call::Describe).unwrap_err();
    assert_eq!(failure.code(), UNREACHABLE);
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    drop(UnixStream::connect(&path));
    thread.join().unwrap();
}

#[test]
fn a_stream_that_broke_off_begins_anew() {
    let event = |word: &str| {
        let event = crate::control::UnitEvent { event: word.into(), ..Default::default() };
        encode_answer(&Answer::Event(Box::new(event)), true).unwrap()
    };
    let (_directory, path, thread) = daemon(vec![Act::Say(event("started")), Act::Away, Act::Say(event("stopped"))]);
    let call = Call::Events { units: Vec::new(), present: false };
    let mut client = Client::connect(&path).unwrap();
    client.send(&call, CallOptions { more: true, ..CallOptions::default() }).unwrap();
    let word = |received| match received {
        Received::Answer(Answer::Event(event), true) => event.event,
        Received::Again => "again".to_owned(),
        other => panic!("{other:?}"),
    };
    let words = std::array::from_fn(|_| word(client.receive(None).unwrap()));
    assert_eq!(words, ["started", "again", "stopped"]);
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
