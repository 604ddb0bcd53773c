//! Listen addresses, exit statuses, CPU lists and shares, device numbers.

use super::Bad;
use super::name::{print_signal, signal};
use super::quantity::{print_time_span, time_span};
use super::text::absolute_path;
use crate::plan::CpuMax;
use crate::unit::problem::Code;
use crate::unit::{ListenAddress, SocketAddress, StatusSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Reads `tcp:127.0.0.1:80`, `tcp:[::1]:80`, `udp:0.0.0.0:53`, `unix:/run/x.sock`.
///
/// # Errors
/// [`Code::BadAddress`], [`Code::BadPath`].
pub fn listen_address(text: &str) -> Result<ListenAddress, Bad> {
    let bad = |why: &str| {
        Bad::new(Code::BadAddress, format!("`{}` is not a listen address{why}", text.escape_debug()))
            .help("write \"tcp:ADDRESS:PORT\", \"udp:ADDRESS:PORT\" or \"unix:/PATH\", such as \"tcp:127.0.0.1:80\"")
    };
    let (kind, rest) = text.split_once(':').ok_or_else(|| bad(""))?;
    match kind {
        "tcp" => Ok(ListenAddress::Tcp(inet(rest).map_err(bad)?)),
        "udp" => Ok(ListenAddress::Udp(inet(rest).map_err(bad)?)),
        "unix" if rest.starts_with('@') => Err(bad(": abstract sockets are not supported")),
        "unix" => absolute_path(rest).map(ListenAddress::Unix),
        _ => Err(bad("")),
    }
}

/// `127.0.0.1:80`, `[::1]:80`; the error is what is wrong, to be put behind the text.
fn inet(text: &str) -> Result<SocketAddr, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or(": the port is missing")?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|p| *p > 0 && digits).ok_or(": ports are 1 to 65535")?;
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(six) => six.parse().ok().filter(IpAddr::is_ipv6),
        None if host == "*" => return Err(": `*` is written 0.0.0.0 or [::]"),
        None if host.contains(':') => return Err(": IPv6 addresses stand in square brackets"),
        None => host.parse().ok(),
    };
    Ok(SocketAddr::new(host.ok_or(": the address must be a number, not a name")?, port))
}

/// Longest path of a UNIX socket, bytes. Source: unix(7).
const LONGEST_PATH: usize = 107;

/// Reads `tcp:0.0.0.0:80`, `udp:[::]:53`, `unix:/run/x.sock`, `unix-datagram:/run/x`, `unix-seqpacket:/run/x`,
/// `fifo:/run/x`.
///
/// # Errors
/// [`Code::BadAddress`], [`Code::BadPath`].
pub fn socket_address(text: &str) -> Result<SocketAddress, Bad> {
    let bad = |why: &str| {
        Bad::new(Code::BadAddress, format!("`{}` is no address to listen on{why}", text.escape_debug())).help(
            "write \"tcp:ADDRESS:PORT\", \"udp:ADDRESS:PORT\", \"unix:/PATH\", \"unix-datagram:/PATH\", \
             \"unix-seqpacket:/PATH\" or \"fifo:/PATH\"",
        )
    };
    let (kind, rest) = text.split_once(':').ok_or_else(|| bad(""))?;
    let path = || {
        if rest.starts_with('@') {
            return Err(bad(": abstract sockets are not supported, as everybody could take the name"));
        }
        let path = absolute_path(rest)?;
        if path.file_name().is_none() {
            return Err(bad(": the path names no file"));
        }
        Ok(path)
    };
    let socket = || {
        path().and_then(|path| {
            if path.as_os_str().len() > LONGEST_PATH {
                Err(bad(": the path of a socket has at most 107 bytes"))
            } else {
                Ok(path)
            }
        })
    };
    match kind {
        "tcp" => inet(rest).map(SocketAddress::Tcp).map_err(bad),
        "udp" => inet(rest).map(SocketAddress::Udp).map_err(bad),
        "unix" => socket().map(SocketAddress::Stream),
        "unix-datagram" => socket().map(SocketAddress::Datagram),
        "unix-seqpacket" => socket().map(SocketAddress::SequentialPackets),
        "fifo" => path().map(SocketAddress::Fifo),
        _ => Err(bad("")),
    }
}

/// The form that [`socket_address`] reads.
pub fn print_socket_address(address: &SocketAddress) -> String {
    match address {
        SocketAddress::Tcp(address) => format!("tcp:{address}"),
        SocketAddress::Udp(address) => format!("udp:{address}"),
        SocketAddress::Stream(path) => format!("unix:{}", path.display()),
        SocketAddress::Datagram(path) => format!("unix-datagram:{}", path.display()),
        SocketAddress::SequentialPackets(path) => format!("unix-seqpacket:{}", path.display()),
        SocketAddress::Fifo(path) => format!("fifo:{}", path.display()),
    }
}

