//! Owners: each call is made for one, and meets nothing of the others.

use super::{BOUNDS, LEASE, Shelf, new};
use crate::workspaces::Home;
use pinfold::build::{
    BuildStore, Builds, Filter, Input, InputFile, NewBuild, Policy, Preview, Report, Submission, Worker, WorkerSettings,
};
use pinfold::{Content, Pinfold};

#[test]
fn every_call_of_another_owner_meets_nothing() {
    let shelf = Shelf::new();
    let (store, now) = (&shelf.store, shelf.put("1", "p"));
    let claim = store.claim("worker", None, LEASE, &now).unwrap().unwrap();
    store.finish(&claim, Report { artifact: Some("made".into()), ..Report::default() }, &now).unwrap();
    let preview = |id: &str, build: Option<&str>| Preview {
        id: id.into(),
        project: "p".into(),
        build: build.map(str::to_owned),
        created_us: 0,
        expires_us: None,
        revoked_us: None,
    };
    store.add_preview("a", &preview("v", None), "hash", None, &now).unwrap();
    let codes = [
        store.get("b", "1").unwrap_err().code(),
        store.cancel("b", "1", &now).unwrap_err().code(),
        store.rows("b", "1", 0, 10).unwrap_err().code(),
        store.enqueue(&NewBuild { retry_of: Some("1".into()), ..new("b", "2", "p") }, BOUNDS, &now).unwrap_err().code(),
        store.add_preview("b", &preview("w", None), "other", None, &now).unwrap_err().code(),
        store.add_preview("b", &preview("w", Some("1")), "other", None, &now).unwrap_err().code(),
        store.revoke_preview("b", "v", &now).unwrap_err().code(),
    ];
    assert_eq!(codes, ["not_found"; 7]);
    assert!(store.list("b", &Filter::default()).unwrap().is_empty());
    assert!(store.list("b", &Filter { before: Some("1".into()), ..Filter::default() }).unwrap().is_empty());
    assert!(store.projects("b").unwrap().is_empty() && store.previews("b", None).unwrap().is_empty());
    // The same project's name is another project: nothing of the one supersedes the other's.
    store.enqueue(&new("b", "of b", "p"), BOUNDS, &now).unwrap();
    assert_eq!(store.projects("a").unwrap()[0].snapshots, 1);
    assert_eq!(store.get("b", "of b").unwrap().sequence, 1);
}

fn submission(script: &str, policy: &Policy) -> Submission<'static> {
    let file = super::script(script)
        .replace("name = 'build'\n", "name = 'build'\ncaches = [{ name = 'shared', path = '/tmp/cache' }]\n");
    let path = "pinfold.toml".try_into().unwrap();
    let files = vec![InputFile { path, content: Content(file.into_bytes()), executable: false }];
    Submission::new(Input::Files(files), policy)
}

#[test]
fn a_cache_of_one_owner_can_not_be_filled_by_another() {
    let home = Home::new();
    let (builds, policy) = (Builds::at(home.state()).unwrap(), Policy::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pinfold = Pinfold::builder().runner(crate::support::runner()).build().unwrap();
    let run = |owner: &str, script: &str| {
        let build = builds.submit(owner, "p", submission(script, &policy)).unwrap();
        let worker = Worker::new(builds.clone(), pinfold.clone(), WorkerSettings::default()).unwrap();
        runtime.block_on(worker.run_until_idle()).unwrap();
        let rows = builds.rows(owner, &build.id, 0, 1000).unwrap();
        let words: Vec<_> = rows.into_iter().map(|row| row.text).collect();
        assert_eq!(builds.get(owner, &build.id).unwrap().state.name(), "succeeded", "{words:?}");
        words
    };
    let say = "mkdir out; cat /tmp/cache/* 2>&1; true; echo made > out/a";
    run("a", &format!("echo poison > /tmp/cache/mine; {say}"));
    // Kept for its own owner, and out of sight for others, whatever they are called.
    assert!(run("a", say).contains(&"poison".to_owned()));
    for other in ["b", "a:", "1:a", "A"] {
        assert!(!run(other, say).contains(&"poison".to_owned()), "{other}");
    }
}
