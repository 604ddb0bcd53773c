//! What a service says of itself, or has found of it, and what that means in every phase: it is ready, it reloads, it is
//! about to end.

use super::run::{Await, Flow, Live, Main, Phase, Says};
use super::{Moment, Note};

impl Live<'_, '_> {
    pub fn became_ready(&mut self) -> Flow {
        match self.run.phase {
            Phase::Launching { .. } => {
                self.run.phase = Phase::Launching { ready: true };
                Flow::Goes
            }
            Phase::Starting(Await::Readiness) => self.ready(),
            Phase::Starting(Await::PidFile) => {
                self.run.main = Main::Alive;
                self.ready()
            }
            Phase::Running { says: Says::Reloading } => {
                self.run.phase = Phase::Running { says: Says::Serving };
                self.record(Note::Reloaded(None));
                Flow::Goes
            }
            Phase::ReloadSignal { confirmed: true, .. } => self.reload_over(None),
            // READY=1 that the type does not ask for, that comes twice, that was on its way when the stop began, or that
            // an earlier reload left behind.
            Phase::Starting(Await::Exit | Await::Launcher)
            | Phase::StartPre { .. }
            | Phase::StartPost { .. }
            | Phase::Running { says: Says::Serving | Says::Stopping }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { confirmed: false, .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => Flow::Goes,
        }
    }

    /// RELOADING=1. It answers a reload signal only if it is not older than that: two reloads in a row must not take
    /// the first one's READY=1 for the second's.
    pub fn reloading(&mut self, begun: Option<Moment>) -> Flow {
        if let Phase::ReloadSignal { since, confirmed: false } = self.run.phase
            && begun.is_some_and(|begun| begun >= since)
        {
            self.run.phase = Phase::ReloadSignal { since, confirmed: true };
            return Flow::Goes;
        }
        self.says(Says::Reloading)
    }

    pub fn says(&mut self, says: Says) -> Flow {
        match self.run.phase {
            Phase::Running { says: before } if before != says && before != Says::Stopping => {
                self.run.phase = Phase::Running { says };
                if says == Says::Stopping {
                    self.run.ended.get_or_insert(self.turn.now);
                    self.arm_stop();
                }
                self.record(if says == Says::Reloading { Note::Reloading } else { Note::Stopping });
            }
            // Said twice, or after STOPPING=1, which is final; said by a program that is not ready yet or is being
            // stopped anyway; or during a reload that rsvc asked for and therefore shows already.
            Phase::Running { .. }
            | Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => {}
        }
        Flow::Goes
    }
}
