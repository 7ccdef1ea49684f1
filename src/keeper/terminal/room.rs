//! The terminals of one sandbox, and what clients ask of them.

use super::living::{End, Started, Starter};
use super::run::Wish;
use super::session::Session;
use crate::held::terminal::ask::{LONGEST_INPUT, LONGEST_TEXT, TerminalAnswer, TerminalAsk, What, unwrap, wrap};
use crate::held::terminal::{RunOutput, TerminalInfo, TerminalOptions};
use crate::keeper::activity::Activity;
use crate::keeper::link::Event;
use crate::keeper::pace::Pace;
use crate::keeper::serve::Keeper;
use pinfold_runner::{Ask, Failure, Job, Outcome, no_limits_of_its_own};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// So many terminals a sandbox has at most.
const MOST_TERMINALS: usize = 32;

/// So many requests wait for a terminal.
const QUEUE: usize = 64;

/// What is answered, with what comes along.
pub(crate) type Answered = Result<(TerminalAnswer, Option<OwnedFd>), Failure>;

/// What a task is asked: to do something, or to run a text.
enum Errand {
    Do(What, oneshot::Sender<Answered>),
    Run(Wish),
}

/// The way to a terminal's task.
type Door = mpsc::Sender<Errand>;

/// The terminals of one sandbox by name.
#[derive(Debug, Default)]
pub(crate) struct Terminals {
    doors: RefCell<BTreeMap<String, Door>>,
    /// Held while one is started, so that two clients don't start the same.
    starting: tokio::sync::Mutex<()>,
    pace: Rc<Pace>,
}

impl Terminals {
    /// None yet; all will be read at this pace.
    pub(crate) fn new(pace: Rc<Pace>) -> Self {
        Self { pace, ..Self::default() }
    }

    fn door(&self, name: &str) -> Option<Door> {
        self.doors.borrow().get(name).cloned()
    }

    async fn tell(&self, name: &str, what: What) -> Answered {
        let not_found = || Failure::new("not_found", format!("there is no terminal `{}`", name.escape_debug()));
        let door = self.door(name).ok_or_else(not_found)?;
        let (sender, answer) = oneshot::channel();
        door.send(Errand::Do(what, sender)).await.map_err(|_closed| not_found())?;
        answer.await.map_err(|_closed| not_found())?
    }

    async fn info(&self, name: &str) -> Result<TerminalInfo, Failure> {
        match self.tell(name, What::Info).await? {
            (TerminalAnswer::Info(info), _) => Ok(*info),
            _ => Err(Failure::new("bad_answer", "a terminal answers something else")),
        }
    }

    /// The terminal of that name, which is started by `starter` unless it is there; one whose shell has ended is replaced.
    pub(crate) async fn open(
        self: &Rc<Self>,
        options: TerminalOptions,
        starter: Starter,
        activity: Rc<Activity>,
    ) -> Result<TerminalInfo, Failure> {
        options.check().map_err(|reason| Failure::new("invalid", reason))?;
        let _alone = self.starting.lock().await;
        let name = options.name.clone();
        if let Ok(info) = self.info(&name).await
            && info.ended.is_none()
        {
            return Ok(info);
        }
        self.doors.borrow_mut().remove(&name);
        if self.doors.borrow().len() >= MOST_TERMINALS {
            return Err(Failure::new("busy", format!("the sandbox has {MOST_TERMINALS} terminals already")));
        }
        let session = Session::start(options, starter, activity, self.pace.clone()).await?;
        let info = session.info();
        let (door, errands) = mpsc::channel(QUEUE);
        self.doors.borrow_mut().insert(name, door);
        tokio::task::spawn_local(live(session, errands));
        Ok(info)
    }

    async fn list(&self) -> Vec<TerminalInfo> {
        let names: Vec<_> = self.doors.borrow().keys().cloned().collect();
        let mut list = Vec::new();
        for name in names {
            list.extend(self.info(&name).await.ok());
        }
        list
    }

