//! Sockets and timers of a unit, for its plan: what `daemon::activation` and `daemon::timers` will do at a start.

use super::Purpose;
use super::context::Context;
use super::identity;
use crate::plan::{PlannedSocket, PlannedTimer, SocketFile};
use crate::unit::value::{print_socket_address, print_time_span};
use crate::unit::{Activation, SocketSettings};

/// First number of the descriptors that a service is passed. Source: sd_listen_fds(3).
const FIRST_PASSED: u16 = 3;

/// The unit's sockets, which its main process is passed.
pub(super) fn sockets(context: &mut Context) -> Vec<PlannedSocket> {
    if context.purpose != Purpose::Main {
        return Vec::new();
    }
    let unit = context.unit;
    (FIRST_PASSED..)
        .zip(&unit.sockets)
        .map(|(descriptor, socket)| PlannedSocket {
            address: print_socket_address(&socket.listen),
            file: socket.listen.path().map(|_| file(context, socket)),
            descriptor: if socket.accept { FIRST_PASSED } else { descriptor },
            name: socket.name.clone(),
            starts: unit.service.activation == Activation::OnDemand,
            accepts: socket.accept,
            origin: unit.origin(&format!("sockets[{}].listen", socket.index)),
        })
        .collect()
}

fn file(context: &mut Context, socket: &SocketSettings) -> SocketFile {
    let key = |name: &str| format!("sockets[{}].{name}", socket.index);
    let own = (context.facts.euid, context.facts.egid);
    let user = socket.user.as_ref().and_then(|user| identity::user(context, &key("user"), user));
    let group = socket.group.as_ref().and_then(|group| identity::group_number(context, &key("group"), group));
    let (uid, gid) = user.map_or(own, |user| (user.uid, user.gid));
    SocketFile { mode: socket.mode, uid, gid: group.unwrap_or(gid) }
}

/// When the clock starts the unit.
pub(super) fn timers(context: &Context) -> Vec<PlannedTimer> {
    if context.purpose != Purpose::Main {
        return Vec::new();
    }
    let unit = context.unit;
    let planned = |timer: &crate::unit::TimerSettings| {
        let mut when = timer.words();
        if !timer.jitter.is_zero() {
            when.push_str(&format!(", up to {} later", print_time_span(Some(timer.jitter))));
        }
        if timer.persistent {
            when.push_str(", made up for once if missed");
        }
        let origins =
            ["on_calendar", "every", "on_boot"].map(|key| unit.origin(&format!("timers[{}].{key}", timer.index)));
        let written = origins.into_iter().find(|origin| origin.place.is_some());
        let origin = written.unwrap_or_else(|| unit.origin(&format!("timers[{}]", timer.index)));
        PlannedTimer { when, origin }
    };
    unit.timers.iter().map(planned).collect()
}
