//! The payload: questions as words of the command line, one answer each as a line `@@WORD<tab>ANSWER` on standard output.
//!
//! It runs from `.init_array`, before `main` and the runtime of the language, which would ignore SIGPIPE, install
//! handlers and open missing descriptors. An answer is `ok`, a value, or the name of an error number.

use nix::errno::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

#[path = "probe/entries.rs"]
mod entries;
#[path = "probe/peers.rs"]
pub mod peers;
#[path = "probe/reach.rs"]
mod reach;

/// First argument that makes the test executable a probe.
pub const WORD: &str = "probe";

#[used]
// SAFETY: the linker collects pointers to functions of this type in `.init_array`, and glibc calls each once, with these
// arguments, before `main`.
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn(libc::c_int, *const *const libc::c_char) = begin;

extern "C" fn begin(count: libc::c_int, argv: *const *const libc::c_char) {
    let word = |index: libc::c_int| {
        // SAFETY: the kernel gives `count` NUL-terminated strings, which live as long as the process.
        unsafe { CStr::from_ptr(*argv.offset(index as isize)) }.to_string_lossy().into_owned()
    };
    if count < 2 || word(1) != WORD {
        return;
    }
    let mut output = 1;
    for index in 2..count {
        let word = word(index);
        if let Some(path) = word.strip_prefix("to:") {
            output = open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND, 0o644).unwrap_or(1);
            continue;
        }
        say(output, &word, &answer(&word));
    }
    say(output, "end", "ok");
    // SAFETY: ends the process; nothing of the runtime has begun.
    unsafe { libc::_exit(0) }
}

fn say(output: i32, word: &str, answer: &str) {
    let line = format!("@@{word}\t{}\n", answer.trim_end().replace(['\n', '\0'], "|"));
    // SAFETY: the buffer is as long as said.
    unsafe { libc::write(output, line.as_ptr().cast(), line.len()) };
}

/// Collects the answers of an output.
pub fn answers(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once("@@")?.1.split_once('\t'));
    lines.map(|(word, answer)| (word.to_owned(), answer.to_owned())).collect()
}

fn answer(question: &str) -> String {
    let (verb, rest) = question.split_once(':').unwrap_or((question, ""));
    let result = match verb {
        "open" => open(rest, libc::O_RDONLY | libc::O_NONBLOCK, 0).map(close),
        "openw" => open(rest, libc::O_WRONLY | libc::O_NONBLOCK, 0).map(close),
        "create" => create(rest),
        "mkdir" => std::fs::create_dir(rest).map(ok),
        "put" => rest.split_once('=').map_or(Ok("?".into()), |(path, text)| std::fs::write(path, text).map(ok)),
        "read" => std::fs::read(rest).map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()),
        "list" => list(rest),
        "link" => std::fs::read_link(rest).map(|path| path.display().to_string()),
        "stat" => stat(rest),
        "status" => Ok(field("/proc/self/status", rest)),
        "mounted" => Ok(mounted(rest)),
        "env" => Ok(environment()),
        "fds" => list("/proc/self/fd"),
        "descriptor" => descriptor(rest),
        "cwd" => std::env::current_dir().map(|path| path.display().to_string()),
        "umask" => Ok(field("/proc/self/status", "Umask")),
        "limit" => limit(rest),
        "nice" => Ok(field_of_stat(18)),
        "session" => Ok((field_of_stat(5) == field_of_stat(0)).to_string()),
        "pid" => Ok(std::process::id().to_string()),
        "host" => std::fs::read_to_string("/proc/sys/kernel/hostname"),
        "call" => call(rest),
        "chmod" => chmod(rest),
        "mknod" => mknod(rest),
        "mount" => mount(rest),
        "unshare" => system(libc::SYS_unshare, &[number(rest)]).map(ok),
        "socket" => socket(rest),
        "bind" => bind(rest),
        "udp" => peers::send(rest),
        "bind-udp" => peers::bind_datagrams(rest),
        "unbound-udp" => peers::send_unbound(rest),
        "dial" => peers::dial(rest),
        "silent" => peers::call(rest),
        "listen" => peers::listen(rest),
        "hear" => peers::hear(),
        "size" => size(rest),
        "log" => send(rest),
        "wx" => write_and_execute(),
        "keyring" => keyring(),
        "terminal" => entries::ask_a_terminal(number(rest)),
        "families" => entries::families(rest),
        "numbers" => entries::numbers(rest),
        "ids" => entries::set_ids(rest),
        "tiocsti" => type_into_a_terminal(),
        "realtime" => realtime(),
        "fork" => forks(number(rest)),
        "eat" => eat(number(rest) as usize),
        "spin" => spin(number(rest)),
        "sh" => shell(rest),
        "hold" => loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        },
        _ => reach::answer(verb, rest),
    };
    result.unwrap_or_else(|error| name(&error))
}

