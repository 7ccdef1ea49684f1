//! Whether the command could have arranged what a path of the host leads to: an earlier run may have left a link, a policy
//! or a program in a workspace that stays. What the options name for Pinfold's own use must not come from there.

use pinfold::{AbsolutePath, Job};
use std::path::{Component, Path, PathBuf};

/// The directory through which the command can reach `path`, if there is one: the workspace or a writable mount.
pub(in crate::cli) fn through<'a>(job: &'a Job, path: &Path) -> Option<&'a AbsolutePath> {
    let mounts = job.mounts.iter().filter(|mount| mount.writable).map(|mount| &mount.source);
    let directories: Vec<_> = job.workspace.written().chain(mounts).collect();
    holding(&directories, path)
}

/// The one of these directories, none of which has links in its path, that has a say in where `path` leads.
pub(in crate::cli) fn holding<'a>(directories: &[&'a AbsolutePath], path: &Path) -> Option<&'a AbsolutePath> {
    let holding = |place: &Path| directories.iter().copied().find(|directory| place.starts_with(directory.as_str()));
    // Name by name, as the kernel does: every directory in which a name is looked up has a say in where the path leads.
    let mut place = std::env::current_dir().unwrap_or_else(|_gone| PathBuf::from("/"));
    for part in path.components() {
        match part {
            Component::RootDir | Component::Prefix(_) => place = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => {
                place.pop();
            }
            Component::Normal(name) => {
                if let Some(directory) = holding(&place) {
                    return Some(directory);
                }
                place.push(name);
                // What is not there yet has no links in it.
                place = place.canonicalize().unwrap_or(place);
            }
        }
    }
    holding(&place)
}

/// Refuses what the command can reach.
///
/// # Errors
/// In words, for the option at fault.
pub(in crate::cli) fn refuse(job: &Job, path: &Path) -> Result<(), String> {
    match through(job, path) {
        Some(directory) => Err(format!(
            "`{}` lies in `{directory}`, where the command can write: nothing there is trusted",
            path.display()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfold::{Argv, Workspace};

    #[test]
    fn a_path_is_followed_name_by_name() {
        let mut job = Job::new(Argv::try_from(vec!["true".to_owned()]).unwrap());
        job.workspace = Workspace::Path(AbsolutePath::try_from("/usr/share").unwrap());
        for path in ["/usr/share", "/usr/share/x", "/usr/share/x/../../../etc/passwd", "/usr/bin/../share/x"] {
            assert!(through(&job, Path::new(path)).is_some(), "{path}");
        }
        for path in ["/usr/share/../bin/sh", "/usr/shared", "/usr", "/etc/passwd"] {
            assert!(through(&job, Path::new(path)).is_none(), "{path}");
        }
    }
}
