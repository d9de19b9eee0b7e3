//! `spanwire cluster`: the replicas of the controller.

mod backup;
mod members;
#[cfg(feature = "controller")]
mod offline;
mod status;
mod transfer;

use crate::cli::Global;
use crate::client::block_on;
use crate::failure::Failure;
use clap::{Args, Subcommand};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    verb: ClusterVerb,
}

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
enum ClusterVerb {
    /// Tell how each replica is, as it says itself.
    Status(status::StatusArgs),
    /// Add controllers that wait for it, as learners.
    Add(members::AddArgs),
    /// Make voters of learners, once they have caught up.
    Promote(members::PromoteArgs),
    /// Remove replicas.
    Remove(members::RemoveArgs),
    /// Hand leadership to another voter.
    Transfer(transfer::TransferArgs),
    /// Write the whole state into a file.
    Backup(backup::BackupArgs),
    /// Make a data directory out of a backup: of a new cluster of one replica. Offline.
    #[cfg(feature = "controller")]
    Restore(offline::RestoreArgs),
    /// Make of a replica that is left the only one of a new cluster. Offline, when a majority is lost.
    #[cfg(feature = "controller")]
    Recover(offline::RecoverArgs),
}

/// Runs the verb.
pub(crate) fn run(global: &Global, args: ClusterArgs) -> Result<(), Failure> {
    match args.verb {
        ClusterVerb::Status(args) => block_on(status::run(global, args)),
        ClusterVerb::Add(args) => block_on(members::add(global, args)),
        ClusterVerb::Promote(args) => block_on(members::promote(global, args)),
        ClusterVerb::Remove(args) => block_on(members::remove(global, args)),
        ClusterVerb::Transfer(args) => block_on(transfer::run(global, args)),
        ClusterVerb::Backup(args) => block_on(backup::run(global, args)),
        #[cfg(feature = "controller")]
        ClusterVerb::Restore(args) => offline::restore(global, args),
        #[cfg(feature = "controller")]
        ClusterVerb::Recover(args) => offline::recover(global, args),
    }
}
