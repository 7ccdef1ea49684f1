//! `list` and `show`: a table or lines for people, JSON for programs.

use super::{Refusal, data};
use crate::cli::exit::Exit;
use crate::cli::message::printable;
use pinfold::ByteSize;
use pinfold::held::{Name, Sandboxes};
use pinfold::workspace::{Info, Listed, Store, Usage};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

pub(super) fn list(store: &Store, as_json: bool, with_size: bool) -> Result<Exit, Refusal> {
    let listed = store.list()?;
    let living = living(store);
    // What was removed between the list and our look at its size is told without one.
    let usage = |info: &Info| if with_size { store.usage(&info.id).ok() } else { None };
    if as_json {
        let objects = listed.iter().map(|listed| match listed {
            Listed::Workspace(info) => object(info, usage(info), &living),
            Listed::Broken { key, path, error } => broken(key, path, &Refusal::words(error)),
        });
        return json_line(&objects.collect());
    }
    let mut text = String::new();
    if !listed.is_empty() {
        text.push_str(&format!("{:<11}{:<6}{:<22}{:<30}PATH\n", "SIZE", "REFS", "LAST USED", "ID"));
    }
    for listed in &listed {
        match listed {
            Listed::Workspace(info) => {
                let size = usage(info).map_or_else(|| "-".to_owned(), |usage| short(usage.bytes));
                let (references, used) = (info.holders.len(), time(info.last_used_ms));
                let id = if info.id.is_empty() { "(empty)".to_owned() } else { printable(&info.id) };
                // Writing to a String can't fail.
                let _ = writeln!(text, "{size:<11}{references:<6}{used:<22}{id:<29} {}", info.path.display());
            }
            Listed::Broken { key, error, .. } => {
                let _ = writeln!(text, "broken: {key}: {}", printable(&Refusal::words(error)));
            }
        }
    }
    data(text.as_bytes())
}

pub(super) fn show(store: &Store, id: &str, as_json: bool) -> Result<Exit, Refusal> {
    let info = store.show(id)?;
    let usage = store.usage(id)?;
    let living = living(store);
    if as_json {
        return json_line(&object(&info, Some(usage), &living));
    }
    let limit = |limit: Option<u64>, shown: &dyn Fn(u64) -> String| limit.map_or("no limit".to_owned(), shown);
    let more = if usage.incomplete { ", and what could not be looked into" } else { "" };
    let rows = [
        ("id", info.id.clone()),
        ("path", info.path.display().to_string()),
        ("size", format!("{} of {}{more}", short(usage.bytes), limit(info.quota.bytes, &short))),
        ("inodes", format!("{} of {}{more}", usage.inodes, limit(info.quota.inodes, &|count| count.to_string()))),
        ("created", time(info.created_ms)),
        ("last used", time(info.last_used_ms)),
        (
            "sandboxes",
            living.of(&info).filter(|names| !names.is_empty()).map_or("-".to_owned(), |names| names.join(", ")),
        ),
        ("references", info.holders.len().to_string()),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<12}{}", printable(&value));
    }
    for holder in &info.holders {
        let _ = writeln!(text, "  {}", printable(holder));
    }
    data(text.as_bytes())
}

/// The sandboxes that live in workspaces, by the workspace's id. `None` where that can't be known.
struct Living(Option<BTreeMap<String, Vec<Name>>>);

fn living(store: &Store) -> Living {
    Living(Sandboxes::new().in_store(store.state()).ok())
}

impl Living {
    fn of(&self, info: &Info) -> Option<Vec<String>> {
        let names = self.0.as_ref()?.get(&info.id).map(Vec::as_slice).unwrap_or_default();
        Some(names.iter().map(Name::to_string).collect())
    }
}

fn json_line(value: &Value) -> Result<Exit, Refusal> {
    data(format!("{value}\n").as_bytes())
}

fn object(info: &Info, usage: Option<Usage>, living: &Living) -> Value {
    json!({
        "id": info.id, "key": info.key, "path": info.path, "holders": info.holders, "references": info.holders.len(),
        "quota": info.quota, "created_ms": info.created_ms, "last_used_ms": info.last_used_ms, "usage": usage,
        "sandboxes": living.of(info), "broken": null,
    })
}

fn broken(key: &str, path: &Path, reason: &str) -> Value {
    json!({
        "id": null, "key": key, "path": path, "holders": null, "references": null, "quota": null, "created_ms": null,
        "last_used_ms": null, "usage": null, "sandboxes": null, "broken": reason,
    })
}

/// A size with one digit behind the point, in the unit that makes it short.
pub(in crate::cli) fn short(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => ByteSize::new(bytes).to_string(),
    }
}

/// Milliseconds since 1970 as a date and a time in UTC.
pub(in crate::cli) fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // A calendar that begins with the first of March of year 0, so that leap days come last: of 400 years each, with
    // 146,097 days, and 719,468 days before 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds * 1000), expected);
        }
    }

    #[test]
    fn sizes_are_short() {
        let shown = [0, 1023, 1536, 5 << 20, u64::MAX].map(short);
        assert_eq!(shown, ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 MiB", "16777215.9 TiB"]);
    }
}
