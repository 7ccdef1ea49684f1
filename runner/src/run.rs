//! The runner: it stands outside of the sandbox, makes what init needs, waits for the end (`wait`), takes everything
//! away again and tells the result.

use crate::artifact::{self, Destination};
use crate::command::Pipes;
use crate::descriptors::{self, Descriptors};
use crate::failure::{At, Step, StepError};
use crate::ground::Ground;
use crate::held::Held;
use crate::init::{self, Inherited};
use crate::leash::Leash;
use crate::message::Order;
use crate::owners::Owners;
use crate::plan::Plan;
use crate::spent::Start;
use crate::state::State;
use crate::stream::{Input, Output, Sink};
use crate::sys::process::{self, Fork};
use crate::sys::{self, Errno, file, pipe, signal, socket};
use crate::view::caller_trees;
use crate::wait::{self, Ending, Told, Watched};
use crate::watch::{Cpu, Memory, Watch};
use crate::{cgroup, held, identity, landlocked, verdict};
use pinfold_runner::{Failure, Job, Outcome, Root};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Runs one job from beginning to end.
pub(crate) fn run(
    job: &Job,
    id: String,
    descriptors: Descriptors,
    terminal: Option<(u16, u16)>,
    landlock: Option<u32>,
    start: &Start,
) -> Result<Outcome, Failure> {
    // From here on SIGTERM and SIGINT wait until they can be told as what they are, and what was made is taken away.
    let signals = signal::signalfd(&[libc::SIGTERM, libc::SIGINT]).at(Step::MakePipe, "signals")?;
    let plan = Plan::new(job, terminal, landlock, start, descriptors.held.is_some())?;
    if job.network.list().is_some() && descriptors.network.is_none() {
        return Err(Failure::new(
            "needs_supervisor",
            "a list of allowed hosts needs a supervisor, which relays the connections",
        )
        .with_hint("run the job by `pinfold run --json`, or through the library"));
    }
    let destination = job.artifacts.as_ref().map(|artifacts| Destination::open(job, artifacts)).transpose()?;
    let state = State::open()?;
    state.sweep()?;
    // The ground is laid while init builds the view, where that can be: init is born into a cgroup on v2, and trees
    // of the caller's that are idmapped to the slot's uid are inherited.
    let names_paths = !job.mounts.is_empty() || job.root != Root::Host || job.workspace.directory().is_some();
    let early = cgroup::precede_init() || (plan.privileged && names_paths && !plan.is_landlocked());
    let ground = if early { Some(Ground::lay(&plan, &state)?) } else { None };
    let sandbox = Sandbox { plan: &plan, state: &state, id };
    sandbox.run(ground, signals, descriptors, destination)
}

/// One sandbox in the making.
struct Sandbox<'a> {
    plan: &'a Plan<'a>,
    state: &'a State,
    id: String,
}

