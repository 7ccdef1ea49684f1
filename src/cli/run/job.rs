//! From the options to a job: what is the sandbox's, and then what is the command's.

use super::options::RunOptions;
use crate::cli::sandbox;
use crate::cli::value;
use pinfold::workspace::InUse;
use pinfold::{Argv, Artifacts, Job, Limit, WorkspacePath};

/// The job that the options ask for, in the workspace of the store that they name, if they do.
///
/// # Errors
/// What can't be done, with the option's name.
pub(super) fn job(options: &RunOptions, workspace: Option<&InUse>) -> Result<Job, String> {
    let command = Argv::try_from(options.command.clone()).map_err(|error| error.to_string())?;
    let mut job = Job::new(command);
    job.id = options.id.clone();
    job.mode = options.mode();
    // People are used to commands that take as long and print as much as they like: so does `docker run`.
    job.limits.wall_ms = options.time.unwrap_or(Limit::Max);
    job.limits.output_bytes = options.output.unwrap_or(Limit::Max);
    if options.tty {
        // The command's terminal is ours in the end, and has its abilities.
        let term = std::env::var("TERM").ok().filter(|term| !term.is_empty());
        job.env.set("TERM", term.unwrap_or_else(|| "xterm".to_owned())).map_err(value::named("tty"))?;
    }
    sandbox::describe(&mut job, &options.sandbox, workspace)?;
    if let Some(directory) = &options.artifact_dir {
        let directory = value::to_be_made(directory).map_err(|error| format!("`--artifact-dir`: {error}"))?;
        let paths = options.artifact.iter().map(|path| artifact(path)).collect::<Result<_, _>>()?;
        job.artifacts = Some(Artifacts { paths, directory });
    }
    Ok(job)
}

/// `dist/`, `./dist` and `/workspace/dist` are all what people type for `dist`.
fn artifact(path: &str) -> Result<WorkspacePath, String> {
    let below = path.strip_prefix("/workspace/").or_else(|| path.strip_prefix("./")).unwrap_or(path);
    WorkspacePath::try_from(below.trim_end_matches('/')).map_err(value::named("artifact"))
}
