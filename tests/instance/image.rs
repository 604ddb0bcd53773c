//! A root file system in a file, with the programs of the host in it.

use super::Instance;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What this host has too little of, if anything.
pub fn lacks() -> Option<String> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("\tsquashfs\n");
    if !known || !Path::new("/dev/loop-control").exists() {
        return Some("this kernel has no squashfs, or there is no /dev/loop-control".to_owned());
    }
    Command::new("mksquashfs").arg("-version").output().err().map(|_| "no mksquashfs is installed".to_owned())
}

/// Makes the file `image` of the instance; the tables of a unit that has it for its root. `more`: further directories.
pub fn tables(instance: &Instance, more: &[&str]) -> String {
    let (tree, file) = (instance.file("tree"), instance.file("image"));
    for directory in ["dev", "proc", "sys", "run", "tmp", "var/tmp", "etc", "usr"].iter().chain(more) {
        fs::create_dir_all(tree.join(directory)).expect("directory");
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), tree.join(name)).expect("link");
    }
    let made = Command::new("mksquashfs").arg(&tree).arg(&file).args(["-quiet", "-no-progress", "-all-root"]).output();
    assert!(made.expect("mksquashfs").status.success());
    fs::remove_dir_all(&tree).expect("not needed any more");
    format!(
        "[rootfs]\ntype = \"squashfs\"\npath = \"{}\"\n[[mounts]]\ndestination = \"/usr\"\nsource = \"/usr\"\n\
         options = [\"ro\"]\n",
        file.display()
    )
}

/// Loop devices that have the file open.
pub fn devices(instance: &Instance) -> usize {
    let file = instance.file("image").display().to_string();
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let backing = entries.filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    backing.filter(|backing| backing.trim_end() == file).count()
}