pub fn name(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| format!("{:?}", Errno::from_raw(errno)))
}

pub fn ok<T>(_: T) -> String {
    "ok".to_owned()
}

pub fn number(text: &str) -> i64 {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).unwrap_or(-1),
        None => text.parse().unwrap_or(-1),
    }
}

pub fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn checked(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub fn system(number: i64, arguments: &[i64]) -> io::Result<i64> {
    let mut a = [0; 6];
    a[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: callers pass numbers and pointers that live during the call; no call that is made here writes elsewhere.
    checked(unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) })
}

pub fn open(path: &str, flags: i32, mode: u32) -> io::Result<i32> {
    let path = c(path);
    // SAFETY: the path is a string.
    checked(i64::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) })).map(|fd| fd as i32)
}

pub fn close(fd: i32) -> String {
    // SAFETY: the descriptor was opened by the caller and is used no more.
    unsafe { libc::close(fd) };
    "ok".to_owned()
}

/// A file can be made in a directory. Its name is this probe's own: several look at `/var` at the same time, each with
/// the same small pid.
fn create(directory: &str) -> io::Result<String> {
    let mut number = [0; 8];
    // SAFETY: the buffer is as long as said.
    checked(unsafe { libc::getrandom(number.as_mut_ptr().cast(), number.len(), 0) } as i64)?;
    let path = Path::new(directory).join(format!(".rsvc-inside-{:016x}", u64::from_ne_bytes(number)));
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(path).map(ok)
}

fn list(directory: &str) -> io::Result<String> {
    let own = if directory == "/proc/self/fd" { "3" } else { "" };
    let mut names = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| name != own);
    names.sort();
    Ok(names.join(" "))
}

/// `dir 0755 0:0`, `char 0666 0:0 1:3`
fn stat(path: &str) -> io::Result<String> {
    let found = std::fs::symlink_metadata(path)?;
    let kind = found.file_type();
    let word = [
        (kind.is_dir(), "dir"),
        (kind.is_file(), "file"),
        (kind.is_symlink(), "link"),
        (kind.is_char_device(), "char"),
        (kind.is_block_device(), "block"),
        (kind.is_socket(), "socket"),
    ];
    let word = word.iter().find(|(is, _)| *is).map_or("other", |(_, word)| word);
    let mut text = format!("{word} {:04o} {}:{}", found.permissions().mode() & 0o7777, found.uid(), found.gid());
    if kind.is_char_device() || kind.is_block_device() {
        let _ = write!(text, " {}:{}", libc::major(found.rdev()), libc::minor(found.rdev()));
    }
    Ok(text)
}

/// `char 1:3`
fn descriptor(number: &str) -> io::Result<String> {
    let found = std::fs::metadata(format!("/proc/self/fd/{number}"))?;
    let kind = if found.file_type().is_char_device() { "char" } else { "other" };
    Ok(format!("{kind} {}:{}", libc::major(found.rdev()), libc::minor(found.rdev())))
}

fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| format!("{name}:{error}"));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map_or("missing".to_owned(), |value| value.trim().to_owned())
}

/// Of /proc/self/stat, from 0 for the pid; the name in brackets must not hold spaces, as ours does not.
fn field_of_stat(index: usize) -> String {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    text.split(' ').nth(index).unwrap_or_default().to_owned()
}

/// `tmpfs ro,nosuid,nodev` of the topmost mount at exactly this place, or `no mount`.
fn mounted(place: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let dash = words.iter().position(|word| *word == "-")?;
        (*words.get(4)? == place).then(|| format!("{} {}", words[dash + 1], words[5].replace(",relatime", "")))
    });
    mounts.next_back().unwrap_or_else(|| "no mount".to_owned())
}

fn environment() -> String {
    let bytes = std::fs::read("/proc/self/environ").unwrap_or_default();
    let mut variables: Vec<_> = String::from_utf8_lossy(&bytes).split_terminator('\0').map(str::to_owned).collect();
    variables.sort();
    variables.join("|")
}

fn limit(name: &str) -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("missing missing");
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    Ok(words.join(":"))
}

/// `NAME:ARGUMENT:...`, by name, with numbers as arguments.
fn call(text: &str) -> io::Result<String> {
    let mut words = text.split(':');
    let name = words.next().unwrap_or_default();
    let number = match name.parse() {
        Ok(number) => number,
        Err(_) => match name.parse::<syscalls::Sysno>() {
            Ok(call) => call.id().into(),
            Err(_) => return Ok(format!("? {name}")),
        },
    };
    let arguments: Vec<i64> = words.map(self::number).collect();
    system(number, &arguments).map(ok)
}

fn chmod(text: &str) -> io::Result<String> {
    let (path, mode) = text.split_once(':').unwrap_or((text, "0"));
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let mode = u32::from_str_radix(mode, 8).unwrap_or(0);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map(ok)
}

