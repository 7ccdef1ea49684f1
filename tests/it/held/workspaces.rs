//! Sandboxes in workspaces that stay.

use super::Home;
use crate::support;
use pinfold::held::{Config, SandboxPolicy, Sandboxes, Spec};
use pinfold::workspace::Store;
use std::fs;
use std::path::PathBuf;

fn create(home: &Home, id: &str) -> PathBuf {
    PathBuf::from(home.ok(&["workspace", "create", id]).trim_end())
}

#[test]
fn two_users_with_the_same_file_names_see_their_own_and_the_files_outlive_the_sandbox() {
    let home = Home::new();
    for user in ["a", "b"] {
        create(&home, user);
        home.start(user, &["-w", &format!("ws:{user}")]);
        home.says(user, &format!("echo {user} > file"));
    }
    for user in ["a", "b"] {
        assert_eq!(home.says(user, "cat file; ls"), format!("{user}\nfile\n"));
    }
    home.says("a", "rm -f *");
    assert_eq!(home.says("b", "cat file"), "b\n");
    // Held and one-shot see the same, at the same time and after.
    assert_eq!(home.ok(&["run", "-w", "ws:b", "--", "cat", "file"]), "b\n");
    home.ok(&["run", "-w", "ws:b", "--", "sh", "-c", "echo more >> file"]);
    assert_eq!(home.says("b", "cat file"), "b\nmore\n");
    home.ok(&["stop", "a", "b"]);
    assert_eq!(home.ok(&["run", "-w", "ws:b", "--", "cat", "file"]), "b\nmore\n");
    home.start("b", &["-w", "ws:b"]);
    assert_eq!(home.says("b", "cat file"), "b\nmore\n");
}

#[test]
fn a_workspace_is_not_removed_under_a_sandbox_unless_forced_which_ends_it_first() {
    let home = Home::new();
    let path = create(&home, "ws");
    home.start("a", &["-w", "ws:ws"]);
    home.start("b", &[]);
    home.fails(&["workspace", "remove", "ws"], "busy");
    assert_eq!(home.ok(&["workspace", "prune", "--older-than", "0"]), "");
    assert_eq!(home.says("a", "echo still"), "still\n");
    home.ok(&["workspace", "ref", "ws", "holder"]);
    home.fails(&["workspace", "remove", "ws"], "holder");
    home.says("a", "while :; do date > beat; done >/dev/null 2>&1 &");
    home.ok(&["workspace", "remove", "ws", "--force"]);
    assert!(!path.exists());
    let listed = home.json(&["ps", "--json"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &"b".into()), "{listed}");
}

#[test]
fn a_workspace_is_found_at_another_path_too_checkpoints_or_not() {
    let home = Home::new();
    create(&home, "ws");
    let at = ["--workspace-at", "/home/agent/workspace"];
    let view =
        "pwd; echo $HOME; echo $0 > file; cat /workspace/file; cd /; ls home/agent/workspace; touch home/x 2>&1; true";
    let seen =
        "/home/agent/workspace\n/home/agent/workspace\nsh\nfile\ntouch: cannot touch 'home/x': Read-only file system\n";
    home.start("plain", &[&["-w", "ws:ws"], &at[..]].concat());
    assert_eq!(home.says("plain", view), seen);
    assert_eq!(home.ok(&["exec", "--cwd", ".", "plain", "--", "pwd"]), "/home/agent/workspace\n");
    assert_eq!(home.ok(&["exec", "--cwd", "/workspace", "plain", "--", "cat", "file"]), "sh\n");
    home.fails(&["start", "--name", "plain", "--workspace-at", "/elsewhere"], "workspace_at");
    let copied = home.scratch.path("copied");
    home.ok(&["cp", "plain:/home/agent/workspace/file", copied.to_str().unwrap()]);
    assert_eq!(fs::read(&copied).unwrap(), b"sh\n");
    let files = home.sandboxes().get("plain").unwrap().files().unwrap();
    assert_eq!(files.read("/workspace/file").unwrap(), files.read("/home/agent/workspace//file").unwrap());
    assert_eq!(files.glob("/home/agent/workspace/f*").unwrap().entries.len(), 1);
    for other in ["/home/agent", "/home/agent/workspaces/file", "/home/agent/workspace/../file"] {
        assert_eq!(files.read(other).unwrap_err().code(), "invalid_path", "{other}");
    }
    drop(files);
    home.ok(&["stop", "plain"]);
    home.start("layers", &[&["-w", "ws:ws", "--checkpoints"], &at[..]].concat());
    assert_eq!(home.says("layers", view), seen);
    home.ok(&["stop", "layers"]);
    for workspace in [&["-w", "tmpfs"][..], &[]] {
        let run = [&["run"], workspace, &at[..], &["--", "sh", "-c", view]].concat();
        assert_eq!(home.ok(&run), seen);
    }
    for bad in ["/", "/proc", "/dev/x", "/workspace", "/workspace/x", "relative", "/a/../b"] {
        let run = ["run", "--workspace-at", bad, "--", "true"];
        let (code, _, told) = home.run(&run);
        assert!(code == 125 && told.contains("workspace"), "{bad}: {code} {told}");
    }
}

