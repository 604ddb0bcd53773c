//! The other roles of the resident init's image: keepers, which have descriptors open for the daemon and the next one,
//! until a signal ends them.
//!
//! ```text
//! argv: name            the keeper of one unit: what it was born with, for good
//!       name, channel   the keeper of an instance: what it was born with, and what it is sent over the channel
//! ```
//!
//! An order on the channel (SOCK_SEQPACKET) is two words of 32 bits, verb and number:
//!
//! | Verb | With | Does |
//! |---|---|---|
//! | 1 | one descriptor | has it open under that number, instead of what was there |
//! | 2 | | closes that number |
//! | 3 | | sends the order back: all orders before it are done |
//!
//! It decides nothing and answers nothing else. What is no order is passed over, and descriptors that came with it are
//! closed.

use super::number;
use super::raw::syscall6;

const KEEP: u32 = 1;
const DROP: u32 = 2;
const ANSWER: u32 = 3;
/// Numbers below are those that it was born with.
const FIRST_FREE: i32 = 16;

/// `struct iovec`
#[repr(C)]
struct Part {
    base: *mut u32,
    length: usize,
}

/// `struct msghdr`
#[repr(C)]
struct Message {
    name: usize,
    name_length: u32,
    parts: *mut Part,
    part_count: usize,
    control: *mut Control,
    control_length: usize,
    flags: i32,
}

/// `struct cmsghdr` with room for one descriptor, and what pads it.
#[repr(C, align(8))]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    descriptor: i32,
    padding: i32,
}

const _: () = assert!(size_of::<Message>() == 56 && size_of::<Control>() == 24);

/// Without a channel.
pub(super) fn keep() -> ! {
    prepare();
    loop {
        // SAFETY: no pointers, and no time limit.
        unsafe { syscall6(number::PPOLL, 0, 0, 0, 0, 0, 0) };
    }
}

/// With one.
pub(super) fn serve(channel: i32) -> ! {
    prepare();
    loop {
        let mut order = [0u32; 2];
        let (length, descriptor) = receive(channel, &mut order);
        let number = i32::try_from(order[1]).unwrap_or(-1);
        let whole = length == size_of_val(&order) as isize;
        match (order[0], descriptor) {
            (KEEP, Some(fd)) if whole && number >= FIRST_FREE => {
                if fd == number {
                    continue;
                }
                // SAFETY: numbers. Beyond the limit of open files it fails, and the number stays empty.
                unsafe { syscall6(number::DUP3, fd as usize, number as usize, 0, 0, 0, 0) };
            }
            (DROP, None) if whole && number >= FIRST_FREE => super::close(number),
            (ANSWER, None) if whole => {
                const MSG_DONTWAIT_NOSIGNAL: usize = 0x40 | 0x4000;
                // SAFETY: a live buffer of that length; no address. Nobody who does not read keeps it waiting.
                unsafe {
                    let (base, length) = (order.as_ptr() as usize, size_of_val(&order));
                    syscall6(number::SENDTO, channel as usize, base, length, MSG_DONTWAIT_NOSIGNAL, 0, 0)
                };
            }
            _ if length < 0 && length != super::EINTR => super::exit(super::FAILED),
            _ => {}
        }
        if let Some(fd) = descriptor {
            super::close(fd);
        }
    }
}

/// What ends the daemon's session or terminal is not meant for it, and it has no right but to be there.
fn prepare() {
    const CAP_SYS_PTRACE: u32 = 1 << 19;
    super::set_name(c"rsvc-keeper");
    if super::keep_capabilities(0) & CAP_SYS_PTRACE == 0 {
        // The daemon is without it as well, so the next one takes copies by being the same user (ptrace(2), "Ptrace
        // access mode checking"). Nobody else can, and that user's processes could take them from the daemon, too.
        let_the_same_user_in();
    }
    // SAFETY: no arguments.
    unsafe { syscall6(number::SETSID, 0, 0, 0, 0, 0, 0) };
}

fn let_the_same_user_in() {
    const PR_SET_DUMPABLE: usize = 4;
    const PR_SET_PTRACER: usize = 0x5961_6d61;
    // SAFETY: no pointers. The second is refused where there is no Yama, which is what would be in the way.
    unsafe {
        syscall6(number::PRCTL, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
        syscall6(number::PRCTL, PR_SET_PTRACER, usize::MAX, 0, 0, 0, 0);
    }
}

/// One message: its length or a negative errno, and the descriptor that came with it.
fn receive(channel: i32, order: &mut [u32; 2]) -> (isize, Option<i32>) {
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    let mut part = Part { base: order.as_mut_ptr(), length: size_of_val(order) };
    let mut control = Control { length: 0, level: 0, kind: 0, descriptor: -1, padding: 0 };
    let mut message = Message {
        name: 0,
        name_length: 0,
        parts: &raw mut part,
        part_count: 1,
        control: &raw mut control,
        control_length: size_of::<Control>(),
        flags: 0,
    };
    // SAFETY: the header and all that it points to are live, with their lengths; more descriptors than there is room for
    // are not installed by the kernel.
    let length = unsafe { syscall6(number::RECVMSG, channel as usize, &raw mut message as usize, 0, 0, 0, 0) };
    let came = length >= 0 && message.control_length >= 20 && control.level == SOL_SOCKET && control.kind == SCM_RIGHTS;
    (length, came.then_some(control.descriptor))
}
