//! Where a daemon is killed: between two of its system calls of which somebody else could notice something.
//!
//! What only concerns the daemon's own descriptors dies with it, closing among it, so that a death before such a call
//! cannot be told from one behind it. All other calls that have an effect are boundaries, on both sides.

use crate::instance::tracer::{Call, Judge, Verdict, When};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Effects that nobody sees once the daemon is dead.
const PRIVATE: [&str; 17] = [
    "close",
    "fcntl",
    "fsconfig",
    "fsmount",
    "fsopen",
    "inotify_add_watch",
    "memfd_create",
    "open_tree",
    "pidfd_getfd",
    "pidfd_open",
    "pipe",
    "pipe2",
    "setsockopt",
    "socket",
    "socketpair",
    "timerfd_settime",
    "flock",
];

/// One side of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// Number of the call among those that count, from 0.
    pub number: usize,
    /// The call has been made.
    pub after: bool,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, if self.after { "after" } else { "before" })
    }
}

impl FromStr for Boundary {
    type Err = String;

    fn from_str(text: &str) -> Result<Boundary, String> {
        let wrong = || format!("`{text}` is not NUMBER:before or NUMBER:after");
        let (number, side) = text.split_once(':').ok_or_else(wrong)?;
        let after = match side {
            "before" => false,
            "after" => true,
            _ => return Err(wrong()),
        };
        Ok(Boundary { number: number.parse().map_err(|_| wrong())?, after })
    }
}

/// What the judge has seen.
#[derive(Default)]
pub struct Seen {
    count: AtomicUsize,
    idle: AtomicBool,
    /// The call at which the daemon was killed; of a recorded run: all that count.
    calls: Mutex<Vec<String>>,
    /// Calls of which nobody has said whether they have an effect.
    unknown: Mutex<BTreeSet<&'static str>>,
}

impl Seen {
    /// The daemon waits for something to happen.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }

    pub fn unknown(&self) -> BTreeSet<&'static str> {
        self.unknown.lock().expect("nobody panics with it").clone()
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("nobody panics with it").clone()
    }
}

fn counts(call: &Call) -> bool {
    call.is_effect() && !PRIVATE.contains(&call.name())
}

/// Kills the daemon at a boundary; without one it only counts, and writes down what it sees.
pub fn judge(at: Option<Boundary>) -> (Arc<Seen>, impl Judge) {
    let seen = Arc::new(Seen::default());
    let written = Arc::clone(&seen);
    let mut present = None;
    let judge = move |call: &Call, when: When| {
        written.idle.store(when == When::Before && call.name().starts_with("epoll_"), Ordering::SeqCst);
        if when != When::Before {
            let number: Option<usize> = present.take();
            return match at {
                Some(at) if at.after && number == Some(at.number) => Verdict::Kill,
                _ => Verdict::Go,
            };
        }
        if !call.is_known() {
            written.unknown.lock().expect("nobody panics with it").insert(call.name());
        }
        if !counts(call) {
            return Verdict::Go;
        }
        let number = written.count.fetch_add(1, Ordering::SeqCst);
        present = Some(number);
        if at.is_none_or(|at| at.number == number) {
            written.calls.lock().expect("nobody panics with it").push(call.to_string());
        }
        match at {
            Some(at) if !at.after && at.number == number => Verdict::Kill,
            _ => Verdict::Go,
        }
    };
    (seen, judge)
}
