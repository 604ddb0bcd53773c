//! recvmsg(2) with everything that can come along: credentials and descriptors.
//!
//! The control message is walked here and not by a wrapper: where the table of descriptors is full the kernel installs
//! as many as fit and sets MSG_CTRUNC, and a wrapper that answers that with an error leaves them open for ever.

use super::socket::{Credentials, Received};
use super::{Result, SysError, cvt, cvt_retry};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors that one message carries. Source: SCM_MAX_FD of the kernel, unix(7).
const DESCRIPTORS: usize = 253;

/// Room for credentials and [`DESCRIPTORS`] descriptors, aligned as a control message has to be: two headers of 16 bytes,
/// 12 bytes of credentials padded to 16, and the numbers.
#[repr(C, align(8))]
struct Control([u8; 16 + 16 + 16 + (4 * DESCRIPTORS).next_multiple_of(8)]);

/// recvmsg(2) without blocking: `None` when nothing waits.
///
/// # Errors
/// ECONNRESET and the rest of recvmsg(2), not EAGAIN.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<Received>> {
    Ok(receive_with(fd, buffer, 0)?.map(|(received, _)| received))
}

/// The same, and the message stays where it is (MSG_PEEK). Descriptors that come along are further ones of the same
/// files.
///
/// # Errors
/// Those of [`receive`].
pub fn peek(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<Received>> {
    Ok(receive_with(fd, buffer, libc::MSG_PEEK)?.map(|(received, _)| received))
}

/// The same, with the length of the message, which may be more than the buffer's; of that behind others, which are
/// `behind` bytes long together and have been peeked at. [`forget_peeks`] after such a one, or the next peek begins there.
///
/// # Errors
/// Those of [`receive`].
pub fn peek_whole(fd: BorrowedFd<'_>, buffer: &mut [u8], behind: Option<usize>) -> Result<Option<(Received, usize)>> {
    if let Some(bytes) = behind {
        set_peek_offset(fd, i32::try_from(bytes).map_err(|_| SysError::new("setsockopt", libc::EOVERFLOW))?)?;
    }
    receive_with(fd, buffer, libc::MSG_PEEK | libc::MSG_TRUNC)
}

/// From now on a peek begins with the first message. Where it begins is kept with the socket itself, beyond the process.
///
/// # Errors
/// ENOTSOCK, EOPNOTSUPP.
pub fn forget_peeks(fd: BorrowedFd<'_>) -> Result<()> {
    set_peek_offset(fd, -1)
}

/// SO_PEEK_OFF, socket(7).
fn set_peek_offset(fd: BorrowedFd<'_>, bytes: i32) -> Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    let value = (&raw const bytes).cast();
    // SAFETY: the option is a live int of that size.
    let answer = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, size) };
    cvt("setsockopt", answer).map(drop)
}

/// With the length that the kernel answers.
fn receive_with(fd: BorrowedFd<'_>, buffer: &mut [u8], more: libc::c_int) -> Result<Option<(Received, usize)>> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = MaybeUninit::<Control>::zeroed();
    // SAFETY: all zeros is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | more;
    // SAFETY: the header names one part, which is `buffer` with its length, and `control` with its size; both are live
    // and ours alone. An interrupted call has changed neither.
    let answer = cvt_retry("recvmsg", || unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) as i64 });
    let length = match answer {
        Err(SysError { errno: libc::EAGAIN, .. }) => return Ok(None),
        other => usize::try_from(other?).unwrap_or(0),
    };
    let mut received = Received {
        length: length.min(buffer.len()),
        truncated: message.msg_flags & libc::MSG_TRUNC != 0,
        sender: None,
        descriptors: Vec::new(),
        descriptors_lost: message.msg_flags & libc::MSG_CTRUNC != 0,
    };
    // SAFETY: the kernel has filled `control` and set its length in `message`; the macros stay inside of it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: the macros answer null or a complete header inside `control`.
        let (level, kind, data, size) = unsafe {
            let data = libc::CMSG_DATA(header);
            let size = ((*header).cmsg_len as usize).saturating_sub(data as usize - header as usize);
            ((*header).cmsg_level, (*header).cmsg_type, data, size)
        };
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if size >= size_of::<libc::ucred>() => {
                // SAFETY: that many bytes of the kernel's follow the header; the read needs no alignment.
                let who = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                received.sender = Some(Credentials { pid: who.pid, uid: who.uid, gid: who.gid });
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for index in 0..size / size_of::<RawFd>() {
                    // SAFETY: the index is below the count of numbers behind the header, in the kernel's own length.
                    let number = unsafe { data.cast::<RawFd>().add(index).read_unaligned() };
                    // SAFETY: the kernel has just installed this descriptor for us; nobody else knows it.
                    received.descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
                }
            }
            _ => {}
        }
        // SAFETY: header and message are those of the walk above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(Some((received, length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::{send_with, seqpacket_pair, set_passcred};
    use std::os::fd::AsFd;

    #[test]
    fn credentials_and_all_descriptors_of_the_largest_message_arrive() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        set_passcred(ours.as_fd()).unwrap();
        assert!(receive(ours.as_fd(), &mut [0; 8]).unwrap().is_none());
        let many = vec![theirs.as_fd(); DESCRIPTORS];
        send_with(theirs.as_fd(), b"0123456789", &many, None).unwrap();
        let received = receive(ours.as_fd(), &mut [0; 8]).unwrap().unwrap();
        assert_eq!((received.length, received.truncated, received.descriptors_lost), (8, true, false));
        assert_eq!(received.sender.unwrap().pid, std::process::id() as i32);
        assert_eq!(received.descriptors.len(), DESCRIPTORS);
        assert!(send_with(theirs.as_fd(), b"x", &vec![theirs.as_fd(); DESCRIPTORS + 1], None).is_err());
    }
}
