//! Calls to another controller by its address: for what is asked of it now and then, not for what the
//! replicas' Raft cores say to each other.

use super::message::PEER_VERSION;
use crate::limits::{
    PEER_ANSWER_BYTES_MAX, PEER_CALL_CONNECT_WAIT, PEER_CALL_WAIT, PEER_CALLS_MAX,
    PEER_HOST_CHECK_WAIT, PEER_HOSTS_WAIT, PEER_KEEPALIVE_INTERVAL, PEER_KEEPALIVE_WAIT,
};
use crate::state::{check_address, wire};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use spanwire_adminproto::wire as admin;
use spanwire_adminproto::wire::admin_client::AdminClient;
use spanwire_hostproto::ClusterId;
use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use wire::peer_client::PeerClient;

/// Another controller did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerCallError {
    /// The address is none.
    #[error("{0}")]
    Address(String),
    /// It does not answer.
    #[error(
        "{address} does not answer ({doing}: {problem}): see that a controller runs there and that \
         the network lets this one reach it"
    )]
    Silent {
        /// The controller.
        address: String,
        /// What was asked.
        doing: &'static str,
        /// What happened.
        problem: String,
    },
    /// It answers, and says no.
    #[error("{address} refuses ({doing}): {problem}")]
    Refused {
        /// The controller.
        address: String,
        /// What was asked.
        doing: &'static str,
        /// What it says.
        problem: String,
    },
}

/// Another replica and what it knows of its hosts, or why it does not say.
pub type HostsAnswer = (u64, Result<Vec<wire::HostSession>, PeerCallError>);

/// The ways to other controllers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PeerClients {
    /// By address. A connection is made when it is needed, and again when it has broken.
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
}

impl PeerClients {
    /// What runs at an address.
    ///
    /// # Errors
    /// If nothing answers there, or no controller of this kind does.
    pub async fn probe(&self, address: &str) -> Result<wire::ProbeResponse, PeerCallError> {
        // Of a controller that may have been restarted: an old connection says nothing about it.
        let mut client = PeerClient::new(endpoint(address)?.connect_lazy());
        call(address, "ask what runs there", PEER_CALL_WAIT, client.probe(wire::ProbeRequest {}))
            .await
    }

    /// Tells the controller at an address which replica of which cluster it is.
    ///
    /// # Errors
    /// If it does not answer, or does not wait to be told.
    pub async fn admit(
        &self,
        address: &str,
        cluster_id: ClusterId,
        replica_id: u64,
    ) -> Result<(), PeerCallError> {
        let request = wire::AdmitRequest {
            version: PEER_VERSION,
            cluster_id: cluster_id.0.to_vec(),
            replica_id,
            address: address.to_owned(),
        };
        let mut client = PeerClient::new(endpoint(address)?.connect_lazy());
        call(address, "tell it which replica it is", PEER_CALL_WAIT, client.admit(request))
            .await
            .map(|_| ())
    }

