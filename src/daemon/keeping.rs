//! What must outlive the daemon is given to the keeper of the instance, and taken from it by the next daemon.
//!
//! Without a keeper services run as well; how they end is then known only while a daemon runs, which is said. One that
//! somebody ended is followed by another, which gets everything again.

use super::activation::keeper::Making;
use super::engine::{Engine, Source, Timer};
use super::instance_keeper::{self, InstanceKeeper, process_name};
use super::scarcity;
use super::service::Watched;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

impl Engine {
    /// Finds the keeper of the daemon before, or starts one. Without a keeper services run as well; what it would hold
    /// ends with the daemon, which is said.
    ///
    /// # Errors
    /// There is one, and what it holds cannot be had for want of descriptors or memory: another one in its place would
    /// make the inits of the daemon before unheard.
    pub(super) fn open_keeper(&mut self) -> io::Result<()> {
        let found = match InstanceKeeper::find(&self.options.runtime_dir) {
            Ok(found) => found,
            Err(error) if scarcity::may_pass(&error) => return Err(error),
            Err(error) => {
                let path = instance_keeper::file(&self.options.runtime_dir);
                tracing::warn!("the keeper that {} names cannot be asked: {error}; there is a new one", path.display());
                None
            }
        };
        match found {
            Some(keeper) => self.watch_keeper(keeper),
            None => self.start_keeper(),
        }
        Ok(())
    }

    fn start_keeper(&mut self) {
        let group = self.keeper_group();
        let making = Making {
            image: self.init_image.as_fd(),
            null: self.null.as_fd(),
            group: group.as_ref().map(|group| group.as_fd()),
        };
        match InstanceKeeper::start(&making, &self.options.runtime_dir) {
            Ok(keeper) => self.watch_keeper(keeper),
            Err(error) => tracing::error!(
                "there is no keeper for the next daemon: {error}; until there is one, how services end is known only \
                 while a daemon runs"
            ),
        }
    }

    fn watch_keeper(&mut self, keeper: InstanceKeeper) {
        match self.watch(&keeper, Source::InstanceKeeper) {
            Ok(token) => self.keeper = Some(Watched { fd: keeper, token }),
            Err(error) => tracing::error!("the keeper cannot be watched: {error}"),
        }
    }

    /// The next daemon finds this descriptor under `name`, whatever happens to this one.
    pub(super) fn keep_for_next<F: AsFd>(&mut self, name: &str, descriptor: F) {
        let Some(keeper) = &mut self.keeper else { return };
        if let Err(error) = keeper.fd.keep(name, descriptor.as_fd()) {
            tracing::error!("the keeper cannot hold {name}: {error}; it ends with this daemon");
        }
        self.flush_keeper_later();
    }

    /// Nobody needs what is kept under `name` any more.
    pub(super) fn release_kept(&mut self, name: &str) {
        let Some(keeper) = &mut self.keeper else { return };
        if let Err(error) = keeper.fd.release(name) {
            tracing::error!("the keeper cannot close {name}: {error}");
        }
        self.flush_keeper_later();
    }

    /// Lets go of the pidfds of main processes whose end has been written down; before that they alone would tell the
    /// next daemon how it was.
    pub(super) fn release_processes(&mut self) {
        for id in std::mem::take(&mut self.over) {
            let Some(service) = self.service(id) else { continue };
            // Another run has taken the place under the same name.
            if service.main.as_ref().is_none_or(|main| !main.is_kept()) {
                let name = process_name(&service.name);
                self.release_kept(&name);
            }
        }
    }

    /// What an earlier daemon has kept under `name`. It stays kept.
    pub(super) fn take_kept(&mut self, name: &str) -> Option<OwnedFd> {
        self.keeper.as_mut()?.fd.take(name)
    }

    /// Is something kept under `name`?
    pub(super) fn is_kept(&self, name: &str) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.fd.holds(name))
    }

    /// After everything was taken over: what an earlier daemon has kept and nobody has taken is closed.
    pub(super) fn release_unclaimed(&mut self) {
        for name in self.unclaimed() {
            tracing::debug!("{name} is not needed any more");
            self.release_kept(&name);
        }
    }

    /// Names of what an earlier daemon has kept and nobody has taken.
    pub(super) fn unclaimed(&self) -> Vec<String> {
        self.keeper.iter().flat_map(|keeper| keeper.fd.unclaimed().cloned()).collect()
    }

    fn flush_keeper_later(&mut self) {
        if self.keeper.as_ref().is_some_and(|keeper| keeper.fd.has_unsent()) {
            self.after(Duration::from_millis(1), Timer::FlushKeeper);
        }
    }

    /// The channel had no room when many services were started at once.
    pub(super) fn flush_keeper(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        if let Err(error) = keeper.fd.flush() {
            tracing::error!("the keeper cannot be told what to hold: {error}");
        }
        self.flush_keeper_later();
    }

    /// Somebody has ended it: another one gets everything again.
    pub(super) fn instance_keeper_ended(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        tracing::warn!("the keeper {} was ended; there is a new one", keeper.fd.pid());
        self.sources.remove(&keeper.token);
        self.retire(Watched { fd: keeper.fd.into_pidfd(), token: keeper.token });
        self.start_keeper();
        self.keep_everything();
    }

    /// All that is to outlive the daemon.
    fn keep_everything(&mut self) {
        for (name, descriptor) in self.exits.kept() {
            self.keep_for_next(name, descriptor);
        }
        let processes: Vec<(String, io::Result<OwnedFd>)> = self
            .services
            .values()
            .filter_map(|service| {
                let process = service.main.as_ref().filter(|process| process.is_kept())?;
                Some((process_name(&service.name), process.own_pidfd().try_clone_to_owned()))
            })
            .collect();
        for (name, copy) in processes {
            if let Ok(copy) = copy {
                self.keep_for_next(&name, copy);
            }
        }
        self.keep_logs();
        self.keep_all_sockets();
        self.keep_all_denials();
    }

    pub(super) fn is_instance_keeper(&self, pid: i32) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.fd.pid() == pid)
    }

    /// Nothing runs and nobody follows: it ends with the daemon.
    pub(super) fn dismiss_keeper(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        keeper.fd.end(&self.options.runtime_dir);
    }
}
