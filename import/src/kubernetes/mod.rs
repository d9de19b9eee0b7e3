//! Kubernetes objects, as `kubectl get nodes,namespaces,pods,networkpolicies -A -o json` (or
//! `-o yaml`) prints them.
//!
//! # What becomes of what
//!
//! | Kubernetes | Spanwire |
//! |---|---|
//! | cluster | one logical switch, `pods`, with the pod CIDRs of all nodes as subnets |
//! | Node | host; its `InternalIP` is the tunnel endpoint |
//! | Namespace | project |
//! | Pod | logical port |
//! | NetworkPolicy | security policy, and a group for each selector and block |
//!
//! The pod network is flat: every pod reaches every other without a router, so there is none.
//!
//! # Labels
//!
//! A port has the labels of its pod, and besides:
//!
//! * `ns.spanwire/KEY` for each label KEY of its namespace, so that a `namespaceSelector` is a
//!   selector like any other. `ns.spanwire/kubernetes.io/metadata.name` is always there.
//! * `PROTOCOL.port.spanwire/NAME`, with the number as its value, for each named container port,
//!   so that a port name can stand for different numbers in different pods.
//!
//! # Policies
//!
//! A NetworkPolicy allows, and isolates what it selects: so all become policies of one tier and
//! one priority, whose rules allow and whose default drops, for each direction that
//! `policyTypes` names. The union of what they allow passes, whatever their order.
//!
//! A rule with a named port is applied pod by pod: inbound, the pods selected are split by the
//! number the name has there, into policies `NAME.PROTOCOL-PORT-NUMBER`; outbound, the peers are.

mod fields;
mod groups;
mod objects;
mod policies;
mod read;
mod translate;

pub use translate::{NAMESPACE_LABEL_PREFIX, NAMESPACE_NAME_LABEL, PORT_LABEL_SUFFIX};

use crate::Import;
use crate::file::ReadError;
use spanwire_topology::model::{NameError, SYSTEM_PROJECT};
use std::path::PathBuf;

/// What the importer is told besides the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// The project of what belongs to the cluster and to no namespace: the switch, and the groups
    /// that look into several namespaces.
    pub cluster_project: String,
    /// The name of the switch.
    pub switch: String,
}

impl Default for KubernetesOptions {
    fn default() -> KubernetesOptions {
        KubernetesOptions { cluster_project: SYSTEM_PROJECT.to_owned(), switch: "pods".to_owned() }
    }
}

/// Why objects were not imported. Nothing of them was.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file is no text.
    #[error("{file}: byte {at} is not UTF-8: expected JSON or YAML from kubectl")]
    Encoding {
        /// The file.
        file: String,
        /// Where.
        at: usize,
    },
    /// A file is not JSON, though it starts with a brace.
    #[error("{file}: line {line}, column {column}: {problem}")]
    Json {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// A file is not YAML.
    #[error("{file}: {problem}")]
    Yaml {
        /// The file.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// An object is not as it should be.
    #[error("{file}: {object}: {field}: {problem}")]
    Object {
        /// The file.
        file: String,
        /// The kind, namespace and name of the object.
        object: String,
        /// The path of the field.
        field: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// An object is there twice, and not the same.
    #[error("{object} is in {first} and in {second}, and they differ: keep the newer")]
    Twice {
        /// The kind, namespace and name of the object.
        object: String,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// An option is not what it should be.
    #[error(transparent)]
    Options(#[from] NameError),
}

/// Imports documents, each with the name of the file it is from, for messages.
pub fn import_documents(
    documents: &[(String, Vec<u8>)],
    options: &KubernetesOptions,
) -> Result<Import, KubernetesError> {
    let mut items = Vec::new();
    for (file, bytes) in documents {
        read::items(file, bytes, &mut items)?;
    }
    let (cluster, others) = objects::read(items)?;
    translate::translate(cluster, others, options)
}

/// Imports files, gzip'd or not; `-` is standard input.
pub fn import_files(
    paths: &[PathBuf],
    options: &KubernetesOptions,
) -> Result<Import, KubernetesError> {
    let mut documents = Vec::new();
    for path in paths {
        documents.push((path.display().to_string(), crate::file::read(path)?));
    }
    import_documents(&documents, options)
}
