//! Calls of `io.rsvc.Manager`: the verbs, their parameters, decoding and encoding.
//!
//! A verb is known before its parameters are looked at, because the permission check stands between the two (see
//! [`super::who`]): whoever may not ask is not told what is wrong with the question.

use super::RequestKey;
use super::parameters::Parameters;
use super::varlink::ServiceError;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A terminal of the container that a command is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// `$TERM`; empty when that is not known.
    pub kind: String,
    /// Lines; 0 when unknown.
    pub rows: u16,
    /// Columns; 0 when unknown.
    pub columns: u16,
}

/// A call that the daemon answers, decoded.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Named after the verbs of rsvc(1).
pub enum Call {
    Start {
        unit: String,
    },
    Stop {
        unit: String,
    },
    Restart {
        unit: String,
    },
    TryRestart {
        unit: String,
    },
    Reload {
        unit: String,
    },
    /// Status of one unit.
    Status {
        unit: String,
    },
    /// Status of all units that are loaded or have a file; one reply each with `more`, else in one array.
    List,
    /// Compiles what a start would do now, as text lines.
    Plan {
        unit: String,
    },
    /// So many replicas of a set are to be up from now on.
    Scale {
        unit: String,
        number: u32,
    },
    /// What the unit runs with, key by key.
    Configuration {
        unit: String,
    },
    /// Signal to the main process, or to all.
    Kill {
        unit: String,
        signal: i32,
        whole: bool,
    },
    /// `None`: all failed units.
    ResetFailed {
        unit: Option<String>,
    },
    /// Stop everything, in order.
    StopAll,
    /// Version, counts, cgroup layout, runtime directories.
    Describe,
    /// What happens from now on; entries of these units, or of all.
    Events {
        units: Vec<String>,
        /// How the units stand comes first.
        present: bool,
    },
    /// Changes limits of a unit that runs: value (TOML or plain text) by key, empty to take a change back.
    Set {
        unit: String,
        values: BTreeMap<String, String>,
        /// Any key, running or not, and also for later starts.
        persist: bool,
    },
    Freeze {
        unit: String,
    },
    Thaw {
        unit: String,
    },
    /// Runs a command in the container of a unit. Four descriptors come with the call (SCM_RIGHTS): standard input, output
    /// and error, and the socket on which its end is told; with `image` a fifth one, the program.
    Exec {
        unit: String,
        command: Vec<String>,
        /// The command gets a terminal of its own.
        terminal: Option<Terminal>,
        /// Who runs it, by name or number; `None`: the unit's user.
        user: Option<String>,
        /// The program is a sealed memfd that comes along, and `command` only its arguments.
        image: bool,
    },
    /// Reads all unit files again.
    ReloadConfig,
    /// Another program takes over in place; `None`: the one by whose path the daemon was started.
    Upgrade {
        program: Option<String>,
    },
}

/// How a call is to be handled, beside what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Of a job: answer when it is done. `false`: answer as soon as it is accepted.
    pub wait: bool,
    /// What the client calls this request, which it may repeat.
    pub request: Option<RequestKey>,
}

/// What is asked, without of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // As the calls.
pub enum Verb {
    Start,
    Stop,
    Restart,
    TryRestart,
    Reload,
    Scale,
    Status,
    List,
    Plan,
    Configuration,
    Kill,
    ResetFailed,
    StopAll,
    Describe,
    Events,
    Set,
    Freeze,
    Thaw,
    Exec,
    ReloadConfig,
    Upgrade,
}

impl Verb {
    /// All verbs with the names of their methods.
    pub const ALL: [(Verb, &'static str); 21] = [
        (Verb::Start, "Start"),
        (Verb::Stop, "Stop"),
        (Verb::Restart, "Restart"),
        (Verb::TryRestart, "TryRestart"),
        (Verb::Reload, "Reload"),
        (Verb::Scale, "Scale"),
        (Verb::Status, "Status"),
        (Verb::List, "List"),
        (Verb::Plan, "Plan"),
        (Verb::Configuration, "Configuration"),
        (Verb::Kill, "Kill"),
        (Verb::ResetFailed, "ResetFailed"),
        (Verb::StopAll, "StopAll"),
        (Verb::Describe, "Describe"),
        (Verb::Events, "Events"),
        (Verb::Set, "Set"),
        (Verb::Freeze, "Freeze"),
        (Verb::Thaw, "Thaw"),
        (Verb::Exec, "Exec"),
        (Verb::ReloadConfig, "ReloadConfig"),
        (Verb::Upgrade, "Upgrade"),
    ];

    /// The method's name without the interface.
    pub fn name(self) -> &'static str {
        Verb::ALL.iter().find(|(verb, _)| *verb == self).map_or("", |(_, name)| name)
    }

