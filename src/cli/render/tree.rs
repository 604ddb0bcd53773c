//! The processes of a unit as a tree.

use crate::cli::terminal::{Look, harmless};
use crate::control::ProcessLine;

/// One line for each process, children below their parent; processes whose parent is not of the unit come first.
pub fn process_tree(processes: &[ProcessLine], look: Look) -> Vec<String> {
    let known = |pid: i32| processes.iter().any(|p| p.pid == pid);
    let mut roots: Vec<&ProcessLine> = processes.iter().filter(|p| p.parent == p.pid || !known(p.parent)).collect();
    roots.sort_by_key(|p| p.pid);
    let width = processes.iter().map(|p| p.pid.to_string().len()).max().unwrap_or(0);
    let mut tree = Tree { processes, look, width, lines: Vec::new() };
    for (index, process) in roots.iter().enumerate() {
        tree.add(process, "", index + 1 == roots.len(), processes.len());
    }
    tree.lines
}

struct Tree<'a> {
    processes: &'a [ProcessLine],
    look: Look,
    width: usize,
    lines: Vec<String>,
}

impl Tree<'_> {
    /// `depth` bounds the recursion: a list that was read while processes changed may hold a circle.
    fn add(&mut self, process: &ProcessLine, before: &str, last: bool, depth: usize) {
        let (tee, corner, bar) = if self.look.unicode { ("├─", "└─", "│ ") } else { ("|-", "`-", "| ") };
        let branch = if last { corner } else { tee };
        let width = self.width;
        self.lines.push(format!("{before}{branch}{:>width$} {}", process.pid, harmless(&process.command)));
        if depth == 0 {
            return;
        }
        let below = format!("{before}{}", if last { "  " } else { bar });
        let mut children: Vec<&ProcessLine> =
            self.processes.iter().filter(|p| p.parent == process.pid && p.pid != process.pid).collect();
        children.sort_by_key(|p| p.pid);
        for (index, child) in children.iter().enumerate() {
            self.add(child, &below, index + 1 == children.len(), depth - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, command: &str) -> ProcessLine {
        ProcessLine { pid, parent, command: command.into() }
    }

    #[test]
    fn children_stand_below_their_parent() {
        let list = [process(30, 7, "sh"), process(101, 30, "b"), process(31, 30, "a"), process(32, 31, "c\u{1b}")];
        let expected = ["└─ 30 sh", "  ├─ 31 a", "  │ └─ 32 c\u{fffd}", "  └─101 b"];
        assert_eq!(process_tree(&list, Look::PLAIN), expected);
        let ascii = process_tree(&list[..1], Look { unicode: false, ..Look::PLAIN });
        assert_eq!(ascii, ["`-30 sh"]);
        assert!(process_tree(&[], Look::PLAIN).is_empty());
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let list = [process(1, 2, "a"), process(2, 1, "b"), process(3, 3, "self")];
        assert_eq!(process_tree(&list, Look::PLAIN), ["└─3 self"]);
    }
}
