//! The listener against real sockets; peers of other users are pretended, as the kernel's word comes in from outside.

use super::*;
use crate::control::{
    Audience, CallOptions, FrameReader, REPLY_LIMIT, Reply, UnitStatus, Verb, decode_reply, encode_call,
};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

struct Bench {
    listener: Listener,
    _directory: tempfile::TempDir,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("a directory");
    let rules = Rules { owner: 0, group: Some(990), status: Audience::Everyone };
    let listener = Listener::bind(&directory.path().join("io.rsvc"), rules).expect("bind");
    Bench { listener, _directory: directory }
}

impl Bench {
    /// A connected client that pretends to be `uid`.
    fn client(&mut self, uid: u32) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a socketpair");
        ours.set_nonblocking(true).expect("non-blocking");
        let peer = Peer { pid: 4711, uid, gid: uid, groups: vec![] };
        self.listener.adopt(ours.into(), peer, None);
        theirs.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("a timeout");
        theirs
    }

    fn calls(&mut self) -> Vec<Incoming> {
        self.listener.dispatch(&mut |_| Ok(())).expect("dispatch");
        std::iter::from_fn(|| self.listener.next_call()).collect()
    }
}

fn start(unit: &str) -> Vec<u8> {
    encode_call(&Call::Start { unit: unit.into() }, CallOptions::default())
}

fn replies(client: &mut UnixStream, verb: Verb, count: usize) -> Vec<Reply> {
    let (mut reader, mut got, mut chunk) = (FrameReader::new(REPLY_LIMIT), Vec::new(), [0u8; 4096]);
    while got.len() < count {
        let n = client.read(&mut chunk).expect("a reply in time");
        assert_ne!(n, 0, "closed after {} of {count} replies", got.len());
        reader.push(&chunk[..n]);
        while let Some(frame) = reader.next_frame().expect("within the limit") {
            got.push(decode_reply(verb, &frame).expect("a reply"));
        }
    }
    got
}

fn is_closed(client: &mut UnixStream) -> bool {
    matches!(client.read(&mut [0u8; 1]), Ok(0) | Err(_))
}

#[test]
fn a_call_comes_in_and_its_reply_goes_out() {
    let mut bench = bench();
    let mut client = bench.client(0);
    client.write_all(&start("web")).unwrap();
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].call, Call::Start { unit: "web".into() });
    assert!(calls[0].wait && !calls[0].more && !calls[0].oneway);
    bench.listener.reply(calls[0].connection, &Ok(Answer::Done));
    assert_eq!(replies(&mut client, Verb::Start, 1), [Reply::Answer(Answer::Done, false)]);
}

#[test]
fn over_the_bound_socket_the_peer_is_who_the_kernel_says() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let path = deep.join("io.rsvc");
    let owner = nix::unistd::geteuid().as_raw();
    let rules = Rules { owner, group: None, status: Audience::Everyone };
    let mut listener = Listener::bind(&path, rules.clone()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let door = File::open(&deep).unwrap();
    let short = format!("/proc/self/fd/{}/io.rsvc", std::os::fd::AsRawFd::as_raw_fd(&door));
    let mut client = UnixStream::connect(&short).unwrap();
    client.write_all(&start("web")).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        listener
            .dispatch(&mut |peer| {
                seen.push(peer.clone());
                Ok(())
            })
            .unwrap();
    }
    let call = listener.next_call().expect("a call");
    assert_eq!((seen.len(), &seen[0]), (1, &call.peer), "asked once, about the same peer");
    assert_eq!((call.peer.uid, call.peer.pid), (owner, i32::try_from(std::process::id()).unwrap()));
    // A second daemon takes the name over; the first one's clients live on.
    let second = Listener::bind(&path, rules).unwrap();
    listener.reply(call.connection, &Ok(Answer::Done));
    assert_eq!(replies(&mut client, Verb::Start, 1).len(), 1);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 1, "no temporary name is left");
    second.remove_name().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_barred_peer_is_told_why_and_may_still_introspect() {
    let mut bench = bench();
    let (ours, mut client) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let peer = Peer { pid: 1, uid: 0, gid: 0, groups: vec![] };
    bench.listener.adopt(ours.into(), peer, Some("from inside the managed unit web".into()));
    client.write_all(&start("web")).unwrap();
    client.write_all(b"{\"method\":\"org.varlink.service.GetInfo\"}\0").unwrap();
    assert_eq!(bench.calls(), []);
    let refusal = CallError::PermissionDenied { message: "from inside the managed unit web".into() };
    let got = replies(&mut client, Verb::Start, 2);
    assert_eq!(got, [Reply::Error(refusal), Reply::Answer(Answer::Done, false)]);
}

