//! The match language of ACLs (ovn-sb(5), column `match` of `Logical_Flow`).
//!
//! ```text
//!  text ─► lexer: tokens ─► parser: Expression ─► normal: disjunction of Conjuncts
//! ```
//!
//! The parser takes what ovn-controller takes, as far as ACLs use it: comparisons on ports,
//! addresses, TCP/UDP/SCTP ports, ICMP types and codes, predicates, `&&`, `||`, `!`, parentheses.
//! Anything else is a [`MatchError`] that says where it stands and what it is.

mod lexer;

mod normal;
mod parser;
mod sets;

pub(super) use lexer::parse_block;
pub use normal::{AddressTerm, CONJUNCTS_MAX, Conjunct, Frames, PortTerm, normalize};
pub use parser::{Comparison, Expression, Field, Operator, Predicate, Value};
pub use sets::{Bytes, PortSet};

/// The longest match, in bytes.
pub const MATCH_BYTES_MAX: usize = 1 << 18;
/// The deepest nesting of parentheses and negations, the same that ovn-controller allows.
pub const NESTING_MAX: usize = 100;

/// Why a match was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// It is not in the language.
    #[error("syntax error at byte {at}: {problem}")]
    Syntax {
        /// Where, in bytes from the start.
        at: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// It is in the language, and the model has no word for it.
    #[error("{what} at byte {at} has no counterpart")]
    Unsupported {
        /// Where, in bytes from the start.
        at: usize,
        /// What.
        what: String,
    },
    /// It would take too many rules.
    #[error("the match comes to more than {max} alternatives: split the ACL")]
    TooComplex {
        /// The most alternatives.
        max: usize,
    },
    /// It is too long.
    #[error("the match has {bytes} bytes: the most is {max}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
}

/// Parses a match.
pub fn parse(text: &str) -> Result<Expression, MatchError> {
    if text.len() > MATCH_BYTES_MAX {
        return Err(MatchError::TooLong { bytes: text.len(), max: MATCH_BYTES_MAX });
    }
    parser::parse(&lexer::tokens(text)?, text.len())
}
