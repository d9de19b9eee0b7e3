//! Spanwire's controller.

pub mod consensus;
pub mod state;
