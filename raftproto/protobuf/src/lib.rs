//! The part of `protobuf` 2 that the `raft` crate needs: one trait and one error.
//!
//! The real crate's decoder can be driven into unbounded recursion by crafted input
//! (RUSTSEC-2024-0437). `raft` does not use that decoder: it only asks a message for its size and
//! its bytes. This stand-in has those questions and no decoder at all; `raft-proto` beside it
//! answers them with prost.

use std::fmt;

/// A message that can tell its size, and turn itself into bytes and back.
pub trait Message: Default {
    /// Size of the encoded message in bytes.
    fn compute_size(&self) -> u32;

    /// The encoded message.
    ///
    /// # Errors
    /// None at present: encoding into memory does not fail. The interface is that of `protobuf`.
    fn write_to_bytes(&self) -> Result<Vec<u8>, ProtobufError>;

    /// Decodes `bytes` and merges the fields found there into this message.
    ///
    /// # Errors
    /// If `bytes` is not an encoded message of this type.
    fn merge_from_bytes(&mut self, bytes: &[u8]) -> Result<(), ProtobufError>;

    /// A message with all fields unset, that lives as long as the program.
    fn default_instance() -> &'static Self;
}

/// Bytes that are not the message they were meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtobufError {
    /// What the decoder found.
    pub problem: String,
}

impl fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ProtobufError {}
