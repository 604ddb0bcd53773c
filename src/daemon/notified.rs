//! What is done about the datagrams on a notify socket: who sent them, may they, and whom it concerns.
//!
//! The socket says which unit is meant. Whether the sender is believed is decided by `service.notify_access`, its pid as
//! the kernel tells it, and the control group that this pid is in.

use super::complaints::Admission;
use super::engine::{Engine, Place, moment_of_monotonic, now};
use super::notify::{Message, Notification};
use super::service::{Process, Service};
use super::service_socket::Sender;
use crate::supervise::{Event, ServiceId, Word};
use crate::unit::{NotifyAccess, ServiceType};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Datagrams of one service taken in one turn, so that a talkative one does not starve the others.
const DATAGRAMS: usize = 16;

/// Datagrams taken when a service has ended: more than a socket holds (net.unix.max_dgram_qlen is 10 or 512).
pub(super) const LAST_DATAGRAMS: usize = 1024;

/// Descriptors after which a turn ends, whatever else waits.
const DESCRIPTORS: usize = 64;

/// Was it found with its resident init alone?
fn is_without_main(main: &Process) -> bool {
    main.adopted && main.init && main.service_pid.is_none()
}

/// The main process of a run that is over. Its number may be another process's by now, who is none of the unit's then;
/// and where no daemon has lived to note it, who spoke is gone as well.
fn was_main(service: &Service, pid: i32) -> bool {
    match service.last_main_pid {
        Some(last) => last == pid,
        None => service.said.main_is_unknown && !Path::new(&format!("/proc/{pid}")).exists(),
    }
}

/// Why a sender is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disbelief {
    /// No process of the unit.
    Stranger,
    /// One of its processes, but not one of those that `notify_access` names.
    Access(&'static str),
}

impl Engine {
    /// Takes some of what waits.
    pub(super) fn notify_ready(&mut self, id: ServiceId) {
        if self.service(id).and_then(|service| service.notify.as_ref()).is_some_and(|socket| socket.fd.has_seen()) {
            self.settle_word(id);
            self.take_seen(id);
        }
        let mut barriers = Vec::new();
        let mut descriptors = 0;
        for _ in 0..DATAGRAMS {
            let Some(socket) = self.service(id).and_then(|service| service.notify.as_ref()) else { break };
            match socket.fd.peek() {
                Ok(Some(notification)) => {
                    let came_along = notification.descriptors.len();
                    barriers.extend(self.heard(id, notification));
                    // It is known to the next daemon, and what was stored is in the keeper, before it is gone from here.
                    if came_along > 0 {
                        self.keep_store(id);
                    }
                    self.settle_word(id);
                    let socket = self.service(id).and_then(|service| service.notify.as_ref());
                    let taken = socket.map(|socket| socket.fd.receive());
                    barriers.extend(taken.and_then(Result::ok).flatten().map(|n| n.descriptors).unwrap_or_default());
                    descriptors += came_along;
                }
                Ok(None) => break,
                Err(error) => {
                    self.complain(id, &format!("notify socket: {error}"));
                    break;
                }
            }
            // Looking at many descriptors takes time, and nobody may have the daemon for himself.
            if descriptors > DESCRIPTORS {
                break;
            }
        }
        // What was stored is in the keeper before a barrier says so.
        self.keep_store(id);
        drop(barriers);
    }

    /// Hears all that waits, as its end is about to be told. It is taken away when that is written down, with the end:
    /// a daemon that is killed before leaves both to the next one.
    pub(super) fn drain_notifications(&mut self, id: ServiceId) {
        let mut barriers = Vec::new();
        for _ in 0..LAST_DATAGRAMS {
            let Some(socket) = self.service(id).and_then(|service| service.notify.as_ref()) else { break };
            match socket.fd.see() {
                Ok(Some(notification)) => {
                    self.over.insert(id);
                    self.dirty.insert(id);
                    barriers.extend(self.heard(id, notification));
                }
                Ok(None) => break,
                Err(error) => {
                    self.complain(id, &format!("notify socket: {error}"));
                    break;
                }
            }
        }
        self.keep_store(id);
        drop(barriers);
    }

    /// What was heard is written down.
    pub(super) fn take_seen(&self, id: ServiceId) {
        if let Some(socket) = self.service(id).and_then(|service| service.notify.as_ref()) {
            socket.fd.take_seen();
        }
    }

