//! The third role of the resident init's image: it answers the denied calls of one service, and remembers them.
//!
//! ```text
//! argv: name, channel, table, 0
//! ```
//!
//! A filter that leaves its refusals to a listener (SECCOMP_RET_USER_NOTIF) keeps the caller waiting until somebody
//! answers, so this is somebody who waits for nothing and nobody: not for the daemon, which may be dead, and not for the
//! service. What the filter would have answered is in the filter: run on the call once more it returns a value whose
//! lower half is the errno. Anything else is EPERM. No call is ever let through.
//!
//! Over the channel (SOCK_SEQPACKET) come listeners: a message of two words of 32 bits, 1 and the number of instructions,
//! with two descriptors, the listener and a memfd of the instructions. Back goes a byte for each new entry of the table,
//! never waited for. It ends when nobody can send a listener any more and all that came have hung up.
//!
//! The table, [`TABLE_SIZE`] bytes of a shared memfd, native byte order:
//!
//! ```text
//!   0 magic u32 | 4 entries u32 | 8 calls that found no room u64 | 16 to 64 zero
//!  64 entries of 128 bytes:
//!     0 arch u32 | 4 number u32 | 8 errno u32 | 12 pid u32 | 16 six arguments u64 | 64 times u64
//!    72 times with other arguments than those that have entries u64 | 80 comm, 16 bytes | 96 to 128 zero
//! ```
//!
//! An entry is complete before it is counted. Of one call up to [`SAMPLES`] different ones are kept; the first of them
//! counts all others.

use super::number;
use super::raw::syscall6;
use core::sync::atomic::{AtomicU32, Ordering};

const TABLE_SIZE: usize = 16384;
const TABLE_MAGIC: u32 = 0x7273_6463;
const MOST: u32 = 127;
const SAMPLES: u32 = 4;
/// The service's own filter, and those of commands beside it.
const LISTENERS: usize = 32;
const LONGEST: usize = 4096;
const POLLIN: i16 = 1;
const EPERM: u32 = 1;

/// `struct pollfd`
#[repr(C)]
#[derive(Clone, Copy)]
struct Poll {
    fd: i32,
    events: i16,
    revents: i16,
}

/// A filter's listener, and the filter.
#[derive(Clone, Copy)]
struct Listener {
    fd: i32,
    program: *const Instruction,
    length: usize,
}

/// `struct sock_filter`
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

/// `struct seccomp_notif`, as words: id, id, pid, flags, then `struct seccomp_data`.
#[repr(C, align(8))]
struct Notification([u32; 20]);

/// `struct seccomp_notif_resp`
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// One entry of the table.
#[repr(C)]
struct Entry {
    arch: u32,
    number: u32,
    errno: u32,
    pid: u32,
    arguments: [u64; 6],
    times: u64,
    others: u64,
    comm: [u8; 16],
    zero: [u64; 4],
}

/// Its beginning.
#[repr(C)]
struct Header {
    magic: u32,
    entries: u32,
    lost: u64,
    zero: [u64; 6],
}

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Response>() == 24 && size_of::<Instruction>() == 8);
const _: () = assert!(size_of::<Entry>() == 128 && size_of::<Header>() == 64);
const _: () = assert!(64 + 128 * MOST as usize <= TABLE_SIZE);

/// See above. Never returns.
pub(super) fn answer(channel: i32, table: i32) -> ! {
    super::set_name(c"rsvc-denials");
    super::keep_capabilities(0);
    // SAFETY: no arguments.
    unsafe { syscall6(number::SETSID, 0, 0, 0, 0, 0, 0) };
    const READ_WRITE: usize = 1 | 2;
    const MAP_SHARED: usize = 1;
    let table = map(table, TABLE_SIZE, READ_WRITE, MAP_SHARED) as *mut Header;
    if table.is_null() {
        super::exit(super::FAILED);
    }
    // SAFETY: the mapping has a header.
    unsafe { (&raw mut (*table).magic).write_volatile(TABLE_MAGIC) };
    let mut channel = channel;
    let mut listeners = [Listener { fd: -1, program: core::ptr::null(), length: 0 }; LISTENERS];
    loop {
        let mut polled = [Poll { fd: -1, events: POLLIN, revents: 0 }; LISTENERS + 1];
        for (poll, listener) in polled.iter_mut().zip(&listeners) {
            poll.fd = listener.fd;
        }
        if let Some(last) = polled.last_mut() {
            last.fd = channel;
        }
        if polled.iter().all(|poll| poll.fd < 0) {
            super::exit(0);
        }
        // SAFETY: a live array of that length; no time limit, no mask.
        unsafe { syscall6(number::PPOLL, polled.as_mut_ptr() as usize, LISTENERS + 1, 0, 0, 0, 0) };
        for (poll, listener) in polled.iter().zip(&mut listeners) {
            if poll.revents & POLLIN != 0 {
                serve(listener, table, channel);
            } else if poll.revents != 0 {
                // Nobody who has this filter is left.
                super::close(listener.fd);
                listener.fd = -1;
            }
        }
        if polled.last().is_some_and(|poll| poll.revents != 0) && !take(channel, &mut listeners) {
            super::close(channel);
            channel = -1;
        }
    }
}

