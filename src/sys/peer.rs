//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Supplementary groups of the peer, as the kernel noted them at connect(2) or socketpair(2).
///
/// # Errors
/// The errno of getsockopt(2); `ENODATA` when the socket has no peer credentials.
///
/// Source: unix(7) has SO_PEERCRED; SO_PEERGROUPS since Linux 4.13, length protocol from net/core/sock.c.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // NGROUPS_MAX is 65536: two rounds are enough, as the list of a connected socket never changes.
    let mut groups: Vec<u32> = vec![0; 64];
    for _ in 0..2 {
        let mut bytes = libc::socklen_t::try_from(groups.len() * size_of::<u32>()).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: `groups` is a live, exclusively borrowed buffer of `groups.len()` u32, which is what `bytes` states;
        // gid_t is u32. The kernel writes at most `bytes` bytes to it and one socklen_t to `bytes`. Any bit pattern is
        // a valid u32. The descriptor is borrowed, so it stays open during the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) {
            return Err(error);
        }
        groups.resize(count, 0);
    }
    Err(io::Error::from_raw_os_error(libc::ERANGE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_groups_of_a_socketpair_are_ones_own() {
        let (one, _other) = UnixStream::pair().expect("a socketpair");
        let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("Groups line");
        let own: BTreeSet<u32> = line.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        let got: BTreeSet<u32> = peer_groups(one.as_fd()).expect("peer groups").into_iter().collect();
        assert_eq!(got, own);
    }

    #[test]
    fn a_file_has_no_peer() {
        let file = std::fs::File::open("/proc/self/status").expect("proc is mounted");
        assert_eq!(peer_groups(file.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
