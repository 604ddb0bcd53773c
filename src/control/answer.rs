//! Answers and refusals of the daemon: their values and their form on the wire.

use super::{ConfiguredValue, UnitEvent, UnitStatus, Verb};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt;

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The job is done (or accepted, when it is not waited for).
    Done,
    /// The start was skipped, as a condition of the unit is not met: the sentence that says which.
    Skipped(String),
    /// `Status`.
    Status(Box<UnitStatus>),
    /// `List`: all units, or with `more` one in each reply; an instance without units answers with none.
    Units(Vec<UnitStatus>),
    /// `Plan`: lines without line ends.
    Plan(Vec<String>),
    /// `Configuration`.
    Configuration(Vec<ConfiguredValue>),
    /// `Describe`.
    Description(Box<Description>),
    /// `Set` with `persist`.
    Kept {
        /// The drop-in that was written.
        file: String,
        /// Keys that a running unit takes up at its next start.
        later: Vec<String>,
    },
    /// `Upgrade`: versions of the former and of the present program.
    Upgraded {
        /// The former's version.
        from: String,
        /// The present one's.
        version: String,
        /// Which build of that.
        build: String,
    },
    /// `Events`: one entry of the stream.
    Event(Box<UnitEvent>),
    /// `ReloadConfig`: what is not as it was, and how many units are.
    Changes(Vec<UnitChange>, u64),
}

impl Answer {
    /// The parameters as they travel.
    pub fn parameters(&self) -> Value {
        match self {
            Answer::Done => json!({}),
            Answer::Skipped(why) => json!({ "skipped": why }),
            Answer::Status(status) => json!({ "status": status }),
            Answer::Units(units) => json!({ "units": units }),
            Answer::Plan(lines) => json!({ "lines": lines }),
            Answer::Configuration(values) => json!({ "values": values }),
            Answer::Description(description) => json!({ "description": description }),
            Answer::Changes(changes, unchanged) => json!({ "changes": changes, "unchanged": unchanged }),
            Answer::Kept { file, later } => json!({ "file": file, "later": later }),
            Answer::Upgraded { from, version, build } => json!({ "from": from, "version": version, "build": build }),
            Answer::Event(event) => json!({ "event": event }),
        }
    }

    /// The answer to a call of `verb`.
    ///
    /// # Errors
    /// When the parameters are not what this verb is answered with.
    pub fn decode(verb: Verb, parameters: Map<String, Value>) -> Result<Answer, serde_json::Error> {
        let mut parameters = parameters;
        let mut take = |name: &str| parameters.remove(name).unwrap_or_default();
        Ok(match verb {
            Verb::Status => Answer::Status(serde_json::from_value(take("status"))?),
            Verb::List => Answer::Units(serde_json::from_value(take("units"))?),
            Verb::Plan => Answer::Plan(serde_json::from_value(take("lines"))?),
            Verb::Configuration => Answer::Configuration(serde_json::from_value(take("values"))?),
            Verb::Describe => Answer::Description(serde_json::from_value(take("description"))?),
            Verb::Start | Verb::Restart | Verb::TryRestart | Verb::Scale => match take("skipped") {
                Value::Null => Answer::Done,
                why => Answer::Skipped(serde_json::from_value(why)?),
            },
            Verb::ReloadConfig => {
                Answer::Changes(serde_json::from_value(take("changes"))?, serde_json::from_value(take("unchanged"))?)
            }
            Verb::Set => match take("file") {
                Value::Null => Answer::Done,
                file => {
                    Answer::Kept { file: serde_json::from_value(file)?, later: serde_json::from_value(take("later"))? }
                }
            },
            Verb::Upgrade => Answer::Upgraded {
                from: serde_json::from_value(take("from"))?,
                version: serde_json::from_value(take("version"))?,
                build: serde_json::from_value(take("build"))?,
            },
            Verb::Events => Answer::Event(serde_json::from_value(take("event"))?),
            Verb::Stop
            | Verb::Reload
            | Verb::Kill
            | Verb::ResetFailed
            | Verb::Freeze
            | Verb::Thaw
            | Verb::Exec
            | Verb::StopAll => Answer::Done,
        })
    }
}

