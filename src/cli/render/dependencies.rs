//! How units hang together, as a tree. Pure: the graph and the states come as values.
//!
//! A unit that was shown with what is below it is shown by its name alone from then on, marked with `…`; so a circle
//! ends, and the text is never longer than there are relations.

use crate::cli::terminal::{Color, Look, harmless};
use std::collections::{BTreeMap, BTreeSet};

/// All that is known of units, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// Units and what they name.
    pub nodes: BTreeMap<String, Node>,
}

/// One unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Why it cannot be started: `not found`, `masked`, `not valid`.
    pub trouble: Option<&'static str>,
    /// State and sub-state, where a daemon told them.
    pub state: Option<(String, String)>,
    /// The other ends, in the order of the text.
    pub edges: Vec<Edge>,
}

/// A relation to another unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The unit.
    pub to: String,
    /// Keys of `[unit]`; more than one for a unit that is both required and waited for.
    pub relations: Vec<&'static str>,
}

/// Which way the edges point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To what a unit needs.
    Needs,
    /// To those that need it.
    NeededBy,
}

/// A relation, the word for its other end, and whether what is named comes along with the unit (and is looked into).
const RELATIONS: [(&str, &str, bool); 12] = [
    ("replica", "replica of", true),
    ("requires", "required by", true),
    ("requisite", "requisite of", true),
    ("binds_to", "bound by", true),
    ("wants", "wanted by", true),
    ("upholds", "upheld by", true),
    ("part_of", "has part", true),
    ("on_failure", "on failure of", false),
    ("on_success", "on success of", false),
    ("conflicts", "conflicts", false),
    ("after", "before", true),
    ("before", "after", false),
];

impl Graph {
    /// Adds a relation; several between the same two are one edge. What weighs more comes first.
    pub fn relate(&mut self, from: &str, relation: &'static str, to: &str) {
        self.nodes.entry(to.to_owned()).or_default();
        let node = self.nodes.entry(from.to_owned()).or_default();
        match node.edges.iter_mut().find(|edge| edge.to == to) {
            Some(edge) if edge.relations.contains(&relation) => {}
            Some(edge) => {
                edge.relations.push(relation);
                edge.relations.sort_by_key(|relation| rank(relation));
            }
            None => node.edges.push(Edge { to: to.to_owned(), relations: vec![relation] }),
        }
        node.edges.sort_by_key(|edge| edge.relations.first().map(|relation| rank(relation)));
    }

    /// The same with every edge turned round.
    pub fn reversed(&self) -> Graph {
        let bare = |node: &Node| Node { edges: Vec::new(), ..node.clone() };
        let mut turned = Graph { nodes: self.nodes.iter().map(|(name, node)| (name.clone(), bare(node))).collect() };
        for (name, node) in &self.nodes {
            for edge in &node.edges {
                edge.relations.iter().for_each(|relation| turned.relate(&edge.to, relation, name));
            }
        }
        turned
    }

    /// Units that no other one names, and of each circle that none leads into the first.
    pub fn roots(&self) -> Vec<String> {
        let named: BTreeSet<&String> = self
            .nodes
            .iter()
            .flat_map(|(name, node)| node.edges.iter().map(|e| &e.to).filter(move |to| *to != name))
            .collect();
        let mut roots: Vec<String> = self.nodes.keys().filter(|name| !named.contains(name)).cloned().collect();
        let mut reached = BTreeSet::new();
        roots.iter().for_each(|root| self.reach(root, &mut reached));
        for name in self.nodes.keys() {
            if !reached.contains(name) {
                roots.push(name.clone());
                self.reach(name, &mut reached);
            }
        }
        roots
    }

    /// Adds `from` and all that is shown below it.
    pub fn reach(&self, from: &str, reached: &mut BTreeSet<String>) {
        let mut waiting = vec![from.to_owned()];
        while let Some(name) = waiting.pop() {
            let Some(node) = self.nodes.get(&name) else { continue };
            if reached.insert(name) {
                waiting.extend(node.edges.iter().map(|edge| edge.to.clone()));
            }
        }
    }
}

