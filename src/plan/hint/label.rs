//! A label that a security module does not give.

use super::super::SecurityModule;
use nix::errno::Errno;

pub(super) fn hint(module: SecurityModule, label: &str, errno: Errno) -> Option<String> {
    match (module, errno) {
        (SecurityModule::AppArmor, Errno::ENOENT) => {
            Some(format!("no profile `{label}` is loaded: `apparmor_parser -r FILE` loads one, `aa-status` lists them"))
        }
        (SecurityModule::SeLinux, Errno::EINVAL) => {
            Some(format!("the policy of this host knows no context `{label}`: `seinfo` lists its types"))
        }
        (_, Errno::EACCES | Errno::EPERM) => Some(format!("{} does not let the daemon give this label", module.name())),
        (_, Errno::EINVAL | Errno::ENOENT | Errno::EOPNOTSUPP) => {
            Some(format!("{} is not what this kernel labels processes with", module.name()))
        }
        _ => None,
    }
}
