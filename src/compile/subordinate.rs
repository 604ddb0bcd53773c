//! Other ids than the own one for an ordinary user: those that subuid(5) and subgid(5) give it, mapped by newuidmap(1).
//!
//! ```text
//! inside   0      1 ............................ n
//! outside  euid   the ranges of /etc/subuid, one after the other
//! ```
//!
//! The own account is 0 inside, whoever is asked for by its name or number: so the container can be set up, and what the
//! service makes as root belongs to the user. All units of the user have the same ids: nobody divides the ranges.

use super::HostFacts;
use super::context::{Context, UserMode};
use super::needs::account_key;
use crate::unit::{Account, RootfsKind, Unit};

/// Ids that an ordinary user may map besides the own one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subordinate {
    /// Nobody looked: the daemon is root, or the unit needs none.
    Unasked,
    /// First and number of each range; no two overlap, and the user's own ids are in none.
    Granted {
        /// Of `/etc/subuid`.
        uid: Vec<(u32, u32)>,
        /// Of `/etc/subgid`.
        gid: Vec<(u32, u32)>,
    },
    /// There are none.
    Missing {
        /// As the end of a sentence.
        why: String,
        /// What to do.
        remedy: String,
    },
}

/// Would a unit of an ordinary user run as somebody else, in a root file system of its own? On the host's it cannot: its
/// files belong to ids that are not mapped.
pub(super) fn is_wanted(unit: &Unit) -> bool {
    unit.rootfs.kind != RootfsKind::Host && unit.service.user.as_ref().is_some_and(|user| *user != Account::Auto)
}

/// Is the unit's user somebody else than who runs rsvc?
pub(super) fn is_for_another(context: &Context) -> bool {
    let (unit, facts) = (context.unit, context.facts);
    let number = |account: &Account| match (facts.users.get(&account_key(account)), account) {
        (Some(user), _) => Some(user.uid),
        (None, Account::Id(id)) => Some(*id),
        (None, _) => None,
    };
    is_wanted(unit) && unit.service.user.as_ref().and_then(number).is_some_and(|uid| uid != facts.euid)
}

/// The user namespace, or why there is none and what to do.
pub(super) fn mode(facts: &HostFacts) -> Result<UserMode, (String, String)> {
    match &facts.subordinate {
        Subordinate::Granted { uid, gid } => {
            Ok(UserMode::Mapped { uid: lines(facts.euid, uid), gid: lines(facts.egid, gid) })
        }
        Subordinate::Missing { why, remedy } => Err((why.clone(), remedy.clone())),
        Subordinate::Unasked => Err(("nobody looked for ids in /etc/subuid".to_owned(), "run rsvc as root".to_owned())),
    }
}

/// Lines of a map; see the module documentation.
fn lines(own: u32, ranges: &[(u32, u32)]) -> Vec<(u32, u32, u32)> {
    let mut all = vec![(0, own, 1)];
    let mut next: u32 = 1;
    for (first, count) in ranges {
        // What is beyond the last id cannot be mapped.
        let count = (*count).min(u32::MAX - next);
        if count > 0 {
            all.push((next, *first, count));
        }
        next += count;
    }
    all
}

/// An account of the host inside, where `own` is who runs rsvc.
pub(super) fn inside(id: u32, own: u32) -> u32 {
    if id == own { 0 } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_each_other_inside_and_end_with_the_last_id() {
        let maps = lines(1000, &[(100_000, 65536), (500_000, 10)]);
        assert_eq!(maps, [(0, 1000, 1), (1, 100_000, 65536), (65537, 500_000, 10)]);
        assert_eq!(lines(7, &[(10, u32::MAX), (5, 1)]), [(0, 7, 1), (1, 10, u32::MAX - 1)]);
    }
}
