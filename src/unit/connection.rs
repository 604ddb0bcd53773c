//! The unit of one connection, made of the unit that accepted it.

use super::{Activation, Preserve, RestartPolicy, Unit};
use std::sync::Arc;

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
        Arc::make_mut(&mut settings.service.conduct).activation = Activation::Start;
        Arc::make_mut(&mut settings.restart).policy = RestartPolicy::No;
        Arc::make_mut(&mut settings.directories).runtime_preserve = Preserve::Yes;
        let relations = Arc::make_mut(&mut settings.unit.relations);
        for list in [&mut relations.part_of, &mut relations.after] {
            if !list.iter().any(|name| name == listener) {
                list.push(listener.to_owned());
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: &str = "[service]\nexec = [\"/bin/echo\", \"${template}/${instance}\"]\nuser = \"web\"\n\
                        [[sockets]]\nlisten = \"tcp:127.0.0.1:7777\"\naccept = true\n";

    #[test]
    fn the_listener_is_a_template_of_its_connections() {
        let (listener, _) = Unit::parse("echo", "/units/echo.toml", ECHO).expect("a good unit");
        assert!(listener.accepts());
        assert_eq!(listener.service.activation, Activation::OnDemand);
        assert_eq!(listener.restart.policy, RestartPolicy::No);
        let socket = &listener.sockets[0];
        assert_eq!((socket.max_connections, socket.max_connections_per_source), (64, 16));
        assert_eq!((listener.service.exec[1].as_str(), socket.name.as_str()), ("echo/0", "connection"));

        let (instance, _) = Unit::parse("echo@3", "/units/echo.toml", ECHO).expect("a good unit");
        let instance = instance.for_connection("echo");
        assert!(!instance.accepts() && instance.sockets.is_empty());
        assert_eq!(instance.service.activation, Activation::Start);
        assert_eq!(instance.service.exec[1], "echo/3");
        assert_eq!(instance.connection_of.as_deref(), Some("echo"));
        assert_eq!(
            (instance.unit.part_of.as_slice(), instance.unit.after.last()),
            (&["echo".to_owned()][..], Some(&"echo".to_owned()))
        );
    }

    #[test]
    fn an_instance_of_a_template_does_not_accept() {
        for (name, file) in [("echo@a", "/units/echo@.toml"), ("echo@a", "echo@a.toml")] {
            let problems = Unit::parse(name, file, ECHO).expect_err("an instance of an instance");
            assert!(problems[0].message.contains("in an instance of a template"), "{problems:?}");
        }
    }
}
