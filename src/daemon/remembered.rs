//! What is known of a service beside its processes: what was counted, what it said, which rsvc started it. It stands in
//! the state file, so that the next daemon knows it too, whatever became of this one.

use super::engine::Engine;
use super::service::{Said, Service};
use crate::control::RunsOn;
use crate::plan::Degraded;
use crate::supervise::{Event, ServiceId, Status};
use serde::{Deserialize, Serialize};

/// Which rsvc started a run. What it left in the service (the resident init, the sandbox) stays until a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchedBy {
    /// Version of the package.
    pub version: String,
    /// [`BUILD`] of that program.
    pub build: String,
}

/// Which build of this version this is, 16 hex digits: equal for programs that start services with the same resident
/// init. `RSVC_BUILD`, set when it is built, goes into it: the revision of a package that changes what a start does.
pub const BUILD: &str = env!("RSVC_BUILD_ID");

impl LaunchedBy {
    /// This program.
    pub fn this() -> LaunchedBy {
        LaunchedBy { version: env!("CARGO_PKG_VERSION").to_owned(), build: BUILD.to_owned() }
    }
}

/// Which rsvc started a run, for a thousand services of which most were started by this program.
#[derive(Clone, Debug, Default)]
pub(super) enum Launcher {
    /// One that did not tell, or none yet.
    #[default]
    Unknown,
    /// This program.
    This,
    /// Another one.
    Other(Box<LaunchedBy>),
}

impl Launcher {
    fn of(known: Option<&LaunchedBy>) -> Launcher {
        match known {
            None => Launcher::Unknown,
            Some(by) if *by == LaunchedBy::this() => Launcher::This,
            Some(by) => Launcher::Other(Box::new(by.clone())),
        }
    }

    fn known(&self) -> Option<LaunchedBy> {
        match self {
            Launcher::Unknown => None,
            Launcher::This => Some(LaunchedBy::this()),
            Launcher::Other(by) => Some((**by).clone()),
        }
    }
}

/// See the module documentation. Every field may be missing: an older rsvc did not write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// Who started the present run; `None`: an rsvc that did not say so yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launched_by: Option<LaunchedBy>,
    /// STATUS= text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// ERRNO=
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_errno: Option<i32>,
    /// BUSERROR= or VARLINKERROR=
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_error: Option<String>,
    /// What could not be applied when it was started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degraded>,
}

impl Engine {
    /// What the state file is to say.
    pub(super) fn to_remember(&self, id: ServiceId, status: &Status) -> Remembered {
        let Some(service) = self.service(id) else { return Remembered::default() };
        Remembered {
            launched_by: service.launched_by.known(),
            status_text: status.status_text.clone(),
            status_errno: service.said.errno,
            status_error: service.said.error.clone(),
            degraded: (*service.degraded).clone(),
        }
    }

    /// Takes over what a former daemon knew; before anything is told of the service.
    pub(super) fn recall(&mut self, id: ServiceId, known: &Remembered) {
        let degraded = self.plans.share_degraded(&known.degraded);
        if let Some(service) = self.services.get_mut(&id) {
            service.launched_by = Launcher::of(known.launched_by.as_ref());
            let (errno, error) = (known.status_errno, known.status_error.clone());
            service.said = Said { errno, error, ..(*service.said).clone() }.into();
            service.degraded = degraded;
        }
    }

    /// What a run that was taken over said last; after it was told of.
    pub(super) fn recall_status_text(&mut self, id: ServiceId, known: &Remembered) {
        if let Some(text) = &known.status_text {
            self.events.push_back(Event::StatusText { id, text: text.clone() });
        }
    }

    /// Services that would run on another rsvc after a restart.
    pub(super) fn outdated(&self) -> u64 {
        self.services.values().filter(|service| service.is_outdated()).count() as u64
    }
}

impl Service {
    /// Would a restart bring another rsvc? One that serves a connection ends with that, and cannot be restarted.
    pub fn is_outdated(&self) -> bool {
        let runs = self.main.as_ref().is_some_and(|main| main.exit.is_none());
        runs && self.connection.is_none() && !matches!(self.launched_by, Launcher::This)
    }

    /// Which rsvc the present run was started by; `None` while nothing runs.
    pub fn runs_on(&self) -> Option<RunsOn> {
        self.main.as_ref().filter(|main| main.exit.is_none())?;
        let known = self.launched_by.known();
        Some(RunsOn {
            version: known.as_ref().map(|by| by.version.clone()),
            build: known.map(|by| by.build),
            outdated: self.is_outdated(),
            restart_brings: LaunchedBy::this().version,
        })
    }
}
