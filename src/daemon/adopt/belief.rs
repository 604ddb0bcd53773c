//! What is believed of a unit: its state as it was written down, completed by what the kernel shows where a daemon was
//! killed before it could write down the rest.

use super::{SPAWN_FAILED, STEP_FAILED, evidence, stages};
use crate::cgroup::Group;
use crate::daemon::engine::Engine;
use crate::daemon::identity::ProcessIdentity;
use crate::daemon::instance_keeper::process_name;
use crate::daemon::process::exit_of_dead;
use crate::daemon::state::{Newest, SavedState, StateError};
use crate::supervise::{Exit, ServiceId};
use std::os::fd::{AsFd, OwnedFd};

/// The state of a unit that has a group: as it was written down, on the group or in the file; else what the kernel
/// shows of the processes in it, so that no service ends for want of a file. `read` is what was written down; the flag
/// says that it is to be written again. Without a group there is nothing to look at but what was written down.
pub(super) fn believable_state(
    name: &str,
    read: Result<Newest, StateError>,
    group: Option<&Group>,
    populated: bool,
) -> Result<(SavedState, bool), StateError> {
    let Some(group) = group else { return read.map(|newest| (newest.state, false)) };
    let why = match read {
        Ok(Newest { state: saved, spoiled, .. }) => {
            if let Some(why) = &spoiled {
                tracing::warn!(unit = name, "{name}: {why}; the copy on its control group is used");
            }
            if populated && saved.starting && saved.init.is_none() {
                // It was killed between the launch and the note of it.
                stages::hold_all(group);
                let Some(shown) = evidence::look_at_launch(group) else { return Ok((saved, true)) };
                stages::continue_all(group);
                return Ok((with_processes(&saved, shown), true));
            }
            if !populated || !saved.down {
                return Ok((saved, spoiled.is_some()));
            }
            StateError::Damaged("it says that nothing runs".into())
        }
        Err(why) => why,
    };
    match evidence::look(group, name).filter(|_| populated) {
        Some(shown) => {
            let main = shown.main.map_or(0, |main| main.pid);
            tracing::warn!(
                unit = name,
                "{name}: {why}; it is taken over as it runs, with {main} as its main process. Its counters begin anew"
            );
            Ok((shown, true))
        }
        None => Err(why),
    }
}

impl Engine {
    /// The same of one without a resident init, whose pidfd went to the keeper as soon as there was one.
    pub(super) fn with_kept_process(&mut self, id: ServiceId, name: &str, saved: SavedState) -> SavedState {
        if !saved.starting || saved.init.is_some() || saved.main.is_some() {
            return saved;
        }
        let pidfd = self.take_kept(&process_name(name)).or_else(|| self.keep_launched(id));
        let Some(pidfd) = pidfd else { return saved };
        match (evidence::executed(pidfd.as_fd()), exit_of_dead(pidfd.as_fd())) {
            (Some(shown), _) => {
                if let Some(group) = self.service(id).and_then(|service| service.group.as_ref()) {
                    stages::continue_all(group);
                }
                with_processes(&saved, shown)
            }
            // The set-up stage's own words for a launch that failed: that is tried again.
            (None, Some(Exit::Exited(STEP_FAILED | SPAWN_FAILED)) | None) => saved,
            // It has run, and ended.
            (None, Some(_)) => {
                let main = ProcessIdentity::of_the_dead(pidfd.as_fd());
                SavedState { starting: main.is_none(), main, ..saved }
            }
        }
    }

    /// It was killed before the pidfd was on its way. Where nothing is executed before the main process, what is in the
    /// group can be nothing else.
    fn keep_launched(&mut self, id: ServiceId) -> Option<OwnedFd> {
        let service = self.service(id)?;
        let name = process_name(&service.name);
        let runs_before = !service.unit.as_ref()?.service.exec_start_pre.is_empty();
        let group = service.group.as_ref().filter(|_| !runs_before)?;
        let pidfd = evidence::launched_alone(group)?;
        self.keep_for_next(&name, &pidfd);
        Some(pidfd)
    }

    /// A daemon that is killed before it hears that a program was executed knows the resident init and not the main process.
    /// It may even be a set-up stage still, which goes on by itself.
    pub(super) fn with_main_shown(&self, id: ServiceId, saved: SavedState) -> SavedState {
        let goes_on = saved.main.is_none() && saved.end.is_none() && saved.rest.is_none() && !saved.exited;
        let init = saved.init.filter(|init| goes_on && self.record_of(id).is_none() && init.is_alive());
        let group = self.service(id).and_then(|service| service.group.as_ref());
        let shown = init.and_then(|init| {
            stages::await_init(init.pid);
            let shown = match group {
                Some(group) => evidence::look_at_launch(group)?,
                None => evidence::look_below(init.pid)?,
            };
            let is_its_own = shown.init.is_some_and(|shown| shown.pid == init.pid);
            shown.main.filter(|main| is_its_own && main.start_time != 0).map(|main| (main, shown.inner_pid))
        });
        match shown {
            Some((main, inner_pid)) => SavedState { main: Some(main), inner_pid, ..saved },
            None => saved,
        }
    }
}

/// A state with the processes that were seen.
fn with_processes(saved: &SavedState, shown: SavedState) -> SavedState {
    let SavedState { init, main, inner_pid, since, log_pipe, notify_socket, exits, .. } = shown;
    SavedState { init, main, inner_pid, since, log_pipe, notify_socket, exits, ..saved.clone() }
}