/// The daemon about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// Schema version, 1.
    pub v: u32,
    /// Version of the daemon, which may differ from the client's after an upgrade.
    pub version: String,
    /// Which build of that version, 16 hex digits.
    pub build: String,
    /// Its host pid.
    pub pid: i32,
    /// Since when it runs, RFC 3339 UTC; an upgrade in place does not change that.
    pub since: Option<String>,
    /// How often it was upgraded in place since then.
    pub upgrades: u64,
    /// When it was upgraded last.
    pub upgraded: Option<String>,
    /// Units that run on another rsvc than the daemon's: a restart of theirs would bring this one.
    pub outdated: u64,
    /// Units that have a file or are loaded.
    pub units: u64,
    /// Of these, active.
    pub active: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Path of the root group below the mount of its hierarchy.
    pub cgroup_root: Option<String>,
    /// `v2`, `hybrid`, `v1`, `none`.
    pub cgroup_layout: Option<String>,
    /// Unit directories, the first wins.
    pub unit_path: Vec<String>,
    /// Runtime directory.
    pub runtime_dir: String,
    /// State directory.
    pub state_dir: String,
    /// Where `logging.target = "auto"` leads: `journald` or `file`.
    pub log: String,
}

/// What became of one unit's file since it was read last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitChange {
    /// Schema version, 1.
    pub v: u32,
    /// Unit name.
    pub name: String,
    /// `new`, `changed`, `gone`, `masked`, `bad`.
    pub change: String,
    /// For `bad` and `masked`: all diagnostics as text.
    pub message: Option<String>,
    /// It is up, with what it was started with.
    pub running: bool,
}

/// An error reply: the Varlink error name's last word, and for people the text.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum CallError {
    /// 5: no such unit.
    UnitNotFound { unit: String },
    /// 6: invalid file or masked; all diagnostics as text.
    UnitUnusable { unit: String, message: String },
    /// 1: the job failed; the cause as shown to people, last output lines included.
    JobFailed { unit: String, message: String },
    /// 1: overtaken by another request.
    JobCancelled { unit: String },
    /// 7: reload, kill: not running.
    NotRunning { unit: String },
    /// 7: no `exec_reload` and no `reload_signal`.
    NotSupported { unit: String, message: String },
    /// 2: a key or value that cannot be set; the reason.
    BadSetting { unit: String, message: String },
    /// 4
    PermissionDenied { message: String },
    /// 1: the former program goes on, and why.
    UpgradeRefused { message: String },
    /// 125 to 127: a command of `rsvc exec` was not executed; which of them, and why.
    NotExecuted { unit: String, status: u8, message: String },
    /// 1: anything else that is the daemon's fault or the host's.
    Internal { message: String },
}

impl CallError {
    /// The error's name without the interface.
    pub fn name(&self) -> &'static str {
        match self {
            CallError::UnitNotFound { .. } => "UnitNotFound",
            CallError::UnitUnusable { .. } => "UnitUnusable",
            CallError::JobFailed { .. } => "JobFailed",
            CallError::JobCancelled { .. } => "JobCancelled",
            CallError::NotRunning { .. } => "NotRunning",
            CallError::NotSupported { .. } => "NotSupported",
            CallError::BadSetting { .. } => "BadSetting",
            CallError::PermissionDenied { .. } => "PermissionDenied",
            CallError::UpgradeRefused { .. } => "UpgradeRefused",
            CallError::NotExecuted { .. } => "NotExecuted",
            CallError::Internal { .. } => "Internal",
        }
    }

    /// Exit code of the command that met it (rsvc(1), EXIT STATUS).
    pub fn exit_code(&self) -> u8 {
        match self {
            CallError::UnitNotFound { .. } => 5,
            CallError::UnitUnusable { .. } => 6,
            CallError::NotRunning { .. } | CallError::NotSupported { .. } => 7,
            CallError::BadSetting { .. } => 2,
            CallError::PermissionDenied { .. } => 4,
            CallError::JobFailed { .. } | CallError::JobCancelled { .. } => 1,
            CallError::NotExecuted { status, .. } => *status,
            CallError::UpgradeRefused { .. } | CallError::Internal { .. } => 1,
        }
    }

    /// The parameters as they travel.
    pub fn parameters(&self) -> Value {
        match self {
            CallError::UnitNotFound { unit } | CallError::JobCancelled { unit } | CallError::NotRunning { unit } => {
                json!({ "unit": unit })
            }
            CallError::UnitUnusable { unit, message }
            | CallError::JobFailed { unit, message }
            | CallError::NotSupported { unit, message }
            | CallError::BadSetting { unit, message } => json!({ "unit": unit, "message": message }),
            CallError::NotExecuted { unit, status, message } => {
                json!({ "unit": unit, "status": status, "message": message })
            }
            CallError::PermissionDenied { message }
            | CallError::UpgradeRefused { message }
            | CallError::Internal { message } => json!({ "message": message }),
        }
    }

    /// The error of that name; `None` for a name that this version does not know.
    pub fn decode(name: &str, parameters: &Map<String, Value>) -> Option<CallError> {
        let text = |key: &str| parameters.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (unit, message) = (text("unit"), text("message"));
        Some(match name {
            "UnitNotFound" => CallError::UnitNotFound { unit },
            "UnitUnusable" => CallError::UnitUnusable { unit, message },
            "JobFailed" => CallError::JobFailed { unit, message },
            "JobCancelled" => CallError::JobCancelled { unit },
            "NotRunning" => CallError::NotRunning { unit },
            "NotSupported" => CallError::NotSupported { unit, message },
            "BadSetting" => CallError::BadSetting { unit, message },
            "PermissionDenied" => CallError::PermissionDenied { message },
            "UpgradeRefused" => CallError::UpgradeRefused { message },
            "NotExecuted" => {
                let status =
                    parameters.get("status").and_then(Value::as_u64).and_then(|status| u8::try_from(status).ok());
                CallError::NotExecuted { unit, status: status.unwrap_or(125), message }
            }
            "Internal" => CallError::Internal { message },
            _ => return None,
        })
    }
}

