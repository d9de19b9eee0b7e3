//! The log applied again to a state, outside of a replica.

use super::{End, Restored, UnknownCommand, prepare};
use raft::eraftpb::Entry;

impl Restored {
    /// Applies the command of the next entry, as a replica does. What was refused then is refused again,
    /// and changes nothing.
    ///
    /// # Errors
    /// If the entry holds no command that this release knows.
    pub fn apply_command(&mut self, entry: &Entry) -> Result<(), UnknownCommand> {
        self.applied_index = entry.index;
        let Some(prepared) = prepare(entry)? else { return Ok(()) };
        if !self.requests.is_new(prepared.request, prepared.since) {
            return Ok(());
        }
        let applied = prepared
            .transaction
            .is_ok_and(|transaction| self.engine.apply(&transaction, entry.index).is_ok());
        if let Some(id) = prepared.request {
            self.requests.insert(id, End { index: entry.index, refused: !applied });
        }
        Ok(())
    }
}
