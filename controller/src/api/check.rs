//! HostCheck: what a host holds against what it should hold, on demand.

use super::read::required_host;
use super::{AdminService, take_place};
use crate::limits::HOST_CHECK_WAIT;
use crate::publisher::{Connection, object_of};
use spanwire_adminproto::convert::from_key;
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::host_difference::Found as OnWire;
use spanwire_hostproto::{CheckReport, Difference, Found, Members};
use spanwire_topology::Engine;
use std::sync::Arc;
use tokio::time::timeout;
use tonic::Status;

impl AdminService {
    pub(super) async fn process_host_check(
        &self,
        request: wire::HostCheckRequest,
    ) -> Result<wire::HostCheckResponse, Status> {
        let wire::HostCheckRequest { host: name, here } = request;
        let _place = take_place(&self.checks, "checks of hosts")?;
        let wanted = name.clone();
        let (connection, own) = self
            .read(move |engine, shared| {
                let host = required_host(engine, &wanted)?;
                let own = shared.publisher.report(engine, host).to_wire();
                Ok((shared.publisher.connection(host), own))
            })
            .await?;
        match connection {
            Some(connection) => self.check(&connection).await,
            None => self.check_elsewhere(name, own, here).await,
        }
    }

    /// Checks a host that is connected here.
    async fn check(&self, connection: &Arc<Connection>) -> Result<wire::HostCheckResponse, Status> {
        let mut progress = self.shared().publisher.progress();
        let number = connection.request_check().map_err(|problem| {
            Status::failed_precondition(format!("host {}: {problem}", connection.name()))
        })?;
        let waited = timeout(HOST_CHECK_WAIT, async {
            loop {
                progress.mark_unchanged();
                if let Some(report) = connection.check_report(number) {
                    return Ok(report);
                }
                let current = self.shared().publisher.connection(connection.host());
                if !current.is_some_and(|current| Arc::ptr_eq(&current, connection)) {
                    return Err(Status::unavailable(format!(
                        "host {} was disconnected before it had answered: check it again",
                        connection.name()
                    )));
                }
                tokio::select! {
                    changed = progress.changed() => if changed.is_err() {
                        return Err(Status::unavailable("the controller is stopping"));
                    },
                    () = self.draining.cancelled() => {
                        return Err(Status::unavailable("the controller is stopping: check again"));
                    }
                }
            }
        });
        let report = waited.await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "host {} did not answer within {} s: its session is {}",
                connection.name(),
                HOST_CHECK_WAIT.as_secs(),
                connection.status().phase.as_str()
            )))
        })?;
        if let Some(problem) = &report.problem {
            return Err(Status::unavailable(format!(
                "host {}: {problem}; it is being repaired: check it again",
                connection.name()
            )));
        }
        let replica = self.shared().standing.borrow().replica_id;
        self.look(move |engine, _| Ok(to_wire(engine, report, replica))).await
    }

    /// Has the replica check the host that it is connected to.
    async fn check_elsewhere(
        &self,
        name: String,
        own: wire::HostAgentStatus,
        here: bool,
    ) -> Result<wire::HostCheckResponse, Status> {
        let id = self.shared().standing.borrow().replica_id;
        if here {
            return Err(Status::failed_precondition(format!(
                "host {name} is not connected to replica {id}"
            )));
        }
        let others = self.ask_others(vec![name.clone()], true, |_| false).await;
        let replica = others.merge_status(id, own).replica;
        let Some(address) = self.others().get(&replica).cloned() else {
            let silent: Vec<String> =
                others.silent().iter().map(|replica| replica.id.to_string()).collect();
            let unknown = match silent.is_empty() {
                true => String::new(),
                false => format!(" that answers (replicas {} do not)", silent.join(", ")),
            };
            return Err(Status::failed_precondition(format!(
                "host {name} is connected to no replica{unknown}: start its agent, or see why it \
                 finds no controller; it is compared when it connects"
            )));
        };
        let checked = self.peers.host_check(&address, name.clone()).await;
        checked.map_err(|error| {
            Status::unavailable(format!("host {name} is connected to replica {replica}: {error}"))
        })
    }
}

fn to_wire(engine: &Engine, report: CheckReport, replica: u64) -> wire::HostCheckResponse {
    let differences = report.differences.into_iter().map(|Difference { key, found, members }| {
        let Members { extra, missing, extra_count, missing_count } = members;
        let found = match found {
            Found::Missing => OnWire::Missing,
            Found::Extra => OnWire::Extra,
            Found::Differs => OnWire::Differs,
        };
        wire::HostDifference {
            item: key.to_string(),
            object: object_of(engine, key).as_ref().map(from_key),
            found: found.into(),
            extra,
            missing,
            extra_count: extra_count.into(),
            missing_count: missing_count.into(),
        }
    });
    wire::HostCheckResponse {
        revision: report.revision,
        items: report.items as u64,
        differences: differences.collect(),
        differences_cut: report.differences_omitted as u64,
        repaired_revision: report.repaired_at,
        replica,
    }
}
