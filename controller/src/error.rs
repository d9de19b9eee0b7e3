//! Why a controller does not start, or stopped.

use crate::core::CoreError;
use crate::data_dir::DataDirError;
use std::net::SocketAddr;

/// Why a controller does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log cannot be replayed or written.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The address cannot be listened on.
    #[error(
        "could not listen on {address}: {source}. Stop whatever uses the port, or set another in \
         {setting}"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting it comes from.
        setting: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The address for the other replicas is none.
    #[error("advertise: {problem}")]
    Advertise {
        /// What is wrong with it.
        problem: String,
    },
    /// The state does not include the log after a long while.
    #[error("the log was not applied within {seconds} s; see the log for what holds it up")]
    NotCurrent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The operating system gave no thread.
    #[error("could not start a thread: {0}")]
    Thread(std::io::Error),
    /// A part of the definitions is not what it was compiled from.
    #[error("the reflection service: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}
