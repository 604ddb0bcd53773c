//! Units that say the same share what they say: of a thousand most have the same `[restart]`, the same `[filesystem]`.

use super::settings::*;
use super::{Settings, Unit};
use std::rc::Rc;

/// Different tables of one kind that are remembered, the last used first.
const KEPT: usize = 8;

/// Tables of the units that were seen last, to be shared with the next ones.
#[derive(Debug, Default)]
pub struct Shared {
    unit: Known<UnitTable>,
    ready: Known<Ready>,
    restart: Known<RestartSettings>,
    hooks: Known<HookSettings>,
    rootfs: Known<Rootfs>,
    filesystem: Known<Filesystem>,
    directories: Known<Directories>,
    devices: Known<Devices>,
    namespaces: Known<NamespaceSettings>,
    network: Known<Network>,
    syscalls: Known<Syscalls>,
    security: Known<Security>,
    resources: Known<Resources>,
    install: Known<Install>,
}

#[derive(Debug)]
struct Known<T>(Vec<Rc<T>>);

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known(Vec::new())
    }
}

impl<T: PartialEq> Known<T> {
    fn share(&mut self, table: &mut Rc<T>) {
        match self.0.iter().position(|known| known == table) {
            Some(at) => {
                self.0[..=at].rotate_right(1);
                *table = Rc::clone(&self.0[0]);
            }
            None => {
                self.0.truncate(KEPT - 1);
                self.0.insert(0, Rc::clone(table));
            }
        }
    }
}

impl Unit {
    /// Puts tables that `shared` knows in the place of equal ones.
    pub fn share(&mut self, shared: &mut Shared) {
        let Settings {
            unit,
            ready,
            restart,
            hooks,
            rootfs,
            filesystem,
            directories,
            devices,
            namespaces,
            network,
            syscalls,
            security,
            resources,
            install,
            // What differs from unit to unit, or is too small.
            name: _,
            file: _,
            connection_of: _,
            service: _,
            health: _,
            mounts: _,
            sockets: _,
            timers: _,
            capabilities: _,
            logging: _,
        } = &mut self.settings;
        shared.unit.share(unit);
        shared.ready.share(ready);
        shared.restart.share(restart);
        shared.hooks.share(hooks);
        shared.rootfs.share(rootfs);
        shared.filesystem.share(filesystem);
        shared.directories.share(directories);
        shared.devices.share(devices);
        shared.namespaces.share(namespaces);
        shared.network.share(network);
        shared.syscalls.share(syscalls);
        shared.security.share(security);
        shared.resources.share(resources);
        shared.install.share(install);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, more: &str) -> Unit {
        let text = format!("[service]\nexec = [\"/bin/{name}\"]\n{more}");
        Unit::parse(name, "x.toml", &text).expect("a good unit").0
    }

    #[test]
    fn what_is_equal_is_one_and_what_is_not_stays_as_it_is() {
        let mut shared = Shared::default();
        let alike = ["a", "b", "c"].map(|name| unit(name, ""));
        let other = unit("d", "[restart]\npolicy = \"no\"\n[resources]\nmemory_max = \"1G\"\n");
        let before: Vec<Unit> = alike.iter().chain([&other]).cloned().collect();
        let mut after = before.clone();
        for unit in &mut after {
            unit.share(&mut shared);
        }
        assert_eq!(after, before);
        let [a, _, c, d] = &after[..] else { panic!("four units") };
        assert!(Rc::ptr_eq(&a.restart, &c.restart) && Rc::ptr_eq(&a.resources, &c.resources));
        assert!(!Rc::ptr_eq(&a.restart, &d.restart) && Rc::ptr_eq(&a.syscalls, &d.syscalls));
    }

    #[test]
    fn a_change_of_one_is_none_of_the_others() {
        let mut shared = Shared::default();
        let (mut one, mut other) = (unit("a", ""), unit("b", ""));
        one.share(&mut shared);
        other.share(&mut shared);
        let changed = other.for_connection("a");
        assert!(changed.unit.part_of.contains(&"a".to_owned()) && one.unit.part_of.is_empty());
    }

    #[test]
    fn only_a_few_are_remembered() {
        let mut shared = Shared::default();
        for n in 1..100 {
            unit("a", &format!("[restart]\nlimit_burst = {n}\n")).share(&mut shared);
        }
        assert_eq!((shared.restart.0.len(), shared.hooks.0.len()), (KEPT, 1));
    }
}
