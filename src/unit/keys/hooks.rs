//! `[hooks]`: commands at the turning points of a service's life.

use super::{Key, Kind, Table};

pub(super) const HOOKS: Table = Table::new(
    "hooks",
    "Commands that are told what became of a run. Each runs in a container of its own with the isolation, the user and \
     the log of the service, as `service.exec_stop_post` does, after that and when nothing is left of the run; `on_exit` \
     first, then one of the other two. A hook that fails is logged and shown by `status`, and changes neither the result \
     of the service nor what happens next. What a hook leaves behind is killed before anything else is launched. Nothing \
     of the service is started while a hook runs; a stop waits for the present hook, and no restart follows then. Besides \
     the environment of the service a hook has SERVICE_RESULT, EXIT_CODE and EXIT_STATUS, as in `service.exec_stop_post`, \
     RSVC_UNIT, RSVC_HOOK (its key), RSVC_CAUSE (the first line of what `status` gives as the cause) and RSVC_RESTARTS \
     (automatic restarts so far, or in `on_restart` the number of the one to come). A daemon that takes over from one \
     that died during a hook ends what is left of it, and runs `service.exec_stop_post` and the hooks of that run again.",
    &[
        Key::new(
            "on_exit",
            Kind::Argv,
            "After each run that got as far as launching the program, whoever ended it, also a stop and a start that \
             failed then.",
        ),
        Key::new(
            "on_restart",
            Kind::Argv,
            "When rsvc has decided to start the service again by itself: by `restart.policy`, or for `health.action`. Not \
             for `rsvc restart`, nor for what other units bring about. It runs before the wait, which counts from the end \
             of the run: RSVC_RESTART_DELAY_USEC tells how many microseconds are left, and a hook that takes longer \
             delays the start.",
        ),
        Key::new(
            "on_give_up",
            Kind::Argv,
            "When the service has failed and rsvc does not start it again by itself: `restart.policy` says so, or \
             `restart.limit_burst` is reached (SERVICE_RESULT is `start-limit-hit` then); also after a first start that \
             failed, and after a stop that ended badly. Not after a stop that ended well, not when somebody has asked for \
             another start meanwhile, not when the service fell with another unit and is started with that, and not for \
             a start that was refused before anything ran. A failed job of `[[timers]]` counts, although its next time \
             comes.",
        ),
        Key::new(
            "timeout",
            Kind::Delay,
            "How long each hook may take, more than 0 and at most 1h; it is killed then, with all that it started.",
        )
        .default("\"30s\""),
    ],
);
