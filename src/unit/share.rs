//! Units that say the same share what they say: of a thousand most have the same `[restart]`, the same `[filesystem]`,
//! and write the same keys.

use super::settings::*;
use super::{Settings, Unit};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Different values of one kind that are remembered.
const KEPT: usize = 8;

/// Tables of the units that were seen last, to be shared with the next ones.
#[derive(Debug, Default)]
pub struct Shared {
    relations: Known<Relations>,
    conduct: Known<Conduct>,
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
    treatment: Known<Treatment>,
    install: Known<Install>,
    keys: Texts,
    values: Texts,
}

/// The last values of a kind, the last used first.
#[derive(Debug)]
pub struct Known<T>(Vec<Arc<T>>);

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known(Vec::new())
    }
}

impl<T: PartialEq> Known<T> {
    /// Puts a value that is known in the place of an equal one.
    pub fn share(&mut self, value: &mut Arc<T>) {
        match self.0.iter().position(|known| known == value) {
            Some(at) => {
                self.0[..=at].rotate_right(1);
                *value = Arc::clone(&self.0[0]);
            }
            None => {
                self.0.truncate(KEPT - 1);
                self.0.insert(0, Arc::clone(value));
            }
        }
    }
}

/// Keys, or the words and numbers that are usual values.
#[derive(Debug, Default)]
struct Texts(BTreeSet<Arc<str>>);

/// Different texts that are remembered: more than there are keys. No other comes in while all are in use.
const TEXTS: usize = 512;

/// A longer text is hardly ever found twice.
const USUAL_LENGTH: usize = 40;

impl Texts {
    fn share(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.0.get(&**text) {
            *text = Arc::clone(known);
        } else if text.len() <= USUAL_LENGTH {
            if self.0.len() == TEXTS {
                self.0.retain(|known| Arc::strong_count(known) > 1);
            }
            if self.0.len() < TEXTS {
                self.0.insert(Arc::clone(text));
            }
        }
    }
}

impl Unit {
    /// Puts tables and texts that `shared` knows in the place of equal ones.
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
            logging,
            install,
            service,
            // What differs from unit to unit, or is too small.
            name: _,
            file: _,
            connection_of: _,
            health: _,
            mounts: _,
            sockets: _,
            timers: _,
            capabilities: _,
            credentials: _,
        } = &mut self.settings;
        shared.relations.share(&mut unit.relations);
        shared.conduct.share(&mut service.conduct);
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
        shared.treatment.share(&mut logging.treatment);
        shared.install.share(install);
        for written in &mut self.written {
            shared.keys.share(&mut written.key);
            written.value.iter_mut().for_each(|value| shared.values.share(value));
        }
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
        assert!(Arc::ptr_eq(&a.restart, &c.restart) && Arc::ptr_eq(&a.resources, &c.resources));
        assert!(!Arc::ptr_eq(&a.restart, &d.restart) && Arc::ptr_eq(&a.syscalls, &d.syscalls));
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
    fn keys_and_short_values_are_one_text_and_long_ones_are_not_remembered() {
        let mut shared = Shared::default();
        let more = "[restart]\npolicy = \"no\"\n";
        let (mut one, mut other) = (unit("a", more), unit(&"x".repeat(50), more));
        one.share(&mut shared);
        other.share(&mut shared);
        let find = |unit: &Unit, key| unit.find(key).expect("a written key").clone();
        let policies = [find(&one, "restart.policy"), find(&other, "restart.policy")];
        assert!(Arc::ptr_eq(&policies[0].key, &policies[1].key));
        assert!(policies[0].value.is_some() && policies[0].value == policies[1].value);
        assert!(shared.values.0.iter().all(|value| value.len() <= USUAL_LENGTH), "{:?}", shared.values);
        for n in 0..2 * TEXTS {
            shared.values.share(&mut n.to_string().into());
        }
        assert!(shared.values.0.len() <= TEXTS);
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
