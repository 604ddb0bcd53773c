//! The name of the control socket: there is one at every moment, and it leads to whoever listens.

use super::Listener;
use crate::control::Rules;
use crate::daemon::scarcity;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

impl Listener {
    /// Listens at `path`, mode 0666 as the rules decide and not the file system. An existing socket there is
    /// replaced in one step; clients of the former one notice nothing but its end.
    ///
    /// # Errors
    /// Of bind(2), chmod(2), rename(2), epoll_create1(2).
    pub fn bind(path: &Path, rules: Rules) -> io::Result<Listener> {
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut temporary = std::ffi::OsString::from(format!(".{}.", std::process::id()));
        temporary.push(name);
        let temporary = path.with_file_name(temporary);
        let in_words = |error| scarcity::at(path, error);
        let socket = match bind_name(&temporary) {
            Ok(socket) => {
                fs::rename(&temporary, path).map_err(in_words)?;
                socket
            }
            // There is room for one name and not for two: that of the former daemon makes way first.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => bind_name(path).map_err(in_words)?,
            Err(error) => return Err(in_words(error)),
        };
        socket.set_nonblocking(true)?;
        Listener::over(socket, path, rules)
    }

    /// Removes the socket's name, for an end after which no other daemon follows. Without that, clients wait for the
    /// next daemon as long as the name is there.
    ///
    /// # Errors
    /// Of unlink(2).
    pub fn remove_name(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Binds a socket that anybody may connect to in the place of whatever has this name.
fn bind_name(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = bind_long(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// Binds a path of any length: past the 107 bytes of sun_path it goes through a descriptor of the directory.
fn bind_long(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().as_bytes().len() < 107 {
        return UnixListener::bind(path);
    }
    let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    UnixListener::bind(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
}
