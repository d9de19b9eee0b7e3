//! Whom to ask: a controller, or the engine of some files.

use crate::cli::{Global, Scope};
use crate::client::{Admin, connect, to_failure};
use crate::failure::{Failure, FailureKind};
use crate::offline::{OfflineArgs, OfflineState};
use crate::progress;
use crate::verbs::get;
use spanwire_adminproto::convert::{VerdictQuery, answer_verdicts, from_verdict_query, to_key};
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::verdict_result::Result as Answered;
use spanwire_topology::ObjectKey;
use spanwire_topology::model::{DEFAULT_PROJECT, Kind, Selector};
use tonic::Code;

/// A state of the network that answers.
pub(super) enum State {
    /// That of a controller, now or at a revision.
    Controller {
        /// The way to it.
        admin: Box<Admin>,
        /// The revision, once one is fixed.
        at: Option<u64>,
    },
    /// That of some files.
    Files(Box<OfflineState>),
}

impl State {
    /// The state that the command line names.
    pub(super) async fn open(
        global: &Global,
        at: Option<u64>,
        offline: &OfflineArgs,
    ) -> Result<State, Failure> {
        Ok(match offline.load(global)? {
            Some(files) => State::Files(Box::new(files)),
            None => State::Controller { admin: Box::new(connect(global).await?), at },
        })
    }

    /// The answers to at most [`VERDICT_QUERIES_MAX`](spanwire_adminproto::convert::VERDICT_QUERIES_MAX) questions, in
    /// order, and the revision of the state. Whoever goes on asking is answered from the same one.
    pub(super) async fn ask(
        &mut self,
        queries: &[VerdictQuery],
    ) -> Result<(Vec<Answered>, u64), Failure> {
        let response = match self {
            State::Files(files) => answer_verdicts(&files.engine, queries),
            State::Controller { admin, at } => {
                let request = wire::VerdictRequest {
                    queries: queries.iter().map(from_verdict_query).collect(),
                    at_revision: *at,
                };
                let response = progress::during("verdict", admin.verdict(request))
                    .await
                    .map_err(|status| to_verdict_failure(&status))?
                    .into_inner();
                at.get_or_insert(response.revision);
                response
            }
        };
        let results: Vec<Answered> =
            response.results.into_iter().filter_map(|result| result.result).collect();
        if results.len() != queries.len() {
            return Err(Failure::refused(format!(
                "the controller answered {} of {} questions in a way that this client knows",
                results.len(),
                queries.len()
            ))
            .remedy("use the client of the controller's release"));
        }
        Ok((results, response.revision))
    }

    /// Where an object stands, if it stands in a file.
    pub(super) fn place_of(&self, key: Option<&wire::ObjectKey>) -> Option<String> {
        let State::Files(files) = self else { return None };
        files.place_of(&to_key(key?).ok()?).map(ToString::to_string)
    }

    /// The ports that a scope selects, sorted by project and name.
    pub(super) async fn ports(
        &mut self,
        global: &Global,
        scope: &Scope,
    ) -> Result<Vec<ObjectKey>, Failure> {
        match self {
            State::Files(files) => {
                let text = scope.selector.as_deref().unwrap_or_default();
                let selector: Selector = text.parse().map_err(|error| {
                    let error: spanwire_topology::model::SelectorError = error;
                    Failure::new(FailureKind::Usage, format!("-l: {error}"))
                })?;
                let own = global.project.as_deref().unwrap_or(DEFAULT_PROJECT);
                let project = (!scope.all_projects).then_some(own);
                Ok(files
                    .engine
                    .list(Kind::LogicalPort, project, None)
                    .filter(|object| selector.matches(&object.resource.metadata.labels))
                    .map(|object| object.resource.key())
                    .collect())
            }
            State::Controller { admin, at: _ } => {
                get::check_selector(scope.selector.as_deref())?;
                let project = global.project.as_deref();
                let stored = get::list(admin, Kind::LogicalPort, project, scope).await?;
                Ok(stored.iter().map(|stored| stored.resource.key()).collect())
            }
        }
    }
}

fn to_verdict_failure(status: &tonic::Status) -> Failure {
    match status.code() {
        Code::OutOfRange => Failure::refused(format!("verdict: {}", status.message()))
            .remedy("ask for a later revision, or leave --at out for the present"),
        _ => to_failure("verdict", status),
    }
}

/// Why one question has no answer.
pub(super) fn to_failure_of_query(error: &wire::VerdictError) -> Failure {
    to_failure("verdict", &tonic::Status::new(Code::from(error.code), error.message.clone()))
}
