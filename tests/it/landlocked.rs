//! `"mode": "landlock"`: what stands where namespaces are denied, attacked as the other mode is; and what can't be had there.

mod container;
mod demands;
mod files;
mod lifetime;
mod limits;
mod neighbours;
mod sockets;

use crate::sandbox::{Job, Scratch};
use crate::support::{host_cannot, probe as program};
use pinfold_runner::Status;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

/// Permission denied: by Landlock, or by the bits of a file.
const EACCES: &str = "13";
const EPERM: &str = "1";

/// Whether this kernel's Landlock is enough for the mode, found out by a job; a loud skip if it isn't.
fn stands() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let stands = *ANSWER.get_or_init(|| {
        let outcome = job(&["true"]).run().outcome;
        match outcome.error {
            Some(error) => error.code != "landlock",
            None => outcome.status == Status::Exited,
        }
    });
    if !stands {
        host_cannot("needs a newer Landlock than this kernel's");
    }
    stands
}

fn job(command: &[&str]) -> Job {
    Job::new(command).with("mode", json!("landlock"))
}

fn sh(script: &str) -> Job {
    job(&["sh", "-c", script])
}

/// A probe, at a path that every user can reach: here the command finds it where it is, or not at all.
fn probe(scratch: &Scratch, name: &str, arguments: &[&str]) -> Job {
    let path = scratch.text(name);
    if !scratch.path(name).exists() {
        fs::copy(program(name), &path).unwrap();
    }
    let mut command = vec![path.as_str()];
    command.extend_from_slice(arguments);
    job(&command).mount(&path, &path, false)
}

/// A directory that everybody may read and write, with a file in it for which the same goes: only a fence keeps anybody
/// from it.
fn open_place(scratch: &Scratch, name: &str) -> String {
    let (dir, file) = (scratch.dir(name), scratch.file(&format!("{name}/canary"), "alive"));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    dir
}
