//! `spanwire explain`: why a host has, or lacks, a member of a group.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::Failure;
use crate::offline::{OfflineArgs, OfflineState};
use crate::output::{print, print_json, render};
use crate::progress;
use crate::target::parse_name;
use clap::Args;
use owo_colors::OwoColorize;
use serde_json::json;
use spanwire_adminproto::convert::Member;
use spanwire_adminproto::{convert, wire};
use spanwire_topology::ObjectKey;
use spanwire_topology::model::{DEFAULT_PROJECT, Kind};
use std::net::IpAddr;
use tonic::Status;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The host.
    host: String,
    /// The member: a port as NAME or PROJECT/NAME, or an address.
    member: String,
    /// The group, as NAME or PROJECT/NAME.
    #[arg(short, long)]
    group: String,
    #[command(flatten)]
    offline: OfflineArgs,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: ExplainArgs) -> Result<(), Failure> {
    let project = global.project.as_deref();
    let group = parse_name(Kind::Group, &args.group, project)?;
    let member = member(&args.member, project);
    let doing = format!("explain {member} of {group} on {}", args.host);
    let request = wire::ExplainRequest {
        host: args.host.clone(),
        member: member.clone(),
        group: Some(convert::from_key(&group)),
    };
    let answer = match args.offline.load(global)? {
        Some(state) => explain_files(&args.host, &member, &group, &state)
            .map_err(|status| to_failure(&doing, &status))?,
        None => {
            let mut admin = connect(global).await?;
            progress::during(&doing, admin.explain(request))
                .await
                .map_err(|status| to_failure(&doing, &status))?
                .into_inner()
        }
    };
    match global.output {
        Format::Table | Format::Wide => {
            print(&to_text(&args.host, &member, &group.to_string(), &answer))
        }
        Format::Json | Format::Yaml => print_json(&to_json(&answer)),
    }
}

fn explain_files(
    host: &str,
    member: &str,
    group: &ObjectKey,
    state: &OfflineState,
) -> Result<wire::ExplainResponse, Status> {
    let engine = &state.engine;
    let explanation = match convert::to_member(member)? {
        Member::Port(port) => engine.explain(host, &port, group),
        Member::Address(address) => engine.explain_address(host, address, group),
    };
    let explanation = explanation.map_err(|error| convert::query_status(&error))?;
    Ok(convert::from_explanation(&explanation, engine.revision()))
}

/// A port with its project, or an address as it is.
fn member(text: &str, project: Option<&str>) -> String {
    if text.contains('/') || text.parse::<IpAddr>().is_ok() {
        text.to_owned()
    } else {
        format!("{}/{text}", project.unwrap_or(DEFAULT_PROJECT))
    }
}

fn to_text(host: &str, member: &str, group: &str, answer: &wire::ExplainResponse) -> String {
    let has = if answer.has_member { "has" } else { "lacks" };
    let mut text =
        format!("host {host} {has} {member} of {group} at revision {}\n", answer.revision);
    for step in &answer.steps {
        let mark = if step.holds { "yes".green().to_string() } else { " no".red().to_string() };
        let indent = "     ".repeat(usize::try_from(step.depth).unwrap_or_default());
        text.push_str(&format!("{indent}  {mark}  {}\n", step.condition));
        if !step.finding.is_empty() {
            text.push_str(&format!("{indent}       {}\n", step.finding));
        }
    }
    text
}

fn to_json(answer: &wire::ExplainResponse) -> serde_json::Value {
    let steps: Vec<_> = answer
        .steps
        .iter()
        .map(|step| {
            let objects: Vec<String> = step.objects.iter().map(render::key).collect();
            json!({ "condition": step.condition, "holds": step.holds,
                    "finding": step.finding, "objects": objects, "depth": step.depth })
        })
        .collect();
    json!({ "hasMember": answer.has_member, "revision": answer.revision, "steps": steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_ports_or_addresses() {
        assert_eq!(member("web-0", None), "default/web-0");
        assert_eq!(member("web-0", Some("t00")), "t00/web-0");
        assert_eq!(member("t01/web-0", Some("t00")), "t01/web-0");
        assert_eq!(member("10.0.0.1", Some("t00")), "10.0.0.1");
        assert_eq!(member("fd00::1", None), "fd00::1");
    }
}
