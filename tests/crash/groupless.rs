//! The same where no control group can be made, as in many containers: then a launch is known by what was written down
//! about it, and goes on only when that is done.

use crate::adopting;
use crate::drive::{Act, Scenario};
use crate::running;
use crate::scenarios;
use crate::starting;
use crate::stopping;

scenarios! {
    start_without_groups: Scenario { name: "start_without_groups", ..starting::START };
    stop_without_groups: Scenario { name: "stop_without_groups", ..stopping::STOP };
    crash_without_groups: Scenario { name: "crash_without_groups", ..running::CRASH };
    adoption_without_groups: Scenario { name: "adoption_without_groups", ..adopting::ADOPTION };
    nothing_is_executed_before_it_is_known: Scenario {
        name: "bare_start_without_groups",
        // The main process is what was launched: nobody but the daemon knows of it.
        units: |lab| lab.unit("web", "exec", crate::lab::SERVE, "[namespaces]\npid = \"host\"\ninit = false"),
        act: Act::Client(&["start", "web"]),
        ..starting::START
    };
}
