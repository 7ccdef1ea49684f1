//! Files of a workspace, in and out, without trusting anything in it.
//!
//! A [`Tree`] is a directory of the host with everything below it, made from a path or a descriptor. All that is done
//! through it stays beneath that directory, whatever a hostile program has put there or changes meanwhile: every path goes
//! to the kernel relative to a descriptor, no symbolic link is followed, no other file system that is mounted inside is
//! entered, FIFOs and devices are never opened, and names may be any bytes.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = std::env::temp_dir().join(format!("pinfold-doc-{}", std::process::id()));
//! # std::fs::create_dir(&scratch)?;
//! use pinfold::files::{Grep, Occurrences, Tree};
//!
//! let tree = Tree::open(&scratch)?;
//! tree.write("src/main.py", "print('helo')\n")?;
//! tree.edit("src/main.py", "helo", "hello", Occurrences::One)?;
//! assert_eq!(tree.read("/workspace/src/main.py")?, b"print('hello')\n");
//! assert_eq!(tree.glob("**/*.py")?.entries.len(), 1);
//! assert_eq!(tree.grep(&Grep::regex(r"^print\("))?.matches[0].line, 1);
//! assert_eq!(tree.read("../secret").unwrap_err().code(), "invalid_path");
//! # std::fs::remove_dir_all(&scratch)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Paths
//!
//! A path is relative to the tree's root, which is `.`. What begins with `/workspace/` is taken as below the root, since
//! that is what a command in a sandbox calls it. Every other absolute path, `..` anywhere, a NUL byte, the empty path, names
//! longer than 255 bytes and paths longer than 4095 are refused: `invalid_path`.
//!
//! # Bounds
//!
//! [`Bounds`] says how much one call may read, write and look at. Replacing a file is atomic for whoever looks at it; what
//! is written is on disk when the kernel says so, and not before.

mod bounds;
mod copy;
pub(crate) mod entry;
pub(crate) mod error;
mod glob;
mod grep;
pub(crate) mod list;
mod names;
mod pack;
pub(crate) mod path;
mod plant;
mod read;
mod remove;
mod temporary;
mod tree;
mod unpack;
pub(crate) mod walk;
mod write;

pub use bounds::Bounds;
pub use entry::{Entry, Kind};
pub use error::{Error, Reason};
pub use glob::Found;
pub use grep::{Grep, Match, Matches};
pub use list::Listing;
pub use plant::{Progress, Report};
pub use read::Lines;
pub use temporary::Replace;
pub use tree::Tree;
pub use write::Occurrences;
