//! Looking at code in a process of its own, the program `pinfold-validator`: the parsers are C, and there are texts of some
//! kilobytes for which they ask for all the memory that there is, or don't come back. Such a process ends, and nobody else. Before
//! it reads a byte it gives up whatever it could do but read its stdin, calculate, and write its stdout.

use super::grammar::{Grammar, Rules};
use super::{Finding, PATIENCE};
use crate::locate;
use pinfold_runner::{Content, confine, seccomp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{DumpableBehavior, PidfdFlags, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The program.
const PROGRAM: &str = "pinfold-validator";
/// The memory that it may have, its own code included. A tree takes up to some two hundred times as much as its text.
const MEMORY: u64 = 512 << 20;
/// The CPU time that it may take: it ends itself after [`PATIENCE`], where the parsers let it.
const CPU_SECONDS: u64 = 3;
/// The most that it may answer.
const ANSWER: u64 = 4 << 20;
/// After this time it is killed. A machine that does much else is slow.
const LONGEST: Duration = Duration::from_secs(20);

/// What is to be looked at.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) grammar: Grammar,
    /// Rules beside those of the grammar.
    pub(super) rules: &'a str,
    pub(super) files: BTreeMap<&'a String, &'a Content>,
}

/// The same, as it is read.
#[derive(Deserialize)]
struct Asked {
    grammar: Grammar,
    rules: String,
    files: BTreeMap<String, Content>,
}

/// The findings, or what is wrong with the rules.
type Answer = Result<Vec<Finding>, String>;

/// Has somebody else look at code. Where that one does not come to an end, no file counts as looked at.
pub(super) fn look(request: &Request<'_>) -> Answer {
    let program = locate::program(PROGRAM)
        .ok_or_else(|| format!("there is no program `{PROGRAM}`, neither beside this one nor on PATH"))?;
    let told = |error: io::Error| format!("failed to start `{}`: {error}", program.display());
    // Files in memory: nothing has to be read and written at once, and nothing can be stuck.
    let (asked, mut answer) = (file(request).map_err(told)?, File::from(memory().map_err(told)?));
    let mut child = Command::new(&program)
        .env_clear()
        .current_dir("/")
        .stdin(asked)
        .stdout(answer.try_clone().map_err(told)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(told)?;
    let has_ended = wait(&mut child).map_err(told)?;
    match has_ended.then(|| read(&mut answer)).flatten() {
        Some(answer) => answer,
        None => Ok(request.files.keys().map(|name| Finding::too_much(name)).collect()),
    }
}

fn memory() -> io::Result<rustix::fd::OwnedFd> {
    Ok(memfd_create("pinfold-validator", MemfdFlags::CLOEXEC)?)
}

fn file(request: &Request<'_>) -> io::Result<File> {
    let mut file = File::from(memory()?);
    let mut writer = io::BufWriter::new(&file);
    serde_json::to_writer(&mut writer, request)?;
    writer.flush()?;
    drop(writer);
    file.rewind()?;
    Ok(file)
}

/// Waits, and says whether it ended well.
fn wait(child: &mut Child) -> io::Result<bool> {
    let deadline = Instant::now() + LONGEST;
    let process = rustix::process::pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty());
    let Ok(process) = process else {
        child.kill()?;
        return child.wait().map(|_killed| false);
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => {
                child.kill()?;
                return child.wait().map(|_killed| false);
            }
            Ok(_) => return child.wait().map(|status| status.success()),
        }
    }
}

fn read(answer: &mut File) -> Option<Answer> {
    let mut text = Vec::new();
    answer.rewind().ok()?;
    answer.take(ANSWER).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The program: confines itself, reads what is asked on stdin, and answers on stdout.
pub fn main() -> ExitCode {
    let answered = match give_up_all() {
        Ok(()) => answer(),
        // Nothing has been read. The answer says why, in the place of findings.
        Err(error) => tell(&Err(format!("`{PROGRAM}` can't confine itself here: {error}"))),
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Before anything is read. What is left is stdio, memory, and the CPU for a while; where the kernel has no Landlock the filter
/// alone holds the rest.
fn give_up_all() -> io::Result<()> {
    let nothing = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing },
    )?;
    // It dies with the thread that waits for it. A change of capabilities could clear that: prctl(2).
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    // The crate `regex` counts the CPUs for its first expression, from files, and remembers.
    let _counted = regex::bytes::Regex::new("");
    confine::deny_files()?;
    let limits = [
        (Resource::As, MEMORY),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Fsize, ANSWER),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
        (Resource::Nofile, 0),
    ];
    for (resource, most) in limits {
        // Whoever started all this may have less.
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    confine::filter_calls(&seccomp::validator())
}

fn answer() -> io::Result<()> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    let asked: Asked = serde_json::from_slice(&text)?;
    let texts: Vec<_> = asked.files.values().map(Content::as_bytes).collect();
    let answer: Answer = Rules::read_for(asked.grammar, &asked.rules, &texts).map(|rules| {
        let deadline = Instant::now() + PATIENCE;
        let looked = asked.files.iter().flat_map(|(name, content)| rules.look(name, content.as_bytes(), deadline));
        looked.take(super::MOST).collect()
    });
    tell(&answer)
}

fn tell(answer: &Answer) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.flush()
}
