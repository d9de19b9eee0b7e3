//! Get, List, Span, Explain and HostView.

use super::page::PageToken;
use super::{AdminService, malformed, required_key};
use crate::limits::{LIST_PAGE_BYTES_MAX, LIST_PAGE_OBJECTS_MAX, LIST_PAGE_SCAN_MAX};
use prost::Message as _;
use spanwire_adminproto::convert::{
    Member, from_explanation, from_host_view, from_object, query_status, to_member,
};
use spanwire_adminproto::wire;
use spanwire_topology::Engine;
use spanwire_topology::engine::{HostId, QueryError};
use spanwire_topology::model::{
    DEFAULT_PROJECT, Kind, ObjectKey, SYSTEM_PROJECT, Selector, check_name,
};
use tonic::Status;

impl AdminService {
    pub(super) async fn process_get(
        &self,
        request: wire::GetRequest,
    ) -> Result<wire::GetResponse, Status> {
        let key = required_key(request.key.as_ref(), "key")?;
        self.read(move |engine, _| {
            let object = engine.get(&key).ok_or_else(|| not_found(&key))?;
            let resource = Some(from_object(object));
            Ok(wire::GetResponse { resource, revision: engine.revision() })
        })
        .await
    }

    pub(super) async fn process_list(
        &self,
        request: wire::ListRequest,
    ) -> Result<wire::ListResponse, Status> {
        let invalid =
            |field: &str, problem: String| Status::invalid_argument(format!("{field}: {problem}"));
        let kind: Kind = request.kind.parse().map_err(|e| invalid("kind", format!("{e}")))?;
        let selector: Selector =
            request.selector.parse().map_err(|e| invalid("selector", format!("{e}")))?;
        let project = match (request.all_projects || kind.is_fleet_wide(), &*request.project) {
            (true, "") | (true, SYSTEM_PROJECT) => None,
            (true, _) if request.all_projects => {
                let problem = "give a project or all_projects, not both".to_owned();
                return Err(invalid("project", problem));
            }
            (_, "") => Some(DEFAULT_PROJECT.to_owned()),
            (_, project) => Some(project.to_owned()),
        };
        if let Some(project) = &project {
            check_name("project", project).map_err(|e| invalid("project", e.to_string()))?;
        }
        let after = PageToken::decode(&request)?;
        self.read(move |engine, _| {
            Ok(page(engine, &request, kind, project.as_deref(), &selector, after.as_ref()))
        })
        .await
    }

    pub(super) async fn process_span(
        &self,
        request: wire::SpanRequest,
    ) -> Result<wire::SpanResponse, Status> {
        let key = required_key(request.key.as_ref(), "key")?;
        self.read(move |engine, _| {
            let span = engine.span(&key).map_err(|error| query_status(&error))?;
            let names = span.into_iter().filter_map(|host| engine.host_name(host));
            let mut hosts: Vec<String> = names.map(str::to_owned).collect();
            hosts.sort_unstable();
            Ok(wire::SpanResponse { hosts, revision: engine.revision() })
        })
        .await
    }

    pub(super) async fn process_explain(
        &self,
        request: wire::ExplainRequest,
    ) -> Result<wire::ExplainResponse, Status> {
        let wire::ExplainRequest { host, member, group } = request;
        let group = required_key(group.as_ref(), "group")?;
        if group.kind != Kind::Group {
            let problem = format!("group: {group} is not a group: name a Group");
            return Err(Status::invalid_argument(problem));
        }
        let member = to_member(&member).map_err(malformed)?;
        self.read(move |engine, _| {
            let explanation = match member {
                Member::Port(port) => engine.explain(&host, &port, &group),
                Member::Address(address) => engine.explain_address(&host, address, &group),
            };
            let explanation = explanation.map_err(|error| query_status(&error))?;
            Ok(from_explanation(&explanation, engine.revision()))
        })
        .await
    }

    pub(super) async fn process_host_view(
        &self,
        request: wire::HostViewRequest,
    ) -> Result<wire::HostViewResponse, Status> {
        self.read(move |engine, _| {
            let host = required_host(engine, &request.host)?;
            let view = engine.host_view(host);
            Ok(from_host_view(&view, |uid| engine.key_of(uid)))
        })
        .await
    }
}

/// The host of a name that a request must have.
pub(super) fn required_host(engine: &Engine, name: &str) -> Result<HostId, Status> {
    if name.is_empty() {
        return Err(Status::invalid_argument("host: missing: name a host"));
    }
    engine.host_id(name).ok_or_else(|| not_found(&host_key(name)))
}

fn host_key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Host, SYSTEM_PROJECT, name)
}

fn not_found(key: &ObjectKey) -> Status {
    query_status(&QueryError::NotFound(key.clone()))
}

/// One page. It ends when it is full, and also when enough objects were looked at: then it may have
/// few objects, or none, and still be followed by another.
fn page(
    engine: &Engine,
    request: &wire::ListRequest,
    kind: Kind,
    project: Option<&str>,
    selector: &Selector,
    after: Option<&PageToken>,
) -> wire::ListResponse {
    let size = match usize::try_from(request.page_size) {
        Ok(size) if size > 0 => size.min(LIST_PAGE_OBJECTS_MAX),
        _ => LIST_PAGE_OBJECTS_MAX,
    };
    let after = after.map(|token| (&*token.project, &*token.name));
    let mut response =
        wire::ListResponse { revision: engine.revision(), ..wire::ListResponse::default() };
    let mut bytes = 0;
    let mut objects = engine.list(kind, project, after).enumerate().peekable();
    while let Some((scanned, object)) = objects.next() {
        let metadata = &object.resource.metadata;
        if selector.matches(&metadata.labels) {
            let resource = from_object(object);
            bytes += resource.encoded_len();
            response.resources.push(resource);
        }
        let is_full = response.resources.len() >= size
            || bytes >= LIST_PAGE_BYTES_MAX
            || scanned + 1 >= LIST_PAGE_SCAN_MAX;
        if is_full {
            if objects.peek().is_some() {
                let (project, name) = (metadata.project.to_string(), metadata.name.to_string());
                response.next_page_token = PageToken { project, name }.encode(request);
            }
            break;
        }
    }
    response
}
