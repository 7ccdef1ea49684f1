//! The limits that share out CPUs, swap, stacks and disks, each attacked by a program that means to pass it. What this
//! host's cgroups can't hold must be refused when it is asked for, and is skipped here by name.

use crate::sandbox::{Job, Running, Scratch, children, kill, unconfined};
use crate::support::{has_program, host_cannot, is_root};
use pinfold_runner::{CgroupVersion, Mechanism, Status};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// True when these limits are held here. Where they aren't, a job that asks for them fails in words that are checked, and
/// the test is skipped, loudly.
fn held(limits: &Value) -> bool {
    let answer = Job::new(&["true"]).with("limits", limits.clone()).run();
    let Some(error) = answer.outcome.error else { return true };
    assert!(error.code == "cgroup" && error.hint.is_some(), "{error:?}");
    assert!(limits.as_object().unwrap().keys().any(|name| error.message.contains(name.as_str())), "{error:?}");
    host_cannot(&error.message);
    false
}

/// The CPUs that we may run on.
fn our_cpus() -> Vec<u64> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().parse::<pinfold_runner::Cpuset>().unwrap().cpus().collect()
}

/// The host's pid of the command.
fn command(running: &Running) -> i32 {
    let init = running.init();
    let mut found = None;
    running.until("the command is executed", || {
        // Before exec it is the runner's program.
        found = children(init).first().copied();
        let name = found.map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default());
        name.is_some_and(|name| !name.is_empty() && !name.starts_with("pinfold"))
    });
    found.unwrap()
}

/// What a control file of the command's group says, read on the host: v1's file of that controller, or v2's.
fn control(pid: i32, controller: &str, v1: &str, v2: &str) -> String {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = |wanted: &str| {
        table.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            parts.next()?.split(',').any(|name| name == wanted).then(|| parts.next()).flatten()
        })
    };
    let file = match own(controller) {
        Some(path) => format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        None => format!("/sys/fs/cgroup{}/{v2}", own("").unwrap()),
    };
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
}

/// Ends a job that would go on for ever.
fn cancel(running: Running) {
    kill(running.pid(), libc::SIGTERM);
    running.answer().is(Status::Cancelled);
}

/// Tries every way out of a set of CPUs: to one CPU after the other, and to all of them.
const WAYS_OUT: &str = "
import os, sys
wanted = [{cpu} for cpu in map(int, sys.argv[1:])] + [set(map(int, sys.argv[1:]))]
for cpus in wanted:
    try:
        os.sched_setaffinity(0, cpus)
        print(*sorted(os.sched_getaffinity(0)))
    except OSError as error:
        print('errno', error.errno)
print(*sorted(os.sched_getaffinity(0)))
print([line.split()[1] for line in open('/proc/self/status') if line.startswith('Cpus_allowed_list:')][0])
";

#[test]
fn no_process_leaves_its_set_of_cpus() {
    let cpus = our_cpus();
    let (Some(first), Some(last)) = (cpus.first(), cpus.last()) else { return };
    if first == last {
        return host_cannot("needs two CPUs");
    }
    if !held(&json!({ "cpuset": last.to_string() })) || !has_program("python3") {
        return;
    }
    let (one, other) = (first.to_string(), last.to_string());
    let job = || Job::new(&["python3", "-c", WAYS_OUT, &one, &other]);
    let answer = job().limit("cpuset", other.as_str()).run();
    assert_eq!(answer.outcome.isolation.cpuset, Mechanism::Cgroup);
    assert_eq!(answer.lines(), ["errno 22", &other, &other, &other, &other], "EINVAL, and no way to more than it has");
    // The same without a set: each of them is to be had.
    let free = job().run();
    assert_eq!(free.outcome.isolation.cpuset, Mechanism::None);
    assert_eq!(free.lines()[..4], [one.clone(), other.clone(), format!("{one} {other}"), format!("{one} {other}")]);
}

#[test]
fn spinners_run_on_their_set_of_cpus_and_nowhere_else() {
    let cpu = our_cpus()[0].to_string();
    if !held(&json!({ "cpuset": cpu })) {
        return;
    }
    let running =
        Job::probe("process", &["spinners", "4"]).limit("cpuset", cpu.as_str()).limit("wall_ms", 60_000).spawn();
    let spinners = descendants(command(&running), &running);
    let start = ticks(&spinners);
    // So long, by their own count, that the scheduler would have moved some.
    running.until("they have run for a second", || {
        for pid in &spinners {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            // Field 39 of proc_pid_stat(5): the CPU that it last ran on.
            let ran_on = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(36);
            assert_eq!(ran_on, Some(cpu.as_str()), "{stat}");
        }
        ticks(&spinners) - start > 100
    });
    cancel(running);
}

