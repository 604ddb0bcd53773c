//! Files that only the service's user can read.

use super::PathEntry;

/// Where the credentials of units are, each container seeing its own.
pub const CREDENTIALS_PLACE: &str = "/run/credentials";

/// Most files that the credentials of a unit come from: each is a descriptor that the set-up stage gets.
pub const MOST_CREDENTIALS: usize = 128;

/// `[credentials]`, of which one list at least has something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Credentials {
    /// Name, and the file or directory of the host it comes from.
    pub load: Vec<(String, PathEntry)>,
    /// Name and content. A name that `load` has too is optional there.
    pub set: Vec<(String, String)>,
}
