//! `spanwire watch`: changes as they are committed.

use crate::cli::{Format, Global, Scope};
use crate::client::{connect, to_failure};
use crate::failure::{Failure, FailureKind};
use crate::output::{print, print_line};
use crate::target::parse_target;
use crate::verbs::get::{check_selector, to_stored};
use clap::Args;
use owo_colors::OwoColorize;
use serde_json::json;
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::watch_event::Type;
use spanwire_manifest::{to_json_value, write_yaml};
use spanwire_topology::ObjectKey;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The kind, or KIND/NAME. Without it: every kind.
    kind: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Begin with the changes after this revision, instead of with the next one.
    #[arg(long, value_name = "REVISION")]
    from_revision: Option<u64>,
}

/// Runs the verb: until it is interrupted, or the controller ends it.
pub(crate) async fn run(global: &Global, args: WatchArgs) -> Result<(), Failure> {
    check_selector(args.scope.selector.as_deref())?;
    let project = global.project.as_deref();
    let target = args.kind.as_deref().map(|kind| parse_target(kind, None, project)).transpose()?;
    let key = target.as_ref().and_then(|target| target.key.clone());
    let kinds = target.map(|target| target.kinds).unwrap_or_default();
    let everywhere = args.scope.all_projects || kinds.iter().all(|kind| kind.is_fleet_wide());
    let request = wire::WatchRequest {
        kinds: kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
        // Unlike `get`, a watch without a project looks at all of them: nothing may be missed.
        project: if everywhere { "" } else { project.unwrap_or_default() }.to_owned(),
        selector: args.scope.selector.unwrap_or_default(),
        from_revision: args.from_revision,
    };
    let fail = |status: tonic::Status| to_failure("watch", &status);
    let mut admin = connect(global).await?;
    let mut stream = admin.watch(request).await.map_err(fail)?.into_inner();
    while let Some(event) = stream.message().await.map_err(fail)? {
        print_event(global.output, event, key.as_ref())?;
    }
    Err(Failure::new(FailureKind::Unreachable, "the controller ended the watch")
        .remedy("go on from the last revision that was printed: --from-revision REVISION"))
}

fn print_event(
    format: Format,
    event: wire::WatchEvent,
    only: Option<&ObjectKey>,
) -> Result<(), Failure> {
    let (name, revision) = (type_name(event.r#type()), event.revision);
    let Some(resource) = event.resource else {
        return match format {
            Format::Table | Format::Wide => {
                print_line(&format!("{revision:>8}  {name}").dimmed().to_string())
            }
            Format::Json => print_line(&json!({ "type": name, "revision": revision }).to_string()),
            Format::Yaml => print_line(&format!("# {name} at revision {revision}")),
        };
    };
    let stored = to_stored(resource)?;
    let key = stored.resource.key();
    if only.is_some_and(|only| *only != key) {
        return Ok(());
    }
    match format {
        Format::Table => print_line(&format!("{revision:>8}  {name:<8}  {key}")),
        Format::Wide => {
            let value = to_json_value(&stored.resource);
            print_line(&format!("{revision:>8}  {name:<8}  {key}  {}", value["spec"]))
        }
        Format::Json => {
            let value = to_json_value(&stored.resource);
            let line = json!({ "type": name, "revision": revision, "resource": value });
            print_line(&line.to_string())
        }
        Format::Yaml => {
            let text = write_yaml(&stored.resource);
            print(&format!("---\n# {name} at revision {revision}\n{text}"))
        }
    }
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Put => "put",
        Type::Deleted => "deleted",
        Type::Bookmark => "bookmark",
        Type::Unspecified => "unknown",
    }
}
