//! `rsvc verify`: tries from inside whether what a unit promises is closed, and says so door by door.
//!
//! The probe is this executable, passed as a sealed memfd and run like a command of `rsvc exec`. What it found is judged
//! here, by the configuration that the daemon tells of the unit that runs: nothing of the container has a say in that.

use super::client::Client;
use super::terminal::{Color, harmless};
use super::{Failure, Session};
use crate::control::{Answer, Call, ConfiguredValue};
use crate::score::Posture;
use crate::unit::Unit;
use crate::verify::{self, Finding, Found, Side, Verdict};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// rsvc itself failed, as for `exec`.
const FAILED: u8 = 125;

/// `verify`: 0, or 1 when a door is open that the unit promises to be closed.
pub fn verify(session: &mut Session<'_>, unit: &str) -> Result<u8, Failure> {
    let name = unit.strip_suffix(".toml").unwrap_or(unit).to_owned();
    let mut client = Client::connect(&session.instance.socket())?;
    let degraded = degraded(&mut client, &name)?;
    let unit = running(&mut client, &name)?;
    let listener = abstract_listener();
    let given = listener.as_ref().map_or_else(String::new, |(name, _)| name.clone());
    let told = probe(&mut client, &name, &given)?;
    drop(listener);
    let side = Side { unit: &unit, posture: Posture::of(&unit), degraded, host: host() };
    let mut found: BTreeMap<&str, Found> = told.lines().filter_map(Found::parse).collect();
    let findings: Vec<Finding> =
        verify::all().map(|probe| verify::judge(probe, found.remove(probe.id), &side)).collect();
    if findings.iter().all(|finding| finding.verdict == Verdict::Skipped) {
        let text =
            format!("{}: the probe could do nothing in the container; it said: {}", harmless(&name), harmless(&told));
        return Err(Failure::new(FAILED, text));
    }
    report(session, &name, &findings)?;
    Ok(u8::from(findings.iter().any(Finding::is_broken)))
}

/// Keys that could not be applied.
fn degraded(client: &mut Client, name: &str) -> Result<BTreeSet<String>, Failure> {
    match client.call(&Call::Status { unit: name.to_owned() })?.map_err(Failure::from)? {
        Answer::Status(status) => {
            let keys = status.degraded.iter().filter_map(|line| line.split_once(':'));
            Ok(keys.map(|(key, _)| key.to_owned()).collect())
        }
        _ => Err(another_question()),
    }
}

/// The unit as it runs.
fn running(client: &mut Client, name: &str) -> Result<Unit, Failure> {
    let values = match client.call(&Call::Configuration { unit: name.to_owned() })?.map_err(Failure::from)? {
        Answer::Configuration(values) => values,
        _ => return Err(another_question()),
    };
    // The rest follows from these.
    let counts = |value: &&ConfiguredValue| value.file.is_some() || value.key == "security.profile";
    let written = values.iter().filter(counts).map(|value| (value.key.as_str(), value.value.as_str()));
    verify::unit_of(name, written).map_err(|why| {
        let text = format!("{}: what it runs with cannot be read by this version of rsvc: {why}", harmless(name));
        Failure::new(1, text)
    })
}

fn another_question() -> Failure {
    Failure::new(1, "the supervisor answered another question")
}

