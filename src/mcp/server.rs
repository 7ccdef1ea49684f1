//! The server: what all tools share, which tools there are, and how it ends.

use super::bounds::Bounds;
use super::progress;
use super::refusal::Refusal;
use super::stdin::Watched;
use pinfold::code::Executor;
use pinfold::held::{Held, Manager, ManagerSettings, Name, Sandboxes};
use pinfold::workspace::Store;
use pinfold::{Network, Pinfold};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::{IntoCallToolResult, ToolCallContext};
use rmcp::model::{CallToolRequestParams, CallToolResponse, Implementation, ServerCapabilities, ServerConfig};
use rmcp::service::{QuitReason, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt, tool_handler};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long requests that are at work when stdin ends may still answer: long enough for what is almost done, and less than
/// the two seconds after which clients lose their patience.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long the sandboxes may take to end.
const SHUTDOWN: Duration = Duration::from_secs(15);

/// The server, and what its tools share.
#[derive(Clone, Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    router: ToolRouter<Self>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bounds: Bounds,
    pub(super) pinfold: Pinfold,
    pub(super) executor: Executor,
    pub(super) manager: Manager,
    pub(super) sandboxes: Sandboxes,
    pub(super) store: Store,
    /// What the names of this server's sandboxes begin with, and nobody else's.
    pub(super) names: String,
    /// Whether everything is to be given up.
    ending: watch::Sender<bool>,
}

impl Deref for Server {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("pinfold", env!("CARGO_PKG_VERSION")))
            .with_instructions(self.bounds.instructions())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(refusal) = self.unknown_argument(&request) {
            return refusal.into_call_tool_result();
        }
        self.router.call(ToolCallContext::new(self, request, context)).await
    }
}

impl Server {
    fn new(bounds: Bounds) -> Result<Self, String> {
        fn words(error: impl Display) -> String {
            error.to_string()
        }
        let pinfold = Pinfold::new().map_err(words)?;
        let executor = bounds.executor(pinfold.clone()).map_err(words)?;
        let sandboxes = Sandboxes::new();
        let settings = ManagerSettings {
            max_sandboxes: bounds.max_sandboxes,
            idle_timeout: bounds.idle,
            ..ManagerSettings::default()
        };
        let manager = Manager::new(sandboxes.clone(), settings);
        let mut random = [0; 4];
        getrandom(&mut random, GetRandomFlags::empty()).map_err(words)?;
        let names = format!("mcp-{:08x}-", u32::from_ne_bytes(random));
        let mut router = Self::run_tools()
            + Self::sandbox_tools()
            + Self::terminal_tools()
            + Self::file_tools()
            + Self::workspace_tools()
            + Self::checkpoint_tools();
        describe(&mut router, &bounds);
        let (store, ending) = (Store::new().map_err(words)?, watch::Sender::new(false));
        let shared = Shared { bounds, pinfold, executor, manager, sandboxes, store, names, ending };
        Ok(Self { shared: Arc::new(shared), router })
    }

    /// Refuses an argument that the tool does not have: who misspells one would wonder why nothing comes of it.
    fn unknown_argument(&self, request: &CallToolRequestParams) -> Option<Refusal> {
        let tool = self.router.get(&request.name)?;
        let known = tool.input_schema.get("properties").and_then(|known| known.as_object());
        let is_known = |name: &str| known.is_some_and(|known| known.contains_key(name));
        let unknown = request.arguments.as_ref()?.keys().find(|name| !is_known(name))?;
        let names = known.map(|known| known.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        let shown: String = unknown.chars().take(100).collect();
        Some(Refusal::new(format!("{} has no argument `{shown}`", request.name)).hint(format!("it has: {names}")))
    }

    /// Does what may take its time, as long as somebody waits for it.
    pub(super) async fn supervise<T>(
        &self,
        context: &RequestContext<RoleServer>,
        limit: Option<Duration>,
        work: impl Future<Output = T>,
    ) -> Result<T, Refusal> {
        progress::supervise(context, self.ending.subscribe(), limit, work).await
    }

    /// Does what blocks where that holds nobody up. Its errors name things as the model does.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared).map_err(|refusal| shared.as_named(refusal))).await {
            Ok(done) => done,
            Err(_ends) => Err(Refusal::new("the server ends")),
        }
    }

    /// A sandbox of this server's, by the name that the model knows.
    pub(super) async fn held(&self, name: &str) -> Result<Held, Refusal> {
        let name = self.name(name)?;
        let operation = self.manager.operation(name.as_str()).await.map_err(|error| self.as_named(error))?;
        Ok((*operation).clone())
    }
}

