//! `[[sockets]]`: what belongs to which kind of address, and what is there twice.

use super::super::decode::{MountEntry, Sink, Value, Values};
use super::super::layer;
use super::super::problem::Code;
use super::super::{Activation, SocketAddress, SocketSettings};
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
        layer::entry_defaults("sockets", &mut entry.values);
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
    let name = match get("name") {
        Some(Value::Text(name)) => name.clone(),
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
        backlog: u32::try_from(*backlog).expect("the key table limits this integer to 16 bits"),
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
}

/// What other tables say about sockets.
pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let nothing = c.values.sockets.is_empty() && c.values.timers.is_empty();
    if c.settings.service.activation == Activation::OnDemand && nothing {
        let message = "`activation = \"on-demand\"` needs [[sockets]]: nothing would ever start the service";
        let place = c.value_place("service", "activation");
        sink.add(Code::Incomplete, place, "service.activation", message, None);
    }
}
