//! What there is to say of checkpoints: a table or lines for people, JSON for programs.

use super::Refusal;
use crate::cli::exit::Exit;
use crate::cli::message::{self, printable};
use crate::cli::value;
use crate::cli::workspace::time;
use pinfold::Content;
use pinfold::checkpoint::{Cause, Checkpoint};
use pinfold::workspace::{Change, Difference, Saved};
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) fn saved(saved: &Saved, as_json: bool) -> Result<Exit, Refusal> {
    if as_json {
        let Saved { checkpoint, automatic, mechanism, .. } = saved;
        return line(&json!({"checkpoint": checkpoint, "automatic": automatic, "mechanism": mechanism}));
    }
    data(&format!("{}\n", printable(&saved.checkpoint.id)))?;
    if let Some(automatic) = &saved.automatic {
        message::note(&format!("what was not saved is in checkpoint {}", automatic.id));
    }
    Ok(Exit::Success)
}

pub(super) fn list(checkpoints: &[Checkpoint], as_json: bool) -> Result<Exit, Refusal> {
    if as_json {
        return line(&json!(checkpoints));
    }
    let mut text = String::new();
    if !checkpoints.is_empty() {
        text.push_str(&format!("{:<20}{:<20}{:<6}{:<22}{:<11}LABELS\n", "  ID", "PARENT", "STEP", "MADE", "CAUSE"));
    }
    for checkpoint in checkpoints {
        let head = if checkpoint.is_head { '*' } else { ' ' };
        let labels: Vec<_> = checkpoint.labels.iter().map(|label| printable(label)).collect();
        let row = format!(
            "{head} {:<17} {:<19} {:<5} {:<21} {:<10} {}",
            printable(&checkpoint.id),
            parent(checkpoint),
            checkpoint.step,
            time(checkpoint.created_ms),
            cause(checkpoint.cause),
            labels.join(" ")
        );
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", row.trim_end());
    }
    data(&text)
}

pub(super) fn one(checkpoint: &Checkpoint, state: &Value, as_json: bool) -> Result<Exit, Refusal> {
    if as_json {
        let mut object = json!(checkpoint);
        object["state"] = state.clone();
        return line(&object);
    }
    let labels: Vec<_> = checkpoint.labels.iter().map(|label| printable(label)).collect();
    let rows = [
        ("id", printable(&checkpoint.id)),
        ("parent", parent(checkpoint)),
        ("step", checkpoint.step.to_string()),
        ("made", time(checkpoint.created_ms)),
        ("cause", cause(checkpoint.cause).to_owned()),
        ("labels", labels.join(" ")),
        ("state", state.to_string()),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{}", format!("{name:<12}{value}").trim_end());
    }
    data(&text)
}

pub(super) fn changes(changes: &[Change], as_json: bool) -> Result<Exit, Refusal> {
    if as_json {
        let object = |change: &Change| {
            let path = Content(change.path.clone());
            json!({"path": path, "change": change.difference, "directory": change.is_directory})
        };
        return line(&changes.iter().map(object).collect());
    }
    let mut text = String::new();
    for change in changes {
        let letter = match change.difference {
            Difference::Added => 'A',
            Difference::Removed => 'D',
            Difference::Changed => 'M',
        };
        let slash = if change.is_directory { "/" } else { "" };
        let _ = writeln!(text, "{letter} {}{slash}", printable(&String::from_utf8_lossy(&change.path)));
    }
    data(&text)
}

/// The parent's id, in brackets when it is gone.
fn parent(checkpoint: &Checkpoint) -> String {
    match &checkpoint.parent {
        None => "-".to_owned(),
        Some(parent) if checkpoint.parent_evicted => format!("({})", printable(parent)),
        Some(parent) => printable(parent),
    }
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Save => "save",
        Cause::Automatic => "automatic",
        Cause::Rollback => "rollback",
        Cause::Fork => "fork",
        _ => "other",
    }
}

fn line(value: &Value) -> Result<Exit, Refusal> {
    data(&format!("{value}\n"))
}

fn data(text: &str) -> Result<Exit, Refusal> {
    let written = message::data(text.as_bytes());
    let failed = |error| format!("failed to write to stdout: {}", value::reason(&error));
    written.map(|()| Exit::Success).map_err(|error| Refusal { message: failed(error), hint: None })
}