#[test]
fn what_an_operator_settled_is_what_a_session_gets() {
    let home = Home::new();
    let text = format!(
        "state_dir = '{}'\nruntime_dir = '{}'\npolicy = 'required'\nshared = {{ at = '/home/agent/shared' }}\n\
         [sandbox]\nworkspace_at = '/home/agent/workspace'\nlimits = {{ pids = 50 }}\n",
        home.scratch.path("state").display(),
        home.runtime().display()
    );
    support::pinfold();
    let config = Config::read(home.scratch.file("pinfold.toml", &text)).unwrap();
    let shared = config.store().unwrap().shared().unwrap();
    fs::write(shared.join("common"), "for all").unwrap();
    let held = config.ensure_session("alice/1").unwrap().sandbox.unwrap();
    assert_eq!(held.record().spec.job.limits.pids.value(), Some(50));
    let script = "pwd; cat /home/agent/shared/common; touch /home/agent/shared/x 2>/dev/null || echo read-only";
    assert_eq!(home.says(held.name(), script), "/home/agent/workspace\nfor allread-only\n");
    // Whoever asks again gets the same one.
    assert_eq!(config.ensure_session("alice/1").unwrap().sandbox.unwrap().id(), held.id());
    held.stop().unwrap();
    assert_eq!(Config::read("/nonexistent.toml").unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_sandbox_can_write_over_nothing_but_its_workspace() {
    let home = Home::new();
    let path = create(&home, "ws");
    let id = home.start("a", &["-w", "ws:ws"]);
    let record = fs::read(path.parent().unwrap().join("record.json")).unwrap();
    let before = home.json(&["ps", "--json"]);
    home.shell("a", "for f in $(find / -xdev -type f 2>/dev/null | head -20000); do : > $f; done 2>/dev/null; echo x > /workspace/record.json; mkdir -p /workspace/../workspaces; true");
    assert_eq!(fs::read(path.parent().unwrap().join("record.json")).unwrap(), record);
    let after = home.json(&["ps", "--json"]);
    assert_eq!((&after[0]["id"], &after[0]["workspace"]), (&id.into(), &"ws".into()));
    assert_eq!(after[0]["created_ms"], before[0]["created_ms"]);
}

#[test]
fn a_session_is_a_workspace_and_its_sandbox_or_why_there_is_none() {
    let home = Home::new();
    let sandboxes: Sandboxes = home.sandboxes();
    let store = Store::at(home.scratch.path("state")).unwrap();
    let odd = "../ünï/\n";
    let ensure = |policy| sandboxes.ensure_session(&store, odd, &Spec::default(), policy);
    let none = ensure(SandboxPolicy::Disabled).unwrap();
    assert_eq!((none.sandbox.unwrap_err().code.as_str(), none.path.is_dir()), ("disabled", true));
    let session = ensure(SandboxPolicy::Required).unwrap();
    let held = session.sandbox.unwrap();
    assert_eq!((held.workspace(), held.name()), (Some(odd), Sandboxes::session_name(odd).unwrap().as_str()));
    assert!(held.name().len() <= 63);
    assert_eq!(ensure(SandboxPolicy::BestEffort).unwrap().sandbox.unwrap().id(), held.id());
    // After its end there is a new one on the same files.
    fs::write(session.path.join("file"), "kept").unwrap();
    held.stop().unwrap();
    let again = ensure(SandboxPolicy::Required).unwrap().sandbox.unwrap();
    assert_ne!(again.id(), held.id());
    assert_eq!(home.says(again.name(), "cat file"), "kept");
    assert_eq!(sandboxes.in_workspace(store.state(), odd).unwrap().len(), 1);
    home.ok(&["workspace", "create", "empty"]);
    let listed = home.json(&["workspace", "list", "--json"]);
    let living = |id: &str| {
        let all = listed.as_array().unwrap();
        all.iter().find(|workspace| workspace["id"] == id).unwrap()["sandboxes"].clone()
    };
    assert_eq!((living(odd), living("empty")), ([again.name()][..].into(), serde_json::json!([])));
    assert!(home.ok(&["workspace", "show", odd]).contains(again.name()));
    again.stop().unwrap();
    // One that can't be made is an error, or a session without it.
    let job = pinfold::job(["x"]).require(pinfold::Requirement::Workspace).build().unwrap();
    let spec = Spec::default().like(job);
    if support::is_root() && sandboxes.ensure_session(&store, odd, &spec, SandboxPolicy::Required).is_ok() {
        return support::host_cannot("holds quotas of the file system, so that this can be made");
    }
    let error = sandboxes.ensure_session(&store, odd, &spec, SandboxPolicy::Required).unwrap_err();
    assert_eq!(error.code(), "failed");
    let session = sandboxes.ensure_session(&store, odd, &spec, SandboxPolicy::BestEffort).unwrap();
    assert!(session.path.is_dir() && !session.sandbox.unwrap_err().message.is_empty());
}
