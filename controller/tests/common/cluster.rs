//! Several controllers in this process that are one cluster.

use super::{Client, PATIENCE, eventually, mk_config};
use spanwire_adminproto::wire::admin_client::AdminClient;
use spanwire_controller::config::Limits;
use spanwire_controller::peer::{MembersChange, PEER_VERSION};
use spanwire_controller::shared::Standing;
use spanwire_controller::state::wire as peer_wire;
use spanwire_controller::state::wire::peer_client::PeerClient;
use spanwire_controller::{Config, Controller, ControllerError, RunningController};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::transport::Channel;

/// A cluster. Members are named by their identity, from 1.
pub struct Cluster {
    limits: Limits,
    members: BTreeMap<u64, Member>,
}

struct Member {
    root: TempDir,
    address: SocketAddr,
    controller: Option<RunningController>,
}

impl Cluster {
    /// A controller alone.
    pub async fn found(limits: Limits) -> Cluster {
        let root = tempfile::tempdir().unwrap();
        let config = Config { limits, ..mk_config(root.path()) };
        let controller = Controller::start(config).await.unwrap();
        let address = controller.address();
        let founder = Member { root, address, controller: Some(controller) };
        Cluster { limits, members: BTreeMap::from([(1, founder)]) }
    }

    /// Voters that are all current.
    pub async fn of(voters: u64, limits: Limits) -> Cluster {
        let mut cluster = Cluster::found(limits).await;
        for _ in 1..voters {
            let id = cluster.add().await;
            cluster.promote(id).await;
        }
        cluster.wait_current().await;
        cluster
    }

    /// Adds a replica, as a learner.
    pub async fn add(&mut self) -> u64 {
        let root = tempfile::tempdir().unwrap();
        let config = Config { join: true, limits: self.limits, ..mk_config(root.path()) };
        let prepared = Controller::prepare(config).await.unwrap();
        let address = prepared.address();
        let serving = tokio::spawn(prepared.serve());
        let change = MembersChange { add: vec![address.to_string()], ..MembersChange::default() };
        let ids = self.any().core().change_members(change).await.unwrap();
        let [id] = ids[..] else { panic!("one replica was added: {ids:?}") };
        let mut client = connect_peer(address).await;
        let request = peer_wire::AdmitRequest {
            version: PEER_VERSION,
            cluster_id: self.any().identity().cluster_id.0.to_vec(),
            replica_id: id,
            address: address.to_string(),
        };
        client.admit(request).await.unwrap();
        let controller = within("it serves", serving).await.unwrap().unwrap();
        assert_eq!(controller.address(), address);
        self.members.insert(id, Member { root, address, controller: Some(controller) });
        id
    }

    pub async fn promote(&self, id: u64) {
        let change = MembersChange { promote: vec![id], ..MembersChange::default() };
        assert_eq!(self.any().core().change_members(change).await.unwrap(), [id]);
    }

    pub async fn remove(&self, id: u64) {
        let change = MembersChange { remove: vec![id], ..MembersChange::default() };
        assert_eq!(self.leader().core().change_members(change).await.unwrap(), [id]);
    }

    pub fn ids(&self) -> Vec<u64> {
        let running = self.members.iter().filter(|(_, member)| member.controller.is_some());
        running.map(|(id, _)| *id).collect()
    }

    pub fn get(&self, id: u64) -> &RunningController {
        self.members[&id].controller.as_ref().expect("it runs")
    }

    fn any(&self) -> &RunningController {
        self.get(self.ids()[0])
    }

    pub fn address(&self, id: u64) -> SocketAddr {
        self.members[&id].address
    }

    pub fn standing(&self, id: u64) -> Standing {
        self.get(id).shared().standing.borrow().clone()
    }

    /// The one that all that run take for the leader, if they agree, and it runs.
    pub fn agreed_leader(&self) -> Option<u64> {
        let ids = self.ids();
        let leader = self.standing(ids[0]).leader;
        let agree = ids.iter().all(|id| self.standing(*id).leader == leader);
        (agree && ids.contains(&leader)).then_some(leader)
    }

    fn leader(&self) -> &RunningController {
        self.get(self.agreed_leader().expect("there is a leader"))
    }

    pub async fn wait_leader(&self) -> u64 {
        eventually("a leader", || self.agreed_leader().is_some()).await;
        self.agreed_leader().unwrap()
    }

    pub async fn follower(&self) -> u64 {
        let leader = self.wait_leader().await;
        self.ids().into_iter().find(|id| *id != leader).unwrap()
    }

    /// Waits until all that run can serve.
    pub async fn wait_current(&self) {
        let all = || self.ids().into_iter().all(|id| self.standing(id).is_current);
        eventually("all replicas are current", all).await;
    }

    /// Waits until all that run have the same state.
    pub async fn wait_equal(&self) {
        let equal = || {
            let revisions = self.ids().into_iter().map(|id| self.standing(id).applied_index);
            let revisions: std::collections::BTreeSet<u64> = revisions.collect();
            revisions.len() == 1
        };
        eventually("all replicas have the same log", equal).await;
        let states = self.ids().into_iter().map(|id| self.get(id).shared().state.read().export());
        let states: Vec<String> = states.map(|state| format!("{state:?}")).collect();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "states differ");
    }

    pub async fn client(&self, id: u64) -> Client {
        AdminClient::new(super::open(self.address(id)).await)
    }

    /// Takes a controller out, to be stopped.
    pub fn take(&mut self, id: u64) -> RunningController {
        self.members.get_mut(&id).unwrap().controller.take().expect("it runs")
    }

    pub async fn stop(&mut self, id: u64) -> Result<(), ControllerError> {
        within("it stops", self.take(id).shutdown()).await
    }

    /// Ends a controller as if it had been killed.
    pub fn kill(&mut self, id: u64) {
        drop(self.take(id));
    }

    /// Starts a controller that was stopped or killed, at the address that it had.
    pub async fn start(&mut self, id: u64) {
        let member = self.members.get_mut(&id).unwrap();
        // It changes nothing for one that has an identity.
        let config = Config {
            listen: member.address,
            join: true,
            limits: self.limits,
            ..mk_config(member.root.path())
        };
        let started = async {
            loop {
                match Controller::start(config.clone()).await {
                    Ok(controller) => break controller,
                    // What was killed takes a moment to be gone, in the same process.
                    Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        member.controller = Some(within("it starts", started).await);
    }
}

pub async fn connect_peer(address: SocketAddr) -> PeerClient<Channel> {
    PeerClient::connect(format!("http://{address}")).await.expect("connects")
}

/// Waits, with a bound.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}
