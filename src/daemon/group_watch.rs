//! When a unit's group is empty, and that it goes then. A service is down when nothing of it is left, and not before.
//!
//! The kernel tells of a v2 group by its `cgroup.events`, all of which are behind one inotify; a group without such a file,
//! or one that could not be watched, is looked at again and again. What cannot be seen counts as populated.

use super::engine::{Engine, Timer};
use super::scarcity;
use crate::cgroup::CgroupError;
use crate::supervise::{Event, ServiceId};
use nix::sys::inotify::{AddWatchFlags, InotifyEvent};
use std::time::Duration;

/// A group is busy for a moment after its last process died.
const REMOVE_INTERVAL: Duration = Duration::from_millis(20);
/// The same where a launch waits for it.
const REMOVE_AGAIN: Duration = Duration::from_millis(1);
/// Only for hosts without a v2 tree.
const EMPTY_INTERVAL: Duration = Duration::from_millis(20);

impl Engine {
    pub(super) fn groups_changed(&mut self) {
        let events: Vec<InotifyEvent> = match self.groups.read_events() {
            Ok(events) => events,
            Err(_) => return, // EAGAIN: somebody was quicker; the next event comes for certain.
        };
        let overflow = events.iter().any(|e| e.mask.contains(AddWatchFlags::IN_Q_OVERFLOW));
        let mut changed: Vec<ServiceId> = if overflow {
            self.services.keys().copied().collect()
        } else {
            events.iter().filter_map(|e| self.watches.get(&e.wd).copied()).collect()
        };
        for event in &events {
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                self.watches.remove(&event.wd);
            }
        }
        changed.sort();
        changed.dedup();
        for id in changed {
            self.check_empty(id);
        }
    }

    /// Watches the group's `populated`, once per group.
    pub(super) fn watch_group(&mut self, id: ServiceId) {
        self.unwatch_group(id);
        let Some(group) = self.services.get(&id).and_then(|s| s.group.clone()) else { return };
        let Some(file) = group.events_file() else { return };
        let watched = self.groups.add_watch(&file, AddWatchFlags::IN_MODIFY);
        if let Ok(watch) = watched {
            self.watches.insert(watch, id);
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        service.group_watch = watched.ok();
        let known = std::mem::replace(&mut service.group_unwatched, watched.is_err());
        if let Err(error) = watched
            && !known
        {
            let hint = "\n  hint: raise fs.inotify.max_user_watches and fs.inotify.max_user_instances";
            tracing::error!(
                unit = service.name,
                "cannot watch {}: {error}; it is looked at again and again instead{}",
                file.display(),
                if error == nix::errno::Errno::ENOSPC { hint } else { "" }
            );
        }
    }

    /// The watch of a group that was removed does not end by itself: the kernel keeps it, and the file's inode with it.
    fn unwatch_group(&mut self, id: ServiceId) {
        if let Some(watch) = self.services.get_mut(&id).and_then(|service| service.group_watch.take()) {
            self.watches.remove(&watch);
            // Refused where the kernel did end it.
            let _ = self.groups.rm_watch(watch);
        }
    }

    /// Tells `CgroupEmptied` when nothing is left, once per launch.
    pub(super) fn check_empty(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        // What is about to be launched is not empty.
        if service.emptied || self.pacing.holds(id) || self.held_back.iter().any(|held| held.member == id) {
            return;
        }
        let populated = match &service.group {
            Some(group) => match group.populated() {
                Ok(populated) => populated,
                // Not that it is gone, in which case nothing can be in it: nobody knows, so it counts as populated.
                Err(error) => {
                    self.group_trouble(id, Some(("cannot tell whether anything of it runs", &error)));
                    return self.after(scarcity::PAUSE, Timer::Empty(id));
                }
            },
            None => service.main.is_some() || service.control.is_some() || service.check.is_some(),
        };
        if !populated {
            if service.group_used_up && !self.replace_group(id) {
                return;
            }
            let Some(service) = self.services.get_mut(&id) else { return };
            service.emptied = true;
            service.group_trouble = false;
            self.cancel(Timer::Kill(id));
            self.events.push_back(Event::CgroupEmptied { id });
        } else {
            self.look_at_group_later(id);
        }
    }

    /// No word comes when the group is empty: this host has none, or it could not be watched.
    fn look_at_group_later(&mut self, id: ServiceId) {
        if self.service(id).is_some_and(|service| service.group_unwatched) {
            self.watch_group(id);
        }
        let Some(service) = self.service(id) else { return };
        let silent = service.group.as_ref().is_some_and(|group| group.events_file().is_none());
        if silent || service.group_unwatched {
            self.after(EMPTY_INTERVAL, Timer::Empty(id));
        }
    }

    /// The group does not do what it is told, or does not tell; said once, until it does again.
    pub(super) fn group_trouble(&mut self, id: ServiceId, trouble: Option<(&str, &CgroupError)>) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let known = std::mem::replace(&mut service.group_trouble, trouble.is_some());
        if let Some((what, error)) = trouble
            && !known
        {
            let advice = scarcity::advice(&error.error);
            tracing::error!(unit = service.name, "{}: {what}: {error}; tried again{advice}", service.name);
        }
    }

    /// Removes a used-up group, so that the next launch makes a new one; `false`: still busy, comes back by timer.
    fn replace_group(&mut self, id: ServiceId) -> bool {
        let Some(service) = self.services.get_mut(&id) else { return true };
        let Some(group) = &service.group else { return true };
        if let Err(error) = group.remove() {
            if error.is_busy() {
                self.after(REMOVE_AGAIN, Timer::Empty(id));
                return false;
            }
            if scarcity::may_pass(&error.error) {
                self.group_trouble(id, Some(("cannot remove the group", &error)));
                self.after(scarcity::PAUSE, Timer::Empty(id));
                return false;
            }
            tracing::warn!(unit = service.name, "cannot remove the group: {error}");
        }
        service.group = None;
        service.applied = None;
        service.frozen = false;
        service.group_used_up = false;
        self.unwatch_group(id);
        true
    }

    pub(super) fn remove_group(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if !service.emptied {
            return; // Started again meanwhile.
        }
        let Some(group) = service.group.clone() else { return };
        match group.remove() {
            Ok(()) => {
                service.group = None;
                service.applied = None;
                self.unwatch_group(id);
            }
            Err(error) if error.is_busy() => {
                self.after(REMOVE_INTERVAL, Timer::RemoveGroup(id));
            }
            Err(error) if scarcity::may_pass(&error.error) => {
                self.group_trouble(id, Some(("cannot remove the group", &error)));
                self.after(scarcity::PAUSE, Timer::RemoveGroup(id));
            }
            Err(error) => tracing::warn!(unit = service.name, "cannot remove the group: {error}"),
        }
    }
}
