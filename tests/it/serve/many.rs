//! Several servers of the same directories: each build is one's, and what an owner may have is counted in all of them.

use super::client::{Address, Request, Response};
use super::{ANN, Server, line, phase, started};
use crate::build::crash::{alone, mark, sleeping, stop_between_writes};
use crate::sandbox::eventually;
use crate::support;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::Child;
use std::sync::mpsc::Receiver;

/// One more server of another one's directories.
pub(super) struct Another {
    child: Child,
    pub(super) address: Address,
    journal: Receiver<Value>,
}

impl Server {
    pub(super) fn another(&self, args: &[&str]) -> Another {
        let tokens = self.home.scratch.path("tokens");
        let with = ["serve", "--listen", "127.0.0.1:0", "--token-file", tokens.to_str().unwrap()];
        let (child, journal) = started(self.home.pinfold(&[&with, args].concat()));
        let address = Address::of(line(&journal, "listening")["place"].as_str().unwrap());
        Another { child, address, journal }
    }
}

impl Another {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(super) fn stop(mut self) {
        self.signal(Signal::TERM);
        line(&self.journal, "ended");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Another {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Hands in a build of this `pinfold.toml`: its id.
fn hand_in(address: &Address, project: &str, file: &str) -> String {
    let files = json!({"files": [{"path": "pinfold.toml", "content": file}]});
    let request = Request::new("POST", &format!("/v1/builds?project={project}")).token(ANN).json(&files);
    address.send(&request).expect(200).json()["id"].as_str().unwrap().to_owned()
}

fn show(address: &Address, id: &str) -> Value {
    address.send(&Request::get(&format!("/v1/builds/{id}")).token(ANN)).expect(200).json()
}

#[test]
fn of_two_servers_that_work_each_build_is_one_ones_and_both_know_all_of_it() {
    if !support::has_program("flock") {
        return;
    }
    let first = Server::start(&["--workers", "2"]);
    let second = first.another(&["--workers", "2"]);
    let addresses = [&first.address, &second.address];
    let ids: Vec<_> = (0..12)
        .map(|number| hand_in(addresses[number % 2], &format!("p{number}"), &alone(&format!("n{number}"))))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let other = addresses[(number + 1) % 2];
        eventually("it is built", || show(other, id)["state"] != "queued" && show(other, id)["state"] != "running");
        let built = show(other, id);
        assert_eq!((&built["state"], &built["attempt"]), (&json!("succeeded"), &json!(1)), "{built}");
        let name = Request::get(&format!("/v1/builds/{id}/artifact/content?path=name")).token(ANN);
        assert_eq!(other.send(&name).expect(200).text(), format!("n{number}\n"));
    }
    let caches = first.home.scratch.path("state").join("builds/caches");
    let cache = std::fs::read_dir(caches).unwrap().next().unwrap().unwrap().path();
    assert!(cache.join("n0").exists() && !cache.join("twice").exists());
    // A preview that one made is shown by the other, and ends there too.
    let open = Request::new("POST", "/v1/previews").token(ANN).json(&json!({"project": "p0"}));
    let opened = first.address.send(&open).expect(200).json();
    let url = opened["url"].as_str().unwrap();
    let token = url.strip_prefix("http://").unwrap().split('.').next().unwrap();
    let port = second.address.host().rsplit_once(':').unwrap().1.to_owned();
    let look = Request::get("/name").host(&format!("{token}.localhost:{port}"));
    assert_eq!(second.address.send(&look).expect(200).text(), "n0\n");
    let revoke = format!("/v1/previews/{}", opened["preview"]["id"].as_str().unwrap());
    first.address.send(&Request::new("DELETE", &revoke).token(ANN)).expect(204);
    second.address.send(&look).expect(404);
    second.stop();
    first.stop();
}

#[test]
fn what_one_server_runs_another_cancels_or_goes_on_with_when_it_is_lost() {
    let answers = Server::start(&["--role", "api", "--attempts", "9"]);
    let mut workers = [0, 1].map(|_| answers.another(&["--workers", "1", "--lease", "3s"]));
    // Cancelled by one that does not run it.
    let sleep = mark(11);
    let id = hand_in(&answers.address, "p", &phase(&format!("sleep {sleep}")));
    eventually("it runs", || sleeping(&sleep).is_some());
    answers.address.send(&Request::new("POST", &format!("/v1/builds/{id}/cancel")).token(ANN)).expect(200);
    assert_eq!(answers.built(&id)["state"], "cancelled");
    assert!(sleeping(&sleep).is_none());
    // Whoever runs it first is killed, and whoever has it then is stopped, as a machine that hangs.
    let sleep = mark(12);
    let script = format!(
        "for i in 1 2; do if mkdir /tmp/c/$i 2>/dev/null; then echo $i; exec sleep {sleep}; fi; done; mkdir out; echo 3 > out/a"
    );
    let file = phase(&script).replace("name =", "caches = [{ name = 'c', path = '/tmp/c' }]\nname =");
    let id = hand_in(&answers.address, "p", &file);
    let running = |workers: &[Another; 2], attempt: u64| {
        eventually("it runs", || {
            let build = show(&answers.address, &id);
            // It is written down by then what runs.
            build["attempt"] == attempt && build["phase"] == "build" && sleeping(&sleep).is_some()
        });
        let runner = parent_of(parent_of(parent_of(sleeping(&sleep).unwrap())));
        workers.iter().position(|worker| runs_below(runner, &worker.child)).expect("one of them runs it")
    };
    let killed = running(&workers, 1);
    workers[killed].signal(Signal::KILL);
    workers[killed].child.wait().unwrap();
    let stopped = 1 - killed;
    assert_eq!(running(&workers, 2), 1 - killed);
    let pid = i32::try_from(workers[stopped].child.id()).unwrap();
    stop_between_writes(pid, &answers.home.scratch.path("state"));
    workers[killed] = answers.another(&["--workers", "1", "--lease", "3s"]);
    let built = answers.built(&id);
    assert_eq!((&built["state"], &built["attempt"]), (&json!("succeeded"), &json!(3)), "{built}");
    assert!(sleeping(&sleep).is_none(), "what the stopped one ran was ended first");
    // It wakes up, and changes nothing.
    workers[stopped].signal(Signal::CONT);
    let [one, other] = workers;
    one.stop();
    other.stop();
    assert_eq!(show(&answers.address, &id)["state"], "succeeded");
    answers.stop();
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).unwrap_or_default()
}

fn runs_below(mut pid: i32, above: &Child) -> bool {
    while pid > 1 {
        if u32::try_from(pid).unwrap() == above.id() {
            return true;
        }
        pid = parent_of(pid);
    }
    false
}

#[test]
fn what_an_owner_may_have_is_counted_over_all_servers() {
    let bounds = ["--max-sandboxes", "3", "--max-workspaces", "3"];
    let first = Server::start(&bounds);
    let second = first.another(&bounds);
    for path in ["/v1/sandboxes", "/v1/workspaces"] {
        let make = |address: &Address, name: usize| {
            let request = Request::new("PUT", &format!("{path}/n{name}")).token(ANN).json(&json!({}));
            address.send(&request)
        };
        let addresses = [&first.address, &second.address];
        let answers: Vec<Response> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..10).map(|name| scope.spawn(move || make(addresses[name % 2], name))).collect();
            asked.into_iter().map(|answer| answer.join().unwrap()).collect()
        });
        let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
        assert_eq!(made.len(), 3);
        refused.into_iter().for_each(|answer| drop(answer.problem(409, "limit")));
        let listed = second.address.send(&Request::get(path).token(ANN)).expect(200).json();
        let kind = path.rsplit_once('/').unwrap().1;
        assert_eq!(listed[kind].as_array().unwrap().len(), 3, "{listed}");
    }
    second.stop();
    first.stop();
}

#[test]
fn a_retry_has_as_many_attempts_as_the_server_grants_that_takes_it_in() {
    let first = Server::start(&[]);
    let second = first.another(&["--attempts", "5"]);
    let old = hand_in(&first.address, "p", &phase("echo made > out"));
    eventually("it is built", || show(&second.address, &old)["state"] == "succeeded");
    assert_eq!(show(&second.address, &old)["attempts"], 2);
    let retry = |address: &Address| {
        let again =
            address.send(&Request::new("POST", &format!("/v1/builds/{old}/retry")).token(ANN)).expect(200).json();
        (again["attempt"].clone(), again["attempts"].clone())
    };
    let (new, asked) = (retry(&second.address), retry(&first.address));
    assert_eq!((new.1, asked.1), (json!(5), json!(2)));
    assert_eq!((new.0, asked.0), (json!(0), json!(0)));
    second.stop();
    first.stop();
}
