//! What all requests share, and what is each owner's.

use super::journal::Journal;
use super::metrics::Metrics;
use super::page::Ended;
use super::policy::Policy;
use super::preview::Previews;
use super::problem::Problem;
use super::tokens::Tokens;
use super::work::Grants;
use pinfold::Pinfold;
use pinfold::build::Builds;
use pinfold::code::{CodeConfig, Executor, Languages};
use pinfold::held::{Name, Sandboxes};
use pinfold::service::{self, Settings, Turn};
use pinfold::workspace::Store;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::{Mutex, Semaphore, watch};

/// How many calls that block may be at work at once: more would only wait for one disk.
const BLOCKING: usize = 32;
/// Of what one permit of `memory` is worth.
pub(super) const MEMORY_UNIT: u64 = 64 << 10;
/// All bodies that are held in memory at once, in bytes.
const MEMORY: usize = 256 << 20;
/// Event streams and terminals, of all and of each owner.
const STREAMS: (usize, usize) = (512, 128);

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Nothing new is begun; streams end, what is at work goes on.
    Draining,
    /// Everything is given up.
    Ending,
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    pub(super) pinfold: Pinfold,
    pub(super) executor: Executor,
    pub(super) languages: Languages,
    pub(super) sandboxes: Sandboxes,
    pub(super) store: Store,
    /// Where sandboxes are known.
    pub(super) runtime: PathBuf,
    pub(super) builds: Builds,
    pub(super) grants: Grants,
    pub(super) previews: Previews,
    /// The sessions of the page that their users ended.
    pub(super) ended_sessions: Ended,
    roll: watch::Sender<Arc<Roll>>,
    pub(super) metrics: Metrics,
    pub(super) journal: Journal,
    pub(super) commands: Arc<Semaphore>,
    pub(super) blocking: Arc<Semaphore>,
    pub(super) memory: Arc<Semaphore>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) requests: AtomicU64,
    /// The description of all routes.
    pub(super) document: Vec<u8>,
}

/// Whose something is. No owner's names can be those of another: a name has no `.` and no `/`, and each is followed by one.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) name: String,
    sandboxes: String,
    workspaces: String,
    /// Whose the builds are.
    pub(super) builds: String,
    pub(super) commands: Arc<Semaphore>,
    pub(super) streams: Arc<Semaphore>,
    /// Held while it is seen whether there may be one more, and that is made. Other servers wait for the [`turn`](Self::turn).
    pub(super) making: Mutex<()>,
}

impl Owner {
    fn new(name: &str, commands: usize) -> Self {
        Self {
            name: name.to_owned(),
            sandboxes: format!("http.{name}."),
            workspaces: format!("http/{name}/"),
            builds: format!("http.{name}"),
            commands: Arc::new(Semaphore::new(commands)),
            streams: Arc::new(Semaphore::new(STREAMS.1)),
            making: Mutex::new(()),
        }
    }

    /// Keeps other servers of the same directory from making something of this owner's there.
    pub(super) fn turn(&self, directory: &Path) -> Result<Turn, Problem> {
        let turn = service::turn(directory, &self.name)?;
        turn.ok_or_else(|| Problem::busy("another server of this host makes something of yours"))
    }

    /// The whole name of a sandbox, which is one of this owner's whatever is given.
    pub(super) fn sandbox(&self, given: &str) -> Result<Name, Problem> {
        let most = 63 - self.sandboxes.len();
        // Checked by itself first, so that the words are about what the owner knows.
        let name = Name::try_from(given).and_then(|given| Name::try_from(format!("{}{given}", self.sandboxes)));
        let words = || format!("a sandbox's name has 1 to {most} of A-Z a-z 0-9 . _ -, the first a letter or a digit");
        name.map_err(|_no_name| Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_name", words()))
    }

    /// The name that the owner knows, of a sandbox of theirs.
    pub(super) fn own_sandbox<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&self.sandboxes)
    }

    /// The whole id of a workspace, which is one of this owner's whatever is given.
    pub(super) fn workspace(&self, given: &str) -> Result<String, Problem> {
        plain("a workspace's id", given)?;
        Ok(format!("{}{given}", self.workspaces))
    }

    /// The whole name of a holder of workspaces, which is one of this owner's whatever is given. Holders are no workspaces, so
    /// that both may begin alike.
    pub(super) fn holder(&self, given: &str) -> Result<String, Problem> {
        plain("a holder's name", given)?;
        Ok(format!("{}{given}", self.workspaces))
    }

    /// The name that the owner knows, of a holder of theirs.
    pub(super) fn own_holder<'n>(&self, name: &'n str) -> Option<&'n str> {
        self.own_workspace(name)
    }

    /// Where this owner's threads of checkpoints are, and nobody else's.
    pub(super) fn threads(&self, state: &Path) -> PathBuf {
        state.join("threads").join(&self.builds)
    }

    /// The id that the owner knows, of a workspace of theirs.
    pub(super) fn own_workspace<'n>(&self, id: &'n str) -> Option<&'n str> {
        id.strip_prefix(&self.workspaces)
    }

    /// A text in the names that the owner knows.
    pub(super) fn as_named(&self, text: &str) -> String {
        text.replace(&format!("`{}", self.sandboxes), "`").replace(&format!("`{}", self.workspaces), "`")
    }
}

