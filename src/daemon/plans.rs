//! Compiled plans: the few that may be needed again soon, and the little that is kept of every other one.
//!
//! A plan takes some tens of KiB and is needed for one start; compiling it again costs a fraction of that start. So a
//! thousand services keep their [`Digest`]s, and the last started ones their plans: a service that dies again and
//! again finds its own.

use super::engine::Engine;
use super::launch::{compile_failure, failure};
use crate::compile::{self, Purpose};
use crate::plan::{Degraded, HostStep, LaunchPlan, Output};
use crate::supervise::{LaunchFailure, Role, ServiceId};
use std::collections::VecDeque;
use std::rc::Rc;

/// Plans that are kept.
const KEPT: usize = 8;

/// The plans of the last launches, the most recent one first.
#[derive(Default)]
pub(super) struct PlanCache {
    plans: VecDeque<(ServiceId, Purpose, Rc<LaunchPlan>)>,
    /// What the host cannot do is the same for nearly all units.
    degraded: Vec<Rc<Vec<Degraded>>>,
}

impl PlanCache {
    fn get(&mut self, id: ServiceId, purpose: Purpose) -> Option<Rc<LaunchPlan>> {
        let at = self.plans.iter().position(|(of, what, _)| (*of, *what) == (id, purpose))?;
        let found = self.plans.remove(at)?;
        let plan = Rc::clone(&found.2);
        self.plans.push_front(found);
        Some(plan)
    }

    fn put(&mut self, id: ServiceId, purpose: Purpose, plan: &Rc<LaunchPlan>) {
        self.plans.truncate(KEPT - 1);
        self.plans.push_front((id, purpose, Rc::clone(plan)));
    }

    /// The unit is another one now.
    pub fn forget(&mut self, id: ServiceId) {
        self.plans.retain(|(of, _, _)| *of != id);
    }

    /// One list for all that are equal.
    pub fn share_degraded(&mut self, degraded: &[Degraded]) -> Rc<Vec<Degraded>> {
        if let Some(known) = self.degraded.iter().find(|known| ***known == *degraded) {
            return Rc::clone(known);
        }
        self.degraded.retain(|known| Rc::strong_count(known) > 1);
        let new = Rc::new(degraded.to_vec());
        self.degraded.push(Rc::clone(&new));
        new
    }

    fn digest(&mut self, plan: &LaunchPlan) -> Digest {
        let degraded = self.share_degraded(&plan.degraded);
        Digest { prepare: plan.prepare.as_slice().into(), degraded, output: plan.output.clone() }
    }
}

/// What is kept of the main process's plan as long as the unit is known.
#[derive(Clone)]
pub(super) struct Digest {
    /// Host directories.
    pub prepare: Box<[HostStep]>,
    /// What cannot be applied here.
    pub degraded: Rc<Vec<Degraded>>,
    /// Standard output and error.
    pub output: Output,
}

impl Engine {
    /// The compiled plan, from the cache or made now.
    pub(super) fn plan_for(&mut self, id: ServiceId, role: Role) -> Result<Rc<LaunchPlan>, LaunchFailure> {
        let purpose = purpose(role);
        if let Some(plan) = self.plans.get(id, purpose) {
            return Ok(plan);
        }
        let Some(service) = self.services.get(&id) else {
            return Err(failure("EXEC", 203, "the unit is gone".to_owned()));
        };
        let Some(unit) = service.running.clone() else {
            let message = "the unit file of this service is gone or unusable: `rsvc check` it".to_owned();
            return Err(failure("EXEC", 203, message));
        };
        self.give_ids(&unit)?;
        let facts = self.facts(&unit);
        let plan = compile::compile(&unit, &facts, purpose).map_err(|errors| compile_failure(&errors))?;
        if self.options.strict_host
            && let Some(first) = plan.degraded.first()
        {
            let message = format!("{}: {} (strict_host = true refuses degraded defaults)", first.key, first.why);
            return Err(failure("NAMESPACE", 226, message));
        }
        let plan = Rc::new(plan);
        self.plans.put(id, purpose, &plan);
        if role == Role::Main {
            let digest = self.plans.digest(&plan);
            if let Some(service) = self.services.get_mut(&id) {
                service.digest = Some(digest);
            }
        }
        Ok(plan)
    }

    /// Sees to it that a service which runs has its [`Digest`]: one that was taken over gets it when somebody looks.
    pub(super) fn digest(&mut self, id: ServiceId) {
        if self.service(id).is_some_and(|service| service.digest.is_none() && service.main.is_some()) {
            // Its start went well with this unit. If it cannot be compiled any more, the next start says why.
            let _ = self.plan_for(id, Role::Main);
        }
    }
}

fn purpose(role: Role) -> Purpose {
    match role {
        Role::Main => Purpose::Main,
        Role::StartPre(n) => Purpose::StartPre(n.into()),
        Role::StartPost(n) => Purpose::StartPost(n.into()),
        Role::Reload(n) => Purpose::Reload(n.into()),
        Role::Stop(n) => Purpose::Stop(n.into()),
        Role::StopPost(n) => Purpose::StopPost(n.into()),
        Role::Ready => Purpose::Ready,
        Role::Health => Purpose::Health,
        Role::Hook(hook) => Purpose::Hook(hook),
    }
}
