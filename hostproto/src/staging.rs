//! Updates onto a view, whole or not at all.

use crate::codec::DecodeError;
use bytes::Bytes;
use spanwire_topology::model::Revision;
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;

/// Why updates do not lead from a view to another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// An update does not decode, or breaks a limit.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// An update does not fit the view.
    #[error("{key}: {problem}")]
    DoesNotFit {
        /// The item.
        key: ItemKey,
        /// What is wrong.
        problem: String,
    },
}

/// Applies encoded updates to a view: whole, or not at all. For an agent that reads its store.
/// Returns the items that changed.
#[allow(clippy::unimplemented)] // bodies follow
pub fn apply_updates<'a>(
    view: &mut HostView,
    to: Revision,
    replace: bool,
    updates: impl IntoIterator<Item = &'a Bytes>,
) -> Result<BTreeSet<ItemKey>, StageError> {
    let _ = (view, to, replace, updates.into_iter().count());
    unimplemented!()
}
