//! Work that takes its time: told each second to a client that wants to know, and given up when the client does.

use super::refusal::Refusal;
use rmcp::RoleServer;
use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at};

/// How often there is word.
const STEP: Duration = Duration::from_secs(1);

/// Does the work unless the request is cancelled, or the server ends; then it is dropped.
///
/// # Errors
/// When it was dropped.
pub(super) async fn supervise<T>(
    context: &RequestContext<RoleServer>,
    mut ending: watch::Receiver<bool>,
    limit: Option<Duration>,
    work: impl Future<Output = T>,
) -> Result<T, Refusal> {
    tokio::select! {
        done = work => Ok(done),
        () = context.ct.cancelled() => Err(Refusal::new("cancelled")),
        _ = ending.wait_for(|ends| *ends) => Err(Refusal::new("cancelled: the server ends")),
        never = tell(context, limit) => match never {},
    }
}

async fn tell(context: &RequestContext<RoleServer>, limit: Option<Duration>) -> std::convert::Infallible {
    let Some(token) = context.meta.get_progress_token() else { return std::future::pending().await };
    let start = Instant::now();
    let mut steps = interval_at(start + STEP, STEP);
    loop {
        steps.tick().await;
        let elapsed = start.elapsed();
        let mut step = ProgressNotificationParam::new(token.clone(), elapsed.as_secs_f64());
        if let Some(limit) = limit {
            step = step.with_total(limit.as_secs_f64());
        }
        let step = step.with_message(format!("running for {} s", elapsed.as_secs()));
        // A client that is gone is noticed elsewhere.
        let _gone = context.peer.notify_progress(step).await;
    }
}
