//! `spanwire apply`: create or change resources as one transaction.

use crate::cli::{Format, Global};
use crate::client::Admin;
use crate::failure::Failure;
use crate::output::{print, print_json, print_line, render};
use crate::verbs::lint;
use crate::{input, retry};
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
    let response = apply_retrying(global, items, args.dry_run, args.expected_revision).await?;
    let told = Told::of_apply(&response);
    print_results(global, &response.results, response.revision, args.dry_run, told)
}

/// What came with an answer.
pub(crate) struct Told<'a> {
    pub(crate) warnings: &'a [wire::Finding],
    /// How many more there are.
    pub(crate) cut: u64,
    /// An earlier attempt had been applied.
    pub(crate) repeated: bool,
}

impl Told<'_> {
    /// Of an answer to apply.
    pub(crate) fn of_apply(response: &wire::ApplyResponse) -> Told<'_> {
        Told {
            warnings: &response.warnings,
            cut: response.warnings_cut,
            repeated: response.repeated,
        }
    }
}

/// Applies resources as one transaction, with whichever of the controllers takes it.
pub(crate) async fn apply_retrying(
    global: &Global,
    items: Vec<wire::apply_request::Item>,
    dry_run: bool,
    expected_revision: Option<u64>,
) -> Result<wire::ApplyResponse, Failure> {
    let doing = format!("apply {}", render::count(items.len(), "resource"));
    let request_id = retry::request_id();
    let request = wire::ApplyRequest { items, dry_run, expected_revision, request_id };
    let call = async |mut admin: Admin, request| admin.apply(request).await;
    retry::write(global, &doing, retry::WRITE_TIME, request, call).await
}

/// Applies resources as one transaction, once: to the controller of a lab.
#[cfg(feature = "lab")]
pub(crate) async fn apply(
    admin: &mut Admin,
    items: Vec<wire::apply_request::Item>,
    dry_run: bool,
    expected_revision: Option<u64>,
) -> Result<wire::ApplyResponse, Failure> {
    use crate::client::to_failure;
    use crate::progress;
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
    let Told { warnings, cut, repeated } = told;
    lint::tell_warnings(warnings, cut);
    match global.output {
        Format::Table | Format::Wide if repeated => print_line(&format!(
            "applied before, at revision {revision}: an earlier attempt of this request had got through"
        )),
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
                                "warnings": warnings, "warningsCut": cut,
                                "repeated": repeated }))
        }
    }
}
