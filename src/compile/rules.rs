//! Rules of flags per place, and what they do to the table of mounts.
//!
//! The nearest rule at or above a place counts. A place whose rule differs from what shows it becomes a mount of its
//! own, a copy taken from the untouched tree: flags are only ever added.

use super::mounts::{Content, Entry, Table};
use crate::plan::MountFlags;
use crate::unit::{PathEntry, Unit};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Read-only or writable, from here downwards.
pub(super) struct Rule {
    pub read_only: bool,
    pub missing_ok: bool,
    pub key: String,
    pub authored: bool,
}

impl Rule {
    /// Does it show its place even where something hides it? What the author names, and the unit's own directories.
    fn opens(&self) -> bool {
        self.authored || self.key.starts_with("directories.")
    }
}

/// What a rule does to its place.
enum Effect {
    Nothing,
    /// The mount there becomes read-only.
    Tighten,
    /// A mount of its own.
    Mount(Content),
}

/// Everything under construction.
pub(super) struct Tree {
    pub table: Table,
    pub rules: BTreeMap<PathBuf, Rule>,
}

impl Tree {
    /// A built-in rule; the place may be absent.
    pub fn rule(&mut self, path: &str, read_only: bool, key: &str) {
        let rule = Rule { read_only, missing_ok: true, key: key.to_owned(), authored: false };
        self.rules.insert(path.into(), rule);
    }

    pub fn author_rules(&mut self, key: &str, paths: &[PathEntry], read_only: bool) {
        for entry in paths {
            let rule = Rule { read_only, missing_ok: entry.optional, key: key.to_owned(), authored: true };
            self.rules.insert(entry.path.clone(), rule);
        }
    }

    /// Is the place read-only by the nearest rule?
    pub fn effective_rule(&self, at: &Path) -> bool {
        at.ancestors()
            .find_map(|above| self.rules.get(above).map(|rule| rule.read_only))
            .unwrap_or(self.table.root.flags.read_only)
    }

    /// Makes a mount of every place whose rule differs from what shows it.
    pub fn apply_rules(&mut self) {
        let root_flags = self.table.root.flags;
        for (path, rule) in std::mem::take(&mut self.rules) {
            if path == Path::new("/") {
                self.table.root.flags.read_only = rule.read_only;
                continue;
            }
            match self.effect(&path, &rule) {
                Effect::Nothing => {}
                Effect::Tighten => {
                    if let Some(entry) = self.table.entries.get_mut(&path) {
                        entry.flags.read_only = true;
                    }
                }
                Effect::Mount(content) => {
                    let copy = content != Content::Restrict;
                    let flags = MountFlags {
                        read_only: rule.read_only,
                        no_suid: copy && (root_flags.no_suid || !rule.read_only),
                        no_dev: copy && (root_flags.no_dev || !rule.read_only),
                        ..MountFlags::default()
                    };
                    let entry = Entry { authored: rule.opens(), ..Entry::built_in(&rule.key, content) };
                    self.table.put(path, entry.flags(flags).missing_ok(rule.missing_ok));
                }
            }
        }
    }

    /// What a rule does to its place.
    fn effect(&self, path: &Path, rule: &Rule) -> Effect {
        let (shown_at, shown) = self.table.shows(path);
        let at_root = shown_at == Path::new("/");
        // A mount at this very place: the author's word can make it stricter, never undo what was asked there.
        if shown_at == path {
            return match &shown.content {
                Content::Mask if !shown.authored && rule.opens() => Effect::Mount(self.opened(path)),
                Content::Mask => Effect::Nothing,
                _ if rule.authored && rule.read_only => Effect::Tighten,
                _ => Effect::Nothing,
            };
        }
        match &shown.content {
            // Nothing to do where a built-in rule says what is so already.
            Content::Host { .. } | Content::Own if !rule.authored && shown.flags.read_only == rule.read_only => {
                Effect::Nothing
            }
            _ if at_root && self.table.own_root => Effect::Mount(Content::Own),
            Content::Own => Effect::Mount(Content::Own),
            Content::Host { path: source, .. } => {
                let rest = path.strip_prefix(shown_at).unwrap_or(path);
                Effect::Mount(Content::Host { path: source.join(rest), recursive: true })
            }
            Content::Mask if rule.opens() => Effect::Mount(self.opened(path)),
            Content::New { .. } | Content::Overlay { .. } | Content::Dev if rule.opens() => {
                match (self.table.own_root, rule.read_only) {
                    (false, _) => Effect::Mount(self.opened(path)),
                    (true, true) => Effect::Mount(Content::Restrict),
                    // A file system of the container's own is writable already.
                    (true, false) => Effect::Nothing,
                }
            }
            // A built-in rule is about what is not shown here.
            Content::New { .. }
            | Content::Overlay { .. }
            | Content::Image { .. }
            | Content::Dev
            | Content::Credentials
            | Content::Mask
            | Content::Restrict => Effect::Nothing,
        }
    }

    /// The tree's own content of a place that something hides.
    fn opened(&self, path: &Path) -> Content {
        if self.table.own_root { Content::Own } else { Content::Host { path: path.to_owned(), recursive: true } }
    }

    /// `filesystem.exec_paths` and `no_exec_paths`: the nearest above a mount counts.
    pub fn apply_exec_rules(&mut self, unit: &Unit) {
        let mut rules: BTreeMap<PathBuf, (bool, bool, &str)> = BTreeMap::new();
        for (list, no_exec, key) in [
            (&unit.filesystem.no_exec_paths, true, "filesystem.no_exec_paths"),
            (&unit.filesystem.exec_paths, false, "filesystem.exec_paths"),
        ] {
            for entry in list {
                rules.insert(entry.path.clone(), (no_exec, entry.optional, key));
            }
        }
        if rules.is_empty() {
            return;
        }
        let nearest = |at: &Path| at.ancestors().find_map(|above| rules.get(above).map(|(no_exec, ..)| *no_exec));
        for (path, (_, missing_ok, key)) in &rules {
            if path == Path::new("/") || self.table.entries.contains_key(path) {
                continue;
            }
            let (shown_at, shown) = self.table.shows(path);
            let at_root = shown_at == Path::new("/");
            let content = match &shown.content {
                _ if self.table.own_root && (at_root || shown.content == Content::Own) => Content::Own,
                Content::Host { path: source, .. } => {
                    Content::Host { path: source.join(path.strip_prefix(shown_at).unwrap_or(path)), recursive: true }
                }
                // The stand-in for a directory of the host shows the host's files.
                Content::Overlay { .. } if !self.table.own_root && !shown.authored => self.opened(path),
                // Inside a file system of the container's own: what appears there follows its mount's flags.
                _ => continue,
            };
            let entry = Entry::authored(key, content).flags(shown.flags).missing_ok(*missing_ok);
            self.table.put(path, entry);
        }
        self.table.root.flags.no_exec |= nearest(Path::new("/")) == Some(true);
        for (at, entry) in &mut self.table.entries {
            match (nearest(at), &entry.content) {
                (Some(true), _) => entry.flags.no_exec = true,
                // A copy that was split off took the flags of what showed it.
                (Some(false), Content::Host { .. } | Content::Own) if rules.contains_key(at) => {
                    entry.flags.no_exec = false;
                }
                _ => {}
            }
        }
    }
}
