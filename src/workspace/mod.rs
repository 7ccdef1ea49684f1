//! Workspaces: directories that outlive the jobs that work in them, kept in a store under ids of the caller's choice.
//!
//! An id is any text; what it says never becomes part of a path. A workspace counts who refers to it and is not removed
//! before the last one has let go. Its record lies where no sandbox can write, is replaced as a whole, and is believed
//! only when it can be read: one that is broken counts as held, and hides no other.
//!
//! ```
//! use pinfold::workspace::Store;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = std::env::temp_dir().join(format!("pinfold-doc-{}", std::process::id()));
//! let store = Store::at(&scratch)?;
//! store.create("alice/notes", None)?;
//! store.add_reference("alice/notes", "session 7")?;
//! assert_eq!(store.workspace_of("session 7")?.as_deref(), Some("alice/notes"));
//! let workspace = store.open("alice/notes")?;
//! // Nobody removes it while `workspace` lives.
//! let job = pinfold::job(["make"]).stored(&workspace).build()?;
//! # drop(job);
//! drop(workspace);
//! assert_eq!(store.remove("alice/notes", false).unwrap_err().code(), "references_held");
//! store.remove_reference("alice/notes", "session 7")?;
//! store.remove("alice/notes", false)?;
//! # std::fs::remove_dir_all(&scratch)?;
//! # Ok(())
//! # }
//! # example().unwrap();
//! ```

mod checkpoints;
mod compact;
mod diff;
pub(crate) mod error;
mod export;
pub(crate) mod file;
mod flatten;
mod holders;
mod import;
pub(crate) mod key;
mod layered;
mod limbo;
pub(crate) mod lock;
mod merge;
mod pool;
pub(crate) mod record;
mod references;
mod session;
mod state;
mod store;
pub(crate) mod tree;
mod unpack;
mod using;
mod view;

pub use self::checkpoints::{Checkpoints, Freezer, Mechanism, Saved};
pub use self::diff::{Change, Difference};
pub use self::error::Error;
pub(crate) use self::error::{Doing, quoted};
pub use self::export::Exported;
pub(crate) use self::file::OUR_DIRECTORY;
pub(crate) use self::import::How;
pub use self::import::Imported;
pub(crate) use self::key::Key;
pub(crate) use self::limbo::{Half, Limbo, fresh_name};
pub(crate) use self::lock::Lock;
pub use self::record::Quota;
pub(crate) use self::record::milliseconds;
pub(crate) use self::state::open as open_state;
pub use self::store::{Info, Listed, Pruned, Store};
pub use self::tree::Usage;
pub use self::using::InUse;
