//! Sockets: families, raw ones, and what listens without a path.

use super::promises::OWN_NETWORK;
use crate::sys::attempt::{self, Word::Number};
use crate::verify::Attempt::{Call, Compare, Look};
use crate::verify::{Found, Key, Probe, Side};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

/// Families that the kernel may know: 0 to here. Source: `AF_MAX` of Linux 6.18, with room.
const LAST_FAMILY: i64 = 50;

/// No sockets of this family.
macro_rules! no_family {
    ($name:literal) => {
        Key::Holds("network.address_families", |p| !p.may_speak(|family| family == $name))
    };
}

const NO_SOCKET: Key = Key::Calls(&["socket"]);
const NO_RAW: Key = Key::Without("NET_RAW");
/// What the kernel says of families, types and protocols that it was not built with.
const NOT_BUILT_IN: &[i32] = &[libc::ESOCKTNOSUPPORT, libc::EPROTONOSUPPORT];

#[rustfmt::skip]
pub(super) const DOORS: &[Probe] = &[
    Probe { id: "socket-families", about: "a socket of each family", keys: &[Key::Holds("network.address_families", |p| p.unit.network.address_families.is_some())],
        attempt: Compare(families, more_families) },
    Probe { id: "socket-packet", about: "a socket that sees all packets", keys: &[no_family!("AF_PACKET"), NO_RAW, NO_SOCKET],
        attempt: Call(libc::SYS_socket, &[Number(17), Number(3), Number(0)], NOT_BUILT_IN) },
    Probe { id: "socket-alg", about: "a socket of the kernel's ciphers", keys: &[no_family!("AF_ALG"), NO_SOCKET],
        attempt: Call(libc::SYS_socket, &[Number(38), Number(5), Number(0)], NOT_BUILT_IN) },
    Probe { id: "socket-netlink", about: "a netlink socket", keys: &[no_family!("AF_NETLINK"), NO_SOCKET],
        attempt: Call(libc::SYS_socket, &[Number(16), Number(3), Number(0)], NOT_BUILT_IN) },
    Probe { id: "socket-vsock", about: "a socket to the machine around this one", keys: &[no_family!("AF_VSOCK"), NO_SOCKET],
        attempt: Call(libc::SYS_socket, &[Number(40), Number(1), Number(0)], NOT_BUILT_IN) },
    Probe { id: "socket-bluetooth", about: "a bluetooth socket", keys: &[no_family!("AF_BLUETOOTH"), NO_SOCKET],
        attempt: Call(libc::SYS_socket, &[Number(31), Number(3), Number(1)], NOT_BUILT_IN) },
    Probe { id: "socket-raw", about: "a raw socket of IPv4", keys: &[no_family!("AF_INET"), NO_RAW, NO_SOCKET],
        attempt: Call(libc::SYS_socket, &[Number(2), Number(3), Number(1)], NOT_BUILT_IN) },
    Probe { id: "socket-raw-6", about: "a raw socket of IPv6", keys: &[no_family!("AF_INET6"), NO_RAW, NO_SOCKET],
        attempt: Call(libc::SYS_socket, &[Number(10), Number(3), Number(58)], NOT_BUILT_IN) },
    Probe { id: "abstract-socket", about: "a socket of the host that has no path", keys: &[OWN_NETWORK, no_family!("AF_UNIX")],
        attempt: Look(abstract_socket) },
];

/// Numbers of the families of which a socket can be made.
fn families() -> Found {
    const TYPES: [i64; 5] = [1, 2, 3, 5, 4];
    let can = |family: i64| {
        TYPES.iter().any(|kind| attempt::call(libc::SYS_socket, &[Number(family), Number(*kind), Number(0)]).is_ok())
    };
    let open: Vec<String> = (1..=LAST_FAMILY).filter(|family| can(*family)).map(|family| family.to_string()).collect();
    Found::Value(open.join(" "))
}

fn more_families(value: &str, side: &Side<'_>) -> bool {
    let Some(listed) = &side.unit.network.address_families else { return !value.is_empty() };
    value
        .split(' ')
        .any(|number| !number.is_empty() && !listed.iter().any(|family| family.number.to_string() == number))
}

/// `rsvc verify` listens there.
fn abstract_socket(name: &str) -> Found {
    if name.is_empty() {
        return Found::Skipped("nobody listens for it".to_owned());
    }
    match SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address)) {
        Ok(_) => Found::Done(String::new()),
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => Found::Nothing("nobody is there".to_owned()),
        Err(error) => Found::of_io(Err::<(), _>(error)),
    }
}
