//! Who has the address that a unit is to listen on.

use crate::daemon::ready;
use crate::unit::ListenAddress;
use std::net::SocketAddr;
use std::path::Path;

/// How many are named.
const MOST: usize = 4;

/// The message for an address in use, with the processes that hold it.
pub fn words(address: SocketAddr, stream: bool) -> String {
    let address = if stream { ListenAddress::Tcp(address) } else { ListenAddress::Udp(address) };
    describe(&address)
}

/// The same for a path.
pub fn words_of_path(path: &Path) -> String {
    describe(&ListenAddress::Unix(path.to_owned()))
}

fn describe(address: &ListenAddress) -> String {
    let who = holders(address);
    match who.as_slice() {
        [] => "somebody listens there already (EADDRINUSE)".to_owned(),
        who => format!("{} listens there already (EADDRINUSE)", who.join(", ")),
    }
}

/// `nginx (pid 17)`, for every process that has a socket of the address.
fn holders(address: &ListenAddress) -> Vec<String> {
    let own = std::process::id() as i32;
    let inodes = ready::sockets_on(address, own);
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| !ready::held_sockets(&[*pid], &inodes).is_empty()).take(MOST).map(name).collect()
}

fn name(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("{name} (pid {pid})")
}
