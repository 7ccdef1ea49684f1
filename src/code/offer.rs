//! Which languages this host offers: those of which a toolchain answers.

use super::executor::on_this_host;
use super::language::Language;
use super::languages::Languages;
use serde::Serialize;

/// A language, and what of it is on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// Whether a toolchain answers.
    pub available: bool,
    /// Which.
    pub toolchain: Option<String>,
    /// What it says of its version.
    pub version: Option<String>,
    /// Why none does.
    pub reason: Option<String>,
    /// What to install.
    pub install: String,
}

impl Languages {
    /// Asks this host for all languages, at once. It may take a second, as a JVM does to say its version.
    pub fn offers(&self) -> Vec<Offer> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = self.iter().map(|language| scope.spawn(|| offer(language))).collect();
            let told = |thread: std::thread::ScopedJoinHandle<'_, Offer>| match thread.join() {
                Ok(offer) => offer,
                // A bug of ours is not to be taken for a toolchain that is absent.
                Err(panic) => std::panic::resume_unwind(panic),
            };
            asked.into_iter().map(told).collect()
        })
    }
}

fn offer(language: &Language) -> Offer {
    let mut missing = Vec::new();
    let found = on_this_host(&[], |host| {
        for toolchain in &language.toolchains {
            match toolchain.locate(host).and_then(|_found| toolchain.version(host)) {
                Ok(version) => return Some((toolchain.name.clone(), version)),
                Err(reason) => missing.push(format!("{}: {reason}", toolchain.name)),
            }
        }
        None
    });
    let (toolchain, version) = found.unzip();
    Offer {
        name: language.name.clone(),
        aliases: language.aliases.clone(),
        available: toolchain.is_some(),
        reason: toolchain.is_none().then(|| missing.join("; ")),
        toolchain,
        version,
        install: language.install.clone(),
    }
}
