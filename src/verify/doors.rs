//! The table of doors, by what they lead to.

mod calls;
mod files;
mod kernel;
mod namespaces;
mod own;
mod promises;
mod sockets;

use super::Probe;

/// All of them, in the order in which they are tried and told.
pub fn all() -> impl Iterator<Item = &'static Probe> {
    let groups =
        [namespaces::MOUNTS, namespaces::DOORS, calls::DOORS, sockets::DOORS, kernel::DOORS, files::DOORS, own::DOORS];
    groups.into_iter().flatten()
}
