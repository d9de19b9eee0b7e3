//! `spanwire import`: another system's data as resources.
//!
//! Resources go to stdout (or to the controller), and what cannot be carried over to stderr, row by
//! row. There is no half import: with such rows the exit code says so, and with `--apply` nothing
//! is applied, unless `--skip-unsupported` says that it shall go on without them.

use crate::cli::{Format, Global};
use crate::client::block_on;
use crate::failure::{Failure, FailureKind};
use crate::output::{document, print, print_json, render};
use crate::verbs::{apply, wait};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use spanwire_adminproto::convert;
use spanwire_import::kubernetes::{self, KubernetesOptions};
use spanwire_import::ovn::{self, OvnOptions, PROJECT_KEY_DEFAULT, ProjectRule, fetch::Remote};
use spanwire_import::{Import, ovn::OvnError};
use spanwire_topology::Resource;
use spanwire_topology::model::DEFAULT_PROJECT;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    source: Source,
}

/// Where the data comes from.
#[derive(Debug, Subcommand)]
enum Source {
    /// An OVN northbound database.
    Ovn(OvnArgs),
    /// Kubernetes nodes, namespaces, pods and network policies.
    Kubernetes(KubernetesArgs),
}

#[derive(Debug, Args)]
struct Common {
    /// Go on without the rows that cannot be carried over. They are listed all the same.
    #[arg(long)]
    skip_unsupported: bool,
    /// Apply the resources, as one transaction, instead of printing them.
    #[arg(long)]
    apply: bool,
    /// With --apply: check everything, change nothing.
    #[arg(long, requires = "apply")]
    dry_run: bool,
    /// Say on stderr what was decided on the way.
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Args)]
struct OvnArgs {
    /// What `ovsdb-client -f json dump SERVER OVN_Northbound` printed, gzip'd or not; - for stdin.
    #[arg(required_unless_present = "db", conflicts_with = "db")]
    file: Option<PathBuf>,
    /// Ask a running ovsdb-server: unix:PATH or tcp:HOST:PORT.
    #[arg(long, value_name = "SERVER")]
    db: Option<String>,
    /// How long the server may take.
    #[arg(long, default_value = "60s", value_parser = wait::parse_duration, requires = "db")]
    timeout: Duration,
    /// The key of external_ids that names the project of a port.
    #[arg(long, default_value = PROJECT_KEY_DEFAULT, value_name = "KEY")]
    project_key: String,
    /// Put everything into one project (--project), whatever the external_ids say.
    #[arg(long, conflicts_with = "project_key")]
    single_project: bool,
    /// Where hosts get tunnel endpoints from, in the order of their names: the database has none.
    #[arg(long, value_name = "CIDR")]
    vtep_subnet: Option<IpNet>,
    /// The tunnel endpoint of a chassis, as NAME=ADDRESS. Repeatable.
    #[arg(long = "vtep", value_name = "NAME=ADDRESS", value_parser = parse_vtep)]
    vteps: Vec<(String, IpAddr)>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct KubernetesArgs {
    /// What `kubectl get nodes,namespaces,pods,networkpolicies -A -o json` (or yaml) printed, in
    /// one file or several; - for stdin.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs the verb.
pub(crate) fn run(global: &Global, args: ImportArgs) -> Result<(), Failure> {
    match args.source {
        Source::Ovn(args) => {
            let import = import_ovn(global, &args)?;
            finish(global, import, &args.common)
        }
        Source::Kubernetes(args) => {
            let import = kubernetes::import_files(&args.files, &KubernetesOptions::default())
                .map_err(|error| Failure::caused("nothing was imported", &error))?;
            finish(global, import, &args.common)
        }
    }
}

fn import_ovn(global: &Global, args: &OvnArgs) -> Result<Import, Failure> {
    let fail = |error: OvnError| Failure::caused("nothing was imported", &error);
    let mut options = OvnOptions {
        project: global.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.to_owned()),
        project_rule: if args.single_project {
            ProjectRule::Single
        } else {
            ProjectRule::ExternalId(args.project_key.clone())
        },
        vteps: args.vteps.iter().cloned().collect::<BTreeMap<_, _>>(),
        ..OvnOptions::default()
    };
    if let Some(subnet) = args.vtep_subnet {
        options.vtep_subnet = subnet;
    }
    match (&args.db, &args.file) {
        (Some(server), _) => {
            let remote: Remote = server.parse().map_err(|error: ovn::fetch::FetchError| {
                Failure::new(FailureKind::Usage, error.to_string())
            })?;
            ovn::import_server(&remote, args.timeout, &options).map_err(fail)
        }
        (None, Some(file)) => ovn::import_file(file, &options).map_err(fail),
        (None, None) => Err(Failure::new(FailureKind::Usage, "neither FILE nor --db is given")),
    }
}

/// Lists what was left out, and prints or applies the rest.
fn finish(global: &Global, import: Import, common: &Common) -> Result<(), Failure> {
    if common.verbose {
        for note in &import.notes {
            anstream::eprintln!("note: {note}");
        }
    }
    for row in &import.unsupported {
        anstream::eprintln!("unsupported: {row}");
    }
    let left_out = import.unsupported.len();
    let whole = left_out == 0 || common.skip_unsupported;
    if common.apply {
        if !whole {
            return Err(unsupported(left_out)
                .remedy("nothing was applied; go on without these rows with --skip-unsupported"));
        }
        return apply_all(global, import.resources, common.dry_run);
    }
    print_all(global, &import.resources)?;
    if whole {
        return Ok(());
    }
    Err(unsupported(left_out)
        .remedy("if the resources are good without these rows: --skip-unsupported"))
}

fn unsupported(left_out: usize) -> Failure {
    Failure::new(
        FailureKind::Unsupported,
        format!("{} cannot be carried over", render::count(left_out, "row")),
    )
}

fn apply_all(global: &Global, resources: Vec<Resource>, dry_run: bool) -> Result<(), Failure> {
    let items = convert::from_puts(resources.into_iter().map(|resource| (resource, None)));
    block_on(async {
        let response = apply::apply_retrying(global, items, dry_run, None).await?;
        let told = apply::Told::of_apply(&response);
        apply::print_results(global, &response.results, response.revision, dry_run, told)
    })
}

fn print_all(global: &Global, resources: &[Resource]) -> Result<(), Failure> {
    match global.output {
        // A table of what would be imported can be had by applying it; documents are what the
        // next step takes.
        Format::Table | Format::Wide | Format::Yaml => print(&document::to_yaml(resources)),
        Format::Json => print_json(&document::to_json_list(resources)),
    }
}

fn parse_vtep(text: &str) -> Result<(String, IpAddr), String> {
    let expected = || format!("{text:?} is not NAME=ADDRESS, as host-01=192.0.2.1");
    let (name, address) = text.split_once('=').ok_or_else(expected)?;
    let address = address.parse().map_err(|_| expected())?;
    if name.is_empty() { Err(expected()) } else { Ok((name.to_owned(), address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_endpoints_are_checked() {
        let vtep = parse_vtep("host-01=192.0.2.1").unwrap();
        assert_eq!(vtep, ("host-01".to_owned(), "192.0.2.1".parse().unwrap()));
        for bad in ["", "host-01", "=192.0.2.1", "host-01=", "host-01=192.0.2.1/24"] {
            assert!(parse_vtep(bad).is_err(), "{bad}");
        }
    }
}
