//! Loop devices: a file as a block device. Source: loop(4).

use super::{Result, cvt};
use std::os::fd::{AsRawFd, BorrowedFd};

/// LOOP_CTL_GET_FREE and LOOP_CONFIGURE of linux/loop.h.
const CONTROL_GET_FREE: libc::Ioctl = 0x4c82;
const CONFIGURE: libc::Ioctl = 0x4c0a;

/// LO_FLAGS_READ_ONLY: nothing is ever written. LO_FLAGS_AUTOCLEAR: it is let go when nobody has it open or mounted.
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// `struct loop_info64`
#[repr(C)]
struct Information {
    /// Device, inode, real device, offset, size limit.
    numbers: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`
#[repr(C)]
struct Configuration {
    fd: u32,
    block_size: u32,
    information: Information,
    reserved: [u64; 8],
}

/// Number of a device that is free now, made when there is none. Somebody else may take it meanwhile.
///
/// # Errors
/// ENOMEM, ENOSPC; ENOTTY for what is not `/dev/loop-control`.
pub fn free_number(control: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: the call takes no argument and writes nowhere.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), CONTROL_GET_FREE) };
    cvt("ioctl(LOOP_CTL_GET_FREE)", number).map(|number| number as u32)
}

/// Makes the device show `file`, read-only, until nobody has it open or mounted (since Linux 5.8).
///
/// # Errors
/// EBUSY when somebody else took the device, EBADF or EINVAL for a file that cannot be read so.
pub fn show(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<()> {
    let configuration = Configuration {
        // An open descriptor is never negative.
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: 0,
        information: Information {
            numbers: [0; 5],
            number: 0,
            encryption: [0; 2],
            flags: READ_ONLY | AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads a `struct loop_config`, which is laid out as this one and lives during the call.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const configuration) };
    cvt("ioctl(LOOP_CONFIGURE)", answer).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!((size_of::<Information>(), size_of::<Configuration>()), (232, 304));
    }
}
