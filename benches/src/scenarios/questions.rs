//! What people ask and wait for: explanations, forecasts and verdicts one by one, and the findings
//! about the whole network.

use super::loaded::{Loaded, describe};
use crate::measure::{Percentiles, Report, Spent, Views, peak_rss_mib};
use crate::workloads::metro::Metro;
use spanwire_topology::engine::{Endpoint, PacketKind};
use spanwire_topology::lint::{LintQuestion, Severity};
use spanwire_topology::model::{Labels, Metadata, Spec, TransportProtocol};
use spanwire_topology::{Engine, Kind, Resource, Transaction};
use std::sync::Arc;

/// Findings that are kept; the others are counted.
const FINDINGS: usize = 100;

/// Asks about some tenants, spread over the network.
pub(crate) fn run(seed: u64, ports: usize, asked: usize) -> Result<Report, String> {
    let metro = Metro::with_ports(ports, seed);
    let mut loaded = Loaded::from_resources(metro.resources())?;
    let engine = &mut loaded.engine;
    let routed: Vec<usize> = (0..metro.tenants()).filter(|&t| metro.is_routed(t)).collect();
    let mut took: [(&str, Percentiles); 4] =
        ["explain", "verdict", "relabel_forecast", "cut_forecast"]
            .map(|name| (name, Percentiles::default()));
    let mut spent = Spent::default();
    let mut add = |at: usize, work: Spent| {
        took[at].1.add(work.wall);
        spent = spent + work;
    };
    for ask in 0..asked {
        let tenant = routed[ask * 7 % routed.len()];
        add(0, Spent::on(|| explain(engine, &metro, tenant)).1);
        add(1, Spent::on(|| judge(engine, &metro, tenant)).1);
        let relabelled = relabelled(engine, &metro, tenant)?;
        add(2, forecast(engine, relabelled)?);
        add(3, forecast(engine, metro.mk_router(tenant, false))?);
    }
    let question = LintQuestion { project: None, severity: Severity::Info, limit: FINDINGS };
    let (_, linting) = Spent::on(|| engine.lint(question));

    let views = Views::list(&loaded.engine, loaded.sizes.hosts);
    let mut report = Report::new("questions", seed);
    describe(&mut report, &loaded.sizes, &views);
    report.spent(spent + linting);
    // No less can be done than to look at each object once.
    let objects = || Kind::ALL.map(|kind| loaded.engine.list(kind, None, None).count());
    report.bound(spent + linting, Spent::on(objects).1);
    for (name, took) in &took {
        report.measure(&format!("{name}_us"), took.at(50.0));
        report.measure(&format!("{name}_p99_us"), took.at(99.0));
    }
    report.measure("lint_seconds", linting.wall.as_secs_f64());
    report.set("asked", asked);
    report.measure("peak_rss_mib", peak_rss_mib());
    Ok(report)
}

/// Why the host of one port has, or lacks, another port of the tenant as a member of its groups.
fn explain(engine: &Engine, metro: &Metro, tenant: usize) -> usize {
    let (port, member) = (metro.port_key(tenant, 0), metro.port_key(tenant, 1));
    let host = engine.get(&port).and_then(|object| match &*object.resource.spec {
        Spec::LogicalPort(port) => port.host.clone(),
        _ => None,
    });
    let Some(host) = host else { return 0 };
    let groups = engine.list(Kind::Group, Some(&port.project), None).take(1);
    groups.filter_map(|g| engine.explain(&host, &member, &g.resource.key()).ok()).count()
}

fn judge(engine: &Engine, metro: &Metro, tenant: usize) -> bool {
    let end = |index| Endpoint::Port(metro.port_key(tenant, index), None);
    let packet =
        PacketKind::Transport { protocol: TransportProtocol::Tcp, source_port: 40_000, port: 443 };
    engine.explain_verdict(&end(0), &end(1), packet).is_ok()
}

/// A port of the tenant with the labels of another.
fn relabelled(engine: &Engine, metro: &Metro, tenant: usize) -> Result<Resource, String> {
    let find = |index| {
        let key = metro.port_key(tenant, index);
        let object = engine.get(&key).ok_or_else(|| format!("{key} is not there"))?;
        Ok::<_, String>(object.resource.clone())
    };
    let (port, other) = (find(0)?, find(1)?);
    let mut labels: Labels = (*other.metadata.labels).clone();
    labels.insert("asked".into(), "yes".into());
    Ok(Resource { metadata: Metadata { labels: Arc::new(labels), ..port.metadata }, ..port })
}

fn forecast(engine: &mut Engine, resource: Resource) -> Result<Spent, String> {
    let transaction = Transaction::put([resource]);
    let (result, spent) = Spent::on(|| engine.forecast(&transaction, |_, _| ()).map(drop));
    result.map(|()| spent).map_err(|refusal| refusal.to_string())
}
