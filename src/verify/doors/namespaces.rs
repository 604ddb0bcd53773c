//! Mounts and namespaces: calls that would build another container, or leave this one.

use super::promises::{NO_ADMIN, no_namespace};
use crate::sys::attempt::Word::{Bytes, Number, Text};
use crate::verify::Attempt::Call;
use crate::verify::{Key, Probe};

const AT_FDCWD: i64 = libc::AT_FDCWD as i64;
const CLONE_NEWTIME: i64 = 0x80;

#[rustfmt::skip]
pub(super) const MOUNTS: &[Probe] = &[
    Probe { id: "mount", about: "mounting a file system (one that does not exist)", keys: &[Key::Calls(&["mount"]), NO_ADMIN],
        attempt: Call(libc::SYS_mount, &[Text(c"rsvc"), Text(c"/"), Text(c"rsvc-none"), Number(0), Number(0)], &[]) },
    Probe { id: "bind", about: "a bind mount (of a path that does not exist)", keys: &[Key::Calls(&["mount"]), NO_ADMIN],
        attempt: Call(libc::SYS_mount, &[Text(c"/rsvc-none"), Text(c"/"), Number(0), Number(libc::MS_BIND as i64), Number(0)], &[]) },
    Probe { id: "remount", about: "changing the flags of a mount (to what they are)", keys: &[Key::Calls(&["mount_setattr"]), NO_ADMIN],
        attempt: Call(libc::SYS_mount_setattr, &[Number(AT_FDCWD), Text(c"/"), Number(0), Bytes(&[]), Number(32)], &[]) },
    Probe { id: "umount", about: "unmounting (with flags that exclude each other)", keys: &[Key::Calls(&["umount2"]), NO_ADMIN],
        attempt: Call(libc::SYS_umount2, &[Text(c"/"), Number((libc::MNT_EXPIRE | libc::MNT_FORCE) as i64)], &[]) },
    Probe { id: "pivot-root", about: "changing the root mount (to itself)", keys: &[Key::Calls(&["pivot_root"]), NO_ADMIN],
        attempt: Call(libc::SYS_pivot_root, &[Text(c"/"), Text(c"/")], &[]) },
    Probe { id: "chroot", about: "changing the root directory (to itself)", keys: &[Key::Calls(&["chroot"]), Key::Without("SYS_CHROOT")],
        attempt: Call(libc::SYS_chroot, &[Text(c"/")], &[]) },
    Probe { id: "open-tree", about: "a copy of the mount tree", keys: &[Key::Calls(&["open_tree"]), NO_ADMIN],
        attempt: Call(libc::SYS_open_tree, &[Number(AT_FDCWD), Text(c"/"), Number(1)], &[]) },
    Probe { id: "fsopen", about: "configuring a new file system", keys: &[Key::Calls(&["fsopen"]), NO_ADMIN],
        attempt: Call(libc::SYS_fsopen, &[Text(c"tmpfs"), Number(0)], &[]) },
    Probe { id: "fsopen-cgroup", about: "configuring a view of the control groups", keys: &[Key::Calls(&["fsopen"]), NO_ADMIN],
        attempt: Call(libc::SYS_fsopen, &[Text(c"cgroup2"), Number(0)], &[libc::ENODEV]) },
    Probe { id: "fspick", about: "reconfiguring a mounted file system", keys: &[Key::Calls(&["fspick"]), NO_ADMIN],
        attempt: Call(libc::SYS_fspick, &[Number(AT_FDCWD), Text(c"/rsvc-none"), Number(0)], &[]) },
    Probe { id: "fsmount", about: "a mount of a configured file system (of none)", keys: &[Key::Calls(&["fsmount"]), NO_ADMIN],
        attempt: Call(libc::SYS_fsmount, &[Number(-1), Number(0), Number(0)], &[]) },
    Probe { id: "move-mount", about: "attaching a mount (of none)", keys: &[Key::Calls(&["move_mount"]), NO_ADMIN],
        attempt: Call(libc::SYS_move_mount, &[Number(-1), Text(c""), Number(-1), Text(c""), Number(0x44)], &[]) },
];

