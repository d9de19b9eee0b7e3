//! The host stream: one controller, a process, and thousands of hosts, tasks of this process.
//!
//! A host is the agent's end of the stream with a connection of its own: it decodes, keeps its view, puts
//! it into the `record` datapath, and acknowledges.

mod churn;
mod fanout;
mod idle;
mod reconnect;
mod stopped;
mod storm;
mod trickle;

pub(crate) use churn::{Network, run as churn};
pub(crate) use fanout::run as fanout;
pub(crate) use idle::run as idle;
pub(crate) use reconnect::run as reconnect;
pub(crate) use stopped::run as stopped;
pub(crate) use storm::run as storm;
pub(crate) use trickle::run as trickle;

use crate::cluster::{
    ClusterOptions, Controllers, Directory, Fleet, Writer, allow_sockets, spanwire,
};
use spanwire_topology::Resource;
use spanwire_topology::model::Text;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The one controller.
const CONTROLLER: u64 = 1;
/// Resources applied in one transaction.
const BATCH: usize = 10_000;
/// After so long an allocator has given back what is not used (jemalloc: 10 s), and nothing moves.
const SETTLE: Duration = Duration::from_secs(15);

/// A controller with a network, and whoever changes it.
struct Scene {
    controllers: Controllers,
    writer: Writer,
    /// The newest revision.
    revision: u64,
    /// Removed last.
    directory: Directory,
}

impl Scene {
    /// Starts a controller and applies resources to it. There will be so many hosts.
    async fn start(
        resources: impl Iterator<Item = Resource>,
        hosts: usize,
        options: &ClusterOptions,
    ) -> Result<Scene, String> {
        allow_sockets(hosts)?;
        let binary = spanwire(options)?;
        let directory = Directory::make(options)?;
        let controllers = Controllers::of(1, &binary, &directory).await?;
        let mut writer = Writer::new(controllers.addresses());
        let mut revision = 0;
        let mut resources = resources.peekable();
        while resources.peek().is_some() {
            let batch: Vec<Resource> = resources.by_ref().take(BATCH).collect();
            revision = writer.apply(batch).await?;
        }
        Ok(Scene { controllers, writer, revision, directory })
    }

    fn address(&self) -> SocketAddr {
        self.controllers.address(CONTROLLER)
    }

    /// Where processes leave their logs.
    fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Connects hosts, some at a time, and waits until each has its view.
    async fn connect(&self, hosts: &[Text]) -> Result<Fleet, String> {
        Fleet::start(hosts, &self.controllers.addresses(), self.revision).await
    }

    /// Makes one change. Its times count from when it was asked for.
    async fn change(&mut self, resource: Resource) -> Result<Change, String> {
        let asked = Instant::now();
        self.revision = self.writer.apply([resource]).await?;
        Ok(Change { revision: self.revision, asked, answered: Instant::now() })
    }
}

/// A change that is committed.
#[derive(Clone, Copy)]
struct Change {
    revision: u64,
    asked: Instant,
    answered: Instant,
}

impl Change {
    /// When it was committed at the latest: a host may have it before its writer has the answer.
    fn committed(&self, first_host: Instant) -> Instant {
        self.answered.min(first_host)
    }
}

/// When the first and the last of some hosts had a change.
fn reached<'a>(
    hosts: impl IntoIterator<Item = &'a Arc<crate::cluster::Host>>,
    revision: u64,
) -> Option<(Instant, Instant)> {
    let mut times = hosts.into_iter().map(|host| host.read(|record| record.reached(revision)));
    let first = times.next()??;
    times.try_fold((first, first), |(earliest, latest), when| {
        let when = when?;
        Some((earliest.min(when), latest.max(when)))
    })
}
