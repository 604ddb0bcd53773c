//! `rsvc tree`: what units need, and who needs them. The relations are those of the files with their drop-ins, so that no
//! daemon is needed; one that answers adds the states.

use super::client::Client;
use super::operate::expand;
use super::render::{Direction, Graph, dependency_tree};
use super::{Failure, Session};
use crate::load::{self, Lookup, Trust};
use crate::unit::{ParseOptions, Unit};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Names or patterns; none means what nobody else names.
    pub units: Vec<String>,
    /// Who needs them, instead of what they need.
    pub reverse: bool,
    /// Also what is only an order.
    pub order: bool,
}

/// State and sub-state by name.
type States = BTreeMap<String, (String, String)>;

/// `tree`
pub fn tree(session: &mut Session<'_>, wish: &Wish) -> Result<u8, Failure> {
    let paths = session.instance.unit_path();
    let states = states(session);
    // A template is no unit; its instances are, as far as somebody names them or they run.
    let mut all: Vec<String> = load::list(&paths).into_iter().filter(|name| !name.ends_with('@')).collect();
    all.extend(states.iter().flatten().map(|(name, _)| name.clone()));
    all.sort();
    all.dedup();
    let mut builder = Builder {
        paths: &paths,
        known: &all,
        order: wish.order,
        graph: Graph::default(),
        names: BTreeMap::new(),
        read: BTreeSet::new(),
    };
    let mut roots = Vec::new();
    for word in expand(&wish.units, &all)? {
        // What is asked for by name must be there, and its mistakes are shown as everywhere.
        let name = match builder.replicas(&word) {
            Some(_) => word,
            None => super::units::parse(session, &word)?.0.name.clone(),
        };
        builder.add(&name);
        if !roots.contains(&name) {
            roots.push(name);
        }
    }
    if wish.reverse || wish.units.is_empty() {
        all.iter().for_each(|name| builder.add(name));
    }
    let mut graph = builder.finish();
    for (name, node) in &mut graph.nodes {
        // One that the daemon has not heard of has not been started.
        let unknown = || node.trouble.is_none().then(|| ("inactive".to_owned(), "dead".to_owned()));
        node.state = states.as_ref().and_then(|states| states.get(name).cloned().or_else(unknown));
    }
    if wish.reverse {
        graph = graph.reversed();
    }
    if wish.units.is_empty() {
        roots = graph.roots();
    }
    if session.json() {
        return objects(session, &graph, &roots, wish.reverse);
    }
    let direction = if wish.reverse { Direction::NeededBy } else { Direction::Needs };
    let text = dependency_tree(&graph, &roots, direction, session.look);
    super::terminal::page(&text, session.look, session.no_pager, session.out)?;
    Ok(0)
}

/// Of all units that a daemon knows; `None` without one.
fn states(session: &Session<'_>) -> Option<States> {
    let units = Client::connect_now(&session.instance.socket()).and_then(|mut client| client.list()).ok()?;
    let usable = units.into_iter().filter(|unit| !unit.name.ends_with('@') && unit.load_state != "not-found");
    Some(usable.map(|unit| (unit.name, (unit.state, unit.substate))).collect())
}

/// One object for each unit that the trees show.
fn objects(session: &mut Session<'_>, graph: &Graph, roots: &[String], reverse: bool) -> Result<u8, Failure> {
    let mut reached = BTreeSet::new();
    roots.iter().for_each(|root| graph.reach(root, &mut reached));
    for name in &reached {
        let Some(node) = graph.nodes.get(name) else { continue };
        let edges: Vec<_> =
            node.edges.iter().map(|edge| json!({ "name": edge.to, "relations": edge.relations })).collect();
        session.object(&json!({
            "v": 1,
            "name": name,
            "load_state": match node.trouble {
                None => "loaded",
                Some(NOT_FOUND) => "not-found",
                Some(MASKED) => "masked",
                Some(_) => "bad-setting",
            },
            "state": node.state.as_ref().map(|(state, _)| state),
            "substate": node.state.as_ref().map(|(_, substate)| substate),
            if reverse { "needed_by" } else { "needs" }: edges,
        }))?;
    }
    Ok(0)
}

