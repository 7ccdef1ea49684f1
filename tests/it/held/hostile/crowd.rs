//! Floods and very many commands: nothing that outlives a command grows.

use crate::held::{Home, wait};
use crate::sandbox::{children, eventually};
use crate::support::{is_root, is_slow, probe, runs};
use pinfold::held::{RunOptions, Shell, TerminalOptions, command};
use std::fs;
use std::io::Read;
use std::path::Path;

/// More than any of our processes needs, in KiB, and far less than what is sent through them.
const BOUNDED: u64 = 64 << 10;

fn figure(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn peak(pid: i32) -> u64 {
    figure(pid, "VmHWM:")
}

#[test]
fn a_flood_costs_keeper_runner_and_client_a_bounded_buffer() {
    let home = Home::new();
    let mount = format!("{}:/probe/output", probe("output").display());
    home.start("box", &["--ro", &mount]);
    let (keeper, runner) = home.processes("box");
    let bytes = runs(200_000_000);
    let flood = ["/probe/output", "stdout", &bytes.to_string()];
    // Straight through, to somebody who reads.
    let mut child = home.pinfold(&[&["exec", "box", "--"], &flood[..]].concat()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let (mut stdout, mut read, mut most) = (child.stdout.take().unwrap(), 0, 0);
    let mut chunk = vec![0; 1 << 20];
    while let Ok(length @ 1..) = stdout.read(&mut chunk) {
        (read, most) = (read + length, most.max(peak(pid)));
    }
    assert_eq!((read, child.wait().unwrap().code()), (bytes, Some(0)));
    assert!((1..BOUNDED).contains(&most), "{most} KiB");
    // Kept up to a cap.
    let told = home.json(&[&["exec", "--json", "--output", "1000", "box", "--"], &flood[..]].concat());
    assert_eq!((told["stdout_bytes"].as_u64(), told["stdout_truncated"].as_bool()), (Some(bytes as u64), Some(true)));
    // Into the log, and through a terminal, which the keeper reads itself.
    let less = (bytes / 50).to_string();
    home.ok(&["exec", "-d", "box", "--", "/probe/output", "stdout", &less]);
    home.ok(&["exec", "-d", "box", "--", "/probe/output", "stdout", &less, "a\n"]);
    wait(async {
        let held = home.sandboxes().get("box").unwrap();
        let terminal = held.terminal(TerminalOptions::named("main").shell(Shell::Sh)).await.unwrap();
        let options = || RunOptions { output_bytes: 1000, ..RunOptions::default() };
        for text in [format!("/probe/output stdout {less}"), format!("printf '\\033]0;'; /probe/output stdout {less}")]
        {
            let ran = terminal.run_command(text, options()).await.unwrap();
            assert!(ran.truncated && ran.exit_code == Some(0), "{ran:?}");
        }
    });
    eventually("all is written down", || home.json(&["stats", "--json", "box"])["running"] == 0);
    for pid in [keeper, runner] {
        assert!((1..BOUNDED).contains(&peak(pid)), "{} KiB", peak(pid));
    }
}

/// What there is of a sandbox on the host: descriptors of its three processes, cgroups, and files.
fn there(home: &Home, (keeper, runner, init): (i32, i32, i32)) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    // Nobody but root may look at init.
    let pids = [keeper, runner, init];
    for pid in &pids[..if is_root() { 3 } else { 2 }] {
        let count = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        found.push((format!("descriptors of {}", fs::read_to_string(format!("/proc/{pid}/comm")).unwrap()), count));
        found.push((format!("threads of {pid}"), usize::try_from(figure(*pid, "Threads:")).unwrap()));
    }
    found.push(("processes".to_owned(), children(init).len() + children(runner).len()));
    let groups = |line: &str| {
        let (_, path) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')).unwrap();
        let name = path.split('/').find(|name| name.starts_with("pinfold-")).map(str::to_owned);
        name.map_or(0, |name| count_below(Path::new("/sys/fs/cgroup"), &name))
    };
    let cgroup = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
    found.push(("groups".to_owned(), cgroup.lines().map(groups).max().unwrap_or(0)));
    let files = [home.runtime(), home.runtime().join("logs"), home.scratch.path("state")];
    found.extend(files.iter().map(|dir| (dir.display().to_string(), fs::read_dir(dir).map_or(0, Iterator::count))));
    found
}

/// How many directories there are whose path has this name in it.
fn count_below(dir: &Path, name: &str) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let directories =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
    let count =
        |path: std::path::PathBuf| usize::from(path.to_string_lossy().contains(name)) + count_below(&path, name);
    directories.map(count).sum()
}

#[test]
fn thousands_of_commands_leave_nothing() {
    let home = Home::new();
    home.start("box", &[]);
    let (keeper, runner) = home.processes("box");
    let init = children(runner)[0];
    let held = home.sandboxes().get("box").unwrap();
    let work = async |count: usize| {
        for number in 0..count {
            // Such as end, such as can't be, such as are killed, and such as nobody waits for.
            let job = |words: &[&str]| command(words.iter().map(|word| (*word).to_owned())).build().unwrap();
            match number % 8 {
                0 => assert_ne!(held.exec(job(&["/no/such/program"])).await.unwrap().exit_code, Some(0)),
                1 => drop(held.spawn(job(&["sleep", "1000"]), pinfold::Stdio::live()).await.unwrap()),
                2 => drop(held.detach(job(&["true"])).await.unwrap()),
                _ => assert_eq!(held.exec(job(&["true"])).await.unwrap().exit_code, Some(0)),
            }
        }
    };
    let quiet = || {
        eventually("all of them are over", || home.json(&["stats", "--json", "box"])["running"] == 0);
        (
            there(&home, (keeper, runner, init)),
            figure(keeper, "VmRSS:") + figure(runner, "VmRSS:") + figure(init, "VmRSS:"),
        )
    };
    let count = if is_slow() { 100 } else { 2000 };
    let before = wait(async {
        work(count / 10).await;
        quiet()
    });
    wait(work(count));
    let mut after = quiet();
    // A group goes when the kernel has done with its last process, and the runner looks again.
    eventually("nothing more is there", || {
        home.says("box", "true");
        after = quiet();
        before.0.iter().zip(&after.0).all(|(before, after)| after.1 <= before.1)
    });
    assert!(after.1 < before.1 + (8 << 10), "{} KiB, then {} KiB", before.1, after.1);
}
