//! Readiness that can be seen from outside: listening sockets, a path, and the pid file of a forking service.
//!
//! Nothing is connected to. The kernel's tables of the service's network namespace (`/proc/PID/net`) say which sockets
//! listen, the descriptors in `/proc/PID/fd` say whether one of the service's own processes holds them: a socket of
//! somebody else on the same port is not readiness. Pid files are read inside the service's root, where a link cannot
//! lead out, and the number in them only counts when it names a process of the service's own group (CVE-2018-16888).

use crate::unit::ListenAddress;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Which of `addresses` no process of the service listens on yet, in their order; empty: ready. `pids` are the host
/// pids of the service's group; the first that still lives shows the network namespace.
///
/// A socket on the wildcard address satisfies the demand for a specific one, not the other way round. An IPv6
/// wildcard satisfies IPv4 too, as such sockets usually serve both (the tables do not tell which do not). UDP has no
/// listening: a bound, unconnected socket counts.
///
/// # Errors
/// When a table cannot be read although the process lives.
pub fn missing<'a>(addresses: &'a [ListenAddress], pids: &[i32]) -> io::Result<Vec<&'a ListenAddress>> {
    let Some(tables) = read_tables(addresses, pids)? else {
        return Ok(addresses.iter().collect());
    };
    let candidates: Vec<BTreeSet<u64>> = addresses.iter().map(|address| tables.inodes(address)).collect();
    let wanted: BTreeSet<u64> = candidates.iter().flatten().copied().collect();
    let owned = held_sockets(pids, &wanted);
    let unmet = addresses.iter().zip(candidates).filter(|(_, inodes)| inodes.is_disjoint(&owned));
    Ok(unmet.map(|(address, _)| address).collect())
}

/// Sockets that are in the way of a new one on `address`, in the network namespace of process `pid`.
pub(super) fn sockets_on(address: &ListenAddress, pid: i32) -> BTreeSet<u64> {
    let Ok(Some(tables)) = read_tables(std::slice::from_ref(address), &[pid]) else { return BTreeSet::new() };
    let inet = |table: &[(SocketAddr, u64)], wanted: &SocketAddr| -> BTreeSet<u64> {
        // A wildcard is in the way of an address, and the other way round.
        let meets = |bound: &SocketAddr| serves(bound, wanted) || serves(wanted, bound);
        table.iter().filter(|(bound, _)| meets(bound)).map(|(_, inode)| *inode).collect()
    };
    match address {
        ListenAddress::Tcp(wanted) => inet(&tables.tcp, wanted),
        ListenAddress::Udp(wanted) => inet(&tables.udp, wanted),
        ListenAddress::Unix(_) => tables.inodes(address),
    }
}

/// The tables that the addresses need, of one network namespace.
#[derive(Debug, Default, PartialEq)]
struct Tables {
    tcp: Vec<(SocketAddr, u64)>,
    udp: Vec<(SocketAddr, u64)>,
    unix: Vec<(Vec<u8>, u64)>,
}

/// The states in /proc/net/{tcp,udp} that mean "waits for clients": TCP_LISTEN, and TCP_CLOSE for unconnected UDP.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";

/// Tables seen by the first process that lives; `None` when none does.
fn read_tables(addresses: &[ListenAddress], pids: &[i32]) -> io::Result<Option<Tables>> {
    let needs = |test: fn(&ListenAddress) -> bool| addresses.iter().any(test);
    let tcp = needs(|a| matches!(a, ListenAddress::Tcp(_)));
    let udp = needs(|a| matches!(a, ListenAddress::Udp(_)));
    let unix = needs(|a| matches!(a, ListenAddress::Unix(_)));
    'pids: for pid in pids {
        let read = |name: &str| match fs::read(format!("/proc/{pid}/net/{name}")) {
            // A kernel without IPv6 has no such file, while the process is alive.
            Err(e) if e.kind() == io::ErrorKind::NotFound && Path::new(&format!("/proc/{pid}/net/unix")).exists() => {
                Ok(Vec::new())
            }
            other => other,
        };
        let mut tables = Tables::default();
        let wanted = [
            ("tcp", tcp, LISTENING),
            ("tcp6", tcp, LISTENING),
            ("udp", udp, UNCONNECTED),
            ("udp6", udp, UNCONNECTED),
            ("unix", unix, ""),
        ];
        for (name, _, state) in wanted.into_iter().filter(|(_, wanted, _)| *wanted) {
            let table = match read(name) {
                Ok(table) => table,
                Err(e) if gone(&e) => continue 'pids,
                Err(e) => return Err(e),
            };
            match &name[..3] {
                "tcp" => tables.tcp.extend(inet_sockets(&table, state)),
                "udp" => tables.udp.extend(inet_sockets(&table, state)),
                _ => tables.unix.extend(unix_sockets(&table)),
            }
        }
        return Ok(Some(tables));
    }
    Ok(None)
}