/// The trees of `roots`, one line for each unit and relation.
pub fn dependency_tree(graph: &Graph, roots: &[String], direction: Direction, look: Look) -> String {
    let mut tree = Tree { graph, direction, look, expanded: BTreeSet::new(), text: String::new() };
    for root in roots {
        tree.line("", "", root);
        tree.below(root, "");
    }
    tree.text
}

struct Tree<'a> {
    graph: &'a Graph,
    direction: Direction,
    look: Look,
    /// Units whose edges were shown.
    expanded: BTreeSet<String>,
    text: String,
}

impl Tree<'_> {
    /// What hangs below a unit, once. Its depth is at most the number of units.
    fn below(&mut self, name: &str, before: &str) {
        if !self.expanded.insert(name.to_owned()) {
            return;
        }
        let edges = self.graph.nodes.get(name).map(|node| node.edges.as_slice()).unwrap_or_default();
        let (tee, corner, bar) = if self.look.unicode { ("├─", "└─", "│ ") } else { ("|-", "`-", "| ") };
        for (index, edge) in edges.iter().enumerate() {
            let last = index + 1 == edges.len();
            let words: Vec<&str> = edge.relations.iter().map(|relation| self.word(relation)).collect();
            let branch = format!("{before}{}", if last { corner } else { tee });
            self.line(&branch, &format!("{} ", words.join(", ")), &edge.to);
            if edge.relations.iter().any(|relation| looked_into(relation)) {
                self.below(&edge.to, &format!("{before}{}", if last { "  " } else { bar }));
            }
        }
    }

    fn word(&self, relation: &'static str) -> &'static str {
        let found = RELATIONS.iter().find(|(key, _, _)| *key == relation);
        found.map_or(relation, |(key, back, _)| if self.direction == Direction::Needs { key } else { back })
    }

    /// `before` and `words` lead to the unit's own line.
    fn line(&mut self, before: &str, words: &str, name: &str) {
        let node = self.graph.nodes.get(name);
        let mut about = harmless(name);
        if let Some((state, substate)) = node.and_then(|node| node.state.as_ref()) {
            about += &format!(" {state} ({substate})");
        }
        if let Some(trouble) = node.and_then(|node| node.trouble) {
            about += &format!(" ({trouble})");
        }
        if self.expanded.contains(name) && node.is_some_and(|node| !node.edges.is_empty()) {
            about += if self.look.unicode { " …" } else { " ..." };
        }
        let dot = match node {
            Some(Node { trouble: Some(_), state: None, .. }) => {
                self.look.paint(Color::Red, if self.look.unicode { "×" } else { "x" }) + " "
            }
            Some(Node { state: Some((state, _)), .. }) => self.look.dot(state) + " ",
            _ => String::new(),
        };
        let taken = before.chars().count() + words.chars().count() + if dot.is_empty() { 0 } else { 2 };
        let room = self.look.width.map_or(usize::MAX, |width| width.saturating_sub(taken));
        let about = self.look.cut(&about, room);
        self.text += &format!("{before}{}{dot}{about}\n", self.look.paint(Color::Dim, words));
    }
}

/// Its place among the relations.
fn rank(relation: &str) -> usize {
    RELATIONS.iter().position(|(key, _, _)| *key == relation).unwrap_or(RELATIONS.len())
}