/// Refuses a text that can be no name.
pub(super) fn plain(what: &str, given: &str) -> Result<(), Problem> {
    let is_plain = !given.chars().any(char::is_control) && ![".", ".."].contains(&given);
    if given.is_empty() || given.chars().count() > 200 || !is_plain {
        let words = format!("{what} has 1 to 200 characters and no control characters, and is neither `.` nor `..`");
        return Err(Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_name", words));
    }
    Ok(())
}

/// Who may ask: tokens, and the owners that they are of.
#[derive(Debug)]
pub(super) struct Roll {
    tokens: Tokens,
    owners: Vec<Arc<Owner>>,
}

impl std::ops::Deref for Roll {
    type Target = Tokens;

    fn deref(&self) -> &Tokens {
        &self.tokens
    }
}

impl Roll {
    fn new(tokens: Tokens, commands: usize) -> Self {
        let owners = tokens.owners().iter().map(|name| Arc::new(Owner::new(name, commands))).collect();
        Self { tokens, owners }
    }

    /// Whoever is known stays as he is, with what he has at work.
    fn renewed(&self, read: &Tokens, commands: usize) -> Self {
        let tokens = self.tokens.renewed(read);
        let mut owners = self.owners.clone();
        owners.extend(tokens.owners()[owners.len()..].iter().map(|name| Arc::new(Owner::new(name, commands))));
        Self { tokens, owners }
    }

    /// Whose a token is.
    pub(super) fn holder(&self, token: usize) -> Option<&Arc<Owner>> {
        self.owners.get(self.tokens.owner_of(token)?)
    }
}

impl Shared {
    /// # Errors
    /// In words.
    pub(super) fn new(
        settings: Settings,
        tokens: Tokens,
        previews: Previews,
        document: Vec<u8>,
    ) -> Result<Self, String> {
        fn words(error: impl Display) -> String {
            error.to_string()
        }
        let pinfold = Pinfold::builder().max_sandboxes(settings.max_commands).build().map_err(words)?;
        let mut languages = Languages::embedded();
        match &settings.languages {
            Some(folder) => languages.add_folder(folder),
            None => languages.add_users_own(),
        }
        .map_err(words)?;
        let output = settings.job.limits.output_bytes.value().unwrap_or(CodeConfig::OUTPUT_BYTES);
        let (bounds, allowed) = ((settings.time, output), &settings.allowed_languages);
        let executor = service::executor(&settings.job, bounds, languages.clone(), allowed, pinfold.clone());
        let executor = executor.map_err(words)?;
        let store = Store::new().map_err(words)?;
        Ok(Self {
            builds: Builds::at(store.state()).map_err(words)?,
            grants: Grants::of(&settings),
            previews,
            policy: Policy::new(settings.job.clone(), settings.time),
            pinfold,
            executor,
            languages,
            sandboxes: Sandboxes::new(),
            runtime: service::runtime_directory().map_err(words)?,
            ended_sessions: Ended::below(store.state()),
            store,
            roll: watch::Sender::new(Arc::new(Roll::new(tokens, settings.max_commands))),
            metrics: Metrics::default(),
            journal: Journal::start(),
            commands: Arc::new(Semaphore::new(settings.max_commands)),
            blocking: Arc::new(Semaphore::new(BLOCKING)),
            memory: Arc::new(Semaphore::new(MEMORY / usize::try_from(MEMORY_UNIT).unwrap_or(1))),
            streams: Arc::new(Semaphore::new(STREAMS.0)),
            phase: watch::Sender::new(Phase::Serving),
            requests: AtomicU64::new(1),
            document,
            settings,
        })
    }

    /// Who may ask, as it is now.
    pub(super) fn tokens(&self) -> Arc<Roll> {
        self.roll.borrow().clone()
    }

    /// Takes what the token file says now. What was withdrawn is good for nothing more from here on.
    pub(super) fn renew(&self, read: &Tokens) {
        self.roll.send_modify(|roll| *roll = Arc::new(roll.renewed(read, self.settings.max_commands)));
    }

    /// Returns when the token of this number is withdrawn, or the server begins to end.
    pub(super) async fn ended_for(&self, token: usize) {
        tokio::select! {
            () = self.withdrawn(token) => {}
            () = self.draining() => {}
        }
    }

    /// Returns when the token of this number is withdrawn.
    pub(super) async fn withdrawn(&self, token: usize) {
        let mut roll = self.roll.subscribe();
        let _server_is_gone = roll.wait_for(|roll| roll.owner_of(token).is_none()).await;
    }

    /// Returns when the server begins to end.
    pub(super) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Returns when the server is so far.
    pub(super) async fn reached(&self, wanted: Phase) {
        let mut phase = self.phase.subscribe();
        drop(phase.wait_for(|phase| *phase >= wanted).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_one_owner_is_another_ones() {
        let (short, long) = (Owner::new("a", 1), Owner::new("a-b", 1));
        let name = short.sandbox("b.x").unwrap();
        assert_eq!((long.own_sandbox(name.as_str()), short.own_sandbox(name.as_str())), (None, Some("b.x")));
        for tried in ["../a-b/x", "a-b/x", "/x"] {
            assert_eq!(long.own_workspace(&short.workspace(tried).unwrap()), None);
        }
        assert!(short.workspace("..").is_err() && short.workspace("a\nb").is_err() && short.sandbox("..").is_err());
    }
}
