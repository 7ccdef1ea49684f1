//! The runner as the keeper speaks to it: what is asked, and whom the answers are for.

use crate::held::wire::{Connection, encode};
use pinfold_runner::{Ask, Failure, Job, MAX_HELD_MESSAGE, Notice, Outcome};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};

/// How long the runner may take to take a message, or to answer what it can answer at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the runner tells of one command.
#[derive(Debug)]
pub(crate) enum Event {
    /// It was executed; the terminal's other side comes with a terminal.
    Executed { terminal: Option<OwnedFd> },
    /// It has ended, or could not be started.
    Ended(Box<Outcome>),
}

/// A command, as it was asked for and is told of.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    /// Ends without [`Event::Ended`] when the runner is gone.
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
}

/// What stands for an answer that is no command's.
type Kind = std::mem::Discriminant<Notice>;

/// An answer with the descriptors that came with it.
type Answer = (Notice, Vec<OwnedFd>);

/// The keeper's end of the socket to the runner.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Connection,
    /// Held while a message is on its way, so that they arrive in order.
    sending: Mutex<()>,
    /// Held while everybody stands still, when no command can start.
    pub(crate) still: Mutex<()>,
    commands: RefCell<HashMap<u64, mpsc::UnboundedSender<Event>>>,
    /// In the order in which they were asked for, as the runner answers in order.
    waiting: RefCell<VecDeque<(Kind, oneshot::Sender<Answer>)>>,
    last: Cell<u64>,
    patience: Duration,
}

impl Link {
    pub(crate) fn new(socket: Connection) -> Self {
        Self {
            socket,
            sending: Mutex::default(),
            still: Mutex::default(),
            commands: RefCell::default(),
            waiting: RefCell::default(),
            last: Cell::new(0),
            patience: PATIENCE,
        }
    }

    /// A number for the next command.
    pub(crate) fn number(&self) -> u64 {
        self.last.update(|number| number + 1);
        self.last.get()
    }

    /// Asks for a command. With it go its stdin, stdout and stderr, unless it gets a terminal, and up to four more.
    pub(crate) async fn exec(
        &self,
        number: u64,
        job: Box<Job>,
        terminal: Option<(u16, u16)>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Asked, Failure> {
        let stdio = if terminal.is_some() { 0 } else { 3 };
        let extra = descriptors.len().checked_sub(stdio).and_then(|extra| u8::try_from(extra).ok());
        let Some(extra) = extra.filter(|extra| *extra <= 4) else {
            return Err(Failure::new("invalid", "the descriptors of the command's stdio are missing, or are too many"));
        };
        let _nobody_stands_still = self.still.lock().await;
        let (sender, events) = mpsc::unbounded_channel();
        self.commands.borrow_mut().insert(number, sender);
        let sent = self.send(&Ask::Exec { number, job, terminal, extra }, descriptors).await;
        if sent.is_err() {
            self.commands.borrow_mut().remove(&number);
        }
        sent.map(|()| Asked { number, events })
    }

    /// Sends what has no answer of its own.
    pub(crate) async fn send(&self, ask: &Ask, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        // The limit is the runner's; `encode` allows for an envelope that is not there.
        let Some(bytes) = encode(ask).ok().filter(|bytes| bytes.len() <= MAX_HELD_MESSAGE) else {
            let what = format!("the command is longer than {MAX_HELD_MESSAGE} bytes as JSON");
            return Err(Failure::new("invalid", what));
        };
        let sent = async {
            let _in_order = self.sending.lock().await;
            self.socket.send_bytes(&bytes, descriptors).await
        };
        match tokio::time::timeout(self.patience, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(gone()),
            Err(_late) => Err(Failure::new("timeout", "the runner takes no more messages")),
        }
    }

    /// Asks for what is answered by a notice such as `like`, with the descriptors that come along.
    pub(crate) async fn ask(&self, ask: &Ask, like: &Notice) -> Result<Answer, Failure> {
        self.send(ask, &[]).await?;
        // Only now, and before anybody else has a turn: to what was never sent comes no answer, and it would take another's.
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().push_back((std::mem::discriminant(like), sender));
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_dropped)) => Err(gone()),
            Err(_late) => Err(Failure::new("timeout", "the runner does not answer")),
        }
    }

    /// The workspace's directory, as the sandbox sees it.
    pub(crate) async fn workspace(&self) -> Result<OwnedFd, Failure> {
        let (_, mut descriptors) = self.ask(&Ask::Workspace, &Notice::Workspace).await?;
        descriptors.pop().ok_or_else(|| Failure::new("workspace", "the workspace's directory is not to be had"))
    }

    /// The next notice; `None` when the runner has closed or says what can't be read.
    pub(crate) async fn receive(&self) -> Option<Answer> {
        let received = self.socket.receive().await.ok()??;
        let notice = received.read().ok()?;
        Some((notice, received.descriptors))
    }

    /// Passes on what the runner tells, until it tells no more.
    pub(crate) async fn dispatch(&self) {
        while let Some((notice, mut descriptors)) = self.receive().await {
            match notice {
                Notice::Executed { number, .. } => {
                    let event = Event::Executed { terminal: descriptors.pop() };
                    self.tell(number, event);
                }
                Notice::Ended { number, outcome } => {
                    self.tell(number, Event::Ended(outcome));
                    self.commands.borrow_mut().remove(&number);
                }
                other => self.answer(other, descriptors),
            }
        }
        self.commands.borrow_mut().clear();
        self.waiting.borrow_mut().clear();
    }

    fn tell(&self, number: u64, event: Event) {
        if let Some(command) = self.commands.borrow().get(&number) {
            // Whoever asked may have gone.
            let _nobody_asks = command.send(event);
        }
    }

    fn answer(&self, notice: Notice, descriptors: Vec<OwnedFd>) {
        let mut waiting = self.waiting.borrow_mut();
        let kind = std::mem::discriminant(&notice);
        if let Some(position) = waiting.iter().position(|(wanted, _)| *wanted == kind)
            && let Some((_, sender)) = waiting.remove(position)
        {
            let _nobody_waits = sender.send((notice, descriptors));
        }
    }
}

/// Why nothing can be asked any more.
pub(crate) fn gone() -> Failure {
    Failure::new("gone", "the sandbox has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::wire::{receive_now, send_now};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::AsFd;

    #[tokio::test]
    async fn what_the_runner_did_not_take_takes_no_answer() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let patience = Duration::from_millis(100);
        let link = Link { patience, ..Link::new(Connection::new(ours).unwrap()) };
        let runner = Connection::new(theirs).unwrap();
        let figures = Notice::Figures(Box::default());
        while send_now(link.socket.as_fd(), &[b'x'; 1000], &[]).is_ok() {}
        assert!(link.ask(&Ask::Figures, &figures).await.is_err());
        while receive_now(runner.as_fd()).is_ok() {}
        let answered = async {
            runner.receive().await.unwrap();
            runner.send(&figures, &[]).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            asked = link.ask(&Ask::Figures, &figures) => assert!(asked.is_ok(), "{asked:?}"),
            () = link.dispatch() => panic!("the runner is there"),
            () = answered => {}
        }
    }
}
