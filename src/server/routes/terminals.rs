//! Terminals of sandboxes: shells that keep their directory and variables, and programs that somebody types into.

use crate::server::answer::{Data, Done};
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::schema;
use axum::http::{Method, StatusCode};
use pinfold::held::{RunOptions, RunOutput, Shell, Terminal, TerminalInfo, TerminalOptions};
use pinfold::{Content, Cwd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const ALL: &str = "/v1/sandboxes/{sandbox}/terminals";
const ONE: &str = "/v1/sandboxes/{sandbox}/terminals/{terminal}";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Open {
    /// Its shell: bash, zsh or sh. Without it bash, or sh where there is none.
    shell: Option<ShellName>,
    #[schemars(range(min = 1, max = 1000))]
    rows: Option<u16>,
    #[schemars(range(min = 1, max = 1000))]
    columns: Option<u16>,
    /// Variables beside those of the sandbox.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Where the shell starts.
    cwd: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ShellName {
    Bash,
    Zsh,
    Sh,
}

/// A terminal, and what it is doing.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Told(#[schemars(schema_with = "schema::object")] TerminalInfo);

#[derive(Debug, Serialize, JsonSchema)]
struct All {
    #[schemars(schema_with = "schema::objects")]
    terminals: Vec<TerminalInfo>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Command {
    /// What is run in the shell, as if it were typed.
    command: String,
    /// Interrupt it after so many seconds; the operator's limit holds where that is less.
    #[schemars(range(min = 0.001, max = 86400.0))]
    timeout_seconds: Option<f64>,
}

/// How a command in a terminal ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Ran(#[schemars(schema_with = "schema::object")] RunOutput);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What is typed, as it is.
    #[schemars(schema_with = "schema::content")]
    input: Content,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Size {
    #[schemars(range(min = 1, max = 1000))]
    rows: u16,
    #[schemars(range(min = 1, max = 1000))]
    columns: u16,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Look {
    /// Also what has scrolled off the screen.
    #[serde(default)]
    scrollback: bool,
}

/// What a terminal shows.
#[derive(Debug, Serialize, JsonSchema)]
struct Screen {
    screen: String,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, ALL, About("listTerminals", "The terminals of a sandbox"), list);
    api.add(&Method::PUT, ONE, About("openTerminal", "Open a terminal, or get the one of this name"), open);
    api.add(&Method::GET, ONE, About("showTerminal", "What a terminal is doing"), show);
    api.add(&Method::DELETE, ONE, About("closeTerminal", "End a terminal's shell"), close);
    let about = About("runInTerminal", "Run a command in a terminal's shell, and wait for its end");
    api.add(&Method::POST, "/v1/sandboxes/{sandbox}/terminals/{terminal}/run", about, run);
    let about = About("typeIntoTerminal", "Type into a terminal");
    api.add(&Method::POST, "/v1/sandboxes/{sandbox}/terminals/{terminal}/input", about, input);
    let about = About("resizeTerminal", "Give a terminal another size");
    api.add(&Method::POST, "/v1/sandboxes/{sandbox}/terminals/{terminal}/resize", about, resize);
    let about = About("interruptTerminal", "Interrupt what is in a terminal's foreground");
    api.add(&Method::POST, "/v1/sandboxes/{sandbox}/terminals/{terminal}/interrupt", about, interrupt);
    let about = About("terminalScreen", "What a terminal shows");
    api.add(&Method::GET, "/v1/sandboxes/{sandbox}/terminals/{terminal}/screen", about, screen);
}

/// The terminal that the path names, if it is there: nothing is made by looking.
pub(super) async fn there(call: &Call) -> Result<Terminal, Problem> {
    let (held, name) = (call.held().await?, call.parameter("terminal"));
    let info = held.terminals().await?.into_iter().find(|info| info.name == name);
    let Some(info) = info else {
        let words = "there is no terminal of this name";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", words).hint("it is made by PUT"));
    };
    Ok(held.terminal(TerminalOptions { shell: info.shell, ..TerminalOptions::named(name) }).await?)
}

async fn list(call: Call, _: NoQuery, _: Nothing) -> Result<Data<All>, Problem> {
    let terminals = call.held().await?.terminals().await?;
    Ok(Data(All { terminals }))
}

async fn open(call: Call, _: NoQuery, Json(open): Json<Open>) -> Result<Data<Told>, Problem> {
    let mut options = TerminalOptions::named(call.parameter("terminal"));
    options.rows = Problem::unless_within("rows", open.rows, 1..=1000)?.unwrap_or(options.rows);
    options.columns = Problem::unless_within("columns", open.columns, 1..=1000)?.unwrap_or(options.columns);
    for (name, value) in open.env {
        options.env.set(name, value).map_err(|error| Problem::from(error).at("env"))?;
    }
    if let Some(cwd) = open.cwd {
        options.cwd = Cwd::try_from(cwd).map_err(|error| Problem::from(error).at("cwd"))?;
    }
    let held = call.held().await?;
    options.shell = match open.shell {
        None | Some(ShellName::Bash) => Shell::Bash,
        Some(ShellName::Zsh) => Shell::Zsh,
        Some(ShellName::Sh) => Shell::Sh,
    };
    let terminal = match held.terminal(options.clone()).await {
        // A root file system that has no bash has some shell.
        Err(pinfold::held::Error::Failed(_)) if open.shell.is_none() => held.terminal(options.shell(Shell::Sh)).await?,
        opened => opened?,
    };
    Ok(Data(Told(terminal.info().await?)))
}

async fn show(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Told>, Problem> {
    Ok(Data(Told(there(&call).await?.info().await?)))
}

async fn close(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    there(&call).await?.close().await?;
    Ok(Done)
}

async fn run(call: Call, _: NoQuery, Json(command): Json<Command>) -> Result<Data<Ran>, Problem> {
    let settings = &call.shared.settings;
    let asked = Problem::unless_time(command.timeout_seconds)?;
    let asked = asked.into_iter().chain(settings.time).min();
    let output_bytes = settings.job.limits.output_bytes.value().unwrap_or(1 << 20);
    let _share = call.command()?;
    let terminal = there(&call).await?;
    let given_up = GivenUp(Some(terminal.clone()));
    let ran = terminal.run_command(&command.command, RunOptions { timeout: asked, output_bytes }).await;
    given_up.not();
    Ok(Data(Ran(ran?)))
}

/// Interrupts what runs in a terminal when whoever waited for it is gone.
struct GivenUp(Option<Terminal>);

impl GivenUp {
    fn not(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let (Some(terminal), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { terminal.interrupt().await });
        }
    }
}

async fn input(call: Call, _: NoQuery, Json(input): Json<Input>) -> Result<Done, Problem> {
    there(&call).await?.write(input.input.0).await?;
    Ok(Done)
}

async fn resize(call: Call, _: NoQuery, Json(size): Json<Size>) -> Result<Done, Problem> {
    Problem::unless_within("rows", Some(size.rows), 1..=1000)?;
    Problem::unless_within("columns", Some(size.columns), 1..=1000)?;
    there(&call).await?.resize(size.rows, size.columns).await?;
    Ok(Done)
}

async fn interrupt(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    there(&call).await?.interrupt().await?;
    Ok(Done)
}

async fn screen(call: Call, look: Look, _: Nothing) -> Result<Data<Screen>, Problem> {
    let screen = there(&call).await?.screen(look.scrollback).await?;
    Ok(Data(Screen { screen }))
}
