//! Relations between units: who is pulled in, who goes first, who is in a circle.
//!
//! `wants`, `upholds`, `requires` and `binds_to` say *what* is started along; `after` and `before` only say *in which
//! order*, among units that are about to be started or stopped anyway. A name that belongs to no unit is no obstacle,
//! except in `requires`, `requisite`, `binds_to` and `part_of`.
//!
//! The index answers in the number of relations of the unit asked about, never in the number of all units.

use super::{Policy, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

/// Name → those that have it in one of their lists.
type Index = BTreeMap<String, BTreeSet<ServiceId>>;

/// A service as the graph sees it.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub id: ServiceId,
    pub name: &'a Rc<str>,
    pub policy: &'a Policy,
}

/// Names and relations of all defined services, as their policies in force have them.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ids: BTreeMap<Rc<str>, ServiceId>,
    /// Name → those that have it in `after`.
    named_in_after: Index,
    /// Name → those that have it in `before`.
    named_in_before: Index,
    /// Name → those that have it in `requires`, `requisite` or `binds_to`.
    named_in_needed: Index,
    /// Name → those that have it in `part_of`.
    named_in_part_of: Index,
    /// Name → those that have it in `binds_to`.
    named_in_binds_to: Index,
    /// Name → those that have it in `upholds`.
    named_in_upholds: Index,
    /// Name → those that have it in `conflicts`.
    named_in_conflicts: Index,
    /// Neighbours that were looked at, for the tests of cost.
    #[cfg(test)]
    pub looked_at: std::cell::Cell<usize>,
}

impl Graph {
    pub fn insert(&mut self, Node { id, name, policy }: Node) {
        self.ids.insert(Rc::clone(name), id);
        for (index, names) in self.indices(policy) {
            for name in names {
                index.entry(name.clone()).or_default().insert(id);
            }
        }
    }

    pub fn remove(&mut self, Node { id, name, policy }: Node) {
        if self.ids.get(name) == Some(&id) {
            self.ids.remove(name);
        }
        for (index, names) in self.indices(policy) {
            for name in names {
                if let Some(ids) = index.get_mut(name) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        index.remove(name);
                    }
                }
            }
        }
    }

    /// Every index with the names under which a policy stands in it.
    fn indices<'a>(&'a mut self, policy: &'a Policy) -> [(&'a mut Index, Vec<&'a String>); 7] {
        [
            (&mut self.named_in_after, policy.after.iter().collect()),
            (&mut self.named_in_before, policy.before.iter().collect()),
            (&mut self.named_in_needed, policy.needed().collect()),
            (&mut self.named_in_part_of, policy.part_of.iter().collect()),
            (&mut self.named_in_binds_to, policy.binds_to.iter().collect()),
            (&mut self.named_in_upholds, policy.upholds.iter().collect()),
            (&mut self.named_in_conflicts, policy.conflicts.iter().collect()),
        ]
    }

    pub fn id(&self, name: &str) -> Option<ServiceId> {
        self.ids.get(name).copied()
    }

    /// Units whose names begin with this.
    pub fn named_from<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, ServiceId)> {
        let from = self.ids.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(name, _)| name.starts_with(prefix)).map(|(name, id)| (&**name, *id))
    }

    /// Those that finish starting before `id` begins, and stop after it. One that both units name comes twice.
    pub fn predecessors<'a>(
        &'a self,
        Node { id, name, policy }: Node<'a>,
    ) -> impl DoubleEndedIterator<Item = ServiceId> + 'a {
        self.neighbours(id, &policy.after, self.named_in_before.get(&**name))
    }

    /// Those that begin to start after `id` has, and stop before it. One that both units name comes twice.
    pub fn successors<'a>(
        &'a self,
        Node { id, name, policy }: Node<'a>,
    ) -> impl DoubleEndedIterator<Item = ServiceId> + 'a {
        self.neighbours(id, &policy.before, self.named_in_after.get(&**name))
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

    /// Those that cannot start without the unit: `requires`, `requisite`, `binds_to`.
    pub fn needing(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        self.named_in_needed.get(name).into_iter().flatten().copied()
    }

    /// Those that a stop or restart of the unit takes along. One that names it twice comes twice.
    pub fn following(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        self.needing(name).chain(self.named_in_part_of.get(name).into_iter().flatten().copied())
    }

    /// Those that fall with the unit.
    pub fn bound(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        self.named_in_binds_to.get(name).into_iter().flatten().copied()
    }

    /// Those that keep the unit up.
    pub fn upholders(&self, name: &str) -> impl Iterator<Item = ServiceId> + '_ {
        self.named_in_upholds.get(name).into_iter().flatten().copied()
    }

    /// Those that cannot be up together with `id`, whichever of the two says so.
    pub fn rivals<'a>(&'a self, Node { id, name, policy }: Node<'a>) -> impl Iterator<Item = ServiceId> + 'a {
        let named = policy.conflicts.iter().filter_map(|name| self.id(name));
        let naming = self.named_in_conflicts.get(&**name).into_iter().flatten().copied();
        named.chain(naming).filter(move |other| *other != id)
    }
}

/// What a start pulls in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pull {
    /// To be started, the root included.
    pub members: BTreeSet<ServiceId>,
    /// Only wanted, and cannot be started: they name a unit for good that does not exist.
    pub broken: BTreeMap<ServiceId, String>,
}

/// Follows what a start brings along from `root`, not through units that are up (`node_of` answers `None` for these).
///
/// # Errors
/// The name that does not exist and without which `root` cannot be started.
pub(super) fn pull<'a>(
    graph: &Graph,
    root: ServiceId,
    node_of: impl Fn(ServiceId) -> Option<Node<'a>>,
) -> Result<Pull, String> {
    let reached = reach(root, |id| match node_of(id) {
        Some(node) => node.policy.pulled_in().filter_map(|name| graph.id(name)).collect(),
        None => Vec::new(),
    });
    let down: BTreeMap<ServiceId, Node> =
        reached.into_iter().filter_map(|id| node_of(id).map(|node| (id, node))).collect();

    // Who names a missing unit for good is broken, and so is who needs a broken one.
    let mut broken = BTreeMap::new();
    let mut spread: Vec<(ServiceId, String)> = Vec::new();
    for (id, node) in &down {
        if let Some(missing) = node.policy.named_for_good().find(|name| graph.id(name).is_none()) {
            spread.push((*id, missing.clone()));
        }
    }
    while let Some((id, missing)) = spread.pop() {
        if broken.contains_key(&id) {
            continue;
        }
        let needing = graph.needing(down[&id].name).filter(|other| down.contains_key(other));
        spread.extend(needing.map(|other| (other, missing.clone())));
        broken.insert(id, missing);
    }
    if let Some(missing) = broken.get(&root) {
        return Err(missing.clone());
    }
    let members = reach(root, |id| match down.get(&id) {
        Some(node) => {
            let names = node.policy.pulled_in();
            names.filter_map(|name| graph.id(name)).filter(|next| !broken.contains_key(next)).collect()
        }
        None => Vec::new(),
    });
    let members: BTreeSet<ServiceId> = members.into_iter().filter(|id| down.contains_key(id)).collect();
    // Broken units that only a broken unit wanted were not asked for by anybody.
    let wanted = |id: &ServiceId| {
        members.iter().any(|member| {
            let mut names = down[member].policy.wants.iter().chain(&down[member].policy.upholds);
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
