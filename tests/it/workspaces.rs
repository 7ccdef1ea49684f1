//! Workspaces that stay: what a store promises to many processes at once, to those that die, and against what a sandbox
//! or an archive does to it.

mod archive; // round trips, with our own and with other programs' archives
pub(crate) mod crash; // SIGKILL at every step
mod hostile; // archives and sandboxes that attack
mod race; // files that change while they are read
mod references; // who holds what, and what is refused then
mod using; // jobs in a stored workspace, and what they keep others from

use crate::sandbox::Scratch;
use crate::support::{self, finish};
use pinfold::workspace::{Listed, Store};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A state directory of one test's own.
pub(crate) struct Home {
    pub(crate) scratch: Scratch,
    number: u32,
}

impl Home {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self { scratch: Scratch::new(), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path("state")
    }

    pub(crate) fn store(&self) -> Store {
        Store::at(self.state()).unwrap()
    }

    /// `pinfold ARGS` on this state directory, with uids of its own, as a state directory of one's own needs.
    pub(crate) fn pinfold(&self, args: &[&str]) -> Command {
        let first = 0x6000_0000 + ((std::process::id() % 3800) << 16) + self.number * 16;
        let mut command = Command::new(support::pinfold());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PINFOLD_STATE_DIR", self.state()).env("PINFOLD_UIDS", format!("{first}-{}", first + 15));
        command
    }

    fn workspace(&self, args: &[&str]) -> Command {
        self.pinfold(&[&["workspace"], args].concat())
    }

    /// Runs `pinfold workspace ARGS` to its end: the exit code, stdout and stderr.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        finish(self.workspace(args).spawn().unwrap())
    }

    /// The same with something on stdin.
    fn feed(&self, args: &[&str], input: &[u8]) -> (i32, String, String) {
        let mut child = self.workspace(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            let _may_be_refused_early = stdin.write_all(&input);
        });
        let end = finish(child);
        writer.join().unwrap();
        end
    }

    /// Must succeed: its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        support::succeeded(args, self.run(args))
    }

    /// Must fail as Pinfold's failure, in words that say this.
    pub(crate) fn fails(&self, args: &[&str], words: &str) {
        support::refused(args, self.run(args), words);
    }

    pub(crate) fn create(&self, id: &str) -> PathBuf {
        self.store().create(id, None).unwrap()
    }

    fn holders(&self, id: &str) -> Vec<String> {
        self.store().show(id).unwrap().holders.into_iter().collect()
    }

    /// What is in `limbo`: on its way in or out.
    pub(crate) fn limbo(&self) -> usize {
        fs::read_dir(self.state().join("workspaces/limbo")).map_or(0, Iterator::count)
    }
}

/// The ids of all that is whole, and the number of broken ones.
pub(crate) fn ids(store: &Store) -> (Vec<String>, usize) {
    let (mut ids, mut broken) = (Vec::new(), 0);
    for listed in store.list().unwrap() {
        match listed {
            Listed::Workspace(info) => ids.push(info.id),
            Listed::Broken { .. } => broken += 1,
        }
    }
    (ids, broken)
}

#[test]
fn any_text_is_an_id_and_none_is_a_path() {
    let home = Home::new();
    let store = home.store();
    let long = "x".repeat(100_000);
    let own_key = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut odd = vec![
        "",
        " ",
        ".",
        "..",
        "../../escape",
        "/etc/passwd",
        "a/b",
        "a\nb",
        "a\0b",
        "-rf",
        "limbo",
        "holders",
        "ünï/日本語 🦀",
        "\u{202e}",
        own_key,
        &long,
    ];
    for id in &odd {
        let path = store.create(id, None).unwrap();
        let key = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        assert_eq!(path, home.state().join("workspaces").join(key).join("data"));
        fs::write(path.join("mine"), id).unwrap();
        store.add_reference(id, id).unwrap();
    }
    for id in &odd {
        assert_eq!(fs::read_to_string(store.path(id).unwrap().join("mine")).unwrap(), **id);
        assert_eq!(store.workspace_of(id).unwrap().as_deref(), Some(*id));
    }
    odd.sort_unstable();
    assert_eq!(ids(&store), (odd.iter().map(|id| (*id).to_owned()).collect(), 0));
    assert_eq!(fs::read_dir(home.state()).unwrap().count(), 1, "all is in `workspaces`");
    assert_eq!(fs::read_dir(home.scratch.path("")).unwrap().count(), 1, "nothing beside the state directory");
    // What the command line takes: no NUL, nothing of 100 KB beside the others.
    for id in odd.iter().filter(|id| !id.contains('\0') && id.len() < 1000) {
        assert!(home.ok(&["show", "--json", "--", id]).contains("\"broken\":null"));
    }
    assert_eq!(store.create(&"x".repeat((1 << 20) + 1), None).unwrap_err().code(), "invalid");
}

