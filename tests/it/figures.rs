//! Each figure of `usage` against something independent: a program that uses a known amount, in every way that might
//! escape the count, and says what the kernel counted for it alone.

use crate::sandbox::{Answer, Job, Running, Scratch};
use crate::support::{has_cgroups, host_cannot, is_total, runs};
use pinfold_runner::{Status, Usage};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Page faults of a small static program's own.
const FEW: u64 = 1500;

fn probe(arguments: &[&str]) -> Job {
    Job::probe("figures", arguments).limit("wall_ms", 90_000)
}

fn usage(job: Job) -> Usage {
    let answer = job.run();
    answer.exited();
    answer.outcome.usage
}

/// What starting a small static program may cost, in milliseconds of CPU time: little, but on an emulated machine.
fn start_ms() -> f64 {
    static ANSWER: OnceLock<f64> = OnceLock::new();
    *ANSWER.get_or_init(|| 100.0 + 4.0 * cpu_ms(&usage(Job::probe("true", &["0"]))))
}

fn cpu_ms(usage: &Usage) -> f64 {
    usage.user_ms.unwrap() + usage.system_ms.unwrap()
}

/// What the probe says of itself.
fn said(answer: &Answer) -> BTreeMap<String, u64> {
    let pairs = answer.exited();
    let pairs = pairs.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

#[test]
fn cpu_time_is_counted_whoever_used_it() {
    for way in ["self", "reaped", "daemon", "killed", "left", "ignored"] {
        let used = cpu_ms(&usage(probe(&[way, "burn", "400"])));
        // Whom nobody reaps is only in a cgroup's count.
        let counted = way != "ignored" || has_cgroups();
        assert!(!counted || (395.0..400.0 + start_ms()).contains(&used), "{way}: {used}");
        assert!(counted || used < start_ms(), "{way}: {used}");
    }
}

#[test]
fn cpu_time_in_the_kernel_and_in_user_mode_are_told_apart() {
    let user = usage(probe(&["self", "touch", "10"]));
    assert!(cpu_ms(&user) < start_ms(), "{user:?}");
    let burnt = usage(Job::sh("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"));
    assert!(burnt.user_ms.unwrap() > burnt.system_ms.unwrap(), "{burnt:?}");
    let copied = usage(Job::sh("head -c 2000000000 /dev/zero > /dev/null").limit("wall_ms", 60_000));
    assert!(copied.system_ms.unwrap() > copied.user_ms.unwrap(), "{copied:?}");
}

#[test]
fn our_own_work_is_not_the_command_s_and_is_told_apart() {
    let small = usage(Job::probe("true", &["0"]));
    // The command's process writes the job's files before it becomes the command.
    let large = "x".repeat(24 << 20);
    let job = Job::probe("true", &["0"]).files(&[("large", &large)]);
    let large = usage(job.limit("workspace_bytes", "max").limit("memory_bytes", 256 * MIB));
    for usage in [&small, &large] {
        assert!(usage.written_bytes < Some(MIB) && usage.minor_faults < Some(FEW), "{usage:?}");
        assert!(cpu_ms(usage) < start_ms() && usage.overhead_cpu_ms > Some(0.0), "{usage:?}");
    }
    assert!(large.overhead_cpu_ms > small.overhead_cpu_ms, "{small:?} {large:?}");
    let most = Some(1500.0 + 5.0 * small.overhead_cpu_ms.unwrap());
    let busy = usage(probe(&["self", "burn", "3000"]));
    assert!(busy.overhead_cpu_ms < most, "{busy:?}");
    // Nor is it ours what the program did that became the runner by exec.
    let before = format!("i=0; while [ $i -lt {} ]; do i=$((i+1)); done; exec \"$0\"", runs(4_000_000));
    let second = usage(Job::probe("true", &["0"]).started_by(&["sh", "-c", &before], &[]));
    assert!(second.overhead_cpu_ms < most, "{second:?}");
}

#[test]
fn page_faults_are_counted_whoever_had_them() {
    for way in ["self", "reaped", "daemon", "killed", "left", "ignored"] {
        let answer = probe(&[way, "touch", "20000"]).run();
        let (usage, own) = (answer.outcome.usage, said(&answer)["minor"]);
        let counted = way != "ignored" || has_cgroups();
        // The cgroup's count, which alone has the last of them, may be behind.
        let least = if way == "ignored" { 15_000 } else { 20_000 };
        assert!(!counted || (least..20_000 + FEW).contains(&usage.minor_faults.unwrap()), "{way}: {usage:?}");
        // What the probe sees of itself has our set-up in it.
        assert!(!counted || usage.minor_faults.unwrap() + FEW >= own, "{way}: {own} {usage:?}");
        assert!(usage.major_faults < Some(FEW), "{way}: {usage:?}");
    }
    let none = usage(Job::probe("true", &["0"]));
    assert!(none.minor_faults < Some(FEW), "{none:?}");
}

#[test]
fn context_switches_are_counted() {
    let answer = probe(&["exchange", "3000"]).run();
    let (usage, own) = (answer.outcome.usage, said(&answer));
    let (voluntary, involuntary) = (usage.voluntary_switches.unwrap(), usage.involuntary_switches.unwrap());
    // On two CPUs the other side may have answered before anybody had to wait.
    assert!(voluntary > 1000 && voluntary.abs_diff(own["voluntary"]) < 100, "{own:?} {usage:?}");
    assert!(involuntary.abs_diff(own["involuntary"]) < 200, "{own:?} {usage:?}");
    let few = Job::probe("true", &["0"]).run().outcome.usage.voluntary_switches.unwrap();
    assert!(few < 100, "{few}");
}

#[test]
fn every_process_and_thread_that_was_started_is_counted() {
    for (processes, threads) in [("0", "0"), ("0", "40"), ("300", "0"), ("500", "500")] {
        let number = |text: &str| text.parse::<u64>().unwrap();
        let usage = usage(probe(&["start", processes, threads]));
        assert!(is_total(&usage, 1 + number(processes) + number(threads)), "{usage:?}");
    }
    // Who ignores that its children end, and who is left when the command has ended.
    assert!(is_total(&usage(probe(&["ignored", "touch", "1"])), 2));
    assert!(is_total(&usage(probe(&["left", "touch", "1"])), 2));
    assert!(is_total(&usage(probe(&["daemon", "touch", "1"])), 3));
}

#[test]
fn what_the_limit_refused_was_never_started() {
    let answer = probe(&["refused", "50"]).limit("pids", 20).run();
    let text = answer.exited();
    let forks: u64 = text.split(' ').next().unwrap().parse().unwrap();
    assert!(is_total(&answer.outcome.usage, 1 + forks), "{}", answer.json);
}

#[test]
fn what_the_cgroup_refused_was_never_started() {
    if !has_cgroups() {
        return host_cannot("needs cgroups");
    }
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    let script = ": >ready; while [ ! -e go ]; do :; done; exec /probe/figures refused 50";
    let job = Job::sh(script).with_probe("figures").with("workspace", json!({"path": work}));
    let running = in_slots(job, &scratch.text("state"), 32..33);
    // RLIMIT_NPROC is as high, and refuses before a number is handed out. So the group's limit is made lower: 12 for the
    // command, which on v2 is in a group inside of another, where our own init counts too.
    running.until("the command is in its group", || scratch.path("work/ready").exists());
    let limits = limits_of_groups(&scratch.path("state"));
    let own = |limit: &&PathBuf| limits.len() == 1 || limit.ends_with("command/pids.max");
    limits.iter().filter(own).for_each(|limit| fs::write(limit, "12").unwrap());
    scratch.file("work/go", "");
    let answer = running.answer();
    assert_eq!(answer.exited().lines().next(), Some("11 forks"), "{}", answer.json);
    assert!(is_total(&answer.outcome.usage, 12), "{}", answer.json);
}

/// The files `pids.max` of the groups of whatever runs in the one slot of a state directory.
fn limits_of_groups(state: &Path) -> Vec<PathBuf> {
    let Some(slot) = fs::read_dir(state).ok().and_then(|mut slots| slots.next()?.ok()) else { return Vec::new() };
    let name = format!("pinfold-{}", slot.file_name().to_string_lossy());
    let arguments = ["/sys/fs/cgroup", "-path", &format!("*/{name}/*"), "-name", "pids.max"];
    let found = std::process::Command::new("find").args(arguments).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    found.lines().map(PathBuf::from).collect()
}

#[test]
fn a_job_that_is_killed_tells_its_figures_too() {
    let answer = Job::probe("process", &["spinners", "5"]).limit("wall_ms", 1500).run();
    let usage = &answer.is(Status::TimedOut).outcome.usage;
    assert!(is_total(usage, 6), "{usage:?}");
    assert!(cpu_ms(usage) > 100.0 && usage.involuntary_switches > Some(0), "{usage:?}");
    assert!(usage.overhead_cpu_ms > Some(0.0), "{usage:?}");
    assert!(usage.wall_ms >= Some(1500.0), "{usage:?}");
}

#[test]
fn the_most_processes_at_once_are_exact() {
    if !has_cgroups() {
        return host_cannot("needs cgroups");
    }
    let usage = usage(probe(&["hold", "30", "12"]));
    // Kernels before 6.1 don't count that.
    assert!(usage.peak_pids.is_none_or(|peak| peak == 43) && is_total(&usage, 43), "{usage:?}");
}

#[test]
fn memory_is_told_by_its_kinds() {
    if !has_cgroups() {
        return host_cannot("needs cgroups");
    }
    let near = |figure: Option<u64>, mib: u64| {
        let figure = figure.unwrap();
        // The kernel's sums are behind by up to 64 pages a CPU.
        let behind = 64 * PAGE * std::thread::available_parallelism().unwrap().get() as u64;
        (mib * MIB).saturating_sub(behind) <= figure && figure < mib * MIB + behind + 8 * MIB
    };
    // In a tmpfs when the command ends.
    let tmpfs = Job::probe("memory", &["file", "48", "/tmp/big"]).limit("tmp_bytes", "max");
    let memory = usage(tmpfs).memory.unwrap();
    assert!(near(memory.shmem_bytes, 48) && near(memory.file_bytes, 48) && near(memory.anon_bytes, 0), "{memory:?}");
    // In a process that is left when the command ends: 24 MiB.
    let left = usage(probe(&["left", "touch", "6144"]));
    let memory = left.memory.unwrap();
    assert!(near(memory.anon_bytes, 24) && near(memory.shmem_bytes, 0), "{memory:?}");
    assert!(left.peak_memory_bytes >= Some(24 * MIB), "{left:?}");
    // In a process that is about to be killed.
    let answer = probe(&["staying", "touch", "6144"]).limit("wall_ms", 4000).run();
    let memory = answer.is(Status::TimedOut).outcome.usage.memory.unwrap();
    assert!(near(memory.anon_bytes, 24) && near(memory.shmem_bytes, 0), "{memory:?}");
    assert!(memory.kernel_bytes.is_none_or(|bytes| (1..64 * MIB).contains(&bytes)), "{memory:?}");
    assert_eq!(memory.swap_bytes.unwrap_or(0), 0, "{memory:?}");
}

#[test]
fn peak_memory_is_what_was_held_at_once() {
    if !has_cgroups() {
        return host_cannot("needs cgroups");
    }
    // 80 MiB, by one process and by a child, which is gone at the end.
    for way in ["self", "reaped", "daemon", "ignored"] {
        let usage = usage(probe(&[way, "touch", "20480"]));
        assert!(usage.peak_memory_bytes.is_none_or(|peak| (80 * MIB..100 * MIB).contains(&peak)), "{way}: {usage:?}");
    }
    let answer = Job::probe("memory", &["child", "200"]).limit("memory_bytes", 64 * MIB).run();
    assert_eq!(answer.exited(), "child ended by signal 9\nheld\n");
    assert_eq!(answer.outcome.usage.oom_kills, Some(1));
}

#[test]
fn throttling_is_counted_in_periods_and_in_time() {
    if !has_cgroups() {
        return host_cannot("needs cgroups");
    }
    let free = usage(probe(&["self", "burn", "200"]));
    assert_eq!((free.throttled_periods, free.throttled_ms), (Some(0), Some(0.0)));
    // 10 ms a period: 200 ms take twenty of them, and all but the last few end in waiting.
    let held = usage(probe(&["self", "burn", "200"]).limit("cpus", 0.1));
    assert!((8..200).contains(&held.throttled_periods.unwrap()) && held.throttled_ms > Some(300.0), "{held:?}");
    assert!(held.wall_ms > Some(1000.0) && cpu_ms(&held) < 200.0 + start_ms(), "{held:?}");
}

#[test]
fn traffic_is_what_went_to_storage_and_came_from_it() {
    let scratch = Scratch::new();
    if is_in_memory(&scratch) {
        return host_cannot("needs a directory for temporary files that is on a disk");
    }
    let job = |operations: &[&str]| {
        let mut words = vec!["files"];
        words.extend_from_slice(operations);
        let answer = probe(&words).run();
        let text = answer.exited();
        let failed: Vec<_> = text.lines().filter(|line| !line.contains('=') && !line.ends_with(" ok")).collect();
        assert!(failed.is_empty(), "{failed:?}");
        (answer.outcome.usage.read_bytes.unwrap() / MIB, answer.outcome.usage.written_bytes.unwrap() / MIB)
    };
    let (read, written) = job(&["write:/workspace/a:10"]);
    assert!(read < 8 && (10..14).contains(&written), "{read} {written}");
    let (_, written) = job(&["direct:/workspace/a:10"]);
    assert!((10..14).contains(&written), "{written}");
    let (read, _) = job(&["write:/workspace/a:32", "drop:/workspace/a", "read:/workspace/a"]);
    assert!((32..48).contains(&read), "{read}");
    // From the page cache, and in memory, as often as one likes.
    let (read, _) = job(&["write:/workspace/a:32", "read:/workspace/a", "read:/workspace/a"]);
    assert!(read < 8, "{read}");
    let (read, written) = job(&["write:/tmp/a:32", "read:/tmp/a"]);
    assert!(read < 8 && written == 0, "{read} {written}");
}

fn is_in_memory(scratch: &Scratch) -> bool {
    let done = std::process::Command::new("stat").args(["-f", "-c", "%T", &scratch.text(".")]).output().unwrap();
    ["tmpfs", "ramfs"].contains(&String::from_utf8_lossy(&done.stdout).trim())
}

#[test]
fn traffic_of_who_was_killed_or_left_is_counted() {
    let scratch = Scratch::new();
    if is_in_memory(&scratch) {
        return host_cannot("needs a directory for temporary files that is on a disk");
    }
    for script in [
        "(head -c 10M /dev/zero > a; sync a; : > done; exec sleep 60) & while [ ! -e done ]; do :; done",
        "(head -c 10M /dev/zero > a; sync a; kill -9 $(exec sh -c 'echo $PPID')); true",
        "setsid sh -c '(head -c 10M /dev/zero > a; sync a; : > done) &' & while [ ! -e done ]; do :; done",
    ] {
        let usage = usage(Job::sh(script));
        assert!(usage.written_bytes.is_some_and(|bytes| (10 * MIB..20 * MIB).contains(&bytes)), "{script}: {usage:?}");
    }
}

#[test]
fn the_phases_add_up_to_the_runner_s_life() {
    for job in [Job::new(&["sleep", "0.3"]), Job::probe("true", &["0"]), Job::sh("sleep 60 & sleep 0.1")] {
        let answer = job.run();
        let usage = answer.outcome.usage;
        let phases = [usage.setup_ms, usage.wall_ms, usage.teardown_ms].map(Option::unwrap);
        let took = answer.took.as_secs_f64() * 1e3;
        let sum: f64 = phases.iter().sum();
        assert!(phases.iter().all(|phase| *phase > 0.0) && sum <= took && sum > took - 3000.0, "{took} {usage:?}");
    }
}

#[test]
fn without_a_cgroup_exactly_what_only_a_cgroup_tells_is_null() {
    let answer = Job::new(&["true"]).run();
    answer.exited();
    let usage = answer.json["usage"].as_object().unwrap();
    let null: Vec<_> = usage.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.as_str()).collect();
    if has_cgroups() {
        // Kernels before 5.19 and 6.1 don't tell these.
        assert!(null.iter().all(|name| ["peak_memory_bytes", "peak_pids"].contains(name)), "{null:?}");
    } else {
        assert_eq!(null, ["memory", "oom_kills", "peak_memory_bytes", "peak_pids"]);
    }
}

