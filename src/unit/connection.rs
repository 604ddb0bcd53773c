//! The unit of one connection, made of the unit that accepted it.

use super::{Activation, Preserve, RestartPolicy, Unit};

impl Unit {
    /// Do this unit's sockets accept connections, each for an instance of its own?
    pub fn accepts(&self) -> bool {
        self.sockets.iter().any(|socket| socket.accept)
    }

    /// Turns the texts of `listener`, read under the name of an instance, into what serves one connection: it has no
    /// sockets, goes with the listener, and is not restarted. Directories of the listener's below /run are used by all
    /// instances, so that none of them removes any.
    #[must_use]
    pub fn for_connection(mut self, listener: &str) -> Unit {
        let settings = &mut self.settings;
        settings.connection_of = Some(listener.to_owned());
        settings.sockets.clear();
        settings.service.activation = Activation::Start;
        settings.restart.policy = RestartPolicy::No;
        settings.directories.runtime_preserve = Preserve::Yes;
        for list in [&mut settings.unit.part_of, &mut settings.unit.after] {
            if !list.iter().any(|name| name == listener) {
                list.push(listener.to_owned());
            }
        }
        self
    }
}