/// Answers one call. A notification that was announced is there, unless its caller was killed: then the kernel says
/// ENOENT and does not wait.
fn serve(listener: &Listener, table: *mut Header, channel: i32) {
    const RECEIVE: usize = 0xc050_2100;
    const SEND: usize = 0xc018_2101;
    let mut call = Notification([0; 20]);
    // SAFETY: a live buffer, zeroed as the kernel wants it, of the size that the request names.
    let received = unsafe { syscall6(number::IOCTL, listener.fd as usize, RECEIVE, &raw mut call as usize, 0, 0, 0) };
    if received < 0 {
        return;
    }
    let errno = errno_of(run(listener, &call));
    let is_new = note(table, &call, errno);
    let id = u64::from(call.0[0]) | u64::from(call.0[1]) << 32;
    let response = Response { id, value: 0, error: -(errno as i32), flags: 0 };
    // SAFETY: a live response. A caller that was killed meanwhile is none of our concern.
    unsafe { syscall6(number::IOCTL, listener.fd as usize, SEND, &raw const response as usize, 0, 0, 0) };
    if is_new && channel >= 0 {
        const MSG_DONTWAIT_NOSIGNAL: usize = 0x40 | 0x4000;
        // SAFETY: one byte of a static string.
        unsafe {
            let byte = b"d".as_ptr() as usize;
            syscall6(number::SENDTO, channel as usize, byte, 1, MSG_DONTWAIT_NOSIGNAL, 0, 0)
        };
    }
}

/// What a value of the filter says to answer.
fn errno_of(value: u32) -> u32 {
    const NOTIFY: u32 = 0x7fc0;
    match (value >> 16, value & 0xffff) {
        (NOTIFY, errno @ 1..=4095) => errno,
        _ => EPERM,
    }
}

