//! `pinfold ls`: what is in a place, without trusting it.

use super::exit::Exit;
use super::message;
use super::place::{InPlace, Refusal};
use clap::Args;
use pinfold::Content;
use pinfold::files::{Entry, Kind, Listing};
use serde::Serialize;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// List files where a sandbox works, following no link
///
/// PLACE is a sandbox that lives, by its name or id, a workspace, `ws:ID`, or a directory whose content nobody trusts,
/// written so that it begins with `/` or `.`; PATH is below it, as in `pinfold ls ./project:src`. Prints for each entry its type and permissions, its size in bytes, when it was changed (in
/// UTC) and its name; a symbolic link is shown with where it points, and is not followed.
#[derive(Debug, Args)]
pub(crate) struct LsOptions {
    /// Print one JSON object instead of lines
    ///
    /// `{"version": 1, "entries": [{"name", "kind", "bytes", "mode", "modified_ms", "target"}], "truncated": false}`;
    /// `kind` is `file`, `directory`, `symlink`, `fifo`, `socket` or `device`, `mode` is octal text, `modified_ms` is since
    /// 1970, `target` is where a link points. A name that is not UTF-8 is `{"base64": "…"}`. Later keys are added.
    #[arg(long)]
    json: bool,
    /// What to list: a place, and a path in it
    #[arg(value_name = "PLACE[:PATH]")]
    what: OsString,
}

/// All that there is to say; its JSON is documented at `--json`.
#[derive(Debug, Serialize)]
struct Shown {
    version: u32,
    entries: Vec<ShownEntry>,
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct ShownEntry {
    name: Content,
    kind: Kind,
    bytes: u64,
    mode: String,
    modified_ms: i64,
    target: Option<Content>,
}

pub(super) fn run(options: &LsOptions) -> Exit {
    match list(options) {
        Ok(exit) => exit,
        Err(refusal) => refusal.tell(),
    }
}

fn list(options: &LsOptions) -> Result<Exit, Refusal> {
    let listing = look(&InPlace::read_lenient(&options.what))?;
    let text = if options.json {
        let shown =
            Shown { version: 1, entries: listing.entries.iter().map(shown).collect(), truncated: listing.is_truncated };
        let json = serde_json::to_string(&shown)
            .map_err(|error| Refusal::new(format!("failed to write the list as JSON: {error}"), None))?;
        format!("{json}\n")
    } else {
        listing.entries.iter().map(line).collect()
    };
    message::data(text.as_bytes())
        .map_err(|error| Refusal::new(format!("failed to write to stdout: {error}"), None))?;
    if listing.is_truncated && !options.json {
        message::warning("there are more entries than these");
    }
    Ok(Exit::Success)
}

fn look(what: &InPlace) -> Result<Listing, Refusal> {
    let tree = what.open()?;
    let entry = tree.stat(&what.path)?;
    if entry.kind == Kind::Directory {
        return Ok(tree.list(&what.path)?);
    }
    let mut listing = Listing::default();
    listing.entries.push(entry);
    Ok(listing)
}

fn shown(entry: &Entry) -> ShownEntry {
    let content = |path: &Path| Content(path.as_os_str().as_bytes().to_vec());
    ShownEntry {
        name: content(Path::new(entry.path.file_name().unwrap_or(entry.path.as_os_str()))),
        kind: entry.kind,
        bytes: entry.size,
        mode: format!("{:04o}", entry.mode),
        modified_ms: milliseconds(entry.modified),
        target: entry.target.as_deref().map(content),
    }
}

fn line(entry: &Entry) -> String {
    let name = entry.path.file_name().unwrap_or(entry.path.as_os_str());
    let target = entry.target.as_ref().map(|target| format!(" -> {}", target.display())).unwrap_or_default();
    let seconds = milliseconds(entry.modified).div_euclid(1000);
    let name = message::printable(&format!("{}{target}", name.display()));
    format!("{} {:>12} {} {name}\n", permissions(entry), entry.size, utc(seconds))
}

/// As ls(1) writes them.
fn permissions(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        _ => 'b',
    };
    let three = |shift: u32, special: u32, letters: [char; 2]| {
        let bits = entry.mode >> shift & 7;
        let execute = match (entry.mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letters[0],
            (true, true) => letters[1],
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, execute]
    };
    let all = [three(6, 0o4000, ['S', 's']), three(3, 0o2000, ['S', 's']), three(0, 0o1000, ['T', 't'])];
    std::iter::once(kind).chain(all.into_iter().flatten()).collect()
}

/// Since 1970; what is before is negative, and what does not fit is the most that does.
fn milliseconds(time: SystemTime) -> i64 {
    let fit = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => fit(after.as_millis()),
        Err(before) => -fit(before.duration().as_millis()),
    }
}

/// `2026-02-28 13:07`, by the calendar that is used today, extended to all times: Hinnant's `civil_from_days`.
fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_date_prints_it() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00"),
            (951_782_400, "2000-02-29 00:00"),
            (1_709_210_461, "2024-02-29 12:41"),
            (4_107_542_399, "2100-02-28 23:59"),
            (4_107_542_400, "2100-03-01 00:00"),
            (-1, "1969-12-31 23:59"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
        assert!(!utc(i64::MAX / 1000).is_empty() && !utc(i64::MIN / 1000).is_empty());
    }
}
