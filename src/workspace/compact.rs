//! Fewer layers for the same files. A layer that no checkpoint ends with, and that only one other lies on, need not be a
//! layer of its own: it becomes one with those above, in a new layer of the same files.

use super::error::Error;
use super::flatten::How;
use super::session::Session;
use std::collections::{BTreeMap, BTreeSet};

/// Rewrites the thread of a session. Answers how many layers it names less. What is left below is made one layer where it
/// is more than `deepest`, which earlier checkpoints then don't share.
pub(super) fn compact(session: &mut Session<'_>, deepest: usize) -> Result<usize, Error> {
    if session.is_copied()? {
        return Ok(0);
    }
    let rows = rows(session)?;
    let before = count(&rows);
    for run in runs(&rows) {
        let is_lowest = rows.iter().any(|row| row.ends_with(&run));
        let merged = session.flattened(&run, How::Link, !is_lowest)?;
        replace(session, &run, &merged)?;
    }
    let lower = session.files()?.lower.clone();
    if lower.len() > deepest {
        let merged = session.flattened(&lower, How::Link, false)?;
        if let Some(files) = session.thread.as_mut().and_then(|thread| thread.files.as_mut()) {
            files.lower = vec![merged];
        }
    }
    Ok(before.saturating_sub(count(&self::rows(session)?)))
}

fn count(rows: &[Vec<String>]) -> usize {
    rows.iter().flatten().collect::<BTreeSet<_>>().len()
}

/// All rows of layers that something is made of: each checkpoint, and what the files lie on.
fn rows(session: &Session<'_>) -> Result<Vec<Vec<String>>, Error> {
    let entries = session.thread.iter().flat_map(|thread| &thread.entries).map(|entry| entry.layers.clone());
    let now = session.files()?.lower.clone();
    Ok(entries.chain([now]).filter(|row| !row.is_empty()).collect())
}

/// The rows of two and more layers that only ever come together, the uppermost first.
fn runs(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let tops: BTreeSet<&String> = rows.iter().filter_map(|row| row.first()).collect();
    let mut above: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    let mut under: BTreeMap<&String, &String> = BTreeMap::new();
    for pair in rows.iter().flat_map(|row| row.windows(2)) {
        above.entry(&pair[1]).or_default().insert(&pair[0]);
        under.insert(&pair[0], &pair[1]);
    }
    let joins = |layer: &String| !tops.contains(layer) && above.get(layer).is_some_and(|above| above.len() == 1);
    let all: BTreeSet<&String> = rows.iter().flatten().collect();
    let mut runs = Vec::new();
    for first in all.into_iter().filter(|layer| !joins(layer)) {
        let mut run = vec![first.clone()];
        let mut layer = first;
        while let Some(next) = under.get(layer).filter(|next| joins(next)) {
            run.push((*next).clone());
            layer = next;
        }
        if run.len() > 1 {
            runs.push(run);
        }
    }
    runs
}

/// Puts one layer in the place of a run, wherever that is.
fn replace(session: &mut Session<'_>, run: &[String], merged: &str) -> Result<(), Error> {
    let Some(thread) = session.thread.as_mut() else { return Ok(()) };
    let rows = thread.entries.iter_mut().map(|entry| &mut entry.layers);
    for row in rows.chain(thread.files.iter_mut().map(|files| &mut files.lower)) {
        if let Some(start) = row.windows(run.len()).position(|part| part == run) {
            row.splice(start..start + run.len(), [merged.to_owned()]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&str]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.chars().map(|layer| layer.to_string()).collect()).collect()
    }

    #[test]
    fn only_what_nobody_ends_with_and_one_lies_on_is_joined() {
        assert_eq!(runs(&rows(&["cba"])), rows(&["cba"]));
        assert_eq!(runs(&rows(&["edcba", "cba", "cba"])), rows(&["cba", "ed"]));
        assert_eq!(runs(&rows(&["cba", "ba", "a"])), rows(&[]));
        // A branch: two lie on `b`.
        assert_eq!(runs(&rows(&["dcba", "feba"])), rows(&["ba", "dc", "fe"]));
    }
}
