//! Lint, and the warnings that come with the answer to a transaction.

use super::{AdminService, blocking};
use crate::limits::{LINT_FINDINGS_MAX, LINT_SLICE_OBJECTS, WARNINGS_MAX, WARNINGS_OBJECTS_MAX};
use spanwire_adminproto::convert::{from_report, to_severity};
use spanwire_adminproto::wire;
use spanwire_topology::Engine;
use spanwire_topology::lint::{LintQuestion, LintReport, LintSweep, Severity};
use spanwire_topology::model::{DEFAULT_PROJECT, ObjectKey, Operation, Transaction, check_name};
use std::collections::BTreeSet;
use tonic::Status;

impl AdminService {
    pub(super) async fn process_lint(
        &self,
        request: wire::LintRequest,
    ) -> Result<wire::LintResponse, Status> {
        let question = to_question(&request)?;
        self.wait_current().await?;
        let turn = self.lints.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the controller is stopping"))?;
        let shared = self.shared().clone();
        blocking(move || {
            let _turn = turn;
            let mut sweep = LintSweep::new(question);
            let revision = loop {
                // Writers get the state between two slices.
                let engine = shared.state.read();
                if !sweep.step(&engine, LINT_SLICE_OBJECTS) {
                    break engine.revision();
                }
            };
            Ok(from_report(&sweep.finish(), revision))
        })
        .await
    }
}

fn to_question(request: &wire::LintRequest) -> Result<LintQuestion, Status> {
    let wire::LintRequest { project, all_projects, severity, limit } = request;
    let project = match (all_projects, &**project) {
        (true, "") => None,
        (true, _) => {
            let problem = "project: give a project or all_projects, not both";
            return Err(Status::invalid_argument(problem));
        }
        (false, "") => Some(DEFAULT_PROJECT.into()),
        (false, project) => {
            check_name("project", project)
                .map_err(|error| Status::invalid_argument(format!("project: {error}")))?;
            Some(project.into())
        }
    };
    let severity = to_severity(*severity).map_err(super::malformed)?;
    let limit = match usize::try_from(*limit) {
        Ok(limit) if limit > 0 => limit.min(LINT_FINDINGS_MAX),
        _ => LINT_FINDINGS_MAX,
    };
    Ok(LintQuestion { project, severity, limit })
}

/// The objects that a transaction names, as many as are looked at.
pub(super) fn named(transaction: &Transaction) -> Vec<ObjectKey> {
    transaction
        .operations
        .iter()
        .take(WARNINGS_OBJECTS_MAX)
        .map(|operation| match operation {
            Operation::Put { resource, .. } => resource.key(),
            Operation::Delete { key, .. } => key.clone(),
        })
        .collect()
}

/// What there is to say about the objects that a transaction named, now that it is applied.
/// `near` holds what was next to them before.
pub(super) fn warnings(
    engine: &Engine,
    named: &[ObjectKey],
    mut near: BTreeSet<ObjectKey>,
) -> LintReport {
    near.extend(engine.lint_neighbours(named));
    engine.lint_objects(&near, Severity::Warning, WARNINGS_MAX)
}
