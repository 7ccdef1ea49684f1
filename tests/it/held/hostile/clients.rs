//! Those around a sandbox: other users, clients that misbehave or vanish, and crashes while it stands still.

use crate::held::Home;
use crate::held::wire::{client, hears};
use crate::sandbox::{eventually, kill};
use crate::support::{host_cannot, is_root, runs};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
    SocketType, accept, bind, connect, listen, recv, send, sendmsg, shutdown, socket_with,
};
use rustix::process::Uid;
use std::fs::{self, File, Permissions};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// A command that waits, with no stdio of its client's.
const WAITS: &str =
    r#"{"exec":{"job":{"command":["sleep","1000"],"limits":{"swap_bytes":"max","shm_bytes":"max"}},"detach":false}}"#;

fn say(client: &OwnedFd, text: &str, descriptors: &[OwnedFd]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    sendmsg(client, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL).is_ok()
}

fn pipes(count: usize) -> Vec<OwnedFd> {
    let mut pipes = Vec::new();
    while pipes.len() < count {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        pipes.extend(if pipes.is_empty() { [read, write] } else { [write, read] });
    }
    pipes.truncate(count);
    pipes
}

fn running(home: &Home) -> i64 {
    home.json(&["stats", "--json", "box"])["running"].as_i64().unwrap()
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Does something as the user nobody, in a thread of its own: an identity is a thread's.
fn as_nobody<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        let nobody = Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        work()
    });
    thread.join().unwrap()
}

