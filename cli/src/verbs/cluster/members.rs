//! `spanwire cluster add`, `promote` and `remove`: who the replicas are, and who of them votes.

use crate::cli::{Format, Global};
use crate::client::Admin;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::retry;
use crate::verbs::wait::parse_duration;
use clap::Args;
use serde_json::json;
use spanwire_adminproto::wire;
use std::time::Duration;

const ADD_HELP: &str = "\
Each controller must run and wait: spanwire controller --join. It begins as a learner: it takes the state,
serves hosts and reads, and does not vote. Doing the same again finishes what broke off half-way.

Examples:
  spanwire cluster add 192.0.2.11:6690 192.0.2.12:6690
  spanwire cluster promote 2 3";

const PROMOTE_HELP: &str = "\
Waits until they have caught up: a voter that is far behind counts for the majority and cannot help to make
one. Several at once are one change. Have an odd number of voters: three go on without any one, five
without any two.

Examples:
  spanwire cluster promote 2 3
  spanwire cluster promote 4 --timeout 30m";

const REMOVE_HELP: &str = "\
What the rest could not go on without is refused: bring back or remove dead replicas first. --force does
it all the same, as long as there is still a leader. A leader that is removed hands over first.
A replica that was removed stops. To add it again: empty its data directory, start it with --join, add it.

Examples:
  spanwire cluster remove 3";

/// The arguments of `add`.
#[derive(Debug, Args)]
#[command(after_help = ADD_HELP)]
pub(super) struct AddArgs {
    /// Where the other replicas reach them.
    #[arg(required = true, value_name = "HOST:PORT")]
    addresses: Vec<String>,
}

/// The arguments of `promote`.
#[derive(Debug, Args)]
#[command(after_help = PROMOTE_HELP)]
pub(super) struct PromoteArgs {
    /// The learners.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
    /// Do not wait until they have caught up, and do it even if the cluster may not be able to write
    /// until they have.
    #[arg(long)]
    force: bool,
    /// Give up after so long: a number with a unit, as 30s, 5m.
    #[arg(long, default_value = "10m", value_parser = parse_duration)]
    timeout: Duration,
}

/// The arguments of `remove`.
#[derive(Debug, Args)]
#[command(after_help = REMOVE_HELP)]
pub(super) struct RemoveArgs {
    /// The replicas.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
    /// Do it even if the cluster may not be able to write any more.
    #[arg(long)]
    force: bool,
}

/// Runs `add`.
pub(super) async fn add(global: &Global, args: AddArgs) -> Result<(), Failure> {
    let AddArgs { addresses } = args;
    let doing = format!("add {}", addresses.join(", "));
    let request = wire::ChangeMembersRequest {
        add: addresses.clone(),
        ..wire::ChangeMembersRequest::default()
    };
    let response = change(global, &doing, retry::WRITE_TIME, request).await?;
    let added = response.added.iter().zip(&addresses);
    match global.output {
        Format::Json | Format::Yaml => {
            let added: Vec<_> =
                added.map(|(id, address)| json!({ "id": id, "address": address })).collect();
            print_json(&json!({ "added": added }))
        }
        Format::Table | Format::Wide => {
            let mut text = String::new();
            for (id, address) in added {
                text.push_str(&format!("replica {id} at {address} is a member\n"));
            }
            let ids = join(&response.added);
            text.push_str(&format!("to let new ones vote: spanwire cluster promote {ids}\n"));
            print(&text)
        }
    }
}

/// Runs `promote`.
pub(super) async fn promote(global: &Global, args: PromoteArgs) -> Result<(), Failure> {
    let PromoteArgs { ids, force, timeout } = args;
    let doing = format!("promote {}", named(&ids));
    let request = wire::ChangeMembersRequest {
        promote: ids.clone(),
        force,
        ..wire::ChangeMembersRequest::default()
    };
    change(global, &doing, timeout, request).await?;
    print_change(global, &ids, "votes", "vote", "promoted")
}

/// Runs `remove`.
pub(super) async fn remove(global: &Global, args: RemoveArgs) -> Result<(), Failure> {
    let RemoveArgs { ids, force } = args;
    let doing = format!("remove {}", named(&ids));
    let request = wire::ChangeMembersRequest {
        remove: ids.clone(),
        force,
        ..wire::ChangeMembersRequest::default()
    };
    change(global, &doing, retry::WRITE_TIME, request).await?;
    print_change(global, &ids, "is no member any more", "are no members any more", "removed")
}

/// What is already so is not done again, so a change may be asked for several times.
async fn change(
    global: &Global,
    doing: &str,
    time: Duration,
    request: wire::ChangeMembersRequest,
) -> Result<wire::ChangeMembersResponse, Failure> {
    let call = async |mut admin: Admin, request| admin.change_members(request).await;
    retry::write(global, doing, time, request, call).await.map_err(|failure| match failure.kind() {
        crate::failure::FailureKind::Unreachable => {
            failure.remedy("see how the replicas are: spanwire cluster status")
        }
        _ => failure,
    })
}

fn print_change(
    global: &Global,
    ids: &[u64],
    one: &str,
    several: &str,
    field: &str,
) -> Result<(), Failure> {
    match global.output {
        Format::Json | Format::Yaml => print_json(&json!({ field: ids })),
        Format::Table | Format::Wide => {
            let does = if ids.len() == 1 { one } else { several };
            print(&format!("{} {does}\n", named(ids)))
        }
    }
}

/// `replica 2`, `replicas 2 3`.
fn named(ids: &[u64]) -> String {
    format!("{} {}", if ids.len() == 1 { "replica" } else { "replicas" }, join(ids))
}

fn join(ids: &[u64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