/// A job that runs in the given slots, which other jobs of the test share.
fn in_slots(job: Job, state: &str, slots: Range<u32>) -> Running {
    let first = 0x7200_0000 + (std::process::id() % 3800) * 64;
    let uids = format!("{}-{}", first + slots.start, first + slots.end - 1);
    job.spawn_as(|command| {
        command.env("PINFOLD_STATE_DIR", state).env("PINFOLD_UIDS", uids);
    })
}

fn assert_small(answer: &Answer) {
    answer.exited();
    let usage = answer.outcome.usage;
    assert!(usage.peak_memory_bytes.is_none_or(|peak| peak < 16 * MIB), "{usage:?}");
    let file = usage.memory.and_then(|memory| memory.file_bytes);
    assert!(file.is_none_or(|bytes| bytes < 16 * MIB), "{usage:?}");
    assert!(usage.peak_pids.is_none_or(|peak| peak == 1) && is_total(&usage, 1), "{usage:?}");
    assert!(usage.oom_kills.is_none_or(|kills| kills == 0) && usage.throttled_periods == Some(0), "{usage:?}");
    assert!(cpu_ms(&usage) < start_ms() && usage.written_bytes < Some(MIB), "{usage:?}");
    assert!(usage.minor_faults < Some(FEW) && usage.voluntary_switches < Some(100), "{usage:?}");
}

