//! Building a job in Rust. The checks are the contract's own (crate `pinfold-runner`); nothing is checked here that a JSON
//! job is not checked for.

use pinfold_runner::{
    AbsolutePath, Argv, Artifacts, Content, FileEntry, Job, JobError, Mode, Mount, Network, Requirement, Root,
    SandboxId, Seccomp, User, Workspace,
};
use std::fmt;
use std::path::Path;

/// Starts a job that runs `argv`: the command, looked up on `PATH` inside the sandbox, and its arguments.
///
/// ```
/// use pinfold::{ByteSize, job};
/// use std::time::Duration;
///
/// let job = job(["cc", "-o", "main", "main.c"])
///     .file("main.c", "int main(void) { return 0; }")
///     .wall(Duration::from_secs(10))
///     .memory(ByteSize::mebibytes(256))
///     .build()?;
/// # Ok::<(), pinfold::JobError>(())
/// ```
pub fn job<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> JobBuilder {
    JobBuilder::new(argv)
}

/// A job in the making. What is not said has the contract's default, limits included: 30 seconds of wall clock, 512 MiB of
/// memory, 256 processes, 1 MiB of each output stream.
///
/// The methods never fail; [`build`](Self::build) reports the first value that no job can have, by its field.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct JobBuilder {
    /// The job so far, or what was wrong first. Boxed, since builders are moved at every call.
    job: Result<Box<Job>, JobError>,
}

pub(crate) fn refusal(field: &str, reason: &dyn fmt::Display) -> JobError {
    JobError { path: Some(field.to_owned()), reason: reason.to_string() }
}

fn path_text<'a>(field: &str, path: &'a Path) -> Result<&'a str, JobError> {
    path.to_str().ok_or_else(|| refusal(field, &format_args!("`{}` is not UTF-8", path.display())))
}

fn absolute(field: &str, path: &Path) -> Result<AbsolutePath, JobError> {
    AbsolutePath::try_from(path_text(field, path)?).map_err(|e| refusal(field, &e))
}

