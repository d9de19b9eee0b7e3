//! Messages out of gRPC's frames, whatever pieces they come in.

use super::HEADER_BYTES;
use bytes::{Buf as _, Bytes};

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Its flag is not zero: gRPC has compression, which was not agreed on here.
    #[error("a message is compressed or its flag is bad ({0}), which nobody agreed on")]
    Compressed(u8),
    /// Its header says that it is longer than the protocol allows.
    #[error("a message of {length} bytes is longer than the {max} that are allowed")]
    TooLong {
        /// Bytes of the message.
        length: usize,
        /// How many there may be.
        max: usize,
    },
}

/// Takes a stream of bytes apart into messages. Between two messages it keeps no memory.
#[derive(Debug)]
pub struct FrameReader {
    max: usize,
    /// The beginning of a message of which more is to come, with its header.
    begun: Vec<u8>,
    /// What was pushed and is not read yet.
    rest: Bytes,
}

impl FrameReader {
    /// Reads messages of up to `max` bytes.
    pub fn new(max: usize) -> FrameReader {
        FrameReader { max, begun: Vec::new(), rest: Bytes::new() }
    }

    /// True between two messages.
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.rest.is_empty()
    }

    /// Takes the next bytes of the stream. To be called when [`FrameReader::next_message`] has no more.
    pub fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.rest.is_empty(), "messages must be read before there is more");
        self.rest = bytes;
    }

    /// The next message, without its header; `None` if more bytes are needed. A message that came in
    /// one piece is not copied.
    ///
    /// # Errors
    /// The header of the next message is bad. So the stream is lost: there is nothing to find the next
    /// message by.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.begun.is_empty()
            && let Some(length) = self.length(&self.rest)?
            && let Some(end) = HEADER_BYTES.checked_add(length)
            && self.rest.len() >= end
        {
            let message = self.rest.split_to(end).slice(HEADER_BYTES..);
            if self.rest.is_empty() {
                // Not an empty piece of what was pushed, which would keep all of that.
                self.rest = Bytes::new();
            }
            return Ok(Some(message));
        }
        // First the header, then as much as it says.
        self.take(HEADER_BYTES);
        let Some(length) = self.length(&self.begun)? else { return Ok(None) };
        self.take(HEADER_BYTES + length);
        if self.begun.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        Ok(Some(Bytes::from(std::mem::take(&mut self.begun)).slice(HEADER_BYTES..)))
    }

    /// Moves on what there is, until so many bytes of the message are there.
    fn take(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.begun.len()).min(self.rest.len());
        if more == 0 {
            return;
        }
        // As long as the message, which is no longer than `max`: not twice as long in the end.
        self.begun.reserve_exact(bytes - self.begun.len());
        self.begun.extend_from_slice(&self.rest[..more]);
        self.rest.advance(more);
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
    }

    /// How long the message is that `bytes` begin; `None` if the header is not all there.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        if flag != 0 {
            return Err(FrameError::Compressed(flag));
        }
        // More than what can be counted is more than is allowed.
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        match length <= self.max {
            true => Ok(Some(length)),
            false => Err(FrameError::TooLong { length, max: self.max }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1000;

    fn put(message: &[u8], stream: &mut Vec<u8>) {
        stream.push(0);
        stream.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        stream.extend_from_slice(message);
    }

    proptest! {
        #[test]
        fn messages_are_read_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1_usize..40, 1..40),
        ) {
            let mut stream = Vec::new();
            messages.iter().for_each(|message| put(message, &mut stream));
            let mut stream = Bytes::from(stream);
            let (mut reader, mut read) = (FrameReader::new(MAX), Vec::new());
            let mut cuts = cuts.iter().cycle();
            while !stream.is_empty() {
                let piece = stream.split_to((*cuts.next().unwrap()).min(stream.len()));
                reader.push(piece);
                while let Some(message) = reader.next_message().unwrap() {
                    read.push(message.to_vec());
                }
            }
            prop_assert!(reader.is_empty());
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = FrameReader::new(MAX);
            for piece in bytes.chunks(7) {
                reader.push(Bytes::copy_from_slice(piece));
                loop {
                    match reader.next_message() {
                        Ok(Some(message)) => prop_assert!(message.len() <= MAX),
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let mut stream = Vec::new();
        put(b"one", &mut stream);
        put(b"two", &mut stream);
        let stream = Bytes::from(stream);
        let mut reader = FrameReader::new(MAX);
        reader.push(stream.clone());
        for at in [HEADER_BYTES, 2 * HEADER_BYTES + 3] {
            let message = reader.next_message().unwrap().unwrap();
            assert_eq!(message.as_ptr(), stream[at..].as_ptr());
        }
        assert_eq!(reader.next_message(), Ok(None));
        assert!(reader.is_empty());
    }

    #[test]
    fn bad_headers_are_refused_before_anything_is_kept_for_them() {
        for (bytes, error) in [
            (vec![1, 0, 0, 0, 0], FrameError::Compressed(1)),
            (vec![0, 0, 0, 3, 233], FrameError::TooLong { length: MAX + 1, max: MAX }),
        ] {
            let mut reader = FrameReader::new(MAX);
            // In one piece and byte by byte.
            reader.push(bytes.clone().into());
            assert_eq!(reader.next_message(), Err(error.clone()));
            let mut reader = FrameReader::new(MAX);
            let results: Vec<_> = bytes
                .into_iter()
                .map(|byte| {
                    reader.push(vec![byte].into());
                    reader.next_message()
                })
                .collect();
            let (last, before) = results.split_last().unwrap();
            assert_eq!(last, &Err(error));
            assert!(before.iter().all(|result| *result == Ok(None)));
        }
    }
}
