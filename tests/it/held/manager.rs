//! Many sandboxes in one program: the limit, turns, the search for idle ones, and the end.

use super::{Home, wait};
use crate::sandbox::eventually;
use pinfold::held::{Deleted, Manager, ManagerSettings, Name, Spec, command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn spec(name: &str) -> Spec {
    Spec::named(Name::try_from(name).unwrap())
}

fn settings(max_sandboxes: usize) -> ManagerSettings {
    ManagerSettings { max_sandboxes, ..ManagerSettings::default() }
}

#[test]
fn the_limit_says_its_number_and_ends_with_a_sandbox() {
    let home = Home::new();
    wait(async {
        let manager = Manager::new(home.sandboxes(), settings(2));
        let a = manager.create(spec("a")).await.unwrap();
        manager.create(spec("b")).await.unwrap();
        let refused = manager.create(spec("c")).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.to_string().as_str()),
            ("limit", "maximum number of sandboxes (2) reached")
        );
        // One that is there needs no place, and one that has ended by itself gives its own back.
        assert_eq!(manager.create(spec("a")).await.unwrap().id(), a.id());
        tokio::task::spawn_blocking(move || a.stop()).await.unwrap().unwrap();
        manager.create(spec("c")).await.unwrap();
        assert_eq!(manager.delete("b").await.unwrap(), Deleted::Ended);
        assert_eq!(manager.delete("b").await.unwrap(), Deleted::AlreadyGone);
        // A sandbox that can't be made leaves its place.
        let job = pinfold::job(["x"]).mount("/no/such/directory", "/x").build().unwrap();
        assert!(manager.create(spec("d").like(job)).await.is_err());
        manager.create(spec("e")).await.unwrap();
        assert_eq!(manager.shutdown(Duration::from_secs(30)).await, Vec::<String>::new());
    });
    home.is_clean();
}

#[test]
fn what_a_crash_of_the_program_leaves_ends_by_itself() {
    let home = Home::new();
    wait(async {
        let soon = Some(Duration::from_millis(300));
        let settings = ManagerSettings { idle_timeout: Duration::from_millis(1), abandoned_after: soon, ..settings(9) };
        let manager = Manager::new(home.sandboxes(), settings);
        manager.create(spec("left")).await.unwrap();
        let told = manager.create(spec("told").idle(Duration::from_secs(3600))).await.unwrap();
        let mortal = manager.create(spec("mortal").ttl(Duration::from_secs(3600))).await.unwrap();
        assert_eq!(told.record().spec.idle, Some(Duration::from_secs(3600)));
        assert_eq!(mortal.record().spec.idle, None);
        // Nobody looks for idle ones here; whoever asks for one that lives asks for no such end.
        assert_eq!(manager.create(spec("told")).await.unwrap().id(), told.id());
        assert_eq!(manager.stats().await.abandoned_after_ms, Some(300));
        drop(manager);
        let manager = Manager::new(home.sandboxes(), ManagerSettings { abandoned_after: None, ..settings });
        assert_eq!(manager.create(spec("for-ever")).await.unwrap().record().spec.idle, None);
        let day = Manager::new(home.sandboxes(), ManagerSettings::default());
        assert_eq!(day.create(spec("a-day")).await.unwrap().record().spec.idle, Some(Duration::from_secs(86_400)));
    });
    eventually("the one that was left has ended", || !home.ok(&["ps"]).contains("left"));
    assert_eq!(home.ok(&["ps"]).lines().count(), 5);
}

#[test]
fn operations_have_a_sandbox_alone_and_others_go_on() {
    let home = Home::new();
    wait(async {
        let manager = Manager::new(home.sandboxes(), settings(5));
        manager.create(spec("a")).await.unwrap();
        manager.create(spec("b")).await.unwrap();
        let at_once = AtomicUsize::new(0);
        let work = async || {
            let operation = manager.operation("a").await.unwrap();
            assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
            operation.exec(command(["true"]).build().unwrap()).await.unwrap();
            at_once.fetch_sub(1, Ordering::SeqCst);
        };
        tokio::join!(work(), work(), work());
        let held = manager.operation("a").await.unwrap();
        let other = tokio::time::timeout(Duration::from_secs(20), manager.operation("b")).await;
        drop(other.unwrap().unwrap());
        assert_eq!(manager.operation("c").await.unwrap_err().code(), "not_found");
        let stats = manager.stats().await;
        assert_eq!((stats.total_sandboxes, stats.active_operations, stats.max_sandboxes), (2, 1, 5));
        assert_eq!(
            (stats.idle_timeout_ms, stats.cleanup_interval_ms, stats.is_shutting_down),
            (3_600_000, 300_000, false)
        );
        let [a, b] = &stats.sandboxes[..] else { panic!("{stats:?}") };
        assert_eq!((a.name.as_str(), a.is_active, b.is_active), ("a", true, false));
        assert!(a.last_used_ms >= a.created_ms);
        // A deletion waits 5 seconds for an operation that does not end, and then does without.
        let start = Instant::now();
        assert_eq!(manager.delete("a").await.unwrap(), Deleted::Interrupted);
        assert!(start.elapsed() >= Duration::from_secs(5));
        assert!(held.exec(command(["true"]).build().unwrap()).await.is_err());
        drop(held);
        manager.shutdown(Duration::from_secs(30)).await;
    });
}