impl JobBuilder {
    /// Starts a job that runs `argv`.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        Self { job: Argv::try_from(argv).map(|argv| Box::new(Job::new(argv))).map_err(|e| refusal("command", &e)) }
    }

    /// Changes the job unless something was wrong before.
    pub(crate) fn set(mut self, change: impl FnOnce(&mut Job) -> Result<(), JobError>) -> Self {
        self.job = self.job.and_then(|mut job| change(&mut job).map(|()| job));
        self
    }

    pub(crate) fn with(self, change: impl FnOnce(&mut Job)) -> Self {
        self.set(|job| {
            change(job);
            Ok(())
        })
    }

    /// Names the sandbox: 1 to 128 of `A-Z a-z 0-9 . _ -`. By default a random name.
    pub fn id(self, id: &str) -> Self {
        self.set(|job| {
            job.id = Some(SandboxId::try_from(id).map_err(|e| refusal("id", &e))?);
            Ok(())
        })
    }

    /// Sets one environment variable of the command. The host's own environment never gets in.
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(|job| job.env.set(name, value).map_err(|e| refusal("env", &e)))
    }

    /// Who the command is inside; by default 1000:1000. `0:0` gives it no capability and nothing on the host.
    pub fn user(self, uid: u32, gid: u32) -> Self {
        self.set(|job| {
            // Through the text, since that is where the contract's check of the range lives.
            job.user = format!("{uid}:{gid}").parse::<User>().map_err(|e| refusal("user", &e))?;
            Ok(())
        })
    }

    /// Where the command starts: absolute in the sandbox, or relative to the workspace; by default the workspace.
    pub fn cwd(self, cwd: impl AsRef<Path>) -> Self {
        self.set(|job| {
            job.cwd = path_text("cwd", cwd.as_ref())?.try_into().map_err(|e| refusal("cwd", &e))?;
            Ok(())
        })
    }

    /// What the command reads on stdin, then end-of-file; by default nothing.
    pub fn stdin(self, content: impl Into<Vec<u8>>) -> Self {
        self.with(|job| job.stdin = Content(content.into()))
    }

    /// Writes a file, mode 0644, at `path` below the workspace before the command starts; parents are made.
    pub fn file(self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> Self {
        self.add_file(path.as_ref(), content.into(), false)
    }

    /// The same with mode 0755.
    pub fn executable(self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> Self {
        self.add_file(path.as_ref(), content.into(), true)
    }

    fn add_file(self, path: &Path, content: Vec<u8>, executable: bool) -> Self {
        self.set(|job| {
            let field = format!("files[{}].path", job.files.len());
            let path = path_text(&field, path)?.try_into().map_err(|e| refusal(&field, &e))?;
            job.files.push(FileEntry { path, content: Content(content), executable });
            Ok(())
        })
    }

    /// Makes an existing directory of the host, by its absolute path, the workspace. It stays, with what the command
    /// changed in it. By default the workspace is a private temporary directory.
    pub fn workspace(self, directory: impl AsRef<Path>) -> Self {
        self.set(|job| {
            job.workspace = Workspace::Path(absolute("workspace.path", directory.as_ref())?);
            Ok(())
        })
    }

    /// Works in a stored workspace, which is to stay in use until the job has ended.
    pub fn stored(self, workspace: &crate::workspace::InUse) -> Self {
        self.set(|job| {
            let named = workspace.workspace();
            job.workspace = named.map_err(|error| refusal("workspace", &error))?;
            Ok(())
        })
    }

    /// Keeps the workspace in memory, where it counts towards the memory limit.
    pub fn workspace_in_memory(self) -> Self {
        self.with(|job| job.workspace = Workspace::Tmpfs)
    }

    /// Shows the workspace at another absolute path too, beside `/workspace`; the command starts there, and `HOME` is there.
    pub fn workspace_at(self, path: impl AsRef<Path>) -> Self {
        self.set(|job| {
            job.workspace_at = Some(absolute("workspace_at", path.as_ref())?);
            Ok(())
        })
    }

    /// Uses an extracted root file system, by its absolute path, instead of the host's `/usr`; read-only.
    pub fn root(self, directory: impl AsRef<Path>) -> Self {
        self.set(|job| {
            job.root = Root::Path(absolute("root.path", directory.as_ref())?);
            Ok(())
        })
    }

    /// Shows a path of the host, read-only, at `target` in the sandbox; both absolute. A Unix socket below it can be
    /// connected to all the same.
    pub fn mount(self, source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.add_mount(source.as_ref(), target.as_ref(), false)
    }

    /// The same, and the command may write to it.
    pub fn mount_writable(self, source: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.add_mount(source.as_ref(), target.as_ref(), true)
    }

    fn add_mount(self, source: &Path, target: &Path, writable: bool) -> Self {
        self.set(|job| {
            let index = job.mounts.len();
            let source = absolute(&format!("mounts[{index}].source"), source)?;
            let target = absolute(&format!("mounts[{index}].target"), target)?;
            job.mounts.push(Mount { source, target, writable, as_owner: false });
            Ok(())
        })
    }

    /// By what the command is confined; by default namespaces.
    pub fn mode(self, mode: Mode) -> Self {
        self.with(|job| job.mode = mode)
    }

    /// Which network the command has; by default none but its own loopback.
    pub fn network(self, network: Network) -> Self {
        self.with(|job| job.network = network)
    }

    /// Chooses a built-in seccomp policy by name; by default `default`.
    pub fn seccomp(self, name: &str) -> Self {
        self.set(|job| {
            job.seccomp = Seccomp::builtin(name).map_err(|e| refusal("seccomp", &e))?;
            Ok(())
        })
    }

    /// Uses a seccomp policy of one's own: a file of the host, by its absolute path, in the OCI `linux.seccomp` form.
    pub fn seccomp_file(self, path: impl AsRef<Path>) -> Self {
        self.set(|job| {
            job.seccomp = Seccomp::Path(absolute("seccomp.path", path.as_ref())?);
            Ok(())
        })
    }

    /// Asks for a feature that must be in force, or the job fails before the command runs.
    pub fn require(self, feature: Requirement) -> Self {
        self.with(|job| job.require.push(feature))
    }

    /// Copies these files and folders of the workspace to `directory`, an absolute path of the host, when the command has
    /// ended. The directory is made if absent; nothing in it is ever overwritten.
    pub fn artifacts<S: AsRef<str>>(self, paths: impl IntoIterator<Item = S>, directory: impl AsRef<Path>) -> Self {
        self.set(|job| {
            let directory = absolute("artifacts.directory", directory.as_ref())?;
            let mut checked = Vec::new();
            for (index, path) in paths.into_iter().enumerate() {
                let path = path.as_ref().try_into().map_err(|e| refusal(&format!("artifacts.paths[{index}]"), &e))?;
                checked.push(path);
            }
            job.artifacts = Some(Artifacts { paths: checked, directory });
            Ok(())
        })
    }

    /// The job.
    ///
    /// # Errors
    /// The first value that no job can have, with the path of its field, as for a JSON job: `limits.memory_bytes`.
    pub fn build(self) -> Result<Job, JobError> {
        let job = self.job?;
        job.limits.check().map_err(|reason| JobError { path: Some("limits".to_owned()), reason })?;
        Ok(*job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::byte_size::ByteSize;
    use pinfold_runner::Limit;
    use std::time::Duration;

    #[test]
    fn what_is_built_is_what_json_says() {
        let built = job(["cc", "main.c"])
            .env("A", "1")
            .cwd("src")
            .file("src/main.c", "int x;")
            .wall(Duration::from_micros(1500))
            .memory(ByteSize::mebibytes(64))
            .pids(8)
            .cpus(1.5)
            .output(Limit::Max)
            .mount_writable("/s", "/t")
            .build();
        let parsed = Job::from_json(
            br#"{"command": ["cc", "main.c"], "env": {"A": "1"}, "cwd": "src",
                "files": [{"path": "src/main.c", "content": "int x;"}],
                "mounts": [{"source": "/s", "target": "/t", "writable": true}],
                "limits": {"wall_ms": 2, "memory_bytes": 67108864, "pids": 8, "cpus": 1.5, "output_bytes": "max"}}"#,
        );
        assert_eq!(built, parsed);
    }

    #[test]
    fn the_first_impossible_value_is_named_by_its_field() {
        let field = |builder: JobBuilder| builder.build().unwrap_err().path.unwrap_or_default();
        assert_eq!(field(job(Vec::<String>::new())), "command");
        assert_eq!(field(job(["a"]).file("ok", "").file("../x", "").env("", "")), "files[1].path");
        assert_eq!(field(job(["a"]).env("A=B", "")), "env");
        assert_eq!(field(job(["a"]).workspace("relative")), "workspace.path");
        assert_eq!(field(job(["a"]).user(u32::MAX, 0)), "user");
        assert_eq!(field(job(["a"]).wall(Duration::ZERO)), "limits");
    }

    #[test]
    fn a_limit_out_of_range_names_the_range() {
        let refused = job(["a"]).memory(ByteSize::new(1)).build().unwrap_err();
        assert!(refused.to_string().contains("`memory_bytes` is 1: it must be a number from 1048576"), "{refused}");
        assert!(job(["a"]).cpus(f64::NAN).build().is_err());
    }
}
