//! `pinfold run --json`: a job in, a result out, and nothing else on stdout. Whatever goes wrong is a result too.

use super::failure;
use super::signal::Signals;
use crate::cli::exit::Exit;
use crate::cli::message;
use crate::cli::value::reason;
use pinfold::{Failure, Job, MAX_JOB_BYTES, Outcome, Pinfold, Status, Stdio};
use std::io::Read;
use std::path::Path;

pub(super) async fn run(file: &Path) -> Exit {
    let outcome = outcome(file).await.unwrap_or_else(|failure| Outcome::failed("", failure));
    let code = if outcome.status == Status::Failed { Exit::Failed } else { Exit::Success };
    let written = serde_json::to_vec(&outcome).map_err(std::io::Error::from).and_then(|mut json| {
        json.push(b'\n');
        message::data(&json)
    });
    match written {
        Ok(()) => code,
        Err(error) => {
            message::error(&format!("failed to write the result to stdout: {}", reason(&error)), None);
            Exit::Failed
        }
    }
}

async fn outcome(file: &Path) -> Result<Outcome, Failure> {
    let json = read(file).map_err(|error| {
        Failure::new("bad_job", format!("failed to read the job from `{}`: {}", file.display(), reason(&error)))
    })?;
    let job = Job::from_json(&json).map_err(|error| Failure::new("bad_job", error.to_string()))?;
    let mut signals = Signals::new()
        .map_err(|error| Failure::new("host_error", format!("failed to catch signals: {}", reason(&error))))?;
    let pinfold = Pinfold::new().map_err(|error| failure("host_error", &error))?;
    let sandbox = pinfold.spawn(job, Stdio::captured()).await.map_err(|error| failure("host_error", &error))?;
    let controller = sandbox.controller();
    let mut end = std::pin::pin!(sandbox.wait());
    loop {
        tokio::select! {
            outcome = &mut end => return outcome.map_err(|error| failure("host_error", &error)),
            // As the runner does: a pipeline that gives up, in whatever way, still gets its result.
            _ = signals.next() => controller.cancel(),
        }
    }
}

/// Reads a job, and one byte more than any job has.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    let most = MAX_JOB_BYTES as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut json)?;
    } else {
        std::fs::File::open(file)?.take(most).read_to_end(&mut json)?;
    }
    if json.len() > MAX_JOB_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {MAX_JOB_BYTES} bytes")));
    }
    Ok(json)
}
