//! A cluster of controllers, each a process.

use super::process::{Process, free_address};
use super::{Client, Directory, connect, within};
use spanwire_adminproto::wire;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The pause between two looks at a cluster that is not yet as it should be.
const LOOK_WAIT: Duration = Duration::from_millis(20);

/// The members, by their identity, from 1.
pub(crate) struct Controllers {
    binary: PathBuf,
    root: PathBuf,
    members: BTreeMap<u64, Member>,
}

struct Member {
    address: SocketAddr,
    data_dir: PathBuf,
    process: Option<Process>,
}

impl Controllers {
    /// A controller alone, with what its data directory has. It may not serve yet.
    pub(crate) fn found(
        binary: &Path,
        directory: &Directory,
        data_dir: Option<PathBuf>,
    ) -> Result<Controllers, String> {
        let root = directory.path().to_owned();
        let data_dir = data_dir.unwrap_or_else(|| root.join("controller-1"));
        let founder = Member { address: free_address()?, data_dir, process: None };
        let members = BTreeMap::from([(1, founder)]);
        let mut controllers = Controllers { binary: binary.to_owned(), root, members };
        controllers.start(1)?;
        Ok(controllers)
    }

    /// Voters that are all current.
    pub(crate) async fn of(
        count: u64,
        binary: &Path,
        directory: &Directory,
    ) -> Result<Controllers, String> {
        let mut controllers = Controllers::found(binary, directory, None)?;
        controllers.leader().await?;
        for _ in 1..count {
            let id = controllers.add().await?;
            controllers.promote(id).await?;
        }
        controllers.leader().await?;
        Ok(controllers)
    }

    /// Adds a replica, as a learner.
    pub(crate) async fn add(&mut self) -> Result<u64, String> {
        let address = free_address()?;
        let data_dir = self.root.join(format!("controller-{}", self.members.len() + 1));
        let process = self.spawn(address, &data_dir)?;
        let mut member = Member { address, data_dir, process: Some(process) };
        let change = || wire::ChangeMembersRequest {
            add: vec![address.to_string()],
            ..wire::ChangeMembersRequest::default()
        };
        let added = within("a replica is added", async {
            loop {
                if let Some(process) = &mut member.process {
                    process.check()?;
                }
                match self.change(change()).await {
                    Ok(response) => return Ok(response.added),
                    Err(_) => tokio::time::sleep(LOOK_WAIT).await,
                }
            }
        });
        let added: Result<Vec<u64>, String> = added.await?;
        let [id] = added?[..] else { return Err("one replica was added".to_owned()) };
        self.members.insert(id, member);
        Ok(id)
    }

    /// Makes a voter of a learner, once it has caught up.
    pub(crate) async fn promote(&self, id: u64) -> Result<(), String> {
        let change = || wire::ChangeMembersRequest { promote: vec![id], ..Default::default() };
        within("a replica becomes a voter", async {
            while self.change(change()).await.is_err() {
                tokio::time::sleep(LOOK_WAIT).await;
            }
        })
        .await
    }

    async fn change(
        &self,
        request: wire::ChangeMembersRequest,
    ) -> Result<wire::ChangeMembersResponse, String> {
        let first = self.addresses().first().copied().ok_or("no controller runs")?;
        let answer = connect(first).await?.change_members(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| status.to_string())
    }

    /// Starts a member that does not run.
    pub(crate) fn start(&mut self, id: u64) -> Result<(), String> {
        let member = &self.members[&id];
        let process = self.spawn(member.address, &member.data_dir)?;
        if let Some(member) = self.members.get_mut(&id) {
            member.process = Some(process);
        }
        Ok(())
    }

    fn spawn(&self, address: SocketAddr, data_dir: &Path) -> Result<Process, String> {
        let mut command = Command::new(&self.binary);
        command.arg("controller").arg("--data-dir").arg(data_dir);
        command.arg("--listen").arg(address.to_string());
        if self.members.values().any(|member| member.data_dir != data_dir) {
            command.arg("--join");
        }
        let name = format!("the controller at {address}");
        Process::start(&name, command, &data_dir.with_extension("log"))
    }

    /// Ends a member as `kill -9` does.
    pub(crate) fn kill(&mut self, id: u64) {
        if let Some(mut process) = self.members.get_mut(&id).and_then(|m| m.process.take()) {
            process.kill();
        }
    }

    /// The members that run.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let running = self.members.iter().filter(|(_, member)| member.process.is_some());
        running.map(|(id, _)| *id).collect()
    }

    pub(crate) fn address(&self, id: u64) -> SocketAddr {
        self.members[&id].address
    }

    /// Where those are reached that run.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.ids().into_iter().map(|id| self.address(id)).collect()
    }

    /// Processor time that all have used that run.
    pub(crate) fn cpu(&self) -> Duration {
        self.members.values().filter_map(|member| member.process.as_ref()).map(Process::cpu).sum()
    }

    /// The peak memory of a member, in MiB.
    pub(crate) fn peak_rss_mib(&self, id: u64) -> f64 {
        self.members[&id].process.as_ref().map_or(0.0, Process::peak_rss_mib)
    }

    /// Makes the peak memory of a member start again from what it has now.
    pub(crate) fn restart_peak_rss(&self, id: u64) -> Result<(), String> {
        let process = self.members[&id].process.as_ref().ok_or("it does not run")?;
        process.restart_peak_rss()
    }

    /// The memory of a member, in MiB.
    pub(crate) fn rss_mib(&self, id: u64) -> f64 {
        self.members[&id].process.as_ref().map_or(0.0, Process::rss_mib)
    }

    /// Waits until all that run serve and agree on a leader that runs.
    pub(crate) async fn leader(&mut self) -> Result<u64, String> {
        within("the controllers agree on a leader", async {
            loop {
                for member in self.members.values_mut() {
                    member.process.as_mut().map_or(Ok(()), Process::check)?;
                }
                if let Some(leader) = self.agreed_leader().await {
                    return Ok(leader);
                }
                tokio::time::sleep(LOOK_WAIT).await;
            }
        })
        .await?
    }

    async fn agreed_leader(&self) -> Option<u64> {
        let mut leaders = Vec::new();
        for address in self.addresses() {
            let status = status(connect(address).await.ok()?).await?;
            leaders.push(status.current.then_some(status.leader)?);
        }
        let leader = *leaders.first()?;
        let agree = leaders.iter().all(|other| *other == leader);
        (agree && self.ids().contains(&leader)).then_some(leader)
    }

    /// Hands leadership to a member. Returns when it leads, as the member that is asked knows.
    pub(crate) async fn transfer(&self, ask: u64, to: u64) -> Result<(), String> {
        let mut client = connect(self.address(ask)).await?;
        let answer = client.transfer_leadership(wire::TransferLeadershipRequest { to }).await;
        answer.map(|_| ()).map_err(|status| status.to_string())
    }
}

async fn status(mut client: Client) -> Option<wire::ClusterStatusResponse> {
    let answer = client.cluster_status(wire::ClusterStatusRequest {}).await;
    answer.ok().map(tonic::Response::into_inner)
}
