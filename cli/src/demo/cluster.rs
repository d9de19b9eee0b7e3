//! The cluster of the demo: how one controller becomes three, and who leads them.

use crate::client::{Admin, to_failure};
use crate::failure::Failure;
use spanwire_adminproto::wire;

/// Controllers of the demo: one may be lost.
pub(super) const CONTROLLERS: u16 = 3;

/// Adds controllers that wait for it, and makes voters of them.
pub(super) async fn grow(admin: &mut Admin, addresses: Vec<String>) -> Result<(), Failure> {
    for address in addresses {
        let doing = format!("add the controller at {address}");
        let add = wire::ChangeMembersRequest { add: vec![address], ..Default::default() };
        let added = admin.change_members(add).await;
        let added = added.map_err(|status| to_failure(&doing, &status))?.into_inner().added;
        let promote = wire::ChangeMembersRequest { promote: added, ..Default::default() };
        admin.change_members(promote).await.map_err(|status| to_failure(&doing, &status))?;
    }
    Ok(())
}

/// The members and who leads, as a controller knows it.
pub(super) async fn status(admin: &mut Admin) -> Result<wire::ClusterStatusResponse, Failure> {
    let answer = admin.cluster_status(wire::ClusterStatusRequest {}).await;
    Ok(answer.map_err(|status| to_failure("look at the cluster", &status))?.into_inner())
}
