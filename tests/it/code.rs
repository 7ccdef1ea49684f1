//! What running code promises: each language with real toolchains, the executor's rules and figures, and the command line.

mod bounds; // what a program can't take more of, and what is told when it tries
mod confined; // what the program that parses is left with
mod corpus; // whole programs, ordinary and hostile, and what is found in each
mod executor; // the rules of requests, and figures that add up
mod languages; // hello, stdin, arguments, nested files and errors in each language
mod parsers; // what no text does to whoever looks at it
mod process; // the backend that isolates nothing
mod tool; // requests and answers over stdin and stdout
mod typescript; // each way of running it that npm has
mod usage; // the command line, and languages of the user's own
mod validator; // what is found in code, and what is not taken for it

use crate::support;
use pinfold::Pinfold;
use pinfold::code::{CodeConfig, CodeError, CodeRequest, CodeResult, Executor, Languages};
use pinfold_runner::Content;
use std::future::Future;
use std::time::Duration;

/// Longer than any program here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it ends") })
}

/// Every language, and times for a machine that does much else.
fn generous() -> CodeConfig {
    CodeConfig {
        allowed_languages: Vec::new(),
        timeout: Some(PATIENCE),
        max_cpu_percent: Some(0.0),
        // Without a cgroup all that a process reserves counts, and V8 and the JVM reserve much.
        max_memory_mb: if support::has_cgroups() { 512 } else { 4096 },
        ..CodeConfig::default()
    }
}

fn executor(config: CodeConfig) -> Executor {
    let pinfold = Pinfold::builder().runner(support::runner()).build().unwrap();
    Executor::new(config, Languages::embedded(), pinfold).unwrap()
}

fn execute(config: CodeConfig, request: CodeRequest) -> Result<CodeResult, CodeError> {
    wait(executor(config).execute(request))
}

/// Runs a request of a language that is there; a loud skip if it isn't.
fn run(request: CodeRequest) -> Option<CodeResult> {
    match execute(generous(), request) {
        Ok(result) => Some(result),
        Err(CodeError::ToolchainMissing { language, .. }) if language == "rust" && !support::has_rust() => None,
        Err(error @ CodeError::ToolchainMissing { .. }) => {
            support::skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn file(name: &str, content: &str) -> (String, Content) {
    (name.to_owned(), Content::from(content))
}
