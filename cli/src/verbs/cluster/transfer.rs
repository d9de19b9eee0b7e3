//! `spanwire cluster transfer`: hand leadership over.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::Failure;
use crate::output::{print_json, print_line};
use crate::progress;
use clap::Args;
use serde_json::json;
use spanwire_adminproto::wire;

const HELP: &str = "\
Before the leader is restarted: so there is no pause in which nobody leads.

Examples:
  spanwire cluster transfer
  spanwire cluster transfer 2";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct TransferArgs {
    /// The voter that shall lead. Without it: the one that has most of the log.
    #[arg(value_name = "ID")]
    to: Option<u64>,
}

/// Runs the verb.
pub(super) async fn run(global: &Global, args: TransferArgs) -> Result<(), Failure> {
    const DOING: &str = "transfer leadership";
    let mut admin = connect(global).await?;
    let request = wire::TransferLeadershipRequest { to: args.to.unwrap_or_default() };
    let answer = progress::during(DOING, admin.transfer_leadership(request)).await;
    let leader = answer.map_err(|status| to_failure(DOING, &status))?.into_inner().leader;
    match global.output {
        Format::Table | Format::Wide => print_line(&format!("replica {leader} leads")),
        Format::Json | Format::Yaml => print_json(&json!({ "leader": leader })),
    }
}
