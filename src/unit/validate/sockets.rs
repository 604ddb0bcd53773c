//! `[[sockets]]`: what belongs to which kind of address, and what is there twice.

use super::super::decode::{Entry, MountEntry, Sink, Source, Value, Values};
use super::super::layer;
use super::super::problem::Code;
use super::super::{Activation, RestartPolicy, SocketAddress, SocketSettings};
use super::Checked;
use std::ops::Range;

/// Descriptors that can be handed over.
const MOST: usize = 64;

/// Builds all sockets, in order. Broken ones are left out; their problems are reported.
pub(super) fn assemble(sink: &mut Sink<'_>, unit: &str, values: &mut Values) -> Vec<SocketSettings> {
    let mut entries = std::mem::take(&mut values.sockets);
    let mut sockets: Vec<SocketSettings> = Vec::new();
    for entry in &mut entries {
        no_effects(sink, entry);
        layer::entry_defaults(&mut entry.values);
        let Some(socket) = one(sink, unit, entry) else { continue };
        if sockets.iter().any(|other| other.listen == socket.listen || same_path(other, &socket)) {
            let message = "the unit listens on this twice";
            sink.add(Code::Conflict, place(entry, "listen"), &key(entry, "listen"), message, None);
        }
        sockets.push(socket);
    }
    if let Some(entry) = entries.get(MOST) {
        let message = format!("more than {MOST} sockets");
        sink.add(Code::OutOfRange, entry.span.clone(), "sockets", message, None);
    }
    values.sockets = entries;
    sockets
}

fn same_path(one: &SocketSettings, other: &SocketSettings) -> bool {
    one.listen.path().is_some() && one.listen.path() == other.listen.path()
}

fn key(entry: &MountEntry, name: &str) -> String {
    format!("sockets[{}].{name}", entry.index)
}

/// The value's place, or the header's.
fn place(entry: &MountEntry, name: &'static str) -> Range<usize> {
    entry.values.place("sockets", name).map_or(entry.span.clone(), |p| p.value.clone())
}

fn one(sink: &mut Sink<'_>, unit: &str, entry: &MountEntry) -> Option<SocketSettings> {
    let get = |name| entry.values.get("sockets", name).map(|e| &e.value);
    let Some(Value::SocketAddress(listen)) = get("listen") else {
        if !entry.values.attempted.contains(&("sockets", "listen")) {
            let message = "`listen` is missing in [[sockets]]";
            let help = Some("such as listen = \"tcp:127.0.0.1:8080\" or listen = \"unix:/run/web.sock\"".to_owned());
            sink.add(Code::Missing, entry.span.clone(), &key(entry, "listen"), message, help);
        }
        return None;
    };
    let account = |name| match get(name) {
        Some(Value::Account(account)) => Some(account.clone()),
        _ => None,
    };
    let (Some(Value::Mode(mode)), Some(Value::Int(backlog))) = (get("mode"), get("backlog")) else { return None };
    let (Some(Value::Bool(accept)), Some(Value::Int(most)), Some(Value::Int(most_of_one))) =
        (get("accept"), get("max_connections"), get("max_connections_per_source"))
    else {
        return None;
    };
    let small = |number: &i64| u32::try_from(*number).expect("the key table limits this integer to 16 bits");
    let name = match get("name") {
        Some(Value::Text(name)) => name.clone(),
        // As systemd has it.
        _ if *accept => "connection".to_owned(),
        _ => unit.to_owned(),
    };
    if name.is_empty() || name.len() > 255 || name.contains(':') || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        let message = "a name of a descriptor has 1 to 255 ASCII characters and no `:`";
        sink.add(Code::BadText, place(entry, "name"), &key(entry, "name"), message, None);
    }
    Some(SocketSettings {
        listen: listen.clone(),
        name,
        mode: *mode,
        user: account("user"),
        group: account("group"),
        backlog: small(backlog),
        accept: *accept,
        max_connections: small(most),
        max_connections_per_source: small(most_of_one),
        index: entry.index,
    })
}

