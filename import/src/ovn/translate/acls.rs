//! `ACL` to rules.

use super::super::expr::{self, Conjunct, Frames};
use super::super::tables::Acl;
use super::applied::{Applied, Builder, Scope};
use super::groups::Groups;
use super::peers::Peers;
use super::policies::{self, Alternative, Draft, merged};
use super::ports::Ports;
use super::services::{Family, services};
use super::{Context, Switches, some_of};
use crate::names::to_label_value;
use spanwire_topology::model::{Action, Direction};
use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = "ACL";

/// The frames that rules judge. The others are answered by the host.
const JUDGED: Frames = Frames::V4.or(Frames::V6);

/// The row an ACL belongs to.
struct Owner {
    scope: Scope,
    /// The name of a switch on the scope that a router is attached to, if there is one.
    routed_switch: Option<String>,
    /// True if all its switches only join routers.
    is_transit: bool,
    acls: Vec<usize>,
}

/// Makes policies of all ACLs.
pub(super) fn translate(
    context: &mut Context<'_>,
    switches: &Switches,
    ports: &Ports,
    mut groups: Groups,
) {
    let owners = owners(context, switches, ports);
    let mut drafts = Vec::new();
    let mut seen = BTreeSet::new();
    for owner in &owners {
        for &index in &owner.acls {
            seen.insert(index);
            let acl = &context.nb.acls[index];
            let mut builder = Builder { context, switches, ports, groups: &mut groups };
            match draft(&mut builder, owner, acl) {
                Ok(mut made) => drafts.append(&mut made),
                Err(why) => {
                    let why = format!("{why}: the ACL is left out");
                    builder.context.out.unsupported(
                        TABLE,
                        &acl.uuid.to_string(),
                        format!("match {:?}", acl.matches),
                        why,
                    );
                }
            }
        }
    }
    for (index, acl) in context.nb.acls.iter().enumerate() {
        if !seen.contains(&index) {
            let text = "belongs to no switch or port group, and is left out";
            context.out.note(TABLE, &acl.uuid.to_string(), text);
        }
    }
    note_columns(context);
    let default_project = context.default_project();
    policies::write(&mut context.out, groups, drafts, &default_project);
}

fn owners(context: &Context<'_>, switches: &Switches, ports: &Ports) -> Vec<Owner> {
    let nb = context.nb;
    let mk_owner = |on: BTreeSet<usize>, acls: &[usize]| {
        let routed = on.iter().find(|switch| !context.layout.attachments[**switch].is_empty());
        Owner {
            routed_switch: routed.map(|switch| super::switches::label(&nb.switches[*switch])),
            is_transit: !on.is_empty() && on.iter().all(|switch| switches[*switch].is_none()),
            scope: Scope::new(on, ports),
            acls: acls.to_vec(),
        }
    };
    let with_acls = nb.switches.iter().enumerate().filter(|(_, row)| !row.acls.is_empty());
    let of_switches = with_acls.map(|(index, row)| mk_owner([index].into(), &row.acls));
    let with_acls = nb.port_groups.iter().filter(|row| !row.acls.is_empty());
    let of_groups = with_acls.map(|row| {
        let on = row.ports.iter().filter_map(|port| context.layout.switch_of_port[*port]);
        mk_owner(on.collect(), &row.acls)
    });
    of_switches.chain(of_groups).collect()
}

/// What an ACL does with what it matches; the flag is true for `allow-stateless`.
fn action(acl: &Acl) -> Result<(Action, bool), String> {
    match acl.action.as_str() {
        "allow" | "allow-related" => Ok((Action::Allow, false)),
        "allow-stateless" => Ok((Action::Allow, true)),
        "drop" => Ok((Action::Drop, false)),
        "reject" => Ok((Action::Reject, false)),
        "pass" => Ok((Action::Pass, false)),
        other => Err(format!("the action {other:?} has no counterpart")),
    }
}

