//! `spanwire agent`: run this host's agent, or remove everything it made.

use super::logging::{self, LogFormat};
use crate::cli::{CONTROLLER_DEFAULT, Global};
use crate::failure::Failure;
use crate::output;
use clap::Args;
use spanwire_agent::datapath::Datapath;
use spanwire_agent::datapath::linux::LinuxDatapath;
use spanwire_agent::datapath::record::RecordDatapath;
use spanwire_agent::{Agent, AgentError, Config, ConfigLayer, DatapathKind, shutdown};
use std::path::PathBuf;

/// The arguments. The controllers are the global --controller, separated by commas.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The configuration file (TOML). What is said here on the command line wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The name of this host in the model [default: the machine's name].
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Where the view is kept [default: /var/lib/spanwire/agent].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The driver: linux, or record, which touches no packet [default: linux].
    #[arg(long, value_name = "DRIVER")]
    datapath: Option<String>,
    /// Who forwards: overlay (the agent), or none (the network that exists) [default: overlay].
    #[arg(long, value_name = "MODE")]
    forwarding: Option<String>,
    /// The address of this host's tunnel endpoint.
    #[arg(long, value_name = "ADDRESS")]
    vtep: Option<String>,
    /// The MTU of the network between the hosts [default: that of the tunnel endpoint's device].
    #[arg(long, value_name = "BYTES")]
    underlay_mtu: Option<u32>,
    /// The UDP port of the overlay [default: 4789].
    #[arg(long, value_name = "PORT")]
    vxlan_port: Option<u16>,
    /// The name of the nftables table [default: spanwire].
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// How often the datapath is compared with the view, in seconds [default: 5].
    #[arg(long, value_name = "SECONDS")]
    audit_seconds: Option<u64>,
    /// Take everything out of the datapath that an agent has put there, delete the view, and end.
    /// The agent must not be running.
    #[arg(long)]
    remove: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Runs the verb.
pub(crate) fn run(global: &Global, args: AgentArgs) -> Result<(), Failure> {
    logging::start(args.log_format)?;
    let config = Config::load(args.config.as_deref(), flags(global, &args))
        .map_err(|error| Failure::caused("the configuration cannot be used", &error))?;
    let fail = |error: AgentError| Failure::caused("the agent stopped", &error);
    let mut datapath: Box<dyn Datapath> = match config.datapath {
        DatapathKind::Linux => Box::new(
            LinuxDatapath::new(config.to_linux_config())
                .map_err(|error| fail(AgentError::Datapath(error)))?,
        ),
        DatapathKind::Record => Box::new(RecordDatapath::new()),
    };
    if args.remove {
        Agent::remove_all(&config, &mut *datapath)
            .map_err(|error| Failure::caused("not everything was removed", &error))?;
        return output::print_line(&format!("host {} is as it was before", config.host));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("the runtime does not start", &error))?;
    runtime.block_on(async {
        let stop = shutdown::on_signals().map_err(fail)?;
        Agent::run(config, datapath, stop).await.map_err(fail)
    })
}

/// What the command line says of the configuration.
fn flags(global: &Global, args: &AgentArgs) -> ConfigLayer {
    let named = global.controller.iter().flat_map(|list| list.split(','));
    let mut controllers: Vec<String> = named.map(|name| name.trim().to_owned()).collect();
    if args.remove && controllers.is_empty() {
        // A configuration names one, and for this nobody is asked.
        controllers.push(CONTROLLER_DEFAULT.to_owned());
    }
    ConfigLayer {
        host: args.host.clone(),
        controllers,
        state_dir: args.state_dir.clone(),
        datapath: args.datapath.clone(),
        forwarding: args.forwarding.clone(),
        vtep: args.vtep.clone(),
        underlay_mtu: args.underlay_mtu,
        vxlan_port: args.vxlan_port,
        table: args.table.clone(),
        nft_program: None,
        audit_seconds: args.audit_seconds,
    }
}