#[test]
fn to_create_is_idempotent_and_changes_nothing_that_is_there() {
    let home = Home::new();
    let path = home.create("ws");
    fs::write(path.join("kept"), "kept").unwrap();
    home.store().add_reference("ws", "a").unwrap();
    let before = home.store().show("ws").unwrap();
    assert_eq!(home.ok(&["create", "ws"]).trim_end(), path.to_str().unwrap());
    assert_eq!(home.store().show("ws").unwrap(), before);
    assert_eq!(fs::read_to_string(path.join("kept")).unwrap(), "kept");
    // Only a limit that is given changes.
    home.ok(&["create", "ws", "--disk", "1M"]);
    home.ok(&["create", "ws", "--inodes", "10"]);
    let quota = home.store().show("ws").unwrap().quota;
    assert_eq!((quota.bytes, quota.inodes), (Some(1 << 20), Some(10)));
    home.ok(&["create", "ws", "--disk", "max", "--inodes", "max"]);
    assert_eq!(home.store().show("ws").unwrap(), before);
}

#[test]
fn many_processes_create_the_same_and_each_gets_the_one_workspace() {
    let home = Home::new();
    let children: Vec<_> = (0..16).map(|_| home.workspace(&["create", "ws"]).spawn().unwrap()).collect();
    let ends: Vec<_> = children.into_iter().map(finish).collect();
    assert!(ends.iter().all(|end| end.0 == 0 && end.1 == ends[0].1), "{ends:?}");
    assert_eq!((ids(&home.store()), home.limbo()), ((vec!["ws".to_owned()], 0), 0));
}

#[test]
fn records_and_directories_are_closed_to_others() {
    let home = Home::new();
    let data = home.create("ws");
    let place = data.parent().unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&home.state()), mode(place), mode(&place.join("record.json"))), (0o700, 0o700, 0o600));
    // What is there already must be closed as well.
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o755)).unwrap();
    for args in [&["list"][..], &["create", "other"], &["ref", "ws", "a"]] {
        home.fails(args, "0700");
    }
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o711)).unwrap();
    home.ok(&["show", "ws"]);
    assert_eq!(mode(&home.state().join("workspaces")), 0o700, "what may be passed through leads nowhere");
    assert_eq!(Store::at("relative").unwrap_err().code(), "invalid");
}

#[test]
fn what_only_asks_makes_nothing() {
    let home = Home::new();
    assert_eq!(home.ok(&["list"]), "");
    assert_eq!(home.ok(&["list", "--json"]), "[]\n");
    assert_eq!(home.ok(&["prune", "--older-than", "0"]), "");
    for args in [
        &["show", "ws"][..],
        &["ref", "ws", "a"],
        &["unref", "ws", "a"],
        &["remove", "ws"],
        &["remove", "ws", "--force"],
    ] {
        home.fails(args, "there is no workspace `ws`");
    }
    home.fails(&["export", "ws", "-"], "there is no workspace");
    home.fails(&["find", "a"], "refers to no workspace");
    assert!(!home.state().exists());
    home.create("other");
    home.fails(&["unref", "ws", "a"], "there is no workspace");
    assert_eq!(home.store().path("ws").unwrap_err().code(), "not_found");
    assert_eq!(ids(&home.store()), (vec!["other".to_owned()], 0));
}

