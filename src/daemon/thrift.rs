//! What the daemon gives back when nothing has been launched for a while, or many units were asked about.

use super::engine::{Engine, Timer};
use super::launch::QUIET;

/// Events that there is room for at any time; an adoption has one and more for each service at once.
const EVENTS: usize = 64;

/// So many launches since the last time are no restarts now and then, which are not to wait for the program's pages.
const MANY: u32 = 100;

/// What has been done since the program's pages were given back.
#[derive(Debug)]
pub(super) struct Thrift {
    launches: u32,
}

impl Default for Thrift {
    /// A daemon has just begun, which needs more of the program than many launches.
    fn default() -> Thrift {
        Thrift { launches: MANY }
    }
}

impl Engine {
    /// Something is launched.
    pub(super) fn trim_after_launch(&mut self) {
        self.thrift.launches = self.thrift.launches.saturating_add(1);
        self.after(QUIET, Timer::Trim);
    }

    /// Something used the heap: a beginning, or a call whose answer may be about a thousand units. Calls do not put off
    /// what is planned, as launches do: somebody may call all the time.
    pub(super) fn trim_soon(&mut self) {
        if !self.is_set(Timer::Trim) {
            self.after(QUIET, Timer::Trim);
        }
    }

    /// Gives back what a beginning or many launches used at once, and keeps what has been added to the heap out of the
    /// next children.
    pub(super) fn trim(&mut self) {
        self.events.shrink_to(EVENTS);
        trim_heap();
        if self.thrift.launches >= MANY {
            self.thrift.launches = 0;
            crate::sys::memory::give_back_program();
        }
    }
}

/// Gives back what is free of the heap.
pub(super) fn trim_heap() {
    crate::sys::memory::give_back();
    if let Err(error) = crate::sys::process::mark_heap_dontfork() {
        tracing::debug!("starts will be slower: {error}");
    }
}