/// Keys that say nothing about this kind of address.
fn no_effects(sink: &mut Sink<'_>, entry: &MountEntry) {
    let Some(Value::SocketAddress(listen)) = entry.values.get("sockets", "listen").map(|e| &e.value) else { return };
    let mut no_effect = |name: &'static str, why: &str| {
        if let Some(place) = entry.values.place("sockets", name) {
            let message = format!("`{name}` has no effect: {why}");
            sink.add(Code::NoEffect, place.key.clone(), &key(entry, name), message, None);
        }
    };
    if listen.path().is_none() {
        for name in ["mode", "user", "group"] {
            no_effect(name, "only UNIX sockets and FIFOs have an owner and a mode");
        }
    }
    if !listen.has_connections() {
        let why = match listen {
            SocketAddress::Fifo(_) => "nobody connects to a FIFO",
            _ => "nobody connects to a datagram socket",
        };
        no_effect("backlog", why);
    }
    if !matches!(entry.values.get("sockets", "accept").map(|e| &e.value), Some(Value::Bool(true))) {
        for name in ["max_connections", "max_connections_per_source"] {
            no_effect(name, "it counts what `accept = true` accepts");
        }
    }
}

/// A unit that accepts is started on demand and not restarted, unless it says something else (which `all` refuses).
pub(super) fn imply_accept(values: &mut Values, sockets: &[SocketSettings]) {
    if !sockets.iter().any(|socket| socket.accept) {
        return;
    }
    for (table, key, word) in [("service", "activation", "on-demand"), ("restart", "policy", "no")] {
        if !values.attempted.contains(&(table, key)) {
            values.insert(table, key, Entry { value: Value::Word(word), source: Source::Default });
        }
    }
}

/// What other tables say about sockets.
pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let nothing = c.values.sockets.is_empty() && c.values.timers.is_empty();
    if c.settings.service.activation == Activation::OnDemand && nothing {
        let message = "`activation = \"on-demand\"` needs [[sockets]]: nothing would ever start the service";
        let place = c.value_place("service", "activation");
        sink.add(Code::Incomplete, place, "service.activation", message, None);
    }
    accepting(sink, c);
}

/// What does not go with one process for each connection.
fn accepting(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let sockets = &c.settings.sockets;
    if !sockets.iter().any(|socket| socket.accept) {
        return;
    }
    for entry in &c.values.sockets {
        let Some(socket) = sockets.iter().find(|socket| socket.index == entry.index) else { continue };
        if !socket.accept {
            let message = "another socket of the unit has `accept = true`, and this one has not";
            let help =
                Some("all sockets of a unit accept, or none does: put this one into a unit of its own".to_owned());
            sink.add(Code::Conflict, place(entry, "listen"), &key(entry, "accept"), message, help);
        } else if !socket.listen.has_connections() {
            let message = "`accept = true` needs a socket with connections";
            let help = Some("tcp:, unix: and unix-seqpacket: have them".to_owned());
            sink.add(Code::Conflict, place(entry, "accept"), &key(entry, "accept"), message, help);
        }
    }
    let mut refuse = |table: &'static str, key: &'static str, message: &str, help: &str| {
        let dotted = format!("{table}.{key}");
        sink.add(Code::Conflict, c.value_place(table, key), &dotted, message.to_owned(), Some(help.to_owned()));
    };
    if c.settings.service.activation == Activation::Start && c.is_written("service", "activation") {
        refuse(
            "service",
            "activation",
            "a unit with `accept = true` is started by its connections",
            "remove `activation`",
        );
    }
    if c.settings.restart.policy != RestartPolicy::No && c.is_written("restart", "policy") {
        let message = "a unit with `accept = true` is not restarted: its connection is gone with it";
        refuse("restart", "policy", message, "remove `policy`, or accept in the service itself");
    }
    if c.settings.service.remain_after_exit {
        let message = "with `accept = true` nothing is left to stay up for: the connection is gone";
        refuse("service", "remain_after_exit", message, "remove `remain_after_exit`");
    }
    for table in ["ready", "health"] {
        let mut keys = ["listen", "path", "command"].into_iter();
        if let Some(written) = keys.find(|key| c.is_written(table, key)) {
            let message = "nobody asks the processes of single connections whether they are well";
            refuse(table, written, message, "remove the table, or accept in the service itself");
        }
    }
    // Of the file: a unit that serves a connection has another name than it.
    let file = c.settings.file.rsplit('/').next().unwrap_or_default();
    if let Some(entry) = c.values.sockets.first().filter(|_| file.contains('@')) {
        let message = "`accept = true` in an instance of a template: its connections would be instances of an instance";
        let help = Some("write a unit of its own: it is the template of its connections".to_owned());
        sink.add(Code::Conflict, place(entry, "accept"), &key(entry, "accept"), message, help);
    }
    if let Some(timer) = c.values.timers.first() {
        let help = Some("put the timers into a unit of their own".to_owned());
        let message = "a unit with `accept = true` is started by its connections, not by the clock";
        sink.add(Code::Conflict, timer.span.clone(), "timers", message, help);
    }
}
