//! `pinfold preview`: secrets by which what a project shows can be looked at.

use super::build;
use super::exit::Exit;
use super::held;
use super::jobs::{find, since_1970};
use super::message::{self, printable};
use super::workspace::time;
use clap::{Args, Subcommand};
use pinfold::build::{Builds, Error};
use std::time::Duration;

/// Where previews are when nobody has served any yet.
const ORIGINS: &str = "http://*.localhost:8080";

/// Make, list and revoke previews of what projects show
///
/// A preview is a secret in a URL, which `pinfold serve` answers. It shows the last build of its project that succeeded, and
/// the next one once that has, or one build for ever. The exit code is 0, or 125 when it failed.
#[derive(Debug, Args)]
pub(crate) struct PreviewOptions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Command {
    List(List),
    Open(Open),
    Revoke(Revoke),
}

/// List previews, the newest first
#[derive(Debug, Args)]
struct List {
    /// Of this project only
    #[arg(value_name = "P")]
    project: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Make a preview, and print its URL
///
/// The secret in it has 128 random bits, is told this once, and only its hash is kept.
#[derive(Debug, Args)]
struct Open {
    /// The project
    #[arg(value_name = "P")]
    project: String,
    /// Show this build, whatever the project shows later
    #[arg(long, value_name = "ID")]
    build: Option<String>,
    /// End it after this time (default: 7d)
    #[arg(long, value_name = "TIME", value_parser = pinfold::parse_duration)]
    expires: Option<Duration>,
    /// Where the server is, if not as it was started last
    ///
    /// The URL is then `URL/p/TOKEN/`, which leads to the preview's own origin. By default it is at that origin:
    /// `http://TOKEN.localhost:PORT/`, with the port of the server that was started last.
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// Print one JSON object
    ///
    /// `{"preview": {"id", "project", "build", "created_us", "expires_us", "revoked_us"}, "token", "url"}`.
    #[arg(long)]
    json: bool,
}

/// End a preview for ever
///
/// Once more is no error.
#[derive(Debug, Args)]
struct Revoke {
    /// The preview's id
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) fn run(options: &PreviewOptions) -> Exit {
    let done = build::open().and_then(|builds| match &options.command {
        Command::List(list) => show(&builds, list),
        Command::Open(open) => make(&builds, open),
        Command::Revoke(revoke) => {
            builds.revoke_preview(&Builds::own_owner(), &revoke.id)?;
            Ok(Exit::Success)
        }
    });
    done.unwrap_or_else(|error| build::refuse(&error))
}

fn make(builds: &Builds, options: &Open) -> Result<Exit, Error> {
    let longest = options.expires.unwrap_or(Duration::from_secs(7 * 24 * 3600));
    let build = options.build.as_deref().map(|id| find(builds, id)).transpose()?.map(|build| build.id);
    let owner = Builds::own_owner();
    let (preview, token) = builds.open_preview(&owner, &options.project, build.as_deref(), Some(longest))?;
    let url = url(options.base.as_deref(), &token);
    if options.json {
        return Ok(held::json(&serde_json::json!({ "preview": preview, "token": token, "url": url })));
    }
    Ok(held::data(&format!("{url}\n")))
}

fn url(base: Option<&str>, token: &str) -> String {
    if let Some(base) = base {
        return format!("{}/p/{token}/", base.trim_end_matches('/'));
    }
    let known = pinfold::service::known_previews();
    if known.is_none() {
        message::note("no server has shown previews yet: `pinfold serve --listen 127.0.0.1:8080` does");
    }
    format!("{}/", known.as_deref().unwrap_or(ORIGINS).replacen('*', token, 1))
}

fn show(builds: &Builds, options: &List) -> Result<Exit, Error> {
    let previews = builds.previews(&Builds::own_owner(), options.project.as_deref())?;
    if options.json {
        return Ok(held::json(&previews));
    }
    let mut text = String::new();
    if !previews.is_empty() {
        text.push_str(&format!("{:<34}{:<22}{:<22}PROJECT\n", "ID", "MADE", "ENDS"));
    }
    for preview in &previews {
        let ends = match (preview.revoked_us, preview.expires_us) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(moment)) => time(since_1970(moment)),
            (None, None) => "-".to_owned(),
        };
        let (made, project) = (time(since_1970(preview.created_us)), printable(&preview.project));
        text.push_str(&format!("{:<34}{made:<22}{ends:<22}{project}\n", preview.id));
    }
    Ok(held::data(&text))
}