/// Runs the filter on the call; 0 for what no filter of ours contains.
fn run(listener: &Listener, call: &Notification) -> u32 {
    let mut accumulator = 0;
    let mut at = 0;
    while at < listener.length {
        // SAFETY: below the length, for which the mapping was made.
        let Instruction { code, yes, no, k } = unsafe { *listener.program.add(at) };
        at += 1;
        let taken = match code {
            0x20 => {
                let word = call.0.get(4 + k as usize / 4).filter(|_| k % 4 == 0);
                let Some(word) = word else { return 0 };
                accumulator = *word;
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            _ => return 0,
        };
        at += if taken { yes as usize } else { no as usize };
    }
    0
}

/// Counts the call. Is it one that was not in the table?
fn note(table: *mut Header, call: &Notification, errno: u32) -> bool {
    let word = |index: usize| call.0.get(index).copied().unwrap_or(0);
    let (pid, number, arch) = (word(2), word(4), word(5));
    let argument = |index: usize| u64::from(word(8 + 2 * index)) | u64::from(word(9 + 2 * index)) << 32;
    // SAFETY: the mapping has a header and MOST entries behind it; nobody else writes to it. `used` never exceeds MOST.
    unsafe {
        let entries = table.add(1) as *mut Entry;
        let used = (&raw const (*table).entries).read_volatile().min(MOST);
        let mut first: *mut Entry = core::ptr::null_mut();
        let mut alike = 0;
        for index in 0..used {
            let entry = entries.add(index as usize);
            if (*entry).arch != arch || (*entry).number != number {
                continue;
            }
            let arguments = &raw const (*entry).arguments as *const u64;
            if (0..6).all(|index| arguments.add(index).read() == argument(index)) {
                increase(&raw mut (*entry).times);
                return false;
            }
            if alike == 0 {
                first = entry;
            }
            alike += 1;
        }
        if alike >= SAMPLES {
            increase(&raw mut (*first).others);
            return false;
        }
        if used == MOST {
            increase(&raw mut (*table).lost);
            return false;
        }
        let entry = entries.add(used as usize);
        (*entry).arch = arch;
        (*entry).number = number;
        (*entry).errno = errno;
        (*entry).pid = pid;
        for index in 0..6 {
            (&raw mut (*entry).arguments as *mut u64).add(index).write(argument(index));
        }
        (*entry).times = 1;
        read_comm(pid, &raw mut (*entry).comm);
        AtomicU32::from_ptr(&raw mut (*table).entries).store(used + 1, Ordering::Release);
    }
    true
}

/// # Safety
/// `count` can be written.
unsafe fn increase(count: *mut u64) {
    // SAFETY: see above.
    unsafe { count.write_volatile(count.read_volatile().wrapping_add(1)) };
}

/// The name of the waiting process, which is there as long as it waits.
fn read_comm(pid: u32, place: *mut [u8; 16]) {
    const AT_FDCWD: usize = -100isize as usize;
    const O_CLOEXEC: usize = 0o2_000_000;
    // The digits from the last to the first, in the middle of the buffer; then what stands before and behind them.
    let mut path = [0u8; 32];
    let mut begin = 16usize;
    let mut rest = pid;
    for place in path.iter_mut().take(16).rev().take(10) {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        begin -= 1;
        if rest == 0 {
            break;
        }
    }
    begin -= 6;
    for (place, byte) in path.iter_mut().skip(begin).zip(b"/proc/") {
        *place = *byte;
    }
    for (place, byte) in path.iter_mut().skip(16).zip(b"/comm") {
        *place = *byte;
    }
    // SAFETY: a terminated string within the buffer, and a live place of 16 bytes.
    unsafe {
        let fd = syscall6(number::OPENAT, AT_FDCWD, path.as_ptr() as usize + begin, O_CLOEXEC, 0, 0, 0);
        if fd >= 0 {
            syscall6(number::READ, fd as usize, place as usize, 16, 0, 0, 0);
            super::close(fd as i32);
        }
    }
}

/// Takes a listener from the channel. `false`: nobody can send one any more.
fn take(channel: i32, listeners: &mut [Listener; LISTENERS]) -> bool {
    let mut words = [0u32; 2];
    let (length, descriptors) = receive(channel, &mut words);
    if length == 0 {
        return false;
    }
    let free = listeners.iter_mut().find(|listener| listener.fd < 0);
    if let ([1, count], [fd, program], Some(free)) = (words, descriptors, free)
        && length == size_of_val(&words) as isize
        && fd >= 0
        && program >= 0
        && (1..=LONGEST as u32).contains(&count)
    {
        const READ: usize = 1;
        const MAP_PRIVATE: usize = 2;
        let length = count as usize;
        let mapped = map(program, length * size_of::<Instruction>(), READ, MAP_PRIVATE);
        super::close(program);
        match mapped.is_null() {
            // Who has this filter is told ENOSYS from now on.
            true => super::close(fd),
            false => *free = Listener { fd, program: mapped as *const Instruction, length },
        }
        return true;
    }
    descriptors.into_iter().for_each(super::close);
    true
}

/// Null when it cannot be had.
fn map(fd: i32, size: usize, protection: usize, flags: usize) -> *mut u8 {
    // SAFETY: a new mapping where the kernel likes.
    let address = unsafe { syscall6(number::MMAP, 0, size, protection, flags, fd as usize, 0) };
    if (-4095..=0).contains(&address) { core::ptr::null_mut() } else { address as *mut u8 }
}

/// `struct msghdr` with its part, and `struct cmsghdr` with room for two descriptors.
#[repr(C)]
struct Message {
    name: usize,
    name_length: u32,
    part: *const [usize; 2],
    parts: usize,
    control: *mut Control,
    control_length: usize,
    flags: i32,
}

#[repr(C, align(8))]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    descriptors: [i32; 2],
}

const _: () = assert!(size_of::<Message>() == 56 && size_of::<Control>() == 24);

/// One message: its length or a negative errno, and two descriptors that came with it, or -1.
fn receive(channel: i32, words: &mut [u32; 2]) -> (isize, [i32; 2]) {
    const SCM_RIGHTS: i32 = 1;
    const SOL_SOCKET: i32 = 1;
    const MSG_DONTWAIT_CLOEXEC: usize = 0x40 | 0x4000_0000;
    let part = [words.as_mut_ptr() as usize, size_of_val(words)];
    let mut control = Control { length: 0, level: 0, kind: 0, descriptors: [-1; 2] };
    let mut message = Message {
        name: 0,
        name_length: 0,
        part: &raw const part,
        parts: 1,
        control: &raw mut control,
        control_length: size_of::<Control>(),
        flags: 0,
    };
    // SAFETY: the header and all that it points to are live, with their lengths; more descriptors than there is room for
    // are not installed by the kernel.
    let length = unsafe {
        syscall6(number::RECVMSG, channel as usize, &raw mut message as usize, MSG_DONTWAIT_CLOEXEC, 0, 0, 0)
    };
    let came = length > 0 && message.control_length >= 20 && (control.level, control.kind) == (SOL_SOCKET, SCM_RIGHTS);
    (length, if came { control.descriptors } else { [-1; 2] })
}
