//! Hostile and unlucky circumstances: the daemon goes on, answers correctly, and never runs a second copy.

#[path = "../instance/mod.rs"]
#[macro_use]
mod instance;

mod boot;
mod clients;
mod crowd;
mod deaths;
mod files;
mod last_words;
mod scarcity;
mod succession;
mod trust;

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[logging]\ntarget = \"file\"\n";

/// A unit around a shell script.
fn script(kind: &str, text: &str, more: &str) -> String {
    format!(
        "[service]\ntype = \"{kind}\"\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n{more}\n[logging]\ntarget = \"file\"\n"
    )
}
