//! Transactions: sets of changes that are applied whole or not at all.

use super::object::{ObjectKey, Revision};
use super::resource::Resource;

/// The most operations one transaction may hold.
pub const TRANSACTION_OPERATIONS_MAX: usize = 200_000;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Creates the object, or replaces its labels and spec.
    Put {
        /// The resource as it shall be. Shared, because the engine keeps it.
        resource: Resource,
        /// Refuse the transaction unless the object was last changed at this revision; 0 means it
        /// must not exist.
        expected_revision: Option<Revision>,
    },
    /// Deletes the object.
    Delete {
        /// Which object.
        key: ObjectKey,
        /// Delete the objects that refer to it as well, and those that refer to them. Without it,
        /// the transaction is refused while something still refers to the object.
        cascade: bool,
        /// Refuse the transaction unless the object was last changed at this revision.
        expected_revision: Option<Revision>,
    },
}

/// A set of changes. Order matters only in that no object may be named twice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    /// The changes.
    pub operations: Vec<Operation>,
    /// Refuse the transaction unless the state's revision is exactly this.
    pub expected_revision: Option<Revision>,
}

impl Transaction {
    /// A transaction that puts resources, unconditionally.
    pub fn put(resources: impl IntoIterator<Item = Resource>) -> Transaction {
        Transaction {
            operations: resources
                .into_iter()
                .map(|resource| Operation::Put { resource, expected_revision: None })
                .collect(),
            expected_revision: None,
        }
    }

    /// A transaction that deletes objects, unconditionally.
    pub fn delete(keys: impl IntoIterator<Item = ObjectKey>, cascade: bool) -> Transaction {
        Transaction {
            operations: keys
                .into_iter()
                .map(|key| Operation::Delete { key, cascade, expected_revision: None })
                .collect(),
            expected_revision: None,
        }
    }
}
