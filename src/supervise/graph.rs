//! Relations between units: who is pulled in, who goes first, who is in a circle.
//!
//! `wants` and `requires` say *what* is started along; `after` and `before` only say *in which order*, among units that
//! are about to be started or stopped anyway. A name that belongs to no unit is no obstacle, except in `requires`.
//!
//! The index answers in the number of relations of the unit asked about, never in the number of all units.

use super::{Policy, ServiceId};
use std::collections::{BTreeMap, BTreeSet};

/// Names and relations of all defined services, as their policies in force have them.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ids: BTreeMap<String, ServiceId>,
    /// Name → those that have it in `after`.
    named_in_after: BTreeMap<String, BTreeSet<ServiceId>>,
    /// Name → those that have it in `before`.
    named_in_before: BTreeMap<String, BTreeSet<ServiceId>>,
    /// Name → those that have it in `requires`.
    named_in_requires: BTreeMap<String, BTreeSet<ServiceId>>,
    /// Neighbours that were looked at, for the tests of cost.
    #[cfg(test)]
    pub looked_at: std::cell::Cell<usize>,
}

impl Graph {
    pub fn insert(&mut self, id: ServiceId, policy: &Policy) {
        self.ids.insert(policy.name.clone(), id);
        enter(&mut self.named_in_after, id, &policy.after);
        enter(&mut self.named_in_before, id, &policy.before);
        enter(&mut self.named_in_requires, id, &policy.requires);
    }

    pub fn remove(&mut self, id: ServiceId, policy: &Policy) {
        if self.ids.get(&policy.name) == Some(&id) {
            self.ids.remove(&policy.name);
        }
        leave(&mut self.named_in_after, id, &policy.after);
        leave(&mut self.named_in_before, id, &policy.before);
        leave(&mut self.named_in_requires, id, &policy.requires);
    }

    pub fn id(&self, name: &str) -> Option<ServiceId> {
        self.ids.get(name).copied()
    }

    /// Those that finish starting before `id` begins, and stop after it. One that both units name comes twice.
    pub fn predecessors<'a>(
        &'a self,
        id: ServiceId,
        policy: &'a Policy,
    ) -> impl DoubleEndedIterator<Item = ServiceId> + 'a {
        self.neighbours(id, &policy.after, self.named_in_before.get(&policy.name))
    }

    /// Those that begin to start after `id` has, and stop before it. One that both units name comes twice.
    pub fn successors<'a>(
        &'a self,
        id: ServiceId,
        policy: &'a Policy,
    ) -> impl DoubleEndedIterator<Item = ServiceId> + 'a {
        self.neighbours(id, &policy.before, self.named_in_after.get(&policy.name))
    }

    fn neighbours<'a>(
        &'a self,
        id: ServiceId,
        names: &'a [String],
        naming: Option<&'a BTreeSet<ServiceId>>,
    ) -> impl DoubleEndedIterator<Item = ServiceId> + 'a {
        let named = names.iter().filter_map(|name| self.id(name));
        let all = named.chain(naming.into_iter().flatten().copied());
        #[cfg(test)]
        let all = all.inspect(|_| self.looked_at.set(self.looked_at.get() + 1));
        // A unit that is ordered after itself means nothing by it.
        all.filter(move |other| *other != id)
    }

    /// Those that name the unit in `requires`.
    pub fn requirers(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        self.named_in_requires.get(name).into_iter().flatten().copied()
    }
}

fn enter(index: &mut BTreeMap<String, BTreeSet<ServiceId>>, id: ServiceId, names: &[String]) {
    for name in names {
        index.entry(name.clone()).or_default().insert(id);
    }
}

fn leave(index: &mut BTreeMap<String, BTreeSet<ServiceId>>, id: ServiceId, names: &[String]) {
    for name in names {
        if let Some(ids) = index.get_mut(name) {
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(name);
            }
        }
    }
}

