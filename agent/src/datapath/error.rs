//! What can go wrong in a datapath, and what its audit finds.

use spanwire_topology::view::ItemKey;
use std::fmt;
use std::path::PathBuf;

/// An item of the view that is not in force, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// The item.
    pub key: ItemKey,
    /// What is in the way, worded for the operator.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// How the datapath differed from the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// Something of ours was gone.
    Missing,
    /// Something of ours was not as we had left it.
    Altered,
    /// Something was in our part of the datapath that we had not put there.
    Foreign,
    /// Something that was rejected has become possible.
    Resolved,
}

impl FindingKind {
    /// The word for it in logs and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Missing => "missing",
            FindingKind::Altered => "altered",
            FindingKind::Foreign => "foreign",
            FindingKind::Resolved => "resolved",
        }
    }
}

/// A difference that an audit found between the datapath and the view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How it differed.
    pub kind: FindingKind,
    /// The part of the datapath, as `route 10.0.0.7 in table 1526726657` or
    /// `nftables set g7_d3_v4`.
    pub subject: String,
    /// True if the audit put it right.
    pub repaired: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.repaired { "put right" } else { "not put right" };
        write!(f, "{} was {}: {outcome}", self.subject, self.kind.as_str())
    }
}

/// Why a datapath could not be read or changed at all.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The `nft` program could not be run.
    #[error(
        "could not run {program}: {source}; the linux datapath needs nftables 1.0 or newer: \
         install it, or name the program in the configuration"
    )]
    NftProgram {
        /// What was to be run.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The `nft` program did not end in time.
    #[error("{program} did not end within {seconds} s: it was stopped, and will be tried again")]
    NftTimeout {
        /// What was run.
        program: PathBuf,
        /// How long it was given.
        seconds: u64,
    },
    /// The `nft` program refused what it was given.
    #[error("nft refused {what}: {message}")]
    NftRefused {
        /// What was asked of it.
        what: String,
        /// What it printed.
        message: String,
    },
    /// The `nft` program printed something that is not a listing.
    #[error("nft printed a listing that could not be read: {message}")]
    NftListing {
        /// What was wrong with it.
        message: String,
    },
    /// The kernel's netlink interface failed.
    #[error("netlink: {what}: {message}")]
    Netlink {
        /// What was asked of it.
        what: String,
        /// What it answered.
        message: String,
    },
    /// A file of the kernel could not be read or written.
    #[error(
        "{}: {source}; the agent must run as root in the host's network namespace",
        path.display()
    )]
    Sysctl {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration cannot work on this host.
    #[error("{0}")]
    Configuration(String),
}
