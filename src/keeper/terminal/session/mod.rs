//! One terminal: a shell that is parked between commands, shows its prompt to whoever is attached, and runs what it is told.
//!
//! The shell says when it listens. It is told then to run a text, or to show its prompt, or nothing: so it waits, and no
//! line editor is between it and its next command. At a prompt it is made to listen again by an empty line, or by an
//! interrupt when somebody has begun to type.

mod asked;
mod late;

use crate::held::terminal::TerminalOptions;
use crate::keeper::activity::{Activity, Busy};
use crate::keeper::pace::Pace;
use crate::keeper::terminal::audience::{Audience, Heard};
use crate::keeper::terminal::living::{End, Event, Living, Starter};
use crate::keeper::terminal::pty::{Changed, lacks_carriage_returns};
use crate::keeper::terminal::run::{Phase, Run, Step};
use crate::keeper::terminal::screen::{Screen, bounded, modes, typed, with_carriage_returns};
use crate::keeper::terminal::shell::LISTEN;
use crate::keeper::terminal::status::Said;
use pinfold_runner::Failure;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a shell may take to be there, or to be replaced.
const SETUP: Duration = Duration::from_secs(20);

/// How long a shell at its prompt may take to listen.
const ATTENTION: Duration = Duration::from_secs(3);

/// How long a line that somebody has just typed may take before the terminal is busy with it.
const LINE: Duration = Duration::from_secs(1);

/// How long what is typed waits for the prompt.
const PROMPT: Duration = Duration::from_millis(200);

/// How long each step may take that ends a command whose time is over.
const STEP: Duration = Duration::from_millis(500);

/// So much input waits for programs that don't read.
const MOST_INPUT: usize = 256 << 10;

/// More than the kernel keeps of a terminal's output (64 KiB, and what the line discipline holds).
const IN_FLIGHT: usize = 512 << 10;

/// Where the shell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Starting,
    /// It listens.
    Parked,
    /// It shows its prompt, and somebody may have begun to type.
    Prompt {
        is_clean: bool,
    },
    /// A line was typed since.
    Typed,
    /// It runs, or is about to run, what it was told.
    Driven,
    Ended,
}

/// See above.
pub(super) struct Session {
    options: TerminalOptions,
    starter: Starter,
    activity: Rc<Activity>,
    pace: Rc<Pace>,
    living: Option<Living>,
    place: Place,
    run: Option<Run>,
    screen: Screen,
    audience: Audience,
    attached: Vec<Busy>,
    input: VecDeque<u8>,
    /// `$?`, and whether the next one that is told is our own doing.
    status: String,
    keeps_status: bool,
    /// Whether the shell has drawn a prompt that stands there still, and whether it is about to say so (sh).
    shows_prompt: bool,
    expects_prompt: bool,
    /// Until when what is typed is held back, as the shell has not drawn the prompt yet that it was told to show. What came
    /// earlier would be echoed twice: by the terminal, and by the shell's line editor.
    holds_until: Option<Instant>,
    /// Whether output is a shell's answer to us.
    is_hidden: bool,
    changed: Option<Changed>,
    last_byte: u8,
    is_replacing: bool,
    replaced: u64,
    end: Option<End>,
}

/// What happens next to a terminal.
pub(super) enum Next {
    Shell(Event),
    Client(Heard),
    Late,
}

impl Session {
    /// Starts the shell.
    pub(super) async fn start(
        options: TerminalOptions,
        starter: Starter,
        activity: Rc<Activity>,
        pace: Rc<Pace>,
    ) -> Result<Self, Failure> {
        let size = bounded((options.rows, options.columns));
        let living = Living::start(&starter, options.shell, size).await?;
        Ok(Self {
            screen: Screen::new(size),
            options,
            starter,
            activity,
            pace,
            living: Some(living),
            place: Place::Starting,
            run: None,
            audience: Audience::default(),
            attached: Vec::new(),
            input: VecDeque::new(),
            status: "0".to_owned(),
            keeps_status: false,
            shows_prompt: false,
            expects_prompt: false,
            holds_until: None,
            is_hidden: true,
            changed: None,
            last_byte: 0,
            is_replacing: false,
            replaced: 0,
            end: None,
        })
    }

