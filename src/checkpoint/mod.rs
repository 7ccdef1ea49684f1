//! Checkpoints: states to come back to, of a program alone or of a workspace with its files.
//!
//! A thread is a row of checkpoints in the order in which they were made. Each has an id, the one that it goes on from, a
//! step, labels, and a JSON state of the caller's. [`Threads`] keeps states, in [`Memory`] or on [`Disk`];
//! [`Store::checkpoints`](crate::workspace::Store::checkpoints) keeps a workspace's, whose files come back with them.
//!
//! ```
//! use pinfold::checkpoint::{Memory, New, Threads};
//! use serde_json::json;
//!
//! let threads = Threads::new(Memory::default());
//! let first = threads.save("chat", &New { state: json!({"turn": 1}), ..New::default() })?;
//! threads.save("chat", &New { state: json!({"turn": 2}), ..New::default() })?;
//! let back = threads.rollback("chat", &first.id)?;
//! assert_eq!(back.parent.as_ref(), Some(&first.id));
//! assert_eq!(threads.latest("chat")?.1, json!({"turn": 1}));
//! # Ok::<(), pinfold::checkpoint::Error>(())
//! ```

mod disk;
mod error;
mod storage;
mod thread;
mod threads;

pub use self::disk::Disk;
pub(crate) use self::disk::ThreadDir;
pub use self::error::Error;
pub use self::storage::{Memory, States, Storage};
pub use self::thread::{Cause, Checkpoint, New, Retention, Thread};
pub(crate) use self::thread::{Entry, Files, now_ms};
pub use self::threads::{Filter, StateChange, Threads};