/// What a start pulls in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pull {
    /// To be started, the root included.
    pub members: BTreeSet<ServiceId>,
    /// Only wanted, and cannot be started: they need a unit of this name, which does not exist.
    pub broken: BTreeMap<ServiceId, String>,
}

/// Follows `wants` and `requires` from `root`, not through units that are up (`policy_of` answers `None` for these).
///
/// # Errors
/// The name that does not exist and without which `root` cannot be started.
pub(super) fn pull<'a>(
    graph: &Graph,
    root: ServiceId,
    policy_of: impl Fn(ServiceId) -> Option<&'a Policy>,
) -> Result<Pull, String> {
    let reached = reach(root, |id| match policy_of(id) {
        Some(policy) => policy.requires.iter().chain(&policy.wants).filter_map(|name| graph.id(name)).collect(),
        None => Vec::new(),
    });
    let down: BTreeMap<ServiceId, &Policy> =
        reached.into_iter().filter_map(|id| policy_of(id).map(|policy| (id, policy))).collect();

    // Who requires a missing unit is broken, and so is who requires a broken one.
    let mut broken = BTreeMap::new();
    let mut spread: Vec<(ServiceId, String)> = Vec::new();
    for (id, policy) in &down {
        if let Some(missing) = policy.requires.iter().find(|name| graph.id(name).is_none()) {
            spread.push((*id, missing.clone()));
        }
    }
    while let Some((id, missing)) = spread.pop() {
        if broken.contains_key(&id) {
            continue;
        }
        let requirers = graph.requirers(&down[&id].name).filter(|other| down.contains_key(other));
        spread.extend(requirers.map(|other| (other, missing.clone())));
        broken.insert(id, missing);
    }
    if let Some(missing) = broken.get(&root) {
        return Err(missing.clone());
    }
    let members = reach(root, |id| match down.get(&id) {
        Some(policy) => {
            let names = policy.requires.iter().chain(&policy.wants);
            names.filter_map(|name| graph.id(name)).filter(|next| !broken.contains_key(next)).collect()
        }
        None => Vec::new(),
    });
    let members: BTreeSet<ServiceId> = members.into_iter().filter(|id| down.contains_key(id)).collect();
    // Broken units that only a broken unit wanted were not asked for by anybody.
    let wanted = |id: &ServiceId| {
        members.iter().any(|member| {
            let mut names = down[member].wants.iter();
            names.any(|name| graph.id(name) == Some(*id))
        })
    };
    broken.retain(|id, _| wanted(id));
    Ok(Pull { members, broken })
}

/// All that can be reached from `root`, itself included.
pub(super) fn reach(root: ServiceId, next: impl Fn(ServiceId) -> Vec<ServiceId>) -> BTreeSet<ServiceId> {
    let mut reached = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        for other in next(id) {
            if reached.insert(other) {
                open.push(other);
            }
        }
    }
    reached
}

/// Looks for a circle that can be reached from `roots`; the answer begins and ends with the same unit.
pub(super) fn find_cycle(
    roots: impl IntoIterator<Item = ServiceId>,
    next: impl Fn(ServiceId) -> Vec<ServiceId>,
) -> Option<Vec<ServiceId>> {
    let mut finished = BTreeSet::new();
    for root in roots {
        // Depth first, without recursion: a chain may be as long as there are units.
        let mut path: Vec<ServiceId> = Vec::new();
        let mut on_path = BTreeSet::new();
        let mut open: Vec<Vec<ServiceId>> = vec![vec![root]];
        while let Some(level) = open.last_mut() {
            let Some(id) = level.pop() else {
                open.pop();
                if let Some(left) = path.pop() {
                    on_path.remove(&left);
                    finished.insert(left);
                }
                continue;
            };
            if on_path.contains(&id) {
                let from = path.iter().position(|on| *on == id).unwrap_or(0);
                let mut cycle = path.split_off(from);
                cycle.push(id);
                return Some(cycle);
            }
            if finished.contains(&id) {
                continue;
            }
            path.push(id);
            on_path.insert(id);
            open.push(next(id));
        }
    }
    None
}
