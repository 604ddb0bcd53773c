//! The answer of a new program that is asked whether it could take over (`rsvc daemon --handoff-info N`): it looks at the
//! very snapshot, at every state file and at the settings, as it would have to, and changes nothing.

use super::handoff::{self, Handoff};
use super::probe::{Claim, Problem};
use crate::daemon::engine::Options;
use crate::daemon::remembered::LaunchedBy;
use crate::daemon::state::{self, StateError};
use crate::sys::fd;
use std::io::Write;
use std::os::fd::RawFd;

/// Prints what this program can take over; the snapshot is the inherited descriptor `number`. Returns the exit status.
pub fn handoff_info(mut options: Options, number: RawFd) -> u8 {
    let mut problems: Vec<Problem> = Vec::new();
    let snapshot = fd::adopt(number).map_err(|error| format!("the snapshot cannot be read: {error}"));
    if let Err(why) = snapshot.and_then(|memfd| Handoff::read(&memfd).map_err(|error| error.to_string())) {
        problems.push(Problem { unit: None, why });
    }
    problems.extend(unreadable_states(&options));
    if let Err(error) = crate::daemon::server::settings(&mut options) {
        problems.push(Problem { unit: None, why: format!("the daemon's settings: {error}") });
    }
    if let Some(Err(why)) = options.log_level.as_deref().map(crate::daemon::log_layer::parse_filter) {
        problems.push(Problem { unit: None, why });
    }
    let LaunchedBy { version, build } = LaunchedBy::this();
    let claim = Claim {
        v: 1,
        version,
        build,
        snapshot: [handoff::OLDEST, handoff::VERSION],
        state: [state::VERSION, state::VERSION],
        problems,
    };
    let text = serde_json::to_string(&claim).unwrap_or_default();
    u8::from(writeln!(std::io::stdout(), "{text}").is_err())
}

/// States that this program cannot read. One of an earlier boot says nothing to anybody.
fn unreadable_states(options: &Options) -> Vec<Problem> {
    match state::names(&options.runtime_dir) {
        Ok(names) => names.into_iter().filter_map(|name| problem_of(options, name)).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![Problem { unit: None, why: error.to_string() }],
    }
}

fn problem_of(options: &Options, name: String) -> Option<Problem> {
    match state::read(&options.runtime_dir, &name) {
        Ok(_) | Err(StateError::Missing | StateError::OtherBoot) => None,
        Err(error) => Some(Problem { unit: Some(name), why: error.to_string() }),
    }
}
