//! Datagrams that any process of a service may send to its notify socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsvc::daemon::notify::{Message, parse};

fuzz_target!(|datagram: &[u8]| {
    let messages = parse(datagram);
    assert!(messages.len() <= datagram.len());
    for message in messages {
        match message {
            Message::MainPid(pid) => assert!(pid >= 1),
            Message::Errno(errno) => assert!((0..=4095).contains(&errno)),
            // Shown on a terminal and written to a log, where a line is a line.
            Message::Status(text) | Message::Error(text) => assert!(!text.chars().any(char::is_control), "{text:?}"),
            Message::Malformed { what, why } => {
                assert!(!what.chars().any(char::is_control) && what.len() <= 4 * 64, "{what:?}");
                assert!(!why.is_empty());
            }
            Message::Store { name, .. } | Message::RemoveStored { name } => {
                assert!((1..=255).contains(&name.len()) && !name.contains(':'), "{name:?}");
                assert!(name.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{name:?}");
            }
            Message::Ready
            | Message::Reloading(_)
            | Message::Stopping
            | Message::ExtendTimeout(_)
            | Message::Alive
            | Message::Trigger
            | Message::WatchdogInterval(_)
            | Message::ResetRestarts
            | Message::Barrier => {}
        }
    }
});
