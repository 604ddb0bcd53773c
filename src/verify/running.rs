//! The unit that runs, from the configuration that the daemon tells: only what files say, as profile and defaults follow
//! from it.

use crate::unit::Unit;
use std::fmt::Write as _;

/// Makes a unit of keys and values (TOML) that were written, and of the profile in force.
///
/// # Errors
/// Why that is none, which an rsvc of another version may be the reason for.
pub fn unit_of<'v>(name: &str, values: impl IntoIterator<Item = (&'v str, &'v str)>) -> Result<Unit, String> {
    let mut text = String::new();
    let mut tables = String::new();
    let mut entry = String::new();
    // Of secrets only the length is told.
    let values = values.into_iter().filter(|(key, _)| !key.starts_with("credentials."));
    for (key, value) in values {
        // `mounts[0].source`
        match key.split_once("].") {
            None => {
                let _ = writeln!(text, "{key} = {value}");
            }
            Some((which, rest)) => {
                if entry != which {
                    let table = which.split('[').next().unwrap_or_default();
                    let _ = writeln!(tables, "[[{table}]]");
                    which.clone_into(&mut entry);
                }
                let _ = writeln!(tables, "{rest} = {value}");
            }
        }
    }
    let parsed = Unit::parse(name, "the unit that runs", &(text + &tables));
    parsed
        .map(|(unit, _)| unit)
        .map_err(|problems| problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))
}
