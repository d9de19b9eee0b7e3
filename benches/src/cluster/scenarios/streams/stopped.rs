//! Hosts that are stopped while thousands of others are told changes: what that costs the others, the
//! controller and, when they go on, the stopped.
//!
//! Those that are stopped are a process of their own, which is sent `SIGSTOP`: their kernel goes on taking
//! what it has room for, and they read none of it.

use super::{CONTROLLER, Scene, reached};
use crate::cluster::{ClusterOptions, Fleet, Process, connect, within};
use crate::measure::{Percentiles, Report};
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::peered::Peered;
use spanwire_adminproto::wire;
use spanwire_topology::model::Text;
use std::time::Duration;

/// Rounds before those that count.
const WARM_UP: usize = 3;
/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause between two looks at hosts.
const LOOK_WAIT: Duration = Duration::from_millis(50);
/// What differs less than this between two halves of one run is noise.
const RATIO_TO_RUNNING: f64 = 1.2;
/// A stopped host is sent what was begun when it was stopped, and then all that it missed.
const BATCHES: f64 = 2.0;

/// Measures with so many hosts, of which so many are stopped.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    stopped: usize,
    rounds: usize,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let peered = Peered::with_hosts(hosts);
    let mut scene = Scene::start(peered.resources(), hosts, options).await?;
    let (running, stopping) = peered.hosts().split_at(hosts.saturating_sub(stopped));
    let fleet = scene.connect(running).await?;
    let mut others = start_hosts(&scene, stopping)?;
    wait_realized(&scene, stopping, &mut others).await?;

    let mut round = 0;
    let with_all = measure(&mut scene, &fleet, &peered, rounds, &mut round).await?;
    wait_realized(&scene, stopping, &mut others).await?;
    let before = status(&scene, stopping).await?;
    let rss_before = scene.controllers.rss_mib(CONTROLLER);
    others.stop()?;
    let with_stopped = measure(&mut scene, &fleet, &peered, rounds, &mut round).await?;
    let rss_after = scene.controllers.rss_mib(CONTROLLER);
    others.go_on()?;
    wait_realized(&scene, stopping, &mut others).await?;
    let after = status(&scene, stopping).await?;

    let kept = before.iter().zip(&after).filter(|(before, after)| {
        before.connected && after.connected && before.connected_since_ms == after.connected_since_ms
    });
    let disconnected = stopping.len() - kept.count();
    let sent =
        |hosts: &[wire::HostAgentStatus]| hosts.iter().map(|host| host.batches_sent).sum::<u64>();
    let batches = (sent(&after) - sent(&before)) as f64 / stopping.len().max(1) as f64;
    let mut report = Report::new("stopped", seed);
    report.set("hosts", hosts);
    report.set("stopped", stopping.len());
    report.set("changes_missed", WARM_UP + rounds);
    report.measure("seconds_with_all", with_all.hosts.at(50.0) / 1e6);
    report.measure("seconds_with_stopped", with_stopped.hosts.at(50.0) / 1e6);
    report.measure("write_ms_with_all", with_all.writes.at(50.0) / 1e3);
    report.measure("write_ms_with_stopped", with_stopped.writes.at(50.0) / 1e3);
    report.measure("rss_mib_before", rss_before);
    report.measure("rss_mib_after", rss_after);
    let mut targets = Targets::default();
    let ratio = with_stopped.hosts.at(50.0) / with_all.hosts.at(50.0).max(1.0);
    targets.add("ratio_to_running", ratio, Target::AtMost(RATIO_TO_RUNNING));
    targets.add("disconnected", disconnected as f64, Target::AtMost(0.0));
    targets.add("batches_to_a_stopped", batches, Target::AtMost(BATCHES));
    targets.report(&mut report);
    Ok(report)
}

/// What changes took: until all hosts that run had them, and until their writer was answered.
#[derive(Default)]
struct Took {
    hosts: Percentiles,
    writes: Percentiles,
}

async fn measure(
    scene: &mut Scene,
    fleet: &Fleet,
    peered: &Peered,
    rounds: usize,
    round: &mut u64,
) -> Result<Took, String> {
    let mut took = Took::default();
    for number in 0..WARM_UP + rounds {
        tokio::time::sleep(PAUSE).await;
        let change = scene.change(peered.mk_common(*round)).await?;
        *round += 1;
        fleet.wait_revision(change.revision).await?;
        let (first, last) =
            reached(fleet.hosts(), change.revision).ok_or("a host lost what it had")?;
        if number >= WARM_UP {
            took.hosts.add(last.saturating_duration_since(change.committed(first)));
            took.writes.add(change.answered.saturating_duration_since(change.asked));
        }
    }
    Ok(took)
}

/// Hosts in a process of their own.
fn start_hosts(scene: &Scene, names: &[Text]) -> Result<Process, String> {
    let (controller, names) = (scene.address().to_string(), names.join(","));
    let arguments = ["hosts", "--controller", &controller, "--names", &names];
    Process::of_this_program("hosts", &arguments, scene.directory())
}

async fn status(scene: &Scene, names: &[Text]) -> Result<Vec<wire::HostAgentStatus>, String> {
    let hosts = names.iter().map(ToString::to_string).collect();
    let mut client = connect(scene.address()).await?;
    let answer = client.host_status(wire::HostStatusRequest { hosts }).await;
    Ok(answer.map_err(|status| status.to_string())?.into_inner().hosts)
}

/// Waits until hosts are known to have the newest revision.
async fn wait_realized(scene: &Scene, names: &[Text], process: &mut Process) -> Result<(), String> {
    let wait = async {
        loop {
            process.check()?;
            let hosts = status(scene, names).await?;
            let has_it = |host: &wire::HostAgentStatus| {
                host.connected && host.realized_revision >= scene.revision
            };
            if hosts.len() == names.len() && hosts.iter().all(has_it) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_WAIT).await;
        }
    };
    within("all of the hosts that are to be stopped are current", wait).await?
}
