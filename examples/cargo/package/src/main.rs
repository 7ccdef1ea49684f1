//! Reads a web server's access log on stdin and prints what was asked for, as JSON.

use regex::Regex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::BufRead;

#[derive(Debug, Default, PartialEq, Serialize)]
struct Tally {
    requests: u64,
    bytes: u64,
    statuses: BTreeMap<u16, u64>,
    not_understood: u64,
}

impl Tally {
    fn of(lines: impl Iterator<Item = String>) -> Self {
        let request = Regex::new(r#""(?:GET|HEAD|POST) \S+ HTTP/[0-9.]+" ([0-9]{3}) ([0-9]+)"#).unwrap();
        let mut tally = Self::default();
        for line in lines {
            let Some(found) = request.captures(&line) else {
                tally.not_understood += 1;
                continue;
            };
            tally.requests += 1;
            tally.bytes += found[2].parse::<u64>().unwrap_or(0);
            *tally.statuses.entry(found[1].parse().unwrap_or(0)).or_default() += 1;
        }
        tally
    }
}

fn main() {
    let tally = Tally::of(std::io::stdin().lock().lines().map_while(Result::ok));
    println!("{}", serde_json::to_string(&tally).unwrap());
}

#[test]
fn requests_are_counted_by_status() {
    let log = ["\"GET / HTTP/1.1\" 200 5", "\"GET /x HTTP/1.1\" 404 2", "\"POST / HTTP/2\" 200 1", "?"];
    let tally = Tally::of(log.iter().map(ToString::to_string));
    assert_eq!((tally.requests, tally.bytes, tally.not_understood), (3, 8, 1));
    assert_eq!(tally.statuses, BTreeMap::from([(200, 2), (404, 1)]));
}
