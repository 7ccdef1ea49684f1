//! `pinfold languages`: which languages this host offers to `pinfold code`, and what the others lack.

use super::code::executor;
use super::exit::Exit;
use super::message;
use super::value::reason;
use clap::Args;
use pinfold::code::Offer;
use std::fmt::Write as _;
use std::path::PathBuf;

/// List the languages that `pinfold code` runs here
///
/// Each with the toolchain that answers on this host, or with what to install.
#[derive(Debug, Args)]
pub(crate) struct LanguagesOptions {
    /// Print them as JSON
    #[arg(long)]
    json: bool,

    /// Add the languages of a folder of TOML files
    ///
    /// Instead of the user's own, `pinfold/languages` in `$XDG_CONFIG_HOME` or `~/.config`.
    #[arg(long, value_name = "DIR")]
    languages: Option<PathBuf>,
}

pub(super) fn run(options: &LanguagesOptions) -> Exit {
    let offers = match executor::languages(options.languages.as_deref()) {
        Ok(languages) => languages.offers(),
        Err(reason) => {
            message::error(&reason, None);
            return Exit::Failed;
        }
    };
    let text = match options.json {
        true => serde_json::to_string(&offers).map(|json| format!("{json}\n")).map_err(std::io::Error::from),
        false => Ok(table(&offers)),
    };
    match text.and_then(|text| message::data(text.as_bytes())) {
        Ok(()) => Exit::Success,
        Err(error) => {
            message::error(&format!("failed to write to stdout: {}", reason(&error)), None);
            Exit::Failed
        }
    }
}

fn table(offers: &[Offer]) -> String {
    let widest = offers.iter().map(|offer| offer.name.len()).max().unwrap_or_default();
    let mut table = String::new();
    for offer in offers {
        let what = match &offer.version {
            Some(version) => message::printable(version),
            None => format!("not here: install {}", offer.install),
        };
        // Writing to a String can't fail.
        let _ = writeln!(table, "{:widest$}  {what}", offer.name);
    }
    table
}