#[test]
fn a_broken_record_is_told_hides_no_other_and_is_never_taken_for_unreferenced() {
    let home = Home::new();
    home.create("whole");
    let other_record = fs::read(home.create("another").parent().unwrap().join("record.json")).unwrap();
    let newer = String::from_utf8(other_record.clone()).unwrap().replace("\"version\":1", "\"version\":2");
    let breaks: [(&str, Option<&[u8]>); 7] = [
        ("empty", Some(b"")),
        ("cut", Some(&other_record[..40])),
        ("another's", Some(&other_record)),
        ("newer", Some(newer.as_bytes())),
        ("no JSON", Some(b"\xff\0\xff")),
        ("no list", Some(br#"{"version":1,"layout":"plain","id":"no list","created_ms":1,"holders":7,"quota":{}}"#)),
        ("gone", None),
    ];
    for (id, bytes) in breaks {
        let place = home.create(id).parent().unwrap().to_owned();
        home.store().add_reference(id, &format!("holder of {id}")).unwrap();
        fs::remove_file(place.join("record.json")).unwrap();
        if let Some(bytes) = bytes {
            fs::write(place.join("record.json"), bytes).unwrap();
        }
        let listed = ids(&home.store());
        assert_eq!(listed, (vec!["another".to_owned(), "whole".to_owned()], 1), "{id}");
        for args in [
            &["remove", id][..],
            &["create", id],
            &["show", id],
            &["ref", id, "new"],
            &["ref", "whole", &format!("holder of {id}")],
            &["export", id, "-"],
            &["import", id, "/dev/null"],
        ] {
            home.fails(args, "is broken");
        }
        let (code, _, words) = finish(home.pinfold(&["run", "-w", &format!("ws:{id}"), "--", "true"]).spawn().unwrap());
        assert!(code == 125 && words.contains("is broken"), "{words}");
        home.ok(&["prune", "--older-than", "0"]);
        home.create("whole");
        home.create("another");
        assert_eq!(ids(&home.store()).1, 1, "{id}: prune leaves what is broken");
        let (code, text, _) = home.run(&["list", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let last = json.as_array().unwrap().last().unwrap();
        assert!(code == 0 && last["broken"].is_string() && last["id"].is_null(), "{last}");
        if id == "gone" {
            home.ok(&["remove", "--force", "--key", last["key"].as_str().unwrap()]);
        } else {
            home.ok(&["remove", "--force", id]);
        }
        assert_eq!(ids(&home.store()).1, 0, "{id}");
        // Nothing holds the holder any more.
        home.ok(&["ref", "whole", &format!("holder of {id}")]);
        home.ok(&["unref", "whole", &format!("holder of {id}")]);
    }
    let whole = home.store().show("whole").unwrap().key;
    home.fails(&["remove", "--force", "--key", &whole], "not broken");
    home.fails(&["remove", "--force", "--key", "../../etc"], "64 digits");
}

#[test]
fn a_record_that_is_a_link_or_no_file_is_broken_and_nothing_behind_it_is_touched() {
    let home = Home::new();
    let victim = home.scratch.file("victim", r#"{"version":1}"#);
    for number in 0..3 {
        let place = home.create("ws").parent().unwrap().to_owned();
        fs::remove_file(place.join("record.json")).unwrap();
        match number {
            0 => std::os::unix::fs::symlink(&victim, place.join("record.json")).unwrap(),
            1 => fs::create_dir(place.join("record.json")).unwrap(),
            _ => assert!(Command::new("mkfifo").arg(place.join("record.json")).status().unwrap().success()),
        }
        home.fails(&["show", "ws"], "is broken");
        home.ok(&["remove", "--force", "ws"]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), r#"{"version":1}"#);
    }
}

#[test]
fn prune_takes_what_is_old_and_free_and_nothing_else() {
    let home = Home::new();
    for id in ["free", "held", "young"] {
        home.create(id);
    }
    home.store().add_reference("held", "a").unwrap();
    for id in ["free", "held"] {
        let place = home.store().path(id).unwrap().parent().unwrap().to_owned();
        let use_file = fs::File::options().write(true).open(place.join("use")).unwrap();
        use_file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(100_000)).unwrap();
    }
    assert_eq!(home.ok(&["prune", "--older-than", "2d"]), "");
    assert_eq!(home.ok(&["prune", "--older-than", "24h"]), "free\n");
    assert_eq!(ids(&home.store()), (vec!["held".to_owned(), "young".to_owned()], 0));
    assert_eq!(home.limbo(), 0);
}

#[test]
fn a_tree_that_is_deeper_than_any_path_is_measured_and_removed() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let home = Home::new();
    let data = home.create("ws");
    let mut dir = rustix::fs::open(&data, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..3000 {
        mkdirat(&dir, "dir", Mode::RWXU).unwrap();
        dir = openat(&dir, "dir", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    fs::write(data.join("dir/file"), "x").unwrap();
    fs::set_permissions(data.join("dir/dir/dir"), fs::Permissions::from_mode(0o000)).unwrap();
    let usage = home.store().usage("ws").unwrap();
    assert!(usage.incomplete && usage.inodes > 2, "{usage:?}");
    let (code, _, words) = home.run(&["export", "ws", home.scratch.text("deep.tar").as_str()]);
    assert!(code == 0 && words.contains("pinfold: warning: `dir/dir"), "{words}");
    home.ok(&["remove", "ws"]);
    assert_eq!((ids(&home.store()), home.limbo()), ((Vec::new(), 0), 0));
}

#[test]
fn usage_counts_what_is_there_once_and_follows_no_link() {
    let home = Home::new();
    let data = home.create("ws");
    fs::write(data.join("file"), vec![1; 1 << 20]).unwrap();
    fs::hard_link(data.join("file"), data.join("again")).unwrap();
    std::os::unix::fs::symlink("/usr", data.join("link")).unwrap();
    fs::create_dir(data.join("dir")).unwrap();
    let usage = home.store().usage("ws").unwrap();
    assert!(usage.inodes == 3 && !usage.incomplete && (1 << 20..1 << 21).contains(&usage.bytes), "{usage:?}");
}

#[test]
fn the_shared_folder_is_made_and_mounted_read_only() {
    let home = Home::new();
    let shared = home.ok(&["shared"]).trim_end().to_owned();
    assert_eq!(shared, home.state().join("workspaces/shared").to_str().unwrap());
    fs::write(format!("{shared}/for-all"), "read me").unwrap();
    let mount = format!("{shared}:/shared");
    let script = "cat /shared/for-all; echo x > /shared/new || echo denied";
    let run = home.pinfold(&["run", "--ro", &mount, "--", "sh", "-c", script]).spawn().unwrap();
    assert_eq!(finish(run).1, "read medenied\n");
    assert_eq!(fs::metadata(&shared).unwrap().uid(), fs::metadata("/proc/self").unwrap().uid());
}
