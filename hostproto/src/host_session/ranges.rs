//! The ranges of lists that are held, for a controller that sends what differs of them.

use super::misfit::Misfit;
use super::{HostCommand, HostSession, Stream, send};
use crate::codec::{held_ranges_to_wire, key_from_wire};
use crate::limits::{RANGES_BYTES_MAX, RANGES_KEYS_MAX, RANGES_MESSAGE_BYTES_TARGET};
use crate::ranges;
use crate::wire;
use crate::wire::host_message::Message as ToController;
use prost::Message;
use spanwire_topology::view::{HostView, ItemKey};

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
        let mut sorted: Vec<ItemKey> = Vec::with_capacity(keys.len());
        for key in keys {
            let key = key_from_wire(Some(&key)).map_err(|error| {
                Misfit::protocol(format!("the controller asks for ranges: {error}"))
            })?;
            // A list asked for twice would be cut twice.
            if sorted.last().is_some_and(|before| *before >= key) {
                return Err(Misfit::protocol(format!(
                    "the controller asks for ranges out of order: {key} stands too late, or twice"
                )));
            }
            sorted.push(key);
        }
        let messages = tell(&self.view, &sorted, RANGES_MESSAGE_BYTES_TARGET, RANGES_BYTES_MAX);
        Ok(messages.into_iter().map(|ranges| send(ToController::Ranges(ranges))).collect())
    }
}

/// The ranges of lists, in messages of about so many bytes, of which there is at least one, until so many
/// bytes of ranges are told.
pub(super) fn tell(
    view: &HostView,
    keys: &[ItemKey],
    message_bytes_target: usize,
    bytes_max: usize,
) -> Vec<wire::Ranges> {
    let mut messages = Vec::new();
    let (mut message, mut message_bytes, mut bytes) = (wire::Ranges::default(), 0, 0);
    for key in keys {
        let item = view.items.get(key);
        let Some(ranges) = item.and_then(|held| ranges::cut(&held.item)) else { continue };
        let ranges = held_ranges_to_wire(*key, &ranges);
        bytes += ranges.bounds.len() + ranges.digests.len();
        if bytes > bytes_max {
            break;
        }
        if message_bytes > message_bytes_target {
            messages.push(std::mem::take(&mut message));
            message_bytes = 0;
        }
        message_bytes += ranges.encoded_len();
        message.items.push(ranges);
    }
    message.last = true;
    messages.push(message);
    messages
}
