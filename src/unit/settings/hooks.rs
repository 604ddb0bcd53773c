//! What is told when a run is over.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One of `[hooks]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// `on_exit`: a run is over.
    Exit,
    /// `on_restart`: another follows by itself.
    Restart,
    /// `on_give_up`: it has failed, and none follows by itself.
    GiveUp,
}

impl Hook {
    /// All, in the order in which they run.
    pub const ALL: [Hook; 3] = [Hook::Exit, Hook::Restart, Hook::GiveUp];

    /// Its dotted key.
    pub fn dotted(self) -> &'static str {
        match self {
            Hook::Exit => "hooks.on_exit",
            Hook::Restart => "hooks.on_restart",
            Hook::GiveUp => "hooks.on_give_up",
        }
    }

    /// Its key, for RSVC_HOOK.
    pub fn key(self) -> &'static str {
        self.dotted().trim_start_matches("hooks.")
    }
}

/// `[hooks]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// Empty: none.
    pub on_exit: Vec<String>,
    /// Empty: none.
    pub on_restart: Vec<String>,
    /// Empty: none.
    pub on_give_up: Vec<String>,
    /// How long each may take.
    pub timeout: Duration,
}

impl HookSettings {
    /// The command of a hook; empty: none.
    pub fn command(&self, hook: Hook) -> &[String] {
        match hook {
            Hook::Exit => &self.on_exit,
            Hook::Restart => &self.on_restart,
            Hook::GiveUp => &self.on_give_up,
        }
    }

    /// Those that have a command, in the order in which they run.
    pub fn present(&self) -> impl Iterator<Item = Hook> + '_ {
        Hook::ALL.into_iter().filter(|hook| !self.command(*hook).is_empty())
    }
}
