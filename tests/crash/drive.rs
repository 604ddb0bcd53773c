//! A scenario, driven again and again, with the daemon killed at another place each time.

use crate::boundary::{Boundary, judge};
use crate::instance::skipped;
use crate::instance::tracer::{End, Tracer};
use crate::lab::{Lab, eventually};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Stdio};

/// Which boundaries of each scenario are tried unless `RSVC_CRASH` says otherwise.
const SAMPLE: usize = 16;

/// What is done while the daemon is watched.
pub enum Act {
    /// `rsvc ARGUMENTS`
    Client(&'static [&'static str]),
    /// Something that no client asks for.
    Happens(fn(&mut Lab)),
    /// The daemon is killed before, and it is the next one that is watched, from its first call on.
    NextDaemon,
}

/// See the module documentation.
pub struct Scenario {
    pub name: &'static str,
    /// Why it cannot be tried here, if it cannot.
    pub lacks: fn() -> Option<String>,
    /// Writes the units.
    pub units: fn(&Lab),
    /// Leads to where the scenario begins.
    pub before: fn(&mut Lab),
    pub act: Act,
    /// Has all of it come about, of which an undisturbed daemon is the cause? Looks at files, and asks nobody.
    pub done: fn(&Lab) -> bool,
    /// Looks at what the next daemon made of it. `accepted`: the client had its answer.
    pub check: fn(&Lab, bool),
}

/// How a scenario is to be tried.
enum Selection {
    /// Nothing is killed but at the end.
    Count,
    Sample,
    All,
    One(Boundary),
    Nothing,
}

impl Selection {
    /// `RSVC_CRASH`: nothing, `all`, `count`, `SCENARIO`, `SCENARIO:all`, or `SCENARIO:NUMBER:before|after`.
    fn of(name: &str) -> Selection {
        match std::env::var("RSVC_CRASH").ok().as_deref() {
            None | Some("") => Selection::Sample,
            Some("all") => Selection::All,
            Some("count") => Selection::Count,
            Some(text) => match text.split_once(':') {
                None if text == name => Selection::Sample,
                Some((scenario, "all")) if scenario == name => Selection::All,
                Some((scenario, at)) if scenario == name => Selection::One(at.parse().expect("RSVC_CRASH")),
                _ => Selection::Nothing,
            },
        }
    }

    fn boundaries(&self, total: usize) -> Vec<Boundary> {
        match self {
            Selection::Nothing | Selection::Count => Vec::new(),
            Selection::One(at) => vec![*at],
            Selection::All => {
                (0..total).flat_map(|number| [false, true].map(|after| Boundary { number, after })).collect()
            }
            // Both sides are tried in turns: behind a call is before the next one, but for who is waiting for it.
            Selection::Sample => (0..total)
                .step_by(total.div_ceil(SAMPLE).max(1))
                .enumerate()
                .map(|(index, number)| Boundary { number, after: index % 2 == 1 })
                .collect(),
        }
    }
}

