//! `pinfold code`: a piece of code in a sandbox, from a file or as a JSON request. The options that make an executor are in
//! `executor`, where `pinfold tool` finds them too.

pub(super) mod executor;

use super::exit::Exit;
use super::message;
use super::run::signal::Signals;
use super::value::reason;
use clap::Args;
use executor::ExecutorOptions;
use pinfold::code::{CodeError, CodeRequest, CodeResult, Phase};
use pinfold::{Content, MAX_JOB_BYTES, Status};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Run a piece of code in a fresh sandbox
///
/// In any language that `pinfold languages` lists. Compiled languages are compiled in a sandbox of their own first. stdout
/// and stderr are printed when the program has ended. The exit code is the program's own, or the compiler's; 124 when the
/// time ran out; 125 when Pinfold failed; 128+n when the program died of signal n; 137 out of memory.
#[derive(Debug, Args)]
#[command(
    override_usage = "pinfold code [OPTIONS] LANGUAGE FILE|-\n       pinfold code [OPTIONS] LANGUAGE -c CODE\n       pinfold code [OPTIONS] --request FILE|-",
    after_help = "SIZE: 512M, 1G · TIME: 500ms, 10s, 2m · more in --help"
)]
pub(crate) struct CodeOptions {
    /// The language, by any of its names
    #[arg(value_name = "LANGUAGE", required_unless_present = "request")]
    language: Option<String>,

    /// The code's file, or - for stdin
    #[arg(value_name = "FILE", required_unless_present_any = ["request", "code"])]
    path: Option<PathBuf>,

    /// The code itself
    #[arg(short, long, value_name = "CODE", conflicts_with = "path", allow_hyphen_values = true)]
    code: Option<String>,

    /// Read a whole request as JSON, print the result as JSON
    ///
    /// `-` reads it from stdin. The exit code is 0 when the code ran, however it ended, and 125 when it could not.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["language", "path", "code", "stdin", "file", "arg", "env"])]
    request: Option<PathBuf>,

    /// What the program reads on stdin, or - for ours
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,

    /// Put a file beside the code (repeatable)
    ///
    /// Under its own name, or as DST below the workspace; folders are made. For example: `--file data.csv:in/data.csv`.
    #[arg(long, value_name = "SRC[:DST]")]
    file: Vec<String>,

    /// Give the program an argument (repeatable)
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    arg: Vec<String>,

    /// Set a variable (repeatable)
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    executor: ExecutorOptions,
}

pub(super) fn run(options: CodeOptions) -> Exit {
    let is_json = options.json || options.request.is_some();
    match executor::block_on(execute(&options)) {
        Ok(Ok(result)) if is_json => match print(&result) {
            Exit::Success if options.request.is_none() => exit(&result),
            printed => printed,
        },
        Ok(Ok(result)) => tell(&result),
        Ok(Err(error)) if is_json => {
            print(&executor::refusal(&error));
            Exit::Failed
        }
        Ok(Err(error)) => {
            message::error(&error.to_string(), error.hint().as_deref());
            Exit::Failed
        }
        Err(reason) => {
            message::error(&reason, None);
            Exit::Failed
        }
    }
}

async fn execute(options: &CodeOptions) -> Result<CodeResult, CodeError> {
    let mut signals = Signals::new()
        .map_err(|error| CodeError::InvalidValue(format!("failed to catch signals: {}", reason(&error))))?;
    let request = request(options).map_err(CodeError::InvalidValue)?;
    let executor = options.executor.executor(executor::Defaults::ForPeople)?;
    let request = match request {
        Given::Request(request) => *request,
        Given::Json(json) => CodeRequest::from_json(&json)?,
    };
    let mut end = std::pin::pin!(executor.execute(request));
    loop {
        tokio::select! {
            result = &mut end => return result,
            // Whoever gives up still gets what there was.
            _ = signals.next() => tokio::select! {
                result = &mut end => return result,
                () = executor.cleanup() => {}
            },
        }
    }
}

enum Given {
    Request(Box<CodeRequest>),
    Json(Vec<u8>),
}

