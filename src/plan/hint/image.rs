//! A root file system in a file that cannot be mounted.

use nix::errno::Errno;
use std::path::Path;

/// `detail` names the loop device where that is what is missing.
pub(super) fn hint(path: &Path, fs_type: &str, errno: Errno, detail: &str) -> Option<String> {
    let shown = path.display();
    match errno {
        Errno::ENOENT | Errno::ENXIO if detail.contains("/dev/loop") => {
            Some("load the module `loop`; erofs needs none since Linux 6.12".to_owned())
        }
        Errno::ENOENT | Errno::ENOTDIR => Some(format!("rootfs.path names a file of the host: there is no {shown}")),
        Errno::ENODEV => Some(format!("this kernel has no {fs_type}: load its module")),
        Errno::EINVAL | Errno::EUCLEAN | Errno::EBADMSG | Errno::EIO => {
            Some(format!("{shown} is no {fs_type}, or a part of one: `file {shown}` says what it is"))
        }
        Errno::EOPNOTSUPP => {
            Some(format!("this kernel lacks something that the {fs_type} uses, such as its compression"))
        }
        Errno::EPERM => Some("rsvc needs CAP_SYS_ADMIN outside of a user namespace, and /dev/loop-control".to_owned()),
        _ => None,
    }
}
