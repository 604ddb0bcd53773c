//! `rsvc scale`: how many replicas of a set are to be up, asked and said.

use super::args::Waiting;
use super::client::Client;
use super::terminal::harmless;
use super::{Failure, Session};
use crate::control::{Call, CallError, ReplicaSet};
use crate::unit::MOST_REPLICAS;
use serde_json::json;

/// `scale`: sets what has a number, shows what has none.
pub fn scale(session: &mut Session<'_>, words: &[String], waiting: Waiting) -> Result<u8, Failure> {
    let mut calls = Vec::new();
    let mut shown = Vec::new();
    for word in words {
        match parse(word).map_err(|text| Failure::new(2, text))? {
            (unit, Some(number)) if calls.iter().any(|call: &Call| call.unit() == Some(unit)) => {
                let text = format!("{}={number}: the set is named twice", harmless(unit));
                return Err(Failure::new(2, text));
            }
            (unit, Some(number)) => calls.push(Call::Scale { unit: unit.to_owned(), number }),
            (unit, None) => shown.push(unit.to_owned()),
        }
    }
    let past = if waiting.no_wait { "accepted" } else { "scaled" };
    let mut code = super::operate::perform(session, calls, past, waiting)?;
    for unit in shown {
        let result = show(session, &unit)?;
        code = if code == 0 { result } else { code };
    }
    Ok(code)
}

/// `web=5`, or only `web`.
fn parse(word: &str) -> Result<(&str, Option<u32>), String> {
    let (unit, number) = match word.split_once('=') {
        Some((unit, number)) => (unit, Some(number)),
        None => (word, None),
    };
    let unit = unit.strip_suffix(".toml").unwrap_or(unit);
    if !crate::control::is_unit_name(unit) {
        return Err(format!("`{}`: write the name of a set and a number, such as web=5", harmless(word)));
    }
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = match number {
        None => None,
        Some(text) => {
            let number = Some(text).filter(digits).and_then(|text| text.parse().ok());
            Some(number.filter(|number| *number <= MOST_REPLICAS).ok_or_else(|| {
                format!("`{}`: a set has 0 to {MOST_REPLICAS} replicas, such as {}=5", harmless(word), harmless(unit))
            })?)
        }
    };
    Ok((unit, number))
}

fn show(session: &mut Session<'_>, unit: &str) -> Result<u8, Failure> {
    let status = Client::connect(&session.instance.socket())?.status(unit)?;
    let status = match status {
        Ok(status) => status,
        Err(CallError::UnitNotFound { .. }) => {
            return Err(Failure::new(5, format!("{}: no such unit", harmless(unit))));
        }
        Err(error) => return Err(Failure::from(error)),
    };
    let Some(set) = status.replicas else {
        let text = format!(
            "{}: one unit and no set: only a template with `unit.replicas` has replicas, by its name without @",
            harmless(unit)
        );
        return Err(Failure::new(7, text));
    };
    if session.json() {
        session.object(&json!({
            "v": 1, "name": status.name, "state": status.state, "number": set.number, "scaled": set.scaled,
            "ready": set.ready,
        }))?;
    } else {
        writeln!(session.out, "{}: {}", harmless(&status.name), words(&set))?;
    }
    Ok(0)
}

/// `3 of 5 ready, scaled; rolling restart at web@2`
pub(super) fn words(set: &ReplicaSet) -> String {
    let scaled = if set.scaled { ", scaled" } else { "" };
    let rolling = set.rolling.as_deref().map(|name| format!("; rolling restart at {}", harmless(name)));
    format!("{} of {} ready{scaled}{}", set.ready, set.number, rolling.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_have_an_end() {
        let good = [("web=5", 5), ("web=0", 0), ("web=1000", 1000), ("web.toml=2", 2)];
        for (word, number) in good {
            assert_eq!(parse(word), Ok(("web", Some(number))), "{word}");
        }
        assert_eq!(parse("web"), Ok(("web", None)));
        for word in
            ["web=-1", "web=abc", "web=100000", "web=1001", "web=", "web=+5", "web=5.0", "web=99999999999999999999"]
        {
            let said = parse(word).expect_err(word);
            assert!(said.contains(word) && said.contains("0 to 1000"), "{said}");
        }
        for word in ["=5", "", "../web=5", "-x=1"] {
            assert!(parse(word).is_err_and(|said| said.contains("web=5")), "{word}");
        }
    }

    #[test]
    fn the_words_say_what_is_and_what_is_to_be() {
        let mut set = ReplicaSet { number: 5, ready: 3, ..ReplicaSet::default() };
        assert_eq!(words(&set), "3 of 5 ready");
        set.scaled = true;
        set.rolling = Some("web@2".into());
        assert_eq!(words(&set), "3 of 5 ready, scaled; rolling restart at web@2");
    }
}
