//! `spanwire lab`: hosts and workloads as network namespaces on this machine.

use crate::cli::{Format, Global};
use crate::client::Admin;
use crate::failure::{Failure, FailureKind};
use crate::fleet::{self, lab_failure};
use crate::input;
use crate::output::{Table, print, print_json, render};
use crate::progress::Spinner;
use crate::verbs::signals::Interrupt;
use crate::verbs::{apply, wait};
use clap::{Args, Subcommand};
use ipnet::Ipv4Net;
use serde_json::json;
use spanwire_adminproto::convert;
use spanwire_lab::{DEFAULT_UNDERLAY, Lab, LabPhase, LabRecord, LabSpec, assign_vteps};
use spanwire_topology::Resource;
use std::os::unix::process::CommandExt;
use std::time::Duration;

/// The lab that is meant if none is named.
const NAME_DEFAULT: &str = "main";
/// How long the agents may take to have everything in their datapaths.
const REALIZED_WAIT: Duration = Duration::from_secs(120);

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    verb: LabVerb,
}

/// What can be done with labs.
#[derive(Debug, Subcommand)]
enum LabVerb {
    /// Make the hosts and workloads of a model, start a controller and an agent on each host.
    Up(UpArgs),
    /// Stop and remove everything that belongs to a lab, also after a crash.
    Down(NameArgs),
    /// Run a program in a lab: in the fabric, on a host, or in a workload.
    Exec(ExecArgs),
    /// List the labs of this machine.
    List,
}

#[derive(Debug, Args)]
struct NameArgs {
    /// The name of the lab.
    #[arg(default_value = NAME_DEFAULT)]
    name: String,
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    name: NameArgs,
    /// The model: a file of resources, a directory of files, or - for stdin. Repeatable.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<String>,
    /// Make only these hosts, and what is bound to them.
    #[arg(long, value_delimiter = ',', value_name = "HOST,...")]
    hosts: Vec<String>,
    /// The network between the hosts. Those without a tunnel endpoint are given one in it.
    #[arg(long, default_value_t = DEFAULT_UNDERLAY, value_name = "CIDR")]
    underlay: Ipv4Net,
    /// Make the namespaces alone: no controller, no agents.
    #[arg(long)]
    bare: bool,
}

#[derive(Debug, Args)]
struct ExecArgs {
    /// The name of the lab.
    #[arg(long, default_value = NAME_DEFAULT, value_name = "NAME")]
    lab: String,
    /// Where: `fabric`, the name of a host, or a workload as PROJECT/NAME.
    place: String,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(global: &Global, args: LabArgs) -> Result<(), Failure> {
    match args.verb {
        LabVerb::Up(args) => up(global, args),
        LabVerb::Down(args) => down(&args.name),
        LabVerb::Exec(args) => exec(args),
        LabVerb::List => list(global),
    }
}

fn up(global: &Global, args: UpArgs) -> Result<(), Failure> {
    let documents = input::read_documents(&args.files, global.project.as_deref())?;
    let mut resources: Vec<Resource> =
        documents.into_iter().map(|document| document.resource).collect();
    let fail = lab_failure("the lab does not come up");
    assign_vteps(&mut resources, args.underlay).map_err(&fail)?;
    let chosen = |host: &str| args.hosts.is_empty() || args.hosts.iter().any(|name| name == host);
    let spec = LabSpec::from_resources(&args.name.name, &resources, chosen).map_err(&fail)?;
    if let Some(unknown) = args.hosts.iter().find(|host| spec.host(host).is_none()) {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("the model has no host {unknown}"),
        ));
    }
    let mut spinner = Spinner::start(&format!(
        "making {} and {}",
        render::count(spec.hosts.len(), "host"),
        render::count(spec.workloads.len(), "workload")
    ));
    let interrupt = Interrupt::watch()?;
    let mut lab = Lab::up(spec).map_err(&fail)?;
    let started = interrupt.check().and_then(|()| match args.bare {
        true => Ok(()),
        false => start(&mut lab, resources, &mut spinner, &interrupt),
    });
    spinner.finish();
    if let Err(failure) = started {
        // What is half there helps nobody; its logs are told by the failure.
        return match lab.down() {
            Ok(()) => Err(failure),
            Err(error) => Err(Failure::caused(
                format!("{}\nand what was made could not be removed", failure.to_text()),
                &error,
            )),
        };
    }
    print(&told(&lab, args.bare))
}

