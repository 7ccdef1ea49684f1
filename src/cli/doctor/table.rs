//! The report for people: a table, then what is missing with the lines to type, then what is risky.

use super::probe::State;
use super::{Advice, Report};
use crate::cli::message::{paint, printable};
use std::fmt::Write as _;

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const BOLD: &str = "1";

/// The report as text.
pub(super) fn table(report: &Report, colours: bool) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_report(&mut text, report, colours);
    text
}

fn write_report(text: &mut String, report: &Report, colours: bool) -> std::fmt::Result {
    let host = &report.host;
    let who = if host.is_root() { "root".to_owned() } else { format!("uid {}", host.uid) };
    let place = host.container.map(|maker| format!(", in a container ({maker})")).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    writeln!(text, "pinfold {version} on Linux {}, as {who}{place}", printable(&host.kernel))?;
    for condition in &report.conditions {
        writeln!(text, "  {}", printable(condition))?;
    }
    writeln!(text)?;
    match &report.failure {
        None => writeln!(text, "{}", paint("the default job can be confined here", GREEN, colours))?,
        Some(failure) => {
            writeln!(text, "{}", paint("the default job can't be confined here", RED, colours))?;
            writeln!(text, "  {}", printable(&failure.message))?;
            if let Some(hint) = &failure.hint {
                writeln!(text, "  hint: {}", printable(hint))?;
            }
        }
    }
    if !report.features.is_empty() {
        writeln!(text, "\n{}", paint(&format!("{:<15}{:<10}HOW", "FEATURE", "IN FORCE"), BOLD, colours))?;
    }
    for feature in &report.features {
        let (word, colour) = match feature.state {
            State::Enforced => ("yes", GREEN),
            State::Weaker => ("weaker", YELLOW),
            State::Missing => ("no", RED),
        };
        // Padded before it is painted: escapes have no width.
        let word = paint(&format!("{word:<10}"), colour, colours);
        writeln!(text, "{:<15}{word}{}", feature.name, printable(&feature.how))?;
    }
    if report.fit {
        let kind = host.state_file_system.as_deref().unwrap_or("unknown");
        writeln!(text, "\ntemporary workspaces live in `{}` ({})", printable(&host.state_directory), printable(kind))?;
    }
    for advice in &report.advice {
        write_advice(text, advice, colours)?;
    }
    for warning in &report.warnings {
        writeln!(text, "\n{} {}", paint("warning:", YELLOW, colours), printable(warning))?;
    }
    Ok(())
}

fn write_advice(text: &mut String, advice: &Advice, colours: bool) -> std::fmt::Result {
    writeln!(text, "\n{} {}", paint(&format!("{}:", advice.about), BOLD, colours), printable(&advice.why))?;
    for command in &advice.commands {
        writeln!(text, "    {}", printable(command))?;
    }
    Ok(())
}
