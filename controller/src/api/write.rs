//! Apply and Delete.

use super::lint::{named, warnings};
use super::{AdminService, blocking, malformed};
use crate::core::ProposeError;
use crate::limits::QUICK_OPERATIONS_MAX;
use crate::shared::Shared;
use crate::state::{Applied, Known, Rejection, RequestId, wire as log};
use spanwire_adminproto::convert::{
    from_change, from_finding, refusal_status, to_apply_transaction, to_delete_transaction,
};
use spanwire_adminproto::wire;
use spanwire_topology::Engine;
use spanwire_topology::engine::{ObjectChange, Outcome};
use spanwire_topology::lint::LintReport;
use spanwire_topology::model::{Kind, ObjectKey, Operation, Revision, Transaction};
use std::collections::BTreeSet;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Set in the metadata of a status with code UNAVAILABLE, where a transaction was asked for:
/// `unknown` if it may have been applied, `not-applied` if it was not and will not be.
pub(super) const OUTCOME_METADATA: &str = "spanwire-outcome";

struct Written {
    revision: Revision,
    results: Vec<wire::ObjectResult>,
    warnings: LintReport,
    /// An earlier attempt of the same request was applied.
    repeated: bool,
}

impl Written {
    /// By an earlier attempt, whose results were told then.
    fn before(revision: Revision) -> Written {
        let (results, warnings) = (Vec::new(), LintReport::default());
        Written { revision, results, warnings, repeated: true }
    }

    fn warnings(&self) -> Vec<wire::Finding> {
        self.warnings.findings.iter().map(from_finding).collect()
    }
}

impl AdminService {
    pub(super) async fn process_apply(
        &self,
        request: wire::ApplyRequest,
    ) -> Result<wire::ApplyResponse, Status> {
        let dry_run = request.dry_run;
        let id = to_request(&request.request_id)?;
        let is_small = request.items.len() <= QUICK_OPERATIONS_MAX;
        let convert = move || {
            let transaction = to_apply_transaction(&request).map_err(malformed)?;
            Ok((transaction, log_apply(request)))
        };
        let (transaction, entry) = if is_small { convert()? } else { blocking(convert).await? };
        let written = self.write(id, transaction, entry, dry_run).await?;
        Ok(wire::ApplyResponse {
            warnings: written.warnings(),
            warnings_cut: written.warnings.cut,
            revision: written.revision,
            results: written.results,
            repeated: written.repeated,
        })
    }

    pub(super) async fn process_delete(
        &self,
        request: wire::DeleteRequest,
    ) -> Result<wire::DeleteResponse, Status> {
        let dry_run = request.dry_run;
        let id = to_request(&request.request_id)?;
        let transaction = to_delete_transaction(&request).map_err(malformed)?;
        let entry = log_delete(request);
        let written = self.write(id, transaction, entry, dry_run).await?;
        Ok(wire::DeleteResponse {
            warnings: written.warnings(),
            warnings_cut: written.warnings.cut,
            revision: written.revision,
            results: written.results,
            repeated: written.repeated,
        })
    }

    async fn write(
        &self,
        id: RequestId,
        transaction: Transaction,
        entry: log::Transaction,
        dry_run: bool,
    ) -> Result<Written, Status> {
        if dry_run {
            return self.attempt(move |engine| try_transaction(engine, &transaction)).await;
        }
        // What is already so needs no entry in the log, and no sync.
        let named = named(&transaction);
        let look = |transaction: Transaction, named: Vec<ObjectKey>| {
            move |engine: &Engine, shared: &Shared| {
                let near = engine.lint_neighbours(&named);
                let written = unchanged(engine, &transaction, &named);
                // An earlier attempt of this request may be why.
                let before = written.as_ref().and_then(|_| applied_before(shared, &id));
                Ok((before.map(Written::before).or(written), near))
            }
        };
        let is_quick = is_quick(&transaction);
        let glance = self.glance(is_quick, look(transaction.clone(), named.clone()));
        let (is_unchanged, near) = glance.await?;
        if is_unchanged.is_some() {
            // So it seems here. Before it is said, the state must be current.
            let (written, _) = self.read(look(transaction, named.clone())).await?;
            if let Some(written) = written {
                return Ok(written);
            }
        }
        match self.core.propose(id, entry).await {
            Ok(Ok(Applied::Now(transition))) => {
                let look = move |engine: &Engine, _: &Shared| Ok(warnings(engine, &named, near));
                let report = self.glance(is_quick, look).await;
                Ok(Written {
                    revision: transition.revision,
                    results: transition.objects.iter().map(from_change).collect(),
                    // It is written, whether or not this replica can still say more about it.
                    warnings: report.unwrap_or_default(),
                    repeated: false,
                })
            }
            Ok(Ok(Applied::Before(revision))) => Ok(Written::before(revision)),
            Ok(Err(rejection)) => Err(rejection_status(&rejection)),
            Err(error) => Err(to_status(&error)),
        }
    }
}

