//! What can be wrong with a message, and where.

use spanwire_topology::model::{
    AddressError, CidrBlockError, CidrError, DeviceNameError, MacError, NameError, ObjectKey,
    ParseKindError, SelectorError,
};
use std::fmt;

/// A message that stands for no value of the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{field}: {problem}", object.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct ConvertError {
    /// The object that the field belongs to, once it is known.
    pub object: Option<ObjectKey>,
    /// The path of the field, as in `spec.rules[2].peers[0].group`.
    pub field: String,
    /// What is wrong with it. Boxed, to keep the results of conversions small.
    pub problem: Box<Problem>,
}

/// What is wrong with a field, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field without which the message means nothing.
    #[error("missing: expected {expected}")]
    Missing {
        /// What belongs there.
        expected: &'static str,
    },
    /// An enum's number that is unspecified or not known to this release.
    #[error("unknown value {number}: expected {expected}")]
    UnknownEnum {
        /// The number.
        number: i32,
        /// The values there are.
        expected: &'static str,
    },
    /// A number out of its range.
    #[error("{found} is out of range: expected {min} to {max}")]
    OutOfRange {
        /// The number.
        found: u64,
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// A list that is longer than it may be.
    #[error("{found} entries: the most is {max}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// Fields that contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// A range of ports that ends before it begins.
    #[error("the range {first}-{last} is empty: the first port must not be above the last")]
    EmptyRange {
        /// The first port.
        first: u32,
        /// The last port.
        last: u32,
    },
    /// A fleet-wide kind in a project.
    #[error("{found:?}: hosts belong to no tenant; leave the project out, or write \"system\"")]
    FleetWideProject {
        /// The project that was named.
        found: String,
    },
    /// A malformed kind.
    #[error(transparent)]
    Kind(#[from] ParseKindError),
    /// A malformed name or label.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Neither an address nor the name of a port.
    #[error("{0}; expected an address, or a port as project/name")]
    Member(#[source] NameError),
    /// A malformed selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A malformed address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A malformed CIDR.
    #[error(transparent)]
    Cidr(#[from] CidrError),
    /// An exception outside of its block.
    #[error(transparent)]
    CidrBlock(#[from] CidrBlockError),
    /// A malformed MAC address.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// A malformed name of a network device.
    #[error(transparent)]
    Device(#[from] DeviceNameError),
}

/// Where a field is. Linked through the stack, so that paths cost nothing until one is printed.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The message itself, by a name.
    Root(&'static str),
    /// A field of a message.
    Field(&'a Path<'a>, &'static str),
    /// An entry of a list.
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// A field of the message here.
    pub(super) fn field<'a>(&'a self, name: &'static str) -> Path<'a> {
        Path::Field(self, name)
    }

    /// An entry of the list here.
    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path::Index(self, index)
    }

    /// An error here.
    pub(super) fn error(&self, problem: impl Into<Problem>) -> ConvertError {
        ConvertError { object: None, field: self.to_string(), problem: Box::new(problem.into()) }
    }

    /// An error about a field that is not there.
    pub(super) fn missing(&self, expected: &'static str) -> ConvertError {
        self.error(Problem::Missing { expected })
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl From<ConvertError> for tonic::Status {
    fn from(error: ConvertError) -> tonic::Status {
        tonic::Status::invalid_argument(error.to_string())
    }
}