const NOT_FOUND: &str = "not found";
const MASKED: &str = "masked";
const NOT_VALID: &str = "not valid, see `rsvc check`";

/// Reads units, and those that they name.
struct Builder<'a> {
    paths: &'a [PathBuf],
    /// Names that have a file, or that a daemon knows.
    known: &'a [String],
    order: bool,
    graph: Graph,
    /// What a unit is asked for by, and what it is called: an alias names another one.
    names: BTreeMap<String, String>,
    /// Units whose relations are in the graph.
    read: BTreeSet<String>,
}

impl Builder<'_> {
    /// A unit and everything that can be reached from it.
    fn add(&mut self, name: &str) {
        let mut waiting = vec![name.to_owned()];
        while let Some(asked) = waiting.pop() {
            if self.names.contains_key(&asked) {
                continue;
            }
            match self.parse(&asked) {
                Ok(unit) => {
                    self.names.insert(asked, unit.name.clone());
                    if self.read.insert(unit.name.clone()) {
                        waiting.extend(self.relate(&unit));
                    }
                }
                Err(NOT_FOUND) if self.replicas(&asked).is_some() => {
                    self.graph.nodes.entry(asked.clone()).or_default();
                    for replica in self.replicas(&asked).unwrap_or_default() {
                        self.graph.relate(&asked, "replica", &replica);
                        waiting.push(replica);
                    }
                    self.names.insert(asked.clone(), asked);
                }
                Err(trouble) => {
                    self.graph.nodes.entry(asked.clone()).or_default().trouble = Some(trouble);
                    self.names.insert(asked.clone(), asked);
                }
            }
        }
    }

    /// The replicas of a set: those that its template asks for, and further ones that a daemon knows.
    fn replicas(&self, name: &str) -> Option<Vec<String>> {
        if !matches!(load::find(self.paths, name, Trust::Any), Ok(Lookup::NotFound)) {
            return None;
        }
        let template = load::find_set(self.paths, name, Trust::Any).ok().flatten()?;
        let number = template.parse(ParseOptions::default()).ok()?.0.unit.replicas?;
        let further = self.known.iter().filter_map(|known| known.strip_prefix(name)?.strip_prefix('@')?.parse().ok());
        let numbers: BTreeSet<u32> = (1..=number).chain(further).collect();
        Some(numbers.into_iter().map(|number| format!("{name}@{number}")).collect())
    }

    fn parse(&self, name: &str) -> Result<Unit, &'static str> {
        match load::find(self.paths, name, Trust::Any) {
            Ok(Lookup::Found(found)) => {
                found.parse(ParseOptions::default()).map(|(unit, _)| unit).map_err(|_| NOT_VALID)
            }
            Ok(Lookup::Masked { .. }) => Err(MASKED),
            Ok(Lookup::NotFound) => Err(NOT_FOUND),
            Err(_) => Err(NOT_VALID),
        }
    }

    /// The units that this one names.
    fn relate(&mut self, unit: &Unit) -> Vec<String> {
        self.graph.nodes.entry(unit.name.clone()).or_default();
        let mut named = Vec::new();
        let after = unit.unit.effective_after();
        for (relation, units) in unit.unit.relations() {
            if !self.order && ["after", "before"].contains(&relation) {
                continue;
            }
            let units = if relation == "after" { after.as_slice() } else { units };
            for other in units {
                self.graph.relate(&unit.name, relation, other);
                named.push(other.clone());
            }
        }
        named
    }

    /// The graph, each unit under the name that it has.
    fn finish(self) -> Graph {
        let called = |name: &String| self.names.get(name).unwrap_or(name).clone();
        let mut graph = Graph::default();
        for (name, node) in &self.graph.nodes {
            let own = called(name);
            let entry = graph.nodes.entry(own.clone()).or_default();
            entry.trouble = entry.trouble.or(node.trouble);
            for edge in &node.edges {
                edge.relations.iter().for_each(|relation| graph.relate(&own, relation, &called(&edge.to)));
            }
        }
        graph
    }
}
