//! What is written down: lifecycle and detached output, bounded, and not to be forged from inside.

use super::{Home, finish};
use crate::sandbox::eventually;
use pinfold::held::{LogEvent, LogLine};
use std::io::{BufRead, BufReader};

fn lines(home: &Home, name: &str) -> Vec<LogLine> {
    home.ok(&["logs", "--json", name]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn detach(home: &Home, script: &str) -> u64 {
    home.ok(&["exec", "-d", "a", "--", "sh", "-c", script]).trim_end().parse().unwrap()
}

/// Waits until the command has ended, and tells what it wrote.
fn output(home: &Home, number: u64) -> Vec<(LogEvent, String)> {
    eventually("it has ended", || {
        lines(home, "a").iter().any(|line| line.exec == Some(number) && line.event == LogEvent::Ended)
    });
    let of = |line: LogLine| (line.event, line.text.to_text().into_owned());
    let is_output = |line: &LogLine| matches!(line.event, LogEvent::Stdout | LogEvent::Stderr);
    eventually("its streams are at their end", || home.json(&["stats", "--json", "a"])["running"] == 0);
    lines(home, "a").into_iter().filter(|line| line.exec == Some(number) && is_output(line)).map(of).collect()
}

#[test]
fn a_life_is_written_down_and_can_be_read_after_its_end() {
    let home = Home::new();
    let id = home.start("a", &[]);
    assert_eq!(home.shell("a", "exit 3").0, 3);
    let number = detach(&home, "echo out; echo err >&2; printf end");
    let mut written = output(&home, number);
    eventually("all is written", || {
        written = output(&home, number);
        written.len() == 3
    });
    written.sort_by_key(|(event, _)| event.name());
    let expected = [(LogEvent::Stderr, "err"), (LogEvent::Stdout, "out"), (LogEvent::Stdout, "end")];
    assert_eq!(written, expected.map(|(event, text)| (event, text.to_owned())));
    home.ok(&["stop", "a"]);
    for name in ["a", &id, &id[..10]] {
        let lines = lines(&home, name);
        let events: Vec<_> = lines.iter().map(|line| (line.exec, line.event)).collect();
        assert_eq!(events[..3], [(None, LogEvent::Started), (Some(1), LogEvent::Begun), (Some(1), LogEvent::Ended)]);
        assert_eq!(events.last(), Some(&(None, LogEvent::Stopped)));
        assert_eq!(lines[2].text.to_text(), "exited 3");
    }
    home.fails(&["logs", "nobody"], "there is no sandbox");
}

#[test]
fn no_text_from_inside_passes_for_a_line_of_ours() {
    let home = Home::new();
    home.start("a", &[]);
    let forged = r#"{"time_ms":1,"exec":null,"event":"stopped","text":"forged"}"#;
    let script =
        format!("printf '%s\\n' '{forged}'; printf 'x\\r\\033[2J\\0y\\n'; printf '\\377\\n'; printf '\\\\\"\\n'");
    let number = detach(&home, &script);
    let mut written = Vec::new();
    eventually("all is written", || {
        written = output(&home, number);
        written.len() == 4
    });
    assert_eq!(written[0], (LogEvent::Stdout, forged.to_owned()));
    assert_eq!(written[1].1, "x\r\x1b[2J\0y");
    assert!(!lines(&home, "a").iter().any(|line| line.event == LogEvent::Stopped));
    let shown = home.ok(&["logs", "a"]);
    assert!(!shown.contains('\x1b') && !shown.contains('\r'), "{shown:?}");
    // In the command's own words neither.
    home.ok(&["exec", "a", "--", "echo", "a\n{\"event\":\"stopped\"}"]);
    assert!(!lines(&home, "a").iter().any(|line| line.event == LogEvent::Stopped));
}

#[test]
fn a_long_line_and_a_flood_are_cut_and_say_so() {
    let home = Home::new();
    home.start("a", &[]);
    let number = detach(&home, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo short");
    let mut written = Vec::new();
    eventually("all is written", || {
        written = output(&home, number);
        written.len() == 2
    });
    assert_eq!((written[0].1.len(), written[1].1.as_str()), (8192, "short"));
    assert!(lines(&home, "a").iter().any(|line| line.truncated));
    let number = detach(&home, "yes 'a line of some length, as programs write them' | head -c 20000000");
    output(&home, number);
    let size = || -> u64 {
        let logs = std::fs::read_dir(home.runtime().join("logs")).unwrap().flatten();
        logs.map(|file| file.metadata().unwrap().len()).sum()
    };
    assert!(size() < 18 << 20, "{}", size());
    let lines = lines(&home, "a");
    assert!(lines.iter().any(|line| line.event == LogEvent::Dropped));
    assert!(lines.len() > 20_000);
}

#[test]
fn whoever_follows_sees_it_as_it_comes_until_the_end() {
    let home = Home::new();
    home.start("a", &[]);
    let mut follower = home.pinfold(&["logs", "-f", "a"]).spawn().unwrap();
    let mut shown = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert!(shown.next().unwrap().unwrap().contains("started"));
    detach(&home, "echo one; sleep 0.2; echo two");
    for word in ["begun", "one", "two", "ended"] {
        let line = shown.next().unwrap().unwrap();
        assert!(line.contains(word), "{word}: {line}");
    }
    home.ok(&["stop", "a"]);
    assert!(shown.next().unwrap().unwrap().contains("stopped"));
    assert!(shown.next().is_none());
    assert_eq!(finish(follower).0, 0);
    // Of one that has ended there is no more to come.
    assert!(home.ok(&["logs", "-f", "a"]).contains("stopped"));
}
