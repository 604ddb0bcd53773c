//! Ids, capabilities, securebits, no_new_privs.
//!
//! The calls are made directly: they act on the calling thread, and the program has one.

use super::{Named, Result, SysError, cvt};

/// setgroups(2), exact list.
///
/// # Errors
/// EPERM without CAP_SETGID or when the user namespace denies it; EINVAL above 65536 groups or for unmapped ids.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length are those of a live slice of 32-bit ids.
    cvt("setgroups", unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// getgroups(2), sorted.
///
/// # Errors
/// None are known.
pub fn groups() -> Result<Vec<u32>> {
    let mut groups: Vec<u32> =
        nix::unistd::getgroups().named("getgroups")?.into_iter().map(nix::unistd::Gid::as_raw).collect();
    groups.sort_unstable();
    Ok(groups)
}

/// setresgid(2), real, effective and saved alike.
///
/// # Errors
/// EPERM, EINVAL for an unmapped id.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: three numbers.
    cvt("setresgid", unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setresuid(2), real, effective and saved alike.
///
/// # Errors
/// EPERM, EINVAL for an unmapped id, EAGAIN (RLIMIT_NPROC).
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: three numbers.
    cvt("setresuid", unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// setfsgid(2) and setfsuid(2): what this process does to files from now on it does as this user, with the capabilities
/// that it has all the same.
///
/// # Errors
/// EPERM when one of the two did not change, which the calls themselves do not tell; those of capset(2).
pub fn act_on_files_as(uid: u32, gid: u32) -> Result<()> {
    for (call, number, id) in [("setfsgid", libc::SYS_setfsgid, gid), ("setfsuid", libc::SYS_setfsuid, uid)] {
        // SAFETY: one number each. The second call has an id that is none, and only tells the present one.
        let now = unsafe {
            libc::syscall(number, id);
            libc::syscall(number, u32::MAX)
        };
        if now as u32 != id {
            return Err(SysError::new(call, libc::EPERM));
        }
    }
    // The kernel takes those over files away from who acts as somebody else than root.
    let sets = capabilities()?;
    set_capabilities(CapabilitySets { effective: sets.permitted, ..sets })
}

/// Real, effective and saved user id.
///
/// # Errors
/// None are known.
pub fn uids() -> Result<[u32; 3]> {
    let ids = nix::unistd::getresuid().named("getresuid")?;
    Ok([ids.real.as_raw(), ids.effective.as_raw(), ids.saved.as_raw()])
}

/// Real, effective and saved group id.
///
/// # Errors
/// None are known.
pub fn gids() -> Result<[u32; 3]> {
    let ids = nix::unistd::getresgid().named("getresgid")?;
    Ok([ids.real.as_raw(), ids.effective.as_raw(), ids.saved.as_raw()])
}

/// The three sets of capset(2) as bit masks; bit N is capability N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Effective.
    pub effective: u64,
    /// Permitted.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// _LINUX_CAPABILITY_VERSION_3: two data elements of 32 bits each.
static HEADER: Header = Header { version: 0x2008_0522, pid: 0 };

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// capget(2) of this process.
///
/// # Errors
/// None are known.
pub fn capabilities() -> Result<CapabilitySets> {
    let mut data = [Data::default(); 2];
    // SAFETY: the header asks for version 3, whose data are two elements; both are live.
    cvt("capget", unsafe { libc::syscall(libc::SYS_capget, &raw const HEADER, data.as_mut_ptr()) })?;
    let join = |half: fn(&Data) -> u32| u64::from(half(&data[0])) | u64::from(half(&data[1])) << 32;
    Ok(CapabilitySets {
        effective: join(|d| d.effective),
        permitted: join(|d| d.permitted),
        inheritable: join(|d| d.inheritable),
    })
}

/// capset(2) of this process: all three sets at once.
///
/// # Errors
/// EPERM when a set would grow beyond what is permitted.
pub fn set_capabilities(sets: CapabilitySets) -> Result<()> {
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: as for `capabilities`; the data are only read.
    cvt("capset", unsafe { libc::syscall(libc::SYS_capset, &raw const HEADER, data.as_ptr()) }).map(drop)
}

/// prctl(2) with numbers only.
fn prctl(option: libc::c_int, a: libc::c_ulong, b: libc::c_ulong) -> Result<i64> {
    let zero: libc::c_ulong = 0;
    // SAFETY: every option used in this file takes numbers, no pointers.
    cvt("prctl", unsafe { libc::prctl(option, a, b, zero, zero) })
}

/// Is capability `bit` in the bounding set? `None`: the kernel does not know that capability.
///
/// # Errors
/// None are known.
pub fn in_bounding_set(bit: u32) -> Result<Option<bool>> {
    match prctl(libc::PR_CAPBSET_READ, bit.into(), 0) {
        Ok(answer) => Ok(Some(answer == 1)),
        Err(SysError { errno: libc::EINVAL, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bounding set, up to the last capability that the kernel knows, and that capability's number.
///
/// # Errors
/// None are known.
pub fn bounding_set() -> Result<(u64, u32)> {
    let mut set = 0;
    for bit in 0..64 {
        match in_bounding_set(bit)? {
            Some(true) => set |= 1 << bit,
            Some(false) => {}
            None => return Ok((set, bit.saturating_sub(1))),
        }
    }
    Ok((set, 63))
}

/// Drops capability `bit` from the bounding set for good.
///
/// # Errors
/// EPERM without CAP_SETPCAP, EINVAL for an unknown capability.
pub fn drop_from_bounding_set(bit: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, bit.into(), 0).map(drop)
}

/// Empties the ambient set.
///
/// # Errors
/// None are known.
pub fn clear_ambient_set() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0).map(drop)
}

/// Adds capability `bit`, which must be permitted and inheritable, to the ambient set.
///
/// # Errors
/// EPERM when it is not, or with SECBIT_NO_CAP_AMBIENT_RAISE.
pub fn raise_ambient(bit: u32) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, bit.into()).map(drop)
}

/// The ambient set.
///
/// # Errors
/// None are known.
pub fn ambient_set() -> Result<u64> {
    let mut set = 0;
    for bit in 0..64u32 {
        match prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as libc::c_ulong, bit.into()) {
            Ok(1) => set |= 1 << bit,
            Ok(_) => {}
            Err(SysError { errno: libc::EINVAL, .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(set)
}

/// SECBIT_* of capabilities(7).
pub mod secure_bits {
    /// Uid 0 gets no capabilities by exec.
    pub const NOROOT: u32 = 1 << 0;
    /// A change of uid leaves the sets alone.
    pub const NO_SETUID_FIXUP: u32 = 1 << 2;
    /// The permitted set survives a change of uid; cleared by exec.
    pub const KEEP_CAPS: u32 = 1 << 4;
}

/// The securebits, [`secure_bits`].
///
/// # Errors
/// None are known.
pub fn get_secure_bits() -> Result<u32> {
    prctl(libc::PR_GET_SECUREBITS, 0, 0).map(|bits| bits as u32)
}

/// Sets all securebits.
///
/// # Errors
/// EPERM without CAP_SETPCAP or for a locked bit.
pub fn set_secure_bits(bits: u32) -> Result<()> {
    prctl(libc::PR_SET_SECUREBITS, bits.into(), 0).map(drop)
}

/// PR_SET_KEEPCAPS: needs no privilege, unlike [`set_secure_bits`].
///
/// # Errors
/// EPERM when the bit is locked.
pub fn keep_capabilities(on: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, on.into(), 0).map(drop)
}

/// PR_SET_NO_NEW_PRIVS, for good.
///
/// # Errors
/// None are known.
pub fn no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Is no_new_privs set?
///
/// # Errors
/// None are known.
pub fn has_no_new_privileges() -> Result<bool> {
    prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0).map(|answer| answer == 1)
}

/// PR_SET_DUMPABLE: whether processes of the same uid may look into this one; reset by exec.
///
/// # Errors
/// None are known.
pub fn set_dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, on.into(), 0).map(drop)
}

/// PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN: no memory becomes executable that was writable (since Linux 6.3).
///
/// # Errors
/// EINVAL on older kernels, EPERM when set otherwise before.
pub fn deny_write_execute() -> Result<()> {
    const PR_SET_MDWE: libc::c_int = 65;
    prctl(PR_SET_MDWE, 1, 0).map(drop)
}

/// Does this kernel know PR_SET_MDWE (since Linux 6.3)? Asked by PR_GET_MDWE, which changes nothing.
pub fn knows_deny_write_execute() -> bool {
    const PR_GET_MDWE: libc::c_int = 66;
    prctl(PR_GET_MDWE, 0, 0).is_ok()
}

/// PR_SET_CHILD_SUBREAPER: orphans below this process become its children.
///
/// # Errors
/// None are known.
pub fn become_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// PR_GET_CHILD_SUBREAPER: do orphans below this process become its children?
pub fn is_subreaper() -> bool {
    let mut answer: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `answer`, which is live for the call.
    let got = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut answer as libc::c_ulong, 0, 0, 0) };
    got == 0 && answer != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_agree_with_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let sets = capabilities().unwrap();
        assert_eq!((sets.effective, sets.permitted, sets.inheritable), (of("CapEff:"), of("CapPrm:"), of("CapInh:")));
        assert_eq!((bounding_set().unwrap().0, ambient_set().unwrap()), (of("CapBnd:"), of("CapAmb:")));
    }
}
