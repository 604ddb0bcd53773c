//! What services say: syslog datagrams and output; and whether it was they who said it (readiness: `notified`).

use super::engine::{Engine, Timer};
use super::log_file::LogNotice;
use super::log_output::{End, Means, Output};
use super::log_pipe::PipeTurn;
use super::service::Service;
use super::service_socket::Sender;
use super::syslog::SyslogLine;
use crate::supervise::ServiceId;
use crate::sys::poll::Interest;

/// Datagrams of one service taken in one turn, so that a talkative one does not starve the others.
const DATAGRAMS: usize = 16;

/// Lines of output kept of a service that is down, for the message of a failed start.
const KEPT_LINES: usize = 10;

/// Log files that are kept open, of all services together: one that has been silent for long is opened again.
const OPEN_LOGS: usize = 64;

impl Engine {
    /// Does a process of the unit say this? The host's path of the socket is open to everybody, as a service without
    /// mounts of its own finds it there. A sender that is gone already (systemd-notify(1) often is) is believed if it
    /// was root or the user that the unit runs as.
    pub(super) fn is_from(&self, id: ServiceId, sender: Option<Sender>) -> bool {
        let (Some(service), Some(sender)) = (self.service(id), sender) else { return false };
        let Some(group) = &service.group else { return true };
        if let Ok(text) = std::fs::read_to_string(format!("/proc/{}/cgroup", sender.pid)) {
            let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(std::path::Path::new);
            return paths.any(|path| path.starts_with(group.path()));
        }
        sender.uid == 0 || service.last_uid == Some(sender.uid)
    }

    fn refuse_stranger(&mut self, id: ServiceId, sender: Option<Sender>) {
        let who = sender.map_or_else(|| "somebody".to_owned(), |s| format!("pid {} of uid {}", s.pid, s.uid));
        self.complain(id, &format!("{who}, which does not belong to it, wrote to its syslog socket: not believed"));
    }

    pub(super) fn syslog_ready(&mut self, id: ServiceId) {
        self.take_syslog(id, DATAGRAMS);
    }

    /// Takes all that waits: nobody is left who could say more, or its end is about to be told.
    pub(super) fn drain_syslog(&mut self, id: ServiceId) {
        self.take_syslog(id, super::notified::LAST_DATAGRAMS);
    }

    /// What is in the log is taken away, so that a message may come twice where the daemon is killed in between.
    fn take_syslog(&mut self, id: ServiceId, most: usize) {
        for _ in 0..most {
            let Some(socket) = self.service(id).and_then(|service| service.syslog.as_ref()) else { return };
            let Ok(Some((sender, line))) = socket.fd.peek() else { return };
            if self.is_from(id, sender) {
                self.log_message(id, &line);
            } else {
                self.refuse_stranger(id, sender);
            }
            if let Some(socket) = self.service(id).and_then(|service| service.syslog.as_ref()) {
                let _ = socket.fd.receive();
            }
        }
    }

