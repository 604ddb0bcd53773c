//! What the probe tells of one door, and how it travels: a line of output, `ID<tab>WORD[<space>MORE]`.

use std::fmt;

/// What was found, without any judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It worked; what, when that is not plain.
    Done(String),
    /// It failed with this errno.
    Failed(i32),
    /// There is nothing to be reached: why.
    Nothing(String),
    /// A value, to be compared.
    Value(String),
    /// The process that tried was killed by this signal.
    Killed(i32),
    /// It could not be tried: why.
    Skipped(String),
}

impl Found {
    /// Of an answer of the kernel.
    pub(super) fn of<T>(answer: Result<T, i32>) -> Found {
        match answer {
            Ok(_) => Found::Done(String::new()),
            Err(errno) => Found::Failed(errno),
        }
    }

    /// Of an I/O operation of the standard library.
    pub(super) fn of_io<T>(answer: std::io::Result<T>) -> Found {
        Found::of(answer.map_err(|error| error.raw_os_error().unwrap_or(0)))
    }

    /// The line of a door, with its end.
    pub(super) fn line(&self, id: &str) -> String {
        let clean = |text: &str| text.replace(['\n', '\r', '\t', '\0'], " ");
        let word = match self {
            Found::Done(text) => format!("done {}", clean(text)),
            Found::Failed(errno) => format!("errno {errno}"),
            Found::Nothing(text) => format!("nothing {}", clean(text)),
            Found::Value(text) => format!("value {}", clean(text)),
            Found::Killed(signal) => format!("signal {signal}"),
            Found::Skipped(text) => format!("skipped {}", clean(text)),
        };
        format!("{id}\t{word}\n")
    }

    /// Reads a line without its end: the door and what was found. `None`: it is none.
    pub fn parse(line: &str) -> Option<(&str, Found)> {
        let (id, rest) = line.split_once('\t')?;
        let (word, more) = rest.split_once(' ')?;
        let found = match word {
            "done" => Found::Done(more.to_owned()),
            "errno" => Found::Failed(more.parse().ok()?),
            "nothing" => Found::Nothing(more.to_owned()),
            "value" => Found::Value(more.to_owned()),
            "signal" => Found::Killed(more.parse().ok()?),
            "skipped" => Found::Skipped(more.to_owned()),
            _ => return None,
        };
        Some((id, found))
    }
}

/// In a few words.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Done(text) if text.is_empty() => f.write_str("it worked"),
            Found::Failed(errno) => f.write_str(&crate::sys::errno_name(*errno)),
            Found::Killed(signal) => write!(f, "killed by signal {signal}"),
            Found::Done(text) | Found::Nothing(text) | Found::Value(text) | Found::Skipped(text) => f.write_str(text),
        }
    }
}
