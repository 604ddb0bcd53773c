//! Level-triggered epoll with tokens that are never reused.
//!
//! An event for a descriptor that was closed earlier in the same batch still arrives; because tokens count up for ever,
//! its owner is simply no longer found. No timers here: the caller gives one timeout.

use super::SysError;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsFd;
use std::time::Duration;

/// Names one registration; unique for the life of the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

/// What to wait for. Hang-up and error are always reported, as both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Input, or end of file.
    Read,
    /// Input that is added to what is there, which is reported once: edge-triggered. For pipes since Linux 5.14 (and
    /// before 5.5) each write is reported; in between only the first into an empty pipe was.
    ReadMore,
    /// Room for output.
    Write,
    /// Both.
    ReadWrite,
    /// Only hang-up and error.
    HangUp,
}

/// One readiness event.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which registration.
    pub token: Token,
    /// Input, end of file, hang-up or error.
    pub readable: bool,
    /// Room, hang-up or error.
    pub writable: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    next: u64,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::ReadMore => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            Interest::Write => EpollFlags::EPOLLOUT,
            Interest::ReadWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Interest::HangUp => EpollFlags::empty(),
        }
    }
}

fn failed(call: &'static str) -> impl Fn(nix::errno::Errno) -> SysError {
    move |errno| SysError { call, errno: errno as i32 }
}

impl Poller {
    /// A new instance, close-on-exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM; see epoll_create1(2).
    pub fn new() -> Result<Poller, SysError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("epoll_create1"))?;
        Ok(Poller { epoll, next: 1 })
    }

    /// Watches a descriptor. It leaves by itself when its last copy is closed; [`Poller::remove`] it first where
    /// copies live elsewhere.
    ///
    /// # Errors
    /// ENOSPC (`fs.epoll.max_user_watches`), ENOMEM, EPERM for a regular file; see epoll_ctl(2).
    pub fn add<F: AsFd>(&mut self, fd: F, interest: Interest) -> Result<Token, SysError> {
        let token = Token(self.next);
        self.next += 1;
        self.epoll.add(fd, EpollEvent::new(interest.flags(), token.0)).map_err(failed("epoll_ctl"))?;
        Ok(token)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// ENOENT when it is not watched.
    pub fn change<F: AsFd>(&mut self, fd: F, token: Token, interest: Interest) -> Result<(), SysError> {
        let mut event = EpollEvent::new(interest.flags(), token.0);
        self.epoll.modify(fd, &mut event).map_err(failed("epoll_ctl"))
    }

    /// Stops watching.
    ///
    /// # Errors
    /// ENOENT when it is not watched.
    pub fn remove<F: AsFd>(&mut self, fd: F) -> Result<(), SysError> {
        self.epoll.delete(fd).map_err(failed("epoll_ctl"))
    }

    /// Waits until something is ready or `timeout` has passed (`None`: for ever). The timeout is rounded up to whole
    /// milliseconds, so that a deadline has passed when this returns. A signal ends the wait with an empty list.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<Ready>, SysError> {
        const BATCH: usize = 256;
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(t) => {
                let milliseconds = t.as_micros().div_ceil(1000).min(i32::MAX as u128);
                EpollTimeout::try_from(milliseconds as i32).unwrap_or(EpollTimeout::MAX)
            }
        };
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(errno) => return Err(SysError { call: "epoll_wait", errno: errno as i32 }),
        };
        let ready = events.iter().take(count).map(|event| {
            let flags = event.events();
            let broken = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Ready {
                token: Token(event.data()),
                readable: broken || flags.contains(EpollFlags::EPOLLIN),
                writable: broken || flags.contains(EpollFlags::EPOLLOUT),
            }
        });
        Ok(ready.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_written_byte_and_a_hang_up_are_readable() {
        let mut poller = Poller::new().expect("epoll");
        let (left, mut right) = UnixStream::pair().expect("pair");
        let token = poller.add(&left, Interest::Read).expect("add");
        assert!(poller.wait(Some(Duration::ZERO)).expect("wait").is_empty());
        right.write_all(b"x").expect("write");
        let ready = poller.wait(None).expect("wait");
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].token, token);
        assert!(ready[0].readable);
        drop(right);
        assert!(poller.wait(None).expect("wait")[0].readable);
    }

    #[test]
    fn tokens_are_not_reused() {
        let mut poller = Poller::new().expect("epoll");
        let (left, _right) = UnixStream::pair().expect("pair");
        let first = poller.add(&left, Interest::Read).expect("add");
        poller.remove(&left).expect("remove");
        let second = poller.add(&left, Interest::Read).expect("add");
        assert_ne!(first, second);
    }
}
