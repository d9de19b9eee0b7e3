//! `spanwire controller`: run a controller until it is told to stop.

use super::logging::{self, LogFormat};
use crate::failure::Failure;
use crate::verbs::signals::wait_for_stop;
use clap::Args;
use spanwire_controller::{Config, Controller, ControllerError};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the log and the snapshots are if nothing else is said.
const DATA_DIR_DEFAULT: &str = "/var/lib/spanwire/controller";

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    /// The configuration file (TOML). What is said here on the command line wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the log and the snapshots [default: /var/lib/spanwire/controller].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port for clients and hosts [default: 127.0.0.1:6690].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where the other replicas of a cluster reach this one [default: where it listens].
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// With an empty data directory: wait to be added to a cluster, instead of founding one.
    #[arg(long)]
    join: bool,
    /// Address and port of the Prometheus metrics [default: none].
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<SocketAddr>,
    /// Seconds between two checks of what a host holds: what differs from what it should hold is repaired.
    /// 0 for none but those of `spanwire host check` [default: 600].
    #[arg(long, value_name = "SECONDS")]
    host_check_seconds: Option<u64>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Runs the verb.
pub(crate) fn run(args: ControllerArgs) -> Result<(), Failure> {
    logging::start(args.log_format)?;
    let config = config(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("the runtime does not start", &error))?;
    runtime.block_on(serve(config))
}

/// The file, and the command line over it.
fn config(args: &ControllerArgs) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::load(path)
            .map_err(|error| Failure::caused("the configuration cannot be used", &error))?,
        None => Config::new(DATA_DIR_DEFAULT),
    };
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    config.listen = args.listen.unwrap_or(config.listen);
    config.advertise = args.advertise.clone().or(config.advertise);
    config.join |= args.join;
    config.metrics_listen = args.metrics_listen.or(config.metrics_listen);
    config.host_check_seconds = args.host_check_seconds.unwrap_or(config.host_check_seconds);
    Ok(config)
}

async fn serve(config: Config) -> Result<(), Failure> {
    let fail = |error: ControllerError| Failure::caused("the controller stopped", &error);
    let controller = tokio::select! {
        signal = wait_for_stop() => {
            tracing::info!(signal = signal?, "stopping before it served");
            return Ok(());
        }
        started = Controller::start(config) => started.map_err(fail)?,
    };
    tokio::select! {
        signal = wait_for_stop() => tracing::info!(signal = signal?, "stopping"),
        // Its log failed, or it was removed from its cluster: the shutdown says why.
        () = controller.stopped() => {}
    }
    controller.shutdown().await.map_err(fail)
}
