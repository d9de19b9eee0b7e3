//! What can go wrong in a lab.

use std::io;
use std::path::PathBuf;

/// A thing that this machine lacks, without which no lab can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a lab needs {what}: {remedy}")]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// How to get it.
    pub remedy: String,
}

/// Why an operation on a lab failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine cannot hold a lab.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The description of the lab breaks a rule.
    #[error("lab {lab:?}: {problem}")]
    Spec {
        /// The lab.
        lab: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A lab of this name is up.
    #[error(
        "lab {lab} is up already, with {hosts} hosts: take it down first with \
         `spanwire lab down {lab}`, or choose another name"
    )]
    Exists {
        /// The lab.
        lab: String,
        /// How many hosts it has.
        hosts: usize,
    },
    /// No lab of this name was ever made, or it is gone.
    #[error("there is no lab {lab}: {}", known_labs(known))]
    NotFound {
        /// The lab asked for.
        lab: String,
        /// The labs there are, sorted.
        known: Vec<String>,
    },
    /// Another process works on the lab.
    #[error("lab {lab} is in use by process {pid}: wait until that ends, or stop it")]
    Busy {
        /// The lab.
        lab: String,
        /// The process that holds the lab, as far as it is known.
        pid: String,
    },
    /// A namespace of the name that the lab needs was made by someone else.
    #[error(
        "namespace {namespace} exists, and no lab has recorded it as its own: if nobody needs it, \
         remove it with `ip netns del {namespace}`"
    )]
    NamespaceTaken {
        /// The namespace.
        namespace: String,
    },
    /// There is no such host or workload in the lab.
    #[error("lab {lab} has no {what}")]
    NoSuchPlace {
        /// The lab.
        lab: String,
        /// The place asked for.
        what: String,
    },
    /// A process label is used twice, or names nothing.
    #[error("lab {lab}: process {label:?} {problem}")]
    Process {
        /// The lab.
        lab: String,
        /// The label of the process.
        label: String,
        /// What is wrong.
        problem: String,
    },
    /// The `ip` program refused a command.
    #[error("`{command}` was refused: {message}")]
    Ip {
        /// The command.
        command: String,
        /// What the program said.
        message: String,
    },
    /// The recorded state of a lab cannot be understood.
    #[error(
        "{} does not hold the state of a lab: {problem}; if another release wrote it, take the lab \
         down with that one, else delete its namespaces (`ip netns list`) and the file",
        path.display()
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The operating system refused something.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// The cause.
        source: io::Error,
    },
}

impl LabError {
    /// Wraps an error of the operating system in what was tried.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        let action = action.into();
        move |source| LabError::Io { action, source }
    }
}

fn known_labs(known: &[String]) -> String {
    if known.is_empty() { "none is up".to_owned() } else { format!("up are {}", known.join(", ")) }
}