/// The words for people; a message of the daemon stands as it is.
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::UnitNotFound { unit } => write!(f, "{unit}: no such unit"),
            CallError::UnitUnusable { message, .. } => f.write_str(message),
            CallError::JobFailed { message, .. } => f.write_str(message),
            CallError::JobCancelled { unit } => write!(f, "{unit}: cancelled, another request overtook it"),
            CallError::NotRunning { unit } => write!(f, "{unit}: not running"),
            CallError::NotSupported { unit, message } if message.is_empty() => {
                write!(f, "{unit}: not supported by the unit")
            }
            CallError::NotSupported { message, .. }
            | CallError::BadSetting { message, .. }
            | CallError::NotExecuted { message, .. } => f.write_str(message),
            CallError::PermissionDenied { message } => write!(f, "permission denied: {message}"),
            CallError::UpgradeRefused { message } | CallError::Internal { message } => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_its_own_encoding_and_has_a_documented_exit_code() {
        let (unit, message) = ("web".to_owned(), "why".to_owned());
        let errors = [
            (CallError::UnitNotFound { unit: unit.clone() }, 5),
            (CallError::UnitUnusable { unit: unit.clone(), message: message.clone() }, 6),
            (CallError::JobFailed { unit: unit.clone(), message: message.clone() }, 1),
            (CallError::JobCancelled { unit: unit.clone() }, 1),
            (CallError::NotRunning { unit: unit.clone() }, 7),
            (CallError::NotSupported { unit: unit.clone(), message: message.clone() }, 7),
            (CallError::BadSetting { unit: unit.clone(), message: message.clone() }, 2),
            (CallError::NotExecuted { unit, status: 127, message: message.clone() }, 127),
            (CallError::PermissionDenied { message: message.clone() }, 4),
            (CallError::UpgradeRefused { message: message.clone() }, 1),
            (CallError::Internal { message }, 1),
        ];
        for (error, code) in errors {
            let Value::Object(parameters) = error.parameters() else { panic!("an object") };
            assert_eq!(CallError::decode(error.name(), &parameters), Some(error.clone()));
            assert_eq!(error.exit_code(), code);
        }
        assert_eq!(CallError::decode("Other", &Map::new()), None);
    }

    #[test]
    fn answers_survive_their_own_encoding() {
        let status = UnitStatus { name: "web".into(), state: "active".into(), ..UnitStatus::default() };
        let answers = [
            (Verb::Start, Answer::Done),
            (Verb::Restart, Answer::Skipped("why".into())),
            (Verb::Status, Answer::Status(Box::new(status.clone()))),
            (Verb::List, Answer::Units(vec![status])),
            (Verb::Plan, Answer::Plan(vec!["line".into()])),
            (Verb::Configuration, Answer::Configuration(vec![ConfiguredValue::default()])),
            (Verb::Describe, Answer::Description(Box::new(Description { pid: 5, ..Description::default() }))),
            (Verb::ReloadConfig, Answer::Changes(vec![UnitChange { running: true, ..UnitChange::default() }], 7)),
            (Verb::Upgrade, Answer::Upgraded { from: "1".into(), version: "2".into(), build: "3".into() }),
            (Verb::Set, Answer::Done),
            (Verb::Set, Answer::Kept { file: "/x".into(), later: vec!["service.umask".into()] }),
            (Verb::Events, Answer::Event(Box::new(UnitEvent { lost: Some(5), ..UnitEvent::default() }))),
        ];
        for (verb, answer) in answers {
            let Value::Object(parameters) = answer.parameters() else { panic!("an object") };
            assert_eq!(Answer::decode(verb, parameters).unwrap(), answer);
        }
    }
}
