//! Impact: what a transaction would cost, host by host, and what it would do.

use super::{AdminService, malformed};
use spanwire_adminproto::convert::{from_impact, refusal_status, to_impact_transaction};
use spanwire_adminproto::wire;
use spanwire_hostproto::impact::impact;
use tonic::Status;

impl AdminService {
    pub(super) async fn process_impact(
        &self,
        request: wire::ImpactRequest,
    ) -> Result<wire::ImpactResponse, Status> {
        let transaction = to_impact_transaction(&request).map_err(malformed)?;
        self.attempt(move |engine| {
            let impact = impact(engine, &transaction);
            impact.map(|i| from_impact(&i)).map_err(|refusal| refusal_status(&refusal))
        })
        .await
    }
}