/// `PATH:c:MAJOR:MINOR`: makes the node and opens it for reading; which of the two failed is part of the answer.
fn mknod(text: &str) -> io::Result<String> {
    let words: Vec<&str> = text.split(':').collect();
    let [path, kind, major, minor] = words[..] else { return Ok("?".to_owned()) };
    let kind = if kind == "b" { libc::S_IFBLK } else { libc::S_IFCHR };
    let device = libc::makedev(self::number(major) as u32, self::number(minor) as u32);
    let node = c(path);
    // SAFETY: the path is a string.
    checked(i64::from(unsafe { libc::mknod(node.as_ptr(), kind | 0o600, device) }))?;
    let opened = open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0).map(close);
    std::fs::remove_file(path)?;
    Ok(opened.map_or_else(|error| format!("made, {}", name(&error)), |_| "made, opened".to_owned()))
}

/// A tmpfs on `PATH`.
fn mount(path: &str) -> io::Result<String> {
    let (path, kind) = (c(path), c("tmpfs"));
    // SAFETY: strings, and no data.
    let result = unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    checked(i64::from(result)).map(ok)
}

/// `FAMILY:TYPE`, by number.
fn socket(text: &str) -> io::Result<String> {
    let (family, kind) = text.split_once(':').unwrap_or((text, "1"));
    system(libc::SYS_socket, &[number(family), number(kind), 0]).map(|fd| close(fd as i32))
}

/// Binds a TCP port of 127.0.0.1.
fn bind(port: &str) -> io::Result<String> {
    std::net::TcpListener::bind(("127.0.0.1", number(port) as u16)).map(ok)
}

/// Bytes of the file system at a path.
fn size(path: &str) -> io::Result<String> {
    let found = nix::sys::statvfs::statvfs(path)?;
    Ok((found.blocks() * found.fragment_size()).to_string())
}

/// A line to `/dev/log`, as syslog(3) sends it.
fn send(text: &str) -> io::Result<String> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect("/dev/log")?;
    socket.send(format!("<14>probe: {text}").as_bytes()).map(ok)
}

/// Memory that is written, then executed: what a just-in-time compiler does.
fn write_and_execute() -> io::Result<String> {
    let (write, execute) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    // SAFETY: new anonymous memory that nothing else uses; it is not executed.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let at = libc::mmap(std::ptr::null_mut(), 4096, write, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        checked(i64::from(libc::mprotect(at, 4096, execute))).map(ok)
    }
}

/// Serial number of the session keyring.
fn keyring() -> io::Result<String> {
    const GET_KEYRING_ID: i64 = 0;
    const SESSION: i64 = -3;
    system(libc::SYS_keyctl, &[GET_KEYRING_ID, SESSION, 0]).map(|serial| serial.to_string())
}

fn type_into_a_terminal() -> io::Result<String> {
    let terminal = open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY, 0)?;
    let byte = b'x';
    // SAFETY: the byte outlives the call.
    let result = unsafe { libc::ioctl(terminal, libc::TIOCSTI, &raw const byte) };
    checked(i64::from(result)).map(ok)
}

fn realtime() -> io::Result<String> {
    let priority: libc::c_int = 1;
    system(libc::SYS_sched_setscheduler, &[0, i64::from(libc::SCHED_FIFO), &raw const priority as i64]).map(ok)
}

/// Forks up to `most` children that wait; how many came to be and why no more.
fn forks(most: i64) -> io::Result<String> {
    let mut children = Vec::new();
    let mut answer = format!("{most} ok");
    for made in 0..most {
        // SAFETY: the child does nothing but wait.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            },
            -1 => {
                answer = format!("{made} {}", name(&io::Error::last_os_error()));
                break;
            }
            child => children.push(child),
        }
    }
    for child in children {
        // SAFETY: ends and reaps own children.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    Ok(answer)
}

/// Touches so many MiB of new memory.
fn eat(mebibytes: usize) -> io::Result<String> {
    let length = mebibytes << 20;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: new anonymous memory, populated by the kernel, used by nobody.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok("ok".to_owned()) }
}

/// Uses so many milliseconds of CPU time.
fn spin(milliseconds: i64) -> io::Result<String> {
    loop {
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes to the structure.
        checked(i64::from(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used) }))?;
        if used.tv_sec * 1000 + used.tv_nsec / 1_000_000 >= milliseconds {
            return Ok("ok".to_owned());
        }
    }
}

/// What a shell prints, with its exit status when that is not 0.
fn shell(command: &str) -> io::Result<String> {
    let output = std::process::Command::new("/bin/sh").args(["-c", command]).output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok(text),
        _ => Ok(format!("{}({})", text, output.status)),
    }
}
