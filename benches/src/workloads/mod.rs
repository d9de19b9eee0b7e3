//! What the scenarios apply, each from a seed and in an order without forward references.
//!
//! Resources are made one by one while they are applied, and share their texts, labels and
//! selectors as those of a decoded request do: what a run's memory holds is the engine's, not a
//! second copy of the input.

mod batches;
pub(crate) mod compute;
pub(crate) mod compute_company;
pub(crate) mod compute_one;
mod fleet;
pub(crate) mod metro;
mod parts;
pub(crate) mod peered;
pub(crate) mod racks;
pub(crate) mod segments;
mod texts;

pub(crate) use batches::{Batches, Sizes};
