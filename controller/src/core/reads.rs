//! Reads that must see everything that was acknowledged before they began: on any replica, by the
//! leader's word on how far that is (Raft dissertation, section 6.4, "read index").
//!
//! Reads that come while a question is on its way share the next one.

use crate::limits::{READ_RETRY, READ_ROUNDS_MAX, READS_MAX};
use crate::planted::{self, Bug};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::oneshot;

/// Told when the state is current for a read.
pub(crate) type ReadReply = oneshot::Sender<()>;

/// The reads that wait.
#[derive(Debug)]
pub(super) struct Reads {
    /// Makes questions of this run of this replica differ from all others: an answer that comes late
    /// must not be taken for one to another question.
    prefix: [u8; 16],
    asked: u64,
    /// Not asked for yet.
    waiting: Vec<ReadReply>,
    /// Asked for, oldest first.
    rounds: VecDeque<Round>,
    /// True once a question of this run was answered and applied.
    is_caught_up: bool,
}

#[derive(Debug)]
struct Round {
    number: u64,
    asked_at: Duration,
    /// What must be applied, once it is known.
    index: Option<u64>,
    replies: Vec<ReadReply>,
}

impl Reads {
    /// No reads. `instance` is another number for each run of a replica.
    pub(super) fn new(replica_id: u64, instance: u64) -> Reads {
        let mut prefix = [0; 16];
        prefix[..8].copy_from_slice(&replica_id.to_le_bytes());
        prefix[8..].copy_from_slice(&instance.to_le_bytes());
        Reads {
            prefix,
            asked: 0,
            waiting: Vec::new(),
            rounds: VecDeque::new(),
            is_caught_up: false,
        }
    }

    /// A caller begins to wait. One too many is sent away, by dropping its reply.
    pub(super) fn insert(&mut self, reply: ReadReply) {
        if self.waiting.len() < READS_MAX {
            self.waiting.push(reply);
        }
    }

    /// The contexts of questions to ask now; `has_leader` says whether there is anyone to ask.
    pub(super) fn due(&mut self, has_leader: bool, now: Duration) -> Vec<Vec<u8>> {
        self.waiting.retain(|reply| !reply.is_closed());
        if !has_leader {
            return Vec::new();
        }
        let mut due = Vec::new();
        for round in self.rounds.iter_mut().filter(|round| round.index.is_none()) {
            if now >= round.asked_at + READ_RETRY {
                round.asked_at = now;
                due.push(context(self.prefix, round.number));
            }
        }
        // Before anybody asks, the replica itself does: whether it has caught up, it cannot know
        // otherwise.
        let wants = !self.waiting.is_empty() || (!self.is_caught_up && self.rounds.is_empty());
        if wants && self.rounds.len() < READ_ROUNDS_MAX {
            self.asked += 1;
            let replies = std::mem::take(&mut self.waiting);
            let round = Round { number: self.asked, asked_at: now, index: None, replies };
            due.push(context(self.prefix, round.number));
            self.rounds.push_back(round);
        }
        due
    }

    /// Takes the answer to a question.
    pub(super) fn process_index(&mut self, context: &[u8], index: u64) {
        let Some(number) = context.strip_prefix(&self.prefix) else { return };
        let Ok(number) = number.try_into().map(u64::from_le_bytes) else { return };
        if let Some(round) = self.rounds.iter_mut().find(|round| round.number == number) {
            round.index.get_or_insert(index);
        }
    }

    /// Takes the progress of the state: tells the readers that it is current for.
    pub(super) fn process_applied(&mut self, applied_index: u64) {
        while let Some(round) = self.rounds.pop_front_if(|round| {
            round
                .index
                .is_some_and(|index| index <= applied_index || planted::is(Bug::ReadBeforeApplied))
        }) {
            self.is_caught_up = true;
            for reply in round.replies {
                // Who gave up is gone.
                let _ = reply.send(());
            }
        }
    }

    /// True once the state was current at some moment of this run.
    pub(super) fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }
}

fn context(prefix: [u8; 16], number: u64) -> Vec<u8> {
    [prefix.as_slice(), &number.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_share_questions_and_wait_for_the_state() {
        let mut reads = Reads::new(1, 7);
        assert!(reads.due(false, Duration::ZERO).is_empty());
        let own = reads.due(true, Duration::ZERO);
        assert_eq!(own.len(), 1, "the replica's own question");
        let (first, mut first_read) = oneshot::channel();
        let (second, mut second_read) = oneshot::channel();
        reads.insert(first);
        reads.insert(second);
        let shared = reads.due(true, Duration::ZERO);
        assert_eq!(shared.len(), 1);
        assert!(reads.due(true, Duration::ZERO).is_empty());
        reads.process_index(&own[0], 5);
        reads.process_applied(5);
        assert!(reads.is_caught_up());
        assert!(first_read.try_recv().is_err(), "its own question is not answered");
        reads.process_index(&shared[0], 9);
        reads.process_applied(8);
        assert!(first_read.try_recv().is_err());
        reads.process_applied(9);
        assert!(first_read.try_recv().is_ok() && second_read.try_recv().is_ok());
    }

    #[test]
    fn a_question_is_asked_again_and_only_its_own_answer_counts() {
        let mut reads = Reads::new(1, 7);
        let asked = reads.due(true, Duration::ZERO);
        assert_eq!(reads.due(true, READ_RETRY), asked);
        let others = Reads::new(1, 8).due(true, Duration::ZERO);
        reads.process_index(&others[0], 1);
        reads.process_index(b"?", 1);
        reads.process_applied(100);
        assert!(!reads.is_caught_up(), "an answer to an earlier run of this replica");
        reads.process_index(&asked[0], 3);
        reads.process_applied(3);
        assert!(reads.is_caught_up());
    }
}