#[test]
fn the_search_for_idle_ones_spares_who_is_at_work() {
    let home = Home::new();
    wait(async {
        let brief = ManagerSettings {
            idle_timeout: Duration::from_millis(300),
            cleanup_interval: Duration::from_millis(50),
            ..settings(5)
        };
        let manager = Manager::new(home.sandboxes(), ManagerSettings::default());
        for name in ["idle", "works", "elsewhere"] {
            manager.create(spec(name)).await.unwrap();
        }
        // One works through the manager, one through somebody else, who knows of no manager.
        let operation = manager.operation("works").await.unwrap();
        let elsewhere = home.pinfold(&["exec", "elsewhere", "--", "sleep", "1000"]).spawn().unwrap();
        let stats = async |name: &str| {
            let all = manager.stats().await;
            all.sandboxes.into_iter().find(|sandbox| sandbox.name == name)
        };
        while !stats("elsewhere").await.unwrap().is_active {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cleanup = manager.start_cleanup();
        manager.set(brief);
        while stats("idle").await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let long = operation.exec(command(["sleep", "1"]).build().unwrap()).await.unwrap();
        assert_eq!(long.exit_code, Some(0));
        assert!(stats("works").await.is_some() && stats("elsewhere").await.is_some());
        drop(operation);
        let mut elsewhere = elsewhere;
        elsewhere.kill().unwrap();
        elsewhere.wait().unwrap();
        while manager.stats().await.total_sandboxes > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(cleanup);
    });
    home.is_clean();
}

#[test]
fn a_shutdown_ends_all_at_once_and_starts_no_more() {
    let home = Home::new();
    wait(async {
        let manager = Manager::new(home.sandboxes(), settings(10));
        for name in ["a", "b", "c", "d"] {
            let held = manager.create(spec(name)).await.unwrap();
            held.exec(command(["sh", "-c", "sleep 1000 >/dev/null 2>&1 &"]).build().unwrap()).await.unwrap();
        }
        // Another manager, as after a restart, takes over what lives.
        let manager = Manager::new(home.sandboxes(), settings(10));
        assert_eq!(manager.adopt().await.unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(manager.shutdown(Duration::from_secs(30)).await, Vec::<String>::new());
        assert_eq!(manager.create(spec("e")).await.unwrap_err().code(), "busy");
        assert_eq!(manager.operation("a").await.unwrap_err().code(), "busy");
        assert!(manager.stats().await.is_shutting_down);
        assert_eq!(manager.shutdown(Duration::from_secs(30)).await, Vec::<String>::new());
    });
    home.is_clean();
}

#[test]
fn a_shutdown_that_has_no_time_tells_who_survives_and_ends_them_all_the_same() {
    let home = Home::new();
    wait(async {
        let manager = Manager::new(home.sandboxes(), settings(10));
        for name in ["a", "b"] {
            manager.create(spec(name)).await.unwrap();
        }
        assert_eq!(manager.shutdown(Duration::ZERO).await, ["a", "b"]);
        while manager.stats().await.total_sandboxes > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    home.is_clean();
}

#[test]
fn of_many_who_create_one_name_at_once_each_gets_the_same_and_it_takes_one_place() {
    let home = Home::new();
    wait(async {
        let manager = Manager::new(home.sandboxes(), settings(1));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let manager = manager.clone();
            calls.spawn(async move { manager.create(spec("a")).await.unwrap().id().to_owned() });
        }
        let mut ids = calls.join_all().await;
        ids.dedup();
        assert_eq!((ids.len(), manager.stats().await.total_sandboxes), (1, 1));
        // A deletion and a creation at once end in one sandbox or none, and never in one that nobody looks after.
        let (deleted, created) = tokio::join!(manager.delete("a"), manager.create(spec("a")));
        deleted.unwrap();
        let lives = created.is_ok_and(|held| held.stats().is_ok());
        assert!(lives || home.ok(&["ps"]).is_empty());
        assert_eq!(manager.shutdown(Duration::from_secs(30)).await, Vec::<String>::new());
    });
    home.is_clean();
}

#[test]
fn a_scope_ends_its_sandbox() {
    let home = Home::new();
    let sandboxes = home.sandboxes();
    drop(sandboxes.start(&spec("a")).unwrap().scoped());
    crate::sandbox::eventually("it has ended", || home.ok(&["ps"]).is_empty());
    let scoped = sandboxes.start(&spec("b")).unwrap().scoped();
    assert_eq!(scoped.stop().unwrap(), pinfold::held::Stopped::Orderly);
    let kept = sandboxes.start(&spec("c")).unwrap().scoped().keep().unwrap();
    assert_eq!(home.says("c", "echo here"), "here\n");
    kept.stop().unwrap();
}
