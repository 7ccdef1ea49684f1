//! Running pieces of code: a language, some code and its input in; output, verdict and cost out.
//!
//! An [`Executor`] holds an operator's [`CodeConfig`] and takes a [`CodeRequest`] of anybody's; what a request says never
//! widens what the configuration allows. [`Languages`] are data, one TOML file each.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use pinfold::Pinfold;
//! use pinfold::code::{CodeConfig, CodeRequest, Executor, Languages};
//!
//! let executor = Executor::new(CodeConfig::default(), Languages::embedded(), Pinfold::new()?)?;
//! let result = executor.execute(CodeRequest::new("python", "print(6 * 7)")).await?;
//! assert_eq!((result.success, result.stdout.as_str()), (true, "42\n"));
//! # Ok(())
//! # }
//! ```

mod backend;
mod config;
mod error;
mod executions;
mod executor;
mod language;
mod languages;
mod mount;
mod namespace;
mod offer;
mod probe;
mod process;
mod request;
mod result;
mod scratch;
mod stats;
mod template;
mod time;
mod toolchain;
mod validator;

pub use backend::{Backend, BackendFuture, Task};
pub use config::{CodeConfig, ExecutionMode};
pub use error::CodeError;
pub use executor::Executor;
pub use language::{Language, Place, Step, Toolchain};
pub use languages::{LanguageError, Languages};
pub use namespace::NamespaceBackend;
pub use offer::Offer;
pub use process::ProcessBackend;
pub use request::CodeRequest;
pub use result::{CodeResult, Phase, Phased};
pub use stats::Stats;
pub use toolchain::{Host, View};
#[doc(hidden)]
pub use validator::main as validator_main;
pub use validator::{Finding, Grammar, Level, Policy, Validator};