/// Starts the controller, applies the model, starts the agents and waits for them.
fn start(
    lab: &mut Lab,
    resources: Vec<Resource>,
    spinner: &mut Spinner,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    spinner.update("starting the controller");
    fleet::start_controller(lab, 0)?;
    let runtime = fleet::fabric_runtime(lab)?;
    let mut admin = fleet::connect(lab, &runtime, 0)?;
    spinner.update(&format!("applying {}", render::count(resources.len(), "resource")));
    let items = convert::from_puts(resources.into_iter().map(|resource| (resource, None)));
    runtime.block_on(apply::apply(&mut admin, items, false, None))?;
    let hosts: Vec<String> = lab.spec().hosts.iter().map(|host| host.name.clone()).collect();
    for host in &hosts {
        interrupt.check()?;
        spinner.update(&format!("starting the agent of {host}"));
        fleet::start_agent(lab, host, 1)?;
    }
    spinner.update("waiting for the agents");
    runtime.block_on(async {
        tokio::select! {
            settled = settle(&mut admin, &hosts) => settled,
            failure = interrupt.raised() => Err(failure),
        }
    })
}

/// Waits until every host of the lab has everything. Hosts of the model that are not in the lab
/// have no agent, so it is not asked whether *all* have.
async fn settle(admin: &mut Admin, hosts: &[String]) -> Result<(), Failure> {
    for host in hosts {
        let key = spanwire_topology::ObjectKey::new(
            spanwire_topology::model::Kind::Host,
            spanwire_topology::model::SYSTEM_PROJECT,
            host.as_str(),
        );
        wait::wait(admin, Some(&key), None, REALIZED_WAIT).await?;
    }
    Ok(())
}

fn told(lab: &Lab, bare: bool) -> String {
    let spec = lab.spec();
    let name = &spec.name;
    let mut text = format!(
        "lab {name} is up: {}, {}, underlay {}\n",
        render::count(spec.hosts.len(), "host"),
        render::count(spec.workloads.len(), "workload"),
        spec.underlay
    );
    let option = if name == NAME_DEFAULT { String::new() } else { format!("--lab {name} ") };
    if !bare {
        text.push_str(&format!("  spanwire lab exec {option}fabric -- spanwire get hosts\n"));
    }
    if let Some(workload) = spec.workloads.first() {
        text.push_str(&format!("  spanwire lab exec {option}{} -- ip address\n", workload.key));
    }
    let named = if name == NAME_DEFAULT { String::new() } else { format!(" {name}") };
    text.push_str(&format!("  spanwire lab down{named}\n"));
    text
}

fn down(name: &str) -> Result<(), Failure> {
    let fail = lab_failure("the lab does not go down");
    let spinner = Spinner::start(&format!("removing lab {name}"));
    let result = Lab::open(name).and_then(Lab::down).map_err(&fail);
    spinner.finish();
    result?;
    print(&format!("lab {name} is gone\n"))
}

fn exec(args: ExecArgs) -> Result<(), Failure> {
    let fail = lab_failure("the program does not run");
    let record = LabRecord::read(&args.lab).map_err(&fail)?;
    let place = record.find_place(&args.place).map_err(&fail)?;
    // clap asks for at least one word.
    let Some((program, arguments)) = args.command.split_first() else { return Ok(()) };
    let mut command = record.command_in(&place, program).map_err(&fail)?;
    // The program takes this process's place, terminal and exit code included.
    let error = command.args(arguments).exec();
    Err(Failure::caused(format!("{program} does not run"), &error))
}

fn list(global: &Global) -> Result<(), Failure> {
    let fail = lab_failure("the labs cannot be listed");
    let mut table = Table::new(&["LAB", "PHASE", "HOSTS", "WORKLOADS", "PROCESSES"]);
    let mut values = Vec::new();
    for name in spanwire_lab::list().map_err(&fail)? {
        let record = LabRecord::read(&name).map_err(&fail)?;
        let phase = match record.phase() {
            LabPhase::Creating => "creating",
            LabPhase::Up => "up",
            LabPhase::Removing => "removing",
        };
        let running = record.processes().keys().filter(|label| record.is_running(label)).count();
        let (hosts, workloads) = (record.spec().hosts.len(), record.spec().workloads.len());
        values.push(json!({ "name": name, "phase": phase, "hosts": hosts,
                            "workloads": workloads, "processes": running }));
        let numbers = [hosts, workloads, running].map(|number| number.to_string());
        table.row([name, phase.to_owned()].into_iter().chain(numbers));
    }
    match global.output {
        Format::Table | Format::Wide if table.is_empty() => print("no lab is up\n"),
        Format::Table | Format::Wide => print(&table.to_text()),
        Format::Json | Format::Yaml => print_json(&values),
    }
}
