//! The gate of one sandbox: it answers the sandbox's questions for names, listens where those that are allowed stand, and relays
//! the connections. It lives in the supervisor, and ends with the sandbox.

use super::dial::Target;
use super::dns::{self, Answer, Question};
use super::hooks::AskedHost;
use super::link::{Lacking, Link};
use super::log::Log;
use super::relay::{break_off, relay};
use super::{Hooks, MOST_CONNECTIONS, MOST_NAMES};
use pinfold_runner::{AllowList, Outcome, RefusalReason, STAND_INS};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// How long what the sandbox has sent may take to be delivered when the sandbox has ended.
const DELIVERY: Duration = Duration::from_secs(2);

/// How many questions may be under consideration at once. One more is not answered, and asked again by whoever asked it.
const MOST_QUESTIONS: usize = 64;

/// How long a connection may be silent of which one side has ended. Of one whose both sides live it may be for ever.
const HALF_CLOSED: Duration = Duration::from_secs(300);

/// How long to wait where the host has no descriptor or no memory left for a connection.
const PAUSE: Duration = Duration::from_millis(20);

/// After so many questions without a break the sandbox has to wait a little: it must not keep a CPU of the host's busy with them.
const IN_A_ROW: u32 = 64;

/// The gate as the supervisor holds it. Dropping it breaks all connections off.
#[derive(Debug)]
pub(crate) struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sandbox: String,
    list: AllowList,
    hooks: Hooks,
    link: Link,
    log: Arc<Log>,
    /// What was decided about a name, or is about to be.
    names: Mutex<HashMap<String, Arc<OnceCell<Verdict>>>>,
    /// The addresses that were given out. The first two of the range are the network's and the name server's.
    given: Mutex<u32>,
    places: Arc<Semaphore>,
    questions: Arc<Semaphore>,
    /// `None`: closed.
    tasks: Mutex<Option<JoinSet<()>>>,
    over: watch::Sender<bool>,
}

/// What was decided about a name.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Allowed(Ipv4Addr),
    Refused(RefusalReason),
}

impl Gate {
    /// Opens the gate of a sandbox that is about to start. `socket` is the other end of the runner's.
    pub(crate) fn open(socket: OwnedFd, sandbox: &str, list: AllowList, hooks: Hooks) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            sandbox: sandbox.to_owned(),
            list,
            link: Link::new(socket)?,
            log: Log::new(sandbox.to_owned(), hooks.observer.clone()),
            hooks,
            names: Mutex::default(),
            given: Mutex::new(NAME_SERVER_INDEX),
            places: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            questions: Arc::new(Semaphore::new(MOST_QUESTIONS)),
            tasks: Mutex::new(Some(JoinSet::new())),
            over: watch::Sender::new(false),
        });
        let gate = Self(shared.clone());
        gate.0.spawn(async move { shared.serve().await });
        Ok(gate)
    }

    /// Closes the gate of a sandbox that has ended, and tells of its connections. What it has sent is delivered first, if that takes
    /// no more than a moment.
    pub(crate) async fn close(self, outcome: &mut Outcome) {
        self.0.over.send_replace(true);
        if let Some(mut tasks) = self.0.take_tasks() {
            let all = async { while tasks.join_next().await.is_some() {} };
            let _too_slow = tokio::time::timeout(DELIVERY, all).await;
            tasks.shutdown().await;
        }
        (outcome.connections, outcome.connections_omitted) = self.0.log.tell();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Its tasks share it, so that it would never end by itself.
        drop(self.0.take_tasks());
    }
}

