//! What one unit's end means for others, as far as files have to be read for it.

use super::engine::Engine;
use crate::supervise::{Event, ServiceId};

impl Engine {
    /// `unit.on_failure` and `unit.on_success`: the unit is read as it is on disk now, and asked for.
    pub(super) fn start_on_behalf(&mut self, id: ServiceId, name: &str, links: u8) {
        let whose = self.service(id).map_or_else(String::new, |service| service.name.clone());
        match self.load_for_start(name) {
            Ok(id) => {
                tracing::info!(unit = name, "{name}: started on behalf of {whose}, which has ended");
                self.events.push_back(Event::Triggered { id, links });
            }
            Err(error) => tracing::error!(unit = whose, "{whose}: {name} cannot be started on its behalf: {error}"),
        }
    }
}
