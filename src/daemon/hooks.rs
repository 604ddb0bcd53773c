//! What commands after the end of a run are told: the variables of `exec_stop_post`, and more for `[hooks]`.

use super::engine::{Engine, now};
use super::snapshot::{cause_words, exit_words, result_word};
use crate::supervise::{Exit, Role, ServiceId, ServiceResult};

/// RSVC_CAUSE where nothing went wrong and nothing ended by itself.
const ASKED: &str = "stopped on request";

impl Engine {
    /// Variables that say how the run ended; none for a command that has nothing to do with that.
    pub(super) fn outcome_environment(
        &self,
        id: ServiceId,
        role: Role,
        result: ServiceResult,
        main_exit: Option<Exit>,
    ) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
        if matches!(role, Role::Stop(_) | Role::StopPost(_) | Role::Hook(_)) {
            set("SERVICE_RESULT", result_word(result).to_owned());
            if let Some((code, status)) = main_exit.and_then(exit_words) {
                set("EXIT_CODE", code.to_owned());
                set("EXIT_STATUS", status);
            }
        }
        if let (Role::Hook(hook), Some(service)) = (role, self.service(id)) {
            let told = self.supervisor.status(id).and_then(|status| status.hook);
            let words =
                told.as_ref().and_then(|told| told.cause.as_ref()).map(|cause| cause_words(cause, Some(service)));
            let cause = words.as_deref().and_then(|words| words.lines().next()).unwrap_or(ASKED);
            set("RSVC_UNIT", service.name.clone());
            set("RSVC_HOOK", hook.key().to_owned());
            set("RSVC_CAUSE", cause.to_owned());
            set("RSVC_RESTARTS", told.as_ref().map_or(0, |told| told.restarts).to_string());
            if let Some(at) = told.and_then(|told| told.next_start) {
                set("RSVC_RESTART_DELAY_USEC", at.since(now()).as_micros().to_string());
            }
        }
        variables
    }
}