/// Listens where only who shares the host's network can get to.
fn abstract_listener() -> Option<(String, UnixListener)> {
    let name = format!("rsvc-verify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).ok()?;
    Some((name, UnixListener::bind_addr(&address).ok()?))
}

/// What the host has of what a unit may have of its own.
#[allow(clippy::disallowed_methods, reason = "the host's side of the comparison")]
fn host() -> BTreeMap<String, String> {
    use std::os::unix::fs::MetadataExt;
    let mut host = BTreeMap::new();
    for kind in ["mnt", "pid", "ipc", "uts", "cgroup", "net", "user"] {
        if let Ok(link) = std::fs::read_link(format!("/proc/self/ns/{kind}")) {
            host.insert(kind.to_owned(), link.display().to_string());
        }
    }
    for (name, path) in [("tmp", "/tmp"), ("root", "/")] {
        if let Ok(found) = std::fs::metadata(path) {
            host.insert(name.to_owned(), format!("{}:{}", found.dev(), found.ino()));
        }
    }
    host
}

/// Runs the probe in the container, to its end; what it said.
fn probe(client: &mut Client, name: &str, given: &str) -> Result<String, Failure> {
    let failed = |what: &'static str| move |error: std::io::Error| Failure::new(FAILED, format!("{what}: {error}"));
    let io = |error: rustix::io::Errno| std::io::Error::from(error);
    let image = verify::image().map_err(failed("no image of the probe can be made"))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let null = null.map_err(io).map_err(failed("/dev/null"))?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(io).map_err(failed("pipe"))?;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (end, caller) = pair.map_err(io).map_err(failed("socketpair"))?;
    let command = vec![verify::PROBE_NAME.to_owned(), given.to_owned()];
    let call = Call::Exec { unit: name.to_owned(), command, terminal: None, user: None, image: true };
    let descriptors = [null.as_fd(), writer.as_fd(), writer.as_fd(), caller.as_fd(), image.as_fd()];
    client.send_once_with(&call, &descriptors)?;
    // Else the end of what it writes would never come.
    drop((writer, caller, image));
    client.answer(None)?.map_err(Failure::from)?;
    let mut told = String::new();
    std::fs::File::from(reader).read_to_string(&mut told).map_err(failed("what the probe says"))?;
    wait(&end);
    Ok(told)
}

/// Until the probe is gone: what it made is gone then.
fn wait(end: &OwnedFd) {
    while let Err(rustix::io::Errno::INTR) = recv(end, &mut [0; 2][..], RecvFlags::empty()) {}
}

fn report(session: &mut Session<'_>, name: &str, findings: &[Finding]) -> Result<(), Failure> {
    if session.json() {
        for finding in findings {
            session.object(&object(name, finding))?;
        }
        return Ok(());
    }
    let width = |of: &dyn Fn(&Finding) -> usize| findings.iter().map(of).max().unwrap_or(0);
    let (ids, whats) = (width(&|f| f.id.len()), width(&|f| found(f).chars().count()));
    let mut text = String::new();
    for finding in findings {
        let line = format!(
            "{:<7}  {:<ids$}  {:<whats$}  {}: {}",
            finding.verdict.word(),
            finding.id,
            found(finding),
            promise(finding),
            finding.about,
        );
        let color = match finding.verdict {
            Verdict::Open if finding.is_broken() => Some(Color::Red),
            Verdict::Open => Some(Color::Yellow),
            Verdict::Closed | Verdict::Skipped => None,
        };
        text += &color.map_or_else(|| line.clone(), |color| session.look.paint(color, &line));
        text.push('\n');
    }
    text += &summary(name, findings);
    Ok(super::terminal::page(&text, session.look, session.no_pager, session.out)?)
}

fn found(finding: &Finding) -> String {
    harmless(&finding.found.to_string())
}

/// Who promises it.
fn promise(finding: &Finding) -> String {
    match (finding.keys.as_slice(), finding.degraded.as_slice()) {
        ([], []) => "not promised".to_owned(),
        ([], degraded) => format!("not promised, degraded: {}", degraded.join(", ")),
        (keys, _) => format!("promised by {}", keys.join(", ")),
    }
}

fn summary(name: &str, findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let broken = findings.iter().filter(|finding| finding.is_broken()).count();
    format!(
        "{}: {} doors: {} closed, {} open and not promised, {} skipped, {broken} open although promised\n",
        harmless(name),
        findings.len(),
        count(Verdict::Closed),
        count(Verdict::Open) - broken,
        count(Verdict::Skipped),
    )
}

fn object(name: &str, finding: &Finding) -> serde_json::Value {
    json!({
        "v": 1,
        "unit": name,
        "id": finding.id,
        "about": finding.about,
        "promised_by": finding.keys,
        "degraded": finding.degraded,
        "verdict": finding.verdict.word(),
        "found": finding.found.to_string(),
        "broken": finding.is_broken(),
    })
}
