//! `pinfold doctor`: what this host can enforce, found out by running jobs, and for what it can't the exact way to get it,
//! found out by looking. It changes nothing.

mod advice;
mod cgroup;
mod conditions;
mod host;
mod probe;
mod table;

use super::exit::Exit;
use super::message;
use advice::Advice;
use clap::Args;
use host::Host;
use pinfold::Failure;
use probe::Feature;
use serde::Serialize;

/// Say what this host can enforce, and how to get the rest
///
/// Runs a few jobs of its own to find out, and changes nothing. Prints a table: each feature, whether it is in force and
/// by what; then, for each thing missing, the exact command or setting that brings it. The exit code is 0 when the
/// default job can be confined here, and 1 when it can't.
#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// Print one JSON object instead of a table
    ///
    /// `{"version": 1, "fit": true, "failure": null, "features": [{"name", "state", "how"}], "advice": [{"about",
    /// "why", "commands": []}], "conditions": [], "warnings": [], "host": {…}}`; `state` is `enforced`, `weaker` or `missing`, `about` is
    /// a feature's name or `sandbox`, `failure` is a result's `error` when not `fit`. Later keys are added.
    #[arg(long)]
    json: bool,
}

/// All that there is to say; its JSON is documented at `--json`.
#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    /// Whether the default job can be confined here.
    fit: bool,
    /// Why not.
    failure: Option<Failure>,
    features: Vec<Feature>,
    advice: Vec<Advice>,
    /// What kind of host this is.
    conditions: Vec<String>,
    /// What works but is risky.
    warnings: Vec<String>,
    host: Host,
}

pub(super) fn run(options: &DoctorOptions) -> Exit {
    let host = Host::look();
    let probed = probe::probe();
    let advice = advice::advice(&host, probed.failure.as_ref(), &probed.features);
    let report = Report {
        version: 1,
        fit: probed.failure.is_none(),
        failure: probed.failure,
        features: probed.features,
        advice,
        conditions: conditions::conditions(&host),
        warnings: host.warnings(),
        host,
    };
    let text = if options.json {
        match serde_json::to_string(&report) {
            Ok(json) => format!("{json}\n"),
            Err(error) => {
                message::error(&format!("failed to write the report as JSON: {error}"), None);
                return Exit::Failed;
            }
        }
    } else {
        table::table(&report, message::colours(&std::io::stdout()))
    };
    if let Err(error) = message::data(text.as_bytes()) {
        message::error(&format!("failed to write to stdout: {error}"), None);
        return Exit::Failed;
    }
    if report.fit { Exit::Success } else { Exit::Unfit }
}
