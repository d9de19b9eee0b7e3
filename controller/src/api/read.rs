//! Get, List, Span, Explain and HostView.

use super::page::PageToken;
use super::{AdminService, required_key};
use crate::limits::{LIST_PAGE_BYTES_MAX, LIST_PAGE_OBJECTS_MAX, LIST_PAGE_SCAN_MAX};
use prost::Message as _;
use spanwire_adminproto::convert::{from_explanation, from_host_view, from_object, query_status};
use spanwire_adminproto::wire;
use spanwire_topology::Engine;
use spanwire_topology::engine::{ExplainStep, Explanation, HostId, QueryError};
use spanwire_topology::model::{
    DEFAULT_PROJECT, Kind, ObjectKey, SYSTEM_PROJECT, Selector, check_name,
};
use spanwire_topology::view::{Item, ItemKey};
use std::net::IpAddr;
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
        let member = to_member(&member)?;
        self.read(move |engine, _| {
            let explanation = match member {
                Member::Port(port) => engine.explain(&host, &port, &group),
                Member::Address(address) => explain_address(engine, &host, address, &group),
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

enum Member {
    Port(ObjectKey),
    Address(IpAddr),
}

fn to_member(text: &str) -> Result<Member, Status> {
    if let Ok(address) = text.parse() {
        return Ok(Member::Address(address));
    }
    let (project, name) = text.split_once('/').unwrap_or((DEFAULT_PROJECT, text));
    let checked = check_name("project", project).and_then(|()| check_name("port name", name));
    match checked {
        Ok(()) => Ok(Member::Port(ObjectKey::new(Kind::LogicalPort, project, name))),
        Err(error) => Err(Status::invalid_argument(format!(
            "member: {error}; expected an address, or a port as project/name"
        ))),
    }
}

/// Explains every port that has the address; an address of no port may lie in a block of the group.
fn explain_address(
    engine: &Engine,
    host: &str,
    address: IpAddr,
    group: &ObjectKey,
) -> Result<Explanation, QueryError> {
    let ports = engine.ports_with_address(address);
    if ports.is_empty() {
        return explain_block(engine, host, address, group);
    }
    let mut all = Explanation { has_member: false, steps: Vec::new() };
    for port in ports {
        let Explanation { has_member, mut steps } = engine.explain(host, &port, group)?;
        all.steps.push(ExplainStep {
            condition: format!("{address} is an address of {port}"),
            holds: true,
            finding: "see the steps that follow".to_owned(),
            objects: vec![port],
        });
        all.has_member |= has_member;
        all.steps.append(&mut steps);
    }
    Ok(all)
}

/// CIDR blocks belong to no domain: every host that a rule with the group concerns has them.
fn explain_block(
    engine: &Engine,
    host: &str,
    address: IpAddr,
    group: &ObjectKey,
) -> Result<Explanation, QueryError> {
    let host_id = engine.host_id(host).ok_or_else(|| QueryError::NotFound(host_key(host)))?;
    let object = engine.get(group).ok_or_else(|| QueryError::NotFound(group.clone()))?;
    let key = ItemKey::Blocks(object.uid);
    let blocks = match engine.item(key).as_ref().map(|versioned| &*versioned.item) {
        Some(Item::Blocks(blocks)) => blocks.clone(),
        _ => Vec::new(),
    };
    let Some(block) = blocks.iter().find(|block| block.contains(&address)) else {
        return Err(QueryError::NoSuchAddress(address));
    };
    let has_blocks = engine.has_item(host_id, key);
    let finding = match has_blocks {
        true => "a rule applied to a port of the host has the group as a peer",
        false => "no rule applied to a port of the host has the group as a peer",
    };
    let steps = vec![
        ExplainStep {
            condition: format!("{address} lies in a CIDR block of {group}"),
            holds: true,
            finding: format!("it lies in {block}; blocks belong to no domain"),
            objects: vec![group.clone()],
        },
        ExplainStep {
            condition: format!("the blocks of {group} matter to host {host}"),
            holds: has_blocks,
            finding: finding.to_owned(),
            objects: vec![host_key(host)],
        },
    ];
    Ok(Explanation { has_member: has_blocks, steps })
}
