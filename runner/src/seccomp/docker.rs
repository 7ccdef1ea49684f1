//! What Docker's own policy files add to OCI: `archMap`, `includes` and `excludes`. Docker resolves them against the
//! container before a runtime sees the policy; here they are resolved against what every sandbox is: x86_64, no
//! capability, a kernel that has openat2. It deliberately never asks the running kernel: one file is one policy.

use serde::Deserialize;

use super::error::PolicyError;

/// The oldest kernel that can hold a sandbox, for it has openat2.
const OLDEST_KERNEL: (u32, u32) = (5, 6);

/// One entry of `archMap`. Its `subArchitectures` are foreign ABIs, which stay closed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ArchMap {
    pub(super) architecture: String,
    #[serde(rename = "subArchitectures")]
    _sub_architectures: Option<Vec<String>>,
}

/// The condition on which a rule is part of the policy.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Whether a rule with these conditions is part of the policy.
pub(super) fn applies(includes: Option<&Filter>, excludes: Option<&Filter>) -> Result<bool, PolicyError> {
    let mut applies = true;
    if let Some(Filter { caps, arches, min_kernel }) = includes {
        applies &= caps.as_ref().is_none_or(Vec::is_empty);
        applies &= arches.as_ref().is_none_or(|arches| arches.is_empty() || names_this_machine(arches));
        applies &= min_kernel.as_deref().map_or(Ok(true), is_older_than_any_host)?;
    }
    // An excluded capability never excludes: nobody has it.
    if let Some(Filter { caps: _, arches, min_kernel }) = excludes {
        applies &= !arches.as_ref().is_some_and(|arches| names_this_machine(arches));
        applies &= !min_kernel.as_deref().map_or(Ok(false), is_older_than_any_host)?;
    }
    Ok(applies)
}

fn names_this_machine(arches: &[String]) -> bool {
    arches.iter().any(|arch| arch == "amd64")
}

/// True for a version that every host has; an error for one that some may not have.
fn is_older_than_any_host(version: &str) -> Result<bool, PolicyError> {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(major), Ok(minor)) if (major, minor) <= OLDEST_KERNEL => Ok(true),
        _ => Err(PolicyError::MinKernel { version: version.to_owned() }),
    }
}