    /// The verb of a method's name.
    pub fn from_name(name: &str) -> Option<Verb> {
        Verb::ALL.iter().find(|(_, n)| *n == name).map(|(verb, _)| *verb)
    }

    /// A job that runs on after it was accepted: takes the parameter `wait`.
    pub fn is_job(self) -> bool {
        matches!(
            self,
            Verb::Start | Verb::Stop | Verb::Restart | Verb::TryRestart | Verb::Reload | Verb::Scale | Verb::StopAll
        )
    }

    /// To do it twice is not as good as to do it once: takes the parameter `request`.
    pub fn is_repeatable_by_key(self) -> bool {
        matches!(self, Verb::Start | Verb::Restart | Verb::TryRestart | Verb::Reload | Verb::Kill)
    }

    /// Decodes the parameters of this verb.
    ///
    /// # Errors
    /// `InvalidParameter` with the name of the first that is missing, of the wrong type, out of range or unknown.
    pub fn decode(self, parameters: Map<String, Value>) -> Result<(Call, Manner), ServiceError> {
        let mut given = Parameters(parameters);
        let wait = if self.is_job() { given.flag("wait")?.unwrap_or(true) } else { true };
        let request = if self.is_repeatable_by_key() { given.request()? } else { None };
        let call = match self {
            Verb::Start => Call::Start { unit: given.unit()? },
            Verb::Stop => Call::Stop { unit: given.unit()? },
            Verb::Restart => Call::Restart { unit: given.unit()? },
            Verb::TryRestart => Call::TryRestart { unit: given.unit()? },
            Verb::Reload => Call::Reload { unit: given.unit()? },
            Verb::Scale => Call::Scale { unit: given.unit()?, number: given.replicas()? },
            Verb::Status => Call::Status { unit: given.unit()? },
            Verb::List => Call::List,
            Verb::Plan => Call::Plan { unit: given.unit()? },
            Verb::Configuration => Call::Configuration { unit: given.unit()? },
            Verb::Kill => Call::Kill {
                unit: given.unit()?,
                signal: given.signal()?,
                whole: given.flag("whole")?.unwrap_or(false),
            },
            Verb::ResetFailed => Call::ResetFailed { unit: given.optional_unit()? },
            Verb::StopAll => Call::StopAll,
            Verb::Describe => Call::Describe,
            Verb::Set => Call::Set {
                unit: given.unit()?,
                values: given.values()?,
                persist: given.flag("persist")?.unwrap_or(false),
            },
            Verb::Freeze => Call::Freeze { unit: given.unit()? },
            Verb::Thaw => Call::Thaw { unit: given.unit()? },
            Verb::Exec => Call::Exec {
                unit: given.unit()?,
                command: given.command()?,
                terminal: given.terminal()?,
                user: given.user()?,
                image: given.flag("image")?.unwrap_or(false),
            },
            Verb::ReloadConfig => Call::ReloadConfig,
            Verb::Upgrade => Call::Upgrade { program: given.program()? },
            Verb::Events => Call::Events { units: given.units()?, present: given.flag("present")?.unwrap_or(false) },
        };
        given.finish()?;
        Ok((call, Manner { wait, request }))
    }
}

impl Call {
    /// What is asked.
    pub fn verb(&self) -> Verb {
        match self {
            Call::Start { .. } => Verb::Start,
            Call::Stop { .. } => Verb::Stop,
            Call::Restart { .. } => Verb::Restart,
            Call::TryRestart { .. } => Verb::TryRestart,
            Call::Reload { .. } => Verb::Reload,
            Call::Scale { .. } => Verb::Scale,
            Call::Status { .. } => Verb::Status,
            Call::List => Verb::List,
            Call::Plan { .. } => Verb::Plan,
            Call::Configuration { .. } => Verb::Configuration,
            Call::Kill { .. } => Verb::Kill,
            Call::ResetFailed { .. } => Verb::ResetFailed,
            Call::StopAll => Verb::StopAll,
            Call::Describe => Verb::Describe,
            Call::Events { .. } => Verb::Events,
            Call::Set { .. } => Verb::Set,
            Call::Freeze { .. } => Verb::Freeze,
            Call::Thaw { .. } => Verb::Thaw,
            Call::Exec { .. } => Verb::Exec,
            Call::ReloadConfig => Verb::ReloadConfig,
            Call::Upgrade { .. } => Verb::Upgrade,
        }
    }

