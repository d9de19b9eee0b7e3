//! gRPC's frames: messages to hosts in them, made of parts that are shared, and messages out of them.
//!
//! An item of a large network has hundreds of kilobytes, and a thousand hosts that connect at once are sent
//! the same one. Its bytes are encoded once and go from the change log to every host's connection as they
//! are; what is made for a host is what stands around them.

mod reader;

pub use reader::{FrameError, FrameReader};

use crate::wire::controller_message::Message as ToHost;
use crate::wire::{BatchPart, ControllerMessage};
use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Updates of fewer bytes are copied: another piece would cost the transport more.
const SHARED_BYTES_MIN: usize = 4 * 1024;
/// The header of a gRPC message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;
/// The field of a [`ControllerMessage`] that has a part of a batch.
const PART_FIELD: u32 = 2;
/// The field of a [`BatchPart`] that has the updates.
const UPDATES_FIELD: u32 = 6;

/// A message as a gRPC client expects it, in pieces of which none is empty. The protocol bounds it to
/// [`CONTROLLER_MESSAGE_BYTES_MAX`](crate::limits::CONTROLLER_MESSAGE_BYTES_MAX).
pub fn frame(message: ControllerMessage) -> Vec<Bytes> {
    match message.message {
        Some(ToHost::Part(part)) => frame_part(part),
        message => vec![frame_message(&ControllerMessage { message })],
    }
}

/// Any message in its frame, in one piece. Like all of the protocol's it is shorter than four gigabytes.
pub fn frame_message(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut pieces = Pieces::of_message(length, length);
    // Encoding into a growing vector does not fail.
    let _ = message.encode(&mut pieces.last);
    pieces.last.into()
}

fn frame_part(part: BatchPart) -> Vec<Bytes> {
    let (updates, around) = {
        let mut part = part;
        (std::mem::take(&mut part.updates), part)
    };
    let key = key_len(UPDATES_FIELD);
    let of_update = |update: &Bytes| key + encoded_len_varint(update.len() as u64) + update.len();
    let part_bytes = around.encoded_len() + updates.iter().map(of_update).sum::<usize>();
    let message_bytes = key_len(PART_FIELD) + encoded_len_varint(part_bytes as u64) + part_bytes;
    let shared: usize = updates.iter().map(Bytes::len).filter(|&n| n >= SHARED_BYTES_MIN).sum();
    let mut pieces = Pieces::of_message(message_bytes, message_bytes - shared);
    encode_key(PART_FIELD, WireType::LengthDelimited, &mut pieces.last);
    encode_varint(part_bytes as u64, &mut pieces.last);
    // Fields may stand in any order. Encoding into a growing vector does not fail.
    let _ = around.encode(&mut pieces.last);
    for update in updates {
        encode_key(UPDATES_FIELD, WireType::LengthDelimited, &mut pieces.last);
        encode_varint(update.len() as u64, &mut pieces.last);
        pieces.push(update);
    }
    pieces.finish()
}

/// The pieces so far; the last still grows.
struct Pieces {
    done: Vec<Bytes>,
    last: Vec<u8>,
}

impl Pieces {
    /// Begins with the header of a message, of whose bytes so many are copied.
    fn of_message(length: usize, copied: usize) -> Pieces {
        let mut last = Vec::with_capacity(HEADER_BYTES + copied);
        last.push(0);
        // The protocol bounds messages far below four gigabytes.
        last.extend_from_slice(&(length as u32).to_be_bytes());
        Pieces { done: Vec::new(), last }
    }

    fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.last.extend_from_slice(&bytes);
            return;
        }
        self.done.push(std::mem::take(&mut self.last).into());
        self.done.push(bytes);
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.done.push(self.last.into());
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn mk_part(lengths: &[usize]) -> BatchPart {
        BatchPart {
            from_revision: 3,
            to_revision: 300,
            sequence: 7,
            last: true,
            replace: true,
            updates: lengths.iter().map(|&length| vec![length as u8; length].into()).collect(),
            repair: true,
        }
    }

    fn read(pieces: &[Bytes]) -> ControllerMessage {
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
        let together = pieces.concat();
        let (header, message) = together.split_at(HEADER_BYTES);
        assert_eq!(header[0], 0, "not compressed");
        assert_eq!(header[1..], (message.len() as u32).to_be_bytes());
        ControllerMessage::decode(message).unwrap()
    }

    #[test]
    fn parts_are_read_as_they_were() {
        const LARGE: usize = SHARED_BYTES_MIN;
        let cases: [(&[usize], usize); 7] = [
            (&[], 1),
            (&[0, 1, 127, 128], 1),
            (&[LARGE - 1], 1),
            (&[LARGE], 2),
            (&[LARGE, 5], 3),
            (&[5, LARGE, 300_000, 5, 5], 5),
            (&[LARGE, LARGE], 4),
        ];
        for (lengths, count) in cases {
            let part = mk_part(lengths);
            let message = ControllerMessage { message: Some(ToHost::Part(part)) };
            let pieces = frame(message.clone());
            assert_eq!(pieces.len(), count, "{lengths:?}");
            assert_eq!(read(&pieces), message);
        }
    }

    #[test]
    fn large_updates_are_not_copied() {
        let part = mk_part(&[10, 300_000]);
        let update = part.updates[1].clone();
        let pieces = frame(ControllerMessage { message: Some(ToHost::Part(part)) });
        assert_eq!(pieces[1].as_ptr(), update.as_ptr());
    }

    #[test]
    fn other_messages_are_read_as_they_were() {
        let refused = wire::Refused { reason: 2, detail: "elsewhere".to_owned() };
        for message in [Some(ToHost::Refused(refused)), None] {
            let message = ControllerMessage { message };
            let pieces = frame(message.clone());
            assert_eq!((pieces.len(), read(&pieces)), (1, message));
        }
    }
}
