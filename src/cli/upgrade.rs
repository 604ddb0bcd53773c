//! `daemon upgrade`, and `restart --outdated` for what an upgrade leaves as it was.

use super::args::Waiting;
use super::client::{Client, UNREACHABLE};
use super::operate::{self, Verb};
use super::terminal::harmless;
use super::{Failure, Session};
use crate::control::{Answer, Call, Description, UnitStatus};
use serde_json::json;
use std::path::Path;

/// `daemon upgrade`
pub fn upgrade(session: &mut Session<'_>, program: Option<&Path>) -> Result<u8, Failure> {
    let program = program.map(absolute).transpose()?;
    let mut client = Client::connect(&session.instance.socket())?;
    let before = client.describe()?;
    if before.build.is_empty() {
        let version = harmless(&before.version);
        return Err(Failure::new(
            1,
            format!(
                "the running daemon, rsvc {version}, is from before upgrades in place: end it and start the new one; \
                 services go on running meanwhile"
            ),
        ));
    }
    let (from, version) = match client.call(&Call::Upgrade { program: program.clone() }) {
        Ok(answered) => upgraded(answered?)?,
        // The new program answers on the same connection, so it got lost with somebody who held it.
        Err(failure) if failure.code() == UNREACHABLE => said_by_who_is_there(session, &before, program)?,
        Err(failure) => return Err(failure),
    };
    let after = Client::connect(&session.instance.socket())?.describe()?;
    if session.json() {
        let pid = after.pid;
        let outdated = after.outdated;
        session.object(&json!({
            "v": 1, "done": "upgraded", "from": from, "version": version, "build": after.build, "pid": pid,
            "outdated": outdated,
        }))?;
    } else if session.look.is_terminal() {
        let (from, version) = (harmless(&from), harmless(&version));
        writeln!(session.out, "{} upgraded from rsvc {from} to {version}", session.look.dot("active"))?;
        if after.outdated > 0 {
            session.say(&format!("{} units run on another rsvc: rsvc restart --outdated", after.outdated));
        }
    }
    Ok(0)
}

/// The daemon looks for the file from its own directory, not from ours.
fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::new(2, format!("--program: {error}")))?;
    let text = absolute.to_str().ok_or_else(|| Failure::new(2, "--program: the path is not UTF-8"))?;
    Ok(text.to_owned())
}

fn upgraded(answer: Answer) -> Result<(String, String), Failure> {
    match answer {
        Answer::Upgraded { from, version, .. } => Ok((from, version)),
        _ => Err(Failure::new(1, "the supervisor answered another question")),
    }
}

/// The versions before and now, after the connection was lost. Who is there is asked once more where it does not say that
/// it was upgraded: a daemon that came after the one that died, one that refused, or one that took over without knowing
/// what the former program knew.
fn said_by_who_is_there(
    session: &Session<'_>,
    before: &Description,
    program: Option<String>,
) -> Result<(String, String), Failure> {
    let mut client = Client::connect(&session.instance.socket())?;
    let there = client.describe()?;
    if there.pid == before.pid && there.upgrades > before.upgrades {
        return Ok((before.version.clone(), there.version));
    }
    upgraded(client.call(&Call::Upgrade { program })??)
}

/// `restart --outdated`
pub fn restart_outdated(session: &mut Session<'_>, waiting: Waiting) -> Result<u8, Failure> {
    let units = Client::connect(&session.instance.socket())?.list()?;
    let names = outdated(&units);
    if names.is_empty() {
        session.say("every unit that runs was started by the rsvc that runs now");
        return Ok(0);
    }
    operate::jobs(session, Verb::Restart, &names, waiting)
}

/// The units that a restart would bring another rsvc. For replicas their set, which restarts them one after the other:
/// never are all of them away.
fn outdated(units: &[UnitStatus]) -> Vec<String> {
    let is_set = |name: &str| units.iter().any(|unit| unit.name == name && unit.replicas.is_some());
    let mut names: Vec<String> = Vec::new();
    for unit in units.iter().filter(|unit| unit.runs_on.as_ref().is_some_and(|runs_on| runs_on.outdated)) {
        let set = unit.name.rsplit_once('@').map(|(set, _)| set).filter(|set| is_set(set));
        let name = set.unwrap_or(&unit.name);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ReplicaSet, RunsOn};

    #[test]
    fn exactly_the_outdated_are_restarted_and_replicas_by_their_set() {
        let unit = |name: &str, outdated| UnitStatus {
            name: name.into(),
            runs_on: Some(RunsOn { outdated, ..RunsOn::default() }),
            ..UnitStatus::default()
        };
        let set = UnitStatus { name: "web".into(), replicas: Some(ReplicaSet::default()), ..UnitStatus::default() };
        let down = UnitStatus { name: "down".into(), ..UnitStatus::default() };
        let units =
            [unit("a", true), unit("b", false), down, unit("t@x", true), set, unit("web@1", true), unit("web@2", true)];
        assert_eq!(outdated(&units), ["a", "t@x", "web"]);
    }
}
