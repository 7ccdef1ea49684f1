//! `--report`: the result as JSON in a file of the caller's, beside live stdio.

use crate::cli::sandbox::reach;
use crate::cli::value;
use pinfold::{Job, Outcome};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that waits for the result.
pub(super) struct Report {
    path: PathBuf,
    file: File,
}

impl Report {
    /// Opens the file before anything runs, so that a wrong path costs no run.
    ///
    /// # Errors
    /// When it can't be written, or lies where the command can write: an earlier run may have put a link there.
    pub(super) fn open(path: &Path, job: &Job) -> Result<Self, String> {
        let failed = |reason: String| format!("failed to open `{}` for the report: {reason}", path.display());
        reach::refuse(job, path).map_err(failed)?;
        let file = File::create(path).map_err(|error| failed(value::reason(&error)))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Writes the result: one object on one line.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn write(mut self, outcome: &Outcome) -> Result<(), String> {
        let failed = |reason: &dyn std::fmt::Display| format!("failed to write `{}`: {reason}", self.path.display());
        let mut json = serde_json::to_vec(outcome).map_err(|error| failed(&error))?;
        json.push(b'\n');
        self.file.write_all(&json).map_err(|error| failed(&value::reason(&error)))
    }
}