    /// The unit that is meant, if one is.
    pub fn unit(&self) -> Option<&str> {
        match self {
            Call::Start { unit }
            | Call::Stop { unit }
            | Call::Restart { unit }
            | Call::TryRestart { unit }
            | Call::Reload { unit }
            | Call::Scale { unit, .. }
            | Call::Status { unit }
            | Call::Plan { unit }
            | Call::Configuration { unit }
            | Call::Set { unit, .. }
            | Call::Freeze { unit }
            | Call::Thaw { unit }
            | Call::Exec { unit, .. }
            | Call::Kill { unit, .. } => Some(unit),
            Call::ResetFailed { unit } => unit.as_deref(),
            Call::List | Call::StopAll | Call::Describe => None,
            Call::Events { .. } | Call::ReloadConfig | Call::Upgrade { .. } => None,
        }
    }

    /// The parameters as they travel.
    pub fn parameters(&self) -> Value {
        match self {
            Call::Kill { unit, signal, whole } => json!({ "unit": unit, "signal": signal, "whole": whole }),
            Call::Set { unit, values, persist } => json!({ "unit": unit, "values": values, "persist": persist }),
            Call::Scale { unit, number } => json!({ "unit": unit, "number": number }),
            Call::Upgrade { program } => json!({ "program": program }),
            // A daemon that does not know of images runs what needs none.
            Call::Exec { unit, command, terminal, user, image } => {
                let mut all = json!({ "unit": unit, "command": command, "user": user });
                if let Some(Terminal { kind, rows, columns }) = terminal {
                    (all["terminal"], all["rows"], all["columns"]) = (json!(kind), json!(rows), json!(columns));
                }
                if *image {
                    all["image"] = json!(true);
                }
                all
            }
            Call::Events { units, present } => json!({ "units": units, "present": present }),
            _ => match self.unit() {
                Some(unit) => json!({ "unit": unit }),
                None => json!({}),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parameters::invalid;
    use super::*;

    /// How a call is handled that says nothing of it.
    const USUAL: Manner = Manner { wait: true, request: None };

    fn decode(verb: Verb, parameters: Value) -> Result<(Call, Manner), ServiceError> {
        let Value::Object(map) = parameters else { panic!("not an object") };
        verb.decode(map)
    }

    #[test]
    fn every_call_survives_its_own_encoding() {
        let unit = || "web".to_owned();
        let calls = [
            Call::Start { unit: unit() },
            Call::Stop { unit: unit() },
            Call::Restart { unit: unit() },
            Call::TryRestart { unit: unit() },
            Call::Reload { unit: unit() },
            Call::Scale { unit: unit(), number: 5 },
            Call::Status { unit: unit() },
            Call::List,
            Call::Plan { unit: unit() },
            Call::Configuration { unit: unit() },
            Call::Kill { unit: unit(), signal: 9, whole: true },
            Call::ResetFailed { unit: None },
            Call::ResetFailed { unit: Some(unit()) },
            Call::StopAll,
            Call::Describe,
            Call::Events { units: vec![unit()], present: true },
            Call::Set {
                unit: unit(),
                values: [("resources.tasks_max".to_owned(), "5".to_owned())].into(),
                persist: true,
            },
            Call::Freeze { unit: unit() },
            Call::Thaw { unit: unit() },
            Call::Exec {
                unit: unit(),
                command: vec!["/bin/ls".to_owned(), String::new()],
                terminal: None,
                user: None,
                image: true,
            },
            Call::Exec {
                unit: unit(),
                command: vec!["sh".to_owned()],
                terminal: Some(Terminal { kind: "xterm".to_owned(), rows: 24, columns: 80 }),
                user: Some("www-data".to_owned()),
                image: false,
            },
            Call::ReloadConfig,
            Call::Upgrade { program: None },
            Call::Upgrade { program: Some("/usr/bin/rsvc".to_owned()) },
        ];
        for call in calls {
            assert_eq!(decode(call.verb(), call.parameters()), Ok((call.clone(), USUAL)));
            assert_eq!(Verb::from_name(call.verb().name()), Some(call.verb()));
        }
    }

    #[test]
    fn the_bad_parameter_is_named() {
        let table = [
            (Verb::Start, json!({}), "unit"),
            (Verb::Start, json!({ "unit": 5 }), "unit"),
            (Verb::Start, json!({ "unit": null }), "unit"),
            (Verb::Start, json!({ "unit": "" }), "unit"),
            (Verb::Start, json!({ "unit": "../etc" }), "unit"),
            (Verb::Start, json!({ "unit": "a\u{1b}[2J" }), "unit"),
            (Verb::Start, json!({ "unit": "x".repeat(251) }), "unit"),
            (Verb::Start, json!({ "unit": "web", "wait": 1 }), "wait"),
            (Verb::Status, json!({ "unit": "web", "wait": true }), "wait"),
            (Verb::Start, json!({ "unit": "web", "untis": 1 }), "untis"),
            (Verb::Start, json!({ "unit": "web", "request": 7 }), "request"),
            (Verb::Kill, json!({ "unit": "web", "request": "7" }), "request"),
            (Verb::Stop, json!({ "unit": "web", "request": "0".repeat(32) }), "request"),
            (Verb::Kill, json!({ "unit": "web", "signal": 0 }), "signal"),
            (Verb::Kill, json!({ "unit": "web", "signal": 65 }), "signal"),
            (Verb::Kill, json!({ "unit": "web", "signal": "TERM" }), "signal"),
            (Verb::Kill, json!({ "unit": "web", "signal": 4294967305i64 }), "signal"),
            (Verb::List, json!({ "unit": "web" }), "unit"),
            (Verb::Upgrade, json!({ "program": "rsvc" }), "program"),
            (Verb::Upgrade, json!({ "program": "/a\u{0}b" }), "program"),
            (Verb::Events, json!({ "units": "web" }), "units"),
            (Verb::Events, json!({ "units": ["web", "../etc"] }), "units"),
            (Verb::Events, json!({ "present": 1 }), "present"),
            (Verb::Set, json!({ "unit": "web" }), "values"),
            (Verb::Set, json!({ "unit": "web", "values": {} }), "values"),
            (Verb::Set, json!({ "unit": "web", "values": { "a.b": 5 } }), "values"),
            (Verb::Freeze, json!({}), "unit"),
            (Verb::Exec, json!({ "unit": "web" }), "command"),
            (Verb::Exec, json!({ "unit": "web", "command": [] }), "command"),
            (Verb::Exec, json!({ "unit": "web", "command": [""] }), "command"),
            (Verb::Exec, json!({ "unit": "web", "command": ["a\u{0}b"] }), "command"),
            (Verb::Exec, json!({ "unit": "web", "command": ["a", 1] }), "command"),
            (Verb::Exec, json!({ "unit": "web", "command": ["a"], "terminal": "a\nb" }), "terminal"),
            (Verb::Exec, json!({ "unit": "web", "command": ["a"], "terminal": true }), "terminal"),
            (Verb::Exec, json!({ "unit": "web", "command": ["a"], "user": "a b" }), "user"),
            (Verb::Exec, json!({ "unit": "web", "command": ["a"], "user": 7 }), "user"),
            (Verb::Scale, json!({ "unit": "web" }), "number"),
            (Verb::Scale, json!({ "unit": "web", "number": -1 }), "number"),
            (Verb::Scale, json!({ "unit": "web", "number": 1001 }), "number"),
            (Verb::Scale, json!({ "unit": "web", "number": "5" }), "number"),
            (Verb::Scale, json!({ "unit": "web", "number": 1.5 }), "number"),
        ];
        for (verb, parameters, name) in table {
            assert_eq!(decode(verb, parameters.clone()), Err(invalid(name)), "{verb:?} {parameters}");
        }
    }

    #[test]
    fn a_job_can_be_asked_not_to_be_waited_for() {
        let call = Call::Start { unit: "web".into() };
        assert_eq!(
            decode(Verb::Start, json!({ "unit": "web", "wait": false })),
            Ok((call, Manner { wait: false, ..USUAL }))
        );
    }

    #[test]
    fn what_cannot_be_done_twice_takes_the_key_of_its_request() {
        let key = RequestKey::new([7; 16]);
        for (verb, _) in Verb::ALL.iter().filter(|(verb, _)| verb.is_repeatable_by_key()) {
            let parameters = json!({ "unit": "web", "request": key.to_string() });
            assert_eq!(decode(*verb, parameters).map(|(_, manner)| manner.request), Ok(Some(key)), "{verb:?}");
        }
    }

    #[test]
    fn kill_sends_sigterm_to_the_main_process_unless_told() {
        let call = Call::Kill { unit: "web".into(), signal: 15, whole: false };
        assert_eq!(decode(Verb::Kill, json!({ "unit": "web" })), Ok((call, USUAL)));
    }
}
