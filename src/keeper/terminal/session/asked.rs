//! What clients ask of a terminal, and the end of its shell.

use super::{ATTENTION, LINE, Place, SETUP, Session};
use crate::held::terminal::{TerminalInfo, TerminalState};
use crate::keeper::activity::Work;
use crate::keeper::terminal::audience::{Audience, MOST_CLIENTS};
use crate::keeper::terminal::foreground;
use crate::keeper::terminal::living::{End, Living};
use crate::keeper::terminal::run::{Phase, Run, Wish};
use crate::keeper::terminal::screen::bounded;
use pinfold_runner::Failure;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// What ends a line that somebody types, or breaks it off: Enter, Ctrl-C, Ctrl-D, Ctrl-Z, Ctrl-\.
const ENDS: &[u8] = b"\r\n\x03\x04\x1a\x1c";

impl Session {
    /// Runs a text, unless something runs already.
    pub(in crate::keeper::terminal) fn wish(&mut self, wish: Wish) {
        let patience = match self.place {
            Place::Starting => SETUP,
            Place::Typed => LINE,
            _ => ATTENTION,
        };
        let busy = self.activity.begin(Work::Command);
        let run = Run::new(wish, patience, busy);
        if self.place == Place::Ended {
            run.refuse(self.gone());
        } else if self.run.is_some() {
            run.refuse(Failure::new("busy", "the terminal is busy: a command runs in it"));
        } else {
            self.run = Some(run);
            self.settle();
        }
    }

    fn gone(&self) -> Failure {
        let how = self.end.as_ref().map_or("it has ended", |end| &end.how);
        Failure::new("ended", format!("the terminal's shell has ended: {how}"))
    }

    /// Types for a client.
    pub(in crate::keeper::terminal) fn type_in(&mut self, bytes: &[u8]) {
        if self.place == Place::Ended {
            return;
        }
        self.input.extend(bytes);
        if self.run.is_none() {
            self.settle();
        }
        if matches!(self.place, Place::Prompt { .. }) {
            let is_line = bytes.iter().any(|byte| ENDS.contains(byte));
            self.place = if is_line { Place::Typed } else { Place::Prompt { is_clean: false } };
        }
    }

    /// How much more can be typed.
    pub(in crate::keeper::terminal) fn room(&self) -> usize {
        super::MOST_INPUT.saturating_sub(self.input.len())
    }

    pub(in crate::keeper::terminal) fn resize(&mut self, size: (u16, u16)) {
        let size = bounded(size);
        if size != self.screen.size() {
            self.screen.resize(size);
            self.with_living(|living| living.pty.resize(size));
        }
    }

    /// Sends SIGINT to what is in the foreground. A command that is about to be run is no such thing yet.
    pub(in crate::keeper::terminal) fn interrupt(&mut self) {
        let goes = self.run.as_ref().is_none_or(|run| run.phase == Phase::Going);
        if goes && self.place != Place::Starting {
            self.with_living(|living| living.pty.interrupt());
        }
    }

    pub(in crate::keeper::terminal) fn screen(&mut self, with_scrollback: bool) -> String {
        self.screen.text(with_scrollback)
    }

    /// Lets a client in; his end of the socket comes back.
    pub(in crate::keeper::terminal) fn attach(&mut self, size: Option<(u16, u16)>) -> Result<OwnedFd, Failure> {
        if self.place == Place::Ended {
            return Err(self.gone());
        }
        if self.audience.count() >= MOST_CLIENTS {
            return Err(Failure::new("busy", format!("{MOST_CLIENTS} clients are attached already")));
        }
        if let Some(size) = size {
            self.resize(size);
        }
        let screen = self.screen.repaint();
        let admitted = UnixStream::pair().and_then(|(ours, theirs)| {
            self.audience.admit(ours, &screen)?;
            Ok(OwnedFd::from(theirs))
        });
        let theirs = admitted.map_err(|error| Failure::new("io", format!("failed to make a socket: {error}")))?;
        self.attached.push(self.activity.begin(Work::Attached));
        if self.run.is_none() {
            self.settle();
        }
        Ok(theirs)
    }

    pub(in crate::keeper::terminal) fn info(&self) -> TerminalInfo {
        let (state, waits) = self.state();
        let (rows, columns) = self.screen.size();
        TerminalInfo {
            name: self.options.name.clone(),
            shell: self.options.shell,
            state,
            waiting_for_input: waits,
            rows,
            columns,
            clients: self.audience.count(),
            replaced: self.replaced,
            exit_code: self.end.as_ref().and_then(|end| end.exit_code),
            ended: self.end.as_ref().map(|end| end.how.clone()),
        }
    }

    fn state(&self) -> (TerminalState, Option<bool>) {
        match (self.place, &self.living) {
            (Place::Ended, _) | (_, None) => (TerminalState::Ended, Some(false)),
            (Place::Starting, _) => (TerminalState::Starting, Some(false)),
            (Place::Parked | Place::Prompt { .. }, _) => (TerminalState::Idle, Some(false)),
            (Place::Typed | Place::Driven, Some(living)) => {
                let waits = living.pty.foreground().zip(living.pty.device());
                let waits = waits.and_then(|(group, device)| foreground::waits_for_input(group, living.pid, device));
                (if waits == Some(true) { TerminalState::WaitingForInput } else { TerminalState::Running }, waits)
            }
        }
    }

    /// Ends the shell for good.
    pub(in crate::keeper::terminal) fn close(&mut self) {
        self.with_living(|living| (living.kill)());
        self.audience = Audience::default();
        self.attached.clear();
        self.finish(None, false, true);
    }

    /// The shell has ended.
    pub(super) async fn ended(&mut self, end: End) {
        self.drain();
        self.living = None;
        self.changed = None;
        if self.is_replacing {
            return self.begin_anew().await;
        }
        self.over(end);
    }

    fn over(&mut self, end: End) {
        self.place = Place::Ended;
        self.end = Some(end.clone());
        match self.run.take() {
            Some(run) if run.phase == Phase::Coming => run.refuse(self.gone()),
            Some(run) => run.finish(end.exit_code, false, true),
            None => {}
        }
        self.show(format!("\r\n[the shell has ended: {}]\r\n", end.how).as_bytes());
        self.let_go();
    }

    /// Clients see the end as far as they take it at once, and are let go.
    fn let_go(&mut self) {
        self.audience.say_goodbye();
        self.attached.clear();
    }

    async fn begin_anew(&mut self) {
        let starting = Living::start(&self.starter, self.options.shell, self.screen.size());
        let started = match tokio::time::timeout(SETUP, starting).await {
            Ok(started) => started,
            Err(_late) => Err(Failure::new("timeout", "the shell was not started in time")),
        };
        self.is_replacing = false;
        match started {
            Ok(living) => {
                self.living = Some(living);
                self.replaced += 1;
                self.input.clear();
                (self.is_hidden, self.keeps_status, self.shows_prompt) = (true, false, false);
                self.status = "0".to_owned();
                self.show(b"\r\n[a new shell]\r\n");
            }
            Err(failure) => self.over(End { exit_code: None, how: failure.message }),
        }
    }
}
