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
    stand_still_for(LONGEST, link, client).await
}

async fn stand_still_for(longest: Duration, link: &Link, client: &Connection) -> Option<Reply> {
    let Ok(_alone) = timeout(PATIENCE, link.still.lock()).await else {
        return Some(Reply::Refused(Failure::new("busy", "it stands still for somebody else")));
    };
    let frozen = match link.ask(&Ask::Freeze, &Notice::Frozen(None)).await {
        Ok((Notice::Frozen(None), _)) => Ok(()),
        Ok((Notice::Frozen(Some(failure)), _)) | Err(failure) => Err(failure),
        Ok(_other) => Err(Failure::new("freeze", "the runner answers something else")),
    };
    let heard = match &frozen {
        Ok(()) => until_told(longest, client).await,
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
            let seconds = longest.as_secs();
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

async fn until_told(longest: Duration, client: &Connection) -> Heard {
    if !matches!(timeout(PATIENCE, client.send(&Reply::Frozen, &[])).await, Ok(Ok(()))) {
        return Heard::Gone;
    }
    tokio::select! {
        received = client.receive() => match received.ok().flatten().map(|received| received.read()) {
            Some(Ok(Request::Thaw)) => Heard::Thaw,
            _ => Heard::Gone,
        },
        () = sleep(longest) => Heard::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (Connection, Connection) {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Connection::new(one).unwrap(), Connection::new(other).unwrap())
    }

    /// What the runner is asked, and what the client is told, when the client does this while all stand still.
    async fn stand(longest: Duration, says: impl FnOnce(Connection) -> Option<Connection>) -> (Vec<String>, String) {
        let ((ours, runner), (client, theirs)) = (pair(), pair());
        let link = Link::new(ours);
        let mut asked = Vec::new();
        let answered = async {
            while let Ok(Some(received)) = runner.receive().await {
                let ask: Ask = received.read().unwrap();
                asked.push(format!("{ask:?}"));
                let notice = if matches!(ask, Ask::Freeze) { Notice::Frozen(None) } else { Notice::Thawed };
                runner.send(&notice, &[]).await.unwrap();
            }
        };
        let heard = async {
            assert!(matches!(theirs.receive().await.unwrap().unwrap().read(), Ok(Reply::Frozen)));
            let _open_until_the_end = says(theirs);
            std::future::pending::<()>().await;
        };
        let reply = tokio::select! {
            reply = stand_still_for(longest, &link, &client) => reply,
            () = link.dispatch() => None,
            () = answered => None,
            () = heard => None,
        };
        (asked, reply.map_or(String::new(), |reply| serde_json::to_string(&reply).unwrap()))
    }

    #[tokio::test]
    async fn they_go_on_when_the_client_says_so_is_gone_or_says_nothing_for_too_long() {
        let (long, thawed) = (Duration::from_secs(60), ["Freeze", "Thaw"].map(str::to_owned).to_vec());
        let thaw = |client: Connection| {
            client.try_send(&Request::Thaw).unwrap();
            Some(client)
        };
        assert_eq!(stand(long, thaw).await, (thawed.clone(), "\"thawed\"".to_owned()));
        assert_eq!(stand(long, |_gone| None).await, (thawed.clone(), String::new()));
        let (asked, told) = stand(Duration::from_millis(20), Some).await;
        assert!(asked == thawed && told.contains("late"), "{asked:?} {told}");
    }
}
