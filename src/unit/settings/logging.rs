//! Where output goes, and what of it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// `logging.target`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogTarget {
    Auto,
    Journald,
    File,
    Null,
    Inherit,
}

/// `[logging]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Logging {
    /// SYSLOG_IDENTIFIER; `None`: the unit's name.
    pub identifier: Option<Box<str>>,
    /// The rest; read through `Deref`.
    pub treatment: Arc<Treatment>,
}

impl Deref for Logging {
    type Target = Treatment;

    fn deref(&self) -> &Treatment {
        &self.treatment
    }
}

/// What of `[logging]` many units have in common.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Treatment {
    pub target: LogTarget,
    pub syslog_socket: bool,
    /// Bytes before rotation.
    pub file_max_size: u64,
    /// Files kept, the current one included.
    pub file_max_files: u32,
    /// The least urgent level that is kept, 0 (emerg) to 7 (debug, everything).
    pub level_max: u8,
    /// `None`: as many messages as the service writes.
    pub rate_limit: Option<RateLimit>,
    /// Further fields of each entry in the journal: valid names, no NUL in a value.
    pub fields: Vec<(String, String)>,
}

/// `logging.rate_limit_burst` in `logging.rate_limit_interval`, neither of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Messages of one group of levels.
    pub burst: u64,
    /// In so much time.
    pub interval: Duration,
}

impl RateLimit {
    /// Of what the author wrote; one of the two keys stands for both. A 0 is no limit.
    pub(in crate::unit) fn of(burst: Option<u64>, interval: Option<Duration>) -> Option<RateLimit> {
        const BURST: u64 = 10_000;
        const INTERVAL: Duration = Duration::from_secs(30);
        if burst.is_none() && interval.is_none() {
            return None;
        }
        let limit = RateLimit { burst: burst.unwrap_or(BURST), interval: interval.unwrap_or(INTERVAL) };
        (limit.burst > 0 && !limit.interval.is_zero()).then_some(limit)
    }
}

impl Logging {
    /// Is something asked for that only a reader between the service and the log can do?
    pub fn is_selective(&self) -> bool {
        self.level_max < 7 || self.rate_limit.is_some() || !self.fields.is_empty()
    }

    /// Has rsvc to read all that the unit says, also where a journal would take it? Not what a terminal shows.
    pub fn is_read(&self, foreground: bool) -> bool {
        self.is_selective() && !(foreground && self.target == LogTarget::Auto)
    }
}
