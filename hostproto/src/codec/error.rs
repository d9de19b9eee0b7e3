//! What can be wrong with bytes.

/// Why bytes are no update, or no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a protobuf message of the type expected.
    #[error("not the message expected, {what}: {problem}")]
    Protobuf {
        /// What was expected.
        what: &'static str,
        /// What the decoder said.
        problem: String,
    },
    /// A field that must be there is not.
    #[error("{what} is missing")]
    Missing {
        /// The field.
        what: &'static str,
    },
    /// A packed list is not well formed.
    #[error("{what}: {problem} at byte {at}")]
    Packed {
        /// The list.
        what: &'static str,
        /// What is wrong.
        problem: &'static str,
        /// Where, in bytes from the start of the list.
        at: usize,
    },
    /// There is more than a limit allows.
    #[error("{what}: {count} is more than the limit of {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: u64,
        /// How many there may be.
        max: u64,
    },
    /// A value that means nothing.
    #[error("{what} is {found}: expected {expected}")]
    Value {
        /// The field.
        what: &'static str,
        /// The value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
}
