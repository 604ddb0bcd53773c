//! Without space, files, memory or processes: what fails is named, and no running service is lost for it.
//!
//! `real` makes the host lack something; `injected` lets single system calls of the daemon fail (`RSVC_FAULTS`).

#[path = "../instance/mod.rs"]
mod instance;

/// Returns from the test, saying so, where it is not run by root.
macro_rules! root_only {
    () => {
        if !$crate::instance::is_root() {
            return $crate::instance::skipped("needs root");
        }
    };
}

mod groups;
mod injected;
mod limits;
mod real;
mod scenarios;
mod table;

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

/// A unit around a shell script.
fn script(text: &str, more: &str) -> String {
    format!("[service]\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n{more}\n")
}
