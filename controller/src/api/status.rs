//! HostStatus: the agents of the hosts, whichever replica each is connected to.

use super::AdminService;
use super::blocking;
use super::merge::Others;
use super::read::required_host;
use crate::limits::HOSTS_NAMED_MAX;
use crate::peer::PeerCallError;
use spanwire_adminproto::wire;
use spanwire_topology::model::Kind;
use tonic::Status;

/// Hosts looked at before the writer gets its turn.
const REPORT_HOSTS_AT_ONCE: usize = 256;

impl AdminService {
    pub(super) async fn process_host_status(
        &self,
        request: wire::HostStatusRequest,
    ) -> Result<wire::HostStatusResponse, Status> {
        let wire::HostStatusRequest { hosts: mut names } = request;
        self.wait_current().await?;
        let shared = self.shared().clone();
        let own = blocking(move || {
            let all = names.is_empty();
            let revision = {
                let engine = shared.state.read();
                if all {
                    let hosts = engine.list(Kind::Host, None, None);
                    names.extend(hosts.map(|object| object.resource.metadata.name.to_string()));
                }
                engine.revision()
            };
            let mut hosts = Vec::with_capacity(names.len());
            for chunk in names.chunks(REPORT_HOSTS_AT_ONCE) {
                let engine = shared.state.read();
                for name in chunk {
                    match required_host(&engine, name) {
                        Ok(host) => {
                            hosts.push(shared.publisher.report(&engine, host).to_wire());
                        }
                        // It was deleted since it was listed.
                        Err(_) if all => {}
                        Err(status) => return Err(status),
                    }
                }
            }
            Ok(wire::HostStatusResponse { hosts, revision, silent: Vec::new() })
        })
        .await?;
        let names = own.hosts.iter().map(|host| host.host.clone()).collect();
        let others = self.ask_others(names, false, |_| false).await;
        let replica = self.shared().standing.borrow().replica_id;
        let hosts = own.hosts.into_iter().map(|host| others.merge_status(replica, host));
        Ok(wire::HostStatusResponse {
            hosts: hosts.collect(),
            revision: own.revision,
            silent: others.silent().to_vec(),
        })
    }

    /// Asks the other replicas what they know of hosts, until they have answered, each in its time, or
    /// what they have said is enough.
    pub(super) async fn ask_others(
        &self,
        names: Vec<String>,
        brief: bool,
        is_enough: impl Fn(&Others) -> bool,
    ) -> Others {
        let mut known = Others::default();
        let others = self.others();
        if names.is_empty() || others.is_empty() {
            return known;
        }
        let names = if names.len() > HOSTS_NAMED_MAX { Vec::new() } else { names };
        let take = |(id, answer)| {
            match answer {
                Ok(sessions) => known.take(id, sessions),
                Err(error) => {
                    let error: PeerCallError = error;
                    let address = others.get(&id).map(String::as_str).unwrap_or_default();
                    known.take_silence(id, address, error.to_string());
                }
            }
            is_enough(&known)
        };
        self.peers.hosts_of_all(&others, &names, brief, take).await;
        known
    }
}