/// 198.18.0.1.
const NAME_SERVER_INDEX: u32 = 1;

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = &mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    fn take_tasks(&self) -> Option<JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for the sandbox's end.
    async fn is_over(&self) {
        let mut over = self.over.subscribe();
        // An error says that nobody is left to say so, which is the end as well.
        let _over = over.wait_for(|over| *over).await.map(drop);
    }

    async fn serve(self: Arc<Self>) {
        let fixed = self.list.fixed();
        // An error: the sandbox has ended before it began, and its result says why.
        let Ok((names, listeners)) = self.link.begin(&fixed).await else { return };
        for (listener, address) in listeners.into_iter().zip(fixed) {
            self.spawn(self.clone().accept(listener, Target::Address(address)));
        }
        tokio::select! {
            () = self.clone().answer(Arc::new(names)) => {}
            () = self.is_over() => {}
        }
    }

    /// Answers questions for names.
    async fn answer(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = [0; dns::LONGEST + 1];
        let mut in_a_row = 0;
        loop {
            let received = socket.recv_from(&mut buffer).await;
            in_a_row += 1;
            if in_a_row % IN_A_ROW == 0 {
                tokio::time::sleep(PAUSE).await;
            }
            // An error is about an earlier answer, which nobody takes.
            let Ok((length, from)) = received else { continue };
            let Some(question) = Question::read(&buffer[..length]) else { continue };
            let Some(name) = question.name.clone() else {
                let _nobody_waits = socket.try_send_to(&question.answer(Answer::NoSuchName), from);
                continue;
            };
            let Ok(place) = self.questions.clone().try_acquire_owned() else { continue };
            let (shared, socket) = (self.clone(), socket.clone());
            self.spawn(async move {
                let answer = match shared.judge(&name).await {
                    Verdict::Allowed(address) => Answer::Address(address),
                    Verdict::Refused(RefusalReason::NotListed) => Answer::NoSuchName,
                    Verdict::Refused(_) => Answer::Failure,
                };
                let _nobody_waits = socket.send_to(&question.answer(answer), from).await;
                drop(place);
            });
        }
    }

    /// Decides about a name, once for all.
    async fn judge(self: &Arc<Self>, name: &str) -> Verdict {
        if self.hooks.gatekeeper.is_none() && self.list.ports_of(name).is_empty() {
            self.log.refuse(name, RefusalReason::NotListed);
            return Verdict::Refused(RefusalReason::NotListed);
        }
        let cell = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.len() >= MOST_NAMES && !names.contains_key(name) {
                None
            } else {
                Some(names.entry(name.to_owned()).or_default().clone())
            }
        };
        let verdict = match cell {
            Some(cell) => match cell.get_or_try_init(|| self.admit(name)).await {
                Ok(verdict) => *verdict,
                Err(reason) => Verdict::Refused(reason),
            },
            None => Verdict::Refused(RefusalReason::TooMany),
        };
        if let Verdict::Refused(reason) = verdict {
            self.log.refuse(name, reason);
        }
        verdict
    }

    /// Gives a name an address, and listens there.
    ///
    /// # Errors
    /// What may be another time: the sandbox itself listens at all of its ports.
    async fn admit(self: &Arc<Self>, name: &str) -> Result<Verdict, RefusalReason> {
        let mut ports = self.list.ports_of(name);
        if let (true, Some(gatekeeper)) = (ports.is_empty(), &self.hooks.gatekeeper) {
            let asked = AskedHost { sandbox: self.sandbox.clone(), host: name.to_owned() };
            ports = gatekeeper.ports(&asked).await;
            // 0 would be any that is free.
            ports.retain(|port| *port > 0);
            ports.sort_unstable();
            ports.dedup();
        }
        if ports.is_empty() {
            return Ok(Verdict::Refused(RefusalReason::NotListed));
        }
        let address = self.next_address();
        let (mut is_there, mut is_exhausted) = (false, false);
        for port in ports {
            match self.link.listener(SocketAddrV4::new(address, port)).await {
                Ok(listener) => {
                    is_there = true;
                    self.spawn(self.clone().accept(listener, Target::Name(name.to_owned(), port)));
                }
                Err(Lacking::Exhausted) => is_exhausted = true,
                // The sandbox listens there itself, on all addresses.
                Err(Lacking::Failed) => {}
            }
        }
        match (is_there, is_exhausted) {
            (true, _) => Ok(Verdict::Allowed(address)),
            (_, true) => Ok(Verdict::Refused(RefusalReason::TooMany)),
            // Each try costs a socket, of which the sandbox has so many.
            _ => Err(RefusalReason::Unreachable),
        }
    }

    fn next_address(&self) -> Ipv4Addr {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        *given += 1;
        let first = match STAND_INS.first() {
            IpAddr::V4(first) => first,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        Ipv4Addr::from_bits(first.to_bits() + *given)
    }

    /// Takes connections at one listener. Those that are there already when the sandbox ends are taken too.
    async fn accept(self: Arc<Self>, listener: TcpListener, target: Target) {
        let mut is_over = std::pin::pin!(self.is_over());
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = &mut is_over => return,
            };
            match accepted {
                Ok((inside, _)) => {
                    // Waited for here, so that those beyond stay where they cost the host nothing.
                    let Ok(place) = self.places.clone().acquire_owned().await else { return };
                    self.spawn(self.clone().connect(inside, target.clone(), place));
                }
                // One that was broken off while it waited; or the host lacks something, which others may give back.
                Err(_error) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Sees one connection through.
    async fn connect(self: Arc<Self>, inside: TcpStream, target: Target, _place: OwnedSemaphorePermit) {
        let mut ongoing = self.log.begin(target.host(), target.port());
        let dialled = target.dial(&self.list, self.hooks.resolver.as_ref()).await;
        ongoing.settle(dialled.as_ref().err().copied());
        match dialled {
            Ok(outside) => relay(&inside, &outside, ongoing.bytes(), HALF_CLOSED, self.is_over()).await,
            Err(_refused) => break_off(&inside),
        }
    }
}
