//! From a write's acknowledgement until hosts have it, on the leader and on followers.

use crate::cluster::{
    ClusterOptions, Controllers, Directory, Fleet, Host, Numbered, Writer, open_loop, spanwire,
};
use crate::measure::{Percentiles, Report, rounded};
use crate::workloads::racks::Racks;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MEMBERS: u64 = 3;
/// Hosts: all of one tenant, so that every change is news to all of them.
const HOSTS: usize = 30;
/// Changes a second, and the clients that make them.
const CHANGES: f64 = 100.0;
const CLIENTS: usize = 10;

/// Measures for so many seconds.
pub(crate) async fn run(
    seed: u64,
    seconds: f64,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let binary = spanwire(options)?;
    let directory = Directory::make(options)?;
    let mut controllers = Controllers::of(MEMBERS, &binary, &directory).await?;
    let racks = Arc::new(Racks::with_hosts(HOSTS));
    let leader = controllers.leader().await?;
    let leader = controllers.address(leader);
    let revision = Writer::new(vec![leader]).apply(racks.resources()).await?;
    let fleet = Fleet::start(racks.hosts(), &controllers.addresses(), revision).await?;

    let make = {
        let racks = racks.clone();
        move |number| racks.mk_change(number)
    };
    let clients = Numbered::clients(CLIENTS, &[leader], make);
    let going_on = open_loop(clients, CHANGES);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let samples = going_on.finish().await?;
    let newest = samples.iter().map(|sample| sample.revision).max().ok_or("nothing was written")?;
    fleet.wait_revision(newest).await?;

    let acknowledged: Vec<(u64, Instant)> =
        samples.iter().map(|sample| (sample.revision, sample.acknowledged)).collect();
    let (mut at_leader, mut at_followers) = (Lags::default(), Lags::default());
    let mut behind = Percentiles::default();
    let on =
        |address: SocketAddr, host: &Host| host.read(|record| record.connected_to == Some(address));
    let first_at_leader = fleet.hosts().iter().find(|host| on(leader, host));
    for host in fleet.hosts() {
        let is_leader = on(leader, host);
        let lags = if is_leader { &mut at_leader } else { &mut at_followers };
        lags.add(host, &acknowledged);
        if let Some(other) = first_at_leader.filter(|_| !is_leader) {
            for (revision, _) in &acknowledged {
                let reached = |host: &Host| host.read(|record| record.reached(*revision));
                if let (Some(here), Some(there)) = (reached(host), reached(other)) {
                    behind.add(here.saturating_duration_since(there));
                }
            }
        }
    }

    let mut report = Report::new("lag", seed);
    report.set("members", MEMBERS);
    report.set("hosts", HOSTS);
    report.measure("changes_per_second", samples.len() as f64 / seconds);
    report.set(
        "pairs_of_change_and_host",
        at_leader.from_write.count() + at_followers.from_write.count(),
    );
    report.set("rows", vec![at_leader.to_row("leader"), at_followers.to_row("follower")]);
    report.measure("follower_behind_leader_p50_ms", behind.at(50.0) / 1e3);
    report.measure("follower_behind_leader_p99_ms", behind.at(99.0) / 1e3);
    report.measure("apply_to_view_p99_ms", at_followers.from_write.at(99.0) / 1e3);
    Ok(report)
}

/// How much later than acknowledgements hosts had writes.
#[derive(Default)]
struct Lags {
    from_write: Percentiles,
    /// Of those writes that hosts had before they were acknowledged: none of them lags.
    before: usize,
}

impl Lags {
    fn add(&mut self, host: &Host, acknowledged: &[(u64, Instant)]) {
        for (revision, acknowledged) in acknowledged {
            let Some(reached) = host.read(|record| record.reached(*revision)) else { continue };
            if reached < *acknowledged {
                self.before += 1;
            }
            self.from_write.add(reached.saturating_duration_since(*acknowledged));
        }
    }

    fn to_row(&self, of: &str) -> Value {
        let count = self.from_write.count().max(1) as f64;
        json!({
            "hosts_of": of,
            "p50_ms": rounded(self.from_write.at(50.0) / 1e3),
            "p99_ms": rounded(self.from_write.at(99.0) / 1e3),
            "before_the_acknowledgement_percent": rounded(100.0 * self.before as f64 / count),
        })
    }
}
