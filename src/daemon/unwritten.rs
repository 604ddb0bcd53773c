//! What could not be done for want of space, files or memory: kept in mind, and tried again until it can be.
//!
//! One attempt a second while there is anything, and while that fails no second one: a thousand states on a full disk
//! cost one failing write, not a thousand. What is tried again is made anew from what is known then.

use super::engine::{Engine, Timer};
use super::scarcity::{self, PAUSE};
use super::state::StateError;
use crate::supervise::ServiceId;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// One thing that is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// `cgroup-root`
    Root,
    /// `booted`
    Booted,
    /// `services/NAME/state` is to be written, or removed.
    State(ServiceId),
    /// `<state>/timers/NAME`
    Stamp(ServiceId),
    /// `io/NAME` is to be removed.
    Sockets(ServiceId),
}

/// See the module documentation.
pub(super) type Unwritten = BTreeSet<Deed>;

impl Engine {
    /// Takes note of how a deed went; says so when it begins and when it ends to fail.
    ///
    /// Returns whether it is done.
    pub(super) fn done(&mut self, deed: Deed, path: &Path, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => {
                if self.unwritten.remove(&deed) {
                    tracing::info!("{}: done at last", path.display());
                }
                true
            }
            Err(error) => {
                if self.unwritten.insert(deed) {
                    let (what, advice) = (deed.words(), scarcity::advice(&error));
                    tracing::error!("{}: {what}: {error}; tried again every second{advice}", path.display());
                }
                if !self.is_set(Timer::Unwritten) {
                    self.after(PAUSE, Timer::Unwritten);
                }
                false
            }
        }
    }

    /// The same of a state file.
    pub(super) fn state_done(&mut self, id: ServiceId, result: Result<(), StateError>) {
        let Some(service) = self.service(id) else { return };
        let path = super::state::directory(&self.options.runtime_dir, &service.name).join("state");
        let result = result.map_err(|error| match error {
            StateError::Io(_, error) => error,
            other => io::Error::other(other.to_string()),
        });
        self.done(Deed::State(id), &path, result);
    }

    /// Removes the state of a unit that this daemon does not know.
    pub(super) fn forget_state(&self, name: &str) {
        if let Err(error) = super::state::remove(&self.options.runtime_dir, name, None, super::engine::now()) {
            tracing::warn!("cannot forget {name}: {error}");
        }
    }

    /// Tries again what failed, until something fails again.
    pub(super) fn write_again(&mut self) {
        for deed in self.unwritten.clone() {
            match deed {
                Deed::Root => self.record_root(),
                Deed::Booted => self.note_boot(),
                Deed::State(id) => self.persist(id),
                Deed::Stamp(id) => self.write_stamp_again(id),
                Deed::Sockets(id) => self.remove_sockets(id),
            }
            if self.is_set(Timer::Unwritten) {
                return;
            }
            // Whatever it was about is gone.
            self.unwritten.remove(&deed);
        }
    }
}

impl Deed {
    fn words(self) -> &'static str {
        match self {
            Deed::Root => "where the groups are cannot be written down",
            Deed::Booted => "that the enabled units were started cannot be written down",
            Deed::State(_) => "the present state cannot be written down, the next daemon would find an older one",
            Deed::Stamp(_) => "when its timers ran last cannot be written down",
            Deed::Sockets(_) => "the directory of sockets cannot be removed",
        }
    }
}