    /// Runs a text in a terminal.
    pub(crate) async fn run(
        &self,
        name: &str,
        text: Vec<u8>,
        timeout: Option<Duration>,
        most: u64,
    ) -> Result<RunOutput, Failure> {
        if text.contains(&0) {
            return Err(Failure::new("invalid", "no shell takes a text with a NUL in it"));
        }
        let not_found = || Failure::new("not_found", format!("there is no terminal `{}`", name.escape_debug()));
        let door = self.door(name).ok_or_else(not_found)?;
        let (reply, answer) = oneshot::channel();
        let wish = Wish { text, timeout, most: usize::try_from(most).unwrap_or(usize::MAX), reply };
        door.send(Errand::Run(wish)).await.map_err(|_closed| not_found())?;
        answer.await.map_err(|_closed| not_found())?
    }

    /// Does what is to be done with a terminal.
    pub(crate) async fn of(&self, name: &str, what: What, descriptors: Vec<OwnedFd>) -> Answered {
        match what {
            What::Run { timeout_ms, output_bytes } => {
                let text = descriptors.into_iter().next().ok_or_else(|| Failure::new("invalid", "there is no text"))?;
                let text = unwrap(text, LONGEST_TEXT)
                    .map_err(|error| Failure::new("invalid", format!("the text can't be read: {error}")))?;
                let mut output = self.run(name, text, timeout_ms.map(Duration::from_millis), output_bytes).await?;
                let bytes = std::mem::take(&mut output.output).0;
                Ok((TerminalAnswer::Ran(Box::new(output)), Some(wrapped(&bytes)?)))
            }
            What::Close => {
                let closed = self.tell(name, What::Close).await;
                self.doors.borrow_mut().remove(name);
                closed
            }
            what => self.tell(name, what).await,
        }
    }
}

fn wrapped(bytes: &[u8]) -> Result<OwnedFd, Failure> {
    wrap(bytes).map_err(|error| Failure::new("io", format!("failed to pass on what a terminal shows: {error}")))
}

/// A terminal's task: until it is closed, or its shell has ended and nobody can ask any more.
async fn live(mut session: Session, mut errands: mpsc::Receiver<Errand>) {
    loop {
        let next = tokio::select! {
            errand = errands.recv() => match errand {
                Some(Errand::Run(wish)) => {
                    session.wish(wish);
                    continue;
                }
                Some(Errand::Do(what, reply)) => {
                    let is_last = matches!(what, What::Close);
                    let _nobody_waits = reply.send(perform(&mut session, what));
                    if is_last {
                        return;
                    }
                    continue;
                }
                None => return session.close(),
            },
            next = session.next() => next,
        };
        session.handle(next).await;
    }
}

fn perform(session: &mut Session, what: What) -> Answered {
    match what {
        What::Info => return Ok((TerminalAnswer::Info(Box::new(session.info())), None)),
        What::Write { bytes } => {
            if bytes.0.len() > LONGEST_INPUT.min(session.room()) {
                return Err(Failure::new("busy", "so much input is waiting that there is no room for more"));
            }
            session.type_in(&bytes.0);
        }
        What::Resize { rows, columns } => session.resize((rows, columns)),
        What::Interrupt => session.interrupt(),
        What::Screen { scrollback } => {
            let text = session.screen(scrollback);
            return Ok((TerminalAnswer::Screen, Some(wrapped(text.as_bytes())?)));
        }
        What::Attach { size } => return Ok((TerminalAnswer::Attached, Some(session.attach(size)?))),
        What::Close => session.close(),
        What::Run { .. } => return Err(Failure::new("invalid", "a text is run by other means")),
    }
    Ok((TerminalAnswer::Done, None))
}

