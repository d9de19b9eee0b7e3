//! `spanwire host-view`: what a host is told.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::Failure;
use crate::offline::{OfflineArgs, OfflineState};
use crate::output::table::abbreviate;
use crate::output::{Table, print, print_json, render};
use crate::progress;
use clap::Args;
use serde_json::{Value, json};
use spanwire_adminproto::{convert, wire};
use spanwire_topology::ObjectKey;
use spanwire_topology::engine::QueryError;
use spanwire_topology::model::{Kind, SYSTEM_PROJECT};
use tonic::Status;

/// More entries of a list than these are counted and not shown, except with `-o wide`.
const SHOWN_MAX: usize = 3;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct HostViewArgs {
    /// The host.
    host: String,
    #[command(flatten)]
    offline: OfflineArgs,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: HostViewArgs) -> Result<(), Failure> {
    let doing = format!("view of host {}", args.host);
    let view = match args.offline.load(global)? {
        Some(state) => {
            view_of_files(&args.host, &state).map_err(|status| to_failure(&doing, &status))?
        }
        None => {
            let mut admin = connect(global).await?;
            let request = wire::HostViewRequest { host: args.host.clone() };
            progress::during(&doing, admin.host_view(request))
                .await
                .map_err(|status| to_failure(&doing, &status))?
                .into_inner()
        }
    };
    match global.output {
        Format::Table => print(&to_text(&args.host, &view, SHOWN_MAX)),
        Format::Wide => print(&to_text(&args.host, &view, usize::MAX)),
        Format::Json | Format::Yaml => print_json(&to_json(&view)),
    }
}

fn view_of_files(host: &str, state: &OfflineState) -> Result<wire::HostViewResponse, Status> {
    let engine = &state.engine;
    let id = engine.host_id(host).ok_or_else(|| {
        let key = ObjectKey::new(Kind::Host, SYSTEM_PROJECT, host);
        convert::query_status(&QueryError::NotFound(key))
    })?;
    Ok(convert::from_host_view(&engine.host_view(id), |uid| engine.key_of(uid)))
}

fn to_text(host: &str, view: &wire::HostViewResponse, shown_max: usize) -> String {
    let members: usize = view.shards.iter().map(|shard| shard.addresses.len()).sum();
    let locators: usize = view.locators.iter().map(|list| list.locators.len()).sum();
    let mut text = format!(
        "host {host} at revision {}: {}, {}, {}, {} of {}, {}\n",
        view.revision,
        render::count(view.domains.len(), "domain"),
        render::count(view.ports.len(), "port"),
        render::count(view.policies.len(), "policy"),
        render::count(members, "member"),
        render::count(view.shards.len(), "shard"),
        render::count(locators, "locator"),
    );
    for table in [
        domains(view, shown_max),
        ports(view, shown_max),
        policies(view, shown_max),
        shards(view, shown_max),
        blocks(view, shown_max),
        locators_table(view, shown_max),
    ] {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table.to_text());
        }
    }
    text
}

fn domains(view: &wire::HostViewResponse, shown_max: usize) -> Table {
    let mut table = Table::new(&["DOMAIN", "SEES", "REACHES", "SPOOFABLE"]);
    for domain in &view.domains {
        table.row([
            domain.vni.to_string(),
            abbreviate(&domain.sees, shown_max),
            abbreviate(&domain.reaches, shown_max),
            yes_no(domain.spoofable),
        ]);
    }
    table
}

fn ports(view: &wire::HostViewResponse, shown_max: usize) -> Table {
    let mut table = Table::new(&["PORT", "DOMAIN", "ADDRESSES", "MAC", "SECURITY", "POLICIES"]);
    for port in &view.ports {
        table.row([
            name(port.key.as_ref()),
            port.domain.to_string(),
            abbreviate(&port.addresses, shown_max),
            port.mac.clone(),
            if port.port_security { "on" } else { "off" }.to_owned(),
            abbreviate(&names(&port.policies), shown_max.saturating_sub(1)),
        ]);
    }
    table
}

