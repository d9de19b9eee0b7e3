//! `spanwire span`: the hosts an object matters to.

use crate::cli::{Format, Global};
use crate::client::{connect, to_failure};
use crate::failure::Failure;
use crate::output::{print, print_json, render};
use crate::progress;
use crate::target::parse_object;
use clap::Args;
use serde_json::json;
use spanwire_adminproto::{convert, wire};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct SpanArgs {
    /// The object, as KIND/NAME or KIND/PROJECT/NAME.
    #[arg(value_name = "KIND/NAME")]
    object: String,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: SpanArgs) -> Result<(), Failure> {
    let key = parse_object(&args.object, global.project.as_deref())?;
    let doing = format!("span of {key}");
    let mut admin = connect(global).await?;
    let request = wire::SpanRequest { key: Some(convert::from_key(&key)) };
    let answer = progress::during(&doing, admin.span(request))
        .await
        .map_err(|status| to_failure(&doing, &status))?
        .into_inner();
    match global.output {
        Format::Table | Format::Wide => {
            let hosts = render::count(answer.hosts.len(), "host");
            let mut text = format!("{key} matters to {hosts} at revision {}\n", answer.revision);
            for host in &answer.hosts {
                text.push_str(&format!("  {host}\n"));
            }
            print(&text)
        }
        Format::Json | Format::Yaml => {
            print_json(&json!({ "hosts": answer.hosts, "revision": answer.revision }))
        }
    }
}
