//! The daemon's own events: `tracing` in front, the journal or standard error behind.
//!
//! The daemon writes to the journal through [`JournalClient`], which never blocks; `rsvc run` writes to the terminal
//! and, where there is a journal, through `tracing-journald`, whose socket blocks and which a short-lived foreground
//! process may use. Fields of an event become `RSVC_` fields: `unit = "web"` is stored as `RSVC_UNIT=web`,
//! `invocation_id` as `RSVC_INVOCATION_ID`. Spans are not used here and not stored.

use super::journal::{JournalClient, Record};
use super::timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// SYSLOG_IDENTIFIER of the daemon.
pub const IDENTIFIER: &str = "rsvcd";

/// The client, shared between the layer and the event loop, which flushes it. One thread uses both; the lock only
/// satisfies `tracing`, which asks for types that could be shared.
pub type SharedJournal = Arc<Mutex<JournalClient>>;

/// Sets up the daemon's log: the journal when it is there, else standard error; standard error as well when that is a
/// terminal. Answers the client whose queue the event loop must flush.
///
/// # Errors
/// A filter that cannot be read, or logging that has been set up before, in words.
pub fn set_up_daemon(filter: &str, journal: &Path) -> Result<Option<SharedJournal>, String> {
    let filter = parse_filter(filter)?;
    let client = JournalClient::new(journal, IDENTIFIER);
    let client = client.is_connected().then(|| Arc::new(Mutex::new(client)));
    let terminal = io::stderr().is_terminal();
    let human = (client.is_none() || terminal).then(|| {
        let format = HumanFormat { name: IDENTIFIER, time: !terminal };
        tracing_subscriber::fmt::layer().event_format(format).with_ansi(false).with_writer(PatientStderr)
    });
    let layers = tracing_subscriber::registry().with(client.clone().map(JournalLayer::new)).with(human).with(filter);
    tracing::subscriber::set_global_default(layers).map_err(|e| e.to_string())?;
    Ok(client)
}

/// Sets up the log of a foreground process: standard error, and the journal when it is there.
///
/// # Errors
/// A filter that cannot be read, or logging that has been set up before, in words.
pub fn set_up_foreground(filter: &str) -> Result<(), String> {
    let filter = parse_filter(filter)?;
    let journal = tracing_journald::layer().ok().map(|layer| {
        let priorities = tracing_journald::PriorityMappings {
            info: tracing_journald::Priority::Informational,
            debug: tracing_journald::Priority::Debug,
            ..tracing_journald::PriorityMappings::new()
        };
        layer
            .with_field_prefix(Some("RSVC".into()))
            .with_priority_mappings(priorities)
            .with_syslog_identifier("rsvc".into())
    });
    let format = HumanFormat { name: "rsvc", time: false };
    let human = tracing_subscriber::fmt::layer().event_format(format).with_ansi(false).with_writer(io::stderr);
    let layers = tracing_subscriber::registry().with(journal).with(human).with(filter);
    tracing::subscriber::set_global_default(layers).map_err(|e| e.to_string())
}

