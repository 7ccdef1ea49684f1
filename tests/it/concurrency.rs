//! Many at once, and neighbours: each gets its own right result, and one that exhausts its limits harms nobody.

use crate::sandbox::{Job, Scratch, kill};
use crate::support::{has_cgroups, is_root, runs};
use pinfold_runner::Status;
use std::collections::BTreeSet;
use std::fs;

#[test]
fn a_hundred_jobs_at_once_give_a_hundred_right_results() {
    // One state directory for all, as in real life.
    let scratch = Scratch::new();
    let state = scratch.text("state");
    let running: Vec<_> = (0..runs(100))
        .map(|index| {
            let job = Job::sh(&format!("echo {index} > mine; cat mine; exit {}", index % 7));
            job.limit("wall_ms", 120_000).spawn_as(|command| {
                command.env("PINFOLD_STATE_DIR", &state).env("PINFOLD_UIDS", "1879048192-1879049000");
            })
        })
        .collect();
    for (index, running) in running.into_iter().enumerate() {
        let answer = running.answer();
        assert_eq!(answer.is(Status::Exited).outcome.exit_code, Some(i32::try_from(index % 7).unwrap()));
        assert_eq!(answer.stdout(), format!("{index}\n"));
    }
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn no_two_live_sandboxes_share_a_uid_as_root() {
    if !is_root() {
        return crate::support::host_cannot("an ordinary user's sandboxes all run as himself");
    }
    let scratch = Scratch::new();
    let state = scratch.text("state");
    let running: Vec<_> = (0..8)
        .map(|_| {
            Job::new(&["sleep", "100"]).spawn_as(|command| {
                // Just enough numbers for all of them: everyone finds the one that is left.
                command.env("PINFOLD_STATE_DIR", &state).env("PINFOLD_UIDS", "1879050000-1879050007");
            })
        })
        .collect();
    let mut uids = BTreeSet::new();
    for one in &running {
        let init = one.init();
        one.until("it has become the sandbox's user", || {
            let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap_or_default();
            let uid =
                status.lines().find_map(|line| line.strip_prefix("Uid:\t")?.split('\t').next()?.parse::<u32>().ok());
            uid.is_some_and(|uid| uid >= 1_879_050_000) && uids.insert(uid.unwrap())
        });
    }
    assert_eq!(uids.len(), 8);
    // One more finds none, and says so.
    let failure = Job::new(&["true"]).spawn_as(|command| {
        command.env("PINFOLD_STATE_DIR", &state).env("PINFOLD_UIDS", "1879050000-1879050007");
    });
    let answer = failure.answer();
    let error = answer.is(Status::Failed).outcome.error.clone().unwrap();
    assert!(error.code == "state" && error.message.contains("EUSERS"), "{error:?}");
    for one in running {
        kill(one.pid(), libc::SIGTERM);
        one.answer().is(Status::Cancelled);
    }
}

#[test]
fn a_neighbour_that_exhausts_its_limits_harms_nobody() {
    if !has_cgroups() {
        return crate::support::host_cannot("needs cgroups");
    }
    let bad: Vec<_> = [("process", vec!["bomb"]), ("memory", vec!["child", "400"]), ("process", vec!["spinners", "8"])]
        .into_iter()
        .map(|(name, arguments)| {
            let job = Job::probe(name, &arguments).limit("wall_ms", 3000).limit("memory_bytes", 64 << 20);
            job.limit("cpus", 0.5).limit("pids", 64).spawn()
        })
        .collect();
    for _ in 0..runs(10) {
        assert_eq!(Job::sh("echo fine").limit("wall_ms", 60_000).run().exited(), "fine\n");
    }
    for one in bad {
        one.answer();
    }
}

#[test]
fn no_descriptor_slips_in_under_load() {
    // Each runner inherits descriptors of its own and starts beside others; ls has one for the directory it reads.
    let running: Vec<_> = (0..runs(24))
        .map(|_| {
            let job = Job::sh("ls /proc/self/fd | tr '\\n' ' '").limit("wall_ms", 90_000);
            job.started_by(&["sh", "-c", r#"exec 5</ 6</etc/passwd; exec "$0" "$@""#], &[]).spawn()
        })
        .collect();
    for one in running {
        assert_eq!(one.answer().exited(), "0 1 2 3 ");
    }
}

#[test]
fn system_v_and_posix_ipc_are_each_sandbox_s_own() {
    if !crate::support::has_program("ipcmk") {
        return;
    }
    let scratch = Scratch::new();
    let shared = scratch.dir("shared");
    let hold = "ipcmk -M 4096 && ipcmk -Q && ipcmk -S 1 && touch /shared/ready; until [ -e /shared/done ]; do sleep 0.02; done";
    let one = Job::sh(hold).mount(&shared, "/shared", true).spawn();
    one.until("the objects are made", || scratch.path("shared/ready").exists());
    let seen = Job::sh("cat /proc/sysvipc/shm /proc/sysvipc/msg /proc/sysvipc/sem | grep -vc key").run();
    assert_eq!(seen.stdout(), "0\n");
    fs::write(scratch.path("shared/done"), "").unwrap();
    one.answer().exited();
}

#[test]
fn a_fork_chain_is_gone_in_fifty_of_fifty_runs() {
    for _ in 0..runs(50) {
        // That nothing is left is looked at after each.
        Job::probe("process", &["chain"]).limit("wall_ms", 60).limit("pids", 40).run();
    }
}
