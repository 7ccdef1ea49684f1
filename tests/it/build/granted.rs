//! What a build is granted: time over all of it, so much of an artifact, and to each phase a network and caches of its own.

use super::{project, script};
use crate::support;
use crate::workspaces::Home;
use pinfold::build::{Build, Builds, Input, PlanBounds, Policy, Submission, Worker, WorkerSettings};
use pinfold::network::{Answer, Resolver};
use pinfold::{AllowList, Network, Pinfold};
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One name, which is this machine's.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a, io::Result<Vec<IpAddr>>> {
        let is_known = name == "registry.example";
        Box::pin(
            async move { is_known.then(|| vec![Ipv4Addr::LOCALHOST.into()]).ok_or(io::ErrorKind::NotFound.into()) },
        )
    }
}

/// Builds a project of this file: what became of it, and its log.
fn built(home: &Home, file: &str, policy: &Policy) -> (Build, Vec<String>) {
    let directory = project(home, "p", file);
    let builds = Builds::at(home.state()).unwrap();
    let pinfold = Pinfold::builder().runner(support::runner()).resolver(Names).build().unwrap();
    let build = builds.submit("a", "p", Submission::new(Input::Directory(directory.clone()), policy)).unwrap();
    let worker = Worker::new(builds.clone(), pinfold, WorkerSettings::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(worker.run_until_idle()).unwrap();
    fs::remove_dir_all(directory).unwrap();
    let rows = builds.rows("a", &build.id, 0, 1000).unwrap();
    (builds.get("a", &build.id).unwrap(), rows.into_iter().map(|row| row.text).collect())
}

fn code(build: &Build) -> &str {
    build.error.as_ref().map_or("", |error| error.code.as_str())
}

/// One more phase.
fn phase(name: &str, more: &str, run: &str) -> String {
    format!("[[phase]]\nname = '{name}'\n{more}\nrun = '''\n{run}\n'''\n")
}

#[test]
fn the_time_of_a_build_is_over_all_of_its_phases() {
    let home = Home::new();
    let policy = Policy { time: Duration::from_secs(3), ..Policy::default() };
    let file = "artifact = 'out'\n".to_owned()
        + &phase("one", "", "sleep 1; echo made > out")
        + &phase("two", "limits = { time = '1h' }", "setsid sleep 1000 & sleep 1000")
        + &phase("three", "", "echo never");
    let begun = Instant::now();
    let (build, log) = built(&home, &file, &policy);
    assert_eq!((build.state.name(), code(&build)), ("failed", "timed_out"), "{log:?}");
    assert!(build.error.unwrap().message.contains("the whole build"), "{log:?}");
    let states: Vec<_> = build.phases.iter().map(|phase| (phase.name.as_str(), phase.status.as_str())).collect();
    assert_eq!(states, [("one", "exited"), ("two", "timed_out")]);
    // What the first took, the second did not have.
    assert!(build.phases[1].wall_ms < 2500.0 && begun.elapsed() < Duration::from_secs(60), "{:?}", build.phases);
    assert!(!log.contains(&"never".to_owned()));
    assert_eq!(fs::read_dir(home.state().join("builds/artifacts")).unwrap().count(), 0);
}

#[test]
fn an_artifact_of_more_than_is_kept_is_none() {
    let home = Home::new();
    let bounds = PlanBounds { artifact_bytes: 1000, artifact_entries: 5, ..PlanBounds::default() };
    let policy = Policy { bounds, ..Policy::default() };
    for (made, fault) in [
        ("head -c 500 /dev/zero > out/a; head -c 500 /dev/zero > out/b", ""),
        ("head -c 500 /dev/zero > out/a; head -c 501 /dev/zero > out/b", "artifact_too_big"),
        // What takes nothing on the disk takes its size where it is copied to.
        ("truncate -s 1T out/a", "artifact_too_big"),
        ("touch out/a; mkdir out/1 out/2 out/3 out/4", ""),
        ("touch out/a; mkdir out/1 out/2 out/3 out/4 out/5", "artifact_too_big"),
        ("touch out/a out/b out/c out/d out/e out/f", "artifact_too_big"),
    ] {
        let begun = Instant::now();
        let (build, log) = built(&home, &script(&format!("mkdir out; {made}")), &policy);
        assert_eq!(code(&build), fault, "{made}: {log:?}");
        assert_eq!(build.artifact.is_some(), fault.is_empty(), "{made}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{made}");
    }
    let count = |name: &str| fs::read_dir(home.state().join("builds").join(name)).unwrap().count();
    assert_eq!([count("artifacts"), count("limbo")], [2, 0]);
}

#[test]
fn a_phase_has_the_network_and_the_caches_that_it_was_given_and_the_next_one_has_not() {
    if !support::has_program("python3") {
        return;
    }
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, accepted) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let counted = accepted.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let _gone = stream.write_all(b"package\n");
        }
    });
    let rules = [format!("registry.example:{port}"), format!("127.0.0.0/8:{port}")];
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let fetch = Network::Allow(AllowList::new(rules).unwrap());
    let policy = Policy { fetch, ..Policy::default() };
    let connect = |to: &str| {
        format!("python3 -c \"import socket; print(socket.create_connection(('{to}', {port})).makefile().readline())\"")
    };
    let cache = |more: &str| format!("caches = [{{ name = 'c', path = '/tmp/c'{more} }}]");
    let get = connect("registry.example");
    let file = "artifact = 'out'\n".to_owned()
        + &phase(
            "install",
            &format!("network = 'fetch'\n{}", cache("")),
            &format!(
                "{get} > /tmp/c/got && cat /tmp/c/got; {} 2> /dev/null || echo elsewhere nothing",
                connect("other.example")
            ),
        )
        + &phase(
            "build",
            &cache(", writable = false"),
            &format!(
                "{get} 2> /dev/null || echo later nothing; cp /tmp/c/got out; (echo x > /tmp/c/more) 2> /dev/null || echo closed"
            ),
        )
        + &phase("test", "", "ls /tmp/c 2> /dev/null || echo without");
    let (build, log) = built(&home, &file, &policy);
    assert_eq!((build.state.name(), code(&build)), ("succeeded", ""), "{log:?}");
    for line in ["package", "elsewhere nothing", "later nothing", "closed", "without"] {
        assert!(log.iter().any(|shown| shown == line), "{line}: {log:?}");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "{log:?}");
    let artifact = Builds::at(home.state()).unwrap().artifact("a", &build.id).unwrap();
    assert!(artifact.files.read("out").unwrap().starts_with(b"package"));
}