/// The form that [`listen_address`] reads.
pub fn print_listen_address(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => format!("tcp:{address}"),
        ListenAddress::Udp(address) => format!("udp:{address}"),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Adds an exit status given as text, a signal's name, to a set. Numbers are TOML integers and come another way.
///
/// # Errors
/// [`Code::BadStatus`].
pub fn status(text: &str, set: &mut StatusSet) -> Result<(), Bad> {
    let bad = || Bad::new(Code::BadStatus, format!("`{}` is not an exit status", text.escape_debug()));
    if text.parse::<i64>().is_ok() {
        return Err(bad().help(format!("write the number without quotes: {text}")));
    }
    let signal = signal(text).map_err(|_| bad().help("write 0 to 255, or a signal's name such as \"SIGTERM\""))?;
    set.signals.insert(signal.number());
    Ok(())
}

/// TOML elements of a status list.
pub fn print_statuses(set: &StatusSet) -> Vec<String> {
    let statuses = set.statuses.iter().map(u8::to_string);
    statuses.chain(set.signals.iter().map(|s| format!("\"{}\"", print_signal(*s)))).collect()
}

/// Reads a list of CPUs or memory nodes such as `0-3,8` and prints it in order, without repetition.
///
/// # Errors
/// [`Code::BadCpus`].
pub fn cpu_list(text: &str) -> Result<String, Bad> {
    let bad = |why: &str| {
        Bad::new(Code::BadCpus, format!("`{}` is not a list of numbers and ranges{why}", text.escape_debug()))
            .help("write it as \"0-3,8\"")
    };
    let number = |s: &str| {
        let digits = !s.is_empty() && s.len() <= 5 && s.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| s.parse::<u32>().ok()).flatten().filter(|n| *n < 8192)
    };
    let mut set = std::collections::BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        match (number(from.trim()), number(to.trim())) {
            (Some(from), Some(to)) if from <= to => set.extend(from..=to),
            (Some(_), Some(_)) => return Err(bad(": a range runs backwards")),
            _ => return Err(bad("")),
        }
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for n in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => ranges.push((n, n)),
        }
    }
    let print = |(from, to): &(u32, u32)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    Ok(ranges.iter().map(print).collect::<Vec<_>>().join(","))
}

/// Reads a share of CPU time, `150%` of one CPU or `infinity`, as quota in each 100 ms.
///
/// # Errors
/// [`Code::BadCpus`].
pub fn cpu_share(text: &str) -> Result<CpuMax, Bad> {
    const PERIOD: u64 = 100_000;
    if text == "infinity" {
        return Ok(CpuMax { quota: None, period: PERIOD });
    }
    let percent = text.strip_suffix('%').filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    match percent.and_then(|n| n.parse::<u64>().ok()) {
        Some(percent @ 1..=1_000_000) => Ok(CpuMax { quota: Some(percent * (PERIOD / 100)), period: PERIOD }),
        _ => Err(Bad::new(Code::BadCpus, format!("`{}` is not a share of CPU time", text.escape_debug()))
            .help("write percent of one CPU such as \"150%\", or { quota = \"50ms\", period = \"100ms\" }")),
    }
}

/// TOML value of a share.
pub fn print_cpu_share(share: CpuMax) -> String {
    let micros = |n| print_time_span(Some(Duration::from_micros(n)));
    match share.quota {
        None => "\"infinity\"".to_owned(),
        Some(quota) if share.period == 100_000 && quota % 1_000 == 0 => format!("\"{}%\"", quota / 1_000),
        Some(quota) => format!("{{ quota = \"{}\", period = \"{}\" }}", micros(quota), micros(share.period)),
    }
}

/// Microseconds of a time in `{ quota, period }`.
pub(in crate::unit) fn micros(text: &str) -> Result<Option<u64>, Bad> {
    Ok(time_span(text)?.map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
}

/// Reads `8:0`.
///
/// # Errors
/// [`Code::BadDevice`].
pub fn device_number(text: &str) -> Result<(u32, u32), Bad> {
    let number = |s: &str, limit: u32| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| s.parse::<u32>().ok()).flatten().filter(|n| *n < limit)
    };
    // 12 bits of major and 20 of minor: the kernel's dev_t.
    text.split_once(':').and_then(|(major, minor)| Some((number(major, 1 << 12)?, number(minor, 1 << 20)?))).ok_or_else(
        || {
            Bad::new(Code::BadDevice, format!("`{}` is not a device", text.escape_debug()))
                .help("write a path such as \"/dev/sda\", or numbers such as \"8:0\"")
        },
    )
}
