//! `spanwire apply`: create or change resources as one transaction.

use crate::cli::{Format, Global};
use crate::client::{Admin, connect, to_failure};
use crate::failure::Failure;
use crate::output::{print, print_json, render};
use crate::verbs::lint;
use crate::{input, progress};
use clap::Args;
use serde_json::json;
use spanwire_adminproto::wire;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A file of resources (YAML or JSON), a directory of such files, or - for stdin. Repeatable:
    /// all of it is one transaction.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<String>,
    /// Check everything, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Refuse unless the state is at exactly this revision.
    #[arg(long, value_name = "REVISION")]
    expected_revision: Option<u64>,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: ApplyArgs) -> Result<(), Failure> {
    let documents = input::read_documents(&args.files, global.project.as_deref())?;
    let items = input::to_items(documents);
    let mut admin = connect(global).await?;
    let response = apply(&mut admin, items, args.dry_run, args.expected_revision).await?;
    let told = Told { warnings: &response.warnings, cut: response.warnings_cut };
    print_results(global, &response.results, response.revision, args.dry_run, told)
}

/// The warnings that came with an answer.
pub(crate) struct Told<'a> {
    pub(crate) warnings: &'a [wire::Finding],
    /// How many more there are.
    pub(crate) cut: u64,
}

/// Applies resources as one transaction.
pub(crate) async fn apply(
    admin: &mut Admin,
    items: Vec<wire::apply_request::Item>,
    dry_run: bool,
    expected_revision: Option<u64>,
) -> Result<wire::ApplyResponse, Failure> {
    let doing = format!("apply {}", render::count(items.len(), "resource"));
    let request = wire::ApplyRequest { items, dry_run, expected_revision, request_id: Vec::new() };
    let response = progress::during(&doing, admin.apply(request)).await;
    Ok(response.map_err(|status| to_failure(&doing, &status))?.into_inner())
}

/// Prints what a transaction did, and tells its warnings on stderr.
pub(crate) fn print_results(
    global: &Global,
    results: &[wire::ObjectResult],
    revision: u64,
    dry_run: bool,
    told: Told<'_>,
) -> Result<(), Failure> {
    let Told { warnings, cut } = told;
    lint::tell_warnings(warnings, cut);
    match global.output {
        Format::Table | Format::Wide => print(&render::results(results, revision, dry_run)),
        Format::Json | Format::Yaml => {
            let results: Vec<_> = results
                .iter()
                .filter_map(|result| Some((result.key.as_ref()?, render::outcome(result.outcome))))
                .map(|(key, outcome)| {
                    json!({ "kind": key.kind, "project": key.project, "name": key.name,
                            "outcome": outcome })
                })
                .collect();
            let warnings: Vec<_> =
                warnings.iter().map(|finding| lint::finding_to_json(finding, None)).collect();
            print_json(&json!({ "revision": revision, "dryRun": dry_run, "results": results,
                                "warnings": warnings, "warningsCut": cut }))
        }
    }
}
