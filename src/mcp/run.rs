//! A piece of code, or a command, in a fresh sandbox.

use super::answer::Ran;
use super::refusal::Refusal;
use super::server::Server;
use pinfold::code::CodeRequest;
use pinfold::{Content, Cwd, FileEntry, Job, WorkspacePath};
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Code {
    /// The language
    language: String,
    /// The whole program
    code: String,
    /// What the program reads on stdin
    #[serde(default)]
    stdin: String,
    /// The program's arguments
    #[serde(default)]
    args: Vec<String>,
    /// Text files beside the program: relative path to content
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// End it after so many seconds; the operator's limit holds where that is less
    timeout_seconds: Option<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Command {
    /// A line of shell, run by `sh -c`
    command: String,
    /// What it reads on stdin
    #[serde(default)]
    stdin: String,
    /// Text files that are written into the workspace first: relative path to content
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Where it starts: absolute, or relative to /workspace
    cwd: Option<String>,
    /// Work in this workspace, which keeps what is written, instead of an empty one
    workspace: Option<String>,
    /// End it after so many seconds; the operator's limit holds where that is less
    timeout_seconds: Option<f64>,
}

#[tool_router(router = run_tools, vis = "pub(super)")]
impl Server {
    /// Run a program in a fresh sandbox that is gone afterwards. Compiled languages are compiled first. Nothing stays
    /// from one call to the next.
    #[tool(
        output_schema = schema_for_output::<Ran>(),
        annotations(title = "Run code", read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    async fn run_code(
        &self,
        Parameters(code): Parameters<Code>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let time = self.bounds.time(code.timeout_seconds)?;
        let request = CodeRequest {
            language: code.language,
            code: code.code,
            stdin: Content::from(code.stdin),
            args: code.args,
            files: code.files.into_iter().map(|(path, text)| (path, Content::from(text))).collect(),
            timeout: time.limit,
            ..CodeRequest::default()
        };
        let result = self.supervise(&context, time.limit, self.executor.execute(request)).await??;
        Ran::of_code(result, time.limit, time.note)?.into_result()
    }

    /// Run one shell command in a fresh sandbox. Without `workspace`, what it writes is gone afterwards. For several
    /// commands that build on one another use sandbox_start and sandbox_exec.
    #[tool(
        output_schema = schema_for_output::<Ran>(),
        annotations(title = "Run a command", read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    async fn run_command(
        &self,
        Parameters(command): Parameters<Command>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let time = self.bounds.time(command.timeout_seconds)?;
        let mut job = self.bounds.job(shell(command.command), &time)?;
        job.stdin = Content::from(command.stdin);
        if let Some(given) = &command.cwd {
            job.cwd = cwd(given)?;
        }
        for (path, text) in command.files {
            let path = WorkspacePath::try_from(path.as_str())
                .map_err(|error| Refusal::new(format!("`files`: `{path}`: {error}")))?;
            job.files.push(FileEntry { path, content: Content::from(text), executable: false });
        }
        let outcome = self.supervise(&context, time.limit, self.in_workspace(job, command.workspace)).await??;
        Ran::of(outcome, time.limit, time.note)?.into_result()
    }

    async fn in_workspace(&self, job: Job, workspace: Option<String>) -> Result<pinfold::Outcome, Refusal> {
        let Some(workspace) = workspace else { return Ok(self.pinfold.run(job).await?) };
        let opened = self.blocking(move |shared| {
            let mut job = job;
            let in_use = shared.store.open(&shared.workspace(&workspace)?)?;
            shared.bounds.limit_in(in_use.quota(), &mut job);
            in_use.put_into(&mut job)?;
            Ok((job, in_use))
        });
        let (job, _in_use) = opened.await?;
        Ok(self.pinfold.run(job).await?)
    }
}

/// A line of shell as a command.
pub(super) fn shell(line: String) -> Vec<String> {
    vec!["sh".to_owned(), "-c".to_owned(), line]
}

/// Where a command starts.
pub(super) fn cwd(given: &str) -> Result<Cwd, Refusal> {
    Cwd::try_from(given).map_err(|error| Refusal::new(format!("`cwd`: {error}")))
}

/// How long a tool that runs nothing may take.
pub(super) const SHORT: Option<Duration> = Some(Duration::from_secs(60));