/// Answers what a client asks.
pub(crate) async fn serve(keeper: &Rc<Keeper>, ask: TerminalAsk, descriptors: Vec<OwnedFd>) -> Answered {
    match ask {
        TerminalAsk::Open(options) => {
            let starter = starter(keeper, &options)?;
            let info = keeper.terminals.open(*options, starter, keeper.activity.clone()).await?;
            Ok((TerminalAnswer::Info(Box::new(info)), None))
        }
        TerminalAsk::List => Ok((TerminalAnswer::List(keeper.terminals.list().await), None)),
        TerminalAsk::Exec { .. } => Err(Failure::new("invalid", "a command is run by other means")),
        TerminalAsk::Of { terminal, what } => keeper.terminals.of(&terminal, what, descriptors).await,
    }
}

/// What starts the shell of a terminal in the sandbox.
fn starter(keeper: &Rc<Keeper>, options: &TerminalOptions) -> Result<Starter, Failure> {
    let invalid = |error: pinfold_runner::InvalidValue| Failure::new("invalid", error.to_string());
    let mut job = Job::new(options.shell.command());
    job.limits = no_limits_of_its_own();
    job.cwd = options.cwd.clone();
    job.env.set("TERM", "xterm-256color").map_err(invalid)?;
    for (name, value) in options.env.iter().chain(options.shell.variables().iter().copied()) {
        job.env.set(name, value).map_err(invalid)?;
    }
    let keeper = keeper.clone();
    Ok(Box::new(move |size, descriptors| {
        let (keeper, job) = (keeper.clone(), job.clone());
        Box::pin(async move { start(&keeper, job, size, descriptors).await })
    }))
}

async fn start(keeper: &Rc<Keeper>, job: Job, size: (u16, u16), descriptors: [OwnedFd; 4]) -> Result<Started, Failure> {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut asked = keeper.begin(Box::new(job), Some(size), &borrowed).await?;
    drop(borrowed);
    drop(descriptors);
    let number = asked.number;
    let master = match asked.events.recv().await {
        Some(Event::Executed { terminal: Some(master), .. }) => master,
        Some(Event::Executed { .. }) => {
            return Err(Failure::new("bad_answer", "a terminal did not come with its shell"));
        }
        Some(Event::Ended(outcome)) => {
            keeper.log.ended(number, &outcome);
            return Err(outcome.error.unwrap_or_else(|| Failure::new("ended", "the shell ended at once")));
        }
        None => return Err(crate::keeper::link::gone()),
    };
    // The shell leads the terminal's session: TIOCGSID, which on a master tells of the other side.
    let leader = rustix::termios::tcgetsid(&master);
    let pid = leader.map_err(|errno| Failure::new("io", format!("failed to find the shell: {errno}")))?;
    let pid = pid.as_raw_nonzero().get();
    let ended = keeper.clone();
    let end = Box::pin(async move {
        loop {
            match asked.events.recv().await {
                Some(Event::Ended(outcome)) => {
                    ended.log.ended(number, &outcome);
                    return end(&outcome);
                }
                Some(Event::Executed { .. }) => {}
                None => return End { exit_code: None, how: "its sandbox has ended".to_owned() },
            }
        }
    });
    let keeper = keeper.clone();
    let kill = Box::new(move || {
        let keeper = keeper.clone();
        tokio::task::spawn_local(async move {
            // When nothing can be asked of the runner any more, the sandbox is ending.
            let _ending = keeper.link.send(&Ask::Cancel { number }, &[]).await;
        });
    });
    Ok(Started { master, pid, end, kill })
}

/// How a shell ended, of what the runner tells.
fn end(outcome: &Outcome) -> End {
    let how = match (outcome.exit_code, &outcome.signal, &outcome.error) {
        (Some(code), ..) => format!("exit code {code}"),
        (None, Some(signal), _) => format!("killed by {signal}"),
        (None, None, Some(failure)) => failure.message.clone(),
        (None, None, None) => crate::keeper::log::word(outcome.status).to_owned(),
    };
    End { exit_code: outcome.exit_code, how }
}