/// The spinners that a command has started, once there are two.
fn descendants(pid: i32, running: &Running) -> Vec<i32> {
    let mut found = Vec::new();
    running.until("the spinners are started", || {
        found = vec![pid];
        let mut index = 0;
        while index < found.len() {
            found.extend(children(found[index]));
            index += 1;
        }
        found.len() >= 3
    });
    found
}

/// CPU time that these processes have used, in hundredths of a second.
fn ticks(pids: &[i32]) -> u64 {
    let used = |pid: &i32| -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    pids.iter().filter_map(used).sum()
}

#[test]
fn weights_divide_a_cpu_that_both_want() {
    let cpu = our_cpus()[0].to_string();
    if !held(&json!({ "cpuset": cpu, "cpu_weight": 100 })) {
        return;
    }
    // What the second used while the first used a second and a half, by the kernel's count.
    let contest = |weights: [u64; 2]| {
        let running = weights.map(|weight| {
            let job = Job::probe("process", &["spin", "600000"]).limit("cpuset", cpu.as_str());
            job.limit("cpu_weight", weight).limit("wall_ms", 600_000).spawn()
        });
        let pids = [command(&running[0]), command(&running[1])];
        running[1].until("both run", || pids.iter().all(|pid| ticks(&[*pid]) > 0));
        let start = pids.map(|pid| ticks(&[pid]));
        running[0].until("the first has had its time", || ticks(&[pids[0]]) - start[0] >= 150);
        let used = pids.map(|pid| ticks(&[pid]));
        running.into_iter().for_each(cancel);
        (used[0] - start[0]) as f64 / ((used[1] - start[1]) as f64).max(1.0)
    };
    let equal = contest([100, 100]);
    assert!((0.5..2.0).contains(&equal), "{equal}");
    let unequal = contest([1000, 100]);
    assert!((4.0..25.0).contains(&unequal), "{unequal}");
}

