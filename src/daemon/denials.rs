//! Denied system calls of services that want them remembered (`syscalls.on_deny = "notify-errno"`).
//!
//! Each such service has an answerer (`init::answerer`), a process of a few KiB beside it: it has the listeners of the
//! service's filters, answers what the filters would have answered, and writes to a table what it was. It needs no daemon
//! for that, and nobody waits for one. It ends when everybody who has such a filter has ended and nobody can send it
//! another listener.
//!
//! | name in the keeper | what |
//! |---|---|
//! | `denials:UNIT` | the daemon's side of the channel, over which the set-up stage sends listeners |
//! | `denied:UNIT` | the table |
//! | `answerer:UNIT` | the pidfd of the process, for a daemon after an upgrade, whose child it still is |
//!
//! Over the channel comes a byte for each new entry. A service may make denied calls in a loop: then numbers in the table
//! grow, and nobody is told.

use super::activation::keeper::{Making, birth};
use super::engine::{Engine, Source, to_io};
use super::launch::io_failure;
use super::service::{Service, Watched};
use crate::control::DeniedCall;
use crate::filter;
use crate::plan::{LaunchPlan, Step};
use crate::supervise::{LaunchFailure, ServiceId};
use crate::sys::socket;
use crate::unit::{RestrictNamespaces, Unit};
use rustix::fs::MemfdFlags;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Of the table, bytes; its form is described in `init::answerer`.
const TABLE_SIZE: usize = 16384;
const MAGIC: u32 = 0x7273_6463;
const HEADER: usize = 64;
const ENTRY: usize = 128;
const EAFNOSUPPORT: u32 = 97;

/// What the daemon has of a service's answerer.
#[derive(Debug)]
pub(super) struct Denials {
    /// `None`: the service is down, or the answerer is gone.
    channel: Option<Watched<OwnedFd>>,
    table: OwnedFd,
    /// The answerer; `None`: one of a daemon before this one, which has not kept it.
    process: Option<OwnedFd>,
    /// Entries that the log has; unknown at first when an earlier daemon began.
    logged: Option<usize>,
}

/// One entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    arch: u32,
    number: u32,
    errno: u32,
    pid: u32,
    arguments: [u64; 6],
    times: u64,
    others: u64,
    comm: String,
}

impl Engine {
    /// Sees to it that somebody answers for the filters of the plan.
    pub(super) fn open_denials(&mut self, id: ServiceId, plan: &LaunchPlan) -> Result<(), LaunchFailure> {
        let asks = |step: &Step| matches!(step, Step::LoadFilter { program, .. } if program.asks_listener());
        let has_one =
            self.service(id).and_then(|s| s.denials.as_ref()).is_some_and(|denials| denials.channel.is_some());
        if has_one || !plan.steps.iter().any(|planned| asks(&planned.step)) {
            return Ok(());
        }
        self.start_answerer(id).map_err(io_failure("SECCOMP", 228, "who answers denied calls (syscalls.on_deny)"))
    }

    fn start_answerer(&mut self, id: ServiceId) -> io::Result<()> {
        let (ours, theirs) = socket::seqpacket_pair().map_err(to_io)?;
        let table = rustix::fs::memfd_create("rsvc-denied", MemfdFlags::CLOEXEC)?;
        // Written, not only sized: a hole that cannot be filled would be the end of the answerer.
        rustix::io::pwrite(&table, &[0; TABLE_SIZE], 0)?;
        let group = self.keeper_group();
        let making = Making {
            image: self.init_image.as_fd(),
            null: self.null.as_fd(),
            group: group.as_ref().map(|group| group.as_fd()),
        };
        let argv = [c"rsvc-denials", c"3", c"4", c"0"].map(ToOwned::to_owned);
        let (_, pidfd) = birth(&making, &argv, [theirs.as_fd(), table.as_fd()].into_iter())?;
        let process = pidfd.try_clone().ok();
        match self.watch(&pidfd, Source::Retired) {
            Ok(token) => self.retire(Watched { fd: pidfd, token }),
            Err(error) => {
                self.end_unwatched(pidfd);
                return Err(error);
            }
        }
        self.set_denials(id, ours, table, process, Some(0))?;
        self.keep_denials(id);
        Ok(())
    }

