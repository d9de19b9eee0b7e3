//! From trees to resources.

mod context;
mod document;
mod group;
mod network;
mod policy;
mod service;

pub(crate) use context::Context;
pub(crate) use document::{Found, read_document};
pub(crate) use group::ALL_PROJECTS;
