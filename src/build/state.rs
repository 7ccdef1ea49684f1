//! The states of a build and the ways between them, and how one ends: pure functions, which the stores obey.

use super::error::Fault;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Every phase ended with 0, and its artifact is there.
    Succeeded,
    /// A phase failed, or there is no artifact, or it could not be built at all.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// It waited too long, or every worker that tried it was lost.
    Expired,
    /// A newer snapshot of its project came before it was done.
    Stale,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Expired, Self::Stale];

    /// Whether it is for ever.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Whether a build may go from here to there.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Cancelled | Self::Expired | Self::Stale),
            // Back to the queue when its worker was lost.
            Self::Running => next != Self::Running,
            _ => false,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Stale => "stale",
        }
    }

    /// The state of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What its worker is to know of a running build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Somebody wants it to end.
    pub cancel: bool,
    /// A newer snapshot of its project has come.
    pub superseded: bool,
}

impl Orders {
    /// Whether to go on.
    pub fn is_to_stop(self) -> bool {
        self.cancel || self.superseded
    }
}

/// What a worker says in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What went wrong first, if something did.
    pub fault: Option<Fault>,
    /// The artifact that was published.
    pub artifact: Option<String>,
    /// Its bytes.
    pub artifact_bytes: u64,
}

/// How a build ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// A terminal state.
    pub state: State,
    /// Only of one that succeeded.
    pub artifact: Option<String>,
    /// Of every one that did not succeed.
    pub fault: Option<Fault>,
}

/// How a running build ends with what its worker reports, as the orders are when that is written down: a cancellation
/// that came before counts more than the report.
pub fn ending(orders: Orders, report: Report) -> Ending {
    let without = |state, fault| Ending { state, artifact: None, fault: Some(fault) };
    if orders.cancel {
        return without(State::Cancelled, Fault::new("cancelled", "the build was cancelled"));
    }
    if orders.superseded {
        return without(State::Stale, stale());
    }
    match report {
        Report { fault: Some(fault), .. } => without(State::Failed, fault),
        Report { artifact: Some(artifact), .. } => {
            Ending { state: State::Succeeded, artifact: Some(artifact), fault: None }
        }
        Report { .. } => {
            without(State::Failed, Fault::new("artifact_missing", "every phase succeeded, but there is no artifact"))
        }
    }
}

pub(crate) fn stale() -> Fault {
    Fault::new("stale", "a newer snapshot of the project came")
}

/// What becomes of a running build whose worker was lost in this attempt.
pub fn after_loss(orders: Orders, attempt: u32, attempts: u32) -> (State, Option<Fault>) {
    if orders.is_to_stop() {
        let ending = ending(orders, Report::default());
        return (ending.state, ending.fault);
    }
    if attempt < attempts {
        return (State::Queued, None);
    }
    let message = format!("its worker was lost in each of {attempts} attempts");
    (State::Expired, Some(Fault::new("worker_lost", message)))
}

/// Whether a build that succeeded becomes what its project shows, where that is the build of this sequence now.
pub fn becomes_active(sequence: u64, active: Option<u64>) -> bool {
    active.is_none_or(|active| sequence >= active)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_a_terminal_state() {
        for from in State::ALL {
            for to in State::ALL {
                let expected = match (from, to) {
                    (State::Queued, State::Running) => true,
                    (State::Queued, to) => matches!(to, State::Cancelled | State::Expired | State::Stale),
                    (State::Running, to) => to != State::Running,
                    _ => false,
                };
                assert_eq!(from.may_become(to), expected, "{from} to {to}");
            }
            assert_eq!(from.is_terminal(), State::ALL.iter().all(|to| !from.may_become(*to)), "{from}");
            assert_eq!(State::named(from.name()), Some(from));
        }
        assert_eq!(State::named("done"), None);
    }

    #[test]
    fn success_takes_status_and_artifact_and_nobody_who_wants_it_to_end() {
        let artifact = || Some("a".to_owned());
        let fault = || Some(Fault::new("phase_failed", "phase `build` ended with 1"));
        let end = |cancel, superseded, fault, artifact| {
            ending(Orders { cancel, superseded }, Report { fault, artifact, artifact_bytes: 0 })
        };
        assert_eq!(end(false, false, None, artifact()).state, State::Succeeded);
        let missing = end(false, false, None, None);
        assert_eq!((missing.state, missing.fault.unwrap().code.as_str()), (State::Failed, "artifact_missing"));
        for (cancel, superseded, expected) in
            [(true, false, State::Cancelled), (true, true, State::Cancelled), (false, true, State::Stale)]
        {
            for (fault, artifact) in [(None, artifact()), (fault(), artifact()), (fault(), None), (None, None)] {
                let ended = end(cancel, superseded, fault, artifact);
                assert_eq!((ended.state, &ended.artifact), (expected, &None));
                assert!(ended.fault.is_some_and(|fault| !fault.message.is_empty()));
            }
        }
        let failed = end(false, false, fault(), artifact());
        assert_eq!((failed.state, failed.artifact, failed.fault), (State::Failed, None, fault()));
    }

    #[test]
    fn a_lost_build_waits_again_until_its_attempts_are_used_up() {
        let (go_on, cancel) = (Orders::default(), Orders { cancel: true, superseded: false });
        let superseded = Orders { cancel: false, superseded: true };
        assert_eq!(after_loss(go_on, 1, 2), (State::Queued, None));
        assert_eq!(after_loss(go_on, 2, 2).0, State::Expired);
        assert_eq!(after_loss(cancel, 1, 2).0, State::Cancelled);
        assert_eq!(after_loss(superseded, 1, 2).0, State::Stale);
    }

    #[test]
    fn an_older_build_never_takes_the_place_of_a_newer_one() {
        assert!(becomes_active(1, None) && becomes_active(2, Some(1)) && becomes_active(2, Some(2)));
        assert!(!becomes_active(1, Some(2)));
    }
}
