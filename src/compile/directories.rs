//! `directories.*`: what is made on the host before the start, and where it appears inside.
//!
//! Inside, `directories.state = ["x"]` is always `/var/lib/x`. The system daemon uses the same path on the host; an
//! instance with redirected directories, and a rootless one, keeps it below its own directories.

use super::context::{Context, Shape};
use super::identity::Identity;
use crate::plan::{HostStep, RemoveDirectory};
use crate::unit::{Preserve, RootfsKind, Unit, Upper};
use std::path::{Path, PathBuf};

/// One kind of directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Runtime,
    State,
    Cache,
    Logs,
    Configuration,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Runtime, Kind::State, Kind::Cache, Kind::Logs, Kind::Configuration];

    pub fn key(self) -> &'static str {
        match self {
            Kind::Runtime => "directories.runtime",
            Kind::State => "directories.state",
            Kind::Cache => "directories.cache",
            Kind::Logs => "directories.logs",
            Kind::Configuration => "directories.configuration",
        }
    }

    /// The variable that tells the service.
    pub fn variable(self) -> &'static str {
        match self {
            Kind::Runtime => "RUNTIME_DIRECTORY",
            Kind::State => "STATE_DIRECTORY",
            Kind::Cache => "CACHE_DIRECTORY",
            Kind::Logs => "LOGS_DIRECTORY",
            Kind::Configuration => "CONFIGURATION_DIRECTORY",
        }
    }

    /// Where they appear inside.
    pub fn inside(self) -> &'static Path {
        Path::new(match self {
            Kind::Runtime => "/run",
            Kind::State => "/var/lib",
            Kind::Cache => "/var/cache",
            Kind::Logs => "/var/log",
            Kind::Configuration => "/etc",
        })
    }

    /// Where they are on the host.
    pub fn host<'a>(self, context: &Context<'a>) -> &'a Path {
        let roots = &context.facts.directory_roots;
        match self {
            Kind::Runtime => &roots.runtime,
            Kind::State => &roots.state,
            Kind::Cache => &roots.cache,
            Kind::Logs => &roots.logs,
            Kind::Configuration => &roots.configuration,
        }
    }

    pub fn names(self, unit: &Unit) -> &[PathBuf] {
        match self {
            Kind::Runtime => &unit.directories.runtime,
            Kind::State => &unit.directories.state,
            Kind::Cache => &unit.directories.cache,
            Kind::Logs => &unit.directories.logs,
            Kind::Configuration => &unit.directories.configuration,
        }
    }

    fn mode(self, unit: &Unit) -> u32 {
        match self {
            Kind::Runtime => unit.directories.runtime_mode,
            Kind::State => unit.directories.state_mode,
            Kind::Cache => unit.directories.cache_mode,
            Kind::Logs => unit.directories.logs_mode,
            Kind::Configuration => unit.directories.configuration_mode,
        }
    }
}

/// One directory of the unit.
pub(super) struct Directory<'a> {
    pub kind: Kind,
    pub name: &'a Path,
}

impl Directory<'_> {
    /// The path that the service sees.
    pub fn inside(&self) -> PathBuf {
        self.kind.inside().join(self.name)
    }
}

/// All directories of the unit.
pub(super) fn all(unit: &Unit) -> Vec<Directory<'_>> {
    let of = |kind: Kind| kind.names(unit).iter().map(move |name| Directory { kind, name });
    Kind::ALL.into_iter().flat_map(of).collect()
}

/// What the daemon makes on the host before the start.
pub(super) fn prepare(context: &mut Context, shape: &Shape, identity: &Identity) -> Vec<HostStep> {
    let unit = context.unit;
    let (uid, gid) = identity.on_the_host(context);
    let mut steps = Vec::new();
    let is_given = |directory: &Directory<'_>| directory.kind != Kind::Configuration;
    if context.facts.euid != 0 && uid != context.facts.euid && all(unit).iter().any(is_given) {
        let message = "an ordinary user cannot give directories to another id, as which this service would run";
        let hint =
            "leave `user` out, or run rsvc as root; what is to stay can be in an overlay with upper = \"persistent\"";
        context.refuse("service.user", "USER", message, Some(hint));
    }
    for directory in all(unit) {
        // A package's own configuration keeps the owner and mode that the package gave it.
        let place = directory.kind.host(context).join(directory.name);
        if directory.kind == Kind::Configuration && context.facts.existing.contains(&place) {
            continue;
        }
        // The service may read its configuration, its administrator writes it.
        let (uid, gid) = match directory.kind {
            Kind::Configuration => (context.facts.euid, context.facts.egid),
            Kind::Runtime | Kind::State | Kind::Cache | Kind::Logs => (uid, gid),
        };
        let remove = match (directory.kind, unit.directories.runtime_preserve) {
            (Kind::Runtime, Preserve::No) => RemoveDirectory::AfterRun,
            (Kind::Runtime, Preserve::Restart) => RemoveDirectory::AtStop,
            _ => RemoveDirectory::Never,
        };
        steps.push(HostStep::Directory {
            base: directory.kind.host(context).to_owned(),
            name: directory.name.to_owned(),
            mode: directory.kind.mode(unit),
            uid,
            gid,
            remove,
        });
    }
    if shape.mounts {
        steps.extend(super::credentials::prepare(context));
        steps.extend(overlay_directories(context, shape));
    }
    steps
}

/// Host directory of a kept upper layer, `None` for one in memory.
pub(super) fn overlay_upper(context: &Context) -> Option<PathBuf> {
    match &context.unit.rootfs.kind {
        RootfsKind::Overlay { upper: Upper::Persistent, .. } => {
            Some(context.facts.state_dir.join("overlay").join(&context.unit.name))
        }
        RootfsKind::Overlay { upper: Upper::Path(path), .. } => Some(path.clone()),
        _ => None,
    }
}

/// `upper` and `work`, owned by the container's root.
fn overlay_directories(context: &Context, shape: &Shape) -> Vec<HostStep> {
    let Some(path) = overlay_upper(context) else { return Vec::new() };
    let (base, name) = match &context.unit.rootfs.kind {
        RootfsKind::Overlay { upper: Upper::Persistent, .. } => {
            (context.facts.state_dir.clone(), Path::new("overlay").join(&context.unit.name))
        }
        _ => (path, PathBuf::new()),
    };
    let (uid, gid) = super::identity::container_root(context, shape);
    let directory = |last: &str, mode: u32| HostStep::Directory {
        base: base.clone(),
        name: name.join(last),
        mode,
        uid,
        gid,
        remove: RemoveDirectory::Never,
    };
    // The upper directory's mode becomes the mode of `/`.
    vec![directory("upper", 0o755), directory("work", 0o700)]
}
