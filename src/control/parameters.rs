//! Parameters of a call, taken one by one: each is of its type and in its range, and none may be left.

use super::RequestKey;
use super::call::Terminal;
use super::varlink::ServiceError;
use crate::unit::MOST_REPLICAS;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest name of a unit, in bytes: a file `NAME.toml` has to fit into a directory entry.
const NAME_LIMIT: usize = 250;

/// Parameters that were not taken yet.
pub(super) struct Parameters(pub(super) Map<String, Value>);

impl Parameters {
    /// Takes one; `null` is as good as absent (Varlink: a nullable field).
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn unit(&mut self) -> Result<String, ServiceError> {
        self.optional_unit()?.ok_or_else(|| invalid("unit"))
    }

    /// A name that could be a unit's: what it says is the daemon's to judge, but no path and nothing that a
    /// terminal or a log would act upon gets that far.
    pub(super) fn optional_unit(&mut self) -> Result<Option<String>, ServiceError> {
        match self.take("unit") {
            None => Ok(None),
            Some(Value::String(name)) if is_unit_name(&name) => Ok(Some(name)),
            Some(_) => Err(invalid("unit")),
        }
    }

    /// Names of units; none when not given.
    pub(super) fn units(&mut self) -> Result<Vec<String>, ServiceError> {
        match self.take("units") {
            None => Ok(Vec::new()),
            Some(Value::Array(names)) => names
                .into_iter()
                .map(|name| match name {
                    Value::String(name) if is_unit_name(&name) => Ok(name),
                    _ => Err(invalid("units")),
                })
                .collect(),
            Some(_) => Err(invalid("units")),
        }
    }

    /// Text by key; at least one.
    pub(super) fn values(&mut self) -> Result<BTreeMap<String, String>, ServiceError> {
        let Some(Value::Object(values)) = self.take("values") else { return Err(invalid("values")) };
        let values: Option<BTreeMap<String, String>> =
            values.into_iter().map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect();
        values.filter(|values| !values.is_empty()).ok_or_else(|| invalid("values"))
    }

    pub(super) fn request(&mut self) -> Result<Option<RequestKey>, ServiceError> {
        match self.take("request") {
            None => Ok(None),
            Some(value) => match value.as_str().map(str::parse) {
                Some(Ok(key)) => Ok(Some(key)),
                _ => Err(invalid("request")),
            },
        }
    }

    /// Words of a command; the first is not empty.
    pub(super) fn command(&mut self) -> Result<Vec<String>, ServiceError> {
        let Some(Value::Array(words)) = self.take("command") else { return Err(invalid("command")) };
        let words: Option<Vec<String>> = words
            .into_iter()
            .map(|word| match word {
                Value::String(word) if !word.contains('\0') => Some(word),
                _ => None,
            })
            .collect();
        words.filter(|words| words.first().is_some_and(|program| !program.is_empty())).ok_or_else(|| invalid("command"))
    }

    /// A kind of terminal (term(7)).
    pub(super) fn terminal(&mut self) -> Result<Option<Terminal>, ServiceError> {
        let kind = match self.take("terminal") {
            None => return Ok(None),
            Some(Value::String(kind)) if kind.len() <= 100 && kind.chars().all(|c| c.is_ascii_graphic()) => kind,
            Some(_) => return Err(invalid("terminal")),
        };
        let mut number = |name: &str| match self.take(name) {
            None => Ok(0),
            Some(value) => value.as_u64().and_then(|n| u16::try_from(n).ok()).ok_or_else(|| invalid(name)),
        };
        Ok(Some(Terminal { kind, rows: number("rows")?, columns: number("columns")? }))
    }

    /// Name or number of a user.
    pub(super) fn user(&mut self) -> Result<Option<String>, ServiceError> {
        match self.take("user") {
            None => Ok(None),
            Some(Value::String(user)) if crate::unit::value::account(&user).is_ok() => Ok(Some(user)),
            Some(_) => Err(invalid("user")),
        }
    }

    /// An absolute path.
    pub(super) fn program(&mut self) -> Result<Option<String>, ServiceError> {
        match self.take("program") {
            None => Ok(None),
            Some(Value::String(path)) if path.starts_with('/') && !path.contains('\0') => Ok(Some(path)),
            Some(_) => Err(invalid("program")),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, ServiceError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(invalid(name)),
        }
    }

    /// Signal number, 1 to 64; SIGTERM when not given.
    pub(super) fn signal(&mut self) -> Result<i32, ServiceError> {
        match self.take("signal") {
            None => Ok(15),
            Some(value) => match value.as_i64().and_then(|n| i32::try_from(n).ok()) {
                Some(number @ 1..=64) => Ok(number),
                _ => Err(invalid("signal")),
            },
        }
    }

    /// How many replicas, 0 to [`MOST_REPLICAS`].
    pub(super) fn replicas(&mut self) -> Result<u32, ServiceError> {
        let number = self.take("number").as_ref().and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        number.filter(|number| *number <= MOST_REPLICAS).ok_or_else(|| invalid("number"))
    }

    /// Nothing may be left: a misspelt parameter must not be silently without effect.
    pub(super) fn finish(self) -> Result<(), ServiceError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(&name)),
        }
    }
}

pub(super) fn invalid(parameter: &str) -> ServiceError {
    ServiceError::InvalidParameter { parameter: parameter.to_owned() }
}

/// Could `name` be the name of a unit? Not empty, no path, no leading dot or dash, nothing unprintable.
pub fn is_unit_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_LIMIT
        && !name.starts_with(['.', '-'])
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}
