//! Names that the kernel gave: signals, capabilities, address families, errnos, system calls, resource limits.

use super::{Bad, nearest};
use crate::filter;
use crate::plan::{CapabilitySet, LimitResource};
use crate::unit::problem::Code;
use crate::unit::{AddressFamily, SignalName};
use std::str::FromStr;

/// Signals in the numbers that x86_64 and aarch64 share. Source: signal(7).
const SIGNALS: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGRTMIN as programs that use glibc see it; the kernel's 32 and 33 belong to the thread library.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Reads `SIGHUP`, `HUP`, `1`, `SIGRTMIN+3`, `RTMAX-1`.
///
/// # Errors
/// [`Code::BadSignal`].
pub fn signal(text: &str) -> Result<SignalName, Bad> {
    let bad = || {
        let upper = text.to_ascii_uppercase();
        let near = nearest(upper.strip_prefix("SIG").unwrap_or(&upper), SIGNALS.iter().map(|s| s.0));
        let bad = Bad::new(Code::BadSignal, format!("`{text}` is not a signal"));
        match near {
            Some(name) => bad.help(format!("did you mean `SIG{name}`?")),
            None => bad.help("write a name such as \"SIGTERM\" or \"SIGRTMIN+3\""),
        }
    };
    if let Ok(number) = text.parse::<i32>() {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let known = (1..=31).contains(&number) || (RTMIN..=RTMAX).contains(&number);
        return if plain && known { Ok(SignalName(number)) } else { Err(bad()) };
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some((_, number)) = SIGNALS.iter().find(|(n, _)| *n == name) {
        return Ok(SignalName(*number));
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?.parse::<i32>().ok(),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX"), name) {
        (Some(rest), _, _) => offset(rest, '+').and_then(|n| RTMIN.checked_add(n)),
        (_, Some(rest), _) => offset(rest, '-').and_then(|n| RTMAX.checked_sub(n)),
        (_, _, "POLL") => Some(29),
        (_, _, "IOT") => Some(6),
        _ => None,
    };
    number
        .filter(|n| (RTMIN..=RTMAX).contains(n))
        .or(number.filter(|n| [29, 6].contains(n) && !name.starts_with("RT")))
        .map(SignalName)
        .ok_or_else(bad)
}

/// `SIGHUP`, `SIGRTMIN+3`.
pub fn print_signal(number: i32) -> String {
    match SIGNALS.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number == RTMIN => "SIGRTMIN".to_owned(),
        None if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

/// Reads one capability, with or without `CAP_`, in any case; `all` is every capability.
///
/// # Errors
/// [`Code::BadCapability`].
pub fn capability(text: &str) -> Result<CapabilitySet, Bad> {
    let name = text.to_ascii_uppercase();
    if name == "ALL" {
        return Ok(CapabilitySet(caps::all().iter().fold(0, |set, c| set | c.bitmask())));
    }
    let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
    if let Ok(capability) = caps::Capability::from_str(&name) {
        return Ok(CapabilitySet(capability.bitmask()));
    }
    let all: Vec<String> = sorted_capabilities().iter().map(ToString::to_string).collect();
    let names = || all.iter().map(String::as_str);
    // "CAP_NET_BIND" is nearer to CAP_NET_ADMIN by edits, and yet nobody doubts what is meant.
    let longer = || names().find(|n| n.starts_with(&name) && name.len() > "CAP_".len() + 2);
    let near = longer().or_else(|| nearest(&name, names()));
    let bad = Bad::new(Code::BadCapability, format!("`{text}` is not a capability"));
    Err(match near {
        _ if text.starts_with('~') => bad.help("lists are positive: name what the service keeps"),
        Some(near) => bad.help(format!("did you mean `{near}`?")),
        None => bad.help("names are those of capabilities(7), such as \"CAP_NET_BIND_SERVICE\""),
    })
}

fn sorted_capabilities() -> Vec<caps::Capability> {
    let mut all: Vec<_> = caps::all().into_iter().collect();
    all.sort_by_key(caps::Capability::index);
    all
}

/// Names of a set, in the kernel's order; `all` for the whole.
pub fn print_capabilities(set: CapabilitySet) -> Vec<String> {
    let all = sorted_capabilities();
    if all.iter().all(|c| set.contains(u32::from(c.index()))) {
        return vec!["all".to_owned()];
    }
    all.iter().filter(|c| set.contains(u32::from(c.index()))).map(ToString::to_string).collect()
}

/// Address families. Source: the kernel's include/linux/socket.h.
const FAMILIES: [(&str, u16); 45] = [
    ("AF_UNIX", 1),
    ("AF_INET", 2),
    ("AF_AX25", 3),
    ("AF_IPX", 4),
    ("AF_APPLETALK", 5),
    ("AF_NETROM", 6),
    ("AF_BRIDGE", 7),
    ("AF_ATMPVC", 8),
    ("AF_X25", 9),
    ("AF_INET6", 10),
    ("AF_ROSE", 11),
    ("AF_DECnet", 12),
    ("AF_NETBEUI", 13),
    ("AF_SECURITY", 14),
    ("AF_KEY", 15),
    ("AF_NETLINK", 16),
    ("AF_PACKET", 17),
    ("AF_ASH", 18),
    ("AF_ECONET", 19),
    ("AF_ATMSVC", 20),
    ("AF_RDS", 21),
    ("AF_SNA", 22),
    ("AF_IRDA", 23),
    ("AF_PPPOX", 24),
    ("AF_WANPIPE", 25),
    ("AF_LLC", 26),
    ("AF_IB", 27),
    ("AF_MPLS", 28),
    ("AF_CAN", 29),
    ("AF_TIPC", 30),
    ("AF_BLUETOOTH", 31),
    ("AF_IUCV", 32),
    ("AF_RXRPC", 33),
    ("AF_ISDN", 34),
    ("AF_PHONET", 35),
    ("AF_IEEE802154", 36),
    ("AF_CAIF", 37),
    ("AF_ALG", 38),
    ("AF_NFC", 39),
    ("AF_VSOCK", 40),
    ("AF_KCM", 41),
    ("AF_QIPCRTR", 42),
    ("AF_SMC", 43),
    ("AF_XDP", 44),
    ("AF_MCTP", 45),
];

/// Reads `AF_INET` or `INET`, in any case; `AF_LOCAL` is `AF_UNIX`.
///
/// # Errors
/// [`Code::BadFamily`].
pub fn address_family(text: &str) -> Result<AddressFamily, Bad> {
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("AF_") { upper } else { format!("AF_{upper}") };
    let name = if name == "AF_LOCAL" { "AF_UNIX".to_owned() } else { name };
    if let Some((name, number)) = FAMILIES.iter().find(|(n, _)| n.eq_ignore_ascii_case(&name)) {
        return Ok(AddressFamily { name: (*name).to_owned(), number: *number });
    }
    let bad = Bad::new(Code::BadFamily, format!("`{text}` is not an address family"));
    Err(match nearest(&name, FAMILIES.iter().map(|f| f.0)) {
        Some(near) => bad.help(format!("did you mean `{near}`?")),
        None => bad.help("names are those of address_families(7), such as \"AF_INET6\""),
    })
}

/// Errno names that a filter may answer with. Source: errno(3), numbers of x86_64 and aarch64.
const ERRNOS: [(&str, i32); 56] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("E2BIG", 7),
    ("ENOEXEC", 8),
    ("EBADF", 9),
    ("ECHILD", 10),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("ENOTBLK", 15),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EXDEV", 18),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("ESPIPE", 29),
    ("EROFS", 30),
    ("EMLINK", 31),
    ("EPIPE", 32),
    ("EDOM", 33),
    ("ERANGE", 34),
    ("EDEADLK", 35),
    ("ENAMETOOLONG", 36),
    ("ENOLCK", 37),
    ("ENOSYS", 38),
    ("ENOTEMPTY", 39),
    ("ELOOP", 40),
    ("ENODATA", 61),
    ("EPROTO", 71),
    ("EOVERFLOW", 75),
    ("EUSERS", 87),
    ("ENOTSOCK", 88),
    ("EPROTOTYPE", 91),
    ("EPROTONOSUPPORT", 93),
    ("ESOCKTNOSUPPORT", 94),
    ("EOPNOTSUPP", 95),
    ("EPFNOSUPPORT", 96),
    ("EAFNOSUPPORT", 97),
    ("EADDRINUSE", 98),
    ("ENETDOWN", 100),
    ("ETIMEDOUT", 110),
    ("ECONNREFUSED", 111),
    ("EDQUOT", 122),
];

/// Reads `EPERM` or a number from 1 to 4095 (the kernel's MAX_ERRNO).
///
/// # Errors
/// [`Code::BadErrno`].
pub fn errno(text: &str) -> Result<i32, Bad> {
    if let Some((_, number)) = ERRNOS.iter().find(|(n, _)| *n == text) {
        return Ok(*number);
    }
    match text.parse::<i32>() {
        Ok(number) if (1..=4095).contains(&number) && text.bytes().all(|b| b.is_ascii_digit()) => return Ok(number),
        _ => {}
    }
    let bad = Bad::new(Code::BadErrno, format!("`{text}` is not an errno"));
    Err(match nearest(text, ERRNOS.iter().map(|e| e.0)) {
        Some(near) => bad.help(format!("did you mean `{near}`?")),
        None => bad.help("write a name of errno(3) such as \"EPERM\", or a number from 1 to 4095"),
    })
}

/// The errno's name, or its number.
pub fn print_errno(number: i32) -> String {
    ERRNOS.iter().find(|(_, n)| *n == number).map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// Is it a group that `syscalls.allow` and `.deny` take?
pub fn is_syscall_group(name: &str) -> bool {
    filter::group_names().any(|group| group == name)
}

/// Checks an entry of `syscalls.allow`, `.deny` or `.log`. Conditions come back in the one way of writing them.
///
/// # Errors
/// [`Code::BadSyscall`], [`Code::BadArgument`]; [`Code::NotSupported`] for `name:ERRNO`.
pub fn syscall_name(text: &str) -> Result<String, Bad> {
    if filter::is_rule(text) {
        return filter::Rule::parse(text).map(|rule| rule.to_string()).map_err(bad_rule);
    }
    if is_syscall_group(text) || filter::is_known_call(text) {
        return Ok(text.to_owned());
    }
    if let Some(name) = text.strip_prefix('~') {
        return Err(Bad::new(Code::BadSyscall, format!("`{text}` is not a system call"))
            .help(format!("lists have no `~`: put \"{name}\" into syscalls.deny")));
    }
    if let Some((name, _)) = text.split_once(':')
        && (is_syscall_group(name) || filter::is_known_call(name))
    {
        return Err(Bad::new(Code::NotSupported, "an errno of its own for one system call is not supported yet")
            .help(format!("write \"{name}\"; syscalls.errno holds for all")));
    }
    if text.starts_with('@') {
        let bad = Bad::new(Code::BadSyscall, format!("`{text}` is not a group of system calls"));
        return Err(match nearest(text, filter::group_names()) {
            Some(near) => bad.help(format!("did you mean `{near}`?")),
            None => bad.help("groups are those of systemd.exec(5), such as \"@system-service\""),
        });
    }
    let bad = Bad::new(Code::BadSyscall, format!("`{text}` is not a system call"));
    if is_syscall_group(&format!("@{text}")) {
        return Err(bad.help(format!("did you mean the group `@{text}`?")));
    }
    Err(match nearest(text, filter::all_call_names()) {
        Some(near) => bad.help(format!("did you mean `{near}`?")),
        None => bad.help("names are those of syscalls(2), groups start with `@`"),
    })
}

fn bad_rule(error: filter::RuleError) -> Bad {
    let near = error.unknown.as_ref().and_then(|(word, vocabulary)| match vocabulary {
        filter::Vocabulary::Calls => nearest(word, filter::all_call_names()),
        filter::Vocabulary::Constants => nearest(word, filter::constant_names()),
    });
    Bad::new(Code::BadArgument, error.message).help(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => error.help,
    })
}

/// Limits of setrlimit(2) under the names that `resources.rlimits` takes.
const LIMITS: [(&str, LimitResource); 16] = [
    ("as", LimitResource::As),
    ("core", LimitResource::Core),
    ("cpu", LimitResource::Cpu),
    ("data", LimitResource::Data),
    ("fsize", LimitResource::Fsize),
    ("locks", LimitResource::Locks),
    ("memlock", LimitResource::Memlock),
    ("msgqueue", LimitResource::Msgqueue),
    ("nice", LimitResource::Nice),
    ("nofile", LimitResource::Nofile),
    ("nproc", LimitResource::Nproc),
    ("rss", LimitResource::Rss),
    ("rtprio", LimitResource::Rtprio),
    ("rttime", LimitResource::Rttime),
    ("sigpending", LimitResource::Sigpending),
    ("stack", LimitResource::Stack),
];

/// The limit of this key of `[resources.rlimits]`.
pub fn limit_resource(name: &str) -> Option<LimitResource> {
    LIMITS.iter().find(|(n, _)| *n == name).map(|(_, resource)| *resource)
}

/// The key of this limit.
pub fn limit_name(resource: LimitResource) -> &'static str {
    LIMITS.iter().find(|(_, r)| *r == resource).map_or("", |(name, _)| name)
}
