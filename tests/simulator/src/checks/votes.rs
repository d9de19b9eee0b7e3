//! A replica's term never goes back, and it gives one vote in each term, crashes included (Ongaro and
//! Ousterhout, figure 2: `currentTerm` and `votedFor` are durable before an answer).

use super::{Finding, finding};
use raft::eraftpb::{Message, MessageType};
use std::collections::BTreeMap;

/// To whom each replica gave its vote in each term, by what it said to others.
#[derive(Debug, Default)]
pub struct Votes(BTreeMap<(u64, u64), u64>);

impl Votes {
    /// A replica sends a message.
    pub fn check(&mut self, message: &Message) -> Result<(), Finding> {
        let (voter, candidate) = match message.get_msg_type() {
            MessageType::MsgRequestVoteResponse if !message.reject => (message.from, message.to),
            // A candidate votes for itself.
            MessageType::MsgRequestVote => (message.from, message.from),
            _ => return Ok(()),
        };
        match *self.0.entry((voter, message.term)).or_insert(candidate) {
            first if first == candidate => Ok(()),
            first => Err(finding(
                "votes",
                format!(
                    "replica {voter} votes for {candidate} in term {}, and voted for {first} before",
                    message.term
                ),
            )),
        }
    }
}