    fn log_message(&mut self, id: ServiceId, line: &SyslogLine) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(log) = &mut service.log else { return };
        let notice = log.record(line, &mut Means::of(&mut self.journal, &mut self.scratch));
        say_notice(&service.name, notice);
        self.log_written(id);
    }

    pub(super) fn log_ready(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(log) = service.log.as_mut() else { return };
        match log.turn(&mut Means::of(&mut self.journal, &mut self.scratch)) {
            Ok((turn, notice)) => {
                if notice.is_some() {
                    // Whether output is dropped is for the next daemon to know.
                    self.dirty.insert(id);
                }
                say_notice(&service.name, notice);
                self.log_written(id);
                self.watch_for_more(id, turn == PipeTurn::Stuck);
            }
            Err(error) => {
                tracing::error!(unit = service.name, "{}: its output cannot be read any more: {error}", service.name);
                if let Some(log) = service.log.take() {
                    self.unwatch(&log.pipe.fd, log.pipe.token);
                    self.release_log(id, log.is_relayed());
                }
            }
        }
    }

    /// What stays in the pipe until its line is whole must not be reported again and again: only what is added to it is.
    fn watch_for_more(&mut self, id: ServiceId, stuck: bool) {
        let Some(log) = self.services.get_mut(&id).and_then(|service| service.log.as_mut()) else { return };
        if log.paused || log.waits_for_more == stuck {
            return;
        }
        let interest = if stuck { Interest::ReadMore } else { Interest::Read };
        match self.poller.change(&log.pipe.fd, log.pipe.token, interest) {
            Ok(()) => log.waits_for_more = stuck,
            Err(error) => tracing::error!("epoll: {error}"),
        }
    }

    /// Something was written, or is waiting to be.
    fn log_written(&mut self, id: ServiceId) {
        self.limit_open_files(id);
        self.relay_written(id);
        let Some(log) = self.services.get(&id).and_then(|service| service.log.as_ref()) else { return };
        if let Some(due) = log.due()
            && !self.is_set(Timer::Suppressed(id))
        {
            self.after(due.since(super::engine::now()), Timer::Suppressed(id));
            // The next daemon is to know that something is missing, should this one not come to saying it.
            self.dirty.insert(id);
        }
    }

    /// The window is over in which messages were suppressed.
    pub(super) fn tell_suppressed(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(log) = service.log.as_mut() else { return };
        let notice = log.settle(false, &mut Means::of(&mut self.journal, &mut self.scratch));
        say_notice(&service.name, notice);
        self.dirty.insert(id);
        self.log_written(id);
    }

    /// Closes the log file that was opened first, when too many are open.
    fn limit_open_files(&mut self, id: ServiceId) {
        let log = |service: &mut Service| match service.log.as_deref_mut() {
            Some(Output { end: End::File(file), .. }) => file.take_opened(),
            _ => false,
        };
        if !self.services.get_mut(&id).is_some_and(|service| log(service)) {
            return;
        }
        // Rotation opens a file again whose service is listed already.
        self.open_logs.retain(|other| *other != id);
        self.open_logs.push_back(id);
        if self.open_logs.len() > OPEN_LOGS
            && let Some(oldest) = self.open_logs.pop_front()
            && let Some(log) = self.services.get_mut(&oldest).and_then(|service| service.log.as_mut())
            && let End::File(file) = &mut log.end
        {
            file.close();
        }
    }

    /// Reads what is in the pipe now, at most as much as the largest pipe holds.
    pub(super) fn drain_log(&mut self, id: ServiceId) {
        let paused = self.service(id).and_then(|service| service.log.as_ref()).is_some_and(|log| log.paused);
        if !paused {
            self.read_all(id);
        }
    }

    fn read_all(&mut self, id: ServiceId) {
        const TURNS: usize = 512;
        for _ in 0..TURNS {
            let Some(service) = self.services.get_mut(&id) else { return };
            let Some(log) = service.log.as_mut() else { return };
            match log.turn(&mut Means::of(&mut self.journal, &mut self.scratch)) {
                Ok((PipeTurn::Read { .. }, notice)) => say_notice(&service.name, notice),
                Ok((PipeTurn::Idle | PipeTurn::Ended | PipeTurn::Stuck, notice)) => {
                    say_notice(&service.name, notice);
                    break;
                }
                Err(_) => break,
            }
            self.relay_written(id);
        }
    }

    /// Closes the log of a service that is down: a thousand units that ran once must not hold three descriptors each.
    pub(super) fn close_log(&mut self, id: ServiceId) {
        if let Some(log) = self.services.get_mut(&id).and_then(|service| service.log.as_mut()) {
            log.conclude();
        }
        self.read_all(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(mut log) = service.log.take() else { return };
        let notice = log.finish(&mut Means::of(&mut self.journal, &mut self.scratch));
        say_notice(&service.name, notice);
        service.lines = log.last_lines(KEPT_LINES);
        service.suppressed = log.suppressed();
        self.unwatch(&log.pipe.fd, log.pipe.token);
        self.release_log(id, log.is_relayed());
        self.cancel(Timer::Suppressed(id));
        self.await_journal();
    }

    /// Before the daemon ends: every log says what is missing in it.
    pub(super) fn conclude_logs(&mut self) {
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        for id in ids {
            let Some(service) = self.services.get_mut(&id) else { continue };
            let Some(log) = service.log.as_mut() else { continue };
            if log.untold() > 0 {
                let notice = log.settle(true, &mut Means::of(&mut self.journal, &mut self.scratch));
                say_notice(&service.name, notice);
                self.persist(id);
            }
        }
        self.conclude_relay();
    }
}

fn say_notice(unit: &str, notice: Option<LogNotice>) {
    match notice {
        Some(LogNotice::Losing { path, error }) => {
            tracing::error!(unit, "{unit}: its output cannot be written to {}: {error}; it is dropped", path.display());
        }
        Some(LogNotice::Recovered { path, lost }) => {
            tracing::warn!(unit, "{unit}: its output is written to {} again; {lost} bytes are missing", path.display());
        }
        None => {}
    }
}
