//! Programs that somebody might take for a newer rsvc, compiled by the tests: the name decides which one it is.
//!
//! Each is asked with `daemon --handoff-info 3`, like a real one.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn claim(snapshot: u32, state: u32, problems: &str) {
    println!(
        r#"{{"v":1,"version":"9.0.0","build":"0000000000000000","snapshot":[{snapshot},{snapshot}],"state":[{state},{state}],"problems":[{problems}]}}"#
    );
}

fn main() {
    let path = std::env::current_exe().expect("a path");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    match name.as_str() {
        "hangs" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        "crashes" => std::process::abort(),
        "silent" => {}
        "nonsense" => println!("hello\u{1b}[2J"),
        "floods" => loop {
            if std::io::stdout().write_all(&[b'x'; 4096]).is_err() {
                return;
            }
        },
        "fails" => {
            eprintln!("the moon is full");
            std::process::exit(7);
        }
        "old" => {
            eprintln!("error: unexpected argument '--handoff-info' found");
            std::process::exit(2);
        }
        "future-snapshot" => claim(99, 1, ""),
        "future-state" => claim(1, 99, ""),
        "blind" => claim(1, 1, r#"{"unit":"web","why":"the recorded state is of version 1, this rsvc reads 0"}"#),
        // Able, and then nobody may execute it any more.
        "vanishes" => {
            claim(1, 1, "");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).expect("chmod");
        }
        other => panic!("{other}"),
    }
}
