//! The toolchains that a build's phases see: those of the host on which it runs, found once for each build.

use super::error::Fault;
use super::plan::Plan;
use crate::code::{Host, Languages, View};
use std::path::Path;

/// Finds the toolchains of a plan through the worker's `PATH`. None is taken from below `distrusted`, where builds write.
pub(crate) fn find(plan: &Plan, distrusted: &Path) -> Result<Vec<View>, Fault> {
    let (path, home) = (std::env::var_os("PATH").unwrap_or_default(), std::env::home_dir());
    let trusted = |program: &Path| match program.canonicalize().is_ok_and(|real| real.starts_with(distrusted)) {
        true => Err(format!("`{}` lies where builds write", program.display())),
        false => Ok(()),
    };
    let host = Host { path: &path, home: home.as_deref(), trusted: &trusted };
    let languages = Languages::embedded();
    let find = |name: &String| {
        let missing = |reason: String| Fault::new("toolchain", format!("toolchain `{name}`: {reason}"));
        let language = languages.get(name).ok_or_else(|| missing("no such toolchain is known".to_owned()))?;
        let toolchain = language.toolchains.first().ok_or_else(|| missing("there is none".to_owned()))?;
        toolchain.view(host).map_err(|reason| missing(reason).with_hint(format!("install {}", language.install)))
    };
    plan.toolchains.iter().map(find).collect()
}
