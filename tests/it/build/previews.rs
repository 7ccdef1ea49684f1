//! Previews: who knows the secret sees what the project shows, for as long as it holds.

use super::{LEASE, Shelf, later, project, script};
use crate::workspaces::Home;
use pinfold::build::{BuildStore, Builds, Moment, Preview, Report};
use std::time::Duration;

#[test]
fn a_preview_shows_what_its_project_shows_until_it_ends() {
    let home = Home::new();
    let directory = project(&home, "site", &script("mkdir out; echo one > out/index.html"));
    assert_eq!(home.build(&directory, &[]).0, 0);
    let (builds, owner) = (Builds::at(home.state()).unwrap(), Builds::own_owner());
    let open = |build: Option<&str>| builds.open_preview(&owner, "site", build, Some(LEASE)).unwrap();
    let (preview, token) = open(None);
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let shown = |token: &str| {
        let shown = builds.find_preview(token).map_err(|error| error.code())?;
        Ok::<_, &str>(String::from_utf8(shown.files.read("index.html").unwrap()).unwrap())
    };
    assert_eq!(shown(&token).unwrap(), "one\n");
    let first = home.builds()[0]["id"].as_str().unwrap().to_owned();
    let (_, fixed) = open(Some(&first));
    // A failure takes nothing away; the next success moves it on.
    std::fs::write(directory.join("pinfold.toml"), script("mkdir out; echo two > out/index.html; exit 3")).unwrap();
    assert_eq!(home.build(&directory, &[]).0, 3);
    assert_eq!(shown(&token).unwrap(), "one\n");
    std::fs::write(directory.join("pinfold.toml"), script("mkdir out; echo three > out/index.html")).unwrap();
    assert_eq!(home.build(&directory, &[]).0, 0);
    assert_eq!(shown(&token).unwrap(), "three\n");
    assert_eq!(shown(&fixed).unwrap(), "one\n");
    // Nothing that is shown is cleared up, and nothing that is remembered.
    home.told(&["jobs", "clear", "--older-than", "0"]);
    assert_eq!(shown(&token).unwrap(), "three\n");
    assert_eq!(shown(&fixed).unwrap_err(), "not_found");
    // The database knows only the hash.
    let database = std::fs::read(home.state().join("builds/builds.db")).unwrap();
    assert!(!database.windows(32).any(|window| window == token.as_bytes()));
    builds.revoke_preview(&owner, &preview.id).unwrap();
    assert_eq!(shown(&token).unwrap_err(), "gone");
    assert_eq!(shown("00000000000000000000000000000000").unwrap_err(), "not_found");
}

#[test]
fn a_preview_ends_by_itself_and_setting_the_clock_does_not_matter() {
    let shelf = Shelf::new();
    let (store, now) = (&shelf.store, shelf.put("1", "p"));
    let claim = store.claim("worker", None, LEASE, &now).unwrap().unwrap();
    store.finish(&claim, Report { artifact: Some("made".into()), ..Report::default() }, &now).unwrap();
    let (id, project) = ("v".to_owned(), "p".to_owned());
    let preview = Preview {
        id,
        project,
        build: None,
        created_us: 0,
        expires_us: Some(later(&now, Duration::from_secs(60)).wall_us),
        revoked_us: None,
    };
    store.add_preview("a", &preview, "hash", Some(Duration::from_secs(60)), &now).unwrap();
    let find = |now: &Moment| store.find_preview("hash", now).map_err(|error| error.code());
    assert_eq!(find(&now).unwrap().2.build, "1");
    for wall_us in [0, now.wall_us + 10_i64.pow(15)] {
        let at = |seconds| Moment { wall_us, ..later(&now, Duration::from_secs(seconds)) };
        store.forget(Duration::ZERO, &at(59)).unwrap();
        assert!(find(&at(59)).is_ok());
        assert_eq!(find(&at(60)).unwrap_err(), "gone");
    }
    // Forgotten when it is over by both clocks.
    store.forget(Duration::ZERO, &Moment { wall_us: i64::MAX, ..later(&now, Duration::from_secs(59)) }).unwrap();
    assert!(find(&now).is_ok());
    store.forget(Duration::ZERO, &later(&now, Duration::from_secs(60))).unwrap();
    assert_eq!(find(&now).unwrap_err(), "not_found");
}
