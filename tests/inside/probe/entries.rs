//! Questions of the probe about system calls by number, width and entry.

use super::{c, close, name, number, ok, open, system};
use std::io;

/// ioctl of a new terminal with a request of 64 bits.
pub fn ask_a_terminal(request: i64) -> io::Result<String> {
    let terminal = open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY, 0)?;
    let mut answer = [0u64; 8];
    system(libc::SYS_ioctl, &[terminal.into(), request, answer.as_mut_ptr() as i64]).map(ok)
}

/// The numbers of the families up to 50 of which a socket is not refused as not supported; one errno when all answer
/// that. By socket(2), the same of i386, or socketcall(2).
pub fn families(entry: &str) -> io::Result<String> {
    const EAFNOSUPPORT: i64 = -(libc::EAFNOSUPPORT as i64);
    let answers: Vec<i64> = (0..=50).map(|family| open_family(entry, family)).collect();
    if let Some(first) = answers.first().filter(|first| answers.iter().all(|answer| answer == *first)) {
        return Ok(if *first == i64::MIN {
            "?".to_owned()
        } else {
            name(&io::Error::from_raw_os_error(-*first as i32))
        });
    }
    let open = answers.iter().enumerate().filter(|(_, answer)| **answer != EAFNOSUPPORT);
    Ok(open.map(|(family, _)| family.to_string()).collect::<Vec<_>>().join(" "))
}

fn open_family(entry: &str, family: i64) -> i64 {
    let answer = match entry {
        "" => system(libc::SYS_socket, &[family, libc::SOCK_DGRAM.into(), 0])
            .unwrap_or_else(|error| -i64::from(error.raw_os_error().unwrap_or(0))),
        "i386" => i386(359, [family, libc::SOCK_DGRAM.into(), 0]),
        _ => {
            // The arguments have to lie where 32 bits reach.
            // SAFETY: new memory that nothing else uses, and big enough.
            let place = unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | MAP_LOW;
                libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
            };
            if place == libc::MAP_FAILED {
                return i64::MIN;
            }
            // SAFETY: see above.
            unsafe { place.cast::<[u32; 3]>().write([family as u32, libc::SOCK_DGRAM as u32, 0]) };
            let answer = i386(102, [1, place as i64, 0]);
            // SAFETY: it is used no more.
            unsafe { libc::munmap(place, 4096) };
            answer
        }
    };
    if answer >= 0 {
        close(answer as i32);
        return 0;
    }
    answer
}

#[cfg(target_arch = "x86_64")]
const MAP_LOW: i32 = libc::MAP_32BIT;
#[cfg(not(target_arch = "x86_64"))]
const MAP_LOW: i32 = 0;

/// A call by `int 0x80`, under its number of i386.
#[cfg(target_arch = "x86_64")]
fn i386(number: i64, [a, b, c]: [i64; 3]) -> i64 {
    let mut result = number;
    // SAFETY: rbx cannot be named as an operand, so it is exchanged around the call; r8 to r11 may be lost. The calls
    // made here read numbers, or memory that lives.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx", "int 0x80", "xchg {first}, rbx",
            first = inout(reg) a => _, inout("rax") result, in("rcx") b, in("rdx") c,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result as i32)
}

#[cfg(not(target_arch = "x86_64"))]
fn i386(_: i64, _: [i64; 3]) -> i64 {
    i64::MIN
}

/// `FROM:TO:ERRNO`: `all` when each of these numbers answers so, else those that do not.
pub fn numbers(text: &str) -> io::Result<String> {
    let words: Vec<&str> = text.split(':').collect();
    let [from, to, errno] = words[..] else { return Ok("?".to_owned()) };
    let others = (number(from)..=number(to)).filter(|call| match system(*call, &[-1, -1, -1, -1, -1, -1]) {
        Err(error) => name(&error) != errno,
        Ok(_) => true,
    });
    let others: Vec<String> = others.map(|call| call.to_string()).collect();
    Ok(if others.is_empty() { "all".to_owned() } else { others.join(" ") })
}

/// `FORM:MODE`: gives a new file or directory the mode by this system call.
pub fn set_ids(text: &str) -> io::Result<String> {
    let (form, mode) = text.split_once(':').unwrap_or((text, "0"));
    let mode = i64::from_str_radix(mode, 8).unwrap_or(0);
    let name = format!("/tmp/ids-{form}");
    let (path, here) = (c(&name), i64::from(libc::AT_FDCWD));
    let at = path.as_ptr() as i64;
    let create = i64::from(libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC);
    let _ = std::fs::remove_dir(&name);
    let _ = std::fs::remove_file(&name);
    let file = || open(&name, libc::O_CREAT | libc::O_RDWR, 0o600);
    let result = match form {
        "chmod" => file().and_then(|_| system(libc::SYS_chmod, &[at, mode])),
        "fchmod" => file().and_then(|file| system(libc::SYS_fchmod, &[file.into(), mode])),
        "fchmodat" => file().and_then(|_| system(libc::SYS_fchmodat, &[here, at, mode])),
        "fchmodat2" => file().and_then(|_| system(452, &[here, at, mode, 0])),
        "open" => system(libc::SYS_open, &[at, create, mode]),
        "openat" => system(libc::SYS_openat, &[here, at, create, mode]),
        "creat" => system(libc::SYS_creat, &[at, mode]),
        "mkdir" => system(libc::SYS_mkdir, &[at, mode]),
        "mkdirat" => system(libc::SYS_mkdirat, &[here, at, mode]),
        "mknod" => system(libc::SYS_mknod, &[at, mode & 0o7777 | i64::from(libc::S_IFREG), 0]),
        "mknodat" => system(libc::SYS_mknodat, &[here, at, mode & 0o7777 | i64::from(libc::S_IFREG), 0]),
        _ => return Ok("?".to_owned()),
    };
    result.map(ok)
}
