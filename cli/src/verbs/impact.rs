//! `spanwire impact`: which hosts a change would concern, and what it would cost.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::Failure;
use crate::output::{Table, print, print_json, render};
use crate::target::parse_object;
use crate::{input, progress};
use clap::Args;
use serde_json::json;
use spanwire_adminproto::{convert, wire};
use spanwire_topology::ObjectKey;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ImpactArgs {
    /// Resources that would be applied: a file, a directory of files, or - for stdin. Repeatable.
    #[arg(short, long = "file", value_name = "FILE|DIR|-", required_unless_present = "deletes")]
    files: Vec<String>,
    /// An object that would be deleted, as KIND/NAME or KIND/PROJECT/NAME. Repeatable.
    #[arg(short, long = "delete", value_name = "KIND/NAME")]
    deletes: Vec<String>,
    /// Delete what refers to those objects as well.
    #[arg(long, requires = "deletes")]
    cascade: bool,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: ImpactArgs) -> Result<(), Failure> {
    let project = global.project.as_deref();
    let documents = input::read_documents(&args.files, project)?;
    let deletes: Vec<ObjectKey> =
        args.deletes.iter().map(|text| parse_object(text, project)).collect::<Result<_, _>>()?;
    let request = wire::ImpactRequest {
        items: input::to_items(documents),
        deletes: deletes.iter().map(convert::from_key).collect(),
        cascade: args.cascade,
    };
    let mut admin = connect(global).await?;
    let answer = progress::during("impact", admin.impact(request))
        .await
        .map_err(|status| to_failure("impact", &status))?
        .into_inner();
    match global.output {
        Format::Table | Format::Wide => print(&to_text(&answer)),
        Format::Json | Format::Yaml => print_json(&to_json(&answer)),
    }
}

fn to_text(answer: &wire::ImpactResponse) -> String {
    let changed = answer
        .results
        .iter()
        .filter(|result| result.outcome != wire::object_result::Outcome::Unchanged as i32)
        .count();
    let mut text = format!(
        "{} of {} would change; {} would be told, {} in all (nothing was changed)\n",
        changed,
        render::count(answer.results.len(), "object"),
        render::count(answer.hosts.len(), "host"),
        render::bytes(answer.total_bytes),
    );
    if !answer.hosts.is_empty() {
        let mut table = Table::new(&["HOST", "ITEMS", "MEMBERS ADDED", "MEMBERS REMOVED", "BYTES"]);
        for host in &answer.hosts {
            table.row([
                host.host.clone(),
                host.items.to_string(),
                host.members_added.to_string(),
                host.members_removed.to_string(),
                host.bytes.to_string(),
            ]);
        }
        text.push_str(&table.to_text());
    }
    text
}

fn to_json(answer: &wire::ImpactResponse) -> serde_json::Value {
    let hosts: Vec<_> = answer
        .hosts
        .iter()
        .map(|host| {
            json!({ "host": host.host, "items": host.items, "membersAdded": host.members_added,
                    "membersRemoved": host.members_removed, "bytes": host.bytes })
        })
        .collect();
    json!({ "hosts": hosts, "totalBytes": answer.total_bytes, "revision": answer.revision })
}
