//! Sockets: families, raw ones, and what listens without a path.

use super::promises::OWN_NETWORK;
use crate::score::Posture;
use crate::sys::attempt::{self, Word::Number};
use crate::unit::Transport;
use crate::verify::Attempt::{Call, Compare, Look};
use crate::verify::{Found, Key, Probe, Side};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::net::{Ipv4Addr, SocketAddrV4};
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
    Probe { id: "bind-tcp", about: "a port of TCP that is not listed (at an address that nobody has)", keys: &[Key::Holds("network.bind_allow", |p| p.unit.network.bind_allow.is_some())],
        attempt: Compare(|| ports(SocketType::STREAM), |value, side| more_ports(value, side, Transport::Tcp)) },
    Probe { id: "bind-udp", about: "a port of UDP that is not listed (at an address that nobody has)", keys: &[Key::Holds("network.bind_allow", lists_udp)],
        attempt: Compare(|| ports(SocketType::DGRAM), |value, side| more_ports(value, side, Transport::Udp)) },
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

fn lists_udp(posture: &Posture<'_>) -> bool {
    let listed = posture.unit.network.bind_allow.as_ref();
    listed.is_some_and(|rules| rules.iter().any(|rule| rule.transport == Transport::Udp))
}

/// Ports that a socket of this type may bind: `0-0 53-53 8000-8100`. The address is of no machine (192.0.2.1, RFC 5737): it is
/// what fails where the port does not, and nothing is bound.
fn ports(kind: SocketType) -> Found {
    let socket = match socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None) {
        Ok(socket) => socket,
        Err(errno) => return Found::Failed(errno.raw_os_error()),
    };
    let is_refused = |port: u16| {
        let answer = bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), port));
        answer.is_err_and(|errno| [Errno::PERM, Errno::ACCESS].contains(&errno))
    };
    let mut open: Vec<(u16, u16)> = Vec::new();
    for port in (0..=u16::MAX).filter(|port| !is_refused(*port)) {
        match open.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => open.push((port, port)),
        }
    }
    let ranges: Vec<String> = open.into_iter().map(|(first, last)| format!("{first}-{last}")).collect();
    Found::Value(ranges.join(" "))
}

/// Is a port among them that is not listed?
fn more_ports(value: &str, side: &Side<'_>, transport: Transport) -> bool {
    let Some(listed) = &side.unit.network.bind_allow else { return !value.is_empty() };
    let listed = |port: u16| {
        let mut rules = listed.iter().filter(|rule| rule.transport == transport);
        rules.any(|rule| (rule.ports.first..=rule.ports.last).contains(&port))
    };
    let ranges = value.split(' ').filter_map(|range| range.split_once('-'));
    ranges
        .filter_map(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?))
        .flatten()
        .any(|port| !listed(port))
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
