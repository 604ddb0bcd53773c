//! One key of a unit's configuration in force, as `Configuration` answers it.

use crate::unit::{EffectiveValue, ValueOrigin};
use serde::{Deserialize, Serialize};

/// A key with its value and the line that had the last word about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredValue {
    /// Dotted key.
    pub key: String,
    /// TOML.
    pub value: String,
    /// The file or drop-in; `None`: the profile's or the built-in value.
    pub file: Option<String>,
    /// Line in it, from 1.
    pub line: Option<u32>,
}

impl From<EffectiveValue> for ConfiguredValue {
    fn from(value: EffectiveValue) -> ConfiguredValue {
        let EffectiveValue { key, value, origin, mut changes } = value;
        let written = match origin {
            ValueOrigin::File(place) => Some(place),
            ValueOrigin::Profile(_) | ValueOrigin::Default => None,
        };
        let (file, line) = changes.pop().or(written).map(|place| (place.file, place.line)).unzip();
        ConfiguredValue { key, value, file, line }
    }
}
