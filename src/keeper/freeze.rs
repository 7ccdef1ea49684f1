//! Standing still: for one client at a time, for as long as he is there, and never for long.

use super::link::Link;
use crate::held::wire::{Connection, Reply, Request};
use pinfold_runner::{Ask, Failure, Notice};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// For so long at most does anybody stand still: whoever copies more meanwhile has to stop the sandbox.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a client may take to hear of it, and the next one until he gets his turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes everybody stand still until the client says otherwise, is gone, or takes too long. What is answered at the end;
/// nothing to a client who is gone.
pub(super) async fn stand_still(link: &Link, client: &Connection) -> Option<Reply> {
    let Ok(_alone) = timeout(PATIENCE, link.still.lock()).await else {
        return Some(Reply::Refused(Failure::new("busy", "it stands still for somebody else")));
    };
    let frozen = match link.ask(&Ask::Freeze, &Notice::Frozen(None)).await {
        Ok((Notice::Frozen(None), _)) => Ok(()),
        Ok((Notice::Frozen(Some(failure)), _)) | Err(failure) => Err(failure),
        Ok(_other) => Err(Failure::new("freeze", "the runner answers something else")),
    };
    let heard = match &frozen {
        Ok(()) => until_told(client).await,
        Err(_nobody_stands) => Heard::Thaw,
    };
    // Also where the runner did not answer in time: it may have stopped them after that.
    let thawed = link.ask(&Ask::Thaw, &Notice::Thawed).await;
    let refusal = frozen.and(thawed.map(drop)).err();
    match (heard, refusal) {
        (Heard::Gone, _) => None,
        (_, Some(failure)) => Some(Reply::Refused(failure)),
        (Heard::Thaw, None) => Some(Reply::Thawed),
        (Heard::Nothing, None) => {
            let seconds = LONGEST.as_secs();
            Some(Reply::Refused(Failure::new("late", format!("after {seconds} seconds they went on by themselves"))))
        }
    }
}

/// What became of the client.
enum Heard {
    Thaw,
    Nothing,
    Gone,
}

async fn until_told(client: &Connection) -> Heard {
    if !matches!(timeout(PATIENCE, client.send(&Reply::Frozen, &[])).await, Ok(Ok(()))) {
        return Heard::Gone;
    }
    tokio::select! {
        received = client.receive() => match received.ok().flatten().map(|received| received.read()) {
            Some(Ok(Request::Thaw)) => Heard::Thaw,
            _ => Heard::Gone,
        },
        () = sleep(LONGEST) => Heard::Nothing,
    }
}
