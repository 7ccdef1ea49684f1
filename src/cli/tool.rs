//! `pinfold tool`: requests of JSON on stdin, each answered by a line of JSON on stdout, for a host that calls tools.

use super::code::executor::{self, Defaults, ExecutorOptions};
use super::exit::Exit;
use super::message;
use super::value::reason;
use clap::Args;
use pinfold::MAX_JOB_BYTES;
use pinfold::code::{CodeError, CodeRequest, Executor};
use serde_json::{Value, json};
use std::cell::Cell;
use std::io::{BufReader, Read};

/// Answer requests to run code: JSON in, JSON out
///
/// Each request on stdin, a JSON object, is answered by one line on stdout, in order, until stdin ends: a result, or
/// `{"success": false, "error": "…"}`. What is allowed is said here and in no request; without `--config` that is Python and
/// JavaScript, 30 seconds, 512 MiB and half a CPU. The exit code is 0, or 125 when stdin is no JSON.
#[derive(Debug, Args)]
pub(crate) struct ToolOptions {
    /// Print the JSON schema of a request and end
    #[arg(long)]
    schema: bool,

    #[command(flatten)]
    executor: ExecutorOptions,
}

pub(super) fn run(options: &ToolOptions) -> Exit {
    let executor = match options.executor.executor(Defaults::ForPrograms) {
        Ok(executor) => executor,
        Err(error) => {
            message::error(&error.to_string(), error.hint().as_deref());
            return Exit::Failed;
        }
    };
    let ended = match options.schema {
        true => print(&schema(&executor)),
        false => executor::block_on(answer(&executor)).and_then(|ended| ended),
    };
    match ended {
        Ok(()) => Exit::Success,
        Err(reason) => {
            message::error(&reason, None);
            Exit::Failed
        }
    }
}

/// Answers one request after the other.
async fn answer(executor: &Executor) -> Result<(), String> {
    let room = Cell::new(0);
    let stdin = Bounded { source: BufReader::new(std::io::stdin().lock()), room: &room };
    let mut requests = serde_json::Deserializer::from_reader(stdin).into_iter::<Value>();
    loop {
        room.set(MAX_JOB_BYTES);
        let Some(request) = requests.next() else { return Ok(()) };
        let Ok(request) = request.map_err(|error| CodeError::InvalidArguments(error.to_string())) else {
            // Where the next one begins can't be known.
            let error = CodeError::InvalidArguments("stdin is not a sequence of JSON objects".to_owned());
            print(&executor::refusal(&error))?;
            return Err(error.to_string());
        };
        let result = match CodeRequest::from_json(request.to_string().as_bytes()) {
            Ok(request) => executor.execute(request).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(result) => print(&result)?,
            Err(error) => print(&executor::refusal(&error))?,
        }
    }
}

/// A reader that fails when one value takes more than there is room for.
struct Bounded<'a, R> {
    source: R,
    room: &'a Cell<usize>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(bytes)?;
        let left = self.room.get().checked_sub(read);
        self.room.set(left.ok_or_else(|| std::io::Error::other("a request is too large"))?);
        Ok(read)
    }
}

fn print(value: &impl serde::Serialize) -> Result<(), String> {
    let mut line = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    line.push(b'\n');
    message::data(&line).map_err(|error| format!("failed to write to stdout: {}", reason(&error)))
}

/// What a request looks like, for a model that is to write some.
fn schema(executor: &Executor) -> Value {
    let allowed = &executor.config().allowed_languages;
    let all = executor.languages().iter().map(|language| language.name.clone()).collect();
    let languages: &Vec<String> = if allowed.is_empty() { &all } else { allowed };
    let text = |what: &str| json!({"type": "string", "description": what});
    let texts = |what: &str| json!({"type": "object", "additionalProperties": {"type": "string"}, "description": what});
    json!({
        "type": "object",
        "properties": {
            "language": {"type": "string", "enum": languages},
            "code": text("The whole program"),
            "stdin": text("What the program reads on stdin"),
            "args": {"type": "array", "items": {"type": "string"}, "description": "The program's arguments"},
            "env_vars": texts("The program's environment"),
            "files": texts("Files beside the program, by their relative paths"),
            "timeout": text("How long it may run, such as `10s`"),
            "id": text("A name that comes back in the result"),
        },
        "required": ["language", "code"],
        "additionalProperties": false,
    })
}