    /// What the replica at an address knows of its hosts' sessions: of those that are named, or of all if
    /// none is.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn hosts(
        &self,
        address: &str,
        hosts: Vec<String>,
        brief: bool,
    ) -> Result<Vec<wire::HostSession>, PeerCallError> {
        let mut client = PeerClient::new(self.channel(address)?)
            .max_decoding_message_size(PEER_ANSWER_BYTES_MAX);
        let asked = async {
            let request = wire::HostsRequest { hosts, brief };
            let mut stream = client.hosts(request).await?.into_inner();
            let mut sessions = Vec::new();
            while let Some(part) = stream.message().await? {
                sessions.extend(part.hosts);
            }
            Ok(tonic::Response::new(sessions))
        };
        call(address, "ask for its hosts", PEER_HOSTS_WAIT, asked).await
    }

    /// The cluster as the replica at an address knows it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn cluster_status(
        &self,
        address: &str,
    ) -> Result<admin::ClusterStatusResponse, PeerCallError> {
        let mut client = AdminClient::new(self.channel(address)?);
        let asked = client.cluster_status(admin::ClusterStatusRequest {});
        call(address, "ask for the cluster's members", PEER_CALL_WAIT, asked).await
    }

    /// Has the replica at an address check a host that is connected to it.
    ///
    /// # Errors
    /// If it does not answer, or cannot do it.
    pub async fn host_check(
        &self,
        address: &str,
        host: String,
    ) -> Result<admin::HostCheckResponse, PeerCallError> {
        let mut client = AdminClient::new(self.channel(address)?);
        let asked = client.host_check(admin::HostCheckRequest { host, here: true });
        call(address, "check a host", PEER_HOST_CHECK_WAIT, asked).await
    }

    /// Asks several replicas for their hosts, [`PEER_CALLS_MAX`] at one time, and gives each answer to
    /// `take` as it comes, until that says that it has enough.
    pub async fn hosts_of_all(
        &self,
        others: &BTreeMap<u64, String>,
        hosts: &[String],
        brief: bool,
        mut take: impl FnMut(HostsAnswer) -> bool,
    ) {
        let mut others = others.iter();
        let ask = |(id, address): (&u64, &String)| {
            let (id, address, hosts) = (*id, address.clone(), hosts.to_vec());
            async move { (id, self.hosts(&address, hosts, brief).await) }
        };
        let mut asked: FuturesUnordered<_> =
            others.by_ref().take(PEER_CALLS_MAX).map(ask).collect();
        while let Some(answer) = asked.next().await {
            if take(answer) {
                return;
            }
            asked.extend(others.next().map(ask));
        }
    }

    /// Forgets the ways to controllers that are no members any more.
    pub fn retain(&self, members: &BTreeMap<u64, String>) {
        self.channels.lock().retain(|address, _| members.values().any(|known| known == address));
    }

    fn channel(&self, address: &str) -> Result<Channel, PeerCallError> {
        if let Some(channel) = self.channels.lock().get(address) {
            return Ok(channel.clone());
        }
        let channel = endpoint(address)?.connect_lazy();
        self.channels.lock().insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

fn endpoint(address: &str) -> Result<Endpoint, PeerCallError> {
    check_address(address).map_err(PeerCallError::Address)?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| PeerCallError::Address(error.to_string()))?;
    Ok(endpoint
        .connect_timeout(PEER_CALL_CONNECT_WAIT)
        .tcp_nodelay(true)
        // One that lost its power must not hold up the next question as well.
        .http2_keep_alive_interval(PEER_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(PEER_KEEPALIVE_WAIT))
}

/// Waits for an answer, for as long as it may take.
async fn call<T>(
    address: &str,
    doing: &'static str,
    wait: Duration,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, PeerCallError> {
    let silent =
        |problem: String| PeerCallError::Silent { address: address.to_owned(), doing, problem };
    match timeout(wait, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if is_answer(&status) => Err(PeerCallError::Refused {
            address: address.to_owned(),
            doing,
            problem: match status.code() {
                tonic::Code::Unimplemented => {
                    "it is no controller of this kind, or of a release before there were \
                     replicas"
                        .to_owned()
                }
                _ => status.message().to_owned(),
            },
        }),
        Ok(Err(status)) => Err(silent(cause(&status))),
        Err(_) => Err(silent(format!("no answer within {} s", wait.as_secs()))),
    }
}

/// True if the other side said it: a status that was made on this side has a source.
fn is_answer(status: &Status) -> bool {
    status.source().is_none()
}

/// The last in the chain of causes: the others only say that something went wrong.
fn cause(status: &Status) -> String {
    let mut error: &dyn Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn who_does_not_answer_is_named() {
        let clients = PeerClients::default();
        let error = clients.probe("nowhere").await.unwrap_err();
        assert!(matches!(error, PeerCallError::Address(_)), "{error}");
        // Nobody listens there any more.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = clients.probe(&address).await.unwrap_err().to_string();
        let expected = format!("{address} does not answer (ask what runs there: ");
        assert!(error.starts_with(&expected) && error.contains("refused"), "{error}");
        let others = BTreeMap::from([(2, address.clone()), (3, "bad".to_owned())]);
        let mut silent = Vec::new();
        clients
            .hosts_of_all(&others, &[], true, |(id, answer)| {
                assert!(answer.is_err());
                silent.push(id);
                false
            })
            .await;
        silent.sort_unstable();
        assert_eq!(silent, [2, 3]);
        clients.retain(&BTreeMap::new());
        assert!(clients.channels.lock().is_empty());
    }

    #[tokio::test]
    async fn who_listens_and_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = PeerClients::default().hosts(&address, Vec::new(), true).await.unwrap_err();
        assert!(error.to_string().contains("no answer within 2 s"), "{error}");
    }
}
