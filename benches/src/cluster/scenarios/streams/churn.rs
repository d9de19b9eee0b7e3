//! Many changes a second, each news to the hosts of one tenant.

use super::Scene;
use crate::cluster::{ClusterOptions, Write, Writer, open_loop};
use crate::measure::{Percentiles, Report};
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::peered::{Peered, TENANT_HOSTS};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients that make the changes, each those of its own tenants, so that one tenant's follow one another: so
/// many that the rate is not bound by how long each waits for its answer.
const CLIENTS: usize = 150;
const P99_MS: f64 = 250.0;
/// Of the rate that was asked for.
const KEPT_UP: f64 = 0.98;

/// The changes that were made: revision, tenant, and when it was known to be committed.
type Made = Arc<Mutex<Vec<(u64, usize, Instant)>>>;

/// Makes changes in some tenants, in turns.
struct Client {
    peered: Arc<Peered>,
    writer: Writer,
    /// The number of its next change: those of all clients and all tenants are numbered in turns.
    numbers: Box<dyn Iterator<Item = u64> + Send>,
    /// So many tenants take turns.
    tenants: usize,
    made: Made,
}

impl Write for Client {
    async fn write(&mut self) -> Result<u64, String> {
        let number = self.numbers.next().ok_or("a client has no tenants")?;
        let revision = self.writer.apply([self.peered.mk_change(number, self.tenants)]).await?;
        let tenant = (number % self.tenants as u64) as usize;
        self.made.lock().push((revision, tenant, Instant::now()));
        Ok(revision)
    }
}

/// The numbers of a client's changes: round after round, those of its tenants.
fn numbers(client: usize, clients: usize, tenants: usize) -> impl Iterator<Item = u64> + Send {
    let own = move || (client..tenants).step_by(clients);
    (0_u64..).flat_map(move |round| own().map(move |own| round * tenants as u64 + own as u64))
}

/// What the hosts are of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Network {
    /// Them alone.
    Theirs,
    /// One as large as `metro`, of which they are the first.
    Large,
}

/// Measures with so many hosts connected, for so many seconds.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    network: Network,
    rate: f64,
    seconds: f64,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let peered = Arc::new(match network {
        Network::Theirs => Peered::with_hosts(hosts),
        Network::Large => Peered::large(),
    });
    let hosts = hosts.min(peered.hosts().len());
    let tenants = hosts.div_ceil(TENANT_HOSTS);
    let scene = Scene::start(peered.resources(), hosts, options).await?;
    let fleet = scene.connect(&peered.hosts()[..hosts]).await?;
    let applied = || fleet.sum(|record| record.applied.len() as u64);
    let (before, cpu) = (applied(), scene.controllers.cpu());
    let made = Made::default();
    let count = CLIENTS.min(tenants);
    let clients = (0..count).map(|client| Client {
        peered: peered.clone(),
        writer: Writer::new(scene.controllers.addresses()),
        numbers: Box::new(numbers(client, count, tenants)),
        tenants,
        made: made.clone(),
    });
    let going_on = open_loop(clients.collect(), rate);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let samples = going_on.finish().await?;
    let cpu_at_end = scene.controllers.cpu();
    let made = std::mem::take(&mut *made.lock());
    let mut lags = Percentiles::default();
    for (revision, tenant, committed) in made {
        let first = tenant * TENANT_HOSTS;
        for host in fleet.hosts().iter().skip(first).take(TENANT_HOSTS) {
            let reached = host.wait_revision(revision).await?;
            lags.add(reached.saturating_duration_since(committed));
        }
    }
    let delivered = applied() - before;
    let mut report = Report::new("churn", seed);
    report.set("hosts", hosts);
    report.set("network_hosts", peered.hosts().len());
    report.set("ports", peered.ports());
    report.measure("asked_per_second", rate);
    report.set("hosts_per_change", TENANT_HOSTS);
    report.set("batches_applied", delivered);
    report.measure("p50_ms", lags.at(50.0) / 1e3);
    let cpu = cpu_at_end.saturating_sub(cpu);
    report.measure("controller_cpu_seconds", cpu.as_secs_f64());
    report.measure("cpu_us_per_batch", cpu.as_secs_f64() * 1e6 / delivered.max(1) as f64);
    let mut targets = Targets::default();
    let kept = samples.len() as f64 / seconds;
    targets.add("changes_per_second", kept, Target::AtLeast(rate * KEPT_UP));
    targets.add("p99_ms", lags.at(99.0) / 1e3, Target::AtMost(P99_MS));
    targets.report(&mut report);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_made_once_and_a_tenants_by_one_client() {
        let (clients, tenants) = (3, 7);
        let mut all = Vec::new();
        for client in 0..clients {
            let share = (client..tenants).step_by(clients).count();
            let own: Vec<u64> = numbers(client, clients, tenants).take(2 * share).collect();
            assert!(own.iter().all(|number| number % 7 % 3 == client as u64), "{own:?}");
            all.extend(own);
        }
        all.sort_unstable();
        assert_eq!(all, (0..14).collect::<Vec<_>>());
    }
}