    /// What processes of an earlier run have left in the socket is not about the next.
    pub(super) fn discard_notifications(&mut self, id: ServiceId) {
        let Some(socket) = self.service(id).and_then(|service| service.notify.as_ref()) else { return };
        socket.fd.take_seen();
        let _ = (0..LAST_DATAGRAMS).find(|_| !matches!(socket.fd.receive(), Ok(Some(_))));
    }

    /// Acts on a datagram; the answer is what its sender waits for the end of.
    fn heard(&mut self, id: ServiceId, notification: Notification) -> Vec<OwnedFd> {
        if let Err(disbelief) = self.believes(id, notification.sender) {
            self.disbelieve(id, &notification, disbelief);
            return Vec::new();
        }
        let Notification { messages, mut descriptors, .. } = notification;
        for message in &messages {
            match message {
                Message::Store { name, poll } => self.store(id, name, *poll, std::mem::take(&mut descriptors)),
                Message::RemoveStored { name } => self.remove_stored(id, name),
                Message::Barrier => return descriptors,
                other => self.notified(id, other),
            }
        }
        Vec::new()
    }

    /// May the sender speak for the unit?
    fn believes(&mut self, id: ServiceId, sender: Option<Sender>) -> Result<(), Disbelief> {
        if !self.is_from(id, sender) {
            return Err(Disbelief::Stranger);
        }
        let access = self.service(id).and_then(|service| service.running.as_ref()).map(|u| u.service.notify_access);
        let word = match access {
            Some(NotifyAccess::All) => return Ok(()),
            Some(NotifyAccess::Exec) => "exec",
            Some(NotifyAccess::Main) => "main",
            // The socket is from before the unit said so.
            Some(NotifyAccess::None) => return Err(Disbelief::Access("none")),
            // A unit that is not known any more: the socket is from when it was.
            None => "none",
        };
        let pid = sender.map_or(0, |sender| sender.pid);
        self.recognise_main(id, pid);
        for place in [Place::Main, Place::Control] {
            if place == Place::Control && access != Some(NotifyAccess::Exec) {
                continue;
            }
            if self.is_process(id, place, pid) {
                return Ok(());
            }
            // It may speak before the report of its exec was read, which names it.
            self.report_ready(id, place);
            if self.is_process(id, place, pid) {
                return Ok(());
            }
        }
        Err(Disbelief::Access(word))
    }

    /// A launch that was taken over in its middle: which process is the main one is seen when it speaks.
    fn recognise_main(&mut self, id: ServiceId, pid: i32) {
        let Some(main) = self.service(id).and_then(|service| service.main.as_ref()) else { return };
        if is_without_main(main)
            && main.exit.is_none()
            && super::ready::inner_to_host(main.pid, main.inner_pid, &[pid]).is_some()
        {
            let inner = main.inner_pid;
            self.follow_main(id, pid, inner);
            self.dirty.insert(id);
        }
    }

    fn is_process(&self, id: ServiceId, place: Place, pid: i32) -> bool {
        let Some(service) = self.service(id) else { return false };
        match place {
            Place::Main => match &service.main {
                Some(main) if is_without_main(main) => was_main(service, pid),
                Some(main) => main.main_pid() == pid,
                None => was_main(service, pid),
            },
            Place::Control => service.control.as_ref().is_some_and(|process| process.main_pid() == pid),
            Place::Check => false,
        }
    }

    fn disbelieve(&mut self, id: ServiceId, notification: &Notification, why: Disbelief) {
        let sender = notification.sender;
        let who = sender.map_or_else(|| "somebody".to_owned(), |s| format!("pid {} of uid {}", s.pid, s.uid));
        match why {
            Disbelief::Stranger => {
                self.complain(
                    id,
                    &format!("{who}, which does not belong to it, wrote to its notify socket: not believed"),
                );
            }
            Disbelief::Access(access) => {
                let ready = notification.messages.contains(&Message::Ready);
                if ready && let Some(service) = self.services.get_mut(&id) {
                    service.said.ready_was_refused = true;
                }
                self.complain(
                    id,
                    &format!(
                        "{who}, one of its processes, wrote to its notify socket: not believed, as \
                         service.notify_access is \"{access}\" (\"all\" believes every process of the unit)"
                    ),
                );
            }
        }
    }

