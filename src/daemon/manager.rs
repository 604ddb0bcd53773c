//! What rsvc tells the service manager that started it (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

/// Says `READY=1` where `NOTIFY_SOCKET` asks for it. The variable is not passed on: services get a clean environment.
#[allow(clippy::disallowed_methods, reason = "the manager's protocol is an environment variable")]
pub(super) fn tell_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| match abstract_name(&path) {
        Some(address) => socket.send_to_addr(b"READY=1", &address),
        None => socket.send_to(b"READY=1", &path),
    });
    if let Err(error) = sent {
        tracing::warn!("cannot tell the service manager that the daemon is ready: {error}");
    }
}

fn abstract_name(path: &std::ffi::OsStr) -> Option<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    let name = path.as_bytes().strip_prefix(b"@")?;
    std::os::unix::net::SocketAddr::from_abstract_name(name).ok()
}