/// The process ended meanwhile.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::SRCH | Errno::INVAL))
}

impl Tables {
    /// Sockets that satisfy an address.
    fn inodes(&self, address: &ListenAddress) -> BTreeSet<u64> {
        let inet = |table: &[(SocketAddr, u64)], wanted: &SocketAddr| {
            table.iter().filter(|(bound, _)| serves(bound, wanted)).map(|(_, inode)| *inode).collect()
        };
        match address {
            ListenAddress::Tcp(wanted) => inet(&self.tcp, wanted),
            ListenAddress::Udp(wanted) => inet(&self.udp, wanted),
            ListenAddress::Unix(path) => {
                use std::os::unix::ffi::OsStrExt;
                let wanted = path.as_os_str().as_bytes();
                self.unix.iter().filter(|(bound, _)| same_path(bound, wanted)).map(|(_, inode)| *inode).collect()
            }
        }
    }
}

/// `/var/run/x` and `/run/x` are the same place on every system with a merged /run.
fn same_path(bound: &[u8], wanted: &[u8]) -> bool {
    let short =
        |path: &[u8]| path.strip_prefix(b"/var".as_slice()).filter(|p| p.starts_with(b"/run/")).map(<[u8]>::to_vec);
    bound == wanted || short(bound).as_deref().unwrap_or(bound) == short(wanted).as_deref().unwrap_or(wanted)
}

/// Does a socket bound to `bound` serve clients of `wanted`?
fn serves(bound: &SocketAddr, wanted: &SocketAddr) -> bool {
    let plain = |ip: IpAddr| ip.to_canonical();
    let (bound_ip, wanted_ip) = (plain(bound.ip()), plain(wanted.ip()));
    let wildcard = match bound_ip {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => wanted_ip.is_ipv4(),
        _ => false,
    };
    bound.port() == wanted.port() && (wildcard || bound_ip == wanted_ip)
}

/// Local addresses and inodes of the sockets in state `state` of a table like /proc/net/tcp; lines that do not look
/// like it are passed over.
fn inet_sockets(table: &[u8], state: &str) -> Vec<(SocketAddr, u64)> {
    let text = String::from_utf8_lossy(table);
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (_slot, local, _remote, found) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if found != state {
            return None;
        }
        let inode = fields.nth(5)?.parse().ok()?;
        Some((inet_address(local)?, inode))
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// `0100007F:1F90`: words of 32 bits in the host's byte order, the port as a number.
fn inet_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Paths and inodes of the Unix sockets that clients can reach: listening streams (flag __SO_ACCEPTCON) and bound
/// datagram sockets (type 2, unconnected state 1).
fn unix_sockets(table: &[u8]) -> Vec<(Vec<u8>, u64)> {
    let socket = |line: &[u8]| {
        // Num RefCount Protocol Flags Type St Inode Path; columns are padded and the path may hold blanks.
        let mut words = Vec::new();
        let mut rest = line;
        while words.len() < 7 {
            let start = rest.iter().position(|b| *b != b' ')?;
            rest = &rest[start..];
            let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
            words.push(std::str::from_utf8(&rest[..end]).ok()?);
            rest = &rest[end..];
        }
        let path = rest.strip_prefix(b" ")?;
        let flags = u32::from_str_radix(words[3], 16).ok()?;
        let datagram = words[4] == "0002" && words[5] == "01";
        let inode = words[6].parse().ok()?;
        (path.starts_with(b"/") && (flags & 0x10000 != 0 || datagram)).then(|| (path.to_vec(), inode))
    };
    table.split(|b| *b == b'\n').skip(1).filter_map(socket).collect()
}

/// Those of `wanted` that some of `pids` has open.
pub(super) fn held_sockets(pids: &[i32], wanted: &BTreeSet<u64>) -> BTreeSet<u64> {
    let mut held = BTreeSet::new();
    for pid in pids {
        if held.len() == wanted.len() {
            break;
        }
        // A process that has ended holds nothing.
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        held.extend(links.filter_map(|link| socket_inode(&link)).filter(|inode| wanted.contains(inode)));
    }
    held
}

/// `socket:[12345]`
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Why a pid file does not (yet) name the main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PidFileError {
    /// Not there, or empty: it may still be written.
    NotYet,
    /// What it holds cannot be a pid, or the file is no file of text: what is wrong.
    Malformed(String),
    /// No process of the service has this number, as the service counts.
    NotOurs(i32),
    /// Could not be read.
    Unreadable(String),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidFileError::NotYet => f.write_str("the pid file has not been written"),
            PidFileError::Malformed(why) => write!(f, "the pid file {why}"),
            PidFileError::NotOurs(pid) => {
                write!(f, "the pid file names process {pid}, which is not a process of this service")
            }
            PidFileError::Unreadable(why) => write!(f, "the pid file cannot be read: {why}"),
        }
    }
}