#[test]
fn the_rules_speak_before_the_parameters_are_read() {
    let mut bench = bench();
    let mut client = bench.client(1000);
    client.write_all(b"{\"method\":\"io.rsvc.Manager.Kill\",\"parameters\":{\"nonsense\":1}}\0").unwrap();
    assert_eq!(bench.calls(), []);
    let got = replies(&mut client, Verb::Kill, 1);
    assert!(matches!(&got[0], Reply::Error(CallError::PermissionDenied { .. })), "{got:?}");
}

#[test]
fn calls_sent_ahead_wait_for_the_reply_of_the_first() {
    let mut bench = bench();
    let mut client = bench.client(0);
    client.write_all(&[start("a"), start("b")].concat()).unwrap();
    let first = bench.calls();
    assert_eq!(first.len(), 1);
    bench.listener.reply(first[0].connection, &Err(CallError::UnitNotFound { unit: "a".into() }));
    let second = bench.listener.next_call().expect("the second");
    assert_eq!(second.call, Call::Start { unit: "b".into() });
    bench.listener.reply(second.connection, &Ok(Answer::Done));
    bench.listener.reply(second.connection, &Ok(Answer::Done));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let got = replies(&mut client, Verb::Start, 2);
    assert_eq!(got, [Reply::Error(CallError::UnitNotFound { unit: "a".into() }), Reply::Answer(Answer::Done, false)]);
    assert_eq!(bench.calls(), []);
    assert!(is_closed(&mut client), "a second reply to one call is dropped, and the end is the end");
    assert_eq!(bench.listener.connections(), 0);
}

#[test]
fn a_oneway_call_is_carried_out_although_its_client_left() {
    let mut bench = bench();
    let mut client = bench.client(0);
    let call = Call::Stop { unit: "web".into() };
    client.write_all(&encode_call(&call, CallOptions { oneway: true, ..CallOptions::default() })).unwrap();
    client.write_all(&start("db")).unwrap();
    drop(client);
    let calls = bench.calls();
    assert_eq!(calls.iter().map(|c| c.oneway).collect::<Vec<_>>(), [true, true], "nobody is left to answer to");
    assert_eq!(calls[0].call, call);
    assert_eq!((bench.listener.connections(), bench.listener.next_gone()), (0, None));
}

#[test]
fn a_client_that_leaves_while_it_waits_is_reported_once() {
    let mut bench = bench();
    let mut client = bench.client(0);
    client.write_all(&start("web")).unwrap();
    let calls = bench.calls();
    drop(client);
    assert_eq!(bench.calls(), []);
    assert_eq!(bench.listener.next_gone(), Some(calls[0].connection));
    assert_eq!(bench.listener.next_gone(), None);
    bench.listener.reply(calls[0].connection, &Ok(Answer::Done));
    assert_eq!(bench.listener.connections(), 0);
}

#[test]
fn a_client_that_closed_its_sending_side_still_gets_its_reply() {
    let mut bench = bench();
    let mut client = bench.client(0);
    client.write_all(&start("web")).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let calls = bench.calls();
    assert_eq!(bench.calls(), []);
    assert_eq!(bench.listener.next_gone(), None);
    bench.listener.reply(calls[0].connection, &Ok(Answer::Done));
    assert_eq!(replies(&mut client, Verb::Start, 1).len(), 1);
    assert_eq!(bench.calls(), []);
    assert_eq!(bench.listener.connections(), 0);
}

#[test]
fn what_is_no_call_or_too_long_costs_the_connection() {
    for bytes in [b"hello\0".to_vec(), b"{}\0".to_vec(), vec![b'x'; 70_000]] {
        let mut bench = bench();
        let mut client = bench.client(0);
        client.write_all(&bytes).unwrap();
        assert_eq!(bench.calls(), []);
        assert_eq!(bench.listener.connections(), 0);
        assert!(is_closed(&mut client));
    }
}