/// The rules of one ACL.
fn draft(builder: &mut Builder<'_, '_>, owner: &Owner, acl: &Acl) -> Result<Vec<Draft>, String> {
    let (action, stateless) = action(acl)?;
    if owner.is_transit {
        return Err("packets between routers are not judged".to_owned());
    }
    if acl.options.get("apply-after-lb").is_some_and(|value| value == "true") {
        return Err("a second stage, after load balancing, has no counterpart".to_owned());
    }
    let expression = expr::parse(&acl.matches).map_err(|error| error.to_string())?;
    let conjuncts = expr::normalize(&expression).map_err(|error| error.to_string())?;
    let row = acl.uuid.to_string();
    if conjuncts.is_empty() {
        builder.context.out.note(TABLE, &row, "contradicts itself and matches nothing");
        return Ok(Vec::new());
    }
    let mut alternatives = Vec::new();
    let mut without = BTreeSet::new();
    for conjunct in &conjuncts {
        match alternative(builder, owner, acl, conjunct)? {
            Ok(alternative) => alternatives.push(alternative),
            Err(reason) => {
                without.insert(reason);
            }
        }
    }
    let is_local = |c: &Conjunct| !own_terms(acl, c).is_empty() || c.frames.and(JUDGED).is_empty();
    if action.is_deny()
        && !conjuncts.iter().all(is_local)
        && let Some(switch) = &owner.routed_switch
    {
        let what = format!("match {:?} for packets through the router of {switch}", acl.matches);
        let why = "it names no port, and OVN applies it to the router's port as well: it is \
                   applied to the workloads only; add inport or outport";
        builder.context.out.unsupported(TABLE, &row, what, why);
    }
    if alternatives.is_empty() {
        let reasons: Vec<&str> = without.into_iter().collect();
        builder.context.out.note(TABLE, &row, format!("makes no rule: {}", reasons.join("; ")));
    }
    let is_out = acl.direction == "from-lport";
    let drafts = merged(alternatives).into_iter().map(|alternative| Draft {
        tier: acl.tier,
        priority: acl.priority,
        stateless,
        direction: if is_out { Direction::Out } else { Direction::In },
        action,
        name: acl.name.as_deref().map(|name| to_label_value(name).into()),
        log: acl.log,
        alternative,
        order: format!("{} {} {}", acl.matches, acl.action, acl.uuid),
    });
    Ok(drafts.collect())
}

fn own_terms<'c>(acl: &Acl, conjunct: &'c Conjunct) -> &'c [std::sync::Arc<expr::PortTerm>] {
    if acl.direction == "from-lport" { &conjunct.inport } else { &conjunct.outport }
}

/// One conjunct as conditions on ports, peers and services; the inner error says why it matches
/// nothing that rules judge.
fn alternative(
    builder: &mut Builder<'_, '_>,
    owner: &Owner,
    acl: &Acl,
    conjunct: &Conjunct,
) -> Result<Result<Alternative, &'static str>, String> {
    let sends = acl.direction == "from-lport";
    let (others, own_addresses, peer_addresses) = match sends {
        true => (&conjunct.outport, &conjunct.source, &conjunct.destination),
        false => (&conjunct.inport, &conjunct.destination, &conjunct.source),
    };
    let frames = conjunct.frames.and(JUDGED);
    if frames.is_empty() {
        return Ok(Err("ARP and neighbour discovery are answered by the host"));
    }
    if !others.is_empty() {
        let (name, other) = match sends {
            true => ("outport", "it is not known in this direction, in OVN neither"),
            false => ("inport", "rules see the address a packet comes from, not the port"),
        };
        return Err(format!("{name} in {}: {other}", acl.direction));
    }
    let family = match (frames == Frames::V4, frames == Frames::V6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        _ => Family::Both,
    };
    let services = services(conjunct, family)?;
    let own = own_terms(acl, conjunct);
    let applied = match builder.applied(&owner.scope, own, own_addresses, family, sends)? {
        Applied::To(mut groups) => {
            groups.sort_unstable();
            groups.dedup();
            groups
        }
        Applied::Nowhere(why) => return Ok(Err(why)),
    };
    let project = builder.common_project(applied.iter().map(|group| &group.project));
    match builder.peers(&project, peer_addresses, family)? {
        Peers::Nobody => Ok(Err("no address meets its conditions")),
        peers => Ok(Ok(Alternative { applied, family, peers, services })),
    }
}

/// Notes what columns say that rules do not, once for each column.
fn note_columns(context: &mut Context<'_>) {
    let mut said: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for acl in &context.nb.acls {
        let uuid = acl.uuid.to_string();
        if matches!(acl.action.as_str(), "allow" | "allow-stateless") {
            let text = "with action allow or allow-stateless may need other ACLs to admit replies \
                        in OVN; here replies are always admitted";
            said.entry(text).or_default().push(uuid.clone());
        }
        if acl.label != 0 {
            said.entry("have labels, which are not carried").or_default().push(uuid.clone());
        }
        if acl.log && acl.meter.is_some() {
            said.entry("limit their log by a meter; here logs are limited by the host")
                .or_default()
                .push(uuid.clone());
        }
        if acl.log && acl.options.get("log-related").is_some_and(|value| value == "true") {
            said.entry("log replies; here the first packet of a connection is logged")
                .or_default()
                .push(uuid);
        }
    }
    for (text, rows) in said {
        let text = format!("{} ACLs {text}: {}", rows.len(), some_of(&rows));
        context.out.note(TABLE, "", text);
    }
}