/// Reads `info`, or `rsvc::daemon=debug,warn`: words for the level, with or without a module in front.
///
/// # Errors
/// In words. `tracing` itself would take a misspelt level for the name of a module.
pub fn parse_filter(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new();
    for directive in text.split(',').map(str::trim) {
        let (module, word) = directive.split_once('=').map_or((None, directive), |(m, w)| (Some(m.trim()), w.trim()));
        let level: LevelFilter = match word {
            "off" | "error" | "warn" | "info" | "debug" | "trace" => word.parse().map_err(|_| word.to_owned())?,
            _ => return Err(format!("`{word}` is not a log level: off, error, warn, info, debug or trace")),
        };
        targets = match module {
            Some(module) => targets.with_target(module, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

/// Writes events as journal records.
#[derive(Debug)]
pub struct JournalLayer {
    client: SharedJournal,
}

impl JournalLayer {
    /// A layer over a client.
    pub fn new(client: SharedJournal) -> JournalLayer {
        JournalLayer { client }
    }
}

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let mut record = Record::new(priority(meta.level()), &fields.message);
        record.field("SYSLOG_IDENTIFIER", IDENTIFIER).field("TARGET", meta.target());
        if let (Some(file), Some(line)) = (meta.file(), meta.line()) {
            record.field("CODE_FILE", file).field("CODE_LINE", &line.to_string());
        }
        for (name, value) in &fields.others {
            record.field(&format!("RSVC_{name}"), value);
        }
        // A panic elsewhere while the lock was held leaves the client usable.
        self.client.lock().unwrap_or_else(PoisonError::into_inner).send(record);
    }
}

/// syslog(3) priorities.
fn priority(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The fields of one event as text.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.others.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// One line per event: `rsvcd: warning: text (unit=web)`.
struct HumanFormat {
    name: &'static str,
    time: bool,
}

impl<S, N> FormatEvent<S, N> for HumanFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = self.time.then(SystemTime::now);
        writer.write_str(&human_line(self.name, time, event.metadata().level(), &fields))
    }
}

fn human_line(name: &str, time: Option<SystemTime>, level: &Level, fields: &Fields) -> String {
    let mut line = time.map_or_else(String::new, |time| timestamp::text(time) + " ");
    let word = match *level {
        Level::ERROR => "error: ",
        Level::WARN => "warning: ",
        Level::INFO => "",
        _ => "debug: ",
    };
    let _ = write!(line, "{name}: {word}");
    // Text of services may stand in a message: no escape codes to the terminal. Lines stay lines.
    line.extend(fields.message.chars().map(|c| if c.is_control() && !"\n\t".contains(c) { '\u{fffd}' } else { c }));
    // The unit stands in the message, and the invocation says nothing to people.
    let told = fields.others.iter().filter(|(name, _)| !matches!(*name, "unit" | "invocation_id"));
    for (at, (name, value)) in told.enumerate() {
        let _ = write!(line, "{}{name}={}", if at == 0 { " (" } else { ", " }, value.escape_debug());
    }
    if fields.others.iter().any(|(name, _)| !matches!(*name, "unit" | "invocation_id")) {
        line.push(')');
    }
    line.push('\n');
    line
}

/// Standard error that is written to only when it takes bytes at once: the reader of a pipe may be stopped, and the
/// daemon must not stop with it. What it does not take is lost.
struct PatientStderr;

impl<'a> MakeWriter<'a> for PatientStderr {
    type Writer = PatientStderr;

    fn make_writer(&'a self) -> PatientStderr {
        PatientStderr
    }
}

impl io::Write for PatientStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_if_ready(&io::stderr(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that is writable has room for PIPE_BUF bytes, so a piece of that size does not block.
fn write_if_ready(output: &impl std::os::fd::AsFd, bytes: &[u8]) -> io::Result<usize> {
    const PIPE_BUF: usize = 4096;
    for piece in bytes.chunks(PIPE_BUF) {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut [PollFd::new(output, PollFlags::OUT)], Some(&now)).unwrap_or(0) == 0 {
            break;
        }
        if rustix::io::write(output, piece).is_err() {
            break;
        }
    }
    Ok(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::time::UNIX_EPOCH;

    #[test]
    fn an_event_becomes_a_record_with_its_fields() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let client = Arc::new(Mutex::new(JournalClient::new(&path, IDENTIFIER)));
        let layers = tracing_subscriber::registry().with(JournalLayer::new(client)).with(parse_filter("info").unwrap());
        tracing::subscriber::with_default(layers, || {
            tracing::debug!("not heard");
            tracing::warn!(unit = "web", invocation_id = "ab", attempt = 3, "web: {} again", "failed");
        });
        let mut buffer = [0; 4096];
        let count = journal.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..count]);
        for line in [
            "PRIORITY=4",
            "MESSAGE=web: failed again",
            "SYSLOG_IDENTIFIER=rsvcd",
            "RSVC_UNIT=web",
            "RSVC_INVOCATION_ID=ab",
            "RSVC_ATTEMPT=3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        journal.set_nonblocking(true).unwrap();
        assert!(journal.recv(&mut buffer).is_err());
    }

    #[test]
    fn levels_are_spelt_strictly() {
        assert!(parse_filter("info").is_ok());
        let filter = parse_filter("rsvc::daemon=debug, warn").unwrap();
        assert!(filter.would_enable("rsvc::daemon::listener", &Level::DEBUG));
        assert!(!filter.would_enable("rsvc::cgroup", &Level::INFO));
        for bad in ["ifno", "", "rsvc=loud", "INFO=x", "debug,"] {
            assert!(parse_filter(bad).unwrap_err().contains("is not a log level"), "{bad}");
        }
    }

    #[test]
    fn people_get_one_line_without_escape_codes() {
        let mut fields = Fields { message: "web: said \x1b[31mred".into(), others: vec![("unit", "web".into())] };
        assert_eq!(human_line("rsvc", None, &Level::INFO, &fields), "rsvc: web: said \u{fffd}[31mred\n");
        fields.others.extend([("errno", "2".into()), ("path", "/a\n".into())]);
        assert_eq!(
            human_line("rsvcd", Some(UNIX_EPOCH), &Level::WARN, &fields),
            "1970-01-01T00:00:00.000000Z rsvcd: warning: web: said \u{fffd}[31mred (errno=2, path=/a\\n)\n"
        );
    }

    #[test]
    fn a_full_pipe_loses_messages_instead_of_blocking() {
        let (read, write) = nix::unistd::pipe().unwrap();
        for _ in 0..100 {
            assert_eq!(write_if_ready(&write, &[b'x'; 10_000]).unwrap(), 10_000);
        }
        drop(write);
        let mut all = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(read), &mut all).unwrap();
        assert!(all.len() >= 40_000 && all.len() < 200_000, "{}", all.len());
    }
}