impl Scenario {
    /// Tries all that is to be tried and fails with a list of what went wrong, and how each can be repeated.
    pub fn run(&self) {
        let selection = Selection::of(self.name);
        if matches!(selection, Selection::Nothing) {
            return;
        }
        if let Some(why) = (self.lacks)() {
            return skipped(&why);
        }
        let mut lab = self.lab();
        let Some(calls) = self.round(&mut lab, None) else { return };
        let boundaries = selection.boundaries(calls.len());
        println!("{}: {} calls that count, {} boundaries tried", self.name, calls.len(), boundaries.len());
        if std::env::var_os("RSVC_CRASH_CALLS").is_some() {
            for (number, call) in calls.iter().enumerate() {
                println!("{}:{number} {call}", self.name);
            }
        }
        let mut failures = Vec::new();
        for at in boundaries {
            let tried = catch_unwind(AssertUnwindSafe(|| self.round(&mut lab, Some(at))));
            if let Err(why) = tried {
                let text = why.downcast_ref::<String>().cloned();
                let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let why = text.unwrap_or_else(|| "a panic without words".to_owned());
                let call = calls.get(at.number).map_or("", |call| call.as_str());
                failures.push(format!("RSVC_CRASH={}:{at} (about {call}): {why}", self.name));
                eprintln!("{}\n{}", failures[failures.len() - 1], last_lines(&lab.instance.daemon_log()));
                lab = self.lab();
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    }

    fn lab(&self) -> Lab {
        let mut lab = Lab::new();
        if self.name.ends_with("_without_groups") {
            lab.instance.without_groups();
        }
        (self.units)(&lab);
        lab.instance.start_daemon();
        lab
    }

    /// One death, one next daemon, and what it made of it. The calls that were seen; `None`: skipped.
    fn round(&self, lab: &mut Lab, at: Option<Boundary>) -> Option<Vec<String>> {
        (self.before)(lab);
        let (seen, judge) = judge(at);
        let mut nurseries = lab.nurseries();
        let tracer = match self.act {
            Act::NextDaemon => {
                lab.instance.kill_daemon();
                lab.instance.start_traced_daemon(judge)?
            }
            _ => Tracer::attach(lab.instance.daemon_pid(), judge)?,
        };
        let mut client = match self.act {
            Act::Client(arguments) => {
                let mut command = lab.instance.command();
                command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                Some(command.spawn().expect("rsvc runs"))
            }
            Act::Happens(happens) => {
                happens(lab);
                None
            }
            Act::NextDaemon => None,
        };
        let ended = eventually(
            || format!("{} comes about or the daemon dies", self.name),
            || {
                if tracer.is_over() {
                    return Some(true);
                }
                let answered = client.as_mut().is_none_or(|client| client.try_wait().expect("wait").is_some());
                (answered && (self.done)(lab) && seen.is_idle()).then_some(false)
            },
        );
        assert!(seen.unknown().is_empty(), "in no list of calls: {:?}", seen.unknown());
        nurseries.extend(lab.nurseries());
        if ended {
            assert_eq!(tracer.wait(), End::Killed, "the daemon ended by itself");
        } else {
            tracer.release();
        }
        lab.instance.kill_daemon();
        // Every other client dies with the daemon; the rest ask the next one, and never see a failure.
        let asks_again = at.is_some_and(|at| at.after);
        let mut accepted = match &mut client {
            Some(client) if !asks_again => was_accepted(client),
            _ => false,
        };
        assert!(ended || accepted || asks_again || client.is_none(), "the client was refused");
        lab.instance.start_daemon();
        if let Some(mut client) = client.filter(|_| asks_again) {
            let status = eventually(|| "the client is answered".to_owned(), || client.try_wait().expect("wait"));
            assert!(status.success(), "the client sees a failure: {status}");
            accepted = true;
        }
        (self.check)(lab, accepted);
        if let Some(unit) = lab.doubled().first() {
            panic!("two copies of {unit} lived at once");
        }
        eventually(
            || "the nursery of the dead daemon ends".to_owned(),
            || nurseries.iter().all(|n| !n.is_alive()).then_some(()),
        );
        lab.instance.rsvc(&["stop", "--all"]).expect(0);
        self.nothing_is_left(lab);
        lab.clean();
        Some(seen.calls())
    }

    fn nothing_is_left(&self, lab: &Lab) {
        lab.instance.rsvc(&["reset-failed"]).expect(0);
        eventually(|| format!("this is left: {:#?}", lab.leftovers()), || lab.leftovers().is_empty().then_some(()));
    }
}

/// Had it got its answer when the daemon died? It is not waited for any longer.
fn was_accepted(client: &mut Child) -> bool {
    let status = client.try_wait().expect("wait");
    let _ = client.kill();
    let _ = client.wait();
    status.is_some_and(|status| status.success())
}

/// Of the two daemons that had to do with it.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
