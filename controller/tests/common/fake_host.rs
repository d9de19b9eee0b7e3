//! A host agent without a datapath: the real session over real gRPC.

use super::PATIENCE;
use parking_lot::Mutex;
use spanwire_hostproto::wire::host_stream_client::HostStreamClient;
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::{HeldView, HostCommand, HostIdentity, HostSession, Rejection, wire};
use spanwire_topology::model::Revision;
use spanwire_topology::view::HostView;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

/// A connected host.
pub struct FakeHost {
    /// The view as it was last applied, and the messages that came.
    state: watch::Receiver<State>,
    rejections: Arc<Mutex<Vec<Rejection>>>,
    task: JoinHandle<Option<(Reason, String)>>,
}

#[derive(Debug, Clone, Default)]
pub struct State {
    pub held: Option<HeldView>,
    /// Batches applied, and how many items they changed.
    pub batches: usize,
    pub items: usize,
    pub welcome: Option<wire::welcome::Resume>,
}

impl FakeHost {
    pub async fn connect(address: SocketAddr, name: &str) -> FakeHost {
        FakeHost::resume(address, name, 1, None).await
    }

    /// Connects with what an earlier connection held.
    pub async fn resume(
        address: SocketAddr,
        name: &str,
        instance: u64,
        held: Option<HeldView>,
    ) -> FakeHost {
        FakeHost::start(address, name, instance, 0, held).await
    }

    /// Connects as an agent that was started so often.
    pub async fn start(
        address: SocketAddr,
        name: &str,
        instance: u64,
        starts: u32,
        held: Option<HeldView>,
    ) -> FakeHost {
        let identity = HostIdentity {
            host: name.into(),
            instance,
            starts,
            agent_version: "test".to_owned(),
            datapath: "record".to_owned(),
        };
        let session = HostSession::new(identity, held.clone());
        let (published, state) = watch::channel(State { held, ..State::default() });
        let rejections = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(run(address, session, published, rejections.clone()));
        FakeHost { state, rejections, task }
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until the host has applied a state that fulfils the condition.
    pub async fn wait_for(&mut self, what: &str, condition: impl FnMut(&State) -> bool) -> State {
        let waited = timeout(PATIENCE, self.state.wait_for(condition)).await;
        match waited {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => panic!("the host ended before: {what}"),
            Err(_) => panic!("never happened: {what}"),
        }
    }

    pub async fn wait_revision(&mut self, revision: Revision) -> Arc<HostView> {
        let what = format!("revision {revision}");
        let reached =
            |state: &State| state.held.as_ref().is_some_and(|held| held.view.revision >= revision);
        self.wait_for(&what, reached).await.held.unwrap().view
    }

    /// From now on the host says that it cannot apply these.
    pub fn reject(&self, rejections: Vec<Rejection>) {
        *self.rejections.lock() = rejections;
    }

    /// Waits until the controller refuses the host, or the stream ends.
    pub async fn ended(self) -> Option<(Reason, String)> {
        timeout(PATIENCE, self.task).await.expect("the stream ends").unwrap()
    }

    /// Breaks the connection off.
    pub fn abort(self) {
        self.task.abort();
    }
}

async fn run(
    address: SocketAddr,
    mut session: HostSession,
    published: watch::Sender<State>,
    rejections: Arc<Mutex<Vec<Rejection>>>,
) -> Option<(Reason, String)> {
    let mut client = HostStreamClient::new(super::open(address).await);
    let (outbound, messages) = mpsc::channel(64);
    let inbound = client.subscribe(ReceiverStream::new(messages)).await.unwrap();
    let mut inbound = inbound.into_inner();
    let mut commands = session.process_connected();
    loop {
        while !commands.is_empty() {
            for command in std::mem::take(&mut commands) {
                match command {
                    HostCommand::Send(message) => outbound.send(message).await.ok()?,
                    HostCommand::Disconnect { reason, detail } => return Some((reason, detail)),
                    HostCommand::Apply(change) => {
                        published.send_modify(|state| {
                            state.batches += 1;
                            state.items += change.changed.len();
                            state.held = Some(HeldView {
                                cluster_id: change.cluster_id,
                                view: change.view.clone(),
                            });
                        });
                        let rejections = rejections.lock().clone();
                        commands.extend(session.process_applied(change.to, rejections));
                    }
                }
            }
        }
        let message = inbound.next().await?.ok()?;
        if let Some(wire::controller_message::Message::Welcome(welcome)) = &message.message {
            published.send_modify(|state| state.welcome = Some(welcome.resume()));
        }
        commands = session.process_message(message);
    }
}

/// Opens a stream, sends one message, and returns what comes back until the end.
pub async fn say(
    address: SocketAddr,
    message: wire::HostMessage,
) -> Vec<wire::controller_message::Message> {
    let mut client = HostStreamClient::new(super::open(address).await);
    let (outbound, messages) = mpsc::channel(1);
    outbound.send(message).await.unwrap();
    let inbound = client.subscribe(ReceiverStream::new(messages)).await.unwrap();
    let mut inbound = inbound.into_inner();
    let mut received = Vec::new();
    while let Ok(Some(Ok(message))) = timeout(PATIENCE, inbound.next()).await {
        received.extend(message.message);
    }
    received
}