/// Does what a relation leads to come along with the unit?
fn looked_into(relation: &str) -> bool {
    RELATIONS.iter().any(|(key, _, along)| *key == relation && *along)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Look = Look { color: false, unicode: true, width: Some(80) };

    fn graph(relations: &[(&str, &'static str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, relation, to) in relations {
            graph.relate(from, relation, to);
        }
        graph
    }

    /// A shop: two units need one data base, one is not there, one is masked.
    fn shop() -> Graph {
        let mut shop = graph(&[
            ("shop", "requires", "web@blue"),
            ("shop", "wants", "mailer"),
            ("web@blue", "requires", "db"),
            ("web@blue", "after", "db"),
            ("web@blue", "wants", "cache"),
            ("mailer", "requires", "db"),
            ("mailer", "on_failure", "alarm"),
            ("db", "binds_to", "disk"),
            ("db", "conflicts", "backup"),
            ("backup", "requires", "disk"),
        ]);
        let mut set = |name: &str, state: &str, substate: &str| {
            shop.nodes.get_mut(name).unwrap().state = Some((state.into(), substate.into()));
        };
        set("shop", "active", "running");
        set("web@blue", "activating", "auto-restart");
        set("db", "active", "running");
        set("mailer", "failed", "failed");
        set("alarm", "inactive", "dead");
        set("backup", "inactive", "dead");
        shop.nodes.get_mut("disk").unwrap().trouble = Some("masked");
        shop.nodes.get_mut("cache").unwrap().trouble = Some("not found");
        shop
    }

    #[test]
    fn a_unit_stands_below_who_needs_it_with_state_and_relation() {
        let expected = "\
● shop active (running)
├─requires ◐ web@blue activating (auto-restart)
│ ├─requires, after ● db active (running)
│ │ ├─binds_to × disk (masked)
│ │ └─conflicts ○ backup inactive (dead)
│ └─wants × cache (not found)
└─wants × mailer failed (failed)
  ├─requires ● db active (running) …
  └─on_failure ○ alarm inactive (dead)
";
        assert_eq!(dependency_tree(&shop(), &["shop".into()], Direction::Needs, WIDE), expected);
        let ascii = Look { unicode: false, ..WIDE };
        let text = dependency_tree(&shop(), &["mailer".into()], Direction::Needs, ascii);
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("\n|-requires * db active (running)\n| |-binds_to x disk (masked)\n"), "{text}");
    }

    #[test]
    fn turned_round_it_says_who_needs_a_unit() {
        let expected = "\
● db active (running)
├─required by × mailer failed (failed)
│ └─wanted by ● shop active (running)
└─required by, before ◐ web@blue activating (auto-restart)
  └─required by ● shop active (running)
";
        assert_eq!(dependency_tree(&shop().reversed(), &["db".into()], Direction::NeededBy, WIDE), expected);
    }

    #[test]
    fn the_roots_are_what_nobody_names_and_circles_are_not_forgotten() {
        assert_eq!(shop().roots(), ["shop"]);
        let circles = graph(&[("a", "wants", "b"), ("b", "wants", "a"), ("c", "wants", "c"), ("d", "wants", "a")]);
        assert_eq!(circles.roots(), ["c", "d"]);
        let lonely = graph(&[("x", "requires", "y"), ("y", "requires", "x")]);
        assert_eq!(lonely.roots(), ["x"]);
        let expected = "x\n└─requires y\n  └─requires x …\n";
        assert_eq!(dependency_tree(&lonely, &lonely.roots(), Direction::Needs, WIDE), expected);
    }

    #[test]
    fn what_does_not_fit_a_line_is_cut_and_nothing_reaches_the_terminal_that_could_harm_it() {
        let long = "x".repeat(200);
        let wide = graph(&[(&long, "requires", "b\u{1b}[2J")]);
        let text = dependency_tree(&wide, &wide.roots(), Direction::Needs, WIDE);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(dependency_tree(&wide, &wide.roots(), Direction::Needs, Look::PLAIN).contains(&long));
    }

    #[test]
    fn a_dense_graph_is_no_longer_than_its_relations() {
        let names: Vec<String> = (0..60).map(|n| format!("u{n:02}")).collect();
        let mut dense = Graph::default();
        for from in &names {
            names.iter().filter(|to| *to != from).for_each(|to| dense.relate(from, "wants", to));
        }
        let text = dependency_tree(&dense, &dense.roots(), Direction::Needs, WIDE);
        assert_eq!(text.lines().count(), 1 + 60 * 59);
    }
}