fn socket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// A sandbox in a runtime directory that its owner has opened to everybody; and its socket.
fn open_to_all() -> (Home, PathBuf) {
    let home = Home::new();
    home.start("box", &[]);
    fs::set_permissions(home.runtime(), Permissions::from_mode(0o777)).unwrap();
    let mut files = fs::read_dir(home.runtime()).unwrap().flatten().map(|file| file.path());
    let path = files.find(|path| path.extension().is_some_and(|extension| extension == "sock")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    (home, path)
}

fn close_to_others(home: &Home) {
    fs::set_permissions(home.runtime(), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn another_user_is_not_served_even_where_the_directory_is_open() {
    if !is_root() {
        return host_cannot("needs root, who can be somebody else");
    }
    let (home, path) = open_to_all();
    let ask = move || {
        let client = socket();
        connect(&client, &SocketAddrUnix::new(path).unwrap()).unwrap();
        let _closed = send(&client, b"\"stats\"", SendFlags::NOSIGNAL);
        let mut answer = [0; 4096];
        recv(&client, &mut answer[..], rustix::net::RecvFlags::empty()).map_or(0, |(_, length)| length)
    };
    assert_eq!(as_nobody(ask.clone()), 0);
    // The twin: its owner is.
    assert!(ask() > 0);
    // And nobody looks for sandboxes in a directory that others may enter.
    home.fails(&["ps"], "nobody else may");
    close_to_others(&home);
    assert_eq!(home.says("box", "echo here"), "here\n");
}

#[test]
fn another_user_s_keeper_is_not_believed() {
    if !is_root() {
        return host_cannot("needs root, who can be somebody else");
    }
    let (home, path) = open_to_all();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    let there = path.clone();
    let listener = as_nobody(move || {
        let listener = socket();
        bind(&listener, &SocketAddrUnix::new(there).unwrap()).unwrap();
        listen(&listener, 8).unwrap();
        listener
    });
    close_to_others(&home);
    // Who is believed hangs up, so that nobody waits for an answer of his.
    let hangs_up = {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || while accept(&listener).is_ok() {})
    };
    for args in [&["exec", "box", "--", "true"][..], &["stats", "box"], &["stop", "box"]] {
        home.fails(args, "somebody else listens");
    }
    shutdown(&listener, Shutdown::Both).unwrap();
    hangs_up.join().unwrap();
    drop(listener);
    fs::rename(aside, path).unwrap();
    assert_eq!(home.says("box", "echo here"), "here\n");
}

#[test]
fn a_freeze_ends_with_its_client() {
    let home = Home::new();
    home.start("box", &[]);
    home.says("box", "sh -c 'while :; do echo >> beats; sleep 0.01; done' >/dev/null 2>&1 &");
    let beats = || {
        let held = home.sandboxes().get("box").unwrap();
        held.files().unwrap().read("beats").map_or(0, |text| text.len())
    };
    eventually("it beats", || beats() > 0);
    for words in [None, Some("\"thaw\""), Some("nonsense"), Some("\"freeze\"")] {
        let frozen = client(&home);
        assert!(say(&frozen, "\"freeze\"", &[]));
        assert_eq!(hears(&frozen), "\"frozen\"");
        let (before, waiting) = (beats(), home.pinfold(&["exec", "box", "--", "true"]).spawn().unwrap());
        // Nobody else can let them go on, and nobody is held up who asks something else.
        home.json(&["stats", "--json", "box"]);
        assert_eq!(beats(), before, "the twin: they do stand still");
        if let Some(words) = words {
            say(&frozen, words, &[]);
        }
        drop(frozen);
        assert_eq!(crate::held::finish(waiting).0, 0);
        eventually("they go on", || beats() > before);
    }
}

#[test]
fn what_stands_still_dies_with_keeper_and_runner() {
    for whom in 0..3 {
        let home = Home::new();
        home.start("box", &[]);
        home.says("box", "sleep 1000 >/dev/null 2>&1 & sleep 1000 >/dev/null 2>&1 &");
        let (keeper, runner) = home.processes("box");
        let frozen = client(&home);
        assert!(say(&frozen, "\"freeze\"", &[]));
        assert_eq!(hears(&frozen), "\"frozen\"");
        if whom != 1 {
            kill(runner, libc::SIGKILL);
        }
        if whom != 0 {
            kill(keeper, libc::SIGKILL);
        }
        home.next_command_cleans();
    }
}

#[test]
fn clients_that_vanish_in_the_middle_leave_nothing() {
    let home = Home::new();
    home.start("box", &[]);
    let (keeper, runner) = home.processes("box");
    let resident = home.pinfold(&["exec", "box", "--", "sleep", "1000"]).spawn().unwrap();
    eventually("it runs", || running(&home) == 1);
    let before = (descriptors(keeper), descriptors(runner));
    let terminal = r#"{"terminal":{"exec":{"job":{"command":["sleep","1000"],"limits":{"swap_bytes":"max","shm_bytes":"max"}},"rows":24,"columns":80}}}"#;
    let requests: [(&str, usize); 7] = [
        (WAITS, 3),
        (WAITS, 7),
        (terminal, 0),
        ("\"workspace\"", 0),
        ("\"freeze\"", 0),
        ("\"follow\"", 0),
        (r#"{"terminal":{"of":{"terminal":"none","what":{"attach":{"size":null}}}}}"#, 0),
    ];
    for round in 0..runs(10) {
        for (text, count) in requests {
            let client = client(&home);
            let theirs = pipes(count);
            say(&client, text, &theirs);
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_micros(400) * u32::try_from(round).unwrap());
            }
        }
    }
    eventually("all of it is over", || running(&home) == 1);
    eventually("their descriptors are closed", || {
        (descriptors(keeper), descriptors(runner)) <= (before.0 + 2, before.1 + 2)
    });
    assert_eq!(home.says("box", "grep -sal sleep /proc/[0-9]*/comm | wc -l"), "1\n");
    let mut resident = resident;
    resident.kill().unwrap();
    resident.wait().unwrap();
}

#[test]
fn a_flood_of_descriptors_and_of_questions_holds_nobody_up() {
    let home = Home::new();
    home.start("box", &[]);
    let (keeper, _) = home.processes("box");
    let before = descriptors(keeper);
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let many: Vec<_> = (0..253).map(|_| null()).collect();
    let flooders: Vec<_> = (0..20).map(|_| client(&home)).collect();
    for flooder in &flooders {
        say(flooder, "\"stats\"", &many);
        say(flooder, WAITS, &many[..3]);
    }
    // One who asks and asks, and never reads.
    let asker = client(&home);
    rustix::io::ioctl_fionbio(&asker, true).unwrap();
    while say(&asker, "\"stats\"", &[]) {}
    let begun = std::time::Instant::now();
    assert_eq!(home.says("box", "echo here"), "here\n");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop((flooders, asker));
    eventually("their descriptors are closed", || descriptors(keeper) <= before + 2);
    assert_eq!(running(&home), 0);
}

#[test]
fn a_descriptor_that_is_no_fresh_pipe_is_refused() {
    let home = Home::new();
    home.start("box", &[]);
    let scratch = &home.scratch;
    let fifo = scratch.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let odd: [OwnedFd; 4] = [
        File::open("/").unwrap().into(),
        File::open("/dev/null").unwrap().into(),
        File::options().read(true).write(true).open(fifo).unwrap().into(),
        socket(),
    ];
    for descriptor in odd {
        let client = client(&home);
        let mut given = pipes(2);
        given.push(descriptor);
        assert!(say(&client, WAITS, &given));
        let answer = hears(&client);
        assert!(answer.contains("\"failed\"") && answer.contains("no pipe"), "{answer}");
    }
    assert_eq!(running(&home), 0);
}

#[test]
fn a_message_is_as_long_as_one_may_be_and_no_longer() {
    let home = Home::new();
    home.start("box", &[]);
    let padded = |length: usize| {
        let client = client(&home);
        let sent = say(&client, &format!("\"stats\"{}", " ".repeat(length)), &[]);
        // One that is too long for this host's sockets does not even leave.
        if sent { hears(&client) } else { String::new() }
    };
    assert!(padded(100 << 10).contains("\"stats\""));
    for length in [150 << 10, 190 << 10] {
        assert_eq!(padded(length), "");
    }
    assert_eq!(home.says("box", "echo here"), "here\n");
}
