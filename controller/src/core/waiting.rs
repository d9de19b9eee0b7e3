//! Requests that callers of this replica wait for: tried with whoever leads until it is known what
//! became of them.
//!
//! A request may end up in the log twice: when its leader is lost, it is tried again with the next
//! one. It is applied once all the same (see [`crate::state::EndedRequests`]), so the caller gets
//! one answer, and a true one.

use super::handle::{Answer, ProposeError};
use crate::limits::{NO_LEADER_WAIT, REQUEST_RETRY, REQUEST_RETRY_LATER};
use crate::peer::{LeaderAnswer, Request};
use crate::state::RequestId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// Who waits for a request.
pub(crate) type Reply = oneshot::Sender<Result<Answer, ProposeError>>;

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct WaitingRequests(BTreeMap<RequestId, Waiting>);

#[derive(Debug)]
struct Waiting {
    what: Request,
    reply: Reply,
    asked_at: Duration,
    tried: Option<Try>,
    /// Why the leader could not take it when it was last asked.
    later: Option<String>,
}

/// The last time a request was given to a leader.
#[derive(Debug, Clone, Copy)]
struct Try {
    at: Duration,
    leader: u64,
    term: u64,
}

impl WaitingRequests {
    /// A caller begins to wait. True if the request is to be tried at once, with the leader of a term;
    /// `leader` is 0 if none is known.
    pub(super) fn insert(
        &mut self,
        id: RequestId,
        what: Request,
        reply: Reply,
        (leader, term): (u64, u64),
        now: Duration,
    ) -> bool {
        let tried = (leader != 0).then_some(Try { at: now, leader, term });
        let waiting = Waiting { what, reply, asked_at: now, tried, later: None };
        self.0.insert(id, waiting);
        tried.is_some()
    }

    /// The requests to be tried now with the leader of a term; `leader` is 0 if none is known.
    /// Those that nobody waits for any more are forgotten.
    pub(super) fn due(
        &mut self,
        leader: u64,
        term: u64,
        now: Duration,
    ) -> Vec<(RequestId, Request)> {
        let mut due = Vec::new();
        let mut given_up = Vec::new();
        for (id, waiting) in &mut self.0 {
            if waiting.reply.is_closed() {
                given_up.push(*id);
                continue;
            }
            if leader == 0 {
                // What was never tried is certain not to be in the log.
                if waiting.tried.is_none() && now >= waiting.asked_at + NO_LEADER_WAIT {
                    given_up.push(*id);
                }
                continue;
            }
            let is_due = waiting.tried.is_none_or(|tried| {
                let wait =
                    if waiting.later.is_some() { REQUEST_RETRY_LATER } else { REQUEST_RETRY };
                (tried.leader, tried.term) != (leader, term) || now >= tried.at + wait
            });
            if is_due {
                waiting.tried = Some(Try { at: now, leader, term });
                due.push((*id, waiting.what.clone()));
            }
        }
        for id in given_up {
            let error = || {
                let seconds = NO_LEADER_WAIT.as_secs();
                ProposeError::NotProposed(format!(
                    "this replica has known of no leader for {seconds} s: a majority of the \
                     replicas may be down or cut off"
                ))
            };
            self.answer(&id, Err(error()));
        }
        due
    }

    /// Tells the caller of a request, if one waits here.
    pub(super) fn answer(&mut self, id: &RequestId, answer: Result<Answer, ProposeError>) {
        if let Some(waiting) = self.0.remove(id) {
            // A caller who gave up is gone; what was written stands.
            let _ = waiting.reply.send(answer);
        }
    }

    /// Takes what the leader said to a request.
    pub(super) fn process_answer(&mut self, id: &RequestId, answer: LeaderAnswer) {
        match answer {
            LeaderAnswer::Refused(why) => self.answer(id, Err(ProposeError::Refused(why))),
            LeaderAnswer::Already(ids) => self.answer(id, Ok(Answer::Members(ids))),
            LeaderAnswer::Later(why) => {
                if let Some(waiting) = self.0.get_mut(id) {
                    waiting.later = Some(why);
                }
            }
        }
    }

