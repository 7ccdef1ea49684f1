//! Clients that are hostile, slow or gone: an error for them, and nothing for anybody else.

use super::Home;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

fn socket(home: &Home) -> PathBuf {
    let mut files = std::fs::read_dir(home.runtime()).unwrap().flatten().map(|file| file.path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "sock")).unwrap()
}

pub(super) fn client(home: &Home) -> OwnedFd {
    let client = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    // Through a descriptor: the path of a user's temporary directory may be too long for an address.
    let dir = std::fs::File::open(home.runtime()).unwrap();
    let name = socket(home).file_name().unwrap().to_str().unwrap().to_owned();
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    connect(&client, &SocketAddrUnix::new(path).unwrap()).unwrap();
    client
}

/// Says something: the answer, which is empty when the keeper closes.
fn says(home: &Home, bytes: &[u8]) -> String {
    let client = client(home);
    send(&client, bytes, SendFlags::NOSIGNAL).unwrap();
    hears(&client)
}

/// The next answer, which is empty when the keeper closes.
pub(super) fn hears(client: &OwnedFd) -> String {
    let mut answer = vec![0; 200 << 10];
    let (_, length) = recv(client, &mut answer[..], rustix::net::RecvFlags::empty()).unwrap_or((0, 0));
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn nonsense_is_an_error_for_him_who_says_it() {
    let home = Home::new();
    home.start("a", &[]);
    let long = vec![b'x'; 150 << 10];
    for nonsense in [
        &b"{"[..],
        b"null",
        b"\xff\xfe",
        b"{\"exec\":{}}",
        b"{\"exec\":{\"job\":{\"command\":[\"true\"]},\"detach\":false}}",
        b"{\"exec\":{\"job\":{\"command\":[\"true\"],\"mode\":\"landlock\"},\"detach\":true}}",
        b"{\"signal\":{\"signal\":9}}{",
        &long,
    ] {
        let answer = says(&home, nonsense);
        let is_refused = answer.is_empty() || answer.starts_with("{\"refused\"");
        assert!(is_refused, "{}: {answer}", String::from_utf8_lossy(&nonsense[..nonsense.len().min(50)]));
    }
    assert_eq!(home.says("a", "echo still"), "still\n");
}

#[test]
fn clients_that_say_nothing_hold_nobody_up() {
    let home = Home::new();
    home.start("a", &[]);
    let _silent: Vec<_> = (0..100).map(|_| client(&home)).collect();
    assert_eq!(home.says("a", "echo here"), "here\n");
    assert_eq!(home.json(&["stats", "--json", "a"])["running"], 0);
    // More than are served at once are turned away; when they are gone there is room again.
    let many: Vec<_> = (0..200).map(|_| client(&home)).collect();
    let (code, _, words) = home.shell("a", "true");
    assert!(code == 0 || words.contains("busy"), "{code} {words}");
    drop(many);
    crate::sandbox::eventually("there is room again", || home.shell("a", "true").0 == 0);
}

#[test]
fn a_command_without_descriptors_is_refused_and_those_of_others_are_closed() {
    let home = Home::new();
    home.start("a", &[]);
    let answer = says(&home, b"{\"exec\":{\"job\":{\"command\":[\"true\"],\"limits\":{\"swap_bytes\":\"max\",\"shm_bytes\":\"max\"}},\"detach\":false}}");
    assert!(answer.contains("descriptors"), "{answer}");
    let (keeper, _) = home.processes("a");
    let open = || std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count();
    for _ in 0..20 {
        home.says("a", "true");
    }
    crate::sandbox::eventually("all connections are closed", || open() < 25);
}
