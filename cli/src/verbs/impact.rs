//! `spanwire impact`: which hosts a change would concern, and what it would cost.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::{Failure, FailureKind};
use crate::offline::OfflineState;
use crate::output::{Table, print, print_json, render};
use crate::target::parse_object;
use crate::{input, progress};
use clap::Args;
use serde_json::json;
use spanwire_adminproto::wire::domain_move::Kind;
use spanwire_adminproto::{convert, wire};
use spanwire_hostproto::impact::impact;
use spanwire_topology::ObjectKey;
use tonic::Status;

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
    /// Answer without a controller: tell what the change would do to the state of --base, which is
    /// the empty network unless given.
    #[arg(long)]
    offline: bool,
    /// With --offline: the resources that are there before the change: a file, a directory of files,
    /// or - for stdin. Repeatable: all of it is one state.
    #[arg(long, value_name = "FILE|DIR|-", requires = "offline")]
    base: Vec<String>,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: ImpactArgs) -> Result<(), Failure> {
    let project = global.project.as_deref();
    let from_stdin = |files: &[String]| files.iter().any(|file| file == "-");
    if from_stdin(&args.files) && from_stdin(&args.base) {
        let problem = "stdin is both the change and the base: it ends once";
        return Err(Failure::new(FailureKind::Usage, problem));
    }
    let documents = input::read_documents(&args.files, project)?;
    let deletes: Vec<ObjectKey> =
        args.deletes.iter().map(|text| parse_object(text, project)).collect::<Result<_, _>>()?;
    let request = wire::ImpactRequest {
        items: input::to_items(documents),
        deletes: deletes.iter().map(convert::from_key).collect(),
        cascade: args.cascade,
    };
    let answer = match args.offline {
        true => {
            let mut state = OfflineState::load(&args.base, project)?;
            impact_on(&mut state, &request).map_err(|status| to_failure("impact", &status))?
        }
        false => {
            let mut admin = connect(global).await?;
            progress::during("impact", admin.impact(request))
                .await
                .map_err(|status| to_failure("impact", &status))?
                .into_inner()
        }
    };
    match global.output {
        Format::Table | Format::Wide => print(&to_text(&answer)),
        Format::Json | Format::Yaml => print_json(&to_json(&answer)),
    }
}

fn impact_on(
    state: &mut OfflineState,
    request: &wire::ImpactRequest,
) -> Result<wire::ImpactResponse, Status> {
    let transaction = convert::to_impact_transaction(request)?;
    let impact = impact(&mut state.engine, &transaction);
    impact.map(|i| convert::from_impact(&i)).map_err(|r| convert::refusal_status(&r))
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
    push_moves(&mut text, answer);
    push_flips(&mut text, answer);
    text
}

fn push_moves(text: &mut String, answer: &wire::ImpactResponse) {
    if answer.domain_moves.is_empty() {
        return;
    }
    text.push_str("\nDomains that merge or split:\n");
    for part in &answer.domain_moves {
        let what = match part.kind() {
            Kind::Merge => "all of domain",
            Kind::Split | Kind::Move | Kind::Unspecified => "part of domain",
        };
        let becomes = match part.kind() {
            Kind::Split => "becomes a domain of its own",
            Kind::Merge | Kind::Move | Kind::Unspecified => "joins domain",
        };
        let to = if part.kind() == Kind::Split { String::new() } else { format!(" {}", part.to) };
        let mut switches = part.switches.iter().map(render::key).collect::<Vec<_>>().join(", ");
        let more = part.switches_count.saturating_sub(part.switches.len() as u64);
        if more > 0 {
            switches.push_str(&format!(" and {more} more"));
        }
        text.push_str(&format!("  {what} {} {becomes}{to}: {switches}\n", part.from));
    }
}

fn push_flips(text: &mut String, answer: &wire::ImpactResponse) {
    let flips = answer.flips.len() as u64 + answer.flips_cut;
    let tried = render::count_of(answer.verdicts_compared, "packet");
    let sampled = if answer.verdicts_cut { ", a sample of what the change touches" } else { "" };
    text.push_str(&format!("\n{flips} of {tried} that were tried would fare otherwise{sampled}\n"));
    if answer.flips.is_empty() {
        return;
    }
    let mut table = Table::new(&["SOURCE", "DESTINATION", "PACKET", "BEFORE", "AFTER"]);
    for flip in &answer.flips {
        table.row([
            flip.source.clone(),
            flip.destination.clone(),
            flip.packet.clone(),
            flip.before.clone(),
            flip.after.clone(),
        ]);
    }
    text.push_str(&table.to_text());
    if answer.flips_cut > 0 {
        text.push_str(&format!("and {} more\n", answer.flips_cut));
    }
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
    let moves: Vec<_> = answer
        .domain_moves
        .iter()
        .map(|part| {
            let kind = match part.kind() {
                Kind::Merge => "merge",
                Kind::Split => "split",
                Kind::Move | Kind::Unspecified => "move",
            };
            let switches: Vec<String> = part.switches.iter().map(render::key).collect();
            json!({ "kind": kind, "from": part.from, "to": part.to, "switches": switches,
                    "switchesCount": part.switches_count })
        })
        .collect();
    let flips: Vec<_> = answer
        .flips
        .iter()
        .map(|flip| {
            json!({ "source": flip.source, "destination": flip.destination,
                    "packet": flip.packet, "before": flip.before, "after": flip.after })
        })
        .collect();
    json!({
        "hosts": hosts,
        "totalBytes": answer.total_bytes,
        "revision": answer.revision,
        "domainMoves": moves,
        "flips": flips,
        "flipsCut": answer.flips_cut,
        "verdictsCompared": answer.verdicts_compared,
        "verdictsCut": answer.verdicts_cut,
    })
}