    fn set_denials(
        &mut self,
        id: ServiceId,
        channel: OwnedFd,
        table: OwnedFd,
        process: Option<OwnedFd>,
        logged: Option<usize>,
    ) -> io::Result<()> {
        let token = self.watch(&channel, Source::Denials(id))?;
        if let Some(service) = self.services.get_mut(&id) {
            let channel = Some(Watched { fd: channel, token });
            service.denials = Some(Box::new(Denials { channel, table, process, logged }));
        }
        Ok(())
    }

    /// What a stage sends listeners over.
    pub(super) fn denials_channel(&self, id: ServiceId) -> Option<&OwnedFd> {
        let denials = self.service(id)?.denials.as_ref()?;
        denials.channel.as_ref().map(|channel| &channel.fd)
    }

    /// Before the first listener is sent.
    pub(super) fn keep_denials(&mut self, id: ServiceId) {
        let Some(service) = self.service(id) else { return };
        let Some(Denials { channel: Some(channel), table, process, .. }) = service.denials.as_deref() else { return };
        let name = service.name.clone();
        let process = process.as_ref().and_then(|process| process.try_clone().ok());
        if let (Ok(channel), Ok(table)) = (channel.fd.try_clone(), table.try_clone()) {
            self.keep_for_next(&table_slot(&name), table);
            self.keep_for_next(&channel_slot(&name), channel);
        }
        if let Some(process) = process {
            self.keep_for_next(&process_slot(&name), process);
        }
    }

    /// Of all services, into a new keeper.
    pub(super) fn keep_all_denials(&mut self) {
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        ids.into_iter().for_each(|id| self.keep_denials(id));
    }

    /// Goes on with what an earlier daemon began.
    pub(super) fn adopt_denials(&mut self, id: ServiceId) {
        let Some(name) = self.service(id).map(|service| service.name.clone()) else { return };
        if !self.is_kept(&channel_slot(&name)) || !self.is_kept(&table_slot(&name)) {
            return;
        }
        let process = self.take_kept(&process_slot(&name));
        if let Some(copy) = process.as_ref().and_then(|process| process.try_clone().ok())
            && let Ok(token) = self.watch(&copy, Source::Retired)
        {
            self.retire(Watched { fd: copy, token });
        }
        if let (Some(channel), Some(table)) = (self.take_kept(&channel_slot(&name)), self.take_kept(&table_slot(&name)))
            && let Err(error) = super::scarcity::noted(self.set_denials(id, channel, table, process, None))
        {
            tracing::warn!(unit = name, "{name}: what of it was denied is not shown: {error}");
        }
    }

