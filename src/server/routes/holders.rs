//! Who refers to a workspace: as long as somebody does, it is not removed. A holder is a name of the owner's choice, and refers
//! to one workspace at a time.

use crate::server::answer::{Data, Done};
use crate::server::api::{About, Api};
use crate::server::body::{NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use axum::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

const ONE: &str = "/v1/workspaces/{workspace}/holders/{holder}";

/// How many holders may refer to one workspace.
const MOST: usize = 100;

/// What a holder refers to.
#[derive(Debug, Serialize, JsonSchema)]
struct Held {
    workspace: String,
}

pub(in crate::server) fn add(api: &mut Api) {
    let about = About("addHolder", "Make a holder refer to a workspace, which is not removed meanwhile");
    api.add(&Method::PUT, ONE, about, hold);
    api.add(&Method::DELETE, ONE, About("removeHolder", "End what a holder's reference began"), give_up);
    api.add(&Method::GET, "/v1/holders/{holder}", About("showHolder", "The workspace that a holder refers to"), show);
}

async fn hold(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    let (id, holder) = (call.workspace()?, call.owner.holder(call.parameter("holder"))?);
    let _alone = call.owner.making.lock().await;
    call.blocking(move |shared, owner| {
        let _turn = owner.turn(shared.store.state())?;
        let holders = shared.store.show(&id)?.holders;
        let own = holders.iter().filter(|holder| owner.own_holder(holder).is_some()).count();
        if own >= MOST && !holders.contains(&holder) {
            let words = format!("{own} holders refer to it, and {MOST} may");
            return Err(Problem::new(StatusCode::CONFLICT, "limit", words));
        }
        shared.store.add_reference(&id, &holder)?;
        Ok(Done)
    })
    .await
}

async fn give_up(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    let (id, holder) = (call.workspace()?, call.owner.holder(call.parameter("holder"))?);
    call.blocking(move |shared, _| Ok(shared.store.remove_reference(&id, &holder).map(|()| Done)?)).await
}

async fn show(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Held>, Problem> {
    let holder = call.owner.holder(call.parameter("holder"))?;
    call.blocking(move |shared, owner| {
        let found = shared.store.workspace_of(&holder)?;
        // One that the operator let refer elsewhere refers to nothing of the owner's.
        let own = found.as_deref().and_then(|id| owner.own_workspace(id));
        match own {
            Some(id) => Ok(Data(Held { workspace: id.to_owned() })),
            None => Err(Problem::new(StatusCode::NOT_FOUND, "not_found", "this holder refers to no workspace")),
        }
    })
    .await
}
