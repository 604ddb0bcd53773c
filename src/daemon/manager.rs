//! What rsvc tells the service manager that started it (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

/// Says `READY=1` where `NOTIFY_SOCKET` asks for it. The variable is not passed on: services get a clean environment.
pub(super) fn tell_ready() {
    tell("READY=1");
}

/// Says that the daemon is busy with itself, with the time that `Type=notify-reload` asks for; `READY=1` follows.
pub(super) fn tell_reloading() {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let usec = time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
}

#[allow(clippy::disallowed_methods, reason = "the manager's protocol is an environment variable")]
fn tell(text: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| match abstract_name(&path) {
        Some(address) => socket.send_to_addr(text.as_bytes(), &address),
        None => socket.send_to(text.as_bytes(), &path),
    });
    if let Err(error) = sent {
        tracing::warn!("cannot tell the service manager {text:?}: {error}");
    }
}

fn abstract_name(path: &std::ffi::OsStr) -> Option<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    let name = path.as_bytes().strip_prefix(b"@")?;
    std::os::unix::net::SocketAddr::from_abstract_name(name).ok()
}
