//! A command whose time is over, and a shell that does not come back from it.

use super::{ATTENTION, Phase, Place, STEP, Session, Step};
use crate::keeper::terminal::foreground;
use pinfold_runner::Failure;
use rustix::process::Signal;
use tokio::time::Instant;

impl Session {
    /// Time is over for what the command is at.
    pub(super) fn late(&mut self) {
        if self.stop_holding() {
            return;
        }
        let Some(run) = &mut self.run else { return };
        let Some(living) = &self.living else { return };
        match (run.phase, run.next) {
            (Phase::Coming, _)
                if self.place == Place::Driven && self.keeps_status && run.began.elapsed() < ATTENTION =>
            {
                return self.break_off();
            }
            (Phase::Coming, _) => {
                self.is_hidden = false;
                if self.place == Place::Driven {
                    self.place = Place::Typed;
                }
                if let Some(run) = self.run.take() {
                    run.refuse(Failure::new("busy", "the terminal is busy: something runs in it"));
                }
                return;
            }
            (Phase::Told, _) | (_, Step::Replace) => return self.replace(),
            (_, Step::Interrupt) => {
                living.pty.interrupt();
                run.next = Step::Terminate;
            }
            (_, step) => {
                let Some(group) = living.pty.foreground().filter(|group| group.as_raw_nonzero().get() != living.pid)
                else {
                    // The shell itself does not give in.
                    return self.replace();
                };
                let signal = if step == Step::Terminate { Signal::TERM } else { Signal::KILL };
                foreground::signal(group, living.pid, signal);
                run.next = if step == Step::Terminate { Step::Kill } else { Step::Replace };
            }
        }
        run.deadline = Instant::now().checked_add(STEP);
    }

    /// Ends the shell, to start another one when it has.
    pub(super) fn replace(&mut self) {
        if self.is_replacing {
            return;
        }
        self.is_replacing = true;
        self.place = Place::Starting;
        self.changed = None;
        self.with_living(|living| (living.kill)());
        if self.run.as_ref().is_some_and(|run| run.phase != Phase::Coming) {
            self.finish(None, true, false);
        }
    }
}
