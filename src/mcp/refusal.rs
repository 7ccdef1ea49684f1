//! Why a tool could not do what it was asked for, in words for the model: a result like any other, with `isError`.

use pinfold::code::CodeError;
use pinfold::{Failure, checkpoint, files, held, workspace};
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};

/// How much of a message is told, in characters.
const LONGEST: usize = 4000;

/// Why, and what to do about it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn with(message: String, hint: Option<&str>) -> Self {
        Self { message, hint: hint.map(str::to_owned) }
    }
}

impl IntoCallToolResult for Refusal {
    fn into_call_tool_result(self) -> Result<CallToolResponse, rmcp::ErrorData> {
        let hint = self.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        // Some repeat what they were given.
        let message: String = self.message.chars().take(LONGEST).collect();
        Ok(CallToolResult::error(vec![ContentBlock::text(format!("{message}{hint}"))]).into())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let hint = match failure.code.as_str() {
            "exec_not_found" => Some("nothing can be installed outside of /workspace and /tmp".to_owned()),
            _ => failure.hint,
        };
        Self { message: failure.message, hint }
    }
}

impl From<held::Error> for Refusal {
    fn from(error: held::Error) -> Self {
        let hint = match error.code() {
            "not_found" | "gone" => Some("sandbox_list names those that live, sandbox_start starts one"),
            "limit" => Some("sandbox_stop ends one"),
            "already_exists" => Some("choose another name, or stop it first"),
            "failed" => return error.into_failure().into(),
            _ => None,
        };
        Self::with(error.into_failure().message, hint)
    }
}

impl From<workspace::Error> for Refusal {
    fn from(error: workspace::Error) -> Self {
        let hint = match error.code() {
            "not_found" => Some("workspace_list names those that there are, workspace_create makes one"),
            "busy" => Some("a sandbox or a command works in it: give the sandbox's name instead, or stop it first"),
            _ => None,
        };
        Self::with(pinfold::service::with_causes(&error), hint)
    }
}

impl From<checkpoint::Error> for Refusal {
    fn from(error: checkpoint::Error) -> Self {
        match error {
            checkpoint::Error::Workspace(error) => error.into(),
            error => {
                let hint = (error.code() == "checkpoint_not_found").then_some("checkpoint_list names them");
                Self::with(pinfold::service::with_causes(&error), hint)
            }
        }
    }
}

impl From<files::Error> for Refusal {
    fn from(error: files::Error) -> Self {
        let hint = match error.code() {
            "invalid_path" => Some("a path is relative to the workspace, or begins with /workspace/, and has no `..`"),
            "symlink" => Some("links are not followed: name the file that the link points to"),
            "ambiguous" => Some("give more of the text around it, or set `all`"),
            "no_match" => Some("read the file: the text must be the same, spaces and line ends included"),
            "is_directory" => Some("a directory is removed with `recursive`"),
            _ => None,
        };
        Self::with(error.to_string(), hint)
    }
}

impl From<CodeError> for Refusal {
    fn from(error: CodeError) -> Self {
        let hint = error.hint();
        Self::with(pinfold::service::with_causes(&error), hint.as_deref())
    }
}

impl From<pinfold::Error> for Refusal {
    fn from(error: pinfold::Error) -> Self {
        Self::with(pinfold::service::with_causes(&error), None)
    }
}