#[test]
fn swap_is_limited_beside_the_memory() {
    for swap in [0, 8 * MIB] {
        if swap > 0 && !held(&json!({ "swap_bytes": swap })) {
            return;
        }
        let job = Job::new(&["sleep", "600"]).limit("memory_bytes", 64 * MIB).limit("swap_bytes", swap);
        let running = job.spawn();
        let pid = command(&running);
        let limits =
            || control(pid, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max").parse::<u64>().unwrap();
        let is_v1 = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().contains(":memory:");
        let isolation = || Job::new(&["true"]).limit("swap_bytes", swap).run().outcome.isolation.swap;
        match isolation() {
            Mechanism::Cgroup => assert_eq!(limits(), if is_v1 { 64 * MIB + swap } else { swap }),
            // The default, which is no error where nobody holds it.
            other => assert_eq!((other, swap), (Mechanism::None, 0)),
        }
        cancel(running);
    }
}

#[test]
fn what_is_swapped_out_is_limited() {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() < 2 {
        return host_cannot("this host has no swap space");
    }
    if !held(&json!({ "swap_bytes": MIB })) {
        return;
    }
    let hog = |mib: &str, swap: Value| {
        let job = Job::probe("memory", &["heap", mib]).limit("memory_bytes", 64 * MIB).limit("swap_bytes", swap);
        job.limit("wall_ms", 600_000).run()
    };
    // The same memory, with room in swap for what is beyond and without.
    assert_eq!(hog("96", json!(64 * MIB)).exited(), "held\n");
    hog("96", json!(0)).is(Status::OutOfMemory);
    hog("96", json!(8 * MIB)).is(Status::OutOfMemory);
    hog("160", json!(64 * MIB)).is(Status::OutOfMemory);
}

#[test]
fn recursion_ends_at_the_end_of_the_stack() {
    let recurse = |kib: &str, limit: Value| Job::probe("memory", &["stack", kib]).limit("stack_bytes", limit).run();
    for (limit, within, beyond) in [(256 << 10, "64", "512"), (8 * MIB, "7000", "9000"), (64 * MIB, "60000", "70000")] {
        assert_eq!(recurse(within, json!(limit)).exited(), "held\n", "{limit}");
        let ended = recurse(beyond, json!(limit));
        assert_eq!(ended.is(Status::Signaled).outcome.signal.as_deref(), Some("SIGSEGV"), "{limit}");
    }
    let by_default = Job::probe("memory", &["stack", "9000"]).run();
    assert_eq!(by_default.is(Status::Signaled).outcome.signal.as_deref(), Some("SIGSEGV"));
    assert_eq!(unconfined("memory", &["stack", "7000"]), ["held"]);
    // The hard limit is the same, so that nobody lifts it again.
    let script = "ulimit -Ss; ulimit -Hs; (ulimit -Hs 2048 2>/dev/null && echo more); echo end";
    assert_eq!(Job::sh(script).limit("stack_bytes", MIB).run().exited(), "1024\n1024\nend\n");
    assert_eq!(Job::new(&["echo", "least"]).limit("stack_bytes", 64 << 10).run().exited(), "least\n");
}

/// Whether limits on disks can be tried here.
fn has_disk(limit: &str) -> bool {
    let kind = std::process::Command::new("stat").args(["-f", "-c", "%T"]).arg(std::env::temp_dir()).output().unwrap();
    if kind.stdout == b"tmpfs\n" {
        host_cannot("needs a temporary directory on a disk");
        return false;
    }
    held(&json!({ limit: MIB }))
}

#[test]
fn what_passes_a_disk_s_rate_waits() {
    let write = "dd if=/dev/zero of=file bs=1M count=3 oflag=direct";
    let read = "dd if=file of=/dev/null bs=1M iflag=direct";
    let small = "dd if=/dev/zero of=file bs=4k count=40 oflag=direct";
    let small_reads = "dd if=file of=/dev/null bs=4k count=40 iflag=direct";
    for (limit, rate, script) in [
        ("io_write_bps", 2 * MIB, write.to_owned()),
        ("io_read_bps", 2 * MIB, format!("{write} && {read}")),
        ("io_write_iops", 20, small.to_owned()),
        ("io_read_iops", 20, format!("{write} && {small_reads}")),
    ] {
        if !has_disk(limit) {
            return;
        }
        let answer = Job::sh(&script).limit(limit, rate).limit("wall_ms", 100_000).run();
        answer.exited();
        let isolation = &answer.outcome.isolation;
        let is_direct = isolation.cgroup == Some(CgroupVersion::V1) && limit.starts_with("io_write");
        assert_eq!(isolation.io, if is_direct { Mechanism::Direct } else { Mechanism::Cgroup }, "{limit}");
        // A second and a half for the bytes, two for the requests; the disk's own time only adds to that.
        assert!(answer.outcome.usage.wall_ms.unwrap() > 1000.0, "{limit}: {}", answer.json);
    }
    assert_eq!(Job::new(&["true"]).run().outcome.isolation.io, Mechanism::None);
}

/// A minute's worth of writing at the rate of [`WAITING_RATE`], asked for at once: SIGKILL waits until it is done.
const WAITING: &str = "dd if=/dev/zero of=file bs=60M count=1 oflag=direct";
const WAITING_RATE: u64 = MIB;

#[test]
fn nobody_outlives_his_job_by_waiting_for_a_disk() {
    if !has_disk("io_write_bps") {
        return;
    }
    let job = |script: &str| Job::sh(script).limit("io_write_bps", WAITING_RATE);
    let begun = Instant::now();
    job(&format!("exec {WAITING}")).limit("wall_ms", 1500).run().is(Status::TimedOut);
    job(&format!("{WAITING} & until grep -q ' D ' /proc/$!/stat; do sleep 0.1; done")).run().exited();
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn who_waits_for_a_disk_is_swept_when_the_runner_is_shot() {
    if !has_disk("io_write_bps") {
        return;
    }
    let running = Job::sh(&format!("exec {WAITING}")).limit("io_write_bps", WAITING_RATE).spawn();
    let pid = command(&running);
    running.until("it waits for the disk", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(dd) D ")
    });
    kill(running.pid(), libc::SIGKILL);
    running.sweep();
}

#[test]
fn the_edges_of_every_share_are_served() {
    for limits in [
        json!({"cpu_weight": 1}),
        json!({"cpu_weight": 10_000}),
        json!({"swap_bytes": 1u64 << 50, "memory_bytes": 1u64 << 50}),
        json!({"io_read_bps": 1u64 << 50, "io_write_bps": 1u64 << 50, "io_read_iops": (1u64 << 31) - 1}),
        json!({"io_write_bps": 4096, "io_write_iops": 2}),
    ] {
        if held(&limits) {
            assert_eq!(Job::new(&["echo", "ran"]).with("limits", limits).run().exited(), "ran\n");
        }
    }
    // One CPU that is there and one that can't be: refused as a whole, never cut down.
    let failure = Job::new(&["true"]).limit("cpuset", format!("{},8191", our_cpus()[0])).failure();
    assert!(failure.code == "cgroup" && failure.message.contains("cpuset") && failure.hint.is_some(), "{failure:?}");
}

#[test]
fn a_file_system_in_memory_has_no_disk_and_needs_none() {
    if !held(&json!({"io_read_iops": 1000})) {
        return;
    }
    let scratch = Scratch::new();
    let mounted = |directory: &str| fs::metadata(directory).is_ok();
    let job = Job::new(&["echo", "ran"]).limit("io_read_iops", 1000).with("workspace", json!("tmpfs"));
    let job = job.mount(&scratch.dir("on-disk"), "/a", false);
    let job = if mounted("/dev/shm") { job.mount("/dev/shm", "/b", false) } else { job };
    assert_eq!(job.run().exited(), "ran\n");
}

#[test]
fn the_disks_under_an_overlay_are_found_or_its_limits_refused() {
    if !is_root() || !has_disk("io_read_iops") {
        return;
    }
    let scratch = Scratch::new();
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| scratch.dir(name));
    scratch.file("lower/file", vec![1u8; 80 << 10]);
    let job = |then: &str| {
        let mount = format!("mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={work} none {merged}");
        let script = format!("{mount} && {then} && exec \"$@\"");
        let job = Job::new(&["dd", "if=/layers/file", "of=/dev/null", "bs=4k", "iflag=direct"]);
        let job = job.mount(&merged, "/layers", false).limit("io_read_iops", 10).limit("wall_ms", 60_000);
        job.started_by(&["unshare", "--mount", "sh", "-c", &script, "sh"], &[])
    };
    let answer = job("true").run();
    answer.exited();
    assert!(answer.outcome.usage.wall_ms.unwrap() > 1000.0, "{}", answer.json);
    // Out of sight, as in a container, whose layers are named by the host's paths.
    let failure = job(&format!("mv {lower} {lower}-elsewhere")).failure();
    assert!(failure.code == "cgroup" && failure.message.contains(&merged) && failure.hint.is_some(), "{failure:?}");
}