    fn notified(&mut self, id: ServiceId, message: &Message) {
        let said = |word| Event::Said { id, word };
        let event = match message {
            Message::Ready => Event::BecameReady { id },
            Message::Reloading(usec) => {
                let is_asked = self.kind(id) == Some(ServiceType::NotifyReload);
                if usec.is_none() && is_asked {
                    self.complain(
                        id,
                        "RELOADING=1 came without MONOTONIC_USEC=, and `type = \"notify-reload\"` needs it",
                    );
                }
                Event::Reloading { id, begun: usec.map(moment_of_monotonic) }
            }
            Message::Stopping => Event::Stopping { id },
            Message::Status(text) => Event::StatusText { id, text: text.clone() },
            Message::ExtendTimeout(usec) => said(Word::ExtendTimeout(Duration::from_micros(*usec))),
            Message::Alive => said(Word::Alive),
            Message::Trigger => said(Word::Trigger),
            Message::WatchdogInterval(usec) => said(Word::WatchdogInterval(Duration::from_micros(*usec))),
            Message::ResetRestarts => said(Word::ResetRestarts),
            Message::MainPid(inner) => return self.main_pid_named(id, *inner),
            Message::Errno(errno) => return self.note_error(id, |said| said.errno = (*errno > 0).then_some(*errno)),
            Message::Error(text) => {
                return self.note_error(id, |said| said.error = Some(text.clone()).filter(|text| !text.is_empty()));
            }
            // These come with descriptors, see `heard`.
            Message::Barrier | Message::Store { .. } | Message::RemoveStored { .. } => return,
            Message::Malformed { what, why } => {
                return self.complain(id, &format!("notify message {what:?} is not acted on: {why}"));
            }
        };
        self.events.push_back(event);
    }

    fn kind(&self, id: ServiceId) -> Option<ServiceType> {
        self.service(id)?.running.as_ref().map(|unit| unit.service.kind)
    }

    fn note_error(&mut self, id: ServiceId, note: impl FnOnce(&mut super::service::Said)) {
        if let Some(service) = self.services.get_mut(&id) {
            note(&mut service.said);
        }
    }

    /// `MAINPID=` counts in the service's pid namespace; only a process of the unit's group is believed.
    fn main_pid_named(&mut self, id: ServiceId, inner: i32) {
        let Some(service) = self.service(id) else { return };
        let Some(main) = service.main.as_ref().filter(|main| main.exit.is_none() && main.inner_pid != inner) else {
            return;
        };
        let refusal = if self.kind(id) == Some(ServiceType::Forking) {
            Some("the main process of a forking service is named by its pid file")
        } else if main.init_outside {
            Some("in a joined pid namespace nobody could tell how another main process ends")
        } else if !main.init && !main.adopted {
            Some("without a resident init (namespaces.init) nobody could tell how another main process ends")
        } else {
            None
        };
        if let Some(why) = refusal {
            return self.complain(id, &format!("MAINPID={inner} is not acted on: {why}"));
        }
        let init = main.pid;
        let pids = service.group.as_ref().and_then(|group| group.pids().ok()).unwrap_or_default();
        match super::ready::inner_to_host(init, inner, &pids) {
            Some(process) if process.pid != init => {
                self.follow_main(id, process.pid, process.inner);
                self.dirty.insert(id);
            }
            Some(_) => self.complain(id, &format!("MAINPID={inner} names the container's own init: not believed")),
            None => self.complain(id, &format!("MAINPID={inner} names no process of the unit: not believed")),
        }
    }

    /// One line of the daemon's log about a service that does what it should not, as long as there are not too many.
    pub(super) fn complain(&mut self, id: ServiceId, text: &str) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let unit = service.name.as_str();
        match service.complaints.admit(now()) {
            Admission::Say { left_out: 0 } => tracing::warn!(unit, "{unit}: {text}"),
            Admission::Say { left_out } => {
                tracing::warn!(unit, "{unit}: {text}; {left_out} lines like this were left out before");
            }
            Admission::SayLast => tracing::warn!(unit, "{unit}: {text}; more like this is left out for half a minute"),
            Admission::Hide => {}
        }
    }
}
