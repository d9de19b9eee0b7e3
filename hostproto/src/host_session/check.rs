//! The check of the contents that are held (guarantee G13).

use super::misfit::Misfit;
use super::{HostCommand, HostSession, Stream, send};
use crate::codec::{encode_full, key_to_wire};
use crate::digest;
use crate::limits::CHECK_MESSAGE_ENTRIES_MAX;
use crate::wire;
use crate::wire::host_message::Message as ToController;
use spanwire_topology::view::ItemKey;

impl HostSession {
    /// Compares the contents that are held with what the controller says (guarantee G13).
    pub(super) fn process_check(&mut self, check: wire::Check) -> Result<Vec<HostCommand>, Misfit> {
        let wire::Check { revision, digest } = check;
        match &self.stream {
            Stream::Following { staged: None, .. } if self.applying.is_none() => {}
            // It was on its way when the host complained.
            Stream::AwaitingWelcome { complained: true } => return Ok(Vec::new()),
            _ => {
                return Err(Misfit::protocol(
                    "the controller sent a check before the last batch was acknowledged",
                ));
            }
        }
        if revision != self.view.revision {
            return Err(Misfit::does_not_fit(format!(
                "a check of revision {revision}, and {} is held",
                self.view.revision
            )));
        }
        let items = self.view.items.iter();
        let contents: Vec<(ItemKey, u64)> = items
            .map(|(key, held)| {
                (*key, digest::content(&encode_full(*key, held.version, &held.item)))
            })
            .collect();
        let matches = digest::contents(contents.iter().map(|(_, content)| *content)) == digest;
        let told: &[(ItemKey, u64)] = if matches { &[] } else { &contents };
        let mut results: Vec<wire::CheckResult> = told
            .chunks(CHECK_MESSAGE_ENTRIES_MAX)
            .map(|entries| {
                let entries = entries.iter().map(|(key, digest)| wire::CheckEntry {
                    key: Some(key_to_wire(*key)),
                    digest: *digest,
                });
                wire::CheckResult { revision, matches, entries: entries.collect(), last: false }
            })
            .collect();
        match results.last_mut() {
            Some(result) => result.last = true,
            None => {
                results.push(wire::CheckResult { revision, matches, entries: vec![], last: true });
            }
        }
        Ok(results.into_iter().map(|result| send(ToController::Check(result))).collect())
    }
}
