//! `[credentials]`: a file system of the container's own at `/run/credentials/UNIT`.
//!
//! It is made and filled while nobody can see it, and attached read-only. `/run/credentials` around it is an empty one of
//! the container's own, so that nothing is seen of what other managers keep there; on the host there is nothing but the
//! empty directory to mount on.

use super::context::{Context, Shape, UserMode};
use super::identity::Identity;
use super::mounts::{Content, Entry};
use super::rules::Tree;
use crate::plan::{HostStep, MountFlags, RemoveDirectory, Slot, Step};
use crate::unit::Unit;
use std::path::{Path, PathBuf};

pub(super) use crate::unit::CREDENTIALS_PLACE as PLACE;

/// The variable that tells the service.
pub(super) const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Nothing on it is a program, a device or to be written.
const FLAGS: MountFlags =
    MountFlags { read_only: false, no_suid: true, no_dev: true, no_exec: true, no_atime: false, no_symlinks: true };

/// The directory of the unit's credentials; `None`: it has none.
pub(super) fn directory(unit: &Unit) -> Option<PathBuf> {
    unit.credentials.is_some().then(|| Path::new(PLACE).join(&unit.name))
}

/// Who asked for the file system as a whole.
fn key(unit: &Unit) -> &'static str {
    match &unit.credentials {
        Some(credentials) if credentials.load.is_empty() => "credentials.set",
        _ => "credentials.load",
    }
}

/// Is [`PLACE`] made on the host, as a place to mount on? By the daemon of the host's own directories; where another
/// instance finds none, `/run` as a whole is replaced.
fn is_made_on_the_host(context: &Context) -> bool {
    context.facts.euid == 0 && context.facts.directory_roots.runtime == Path::new("/run")
}

/// Has the host the place already? systemd makes it.
fn exists(context: &Context) -> bool {
    context.facts.existing.iter().any(|path| path == Path::new(PLACE))
}

impl Tree {
    /// Puts the credentials into the table, after all that the author wrote.
    pub(super) fn credentials(&mut self, context: &mut Context, shape: &Shape) {
        let Some(directory) = directory(context.unit) else { return };
        let key = key(context.unit);
        let taken = self.table.entries.iter().find(|(at, entry)| entry.authored && at.starts_with(PLACE));
        let taken = taken.map(|(at, entry)| (at.clone(), entry.key.clone())).or_else(|| {
            let rule = self.rules.iter().find(|(at, rule)| rule.authored && at.starts_with(PLACE));
            rule.map(|(at, rule)| (at.clone(), rule.key.clone()))
        });
        if let Some((at, by)) = taken {
            let message = format!("{}: the unit's credentials are there", at.display());
            context.refuse(&by, "CREDENTIALS", message, Some("choose another place, or leave [credentials] out"));
            return;
        }
        if let UserMode::Path(_) = shape.user {
            let message = "the owner of the credentials is not known for a user namespace that others made";
            context.refuse(key, "CREDENTIALS", message, Some("set namespaces.user to another value"));
        }
        if !self.table.own_root && !exists(context) && !is_made_on_the_host(context) {
            let cause = "there is no /run/credentials on this host to mount on, which root can make";
            self.stand_in(context, super::directories::Kind::Runtime, key, cause);
        }
        self.table.put(PLACE, Entry::authored(key, Content::Mask));
        self.table.put(directory, Entry::authored(key, Content::Credentials));
    }
}

/// The place to mount on, where the host has none.
pub(super) fn prepare(context: &Context) -> Option<HostStep> {
    let wanted = context.unit.credentials.is_some() && is_made_on_the_host(context);
    let own_root = context.unit.rootfs.kind != crate::unit::RootfsKind::Host;
    (wanted && !own_root && !exists(context)).then(|| HostStep::Directory {
        base: "/run".into(),
        name: "credentials".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        remove: RemoveDirectory::Never,
    })
}

/// Makes the file system and fills it. The stage alone can reach it: it is detached until it is attached read-only.
pub(super) fn steps(context: &mut Context, identity: &Identity) -> Slot {
    let unit = context.unit;
    let slot = context.slot();
    let key = key(unit);
    // Its pages are never written to swap, unlike those of a tmpfs.
    let (fs_type, options) = ("ramfs".to_owned(), vec![("mode".to_owned(), Some("0700".to_owned()))]);
    context.push(key, Step::NewFilesystem { slot, fs_type, options, flags: FLAGS });
    let Some(credentials) = &unit.credentials else { return slot };
    for (name, entry) in &credentials.load {
        let (name, path) = (name.clone(), entry.path.clone());
        context.push("credentials.load", Step::LoadCredential { slot, name, path, missing_ok: entry.optional });
    }
    for (name, _) in &credentials.set {
        context.push("credentials.set", Step::SetCredential { slot, name: name.clone() });
    }
    let (uid, gid) = identity.on_mounts();
    context.push(key, Step::SealCredentials { slot, uid, gid });
    slot
}
