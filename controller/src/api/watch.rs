//! Watch.

use super::{AdminService, AnswerStream, take_place};
use crate::history::Transition;
use crate::limits::{WATCH_BOOKMARK_INTERVAL, WATCH_CHANNEL_EVENTS};
use crate::shared::Shared;
use spanwire_adminproto::convert::from_object;
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::watch_event::Type;
use spanwire_topology::engine::{ObjectChange, Outcome};
use spanwire_topology::model::{Kind, Revision, Selector, check_name};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

type Events = mpsc::Sender<Result<wire::WatchEvent, Status>>;

/// Which objects a watch is about.
#[derive(Debug, Default)]
struct Filter {
    /// Empty means all.
    kinds: Vec<Kind>,
    /// `None` means all.
    project: Option<String>,
    selector: Selector,
}

impl Filter {
    fn from_request(request: &wire::WatchRequest) -> Result<Filter, Status> {
        let wire::WatchRequest { kinds, project, selector, from_revision: _ } = request;
        let invalid =
            |field: &str, problem: String| Status::invalid_argument(format!("{field}: {problem}"));
        let kinds: Result<Vec<Kind>, _> = kinds.iter().map(|kind| kind.parse()).collect();
        let kinds = kinds.map_err(|error| invalid("kinds", error.to_string()))?;
        let selector = selector.parse();
        let selector = selector.map_err(|error| invalid("selector", format!("{error}")))?;
        let project = (!project.is_empty()).then(|| project.clone());
        if let Some(project) = &project {
            check_name("project", project).map_err(|e| invalid("project", e.to_string()))?;
        }
        Ok(Filter { kinds, project, selector })
    }

    /// What a change is to this watch: nothing, or an event. An object that loses the labels that
    /// the selector asks for is deleted as far as this watch is concerned.
    fn event(&self, transition: &Transition, change: &ObjectChange) -> Option<wire::WatchEvent> {
        let ObjectChange { outcome, object } = change;
        let key = object.resource.key();
        let metadata = &object.resource.metadata;
        let is_ours = (self.kinds.is_empty() || self.kinds.contains(&key.kind))
            && self.project.as_deref().is_none_or(|project| *project == *metadata.project);
        if !is_ours {
            return None;
        }
        let matches = self.selector.matches(&metadata.labels);
        let matched_before = || {
            let before = transition.labels_before.get(&key);
            before.is_some_and(|labels| self.selector.matches(labels))
        };
        let event_type = match outcome {
            Outcome::Unchanged => return None,
            Outcome::Deleted if matches => Type::Deleted,
            Outcome::Created | Outcome::Configured if matches => Type::Put,
            Outcome::Configured if matched_before() => Type::Deleted,
            Outcome::Created | Outcome::Configured | Outcome::Deleted => return None,
        };
        Some(wire::WatchEvent {
            r#type: event_type.into(),
            resource: Some(from_object(object)),
            revision: transition.revision,
        })
    }
}

impl AdminService {
    pub(super) async fn process_watch(
        &self,
        request: wire::WatchRequest,
    ) -> Result<AnswerStream<wire::WatchEvent>, Status> {
        let filter = Filter::from_request(&request)?;
        self.wait_current().await?;
        let place = take_place(&self.watches, "watches")?;
        let shared = self.shared().clone();
        let current = *shared.revision.borrow();
        let seen = request.from_revision.unwrap_or(current);
        if seen > current {
            return Err(Status::out_of_range(format!(
                "from_revision: the state is at revision {current}, {seen} is yet to come"
            )));
        }
        // Refuse at once what history does not reach, instead of on a stream that opened well.
        shared.history.after(seen).map_err(|e| Status::out_of_range(e.to_string()))?;
        let (events, received) = mpsc::channel(WATCH_CHANNEL_EVENTS);
        let draining = self.draining.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(Stop(status)) = watch(&shared, &filter, seen, &events, &draining).await {
                // Of no use to a client that is gone.
                let _ = events.send(Err(status)).await;
            }
        });
        Ok(Box::pin(ReceiverStream::new(received)))
    }
}

/// Why a watch ends from this side.
struct Stop(Status);

/// Sends events until the client goes away. A client that is slow is waited for, without a queue;
/// one that is too slow finds history gone, and is told to list again.
async fn watch(
    shared: &Arc<Shared>,
    filter: &Filter,
    mut seen: Revision,
    events: &Events,
    draining: &CancellationToken,
) -> Result<(), Stop> {
    let mut revisions = shared.revision.subscribe();
    // The first bookmark says that the watch has caught up.
    let mut bookmarked = None;
    let mut bookmark_due = tokio::time::Instant::now();
    loop {
        let current = *revisions.borrow_and_update();
        loop {
            let next = shared.history.after(seen);
            let next = next.map_err(|error| {
                Stop(Status::out_of_range(format!("the watch was too slow: {error}")))
            })?;
            let Some(transition) = next else { break };
            for change in transition.changed() {
                if let Some(event) = filter.event(&transition, change)
                    && events.send(Ok(event)).await.is_err()
                {
                    return Ok(());
                }
            }
            seen = transition.revision;
        }
        // Revisions that changed nothing have no transition.
        seen = seen.max(current);
        let now = tokio::time::Instant::now();
        if bookmarked != Some(seen) && now >= bookmark_due {
            let bookmark =
                wire::WatchEvent { r#type: Type::Bookmark.into(), resource: None, revision: seen };
            if events.send(Ok(bookmark)).await.is_err() {
                return Ok(());
            }
            bookmarked = Some(seen);
            bookmark_due = now + WATCH_BOOKMARK_INTERVAL;
        }
        let owes_bookmark = bookmarked != Some(seen);
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep_until(bookmark_due), if owes_bookmark => {}
            () = events.closed() => return Ok(()),
            () = draining.cancelled() => {
                let stopping = "the controller is stopping: watch again from the last revision";
                return Err(Stop(Status::unavailable(stopping)));
            }
        }
    }
}