    /// The service is down: the answerer ends. What it wrote is shown until the next run.
    pub(super) fn close_denials(&mut self, id: ServiceId) {
        self.denials_ready(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        let name = service.name.clone();
        let Some(channel) = service.denials.as_mut().and_then(|denials| denials.channel.take()) else { return };
        self.unwatch(&channel.fd, channel.token);
        for slot in [channel_slot(&name), table_slot(&name), process_slot(&name)] {
            self.release_kept(&slot);
        }
    }

    /// A new run: what the last one did is forgotten.
    pub(super) fn forget_denials(&mut self, id: ServiceId) {
        self.close_denials(id);
        if let Some(service) = self.services.get_mut(&id) {
            service.denials = None;
        }
    }

    /// New entries, each a line in the log; or the end of the answerer.
    pub(super) fn denials_ready(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(denials) = service.denials.as_deref_mut() else { return };
        let Some(channel) = &denials.channel else { return };
        let mut buffer = [0; 8];
        let mut told = 0;
        let gone = loop {
            match socket::receive(channel.fd.as_fd(), &mut buffer) {
                Ok(Some(received)) if received.length == 0 => break true,
                Ok(Some(_)) => told += 1,
                Ok(None) => break false,
                Err(error) => break !super::scarcity::may_pass(&to_io(error)),
            }
        };
        let (entries, _) = denials.entries();
        let logged = denials.logged.unwrap_or(entries.len().saturating_sub(told));
        denials.logged = Some(entries.len());
        let unit = service.running.as_deref();
        let mut known: Vec<DeniedCall> = entries.iter().take(logged).map(|entry| describe(entry, unit)).collect();
        for entry in entries.get(logged..).unwrap_or_default() {
            let call = describe(entry, unit);
            if known.iter().any(|known| (&known.call, &known.errno) == (&call.call, &call.errno)) {
                continue;
            }
            tracing::warn!(
                unit = service.name,
                "{}: denied {} with {}, asked by {}[{}]; {}",
                service.name,
                call.call,
                call.errno,
                call.command,
                call.pid,
                call.remedy
            );
            known.push(call);
        }
        if gone {
            self.answerer_gone(id);
        }
    }

    /// Somebody has ended it: who still has the filter is told ENOSYS by the kernel.
    fn answerer_gone(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let name = service.name.clone();
        let Some(channel) = service.denials.as_mut().and_then(|denials| denials.channel.take()) else { return };
        if service.main.is_some() {
            tracing::error!(
                unit = name,
                "{name}: who answered its denied calls was ended: they are denied with ENOSYS from now on, and not \
                 remembered. A restart of {name} mends that"
            );
        }
        self.unwatch(&channel.fd, channel.token);
        for slot in [channel_slot(&name), table_slot(&name), process_slot(&name)] {
            self.release_kept(&slot);
        }
    }
}

fn channel_slot(unit: &str) -> String {
    format!("denials:{unit}")
}

fn process_slot(unit: &str) -> String {
    format!("answerer:{unit}")
}

fn table_slot(unit: &str) -> String {
    format!("denied:{unit}")
}

impl Denials {
    /// What is in the table, and how many calls found no room in it.
    fn entries(&self) -> (Vec<Entry>, u64) {
        let mut bytes = vec![0; TABLE_SIZE];
        match rustix::io::pread(&self.table, &mut bytes, 0) {
            Ok(count) => parse(bytes.get(..count).unwrap_or_default()),
            Err(_) => (Vec::new(), 0),
        }
    }
}

fn parse(table: &[u8]) -> (Vec<Entry>, u64) {
    if table.len() < HEADER || word(table, 0) != MAGIC {
        return (Vec::new(), 0);
    }
    let count = word(table, 4) as usize;
    let entries = table[HEADER..].chunks_exact(ENTRY).take(count).map(|entry| {
        let comm = entry[80..96].split(|byte| matches!(byte, 0 | b'\n')).next().unwrap_or_default();
        Entry {
            arch: word(entry, 0),
            number: word(entry, 4),
            errno: word(entry, 8),
            pid: word(entry, 12),
            arguments: std::array::from_fn(|index| long(entry, 16 + 8 * index)),
            times: long(entry, 64),
            others: long(entry, 72),
            comm: String::from_utf8_lossy(comm).into_owned(),
        }
    });
    (entries.collect(), long(table, 8))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |long| u64::from_ne_bytes(*long))
}

/// What `status` shows: calls that differ only in what says nothing (addresses, numbers of descriptors) are one.
pub(super) fn denied(service: &Service) -> Vec<DeniedCall> {
    let Some(denials) = &service.denials else { return Vec::new() };
    let (entries, lost) = denials.entries();
    let unit = service.running.as_deref().or(service.unit.as_deref());
    let mut calls: Vec<DeniedCall> = Vec::new();
    for entry in &entries {
        let call = describe(entry, unit);
        match calls.iter_mut().find(|known| (&known.call, &known.errno) == (&call.call, &call.errno)) {
            Some(known) => {
                known.times += call.times;
                known.others += call.others;
            }
            None => calls.push(call),
        }
    }
    if lost > 0 {
        calls.push(DeniedCall { call: "others".to_owned(), times: lost, ..DeniedCall::default() });
    }
    calls
}

fn describe(entry: &Entry, unit: Option<&Unit>) -> DeniedCall {
    let name = filter::call_name(entry.arch, entry.number);
    let errno = nix::errno::Errno::from_raw(i32::try_from(entry.errno).unwrap_or(0));
    DeniedCall {
        call: match name {
            Some(name) => filter::with_arguments(name, &entry.arguments),
            None => format!("number {}", entry.number),
        },
        arguments: entry.arguments.iter().map(|argument| format!("{argument:#x}")).collect(),
        times: entry.times,
        others: entry.others,
        errno: format!("{errno:?}"),
        pid: i64::from(entry.pid),
        command: entry.comm.clone(),
        remedy: match (name, unit) {
            (Some(name), Some(unit)) => remedy(unit, name, entry.errno),
            _ => String::new(),
        },
    }
}

