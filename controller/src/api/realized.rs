//! WaitRealized.

use super::merge::Others;
use super::{AdminService, AnswerStream, blocking, take_place};
use crate::limits::{MISSING_HOSTS_MAX, WAIT_PROGRESS_INTERVAL, WAIT_PROGRESS_INTERVAL_FIRST};
use crate::publisher::{Assessment, Missing, Scope};
use spanwire_adminproto::convert::{query_status, to_key};
use spanwire_adminproto::wire;
use spanwire_topology::Engine;
use spanwire_topology::engine::QueryError;
use spanwire_topology::model::{ObjectKey, Revision};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

impl AdminService {
    pub(super) async fn process_wait_realized(
        &self,
        request: wire::WaitRealizedRequest,
    ) -> Result<AnswerStream<wire::WaitRealizedProgress>, Status> {
        let wire::WaitRealizedRequest { key, revision } = request;
        let key = key.as_ref().map(to_key).transpose().map_err(super::malformed)?;
        let place = take_place(&self.waits, "waits")?;
        let (scope, target) = self
            .read(move |engine, _| {
                let (scope, newest_change) = match key {
                    None => (Scope::AllHosts, engine.revision()),
                    Some(key) => {
                        let object = engine.get(&key);
                        let object = object.ok_or_else(|| QueryError::NotFound(key.clone()));
                        let changed = object.map_err(|error| query_status(&error))?.revision;
                        (Scope::of_object(engine, key), changed)
                    }
                };
                let target = revision.unwrap_or(newest_change);
                check_target(engine, target)?;
                Ok((scope, target))
            })
            .await?;
        // One message on its way: a slow client gets the newest progress, not all of it.
        let (progress, received) = mpsc::channel(1);
        let service = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let ended = service.wait_realized_by(Arc::new(scope), target, &progress).await;
            if let Err(status) = ended {
                // Of no use to a client that is gone.
                let _ = progress.send(Err(status)).await;
            }
        });
        Ok(Box::pin(ReceiverStream::new(received)))
    }

    async fn wait_realized_by(
        &self,
        scope: Arc<Scope>,
        target: Revision,
        progress: &mpsc::Sender<Result<wire::WaitRealizedProgress, Status>>,
    ) -> Result<(), Status> {
        let shared = self.shared();
        let mut events = shared.publisher.progress();
        let mut told: Option<wire::WaitRealizedProgress> = None;
        let mut pause = WAIT_PROGRESS_INTERVAL_FIRST;
        loop {
            events.mark_unchanged();
            let own = self.assess(&scope, target).await?;
            let asked_at = Instant::now();
            let assessment = self.with_others(own, &scope, target).await;
            let message = to_progress(&assessment, target);
            let is_done = message.done;
            if told.as_ref() != Some(&message) {
                if progress.send(Ok(message.clone())).await.is_err() || is_done {
                    return Ok(());
                }
                told = Some(message);
            }
            // Most waits are over in milliseconds; the long ones are looked at ever less often. No more
            // than half of the time goes into asking others.
            tokio::time::sleep(pause.max(asked_at.elapsed())).await;
            pause = (pause * 2).min(WAIT_PROGRESS_INTERVAL);
            // What happens at other replicas is not told here: they are asked again.
            let is_alone = self.others().is_empty();
            tokio::select! {
                changed = events.changed(), if is_alone => if changed.is_err() { return Ok(()) },
                () = std::future::ready(()), if !is_alone => {}
                () = progress.closed() => return Ok(()),
                () = self.draining.cancelled() => {
                    return Err(Status::unavailable("the controller is stopping: wait again"));
                }
            }
        }
    }

    /// How far the hosts are that are connected here.
    async fn assess(&self, scope: &Arc<Scope>, target: Revision) -> Result<Assessment, Status> {
        let (shared, scope) = (self.shared().clone(), scope.clone());
        blocking(move || {
            let assessed = shared.publisher.assess(&shared.state.read(), &scope, target);
            assessed.map_err(|error| query_status(&error))
        })
        .await
    }

    /// The same with what other replicas know of the hosts that are missing.
    async fn with_others(&self, own: Assessment, scope: &Scope, target: Revision) -> Assessment {
        let names: Vec<String> = own.missing.iter().map(|host| host.name.to_string()).collect();
        let merge = |others: &Others| {
            let concerns = |object: Option<&ObjectKey>, item: &str| scope.concerns(object, item);
            others.merge_assessment(own.clone(), target, concerns)
        };
        let others = self.ask_others(names, true, |others| merge(others).missing.is_empty()).await;
        merge(&others)
    }
}

fn check_target(engine: &Engine, target: Revision) -> Result<(), Status> {
    let newest = engine.revision();
    if target <= newest {
        return Ok(());
    }
    Err(Status::out_of_range(format!(
        "revision: the state is at revision {newest}, {target} is yet to come"
    )))
}

fn to_progress(assessment: &Assessment, target: Revision) -> wire::WaitRealizedProgress {
    let Assessment { hosts, realized, missing } = assessment;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let to_missing = |host: &Missing| wire::MissingHost {
        host: host.name.to_string(),
        reason: host.reason.clone(),
    };
    wire::WaitRealizedProgress {
        revision: target,
        hosts: count(*hosts),
        realized: count(*realized),
        missing: missing.iter().take(MISSING_HOSTS_MAX).map(to_missing).collect(),
        done: missing.is_empty(),
    }
}
