//! Cutting a stream of JSON objects, which follow one another without a mark (RFC 7047, section
//! 4), into messages.

/// The most bytes that one message may have: a select of a database as large as the largest dump
/// that is read.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// The deepest nesting of one message. The JSON parser behind has the same limit.
pub const MESSAGE_DEPTH_MAX: usize = 127;

/// Why a stream is not one of JSON objects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Something other than an object.
    #[error("a message starts with byte {0:#04x}, not with a brace")]
    NoObject(u8),
    /// A message is too long.
    #[error("a message has more than {max} bytes")]
    TooLong {
        /// The most.
        max: usize,
    },
    /// A message is nested too deeply.
    #[error("a message is nested deeper than {max}")]
    TooDeep {
        /// The most.
        max: usize,
    },
}

/// Collects bytes and gives back whole objects. It counts brackets outside of texts; whether the
/// object is valid is for the parser to say.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// How much of the buffer was looked at.
    scanned: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Framer {
    /// Adds bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole object, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        while self.scanned < self.buffer.len() {
            let byte = self.buffer[self.scanned];
            self.scanned += 1;
            if self.in_text {
                self.in_text = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'{' => self.depth += 1,
                _ if self.depth == 0 && byte.is_ascii_whitespace() => {}
                _ if self.depth == 0 => return Err(FrameError::NoObject(byte)),
                b'[' => self.depth += 1,
                b'"' => self.in_text = true,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let rest = self.buffer.split_off(self.scanned);
                        self.scanned = 0;
                        return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
                    }
                }
                _ => {}
            }
            if self.depth > MESSAGE_DEPTH_MAX {
                return Err(FrameError::TooDeep { max: MESSAGE_DEPTH_MAX });
            }
        }
        if self.buffer.len() > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong { max: MESSAGE_BYTES_MAX });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(text: &str, step: usize) -> Result<Vec<String>, FrameError> {
        let (mut framer, mut found) = (Framer::default(), Vec::new());
        for chunk in text.as_bytes().chunks(step) {
            framer.push(chunk);
            while let Some(frame) = framer.next_frame()? {
                found.push(String::from_utf8(frame).unwrap());
            }
        }
        Ok(found)
    }

    #[test]
    fn objects_are_cut_apart_wherever_the_stream_breaks() {
        let text = r#"{"a":"}\"{","b":[{}]}{} {"c":"\\"}"#;
        let expected = vec![r#"{"a":"}\"{","b":[{}]}"#, "{}", r#" {"c":"\\"}"#];
        for step in 1..text.len() {
            assert_eq!(frames(text, step).unwrap(), expected, "in steps of {step}");
        }
    }

    #[test]
    fn other_things_are_refused() {
        assert_eq!(frames("[]", 1), Err(FrameError::NoObject(b'[')));
        assert_eq!(frames("{}x", 1), Err(FrameError::NoObject(b'x')));
        let deep = "{".repeat(MESSAGE_DEPTH_MAX + 1);
        assert_eq!(frames(&deep, 7), Err(FrameError::TooDeep { max: MESSAGE_DEPTH_MAX }));
        assert_eq!(frames("{\"half\":", 3), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(chunks: Vec<Vec<u8>>) {
            let mut framer = Framer::default();
            for chunk in chunks {
                framer.push(&chunk);
                while let Ok(Some(frame)) = framer.next_frame() {
                    prop_assert!(!frame.is_empty());
                }
            }
        }
    }
}