fn hungry() -> Job {
    // With a cgroup the child alone is shot; without one the excess ends the whole job, so there is none.
    let child = if has_cgroups() { 300 } else { 40 };
    let fill =
        "head -c 20M /dev/zero > /tmp/big; head -c 20M /dev/zero > big; for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done";
    let script = format!("{fill}; /probe/memory child {child}; /probe/figures self burn 300; wait");
    let limits = json!({"memory_bytes": 128 * MIB, "wall_ms": 60_000});
    Job::sh(&script).with_probe("memory").with_probe("figures").with("limits", limits)
}

#[test]
fn no_job_has_another_job_s_figures() {
    let scratch = Scratch::new();
    let state = scratch.text("state");
    let small = || Job::probe("true", &["0"]);
    for _ in 0..2 {
        // One slot: each job takes the place of the one before.
        let answer = in_slots(hungry(), &state, 0..1).answer();
        answer.exited();
        assert!(cpu_ms(&answer.outcome.usage) > 300.0, "{}", answer.json);
        // Where one who was shot takes long to die, another may be.
        let shot = answer.outcome.usage.oom_kills;
        assert!(shot.is_some() == has_cgroups() && shot.is_none_or(|kills| kills >= 1), "{}", answer.json);
        (0..10).for_each(|_| assert_small(&in_slots(small(), &state, 0..1).answer()));
    }
    // Beside a hungry one, and beside each other.
    let others = [in_slots(hungry(), &state, 0..8), in_slots(hungry(), &state, 0..8)];
    for _ in 0..5 {
        let both = [in_slots(small(), &state, 0..8), in_slots(small(), &state, 0..8)];
        both.into_iter().for_each(|running| assert_small(&running.answer()));
    }
    for running in others {
        let usage = running.answer().outcome.usage;
        assert!(is_total(&usage, 14), "{usage:?}");
    }
}