/// Our ends of what connects us with the sandbox.
struct Ends {
    status: OwnedFd,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// The sandbox's ends.
struct OtherEnds {
    socket: OwnedFd,
    status: OwnedFd,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Sandbox<'_> {
    fn run(
        &self,
        ground: Option<Ground>,
        signals: OwnedFd,
        descriptors: Descriptors,
        destination: Option<Destination>,
    ) -> Result<Outcome, Failure> {
        let job = self.plan.job;
        let has_stdin = descriptors.stdin.is_some() || !job.stdin.as_bytes().is_empty();
        let (socket, ends, others) = self.connect(has_stdin)?;
        let inherited_trees = match &ground {
            _ if self.plan.is_landlocked() => None,
            Some(ground) if self.plan.privileged => Some(caller_trees(job, Some(ground.slot.number))?),
            _ if self.plan.privileged => Some(Vec::new()),
            _ => None,
        };
        let owned_by = [&others.stdin, &others.stdout, &others.stderr].map(|fd| fd.as_ref().map(OwnedFd::try_clone));

        // Init's own copy, which it can give up.
        let command_group = ground.as_ref().and_then(|ground| ground.cgroups.command());
        let command_group =
            command_group.map(|group| group.try_clone_to_owned()).transpose().at(Step::MakePipe, "the cgroup")?;
        let born_in = ground.as_ref().and_then(|ground| ground.cgroups.init());
        let namespaces = self.namespaces()?;
        let (pid, pidfd) = match process::clone3(namespaces, born_in).at(Step::MakeNamespaces, "")? {
            Fork::Child => {
                // Ends that stayed open here would keep init from noticing the runner's death, and the reader of the
                // runner's answer from seeing its end.
                let Descriptors { lifeline, network, .. } = descriptors;
                drop((socket, ends, signals, owned_by));
                // The ground is the runner's to give back, never ours, so it is never dropped here.
                std::mem::forget(ground);
                let _none_left_open = descriptors::forget_standard();
                let OtherEnds { socket, status, stdin, stdout, stderr } = others;
                let (lifeline, state) = (lifeline.as_ref().map(AsFd::as_fd), self.state.path());
                let inherited = Inherited { socket, lifeline, trees: inherited_trees, state, command_group, network };
                let pipes = Pipes { stdin, stdout, stderr };
                if self.plan.is_landlocked() {
                    landlocked::run(self.plan, inherited, pipes, status)
                }
                init::run(self.plan, inherited, pipes, status)
            }
            Fork::Parent(pid, pidfd) => (pid, pidfd),
        };
        drop((others, inherited_trees, command_group));
        let init = Leash { pid, pidfd, socket, takes_all_along: !self.plan.is_landlocked() };
        let mut ground = match ground.map_or_else(|| Ground::lay(self.plan, self.state), Ok) {
            Ok(ground) => ground,
            Err(failure) => {
                init.end()?;
                return Err(failure);
            }
        };
        if self.plan.held.is_some()
            && cgroup::precede_init()
            && let Err(error) = held::settle(self.plan, &init, &mut ground)
        {
            init.end()?;
            return Err(match wait::told(&ends.status) {
                Told::Failed(cause) => cause.into(),
                _ => error.into(),
            });
        }
        let watch = Watch {
            cpu: job.limits.cpu_ms.value().map(Cpu::new),
            memory: job.limits.memory_bytes.value().filter(|_| ground.watches_memory()).map(Memory::new),
            disk: ground.disk.take(),
        };
        let told = ends.status.try_clone().ok();
        let begun = self.begin(&init, &ground, owned_by);
        let ended = begun.and_then(|()| match descriptors.held {
            Some(_) => self.held(&init, &ground, signals, ends, descriptors, watch).map(Held::until_end),
            None => self.watched(&init, &ground, signals, ends, descriptors, watch).map(Watched::until_end),
        });
        let (ending, streams) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Before the ground is given back, which must not be done under anything that lives. If init died of
                // something first, that is the cause, and not that we could not reach it any more.
                init.end()?;
                return Err(match told.map(|status| wait::told(&status)) {
                    Some(Told::Failed(cause)) => cause.into(),
                    _ => error.into(),
                });
            }
        };
        self.finish(&init, ground, ending, streams, destination)
    }

    /// The namespaces that init is born in. Where there are none, we get ready for what that asks of us.
    fn namespaces(&self) -> Result<i32, StepError> {
        if self.plan.is_landlocked() {
            process::be_subreaper().at(Step::GuardInit, "subreaper")?;
            // Landlock keeps the command from looking into us. Where our uid is its own, this does too.
            process::set_non_dumpable().at(Step::GuardInit, "non-dumpable")?;
            return Ok(0);
        }
        Ok(libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)
    }

    /// Makes what connects the runner with init and with the command.
    fn connect(&self, has_stdin: bool) -> Result<(OwnedFd, Ends, OtherEnds), StepError> {
        let (socket, socket_theirs) = socket::socketpair().at(Step::MakePipe, "init")?;
        let (status, status_theirs) = pipe::pipe().at(Step::MakePipe, "status")?;
        let uses_pipes = self.plan.terminal.is_none() && self.plan.held.is_none();
        let (stdin_theirs, stdin) = pair(uses_pipes && has_stdin).at(Step::MakePipe, "stdin")?;
        let (stdout, stdout_theirs) = pair(uses_pipes).at(Step::MakePipe, "stdout")?;
        let (stderr, stderr_theirs) = pair(uses_pipes).at(Step::MakePipe, "stderr")?;
        let others = OtherEnds {
            socket: socket_theirs,
            status: status_theirs,
            stdin: stdin_theirs,
            stdout: stdout_theirs,
            stderr: stderr_theirs,
        };
        Ok((socket, Ends { status, stdin, stdout, stderr }, others))
    }

    /// Lets init go on, now that the ground is laid.
    fn begin(
        &self,
        init: &Leash,
        ground: &Ground,
        pipes: [Option<std::io::Result<OwnedFd>>; 3],
    ) -> Result<(), StepError> {
        let host = self.plan.host_ids(ground.slot.number);
        if self.plan.privileged {
            // A pipe belongs to its maker. /dev/stdout is opened anew by its inode's owner: the sandbox's user.
            for pipe in pipes.into_iter().flatten() {
                let pipe = pipe.at(Step::MakePipe, "owner")?;
                file::fchown(pipe.as_fd(), host.uid, host.gid).at(Step::MakePipe, "owner")?;
            }
        }
        if !self.plan.is_landlocked() {
            identity::write_maps(init.pid, self.plan.job.user, host, self.plan.privileged)?;
        }
        let mut descriptors = vec![ground.slot.dir.as_fd()];
        descriptors.extend(ground.cgroups.tasks());
        let order = Order::Begin(ground.slot.number, ground.cgroups.held());
        socket::send(init.socket.as_fd(), &order.encode(), &descriptors).at(Step::MakePipe, "init")?;
        // Opened while init builds the view; it takes some 20 µs that nobody waits for.
        let gauge = ground.cgroups.gauge();
        let gauge: Vec<_> = gauge.iter().map(AsFd::as_fd).collect();
        match socket::send(init.socket.as_fd(), &Order::Measure.encode(), &gauge) {
            // Init has failed meanwhile, and has told why.
            Err(Errno(libc::EPIPE | libc::ECONNRESET)) => Ok(()),
            other => other.at(Step::MakePipe, "init"),
        }
    }

    fn watched<'a>(
        &'a self,
        init: &'a Leash,
        ground: &'a Ground,
        signals: OwnedFd,
        ends: Ends,
        descriptors: Descriptors,
        watch: Watch,
    ) -> Result<Watched<'a>, StepError> {
        let job = self.plan.job;
        let cap = job.limits.output_bytes.value();
        let sink = |live: Option<OwnedFd>| live.map_or(Sink::Keep(Vec::new()), |live| Sink::Live(Some(live)));
        let status = ends.status;
        file::set_nonblocking(status.as_fd()).at(Step::MakePipe, "status")?;
        let stdin = Input::new(ends.stdin, descriptors.stdin, job.stdin.as_bytes().to_vec());
        Ok(Watched {
            plan: self.plan,
            init,
            owners: Owners::new(signals, descriptors.lifeline),
            status: Some(status),
            stdin: stdin.at(Step::MakePipe, "stdin")?,
            stdout: Output::new(ends.stdout, sink(descriptors.stdout), cap).at(Step::MakePipe, "stdout")?,
            stderr: Output::new(ends.stderr, sink(descriptors.stderr), cap).at(Step::MakePipe, "stderr")?,
            wall: job.limits.wall_ms.value().map(Duration::from_millis),
            watch,
            cgroups: &ground.cgroups,
        })
    }

    fn held<'a>(
        &'a self,
        init: &'a Leash,
        ground: &'a Ground,
        signals: OwnedFd,
        ends: Ends,
        descriptors: Descriptors,
        watch: Watch,
    ) -> Result<Held<'a>, StepError> {
        let keeper = descriptors.held.ok_or(Errno(libc::EBADF)).at(Step::MakePipe, "the keeper")?;
        let owners = Owners::new(signals, descriptors.lifeline);
        Held::new(self.plan, self.id.clone(), (init, ground), owners, keeper, ends.status, watch)
    }

    /// Takes everything away and tells the result. When init has reported, only init itself is left, so the rest is
    /// cleared while the kernel takes its namespaces apart.
    fn finish(
        &self,
        init: &Leash,
        mut ground: Ground,
        ending: Ending,
        streams: wait::Streams,
        destination: Option<Destination>,
    ) -> Result<Outcome, Failure> {
        ground.cgroups.release_io();
        init.kill();
        let early = if ending.report.is_none() || !init.takes_all_along { init.end()? } else { None };
        let (ended, report, departure) = (ending.ended, ending.report, ending.departure);
        let outcome = verdict::outcome(self.plan, self.id.clone(), &ground, ending, streams);
        let outcome = outcome
            .map(|(outcome, in_memory, owners)| self.with_artifacts(outcome, in_memory, &owners, &ground, destination));
        ground.clear();
        let whole = early.or(init.end()?);
        drop(ground);
        let mut outcome = outcome?;
        outcome.usage.overhead_cpu_ms = verdict::overhead_cpu_ms(self.plan, report, departure, whole);
        outcome.usage.teardown_ms = verdict::elapsed(ended, Some(Instant::now()));
        Ok(outcome)
    }

    fn with_artifacts(
        &self,
        mut outcome: Outcome,
        in_memory: Option<OwnedFd>,
        owners: &Owners,
        ground: &Ground,
        destination: Option<Destination>,
    ) -> Outcome {
        let workspace = in_memory.as_ref().or(ground.workspace.as_ref());
        if let (Some(artifacts), Some(workspace), Some(destination)) =
            (&self.plan.job.artifacts, workspace, destination)
        {
            let collected = artifact::collect(artifacts, workspace.as_fd(), &destination, owners);
            outcome.artifacts = collected.files;
            outcome.artifact_errors = collected.errors;
        }
        outcome
    }
}

/// A pipe, read end first, or nothing.
fn pair(wanted: bool) -> Result<(Option<OwnedFd>, Option<OwnedFd>), sys::Errno> {
    if !wanted {
        return Ok((None, None));
    }
    pipe::pipe().map(|(read, write)| (Some(read), Some(write)))
}