/// True for a transaction about a few ports, which have few neighbours.
fn is_quick(transaction: &Transaction) -> bool {
    let is_port = |operation: &Operation| match operation {
        Operation::Put { resource, .. } => resource.spec.kind() == Kind::LogicalPort,
        Operation::Delete { key, .. } => key.kind == Kind::LogicalPort,
    };
    let Transaction { operations, .. } = transaction;
    operations.len() <= QUICK_OPERATIONS_MAX && operations.iter().all(is_port)
}

/// The revision as which a request was applied before, if it is remembered.
fn applied_before(shared: &Shared, id: &RequestId) -> Option<Revision> {
    match shared.requests.lock().get(id, Revision::MAX) {
        Known::Applied(revision) => Some(revision),
        Known::New | Known::Refused(_) | Known::Forgotten => None,
    }
}

/// The request as its caller names it, or a new one.
fn to_request(bytes: &[u8]) -> Result<RequestId, Status> {
    match bytes {
        [] => Ok(RequestId::random()),
        bytes => RequestId::from_wire(bytes).ok_or_else(|| {
            let length = bytes.len();
            Status::invalid_argument(format!("request_id: {length} bytes, expected 16 or none"))
        }),
    }
}

fn try_transaction(engine: &mut Engine, transaction: &Transaction) -> Result<Written, Status> {
    let named = named(transaction);
    let near = engine.lint_neighbours(&named);
    let looked = engine.dry_run_with(transaction, |engine, changes| {
        let results = changes.objects.iter().map(from_change).collect();
        (results, warnings(engine, &named, near))
    });
    let (results, warnings) = looked.map_err(|refusal| refusal_status(&refusal))?;
    Ok(Written { revision: engine.revision(), results, warnings, repeated: false })
}

/// The answer to a transaction that asks for what is already so. `None` if it asks for more, or
/// may have to be refused.
fn unchanged(engine: &Engine, transaction: &Transaction, named: &[ObjectKey]) -> Option<Written> {
    let Transaction { operations, expected_revision } = transaction;
    let revision = engine.revision();
    if expected_revision.is_some_and(|expected| expected != revision) {
        return None;
    }
    let mut seen: BTreeSet<ObjectKey> = BTreeSet::new();
    let mut changes = Vec::with_capacity(operations.len());
    for operation in operations {
        let Operation::Put { resource, expected_revision } = operation else { return None };
        let key = resource.key();
        let object = engine.get(&key).filter(|object| object.resource == *resource)?;
        if expected_revision.is_some_and(|expected| expected != object.revision)
            || !seen.insert(key)
        {
            return None;
        }
        changes.push(ObjectChange { outcome: Outcome::Unchanged, object: object.clone() });
    }
    Some(Written {
        revision,
        results: changes.iter().map(from_change).collect(),
        warnings: warnings(engine, named, BTreeSet::new()),
        repeated: false,
    })
}

fn log_apply(request: wire::ApplyRequest) -> log::Transaction {
    let wire::ApplyRequest { items, dry_run: _, expected_revision, request_id: _ } = request;
    let operations = items
        .into_iter()
        .map(|item| {
            let wire::apply_request::Item { resource, expected_revision } = item;
            // The status is an answer's, and none of the caller's business to set.
            let resource = resource.map(|r| wire::Resource { status: None, ..r });
            let operation = resource.map(log::operation::Operation::Put);
            log::Operation { operation, expected_revision }
        })
        .collect();
    log::Transaction { operations, expected_revision }
}

fn log_delete(request: wire::DeleteRequest) -> log::Transaction {
    let wire::DeleteRequest { keys, cascade, dry_run: _, expected_revision, request_id: _ } =
        request;
    let operations = keys
        .into_iter()
        .map(|key| {
            let deletion = log::Deletion { key: Some(key), cascade };
            let operation = Some(log::operation::Operation::Delete(deletion));
            log::Operation { operation, expected_revision: None }
        })
        .collect();
    log::Transaction { operations, expected_revision }
}

fn rejection_status(rejection: &Rejection) -> Status {
    let mut status = rejection.to_status();
    if let Rejection::Forgotten = rejection {
        status.metadata_mut().insert(OUTCOME_METADATA, MetadataValue::from_static("unknown"));
    }
    status
}

pub(super) fn to_status(error: &ProposeError) -> Status {
    let (code, outcome) = match error {
        ProposeError::TooLarge { .. } => (Code::InvalidArgument, "not-applied"),
        ProposeError::Refused(_) => (Code::FailedPrecondition, "not-applied"),
        ProposeError::Overloaded | ProposeError::NotProposed(_) => {
            (Code::Unavailable, "not-applied")
        }
        ProposeError::Unknown(_) => (Code::Unavailable, "unknown"),
    };
    let mut status = Status::new(code, error.to_string());
    status.metadata_mut().insert(OUTCOME_METADATA, MetadataValue::from_static(outcome));
    status
}
