//! See ARCHITECTURE.md.

pub mod datapath;