#[test]
fn what_a_tool_inside_measures_is_what_the_result_says() {
    if !crate::support::has_program("python3") {
        return;
    }
    let script = "import os, resource, subprocess\n\
                  subprocess.run(['/probe/figures', 'reaped', 'burn', '200'], stdout=subprocess.DEVNULL)\n\
                  subprocess.run(['/probe/figures', 'self', 'touch', '9000'], stdout=subprocess.DEVNULL)\n\
                  a, b = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)\n\
                  print(*[int((x + y) * k) for k, x, y in ((1e3, a.ru_utime + a.ru_stime, b.ru_utime + b.ru_stime), \
                  (1, a.ru_minflt, b.ru_minflt), (1, a.ru_nvcsw, b.ru_nvcsw))])";
    let answer = Job::new(&["python3", "-c", script]).with_probe("figures").run();
    let numbers: Vec<u64> = answer.exited().split_whitespace().map(|word| word.parse().unwrap()).collect();
    let usage = answer.outcome.usage;
    let [cpu, faults, switches] = numbers[..] else { panic!("{numbers:?}") };
    // What it sees of itself has our set-up in it, and what comes after its look is missing.
    let (low, high) = (cpu as f64 - start_ms() - usage.overhead_cpu_ms.unwrap(), cpu as f64 + start_ms());
    assert!((low..high).contains(&cpu_ms(&usage)), "{cpu} {usage:?}");
    assert!(usage.minor_faults.unwrap().abs_diff(faults) < FEW, "{faults} {usage:?}");
    assert!(usage.voluntary_switches.unwrap().abs_diff(switches) < 100, "{switches} {usage:?}");
}