impl Shared {
    /// The whole name of a sandbox, which is one of this server's whatever the model says.
    pub(super) fn name(&self, given: &str) -> Result<Name, Refusal> {
        // Checked by itself first, so that the words are about what the model knows.
        let most = 63 - self.names.len();
        Name::try_from(given)
            .and_then(|given| Name::try_from(format!("{}{given}", self.names)))
            .map_err(|_no_name| Refusal::new(format!("a sandbox's name has 1 to {most} of A-Z a-z 0-9 . _ -")))
    }

    /// The whole id of a workspace, which is one of those that this server may use whatever the model says.
    pub(super) fn workspace(&self, given: &str) -> Result<String, Refusal> {
        match given {
            "" => Err(Refusal::new("a workspace's id is not empty")),
            _ => Ok(format!("{}{given}", self.bounds.prefix)),
        }
    }

    /// The error with the names that the model knows.
    pub(super) fn as_named(&self, error: impl Into<Refusal>) -> Refusal {
        let Refusal { message, hint } = error.into();
        let mut message = message.replace(&self.names, "");
        if !self.bounds.prefix.is_empty() {
            message = message.replace(&format!("`{}", self.bounds.prefix), "`");
        }
        Refusal { message, hint }
    }
}

/// Puts into the tools' descriptions what is only known here.
fn describe(router: &mut ToolRouter<Server>, bounds: &Bounds) {
    for (name, route) in &mut router.map {
        let schema = Arc::make_mut(&mut route.attr.input_schema);
        schema.insert("additionalProperties".to_owned(), false.into());
        if name == "run_code"
            && let Some(language) = schema.get_mut("properties").and_then(|all| all.get_mut("language"))
        {
            language["enum"] = bounds.language_names().into();
        }
        let runs = name.starts_with("run_") || name.starts_with("terminal_") || name == "sandbox_exec";
        if let Some(annotations) = route.attr.annotations.as_mut().filter(|_| runs) {
            annotations.open_world_hint = Some(bounds.job.network != Network::None);
        }
    }
}

/// Serves the client on stdin and stdout until it is gone or a signal comes, and leaves nothing behind.
///
/// # Errors
/// In words.
pub(crate) async fn serve(bounds: Bounds) -> Result<(), String> {
    let server = Server::new(bounds)?;
    let shared = server.shared.clone();
    let mut signals = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        signals.push(signal(kind).map_err(|error| format!("failed to catch signals: {error}"))?);
    }
    let [terminate, interrupt, hangup] = &mut signals[..] else { return Ok(()) };
    let closed = watch::Sender::new(false);
    let mut is_closed = closed.subscribe();
    let talk = async {
        let transport = (Watched::new(closed), tokio::io::stdout());
        let running = server.serve(transport).await.map_err(|error| format!("failed to begin: {error}"))?;
        running.waiting().await.map_err(|error| error.to_string())
    };
    let mut talk = std::pin::pin!(talk);
    let ended = tokio::select! {
        ended = &mut talk => ended.map(|_why| ()),
        _ = is_closed.wait_for(|closed| *closed) => {
            // What is at work is given up, and told so while stdout is still there.
            let ended = tokio::time::timeout(LAST_WORDS, &mut talk).await;
            shared.ending.send_replace(true);
            match ended {
                Ok(ended) => ended.map(|_why| ()),
                // Nobody may read stdout any more.
                Err(_at_work) => tokio::time::timeout(SHUTDOWN, talk).await.unwrap_or(Ok(QuitReason::Closed)).map(|_why| ()),
            }
        }
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    };
    shared.ending.send_replace(true);
    let left = shared.manager.shutdown(SHUTDOWN).await;
    match left.is_empty() {
        true => ended,
        false => Err(format!("failed to end {}", left.join(", "))),
    }
}
