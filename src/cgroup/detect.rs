//! Which hierarchies this process can reach, and which group of each is its own.
//!
//! Two texts of the kernel say it: /proc/self/mountinfo where hierarchies are mounted (possibly bound elsewhere, only a
//! part of them, or hidden under another mount), /proc/self/cgroup which group we are in. A mount is believed only when
//! what lies at its mount point now is that file system (statfs magic) and that very mount's device. No path is a
//! constant: `/sys/fs/cgroup` is where it usually is, and not always.

use super::CgroupError;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `CGROUP2_SUPER_MAGIC`, statfs(2).
const V2_MAGIC: u64 = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC`, statfs(2).
const V1_MAGIC: u64 = 0x0027_e0eb;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Host {
    /// The v2 tree, with or without controllers.
    pub v2: Option<Hierarchy>,
    /// v1 hierarchies with at least one controller.
    pub v1: Vec<Hierarchy>,
    /// Some controller is bound to v1 on this host, mounted in our view or not.
    pub hybrid: bool,
}

/// One hierarchy at one mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it can be seen.
    pub mount_point: PathBuf,
    /// Our own group, below the mount point and absolute; `None` when it lies outside of what is mounted.
    pub own: Option<PathBuf>,
    /// v1: its controllers under their v1 names. Empty for v2, where the files say it.
    pub controllers: Vec<String>,
}

/// A line of /proc/self/mountinfo about control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// `major:minor` of the file system.
    device: (u32, u32),
    /// The group that is seen at the mount point.
    root: PathBuf,
    point: PathBuf,
    v2: bool,
    options: Vec<String>,
}

/// A line of /proc/self/cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Membership {
    /// Empty for v2; `name=systemd` for a hierarchy without controllers.
    controllers: Vec<String>,
    path: PathBuf,
}

impl Host {
    /// Asks the kernel.
    pub(super) fn read() -> Result<Host, CgroupError> {
        let text = |path: &str| fs::read_to_string(path).map_err(|error| CgroupError::new("read", path, error));
        Host::find(&text("/proc/self/mountinfo")?, &text("/proc/self/cgroup")?, &is_mounted)
    }

    /// `visible` tells whether a mount is what one finds at its mount point.
    fn find(
        mountinfo: &str,
        own_groups: &str,
        visible: &dyn Fn(&Mount) -> Result<bool, CgroupError>,
    ) -> Result<Host, CgroupError> {
        let mut mounts = Vec::new();
        for mount in mountinfo.lines().filter_map(parse_mount) {
            if visible(&mount)? {
                mounts.push(mount);
            }
        }
        let mut host = Host::default();
        for member in own_groups.lines().filter_map(parse_membership) {
            if member.controllers.is_empty() {
                host.v2 = best(mounts.iter().filter(|mount| mount.v2), &member);
            } else if !member.controllers.iter().any(|name| name.starts_with("name=")) {
                host.hybrid = true;
                // Co-mounted controllers (cpu,cpuacct) are one hierarchy: the options name all of them.
                let same = |mount: &&Mount| !mount.v2 && member.controllers.iter().all(|c| mount.options.contains(c));
                host.v1.extend(best(mounts.iter().filter(same), &member));
            }
        }
        Ok(host)
    }
}

/// Of several mounts of one hierarchy the one that shows our own group, from as far up as possible.
fn best<'a>(mounts: impl Iterator<Item = &'a Mount>, member: &Membership) -> Option<Hierarchy> {
    let mount = mounts.min_by_key(|mount| {
        (!member.path.starts_with(&mount.root), mount.root.components().count(), mount.point.clone())
    })?;
    let own = member.path.strip_prefix(&mount.root).ok().map(|below| Path::new("/").join(below));
    Some(Hierarchy { mount_point: mount.point.clone(), own, controllers: member.controllers.clone() })
}

/// The file system at the mount point is the one of this line, not one that was mounted over it.
///
/// # Errors
/// It cannot be seen what is there: a hierarchy that is taken for missing would hide the services in it.
fn is_mounted(mount: &Mount) -> Result<bool, CgroupError> {
    let magic = if mount.v2 { V2_MAGIC } else { V1_MAGIC };
    let (major, minor) = mount.device;
    let failed = |error| CgroupError::new("look at", &mount.point, error);
    let Some(system) = unless_hidden(rustix::fs::statfs(&mount.point).map_err(io::Error::from)).map_err(failed)? else {
        return Ok(false);
    };
    let found = unless_hidden(fs::metadata(&mount.point)).map_err(failed)?;
    let is_it = found.is_some_and(|found| found.dev() == rustix::fs::makedev(major, minor));
    Ok(system.f_type as u64 == magic && is_it)
}

/// `None` for what is not there, or not for us.
pub(super) fn unless_hidden<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fields by proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options, tags..., `-`, type, source,
/// super options.
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let v2 = match right.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = right.nth(1).unwrap_or("").split(',').map(str::to_owned).collect();
    let mut left = left.split(' ').skip(2);
    let (major, minor) = left.next()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    Some(Mount { device, root: unescape(left.next()?)?.into(), point: unescape(left.next()?)?.into(), v2, options })
}

/// Space, tab, newline and backslash stand as `\ooo`.
fn unescape(field: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\'
            && let Some(octal) = tail.get(..3)
            && let Ok(byte) = u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8)
        {
            bytes.push(byte);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// `hierarchy-id:controllers:path`; in a cgroup namespace the path of a group outside of it begins with `/..`.
fn parse_membership(line: &str) -> Option<Membership> {
    let mut fields = line.splitn(3, ':').skip(1);
    let controllers = fields.next()?.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    // A removed group is still named, with this behind it.
    let path = fields.next()?.trim_end_matches(" (deleted)");
    Some(Membership { controllers, path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const HYBRID_GROUPS: &str = "9:name=systemd:/\n4:memory:/process_api/3058\n1:cpu,cpuacct:/\n0::/\n";

    fn find(mounts: &str, groups: &str) -> Host {
        Host::find(mounts, groups, &|_| Ok(true)).expect("seen")
    }

    fn own(hierarchy: &Hierarchy) -> Option<&str> {
        hierarchy.own.as_deref().and_then(Path::to_str)
    }

    #[test]
    fn a_hybrid_has_the_v2_tree_and_each_v1_controller_with_our_own_group() {
        let host = find(HYBRID_MOUNTS, HYBRID_GROUPS);
        assert!(host.hybrid);
        let v2 = host.v2.expect("the unified tree");
        assert_eq!((v2.mount_point.to_str(), own(&v2)), (Some("/sys/fs/cgroup/unified"), Some("/")));
        let v1: Vec<_> = host.v1.iter().map(|h| (h.controllers.join(","), own(h))).collect();
        assert_eq!(v1, [("memory".to_owned(), Some("/process_api/3058")), ("cpu,cpuacct".to_owned(), Some("/"))]);
    }

    #[test]
    fn pure_v2_is_one_tree() {
        let host = find(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
            "0::/system.slice/rsvc.service\n",
        );
        assert_eq!(own(host.v2.as_ref().expect("v2")), Some("/system.slice/rsvc.service"));
        assert!(host.v1.is_empty() && !host.hybrid);
    }

    #[test]
    fn a_view_with_only_cgroup2_still_knows_that_controllers_are_bound_to_v1() {
        let covered = "50 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let all = format!("{HYBRID_MOUNTS}{covered}");
        let visible = |mount: &Mount| Ok(mount.point == Path::new("/sys/fs/cgroup"));
        let host = Host::find(&all, HYBRID_GROUPS, &visible).expect("seen");
        assert_eq!(host.v2.expect("v2").mount_point, Path::new("/sys/fs/cgroup"));
        assert!(host.v1.is_empty() && host.hybrid);
    }

    #[test]
    fn a_mount_of_a_part_of_the_tree_moves_our_group_up() {
        let mounts = "60 1 0:26 /machine/a /cg\\040here ro - cgroup2 none rw\n";
        let inside = find(mounts, "0::/machine/a/b\n").v2.expect("v2");
        assert_eq!((inside.mount_point.to_str(), own(&inside)), (Some("/cg here"), Some("/b")));
        let outside = find(mounts, "0::/machine/other\n").v2.expect("v2");
        assert_eq!(outside.own, None);
        let sibling = find(mounts, "0::/machine/ab\n").v2.expect("v2");
        assert_eq!(sibling.own, None, "names are compared whole");
    }

    #[test]
    fn a_group_outside_of_the_cgroup_namespace_is_not_ours_to_use() {
        let mounts = "60 1 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n";
        let mut host = find(mounts, "0::/../other\n");
        // The kernel's text starts with the root of the namespace; the refusal of `..` is guard's.
        let own = host.v2.take().and_then(|h| h.own).expect("a path");
        super::super::guard::root_group(&own.join("rsvc")).expect_err("dots");
    }

    #[test]
    fn of_two_mounts_the_one_that_shows_our_group_wins() {
        let mounts = "60 1 0:26 /other /a rw - cgroup2 none rw\n61 1 0:26 / /b rw - cgroup2 none rw\n";
        assert_eq!(find(mounts, "0::/me\n").v2.expect("v2").mount_point, Path::new("/b"));
    }

    #[test]
    fn lines_that_make_no_sense_are_skipped() {
        let host = find("\n- - -\n1 2 3 cgroup2\n1 2 x:y / /a rw - cgroup2 a b\n", "\n0\n0:\nnonsense\n");
        assert_eq!(host, Host::default());
    }

    #[test]
    fn the_kernel_is_understood_here() {
        if let Err(error) = Host::read() {
            println!("skipped: {error}");
        }
    }
}
