//! Calls that are said to have been made and were not, as an emulator or a filter around the daemon may do: who the service
//! is and what it may is read back before it is executed.

use crate::instance::tracer::Call;
use crate::judge::{Fault, Judged};
use crate::trial::{RAN, write};

/// What the unit asks for, and the call that does not do it.
const LIES: &[(&str, Fault)] = &[
    ("service.user = \"65534\"", |call| done(call, libc::SYS_setresuid)),
    ("service.group = \"65534\"", |call| done(call, libc::SYS_setresgid)),
    ("service.supplementary_groups = [\"65534\"]", |call| done(call, libc::SYS_setgroups)),
    ("capabilities.bounding = []", |call| prctl_done(call, libc::PR_CAPBSET_DROP)),
    ("capabilities.bounding = [\"KILL\"]", |call| done(call, libc::SYS_capset)),
    ("capabilities.ambient = [\"KILL\"]\nservice.user = \"65534\"", |call| prctl_done(call, libc::PR_CAP_AMBIENT)),
    ("security.no_new_privileges = true", |call| prctl_done(call, libc::PR_SET_NO_NEW_PRIVS)),
];

fn done(call: &Call, number: libc::c_long) -> Option<i32> {
    (call.number == number as u64).then_some(0)
}

fn prctl_done(call: &Call, operation: libc::c_int) -> Option<i32> {
    done(call, libc::SYS_prctl).filter(|_| call.arguments[0] == operation as u64)
}

/// Everything that is believed.
pub fn believed(judged: &Judged) -> Vec<String> {
    let tried = LIES.iter().enumerate().filter_map(|(number, (asks, lie))| {
        let name = format!("l{number}");
        write(&judged.instance, &name, "host", &[asks], "");
        let (said, answered) = judged.without(*lie, |instance| instance.rsvc(&["start", &name]));
        let ran = judged.instance.log(&name).contains(RAN);
        judged.instance.rsvc(&["stop", &name]).expect(0);
        let found_out = said.code == 1 && said.err.contains("what was set and what the kernel reports differ");
        let holds = found_out && answered.times > 0 && !ran;
        (!holds).then(|| format!("{asks}: {said:?}, after {} lies; ran: {ran}", answered.times))
    });
    tried.collect()
}
