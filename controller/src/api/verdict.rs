//! Verdict: whether packets are delivered, now or as things were.

use super::{AdminService, blocking, malformed};
use crate::limits::PAST_STATE_KEPT;
use crate::past::PastError;
use spanwire_adminproto::convert::{VerdictQuery, answer_verdicts, to_verdict_queries};
use spanwire_adminproto::wire;
use spanwire_topology::model::Revision;
use tonic::Status;

impl AdminService {
    pub(super) async fn process_verdict(
        &self,
        request: wire::VerdictRequest,
    ) -> Result<wire::VerdictResponse, Status> {
        let queries = to_verdict_queries(&request).map_err(malformed)?;
        match request.at_revision {
            None => self.read(move |engine, _| Ok(answer_verdicts(engine, &queries))).await,
            Some(revision) => self.verdicts_at(revision, queries).await,
        }
    }

    async fn verdicts_at(
        &self,
        revision: Revision,
        queries: Vec<VerdictQuery>,
    ) -> Result<wire::VerdictResponse, Status> {
        let (present, queries) = self
            .read(move |engine, _| match engine.revision() {
                now if revision > now => Err(Status::failed_precondition(format!(
                    "at_revision: revision {revision} is yet to come: the state is at revision {now}"
                ))),
                now if revision == now => Ok((Some(answer_verdicts(engine, &queries)), queries)),
                _ => Ok((None, queries)),
            })
            .await?;
        if let Some(present) = present {
            return Ok(present);
        }
        let past = self.past.clone();
        let turn = self.rebuilds.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the controller is stopping"))?;
        let answer = blocking(move || {
            let _turn = turn;
            let state = past.at(revision).map_err(|error| past_status(&error))?;
            Ok(answer_verdicts(&state.engine, &queries))
        })
        .await;
        self.forget_past_later();
        answer
    }

    /// Gives the memory of a state of the past back once nobody asks for it any more.
    fn forget_past_later(&self) {
        let (past, draining) = (self.past.clone(), self.draining.clone());
        let uses = past.uses();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(PAST_STATE_KEPT) => {}
                () = draining.cancelled() => return,
            }
            // It may wait for one that is being made, and dropping a large state takes a while.
            let _ = tokio::task::spawn_blocking(move || past.forget_unless_used_since(uses)).await;
        });
    }
}

fn past_status(error: &PastError) -> Status {
    let message = error.to_string();
    match error {
        PastError::OutOfReach { .. } => Status::out_of_range(message),
        PastError::Cut | PastError::Stopped => Status::unavailable(message),
        PastError::Store(_) | PastError::Restore(_) | PastError::UnknownCommand(_) => {
            Status::internal(message)
        }
    }
}
