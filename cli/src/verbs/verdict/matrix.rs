//! The verdicts of every pair of some ports.

use super::state::State;
use super::text::summary;
use super::{json, verdict_name};
use crate::cli::{Format, Global, Scope};
use crate::failure::{Failure, FailureKind};
use crate::output::{Table, print, print_json};
use serde_json::{Value, json as value};
use spanwire_adminproto::convert::{VERDICT_QUERIES_MAX, VerdictEnd, VerdictPacket, VerdictQuery};
use spanwire_adminproto::wire::verdict_result::Result as Answered;
use spanwire_topology::ObjectKey;

/// The most ports of a matrix: nobody reads a larger one, and a batch takes any number.
const MATRIX_PORTS_MAX: usize = 64;

/// Asks and prints.
pub(super) async fn run(
    global: &Global,
    state: &mut State,
    scope: &Scope,
    packet: VerdictPacket,
) -> Result<(), Failure> {
    let ports = state.ports(global, scope).await?;
    if ports.is_empty() {
        return Err(Failure::new(FailureKind::NotFound, "no port is selected")
            .remedy("select others with -l, -p and -A"));
    }
    if ports.len() > MATRIX_PORTS_MAX {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("{} ports are selected: a matrix has {MATRIX_PORTS_MAX} at most", ports.len()),
        )
        .remedy("select fewer with -l, -p and -A, or ask with --batch"));
    }
    let queries = pairs(&ports, packet);
    let mut answers = Vec::with_capacity(queries.len());
    let mut revision = 0;
    for chunk in queries.chunks(VERDICT_QUERIES_MAX) {
        let (results, at) = state.ask(chunk).await?;
        answers.extend(results);
        revision = at;
    }
    match global.output {
        Format::Table | Format::Wide => {
            let mut text = to_table(&ports, &answers, scope.all_projects).to_text();
            text.push_str(&format!("from the rows to the columns, at revision {revision}\n"));
            print(&text)
        }
        Format::Json | Format::Yaml => {
            let pairs: Vec<Value> =
                queries.iter().zip(&answers).map(|(query, answer)| pair(query, answer)).collect();
            print_json(&value!({
                "packet": json::packet(packet), "pairs": pairs, "revision": revision,
            }))
        }
    }
}

/// Every port with every other, by source and then by destination.
fn pairs(ports: &[ObjectKey], packet: VerdictPacket) -> Vec<VerdictQuery> {
    let end = |key: &ObjectKey| VerdictEnd::Port(key.clone(), None);
    ports
        .iter()
        .flat_map(|source| ports.iter().map(move |destination| (source, destination)))
        .filter(|(source, destination)| source != destination)
        .map(|(source, destination)| VerdictQuery {
            source: end(source),
            destination: end(destination),
            packet,
        })
        .collect()
}

/// Rows are sources, columns destinations. `-` stands where there is no answer, as between ports
/// without a family of addresses in common.
fn to_table(ports: &[ObjectKey], answers: &[Answered], with_project: bool) -> Table {
    let name = |key: &ObjectKey| match with_project {
        true => format!("{}/{}", key.project, key.name),
        false => key.name.to_string(),
    };
    let mut headings = vec!["FROM".to_owned()];
    headings.extend(ports.iter().map(name));
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&headings);
    let mut answers = answers.iter();
    for source in ports {
        let mut row = vec![name(source)];
        for destination in ports {
            row.push(match source == destination {
                true => "·".to_owned(),
                false => match answers.next() {
                    Some(Answered::Answer(answer)) => verdict_name(answer).to_owned(),
                    Some(Answered::Error(_)) | None => "-".to_owned(),
                },
            });
        }
        table.row(row);
    }
    table
}

fn pair(query: &VerdictQuery, answer: &Answered) -> Value {
    let port = |end: &VerdictEnd| match end {
        VerdictEnd::Port(key, _) => format!("{}/{}", key.project, key.name),
        VerdictEnd::Address(address) => address.to_string(),
    };
    let (source, destination) = (port(&query.source), port(&query.destination));
    match answer {
        Answered::Answer(answer) => value!({
            "source": source, "destination": destination, "verdict": verdict_name(answer),
            "because": summary(answer),
        }),
        Answered::Error(error) => value!({
            "source": source, "destination": destination, "verdict": null, "error": error.message,
        }),
    }
}