fn policies(view: &wire::HostViewResponse, shown_max: usize) -> Table {
    let mut table = Table::new(&["POLICY", "TIER", "PRIORITY", "RULES", "PEERS"]);
    for policy in &view.policies {
        let mut peers: Vec<String> = policy
            .rules
            .iter()
            .flat_map(|rule| &rule.peers)
            .map(|peer| {
                format!("{}{}", if peer.negate { "!" } else { "" }, name(peer.group.as_ref()))
            })
            .collect();
        peers.sort_unstable();
        peers.dedup();
        table.row([
            name(policy.key.as_ref()),
            policy.tier.to_string(),
            policy.priority.to_string(),
            policy.rules.len().to_string(),
            abbreviate(&peers, shown_max),
        ]);
    }
    table
}

fn shards(view: &wire::HostViewResponse, shown_max: usize) -> Table {
    let mut table = Table::new(&["GROUP", "DOMAIN", "MEMBERS", "ADDRESSES"]);
    for shard in &view.shards {
        table.row([
            name(shard.group.as_ref()),
            shard.domain.to_string(),
            shard.addresses.len().to_string(),
            abbreviate(&shard.addresses, shown_max),
        ]);
    }
    table
}

fn blocks(view: &wire::HostViewResponse, shown_max: usize) -> Table {
    let mut table = Table::new(&["GROUP", "CIDRS"]);
    for blocks in &view.blocks {
        table.row([name(blocks.group.as_ref()), abbreviate(&blocks.cidrs, shown_max)]);
    }
    table
}

fn locators_table(view: &wire::HostViewResponse, shown_max: usize) -> Table {
    let mut table = Table::new(&["DOMAIN", "LOCATORS", "WHERE"]);
    for list in &view.locators {
        let places: Vec<String> = list
            .locators
            .iter()
            .map(|locator| format!("{}@{}", locator.address, locator.vtep))
            .collect();
        table.row([
            list.domain.to_string(),
            places.len().to_string(),
            abbreviate(&places, shown_max),
        ]);
    }
    table
}

fn name(key: Option<&wire::ObjectKey>) -> String {
    key.map_or_else(|| "-".to_owned(), |key| format!("{}/{}", key.project, key.name))
}

fn names(keys: &[wire::ObjectKey]) -> Vec<String> {
    keys.iter().map(|key| name(Some(key))).collect()
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// The whole view. Rules are told by the policies themselves (`spanwire get policy NAME -o json`).
fn to_json(view: &wire::HostViewResponse) -> Value {
    json!({
        "revision": view.revision,
        "domains": view.domains.iter().map(|domain| json!({
            "vni": domain.vni, "sees": domain.sees, "reaches": domain.reaches,
            "spoofable": domain.spoofable, "version": domain.version,
        })).collect::<Vec<_>>(),
        "ports": view.ports.iter().map(|port| json!({
            "port": name(port.key.as_ref()), "domain": port.domain, "mac": port.mac,
            "addresses": port.addresses, "portSecurity": port.port_security,
            "policies": names(&port.policies), "version": port.version,
        })).collect::<Vec<_>>(),
        "policies": view.policies.iter().map(|policy| json!({
            "policy": name(policy.key.as_ref()), "tier": policy.tier, "priority": policy.priority,
            "rules": policy.rules.len(), "version": policy.version,
        })).collect::<Vec<_>>(),
        "shards": view.shards.iter().map(|shard| json!({
            "group": name(shard.group.as_ref()), "domain": shard.domain,
            "addresses": shard.addresses, "version": shard.version,
        })).collect::<Vec<_>>(),
        "blocks": view.blocks.iter().map(|blocks| json!({
            "group": name(blocks.group.as_ref()), "cidrs": blocks.cidrs,
            "version": blocks.version,
        })).collect::<Vec<_>>(),
        "locators": view.locators.iter().map(|list| json!({
            "domain": list.domain, "version": list.version,
            "locators": list.locators.iter().map(|locator| json!({
                "address": locator.address, "mac": locator.mac, "vtep": locator.vtep,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
