//! Who asked for what the daemon could not do for a launch: the lines below its message.

use crate::plan::Namespaces;
use crate::unit::Unit;
use std::io;

/// The line of a message that names the place of a key; empty for a default.
pub(super) fn set_by(unit: &Unit, key: &str) -> String {
    unit.origin(key).place.map_or_else(String::new, |place| format!("\n  set by {}:{}", place.file, place.line))
}

/// The lines that name a key, and its place.
pub(super) fn asked(unit: Option<&Unit>, key: &str) -> String {
    format!("\n  asked for by {key}{}", unit.map_or_else(String::new, |unit| set_by(unit, key)))
}

/// The first of some keys that the author wrote, else the last one.
pub(super) fn written<'a>(unit: Option<&Unit>, keys: &[&'a str]) -> &'a str {
    let of_the_author = |key: &&&str| unit.is_some_and(|unit| unit.is_written(key));
    keys.iter().find(of_the_author).or(keys.last()).copied().unwrap_or_default()
}

/// The line that names the keys behind namespaces that are made together: which of them failed is not told.
pub(super) fn namespaces(unit: Option<&Unit>, set: Namespaces) -> String {
    let user = written(unit, &["namespaces.uid_mappings", "namespaces.gid_mappings", "namespaces.user"]);
    let all = [
        (set.mount, "namespaces.mount"),
        (set.pid, "namespaces.pid"),
        (set.ipc, "namespaces.ipc"),
        (set.uts, "namespaces.uts"),
        (set.net, "network.mode"),
        (set.user, user),
        (set.cgroup, "namespaces.cgroup"),
    ];
    let shown = |key: &str| match unit.and_then(|unit| unit.origin(key).place) {
        Some(place) => format!("{key} ({}:{})", place.file, place.line),
        None => format!("{key} (default)"),
    };
    let keys: Vec<String> = all.iter().filter(|(made, _)| *made).map(|(_, key)| shown(key)).collect();
    if keys.is_empty() { String::new() } else { format!("\n  asked for by {}", keys.join(", ")) }
}

/// What to do when a file of the kernel's cannot be written; `None` where the errno says all.
pub(super) fn remedy(error: &io::Error) -> Option<&'static str> {
    let errno = super::scarcity::errno_of(error)?;
    crate::plan::hint::scarcity_hint(errno).or_else(|| crate::plan::hint::general_hint(errno))
}

/// The same as a line.
pub(super) fn advice(error: &io::Error) -> String {
    remedy(error).map_or_else(String::new, |hint| format!("\n  hint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> Unit {
        let text = format!("service.exec = [\"/bin/true\"]\n{text}");
        Unit::parse("web", "web.toml", &text).expect("valid").0
    }

    #[test]
    fn each_namespace_leads_to_the_key_that_asked_for_it() {
        let set = Namespaces { mount: true, net: true, user: true, ..Namespaces::default() };
        let mapped = "namespaces.uid_mappings = [{ container_id = 0, host_id = 1000, size = 10 }]\n\
                      namespaces.gid_mappings = [{ container_id = 0, host_id = 1000, size = 10 }]\n";
        let unit = unit(&format!("network.mode = \"loopback\"\n{mapped}"));
        assert_eq!(
            namespaces(Some(&unit), set),
            "\n  asked for by namespaces.mount (default), network.mode (web.toml:2), namespaces.uid_mappings (web.toml:3)"
        );
        assert_eq!(namespaces(Some(&unit), Namespaces::default()), "");
    }

    #[test]
    fn what_the_author_wrote_is_named_before_a_default() {
        let unit = unit("devices.allow = [{ path = \"/dev/null\" }]\n");
        assert_eq!(written(Some(&unit), &["devices.allow", "devices.policy"]), "devices.allow");
        assert_eq!(written(Some(&unit), &["namespaces.uid_mappings", "namespaces.user"]), "namespaces.user");
        assert_eq!(asked(Some(&unit), "devices.allow"), "\n  asked for by devices.allow\n  set by web.toml:2");
        assert_eq!(asked(None, "devices.policy"), "\n  asked for by devices.policy");
    }
}
