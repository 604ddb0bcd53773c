//! Processes by descent: what is known of a service that has no control group.
//!
//! In a pid namespace of its own all of a service descends from the first process there, which inherits what loses its
//! parent (pid_namespaces(7)); elsewhere what has done so is lost.

use super::whole_file::read_proc;

/// Children of a process; none where the kernel does not list them (CONFIG_PROC_CHILDREN, proc_pid_task(5)).
pub(super) fn children(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread = |thread: std::fs::DirEntry| {
        let path = format!("/proc/{pid}/task/{}/children", thread.file_name().to_str()?);
        Some(String::from_utf8_lossy(&read_proc(&path).ok()?).into_owned())
    };
    let lists: Vec<String> = threads.filter_map(of_thread).collect();
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).filter_map(|word| word.parse().ok()).collect()
}

/// A process and all that descend from it.
pub(super) fn descendants(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        // Who moved up meanwhile is met twice.
        for child in children(parent) {
            if !found.contains(&child) {
                found.push(child);
            }
        }
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn grandchildren_are_found() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'echo $$; exec cat'; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let grandchild: i32 = line.trim().parse().expect("a pid");
        let parent = shell.id() as i32;
        let found = descendants(std::process::id() as i32);
        drop(shell.stdin.take());
        shell.wait().expect("the shell ends");
        assert!(found.contains(&parent) && found.contains(&grandchild) && grandchild != parent, "{found:?}");
    }
}
