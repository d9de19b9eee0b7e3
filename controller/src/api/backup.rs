//! Backup.

use super::{AdminService, AnswerStream, blocking, take_place};
use crate::core::now_ms;
use crate::state::encode_snapshot;
use spanwire_adminproto::{backup, wire};
use tokio_stream::StreamExt as _;
use tonic::Status;

impl AdminService {
    /// The whole state as of one log entry, with everything that was acknowledged before the call.
    pub(super) async fn process_backup(&self) -> Result<AnswerStream<wire::BackupPart>, Status> {
        let place = take_place(&self.backups, "backups")?;
        self.wait_current().await?;
        let state = self.core.state().await;
        let state = state.map_err(|error| Status::unavailable(error.to_string()))?;
        let header = wire::BackupHeader {
            cluster_id: self.shared().publisher.cluster_id().to_string(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            revision: state.network.revision,
            index: state.applied_index,
            term: self.shared().standing.borrow().term,
            made_at_ms: now_ms(),
            ..wire::BackupHeader::default()
        };
        let bytes = blocking(move || Ok(encode_snapshot(&state))).await?;
        let parts = tokio_stream::iter(backup::to_parts(header, bytes)).map(move |part| {
            // Given back when the stream is.
            let _held = &place;
            Ok(part)
        });
        Ok(Box::pin(parts))
    }
}