impl std::error::Error for PidFileError {}

/// A process of the service, under both numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceProcess {
    /// Number on the host.
    pub pid: i32,
    /// Number in the service's pid namespace.
    pub inner: i32,
}

/// Is there something at `path`, as a process sees it whose root is that of `init`? Links are followed inside that root.
pub fn exists(init: i32, path: &Path) -> bool {
    let root_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, PathBuf::from(format!("/proc/{init}/root")), root_flags, Mode::empty());
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    root.is_ok_and(|root| rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).is_ok())
}

/// Reads a pid file as the service sees it. `init` is the host pid of a process whose root is the service's (its PID
/// 1); `pids` are the host pids of its group.
///
/// # Errors
/// [`PidFileError::NotYet`] is worth another try, the others are final unless the service rewrites the file.
pub fn read_pid_file(init: i32, path: &Path, pids: &[i32]) -> Result<ServiceProcess, PidFileError> {
    let unreadable = |e: Errno| PidFileError::Unreadable(io::Error::from(e).to_string());
    let root_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match rustix::fs::openat(CWD, PathBuf::from(format!("/proc/{init}/root")), root_flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::SRCH) => return Err(PidFileError::NotYet),
        other => other.map_err(unreadable)?,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(PidFileError::NotYet),
        other => other.map_err(unreadable)?,
    };
    let stat = rustix::fs::fstat(&file).map_err(unreadable)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(PidFileError::Malformed("is not a regular file".into()));
    }
    let mut content = Vec::new();
    File::from(file)
        .take(PID_FILE_LIMIT)
        .read_to_end(&mut content)
        .map_err(|e| PidFileError::Unreadable(e.to_string()))?;
    let inner = pid_file_number(&content)?;
    inner_to_host(init, inner, pids).ok_or(PidFileError::NotOurs(inner))
}

/// Bytes read of a pid file; postgresql writes further lines behind the first.
const PID_FILE_LIMIT: u64 = 4096;

/// The number on the first line.
fn pid_file_number(content: &[u8]) -> Result<i32, PidFileError> {
    let line = content.split(|b| *b == b'\n').next().unwrap_or(&[]).trim_ascii();
    if line.is_empty() {
        return Err(PidFileError::NotYet);
    }
    let digits = line.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(line).ok().filter(|_| digits).and_then(|text| text.parse::<i32>().ok());
    number.filter(|n| *n > 0).ok_or_else(|| {
        let shown = line[..line.len().min(20)].escape_ascii();
        PidFileError::Malformed(format!("holds `{shown}`, which is not a process id"))
    })
}

/// The process of the group that has number `inner` in the pid namespace of `init`; for MAINPID= as well.
pub fn inner_to_host(init: i32, inner: i32, pids: &[i32]) -> Option<ServiceProcess> {
    // How deep the service's namespace lies, seen from here: the column in which its numbers stand.
    let depth = namespace_pids(init)?.len();
    let named = |pid: &&i32| namespace_pids(**pid).is_some_and(|numbers| numbers.get(depth - 1) == Some(&inner));
    pids.iter().find(named).map(|pid| ServiceProcess { pid: *pid, inner })
}

/// The number of a process in the innermost pid namespace that it is in; `None` when it is gone.
pub fn inner_pid(pid: i32) -> Option<i32> {
    namespace_pids(pid)?.last().copied()
}

/// The numbers of a process from our pid namespace inwards (`NSpid:` of /proc/PID/status); never empty.
pub fn namespace_pids(pid: i32) -> Option<Vec<i32>> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    let numbers: Vec<i32> =
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    (!numbers.is_empty()).then_some(numbers)
}

#[cfg(test)]
#[path = "ready_tests.rs"]
mod tests;
