//! `spanwire get`: list objects, or print one.

use crate::cli::{Format, Global, Scope};
use crate::client::{Admin, connect, to_failure};
use crate::failure::{Failure, FailureKind};
use crate::output::{document, print, print_json, resource};
use crate::progress;
use crate::target::{Target, parse_target};
use clap::Args;
use serde_json::Value;
use spanwire_adminproto::{convert, wire};
use spanwire_topology::model::{Kind, Selector};
use spanwire_topology::{ObjectKey, Resource};
use std::collections::BTreeMap;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The kind (host, switch, router, port, group, service, policy, or all), or KIND/NAME.
    kind: String,
    /// The object's name, or PROJECT/NAME.
    name: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Put the revision of each object into documents: applying them is then refused if the object
    /// has changed meanwhile.
    #[arg(long)]
    with_revision: bool,
}

/// An object as the controller stores it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// What was applied.
    pub(crate) resource: Resource,
    /// What the controller knows about it.
    pub(crate) status: wire::ResourceStatus,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: GetArgs) -> Result<(), Failure> {
    let target = parse_target(&args.kind, args.name.as_deref(), global.project.as_deref())?;
    if target.key.is_some() && (args.scope.selector.is_some() || args.scope.all_projects) {
        return Err(Failure::new(
            FailureKind::Usage,
            "one object is named, so there is nothing to select",
        )
        .remedy("leave out -l and -A, or the name"));
    }
    check_selector(args.scope.selector.as_deref())?;
    let mut admin = connect(global).await?;
    let stored = progress::during("get", read(&mut admin, global, &target, &args.scope)).await?;
    match global.output {
        Format::Yaml if args.with_revision => print(&document::to_yaml_at(&stored)),
        Format::Yaml => print(&document::to_yaml(resources(&stored))),
        Format::Json => print_json(&to_json(&stored, target.key.is_some(), args.with_revision)),
        Format::Table | Format::Wide => {
            let hosts = host_statuses(&mut admin, &stored).await?;
            let options = resource::TableOptions {
                wide: global.output == Format::Wide,
                projects: args.scope.all_projects || target.kinds.len() > 1,
                titles: target.kinds.len() > 1,
            };
            print(&resource::tables(&stored, &hosts, &options))
        }
    }
}

/// The resources without what the controller added: what `apply` takes again.
fn resources(stored: &[Stored]) -> impl Iterator<Item = &Resource> {
    stored.iter().map(|stored| &stored.resource)
}

/// One document if one object was named, else a list.
fn to_json(stored: &[Stored], one: bool, with_revision: bool) -> Value {
    let mut list = if with_revision {
        document::to_json_list_at(stored)
    } else {
        document::to_json_list(resources(stored))
    };
    if one { list["items"][0].take() } else { list }
}

/// Refuses a selector that does not parse before anyone is asked.
pub(crate) fn check_selector(selector: Option<&str>) -> Result<(), Failure> {
    match selector.map(str::parse::<Selector>) {
        Some(Err(error)) => Err(Failure::new(FailureKind::Usage, error.to_string())),
        Some(Ok(_)) | None => Ok(()),
    }
}

async fn read(
    admin: &mut Admin,
    global: &Global,
    target: &Target,
    scope: &Scope,
) -> Result<Vec<Stored>, Failure> {
    if let Some(key) = &target.key {
        return Ok(vec![get(admin, key).await?]);
    }
    let mut stored = Vec::new();
    for &kind in &target.kinds {
        // `get all -l` and `-p` are about what tenants make; hosts stand outside of projects.
        stored.extend(list(admin, kind, global.project.as_deref(), scope).await?);
    }
    Ok(stored)
}

/// One object.
pub(crate) async fn get(admin: &mut Admin, key: &ObjectKey) -> Result<Stored, Failure> {
    let doing = format!("get {key}");
    let request = wire::GetRequest { key: Some(convert::from_key(key)) };
    let answer =
        admin.get(request).await.map_err(|status| to_failure(&doing, &status))?.into_inner();
    match answer.resource {
        Some(resource) => to_stored(resource),
        None => Err(Failure::refused(format!("{doing}: the controller answered without it"))),
    }
}

/// The objects of a kind, all pages of it.
pub(crate) async fn list(
    admin: &mut Admin,
    kind: Kind,
    project: Option<&str>,
    scope: &Scope,
) -> Result<Vec<Stored>, Failure> {
    let doing = format!("list {}", kind.short());
    let mut stored = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListRequest {
            kind: kind.as_str().to_owned(),
            project: project.unwrap_or_default().to_owned(),
            all_projects: scope.all_projects,
            selector: scope.selector.clone().unwrap_or_default(),
            page_size: 0,
            page_token: page_token.clone(),
        };
        let page =
            admin.list(request).await.map_err(|status| to_failure(&doing, &status))?.into_inner();
        for resource in page.resources {
            stored.push(to_stored(resource)?);
        }
        if page.next_page_token.is_empty() {
            return Ok(stored);
        }
        page_token = page.next_page_token;
    }
}

/// A resource from the controller.
pub(crate) fn to_stored(mut resource: wire::Resource) -> Result<Stored, Failure> {
    let status = resource.status.take().unwrap_or_default();
    let resource = convert::to_resource(&resource).map_err(|error| {
        Failure::caused("the controller sent a resource that this client cannot read", &error)
            .remedy("use the client of the controller's release")
    })?;
    Ok(Stored { resource, status })
}

/// What the agents of the hosts among the objects say, by name.
async fn host_statuses(
    admin: &mut Admin,
    stored: &[Stored],
) -> Result<BTreeMap<String, wire::HostAgentStatus>, Failure> {
    let hosts: Vec<String> = stored
        .iter()
        .map(|stored| stored.resource.key())
        .filter(|key| key.kind == Kind::Host)
        .map(|key| key.name.to_string())
        .collect();
    if hosts.is_empty() {
        return Ok(BTreeMap::new());
    }
    let answer = admin
        .host_status(wire::HostStatusRequest { hosts })
        .await
        .map_err(|status| to_failure("get host status", &status))?;
    Ok(answer.into_inner().hosts.into_iter().map(|host| (host.host.clone(), host)).collect())
}
