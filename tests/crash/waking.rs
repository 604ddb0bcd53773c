//! Units that are started by what comes from outside, and by the clock.

use crate::drive::{Act, Scenario};
use crate::lab::{Lab, eventually};
use crate::scenarios;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Answers one connection and ends.
const SERVER: &str = r#"exec perl -e 'use Socket; open(my $s, "+<&=", 3) or die; accept(my $c, $s) or die;
    sysread($c, my $line, 100); syswrite($c, "served $line")'"#;

fn web(lab: &Lab) {
    let socket = lab.instance.file("web.sock");
    let more = format!("activation = \"on-demand\"\n[[sockets]]\nlisten = \"unix:{}\"", socket.display());
    lab.unit("web", "exec", SERVER, &more);
}

/// Somebody connects, asks, and waits for the answer.
fn connect(lab: &mut Lab) {
    let socket = lab.instance.file("web.sock");
    lab.outside = Some(std::thread::spawn(move || {
        let mut stream = UnixStream::connect(&socket).expect("somebody listens");
        stream.set_read_timeout(Some(crate::instance::PATIENCE)).expect("a limit");
        stream.write_all(b"me").expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }));
}

fn is_answered(lab: &Lab) -> bool {
    lab.outside.as_ref().is_some_and(|client| client.is_finished())
}

scenarios! {
    a_connection: Scenario {
        name: "a_connection",
        lacks: || None,
        units: web,
        before: |lab| {
            lab.instance.rsvc(&["start", "web"]).expect(0);
        },
        act: Act::Happens(connect),
        done: |lab| is_answered(lab) && lab.saved("web")["listening"] == true,
        check: |lab, _| {
            eventually(|| "the connection is served".to_owned(), || is_answered(lab).then_some(()));
            lab.waits_for("web", "listening", |status| status["substate"] == "listening");
            assert_eq!(lab.said("web", "runs").len(), 1);
        },
    };
    a_timer: Scenario {
        name: "a_timer",
        lacks: || None,
        units: |lab| {
            let timer = "activation = \"on-demand\"\n[restart]\npolicy = \"no\"\n[[timers]]\non_boot = \"1s\"";
            lab.unit("job", "oneshot", "echo ran >> $d/said", timer);
        },
        before: |_| {},
        act: Act::Client(&["start", "job"]),
        done: |lab| !lab.said("job", "said").is_empty() && lab.saved("job")["listening"] == true,
        check: |lab, accepted| {
            if accepted {
                eventually(|| "the job runs".to_owned(), || (!lab.said("job", "said").is_empty()).then_some(()));
            }
            lab.waits_for("job", "settled", |status| status["substate"] == "waiting" || (!accepted && status["state"] == "inactive"));
        },
    };
}
