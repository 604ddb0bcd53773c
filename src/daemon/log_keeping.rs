//! What of the logs outlives the daemon, by its name in the instance's keeper.
//!
//! | name | what |
//! |---|---|
//! | `staging`, `staging-note` | see [`super::staging`] |
//! | `log:UNIT` | the pipe of a unit's output that goes to a file |
//! | `relay:UNIT` | the same, to the journal |
//!
//! The resident init of a service has its pipe open too, but only as long as it lives: what a service says before its
//! end, while no daemon runs, would be gone with it.

use super::engine::Engine;
use super::launch::log_limits;
use super::log_file::{LogFile, LogLimits, Source};
use super::log_output::{Means, Now};
use super::log_pipe::{OutputPipe, PipeOrigin, PipeTurn, Scratch};
use super::scarcity;
use super::staging::Staging;
use super::state::{self, SavedState};
use crate::supervise::ServiceId;
use crate::unit::Unit;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const STAGING: &str = "staging";
const NOTE: &str = "staging-note";
const LOG: &str = "log:";
const RELAY: &str = "relay:";

/// Of the log of a unit that is not known any more.
const LIMITS: LogLimits = LogLimits { max_size: 50 << 20, max_files: 5 };

/// Under which the pipe of a unit's output is kept.
fn slot_of(unit: &str, relayed: bool) -> String {
    format!("{}{unit}", if relayed { RELAY } else { LOG })
}

impl Engine {
    /// From now on no byte of output is lost or doubled when the daemon is killed. What an earlier daemon has left
    /// open is settled. To be called before anything is adopted.
    pub(super) fn protect_logs(&mut self) {
        let earlier = self.take_kept(STAGING).zip(self.take_kept(NOTE));
        let made = match earlier.map(|(pipe, note)| Staging::from_descriptors(pipe, note)) {
            Some(Ok(staging)) => Ok(self.settle_earlier(staging)),
            Some(Err(error)) => {
                tracing::warn!("{error}: the end of a log may be incomplete or doubled");
                Staging::new()
            }
            None => Staging::new(),
        };
        match made {
            Ok(staging) => self.scratch.protect(Some(staging)),
            Err(error) => tracing::warn!(
                "logs are not protected: up to 64 KiB of output are lost if this daemon is killed while it writes them: \
                 {error}"
            ),
        }
        self.keep_staging();
    }

    /// Both are kept, or the one alone says nothing.
    fn keep_staging(&mut self) {
        let Some(staging) = &self.scratch.staging else { return };
        let (pipe, note) = staging.descriptors();
        if let (Ok(pipe), Ok(note)) = (pipe.try_clone_to_owned(), note.try_clone_to_owned()) {
            self.keep_for_next(NOTE, note);
            self.keep_for_next(STAGING, pipe);
        }
    }

    fn settle_earlier(&mut self, mut staging: Staging) -> Staging {
        let Some(directory) = self.log_directory.clone() else { return staging };
        // The pipe is kept here, or by the init of a service that lives.
        let survives = |file: &str| {
            let unit = file.strip_suffix(".log").unwrap_or(file);
            let saved = || state::read(&self.options.runtime_dir, unit).ok();
            let init = || saved().and_then(|saved| saved.init.filter(|_| saved.log_pipe.is_some()));
            self.is_kept(&slot_of(unit, false)) || init().is_some_and(|init| init.is_alive())
        };
        match staging.settle_earlier(&directory, survives) {
            Ok(None) => {}
            Ok(Some(what)) => tracing::info!("{what}"),
            Err(error) => tracing::error!("the end of a log is incomplete or doubled: {error}"),
        }
        staging
    }

    /// Keeps the pipe of a unit's output: before anybody can write to it.
    pub(super) fn keep_log(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        let Some(log) = &service.log else { return };
        let slot = slot_of(&service.name, log.is_relayed());
        if let Ok(copy) = log.pipe.fd.as_fd().try_clone_to_owned() {
            self.keep_for_next(&slot, copy);
        }
    }

    /// The unit is down, and its pipe was read to the end.
    pub(super) fn release_log(&mut self, id: ServiceId, relayed: bool) {
        if let Some(slot) = self.services.get(&id).map(|service| slot_of(&service.name, relayed)) {
            self.release_kept(&slot);
        }
    }