#[rustfmt::skip]
pub(super) const DOORS: &[Probe] = &[
    Probe { id: "unshare-user", about: "a user namespace of its own", keys: &[no_namespace!("user"), Key::Calls(&["unshare"])],
        attempt: Call(libc::SYS_unshare, &[Number(libc::CLONE_NEWUSER as i64)], &[]) },
    Probe { id: "unshare-mount", about: "a mount namespace of its own", keys: &[no_namespace!("mnt"), Key::Calls(&["unshare"]), NO_ADMIN],
        attempt: Call(libc::SYS_unshare, &[Number(libc::CLONE_NEWNS as i64)], &[]) },
    Probe { id: "unshare-pid", about: "a pid namespace of its own", keys: &[no_namespace!("pid"), Key::Calls(&["unshare"]), NO_ADMIN],
        attempt: Call(libc::SYS_unshare, &[Number(libc::CLONE_NEWPID as i64)], &[]) },
    Probe { id: "unshare-net", about: "a network namespace of its own", keys: &[no_namespace!("net"), Key::Calls(&["unshare"]), NO_ADMIN],
        attempt: Call(libc::SYS_unshare, &[Number(libc::CLONE_NEWNET as i64)], &[]) },
    Probe { id: "unshare-ipc", about: "an ipc namespace of its own", keys: &[no_namespace!("ipc"), Key::Calls(&["unshare"]), NO_ADMIN],
        attempt: Call(libc::SYS_unshare, &[Number(libc::CLONE_NEWIPC as i64)], &[]) },
    Probe { id: "unshare-uts", about: "a uts namespace of its own", keys: &[no_namespace!("uts"), Key::Calls(&["unshare"]), NO_ADMIN],
        attempt: Call(libc::SYS_unshare, &[Number(libc::CLONE_NEWUTS as i64)], &[]) },
    Probe { id: "unshare-cgroup", about: "a cgroup namespace of its own", keys: &[no_namespace!("cgroup"), Key::Calls(&["unshare"]), NO_ADMIN],
        attempt: Call(libc::SYS_unshare, &[Number(libc::CLONE_NEWCGROUP as i64)], &[]) },
    Probe { id: "unshare-time", about: "a time namespace of its own", keys: &[no_namespace!("time"), Key::Calls(&["unshare"]), NO_ADMIN],
        attempt: Call(libc::SYS_unshare, &[Number(CLONE_NEWTIME)], &[]) },
    Probe { id: "clone-user", about: "a process in a user namespace of its own", keys: &[no_namespace!("user")],
        attempt: Call(libc::SYS_clone, &[Number((libc::CLONE_NEWUSER | libc::SIGCHLD) as i64), Number(0), Number(0), Number(0), Number(0)], &[]) },
    Probe { id: "clone3", about: "clone3, whose flags no filter can see (without arguments)",
        keys: &[Key::Holds("security.restrict_namespaces", denies_any), Key::Calls(&["clone3"])],
        attempt: Call(libc::SYS_clone3, &[Number(0), Number(0)], &[]) },
    Probe { id: "setns", about: "entering another namespace (of no descriptor)",
        keys: &[no_namespace!("mnt"), Key::Calls(&["setns"])],
        attempt: Call(libc::SYS_setns, &[Number(-1), Number(libc::CLONE_NEWNS as i64)], &[]) },
    Probe { id: "setns-any", about: "entering a namespace of any kind (of no descriptor)",
        keys: &[Key::Holds("security.restrict_namespaces", denies_any), Key::Calls(&["setns"])],
        attempt: Call(libc::SYS_setns, &[Number(-1), Number(0)], &[]) },
];

/// Is there a kind of namespaces that may not be made?
fn denies_any(posture: &crate::score::Posture<'_>) -> bool {
    ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"].iter().any(|kind| !posture.may_make(kind))
}
