//! What an owner's builds may hold, counted over all servers of a directory: on disk, too.

use super::client::{Address, Request, Response};
use super::many::Another;
use super::{ANN, BOB, Server, phase};
use crate::sandbox::eventually;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

const MIB: usize = 1 << 20;

/// Bytes of all files below a directory.
fn on_disk(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => on_disk(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Hands in a project of a file of a MiB, which is different each time, and of this script.
fn hand_in(address: &Address, token: &str, project: &str, number: usize, script: &str) -> Response {
    let filler = format!("{number:08}").repeat(MIB / 8);
    let files = json!({"files": [
        {"path": "pinfold.toml", "content": phase(script)}, {"path": "filler", "content": filler},
    ]});
    address.send(&Request::new("POST", &format!("/v1/builds?project={project}")).token(token).json(&files))
}

fn get(address: &Address, token: &str, path: &str) -> Value {
    address.send(&Request::get(path).token(token)).expect(200).json()
}

fn ended(address: &Address, token: &str, handed_in: Response) -> Value {
    let id = handed_in.expect(200).json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/builds/{id}");
    let is_over = || !["queued", "running"].contains(&get(address, token, &path)["state"].as_str().unwrap());
    eventually("it ends", is_over);
    get(address, token, &path)
}

#[test]
fn what_an_owners_builds_hold_is_bounded_over_all_servers_and_on_disk() {
    let bounds = ["--max-stored", "8M"];
    let first = Server::start(&bounds);
    let second: Another = first.another(&bounds);
    let addresses = [&first.address, &second.address];
    let builds = first.home.scratch.path("state/builds");
    // Whose upload comes slowly keeps nobody from clearing up.
    let mut slow = first.address.connect();
    let head = format!(
        "POST /v1/builds/archive?project=slow HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {BOB}\r\n\
         Content-Type: application/x-tar\r\nContent-Length: 100000\r\n\r\n",
        first.address.host()
    );
    slow.write_all(head.as_bytes()).unwrap();
    // It keeps what it shows through all of this, and has a copy of the filler as its artifact.
    let shown = ended(addresses[0], ANN, hand_in(addresses[0], ANN, "shown", 0, "mkdir out; cp filler out"));
    assert_eq!(shown["state"], "succeeded", "{shown}");
    for number in 1..20 {
        let at = addresses[number % 2];
        let made =
            ended(at, ANN, hand_in(at, ANN, "site", number, "mkdir out; head -c 100000 filler > out/index.html"));
        assert_eq!(made["state"], "succeeded", "{made}");
        let told = get(at, ANN, "/v1/projects");
        assert!(told["stored_bytes"].as_u64().unwrap() <= 8 << 20, "{told}");
        assert_eq!(told["max_stored_bytes"], 8 << 20);
    }
    let kept = || on_disk(&builds.join("snapshots")) + on_disk(&builds.join("artifacts"));
    eventually("what nobody needs is gone from the disk", || kept() <= 8 << 20);
    let of = format!("/v1/builds/{}/artifact/content?path=filler", shown["id"].as_str().unwrap());
    assert_eq!(addresses[1].send(&Request::get(&of).token(ANN)).expect(200).body.len(), MIB);

    // An artifact that has no room fails its build, and takes nothing away.
    let script = "mkdir out; for i in 1 2 3 4; do cat filler filler > out/$i; done";
    let failed = ended(addresses[1], ANN, hand_in(addresses[1], ANN, "site", 30, script));
    assert_eq!((&failed["state"], &failed["error"]["code"]), (&json!("failed"), &json!("store_full")), "{failed}");
    assert!(failed["error"]["hint"].as_str().unwrap().contains("remove projects"));
    eventually("its artifact is gone from the disk", || kept() <= 8 << 20);

    // What projects show fills it up. Whoever asks from many sides at once finds no more room than there is.
    let full = ended(addresses[0], ANN, hand_in(addresses[0], ANN, "full", 40, "mkdir out; cp filler out"));
    assert_eq!(full["state"], "succeeded", "{full}");
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let asked = |number: usize| {
            scope.spawn(move || hand_in(addresses[number % 2], ANN, &format!("q{number}"), number, "sleep 1000"))
        };
        let asked: Vec<_> = (50..58).map(asked).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
    for answer in answers {
        if answer.status == 200 {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            let cancel = Request::new("POST", &format!("/v1/builds/{id}/cancel")).token(ANN);
            addresses[0].send(&cancel).expect(200);
            continue;
        }
        let problem = answer.problem(507, "store_full");
        assert!(problem["hint"].as_str().unwrap().contains("remove projects"), "{problem}");
        let told = get(addresses[0], ANN, "/v1/projects");
        assert!(told["stored_bytes"].as_u64().unwrap() <= 8 << 20, "{told}");
    }
    // Bob has as much room as ever, and Ann has it again when she removes what she needs no longer.
    assert_eq!(
        ended(addresses[0], BOB, hand_in(addresses[0], BOB, "site", 60, "echo bob > out"))["state"],
        "succeeded"
    );
    let remove = |token: &str, project: &str| {
        addresses[1].send(&Request::new("DELETE", &format!("/v1/projects/{project}")).token(token))
    };
    remove(BOB, "shown").problem(404, "not_found");
    for project in ["shown", "full"] {
        remove(ANN, project).expect(204);
    }
    remove(ANN, "shown").problem(404, "not_found");
    addresses[0].send(&Request::get(&of).token(ANN)).problem(404, "not_found");
    eventually("all of it ends", || ended_all(addresses[0]));
    let big = "mkdir out; for i in 1 2 3; do cp filler out/$i; done";
    let made = ended(addresses[0], ANN, hand_in(addresses[0], ANN, "big", 70, big));
    assert_eq!(made["state"], "succeeded", "{made}");
    drop(slow);
    second.stop();
    first.stop();
}

fn ended_all(address: &Address) -> bool {
    ["queued", "running"]
        .iter()
        .all(|state| get(address, ANN, &format!("/v1/builds?state={state}"))["builds"].as_array().unwrap().is_empty())
}
