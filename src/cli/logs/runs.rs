//! The runs of a unit, as the daemon noted them: `<state>/runs/NAME`, one line `TIME INVOCATION` for each, oldest first.
//!
//! Output belongs to the run in whose time it arrived. That holds for files and for the journal, and no service can
//! forge it, as none can write there.

use super::super::terminal::harmless;
use super::super::{Failure, Instance, time};
use std::io::ErrorKind;
use std::time::SystemTime;

/// From when to when the wanted run lasted; without an end it is the latest.
pub fn span(instance: &Instance, unit: &str, wanted: &str) -> Result<(SystemTime, Option<SystemTime>), Failure> {
    let path = instance.state_dir().join("runs").join(unit);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(Failure::new(4, format!("cannot read {}: {error}", path.display())));
        }
        Err(error) => return Err(Failure::new(1, format!("cannot read {}: {error}", path.display()))),
    };
    let runs: Vec<(SystemTime, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(at, id)| Some((time::parse(at)?, id)))
        .collect();
    let Some(index) = find(&runs, wanted)? else {
        let known = match runs.len() {
            0 => "no run of it is known".to_owned(),
            count => format!("{count} are known, the latest is {}", runs[count - 1].1),
        };
        return Err(Failure::new(1, format!("{}: no run `{}`: {known}", harmless(unit), harmless(wanted))));
    };
    Ok((runs[index].0, runs.get(index + 1).map(|run| run.0)))
}

/// Which of them: by id, or by number, 1 being the first, 0 the latest and -1 the one before.
fn find(runs: &[(SystemTime, &str)], wanted: &str) -> Result<Option<usize>, Failure> {
    if wanted.len() == 32 && wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(runs.iter().rposition(|run| run.1.eq_ignore_ascii_case(wanted)));
    }
    let Ok(number) = wanted.parse::<i64>() else {
        let text = format!("`{}` is no invocation: write 32 hex digits, or 0, -1, 1...", harmless(wanted));
        return Err(Failure::new(2, text));
    };
    let index = if number > 0 { number - 1 } else { number + runs.len() as i64 - 1 };
    Ok(usize::try_from(index).ok().filter(|index| *index < runs.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_number_and_by_id() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("runs")).expect("runs");
        let ids: Vec<String> = "abc".chars().map(|c| c.to_string().repeat(32)).collect();
        let line = |(n, id): (usize, &String)| format!("2026-11-21T22:00:0{n}.000000Z {id}\n");
        let text: String = ids.iter().enumerate().map(line).collect();
        std::fs::write(directory.path().join("runs/web"), text).expect("write");
        let instance = Instance { given_state_dir: Some(directory.path().into()), ..Instance::default() };
        let at = |second: u32| time::parse(&format!("2026-11-21T22:00:0{second}Z")).expect("a time");
        let of = |wanted: &str| span(&instance, "web", wanted).map_err(|failure| failure.code());
        assert_eq!(of("0"), Ok((at(2), None)));
        assert_eq!(of("-1"), Ok((at(1), Some(at(2)))));
        assert_eq!(of("1"), Ok((at(0), Some(at(1)))));
        assert_eq!(of(&ids[1].to_uppercase()), Ok((at(1), Some(at(2)))));
        for (wanted, code) in [("4", 1), ("-3", 1), (&"d".repeat(32), 1), ("last", 2), ("", 2)] {
            assert_eq!(of(wanted), Err(code), "{wanted}");
        }
        assert_eq!(span(&instance, "other", "0").unwrap_err().code(), 1);
    }
}