fn request(options: &CodeOptions) -> Result<Given, String> {
    if let Some(file) = &options.request {
        return Ok(Given::Json(read(file)?));
    }
    let is_ours = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if is_ours(&options.path) && is_ours(&options.stdin) {
        return Err("stdin can't be both the code and what the program reads".to_owned());
    }
    let code = match (&options.code, &options.path) {
        (Some(code), _) => code.clone(),
        (None, Some(file)) => {
            String::from_utf8(read(file)?).map_err(|_binary| format!("`{}` is not UTF-8", file.display()))?
        }
        (None, None) => String::new(),
    };
    let mut request = CodeRequest::new(options.language.clone().unwrap_or_default(), code);
    request.args = options.arg.clone();
    if let Some(file) = &options.stdin {
        request.stdin = Content::from(read(file)?);
    }
    for text in &options.file {
        let (name, content) = beside(text)?;
        request.files.insert(name, content);
    }
    request.env_vars = variables(&options.env)?;
    Ok(Given::Request(Box::new(request)))
}

fn variables(texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let known = texts.iter().map(|text| super::value::variable(text).map_err(|error| format!("`--env`: {error}")));
    known.filter_map(Result::transpose).collect()
}

/// `SRC` or `SRC:DST`: the name that a file has beside the code, and what is in it.
fn beside(text: &str) -> Result<(String, Content), String> {
    // A file may have a colon in its name.
    let (source, target) = match text.rsplit_once(':') {
        Some((source, target)) if !Path::new(text).exists() => (source, Some(target)),
        _ => (text, None),
    };
    let own = || Path::new(source).file_name()?.to_str().map(str::to_owned);
    let name = target.map(str::to_owned).or_else(own).ok_or_else(|| format!("`--file`: `{text}` has no name"))?;
    Ok((name, Content::from(read(Path::new(source))?)))
}

/// Reads a file, and no more than any request has.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("failed to read `{}`: {}", path.display(), reason(&error));
    let mut bytes = Vec::new();
    let most = MAX_JOB_BYTES as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(told)?;
    } else {
        std::fs::File::open(path).map_err(told)?.take(most).read_to_end(&mut bytes).map_err(told)?;
    }
    match bytes.len() > MAX_JOB_BYTES {
        true => Err(format!("`{}` is larger than {MAX_JOB_BYTES} bytes", path.display())),
        false => Ok(bytes),
    }
}

/// Prints what the program printed, and says what that doesn't.
fn tell(result: &CodeResult) -> Exit {
    let outcome = result.outcome.as_deref().or(result.compile.as_ref().and_then(|compile| compile.outcome.as_deref()));
    // The bytes as they were, where they are known.
    let (stdout, stderr) = match outcome {
        Some(outcome) => (outcome.stdout.as_bytes(), outcome.stderr.as_bytes()),
        None => (result.stdout.as_bytes(), result.stderr.as_bytes()),
    };
    let warned = match (&result.compile, result.phase) {
        (Some(compile), Phase::Run) => [compile.stdout.as_bytes(), compile.stderr.as_bytes()].concat(),
        _ => Vec::new(),
    };
    if let Err(error) = message::data(stdout) {
        message::error(&format!("failed to write to stdout: {}", reason(&error)), None);
        return Exit::Failed;
    }
    message::passed_on(&[&warned, stderr].concat());
    for finding in &result.findings {
        message::warning(&finding.to_string());
    }
    if result.truncated {
        message::warning("the output was cut off (--output)");
    }
    match (&result.error, &result.signal) {
        (Some(error), _) => message::ended(error),
        (None, Some(signal)) => message::ended(&format!("the program died of {signal}")),
        (None, None) => {}
    }
    exit(result)
}

fn exit(result: &CodeResult) -> Exit {
    let outcome = result.outcome.as_deref().or(result.compile.as_ref().and_then(|compile| compile.outcome.as_deref()));
    match outcome.map(|outcome| outcome.status) {
        Some(Status::TimedOut | Status::CpuExceeded) => Exit::TimedOut,
        Some(Status::Cancelled) => Exit::Signal(15),
        _ if result.timed_out => Exit::TimedOut,
        _ => u8::try_from(result.exit_code).map_or(Exit::Failed, Exit::Command),
    }
}

fn print(value: &impl serde::Serialize) -> Exit {
    let written = serde_json::to_vec(value).map_err(std::io::Error::from).and_then(|mut json| {
        json.push(b'\n');
        message::data(&json)
    });
    match written {
        Ok(()) => Exit::Success,
        Err(error) => {
            message::error(&format!("failed to write the result to stdout: {}", reason(&error)), None);
            Exit::Failed
        }
    }
}
