//! SIGKILL of servers at many moments, while clients hand builds in and follow them.

use super::client::{Address, Request};
use super::{ANN, events, tokens};
use crate::build::crash::alone;
use crate::held::Home;
use crate::support;
use pinfold::build::{Builds, Filter, State};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::time::Duration;

/// How many servers are killed at most, so that a machine on which they begin slowly comes to an end.
const KILLS: usize = 40;

/// What a client has of a build.
struct Had {
    id: String,
    number: usize,
    rows: Vec<Value>,
    end: Value,
}

/// Hands a build in and follows it to its end, whatever becomes of the servers meanwhile.
fn client(address: &Address, number: usize) -> Had {
    let files = json!({"files": [{"path": "pinfold.toml", "content": alone(&format!("n{number}"))}]});
    let request = Request::new("POST", &format!("/v1/builds?project=p{number}")).token(ANN).json(&files);
    // Of what nobody answered to nobody knows whether it was handed in: another one takes its place.
    let build = until(|| address.try_send(&request));
    let id = build["id"].as_str().unwrap().to_owned();
    let (mut rows, mut last) = (Vec::new(), None::<String>);
    loop {
        let mut request = Request::get(&format!("/v1/builds/{id}/logs/events")).token(ANN);
        if let Some(last) = &last {
            request = request.header("Last-Event-ID", last);
        }
        let mut stream = until(|| address.try_open(&request));
        while let Some((event_id, event, data)) = events::next(&mut stream) {
            last = Some(event_id);
            match event.as_str() {
                "end" => return Had { id, number, rows, end: data },
                _ => rows.push(data),
            }
        }
    }
}

/// Tries again until somebody answers.
fn until<T>(mut asked: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = asked() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server that does not outlive the test, whatever becomes of that.
struct Process(Child);

impl Process {
    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Everything that a client can see of what a build made.
fn look_at_artifact(address: &Address, had: &Had) {
    let get = |rest: &str| Request::get(&format!("/v1/builds/{}/artifact{rest}", had.id)).token(ANN);
    let made = address.send(&get("")).expect(200).json();
    let files = made["files"].as_array().unwrap();
    assert_eq!(files.len(), 6, "{made}");
    for file in files {
        let content = address.send(&get(&format!("/content?path={}", file["path"].as_str().unwrap()))).expect(200);
        assert_eq!(json!(content.body.len()), file["bytes"], "{made}");
        if file["path"] == "name" {
            assert_eq!(content.text(), format!("n{}\n", had.number));
        }
    }
}

#[test]
fn through_any_number_of_kills_no_build_that_a_client_sent_is_lost_doubled_or_torn() {
    if !support::has_program("flock") {
        return;
    }
    let home = Home::new();
    let (tokens, socket) = (tokens(&home), home.scratch.path("server.sock"));
    let (tokens, at) = (tokens.to_str().unwrap(), socket.to_str().unwrap());
    // Both run builds, and one of them answers clients.
    let start = |which: usize| {
        let role = [["--socket", at], ["--role", "worker"]][which];
        let args = [&["serve", "--token-file", tokens, "--attempts", "1000"], &role[..]].concat();
        Process(home.pinfold(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let address = Address::Unix(socket.clone());
    let (mut servers, mut kills, mut random) = ([start(0), start(1)], 0, std::process::id());
    let all: Vec<Had> = std::thread::scope(|scope| {
        let address = &address;
        let clients: Vec<_> =
            (0..support::runs(20)).map(|number| scope.spawn(move || client(address, number))).collect();
        while !clients.iter().all(|client| client.is_finished()) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            std::thread::sleep(Duration::from_millis(100 + u64::from(random >> 16) % 900));
            if kills < KILLS {
                let which = usize::from(random & 1 << 12 != 0);
                assert_eq!(servers[which].signal(Signal::KILL), None);
                servers[which] = start(which);
                kills += 1;
            }
        }
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    until(|| address.try_send(&Request::get("/v1/builds").token(ANN)));
    let builds = Builds::at(home.scratch.path("state")).unwrap();
    for had in &all {
        let build = builds.get("http.ann", &had.id).unwrap();
        assert_eq!((build.state, &build.error, &had.end["state"]), (State::Succeeded, &None, &json!("succeeded")));
        // What its client saw is all that there is, and each row once.
        let rows = builds.rows("http.ann", &had.id, 0, 10_000).unwrap();
        assert_eq!(json!(rows), json!(had.rows), "{}", had.id);
        assert_eq!(rows.len() as u64, build.log_rows);
        assert!(rows.iter().enumerate().all(|(index, row)| row.sequence == index as u64 + 1), "{}", had.id);
        look_at_artifact(&address, had);
    }
    let every = builds.list("http.ann", &Filter { limit: 1000, ..Filter::default() }).unwrap();
    let is_all_right = |state| matches!(state, State::Succeeded | State::Stale);
    assert!(every.iter().all(|build| is_all_right(build.state)), "{every:?}");
    let attempts: u32 = every.iter().map(|build| build.attempt).sum();
    assert!(attempts as usize > all.len(), "no kill of {kills} met a build that ran");
    for mut server in servers {
        assert_eq!(server.signal(Signal::TERM), Some(0));
    }
    let of = |name: &str| std::fs::read_dir(home.scratch.path("state").join("builds").join(name)).unwrap();
    let caches: Vec<_> = of("caches").flatten().collect();
    assert!(caches.len() == 1 && !caches[0].path().join("twice").exists());
    assert!(caches[0].path().join("n0").exists(), "the lock is where it is looked for");
    builds.clear(Duration::from_secs(3600)).unwrap();
    assert_eq!([of("limbo").count(), of("workers").count()], [0, 0]);
    home.next_command_cleans();
}
