//! `spanwire describe`: everything about one object.

use crate::cli::{Format, Global};
use crate::client::{Admin, connect, to_failure};
use crate::failure::{Failure, FailureKind};
use crate::output::table::abbreviate;
use crate::output::{document, print, print_json, render};
use crate::progress;
use crate::target::parse_target;
use crate::verbs::get::{Stored, get};
use clap::Args;
use serde_json::json;
use spanwire_adminproto::{convert, wire};
use spanwire_manifest::to_json_value;
use spanwire_topology::ObjectKey;
use spanwire_topology::model::Kind;

/// More hosts than these are counted and not named.
const HOSTS_SHOWN_MAX: usize = 6;
/// The same of hosts that lack something, each with its reason.
const MISSING_SHOWN_MAX: usize = 3;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The object, as KIND/NAME or KIND/PROJECT/NAME; or the kind.
    kind: String,
    /// The object's name, or PROJECT/NAME.
    name: Option<String>,
}

/// Everything that is known about an object.
struct Description {
    stored: Stored,
    span: Vec<String>,
    realized: Option<wire::WaitRealizedProgress>,
    agent: Option<wire::HostAgentStatus>,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: DescribeArgs) -> Result<(), Failure> {
    let target = parse_target(&args.kind, args.name.as_deref(), global.project.as_deref())?;
    let Some(key) = target.key else {
        return Err(Failure::new(FailureKind::Usage, format!("describe which {}?", args.kind))
            .remedy(format!("name it, or list them: spanwire get {}", args.kind)));
    };
    let mut admin = connect(global).await?;
    let description = progress::during("describe", read(&mut admin, &key)).await?;
    match global.output {
        Format::Table | Format::Wide => print(&to_text(&key, &description)),
        Format::Yaml | Format::Json => print_json(&to_json(&description)),
    }
}

async fn read(admin: &mut Admin, key: &ObjectKey) -> Result<Description, Failure> {
    let doing = format!("describe {key}");
    let fail = |status: tonic::Status| to_failure(&doing, &status);
    let stored = get(admin, key).await?;
    let wire_key = Some(convert::from_key(key));
    let span = admin.span(wire::SpanRequest { key: wire_key.clone() }).await.map_err(fail)?;
    let request = wire::WaitRealizedRequest { key: wire_key, revision: None };
    // The first message says how things are now; there is no need to wait for the second.
    let mut waiting = admin.wait_realized(request).await.map_err(fail)?.into_inner();
    let realized = waiting.message().await.map_err(fail)?;
    let agent = if key.kind == Kind::Host {
        let request = wire::HostStatusRequest { hosts: vec![key.name.to_string()] };
        admin.host_status(request).await.map_err(fail)?.into_inner().hosts.into_iter().next()
    } else {
        None
    };
    Ok(Description { stored, span: span.into_inner().hosts, realized, agent })
}

fn to_text(key: &ObjectKey, description: &Description) -> String {
    let Description { stored, span, realized, agent } = description;
    let mut text = format!("{key}\n");
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<12}{value}\n"));
    line("uid", stored.status.uid.to_string());
    line("created", format!("at revision {}", stored.status.created_revision));
    line("changed", format!("at revision {}", stored.status.revision));
    let names = match abbreviate(span, HOSTS_SHOWN_MAX).as_str() {
        "-" => String::new(),
        names => format!(": {names}"),
    };
    line("span", format!("{}{names}", render::count(span.len(), "host")));
    if let Some(realized) = realized {
        line("realized", format!("by {} of {}", realized.realized, realized.hosts));
        for missing in realized.missing.iter().take(MISSING_SHOWN_MAX) {
            line("", format!("missing on {}: {}", missing.host, missing.reason));
        }
        let more = realized.missing.len().saturating_sub(MISSING_SHOWN_MAX);
        if more > 0 {
            line("", format!("and on {more} more"));
        }
    }
    if let Some(agent) = agent {
        text.push_str(&agent_text(agent));
    }
    text.push('\n');
    text.push_str(&document::to_yaml([&stored.resource]));
    text
}

fn agent_text(agent: &wire::HostAgentStatus) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<12}{value}\n"));
    if agent.connected {
        line(
            "agent",
            format!("connected, version {}, {} datapath", agent.agent_version, agent.datapath),
        );
        let sent = render::bytes(agent.bytes_sent);
        line("sent", format!("{sent} in {} batches on this connection", agent.batches_sent));
    } else {
        line("agent", "not connected".to_owned());
    }
    line(
        "revision",
        format!("{} in the datapath, {} wanted", agent.realized_revision, agent.view_revision),
    );
    for rejection in &agent.rejections {
        let object = render::key_or_dash(rejection.object.as_ref());
        line("rejected", format!("{object} ({}): {}", rejection.item, rejection.reason));
    }
    if agent.drift_repaired > 0 {
        line("drift", format!("{} repaired, last: {}", agent.drift_repaired, agent.drift_last));
    }
    if agent.checks > 0 {
        let mut checks = format!("{} on this connection", agent.checks);
        if agent.check_repaired > 0 {
            checks.push_str(&format!(", {} items repaired", agent.check_repaired));
        }
        if !agent.check_last.is_empty() {
            checks.push_str(&format!(", in the last: {}", agent.check_last));
        }
        line("checks", checks);
    }
    text
}

fn to_json(description: &Description) -> serde_json::Value {
    let Description { stored, span, realized, agent } = description;
    let realized = realized.as_ref().map(|realized| {
        let missing: Vec<_> = realized
            .missing
            .iter()
            .map(|missing| json!({ "host": missing.host, "reason": missing.reason }))
            .collect();
        json!({ "revision": realized.revision, "hosts": realized.hosts,
                "realized": realized.realized, "missing": missing })
    });
    json!({
        "resource": to_json_value(&stored.resource),
        "uid": stored.status.uid,
        "createdRevision": stored.status.created_revision,
        "revision": stored.status.revision,
        "span": span,
        "realized": realized,
        "agent": agent.as_ref().map(super::status::host_to_json),
    })
}