    /// Takes the news that a replica leads: those who waited for just that have it.
    pub(super) fn process_leader(&mut self, leader: u64) {
        let is_done =
            |waiting: &Waiting| matches!(waiting.what, Request::Transfer(to) if to == leader);
        let done: Vec<RequestId> =
            self.0.iter().filter(|(_, waiting)| is_done(waiting)).map(|(id, _)| *id).collect();
        for id in done {
            self.answer(&id, Ok(Answer::Leader(leader)));
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const ID: RequestId = RequestId([1; 16]);

    fn mk(what: Request) -> (WaitingRequests, oneshot::Receiver<Result<Answer, ProposeError>>) {
        let mut waiting = WaitingRequests::default();
        let (reply, received) = oneshot::channel();
        assert!(!waiting.insert(ID, what, reply, (0, 0), Duration::ZERO));
        (waiting, received)
    }

    fn mk_command() -> Request {
        Request::Command(Bytes::from_static(b"x"))
    }

    #[test]
    fn a_request_is_tried_with_each_leader_and_again_after_a_while() {
        let (mut waiting, _received) = mk(mk_command());
        let mut due = |leader, term, ms| waiting.due(leader, term, Duration::from_millis(ms)).len();
        assert_eq!(due(0, 1, 0), 0, "nobody to ask");
        assert_eq!(due(2, 1, 1), 1);
        assert_eq!(due(2, 1, 2), 0, "it is on its way");
        assert_eq!(due(0, 2, 3), 0);
        assert_eq!(due(3, 2, 4), 1, "another leader");
        assert_eq!(due(3, 3, 5), 1, "the same one, of another term");
        let retry = u64::try_from(REQUEST_RETRY.as_millis()).unwrap();
        assert_eq!(due(3, 3, 4 + retry), 0);
        assert_eq!(due(3, 3, 5 + retry), 1, "it may have been lost");
    }

    #[test]
    fn a_request_is_tried_at_once_where_the_leader_is_known() {
        let mut waiting = WaitingRequests::default();
        let (reply, _received) = oneshot::channel();
        assert!(waiting.insert(ID, mk_command(), reply, (2, 1), Duration::ZERO));
        assert_eq!(waiting.due(2, 1, Duration::ZERO).len(), 0, "it is on its way");
    }

    #[test]
    fn what_was_never_tried_is_known_not_to_be_written() {
        let (mut waiting, mut received) = mk(mk_command());
        waiting.due(0, 1, NO_LEADER_WAIT);
        let error = received.try_recv().unwrap().unwrap_err();
        assert!(matches!(error, ProposeError::NotProposed(_)), "{error}");
        let (mut waiting, mut received) = mk(mk_command());
        waiting.due(1, 1, Duration::ZERO);
        waiting.due(0, 1, 2 * NO_LEADER_WAIT);
        assert!(received.try_recv().is_err(), "it may be in the log of who is gone");
        drop(received);
        waiting.due(0, 1, 2 * NO_LEADER_WAIT);
        assert_eq!(waiting.len(), 0, "nobody waits for it");
    }

    #[test]
    fn a_leader_that_puts_off_is_asked_again_soon() {
        let (mut waiting, mut received) = mk(Request::Transfer(3));
        assert_eq!(waiting.due(1, 1, Duration::ZERO).len(), 1);
        waiting.process_answer(&ID, LeaderAnswer::Later("busy".to_owned()));
        assert_eq!(waiting.due(1, 1, REQUEST_RETRY_LATER).len(), 1);
        waiting.process_leader(2);
        assert!(received.try_recv().is_err());
        waiting.process_leader(3);
        assert!(matches!(received.try_recv(), Ok(Ok(Answer::Leader(3)))));
    }
}
