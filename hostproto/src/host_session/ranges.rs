//! The ranges of lists that are held, for a controller that sends what differs of them.

use super::misfit::Misfit;
use super::{HostCommand, HostSession, Stream, send};
use crate::codec::{held_ranges_to_wire, key_from_wire};
use crate::limits::{RANGES_BYTES_MAX, RANGES_KEYS_MAX, RANGES_MESSAGE_BYTES_TARGET};
use crate::ranges;
use crate::wire;
use crate::wire::host_message::Message as ToController;
use prost::Message;

impl HostSession {
    /// Tells the ranges of the lists asked for. What is not held, is no list, has but one range, or
    /// finds no room is left out, and will be sent whole.
    pub(super) fn process_ranges_request(
        &mut self,
        request: wire::RangesRequest,
    ) -> Result<Vec<HostCommand>, Misfit> {
        match &self.stream {
            Stream::Following { staged: None, .. } if self.applying.is_none() => {}
            // It was on its way when the host complained.
            Stream::AwaitingWelcome { complained: true } => return Ok(Vec::new()),
            _ => {
                return Err(Misfit::protocol(
                    "the controller asked for ranges before the last batch was acknowledged",
                ));
            }
        }
        let wire::RangesRequest { keys } = request;
        if keys.len() > RANGES_KEYS_MAX {
            return Err(Misfit::protocol(format!(
                "the controller asks for the ranges of {} lists, more than {RANGES_KEYS_MAX}",
                keys.len()
            )));
        }
        let mut messages = vec![wire::Ranges::default()];
        let (mut in_message, mut in_all, mut before) = (0, 0, None);
        for key in keys {
            let key = key_from_wire(Some(&key)).map_err(|error| {
                Misfit::protocol(format!("the controller asks for ranges: {error}"))
            })?;
            // A list asked for twice would be cut twice.
            if before.is_some_and(|before| before >= key) {
                return Err(Misfit::protocol(format!(
                    "the controller asks for ranges out of order: {key} stands too late, or twice"
                )));
            }
            before = Some(key);
            let item = self.view.items.get(&key);
            let Some(ranges) = item.and_then(|held| ranges::cut(&held.item)) else { continue };
            let ranges = held_ranges_to_wire(key, &ranges);
            in_all += ranges.bounds.len() + ranges.digests.len();
            if in_all > RANGES_BYTES_MAX {
                break;
            }
            if in_message > RANGES_MESSAGE_BYTES_TARGET {
                messages.push(wire::Ranges::default());
                in_message = 0;
            }
            in_message += ranges.encoded_len();
            if let Some(message) = messages.last_mut() {
                message.items.push(ranges);
            }
        }
        if let Some(message) = messages.last_mut() {
            message.last = true;
        }
        Ok(messages.into_iter().map(|ranges| send(ToController::Ranges(ranges))).collect())
    }
}
