//! The gate of one sandbox: it answers the sandbox's questions for names, listens where those that are allowed stand, and relays
//! the connections. It lives in the supervisor, and ends with the sandbox.

use super::dial::Target;
use super::dns::{self, Answer, Family, Question};
use super::hooks::AskedHost;
use super::link::{Lacking, Link};
use super::log::Log;
use super::relay::{break_off, relay};
use super::{Hooks, MOST_CONNECTIONS, MOST_NAMES};
use pinfold_runner::{AllowList, Outcome, RefusalReason, STAND_INS, STAND_INS_V6};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
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
    names: Mutex<HashMap<String, Arc<Name>>>,
    /// The addresses that were given out. The first two of the ranges are the network's and the name server's.
    given: Mutex<u32>,
    places: Arc<Semaphore>,
    questions: Arc<Semaphore>,
    /// `None`: closed.
    tasks: Mutex<Option<JoinSet<()>>>,
    over: watch::Sender<bool>,
}

/// A name that was asked for.
#[derive(Debug, Default)]
struct Name {
    /// Its place in the ranges, and the ports at which it may be connected to; no port refuses it.
    admitted: OnceCell<(u32, Vec<u16>)>,
    ipv4: OnceCell<Result<IpAddr, RefusalReason>>,
    ipv6: OnceCell<Result<IpAddr, RefusalReason>>,
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
                let answer = shared.answer_to(&name, question.wants).await;
                let _nobody_waits = socket.send_to(&question.answer(answer), from).await;
                drop(place);
            });
        }
    }

    async fn answer_to(self: &Arc<Self>, name: &str, wanted: Option<Family>) -> Answer {
        let address = match self.judge(name).await {
            Ok(known) => match wanted {
                None => return Answer::Nothing,
                Some(Family::V4) => self.address(name, &known, Family::V4).await,
                Some(Family::V6) => match self.address(name, &known, Family::V6).await {
                    Ok(address) => Ok(address),
                    // There may be no IPv6 here at all. Where IPv4 is lacking too, that is what is told.
                    Err(_lacking) => match self.address(name, &known, Family::V4).await {
                        Ok(_of_the_other_kind) => return Answer::Nothing,
                        Err(reason) => Err(reason),
                    },
                },
            },
            Err(reason) => Err(reason),
        };
        match address {
            Ok(address) => Answer::Address(address),
            Err(reason) => {
                self.log.refuse(name, reason);
                if reason == RefusalReason::NotListed { Answer::NoSuchName } else { Answer::Failure }
            }
        }
    }

    /// Decides about a name, once for all.
    async fn judge(self: &Arc<Self>, name: &str) -> Result<Arc<Name>, RefusalReason> {
        if self.hooks.gatekeeper.is_none() && self.list.ports_of(name).is_empty() {
            return Err(RefusalReason::NotListed);
        }
        let known = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.len() >= MOST_NAMES && !names.contains_key(name) {
                return Err(RefusalReason::TooMany);
            }
            names.entry(name.to_owned()).or_default().clone()
        };
        let (_, ports) = known.admitted.get_or_init(|| self.admit(name)).await;
        if ports.is_empty() { Err(RefusalReason::NotListed) } else { Ok(known) }
    }

    /// The ports of a name, and its place in the ranges.
    async fn admit(&self, name: &str) -> (u32, Vec<u16>) {
        let mut ports = self.list.ports_of(name);
        if let (true, Some(gatekeeper)) = (ports.is_empty(), &self.hooks.gatekeeper) {
            let asked = AskedHost { sandbox: self.sandbox.clone(), host: name.to_owned() };
            ports = gatekeeper.ports(&asked).await;
            // 0 would be any that is free.
            ports.retain(|port| *port > 0);
            ports.sort_unstable();
            ports.dedup();
        }
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        *given += 1;
        (*given, ports)
    }

    /// The address that stands for an admitted name, where somebody listens from then on.
    async fn address(self: &Arc<Self>, name: &str, known: &Name, family: Family) -> Result<IpAddr, RefusalReason> {
        let (cell, range) = match family {
            Family::V4 => (&known.ipv4, STAND_INS),
            Family::V6 => (&known.ipv6, STAND_INS_V6),
        };
        // An error here is what may be another time.
        let listening = cell.get_or_try_init(|| async {
            let (index, ports) = known.admitted.get().ok_or(RefusalReason::NotListed)?;
            let address = range.address(*index);
            self.listen(name, address, ports).await.map(|lacking| lacking.map_or(Ok(address), Err))
        });
        *listening.await?
    }

    /// Listens for a name at an address. It answers why nobody listens there and never will.
    ///
    /// # Errors
    /// What may be another time: the sandbox itself listens at all of its ports.
    async fn listen(
        self: &Arc<Self>,
        name: &str,
        address: IpAddr,
        ports: &[u16],
    ) -> Result<Option<RefusalReason>, RefusalReason> {
        let (mut is_there, mut is_exhausted) = (false, false);
        for &port in ports {
            match self.link.listener(SocketAddr::new(address, port)).await {
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
            (true, _) => Ok(None),
            (_, true) => Ok(Some(RefusalReason::TooMany)),
            // Each try costs a socket, of which the sandbox has so many.
            _ => Err(RefusalReason::Unreachable),
        }
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
