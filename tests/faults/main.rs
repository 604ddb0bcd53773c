//! Without space, files, memory or processes: what fails is named, and no running service is lost for it.
//!
//! `real` makes the host lack something; `injected` lets single system calls of the daemon fail (`RSVC_FAULTS`).

#[path = "../instance/mod.rs"]
#[macro_use]
mod instance;

mod around;
mod groups;
mod injected;
mod limits;
mod real;
mod scenarios;
mod table;
mod walls;

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

/// A unit around a shell script.
fn script(text: &str, more: &str) -> String {
    format!("[service]\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n{more}\n")
}
