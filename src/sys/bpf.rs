//! Programs of control groups: bpf(2) with the types BPF_PROG_TYPE_CGROUP_DEVICE, BPF_PROG_TYPE_CGROUP_SKB and
//! BPF_PROG_TYPE_CGROUP_SOCK_ADDR.
//!
//! A program that is attached to a group of the v2 tree answers for its members and for those of groups below: for every
//! attempt to open or make a device node, or for every packet and every bind(2) of a socket that was made there. It belongs
//! to the group: it stays when this process ends, and goes with the group. Sources: the kernel's cgroup v2 guide, "Device controller";
//! Documentation/bpf/libbpf/program_types.rst.

use super::{Result, cvt};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction in the kernel's form, `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the lower four bits, source register in the upper.
    pub registers: u8,
    /// Jump distance, or offset in memory.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

/// Id of a loaded program, unique while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramId(pub u32);

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

/// Where a program is asked: `enum bpf_attach_type` of linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Point {
    /// Packets that a socket is about to get (BPF_CGROUP_INET_INGRESS).
    Ingress = 0,
    /// Packets that leave a socket (BPF_CGROUP_INET_EGRESS).
    Egress = 1,
    /// Device nodes (BPF_CGROUP_DEVICE).
    Device = 6,
    /// bind(2) of a socket of IPv4 (BPF_CGROUP_INET4_BIND).
    Bind4 = 8,
    /// bind(2) of a socket of IPv6, whatever address it gives (BPF_CGROUP_INET6_BIND).
    Bind6 = 9,
}

impl Point {
    /// `enum bpf_prog_type` of what is attached there.
    fn program_type(self) -> u32 {
        match self {
            // BPF_PROG_TYPE_CGROUP_SKB
            Point::Ingress | Point::Egress => 8,
            // BPF_PROG_TYPE_CGROUP_DEVICE
            Point::Device => 15,
            // BPF_PROG_TYPE_CGROUP_SOCK_ADDR
            Point::Bind4 | Point::Bind6 => 18,
        }
    }

    /// What must be said of it when the program is loaded: what it may read hangs on it. The other types take none.
    fn expected(self) -> u32 {
        match self {
            Point::Ingress | Point::Egress | Point::Device => 0,
            Point::Bind4 | Point::Bind6 => self as u32,
        }
    }
}

/// BPF_F_ALLOW_MULTI: programs of groups above and below are asked too, and all must agree.
const ALLOW_MULTI: u32 = 2;
/// BPF_F_REPLACE (since Linux 5.6).
const REPLACE: u32 = 4;

/// The first members of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// For BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// For BPF_PROG_QUERY.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// For BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a program for `point`, which the kernel checks first.
///
/// # Errors
/// EPERM without CAP_BPF or CAP_SYS_ADMIN, EINVAL for a bad program or a kernel without CONFIG_CGROUP_BPF, EACCES for
/// one that reads what it may not, ENOSYS.
pub fn load(point: Point, program: &[Instruction]) -> Result<OwnedFd> {
    let license = c"Dual MIT/GPL";
    let mut attributes = Load {
        prog_type: point.program_type(),
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: point.expected(),
        ..Load::default()
    };
    // The check of a program is given up for a signal, with EAGAIN and not EINTR.
    let mut attempts = 5;
    let descriptor = loop {
        // SAFETY: `insns` points to `insn_cnt` instructions of the kernel's layout and `license` to a C string; both
        // live until the call returns, and the kernel copies them.
        match unsafe { bpf("bpf(BPF_PROG_LOAD)", PROG_LOAD, &mut attributes) } {
            Err(error) if error.errno == libc::EAGAIN && attempts > 0 => attempts -= 1,
            result => break result?,
        }
    };
    // SAFETY: a new descriptor (close-on-exec, as all of bpf(2)) that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches a program to a group, in place of `old` (at once, so that the group is never without) or beside what is
/// there.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN and CAP_BPF or CAP_SYS_ADMIN, or when a group above has a program that allows none
/// below; E2BIG above 64 programs, ENOENT when `old` is not attached here.
pub fn attach(group: BorrowedFd<'_>, point: Point, program: BorrowedFd<'_>, old: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut attributes = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: point as u32,
        attach_flags: if old.is_some() { ALLOW_MULTI | REPLACE } else { ALLOW_MULTI },
        replace_bpf_fd: old.map_or(0, number),
    };
    // SAFETY: descriptors are borrowed for the call; there are no pointers.
    unsafe { bpf("bpf(BPF_PROG_ATTACH)", PROG_ATTACH, &mut attributes) }.map(drop)
}

/// Detaches a program from a group.
///
/// # Errors
/// ENOENT when it is not attached here, EPERM.
pub fn detach(group: BorrowedFd<'_>, point: Point, program: BorrowedFd<'_>) -> Result<()> {
    let mut attributes = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: point as u32,
        ..Attach::default()
    };
    // SAFETY: as above.
    unsafe { bpf("bpf(BPF_PROG_DETACH)", PROG_DETACH, &mut attributes) }.map(drop)
}

/// The programs that are attached to this very group at `point`, not those of groups above.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN or CAP_SYS_ADMIN; EINVAL where the kernel has none.
pub fn attached(group: BorrowedFd<'_>, point: Point) -> Result<Vec<ProgramId>> {
    /// BPF_CGROUP_MAX_PROGS.
    const MOST: usize = 64;
    let mut ids = [0u32; MOST];
    let mut attributes = Query {
        target_fd: number(group),
        attach_type: point as u32,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MOST as u32,
        ..Query::default()
    };
    // SAFETY: `prog_ids` points to `prog_cnt` live numbers, which the kernel fills.
    unsafe { bpf("bpf(BPF_PROG_QUERY)", PROG_QUERY, &mut attributes) }?;
    let found = usize::try_from(attributes.prog_cnt).unwrap_or(MOST).min(MOST);
    Ok(ids.iter().take(found).copied().map(ProgramId).collect())
}

/// A descriptor of a loaded program.
///
/// # Errors
/// ENOENT when it is gone, EPERM without CAP_SYS_ADMIN.
pub fn program_by_id(id: ProgramId) -> Result<OwnedFd> {
    let mut attributes = ById { id: id.0, ..ById::default() };
    // SAFETY: there are no pointers.
    let descriptor = unsafe { bpf("bpf(BPF_PROG_GET_FD_BY_ID)", PROG_GET_FD_BY_ID, &mut attributes) }?;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    // An open descriptor is never negative.
    descriptor.as_raw_fd().unsigned_abs()
}

/// # Safety
/// Every pointer in `attributes` is valid for what `command` does with it.
unsafe fn bpf<T>(name: &'static str, command: libc::c_int, attributes: &mut T) -> Result<i32> {
    // SAFETY: `attributes` is live, as large as stated and laid out as the beginning of `union bpf_attr`; the rest is
    // the caller's word. The kernel takes members beyond the size as zero.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    cvt(name, answer).map(|descriptor| descriptor as i32)
}
