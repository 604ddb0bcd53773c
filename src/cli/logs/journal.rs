//! The output of units in systemd's journal, by way of journalctl(1): it knows the format, the rights and the boots.

use super::super::args::Format;
use super::super::terminal::variable;
use super::super::{Failure, Session, time};
use super::filter::Filter;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

/// Is there a journal, and somebody who can read it?
pub fn is_there() -> bool {
    let journal = ["/run/systemd/journal", "/run/log/journal", "/var/log/journal"];
    let path = variable("PATH").unwrap_or_else(|| "/usr/bin:/bin".to_owned());
    journal.iter().any(|directory| Path::new(directory).exists())
        && std::env::split_paths(&path).any(|directory| directory.join("journalctl").exists())
}

fn arguments(identifiers: &[String], lines: Option<u32>, follow: bool, filter: &Filter) -> Vec<String> {
    let mut arguments: Vec<String> =
        identifiers.iter().map(|identifier| format!("--identifier={identifier}")).collect();
    if let Some(lines) = lines {
        arguments.push(format!("--lines={lines}"));
    }
    if follow {
        arguments.push("--follow".to_owned());
    }
    for (name, time) in [("since", filter.since), ("until", filter.until)] {
        if let Some(time) = time {
            let time = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            arguments.push(format!("--{name}=@{}.{:06}", time.as_secs(), time.subsec_micros()));
        }
    }
    if let Some(text) = &filter.grep {
        // A text is looked for here, not a pattern.
        let literal =
            |c: char| if c.is_ascii_alphanumeric() || !c.is_ascii() { c.to_string() } else { format!("\\{c}") };
        arguments.push(format!("--grep={}", text.chars().map(literal).collect::<String>()));
        arguments.push(format!("--case-sensitive={}", filter.minds_case()));
    }
    arguments.extend(filter.priority.map(|priority| format!("--priority={priority}")));
    arguments
}

/// Becomes journalctl, which pages and follows by itself; JSON is translated to the form of the file logs.
pub fn show(
    session: &mut Session<'_>,
    identifiers: &[String],
    lines: Option<u32>,
    follow: bool,
    filter: &Filter,
) -> Result<u8, Failure> {
    let mut command = Command::new("journalctl");
    command.args(arguments(identifiers, lines, follow, filter));
    let missing = |error: std::io::Error| Failure::new(1, format!("cannot run journalctl: {error}"));
    if !session.json() {
        if session.format == Format::Cat {
            command.arg("--output=cat");
        }
        if session.no_pager {
            command.arg("--no-pager");
        }
        return Err(missing(command.exec()));
    }
    let mut child = command.args(["--output=json", "--quiet"]).stdout(Stdio::piped()).spawn().map_err(missing)?;
    let mut written = Ok(());
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let object = line.ok().and_then(|line| serde_json::from_slice::<Value>(&line).ok());
            written = match object {
                Some(entry) => session.object(&translate(&entry)),
                None => break,
            };
            if follow && written.is_ok() {
                written = session.out.flush().map_err(Failure::from);
            }
            if written.is_err() {
                break;
            }
        }
    }
    // A follower without a reader would stay for ever.
    let _ = child.kill();
    let status = child.wait().map_err(missing)?;
    written?;
    Ok(if status.code().is_none_or(|code| code == 0) { 0 } else { 1 })
}

/// An entry of the journal as an object of ours.
fn translate(entry: &Value) -> Value {
    let usec = entry["__REALTIME_TIMESTAMP"].as_str().and_then(|text| text.parse::<u64>().ok());
    let message = match &entry["MESSAGE"] {
        Value::String(text) => text.clone(),
        // Bytes that are no text come as numbers.
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|b| u8::try_from(b.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => String::new(),
    };
    json!({
        "v": 1,
        "name": entry["SYSLOG_IDENTIFIER"],
        "time": usec.map(|usec| time::print(UNIX_EPOCH + Duration::from_micros(usec))),
        "message": message,
    })
}

/// Has journald store what it was given; one that does not answer is not waited for.
pub fn synchronize() {
    const PAUSE: Duration = Duration::from_millis(5);
    const TIMES: u32 = 400;
    let mut command = Command::new("journalctl");
    command.arg("--sync").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return };
    for _ in 0..TIMES {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(PAUSE),
            _ => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The last lines as journalctl prints them; none when it cannot.
pub fn last_lines(identifier: &str, count: u32, filter: &Filter) -> Vec<String> {
    if !is_there() {
        return Vec::new();
    }
    let mut command = Command::new("journalctl");
    command.args(arguments(&[identifier.to_owned()], Some(count), false, filter)).args(["--quiet", "--no-pager"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let Ok(output) = output.map(|output| output.stdout) else { return Vec::new() };
    String::from_utf8_lossy(&output).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journalctl_is_asked_for_the_identifiers() {
        let since = UNIX_EPOCH + Duration::from_micros(1_795_298_400_000_005);
        let filter = Filter { since: Some(since), ..Filter::default() };
        let got = arguments(&["web".into(), "-x".into()], Some(5), true, &filter);
        let expected = ["--identifier=web", "--identifier=-x", "--lines=5", "--follow", "--since=@1795298400.000005"];
        assert_eq!(got, expected);
        let filter =
            Filter { until: Some(since), grep: Some("a.b \u{e4}B".into()), priority: Some(3), ..Filter::default() };
        let got = arguments(&["web".into()], None, false, &filter);
        let expected = [
            "--identifier=web",
            "--until=@1795298400.000005",
            "--grep=a\\.b\\ \u{e4}B",
            "--case-sensitive=true",
            "--priority=3",
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn entries_become_objects_of_the_same_form_as_from_files() {
        let entry =
            json!({ "__REALTIME_TIMESTAMP": "1795298400000001", "SYSLOG_IDENTIFIER": "web", "MESSAGE": "hello" });
        let expected = json!({ "v": 1, "name": "web", "time": "2026-11-21T22:00:00.000001Z", "message": "hello" });
        assert_eq!(translate(&entry), expected);
        assert_eq!(translate(&json!({ "MESSAGE": [104, 105, 255] }))["message"], "hi\u{fffd}");
        assert_eq!(translate(&json!({}))["time"], Value::Null);
    }
}
