//! What Prometheus is told: counts of requests by route and status, how long they took, and how full the server is. Nothing in
//! it is an owner's: routes are told as they are written, with `{name}` for every name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The upper ends of the buckets, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0];

/// All figures.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
    durations: Mutex<BTreeMap<String, Durations>>,
    /// Connections that are open.
    pub(super) connections: AtomicI64,
    /// Connections that were turned away, since there were too many.
    pub(super) turned_away: AtomicU64,
    /// Commands that run.
    pub(super) commands: AtomicI64,
    /// Event streams and terminals that are open.
    pub(super) streams: AtomicI64,
}

#[derive(Debug, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
    count: u64,
}

impl Metrics {
    /// Counts a request that was answered.
    pub(super) fn count(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), method, status)).or_default() += 1;
        drop(requests);
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let of = durations.entry(route.to_owned()).or_default();
        let seconds = took.as_secs_f64();
        for (bucket, end) in of.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= end);
        }
        of.seconds += seconds;
        of.count += 1;
    }

    /// All of it in the text format of Prometheus.
    pub(super) fn tell(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        head(text, "pinfold_requests_total", "counter", "Requests that were answered.")?;
        for ((route, method, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(
                text,
                "pinfold_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {count}"
            )?;
        }
        head(text, "pinfold_request_seconds", "histogram", "How long they took, until the answer began.")?;
        for (route, of) in &*self.durations.lock().unwrap_or_else(PoisonError::into_inner) {
            for (count, end) in of.buckets.iter().zip(BUCKETS) {
                writeln!(text, "pinfold_request_seconds_bucket{{route=\"{route}\",le=\"{end}\"}} {count}")?;
            }
            writeln!(text, "pinfold_request_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", of.count)?;
            writeln!(text, "pinfold_request_seconds_sum{{route=\"{route}\"}} {}", of.seconds)?;
            writeln!(text, "pinfold_request_seconds_count{{route=\"{route}\"}} {}", of.count)?;
        }
        let gauges = [
            ("pinfold_connections", "Connections that are open.", &self.connections),
            ("pinfold_commands", "Commands that run.", &self.commands),
            ("pinfold_streams", "Event streams and terminals that are open.", &self.streams),
        ];
        for (name, help, gauge) in gauges {
            head(text, name, "gauge", help)?;
            writeln!(text, "{name} {}", gauge.load(Ordering::Relaxed))?;
        }
        let name = "pinfold_connections_turned_away_total";
        head(text, name, "counter", "Connections that were turned away, since there were too many.")?;
        writeln!(text, "{name} {}", self.turned_away.load(Ordering::Relaxed))
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        for milliseconds in [1, 30, 700_000] {
            metrics.count("/v1/run", "POST", 200, Duration::from_millis(milliseconds));
        }
        let text = metrics.tell();
        for line in [
            "pinfold_requests_total{route=\"/v1/run\",method=\"POST\",status=\"200\"} 3",
            "pinfold_request_seconds_bucket{route=\"/v1/run\",le=\"0.001\"} 1",
            "pinfold_request_seconds_bucket{route=\"/v1/run\",le=\"600\"} 2",
            "pinfold_request_seconds_bucket{route=\"/v1/run\",le=\"+Inf\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }
}