    /// Waits until something happens. Loses nothing when dropped halfway.
    pub(super) async fn next(&mut self) -> Next {
        // What is typed while the shell listens to us is for what comes after.
        let takes_input = match &self.run {
            Some(run) => run.phase == Phase::Going,
            None => matches!(self.place, Place::Prompt { .. } | Place::Typed) && self.holds_until.is_none(),
        };
        let input = if takes_input { self.input.as_slices().0 } else { &[] };
        let deadline = self.run.as_ref().and_then(|run| run.deadline);
        let deadline = deadline.into_iter().chain(self.holds_until).min();
        let (living, pace, listens) = (&mut self.living, &self.pace, self.input.len() < MOST_INPUT);
        let shell = async {
            match living {
                Some(living) => living.next(input, pace).await,
                None => std::future::pending().await,
            }
        };
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = shell => Next::Shell(event),
            heard = self.audience.next(listens) => Next::Client(heard),
            () = late => Next::Late,
        }
    }

    /// Does what follows from it.
    pub(super) async fn handle(&mut self, next: Next) {
        match next {
            Next::Shell(Event::Output(bytes)) => {
                self.output(&bytes);
                self.stop_holding();
            }
            Next::Shell(Event::Said(bytes)) => self.said(&bytes),
            Next::Shell(Event::Told(length)) => self.with_living(|living| living.told(length)),
            Next::Shell(Event::Taken(length)) => drop(self.input.drain(..length)),
            Next::Shell(Event::Lost) => self.replace(),
            Next::Shell(Event::Ended(end)) => self.ended(end).await,
            Next::Client(Heard::Typed(bytes)) => self.type_in(&bytes),
            Next::Client(Heard::Left) => self.attached.truncate(self.audience.count()),
            Next::Client(Heard::CaughtUp) => {
                let screen = self.screen.repaint();
                self.audience.catch_up(&screen);
            }
            Next::Late => self.late(),
        }
    }

    fn with_living(&mut self, work: impl FnOnce(&mut Living)) {
        if let Some(living) = &mut self.living {
            work(living);
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        let pace = self.pace.clone();
        pace.counted(|| self.take(bytes));
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.is_replacing {
            return;
        }
        if let Some(run) = self.run.as_mut().filter(|run| run.phase == Phase::Going) {
            run.keep(bytes);
        }
        let is_bare = self.changed.is_some()
            && self.living.as_ref().and_then(|living| living.pty.modes()).is_some_and(|it| lacks_carriage_returns(&it));
        let shown = match (self.is_hidden, is_bare) {
            (true, _) => Cow::Owned(modes(bytes)),
            (false, true) => Cow::Owned(with_carriage_returns(bytes, &mut self.last_byte)),
            (false, false) => Cow::Borrowed(bytes),
        };
        self.show(&shown);
    }

    /// The prompt is there, or so late that nobody waits for it.
    fn stop_holding(&mut self) -> bool {
        let held = self.holds_until.take().is_some();
        if held {
            self.settle();
        }
        held
    }

    fn show(&mut self, bytes: &[u8]) {
        self.screen.take(bytes);
        self.audience.show(bytes);
    }

    /// Takes all that was written before now.
    fn drain(&mut self) {
        let mut taken = 0;
        while taken < IN_FLIGHT
            && let Some(bytes) = self.living.as_ref().and_then(|living| living.pty.output_now())
        {
            taken += bytes.len();
            self.output(&bytes);
        }
    }

    fn said(&mut self, bytes: &[u8]) {
        let said = self.living.as_mut().map(|living| living.ear.hear(bytes)).unwrap_or_default();
        for said in said {
            if self.is_replacing {
                return;
            }
            self.drain();
            match said {
                Said::Accepted => self.accepted(),
                Said::Ready(status) => self.ready(status),
                Said::Prompt(status) => self.prompted(status),
            }
        }
    }

    /// The shell waits for its turn.
    fn accepted(&mut self) {
        let Some(run) = self.run.as_mut().filter(|run| run.phase == Phase::Told) else { return };
        let Some(living) = &mut self.living else { return };
        run.go();
        let line = typed(&run.wish.text);
        self.changed = Some(living.pty.make_exact());
        living.say(b"go\n");
        self.is_hidden = false;
        self.last_byte = b'\n';
        self.show(&line);
    }

    /// The shell listens.
    fn ready(&mut self, status: String) {
        self.is_hidden = false;
        self.holds_until = None;
        if !std::mem::take(&mut self.keeps_status) {
            self.status = status;
        }
        self.place = Place::Parked;
        self.put_back();
        match self.run.as_ref().map(|run| run.phase) {
            Some(Phase::Going | Phase::Broken) => {
                let code = self.status.parse().ok();
                self.finish(code, false, false);
            }
            // It was to hear a command and has not: who knows what it will hear next.
            Some(Phase::Told) => return self.replace(),
            Some(Phase::Coming) | None => {}
        }
        self.settle();
    }

    /// The shell shows its prompt and does not listen.
    fn prompted(&mut self, status: String) {
        match &mut self.run {
            Some(run) => {
                if run.phase == Phase::Going {
                    run.phase = Phase::Broken;
                }
                self.listen();
            }
            None if self.place == Place::Starting => self.listen(),
            // The prompt that was asked for; the shell has yet to read what was typed since.
            None if std::mem::take(&mut self.expects_prompt) && self.place == Place::Typed => {}
            None => {
                self.status = status;
                self.place = Place::Prompt { is_clean: true };
            }
        }
    }

    /// Makes a shell listen that does not do so by itself.
    fn listen(&mut self) {
        self.is_hidden = true;
        self.with_living(|living| {
            living.pty.drop_input();
            living.pty.input_now(LISTEN);
        });
    }

    /// Goes on from a place where the shell takes a command.
    fn settle(&mut self) {
        let is_coming = self.run.as_ref().is_some_and(|run| run.phase == Phase::Coming);
        match self.place {
            Place::Parked if is_coming => self.tell(),
            Place::Parked if self.audience.count() > 0 || !self.input.is_empty() => {
                self.with_living(|living| {
                    let message = format!("prompt 0 {}\n", living.ear.renew());
                    living.say(message.as_bytes());
                });
                self.place = Place::Prompt { is_clean: true };
                (self.shows_prompt, self.expects_prompt) = (true, true);
                self.holds_until = Instant::now().checked_add(PROMPT);
            }
            Place::Prompt { is_clean } if is_coming && self.holds_until.is_none() => self.call(is_clean),
            _ => {}
        }
    }

    /// Tells the listening shell what to run.
    fn tell(&mut self) {
        let (Some(run), Some(living)) = (&mut self.run, &mut self.living) else { return };
        run.phase = Phase::Told;
        run.deadline = Instant::now().checked_add(SETUP);
        let token = living.ear.renew().to_owned();
        let message = self.options.shell.run(&run.wish.text, &self.status, &token);
        living.say(&message);
        self.place = Place::Driven;
        if !std::mem::take(&mut self.shows_prompt) {
            self.show(b"$ ");
        }
        self.is_hidden = true;
    }

    /// Makes a shell listen that shows its prompt.
    fn call(&mut self, is_clean: bool) {
        self.is_hidden = true;
        self.place = Place::Driven;
        let listens = self.options.shell.listens_at_prompt();
        if is_clean && !listens {
            return self.listen();
        }
        self.keeps_status = !is_clean;
        if is_clean {
            self.with_living(|living| {
                living.pty.input_now(b"\r");
            });
            return;
        }
        // The line gives way, with what of it the shell has not got yet.
        self.input.clear();
        self.with_living(|living| living.pty.drop_input());
        self.break_off();
    }

    /// Interrupts a shell in which somebody has begun to type. While a line editor gets ready for a line, an interrupt is lost
    /// on it (bash 5.2), so that this is done once more if the shell does not listen soon.
    fn break_off(&mut self) {
        let Some(run) = &mut self.run else { return };
        run.deadline = Instant::now().checked_add(STEP);
        self.with_living(|living| living.pty.interrupt());
    }

    fn finish(&mut self, exit_code: Option<i32>, replaced: bool, ended: bool) {
        if let Some(run) = self.run.take() {
            run.finish(exit_code, replaced, ended);
        }
    }

    fn put_back(&mut self) {
        if let (Some(changed), Some(living)) = (self.changed.take(), &self.living) {
            living.pty.put_back(changed);
        }
    }
}
