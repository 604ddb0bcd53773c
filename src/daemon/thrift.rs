//! What the daemon gives back when nothing has been launched for a while.

use super::engine::Engine;

/// Events that there is room for at any time; an adoption has one and more for each service at once.
const EVENTS: usize = 64;

impl Engine {
    /// Gives back what a beginning or many launches used at once, and keeps what has been added to the heap out of the
    /// next children.
    pub(super) fn trim(&mut self) {
        self.events.shrink_to(EVENTS);
        trim_heap();
        crate::sys::memory::give_back_program();
    }
}

/// Gives back what is free of the heap.
pub(super) fn trim_heap() {
    crate::sys::memory::give_back();
    if let Err(error) = crate::sys::process::mark_heap_dontfork() {
        tracing::debug!("starts will be slower: {error}");
    }
}