    /// Everything of the logs, into a new keeper.
    pub(super) fn keep_logs(&mut self) {
        self.keep_staging();
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        ids.into_iter().for_each(|id| self.keep_log(id));
    }

    /// Goes on reading the output of a service that an earlier daemon has started, whether it lives or not. `false`:
    /// nobody has kept it.
    pub(super) fn adopt_kept_log(&mut self, id: ServiceId, saved: &SavedState) -> bool {
        let Some(service) = self.services.get(&id) else { return false };
        let (name, unit) = (service.name.clone(), service.running.clone());
        let Some(unit) = unit else { return false };
        for relayed in [false, true] {
            let slot = slot_of(&name, relayed);
            if !self.is_kept(&slot) {
                continue;
            }
            let Some(pipe) = self.take_kept(&slot) else { continue };
            match scarcity::noted(self.adopt_log(
                id,
                &unit,
                OutputPipe::from_descriptor(pipe, Source(0)),
                relayed,
                saved,
            )) {
                Ok(()) => return true,
                Err(error) => tracing::warn!(unit = name, "{name}: its output is not read any more: {error}"),
            }
        }
        false
    }

    /// Reads on from this pipe.
    pub(super) fn adopt_log(
        &mut self,
        id: ServiceId,
        unit: &Unit,
        pipe: OutputPipe,
        relayed: bool,
        saved: &SavedState,
    ) -> io::Result<()> {
        let mut output = self.log_output(id, unit, pipe, relayed)?;
        output.resume(saved, &mut Means::of(&mut self.journal, &mut self.scratch));
        if let Some(service) = self.services.get_mut(&id) {
            service.log = Some(Box::new(output));
        }
        Ok(())
    }

    /// Output of units that are down, or not known any more: what the daemon before had not read when it was killed.
    pub(super) fn store_unclaimed_logs(&mut self) {
        for slot in self.unclaimed() {
            let Some(unit) = slot.strip_prefix(LOG) else {
                if let Some(unit) = slot.strip_prefix(RELAY) {
                    self.relay_unclaimed(unit);
                }
                continue;
            };
            let known = self.names.get(unit).and_then(|id| self.service(*id)).and_then(|service| service.unit.as_ref());
            let limits = known.map_or(LIMITS, |unit| log_limits(unit));
            let (Some(pipe), Some(directory)) = (self.take_kept(&slot), self.log_directory.clone()) else { continue };
            let log = LogFile::new(&directory, unit, limits);
            if let Err(error) = log.and_then(|log| store_rest(&pipe, log, &mut self.scratch)) {
                tracing::warn!(unit, "{unit}: the end of its output cannot be stored: {error}");
            }
            self.release_kept(&slot);
        }
    }

    /// The same for the journal, where the unit is still known; its entries need what it says of itself.
    fn relay_unclaimed(&mut self, unit: &str) {
        let id = self.names.get(unit).copied();
        let Some(id) = id.filter(|id| self.service(*id).is_some_and(|service| service.log.is_none())) else { return };
        let known = self.service(id).and_then(|service| service.unit.clone());
        let Some((known, pipe)) = known.zip(self.take_kept(&slot_of(unit, true))) else { return };
        if self.adopt_log(id, &known, OutputPipe::from_descriptor(pipe, Source(0)), true, &SavedState::new()).is_ok() {
            self.close_log(id);
        }
    }
}

fn proc_name(pipe: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", pipe.as_raw_fd())
}

/// Reads a pipe to its end, into a file.
fn store_rest(pipe: &OwnedFd, mut log: LogFile, scratch: &mut Scratch) -> io::Result<()> {
    let now = Now::get().wall;
    log.resume(false);
    let mut pipe = OutputPipe::reopen(&proc_name(pipe), Source(0))?;
    while let (PipeTurn::Read { .. }, _) = pipe.turn(&mut log, now, scratch)? {}
    let Scratch { output, staging, .. } = scratch;
    log.finish_from(Source(0), now, output, &mut PipeOrigin { pipe: &mut pipe, staging });
    Ok(())
}