/// Which key would allow it. `errno`: how it was denied, 0 when it killed.
pub(super) fn remedy(unit: &Unit, call: &str, errno: u32) -> String {
    let (syscalls, security) = (&unit.syscalls, &unit.security);
    let protections: [(bool, &[&str], &str); 4] = [
        (security.protect_clock, &["@clock"], "security.protect_clock"),
        (security.protect_kernel_modules, &["@module"], "security.protect_kernel_modules"),
        (security.protect_kernel_logs, &["syslog"], "security.protect_kernel_logs"),
        (security.protect_hostname, &["sethostname", "setdomainname"], "security.protect_hostname"),
    ];
    let protected = |(on, calls, _): &&(bool, &[&str], &str)| *on && calls.iter().any(|c| filter::covers(c, call));
    if let Some((_, _, key)) = protections.iter().find(protected) {
        return format!("{key} = false would let it pass to syscalls");
    }
    let plain = |entry: &&String| filter::covers(entry, call);
    let conditional = |entry: &&String| entry.split_once('(').is_some_and(|(name, _)| name == call);
    if let Some(entry) = syscalls.deny.iter().find(|entry| plain(entry) || conditional(entry)) {
        return format!("\"{entry}\" in syscalls.deny denies it");
    }
    if !syscalls.allow.iter().chain(&syscalls.log).any(|entry| plain(&entry)) {
        let group = filter::group_of(call).map_or_else(String::new, |group| format!(", or the group {group}"));
        return format!("syscalls.allow.append = [\"{call}\"]{group} would allow it");
    }
    let key = match call {
        "socket" | "socketpair" if errno == EAFNOSUPPORT => "network.address_families",
        "socketcall" => "network.address_families",
        "clone" | "unshare" | "setns" if security.restrict_namespaces != RestrictNamespaces::No => {
            "security.restrict_namespaces"
        }
        "personality" => "security.lock_personality",
        "sched_setscheduler" | "sched_setattr" => "security.restrict_realtime",
        "ioctl" => return "typing into a terminal is denied to all services with a filter".to_owned(),
        _ => "security.restrict_suid_sgid",
    };
    format!("{key} denies it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written_and_nothing_else_is() {
        assert_eq!(parse(&[]), (Vec::new(), 0));
        assert_eq!(parse(&[0; TABLE_SIZE]), (Vec::new(), 0));
        let mut table = vec![0; TABLE_SIZE];
        let mut put = |at: usize, bytes: &[u8]| table[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_ne_bytes());
        put(4, &1u32.to_ne_bytes());
        put(8, &7u64.to_ne_bytes());
        put(HEADER, &0xc000_003eu32.to_ne_bytes());
        put(HEADER + 4, &165u32.to_ne_bytes());
        put(HEADER + 8, &1u32.to_ne_bytes());
        put(HEADER + 16 + 40, &9u64.to_ne_bytes());
        put(HEADER + 64, &3u64.to_ne_bytes());
        put(HEADER + 80, b"probe\n");
        let (entries, lost) = parse(&table);
        assert_eq!((entries.len(), lost), (1, 7));
        let entry = &entries[0];
        assert_eq!((entry.number, entry.times, entry.arguments[5], entry.comm.as_str()), (165, 3, 9, "probe"));
        let (unit, _) = Unit::parse("web", "web.toml", "[service]\nexec = [\"/bin/web\"]\n").unwrap();
        let call = describe(entry, Some(&unit));
        assert_eq!((call.call.as_str(), call.errno.as_str()), ("mount", "EPERM"));
        assert_eq!(call.remedy, "syscalls.allow.append = [\"mount\"], or the group @mount would allow it");
        table[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse(&table).0.len(), (TABLE_SIZE - HEADER) / ENTRY);
        parse(&table[..1000]);
    }
}