#[test]
fn more_answers_than_the_socket_holds_arrive_complete_and_in_order() {
    let mut bench = bench();
    let mut client = bench.client(1000);
    let options = CallOptions { more: true, ..CallOptions::default() };
    client.write_all(&encode_call(&Call::List, options)).unwrap();
    let call = bench.calls().remove(0);
    assert!(call.more);
    for index in 0..2000 {
        let unit = UnitStatus { name: format!("u{index}"), ..UnitStatus::default() };
        bench.listener.reply_part(call.connection, &Answer::Units(vec![unit]));
    }
    bench.listener.reply(call.connection, &Ok(Answer::Units(vec![])));
    assert!(bench.listener.backlog > 0, "more than the socket holds");
    let reading = std::thread::spawn(move || replies(&mut client, Verb::List, 2001));
    while bench.listener.backlog > 0 {
        bench.calls();
        std::thread::yield_now();
    }
    let got = reading.join().unwrap();
    for (index, reply) in got.iter().take(2000).enumerate() {
        let Reply::Answer(Answer::Units(units), true) = reply else { panic!("{reply:?}") };
        assert_eq!(units[0].name, format!("u{index}"));
    }
    assert_eq!(got[2000], Reply::Answer(Answer::Units(vec![]), false));
}

#[test]
fn a_reader_that_does_not_read_is_dropped_at_the_backlog_limit() {
    let mut bench = bench();
    let mut client = bench.client(1000);
    let options = CallOptions { more: true, ..CallOptions::default() };
    client.write_all(&encode_call(&Call::List, options)).unwrap();
    let call = bench.calls().remove(0);
    let unit = UnitStatus { cause: Some("x".repeat(900_000)), ..UnitStatus::default() };
    for _ in 0..40 {
        bench.listener.reply_part(call.connection, &Answer::Units(vec![unit.clone()]));
        assert!(bench.listener.backlog <= BACKLOG);
    }
    assert_eq!((bench.listener.connections(), bench.listener.backlog), (0, 0));
    assert_eq!(bench.listener.next_gone(), Some(call.connection));
}

#[test]
fn an_answer_past_the_limit_becomes_an_error() {
    let mut bench = bench();
    let mut client = bench.client(0);
    client.write_all(&encode_call(&Call::List, CallOptions::default())).unwrap();
    let call = bench.calls().remove(0);
    let unit = UnitStatus { cause: Some("x".repeat(REPLY_LIMIT)), ..UnitStatus::default() };
    bench.listener.reply(call.connection, &Ok(Answer::Units(vec![unit])));
    let got = replies(&mut client, Verb::List, 1);
    assert!(matches!(&got[0], Reply::Error(CallError::Internal { message }) if message.contains("`more`")), "{got:?}");
}

#[test]
fn an_ordinary_user_runs_into_his_limit_and_root_never_does() {
    let mut bench = bench();
    let mut busy: Vec<UnixStream> = (0..MAX_PER_USER).map(|_| bench.client(1000)).collect();
    for client in &mut busy {
        client.write_all(&encode_call(&Call::List, CallOptions::default())).unwrap();
    }
    assert_eq!(bench.calls().len(), MAX_PER_USER);
    assert!(is_closed(&mut bench.client(1000)), "all of them wait for an answer: the newcomer has to go");
    let others: Vec<Vec<UnixStream>> =
        (1001..1004).map(|uid| (0..MAX_PER_USER).map(|_| bench.client(uid)).collect()).collect();
    assert_eq!(bench.listener.connections(), MAX_CONNECTIONS);
    assert!(is_closed(&mut bench.client(1005)), "full, and nothing of his own to give up");
    let mut root = bench.client(0);
    root.write_all(&start("web")).unwrap();
    assert_eq!(bench.calls().len(), 1, "root is let in");
    assert_eq!(bench.listener.connections(), MAX_CONNECTIONS);
    drop(others);
}

#[test]
fn at_his_limit_a_users_idlest_connection_makes_room() {
    let mut bench = bench();
    let mut clients: Vec<UnixStream> = (0..MAX_PER_USER).map(|_| bench.client(1000)).collect();
    clients[0].write_all(b"{\"method\":\"org.varlink.service.GetInfo\"}\0").unwrap();
    assert_eq!(bench.calls(), []);
    let _newcomer = bench.client(1000);
    assert_eq!(bench.listener.connections(), MAX_PER_USER);
    assert!(is_closed(&mut clients[1]), "the first was used since, so the second is the idlest");
    clients[0].write_all(&start("web")).unwrap();
    assert_eq!(bench.calls(), []);
    assert_eq!(replies(&mut clients[0], Verb::Start, 2).len(), 2);
}
