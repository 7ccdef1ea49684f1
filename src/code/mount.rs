//! Putting toolchains that were found into a job: mounted read-only where they live, with their programs on `PATH`.

use super::toolchain::{DEFAULT_PATH, View};
use pinfold_runner::{AbsolutePath, Job, Mount};
use std::path::Path;

impl View {
    /// Puts toolchains into a job, the first one's programs first on its `PATH`.
    ///
    /// # Errors
    /// In words, when one lives where nothing can be mounted from.
    pub fn put_into(views: impl IntoIterator<Item = Self>, job: &mut Job) -> Result<(), String> {
        let mut path = Vec::new();
        for view in views {
            for directory in view.mounts {
                let source = directory.canonicalize().map_err(|error| format!("`{}`: {error}", directory.display()))?;
                let (source, target) = (absolute(&source)?, absolute(&directory)?);
                if !job.mounts.iter().any(|mount| mount.target == target) {
                    job.mounts.push(Mount { source, target, writable: false, as_owner: false });
                }
            }
            for directory in view.path {
                let directory = text(&directory)?.to_owned();
                if !path.contains(&directory) && !DEFAULT_PATH.split(':').any(|known| known == directory) {
                    path.push(directory);
                }
            }
            for (name, value) in view.env {
                job.env.set(name, value).map_err(|error| error.to_string())?;
            }
        }
        if !path.is_empty() {
            let path = format!("{}:{DEFAULT_PATH}", path.join(":"));
            job.env.set("PATH", path).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("`{}` is not UTF-8", path.display()))
}

fn absolute(path: &Path) -> Result<AbsolutePath, String> {
    AbsolutePath::try_from(text(path)?).map_err(|error| error.to_string())
}