/// A job on a host whose controller `missing` is out of sight.
fn without(missing: &str, job: Job) -> Job {
    let script = format!("mount -t tmpfs none /sys/fs/cgroup/{missing} && exec \"$@\"");
    job.started_by(&["unshare", "--mount", "sh", "-c", &script, "sh"], &[])
}

#[test]
fn one_missing_controller_is_made_up_for_and_the_others_hold() {
    let is_v1 = fs::metadata("/sys/fs/cgroup/memory/tasks").is_ok();
    if !is_root() || !is_v1 || !crate::support::has_cgroups() {
        return host_cannot("needs root and controllers that can be hidden one by one: cgroup v1");
    }
    let script = "ulimit -d; ulimit -t";
    let job = |missing: &str| {
        let job = Job::sh(script).limit("memory_bytes", 64 * MIB).limit("cpu_ms", 5000);
        let answer = without(missing, job).run();
        let isolation = answer.outcome.isolation.clone();
        (answer.exited(), [isolation.memory, isolation.pids, isolation.cpu].map(|it| it == Mechanism::Cgroup))
    };
    assert_eq!(job("cpuset"), ("unlimited\nunlimited\n".to_owned(), [true, true, true]));
    assert_eq!(job("memory"), ("65536\nunlimited\n".to_owned(), [false, true, true]));
    assert_eq!(job("pids"), ("unlimited\nunlimited\n".to_owned(), [true, false, true]));
    // A second late: the limit itself is told by the sum, which knows the cause.
    assert_eq!(job("cpuacct"), ("unlimited\n6\n".to_owned(), [true, true, false]));
    let spin = Job::probe("process", &["spin", "60000"]).limit("cpu_ms", 300).limit("wall_ms", 60_000);
    without("cpuacct", spin).run().is(Status::CpuExceeded);
    // What nothing can stand in for is refused.
    for (controller, limit, value) in [
        ("cpu", "cpus", json!(1)),
        ("cpu", "cpu_weight", json!(50)),
        ("cpuset", "cpuset", json!("0")),
        ("blkio", "io_read_bps", json!(MIB)),
        ("blkio", "io_write_iops", json!(5)),
        ("memory", "swap_bytes", json!(MIB)),
    ] {
        let failure = without(controller, Job::new(&["true"]).limit(limit, value)).failure();
        let is_named = failure.message.starts_with(&format!("`{limit}` can't be held here"));
        assert!(failure.code == "cgroup" && is_named && failure.hint.is_some(), "{failure:?}");
    }
}
