//! Controllers that follow a script, views, a datapath that fails on demand, and the agent itself.

use parking_lot::Mutex;
use spanwire_agent::datapath::record::RecordDatapath;
use spanwire_agent::datapath::{Datapath, DatapathError, Finding, Rejection};
use spanwire_agent::{Agent, AgentError, Config, ConfigLayer, STATUS_FILE, STORE_FILE, Status};
use spanwire_hostproto::wire::host_stream_server::{HostStream, HostStreamServer};
use spanwire_hostproto::wire::{
    self, BatchPart, ControllerMessage, HostMessage, Refused, Welcome,
    controller_message::Message as FromController, host_message::Message as FromHost,
    refused::Reason, welcome::Resume,
};
use spanwire_hostproto::{ClusterId, Hello, PROTOCOL_VERSION, codec, digest, staging};
use spanwire_topology::model::{Revision, Uid, Vni};
use spanwire_topology::view::{DomainItem, HostView, Item, ItemDelta, ItemKey};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status as RpcStatus, Streaming};

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);
/// How long anything may take that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

// ---- The controller ----

pub(crate) type Sender = mpsc::Sender<Result<ControllerMessage, RpcStatus>>;

/// A controller that does nothing by itself.
pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    pub(crate) streams_rx: mpsc::Receiver<Stream>,
    pub(crate) server: JoinHandle<()>,
}

/// A stream of a host, as the controller has it.
pub(crate) struct Stream {
    pub(crate) messages: Streaming<HostMessage>,
    pub(crate) to_host: Sender,
}

pub(crate) struct Service {
    pub(crate) streams_tx: mpsc::Sender<Stream>,
}

#[tonic::async_trait]
impl HostStream for Service {
    type SubscribeStream = ReceiverStream<Result<ControllerMessage, RpcStatus>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, RpcStatus> {
        let (to_host, from_test) = mpsc::channel(16);
        let stream = Stream { messages: request.into_inner(), to_host };
        self.streams_tx.send(stream).await.map_err(|_| RpcStatus::unavailable("the test ended"))?;
        Ok(Response::new(ReceiverStream::new(from_test)))
    }
}

impl Controller {
    pub(crate) async fn start() -> Controller {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (streams_tx, streams_rx) = mpsc::channel(4);
        let service = HostStreamServer::new(Service { streams_tx });
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.unwrap() });
        Controller { address, streams_rx, server }
    }

    /// The next stream of the host.
    pub(crate) async fn accept(&mut self) -> Stream {
        tokio::time::timeout(PATIENCE, self.streams_rx.recv()).await.expect("no stream").unwrap()
    }

    /// The next stream, its hello answered with a welcome.
    pub(crate) async fn welcome(&mut self, resume: Resume, revision: Revision) -> (Stream, Hello) {
        let mut stream = self.accept().await;
        let hello = stream.hello().await;
        stream.send_welcome(resume, revision).await;
        (stream, hello)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stream {
    pub(crate) async fn next(&mut self) -> FromHost {
        let message = tokio::time::timeout(PATIENCE, self.messages.message()).await;
        message.expect("no message").unwrap().expect("the host closed the stream").message.unwrap()
    }

    pub(crate) async fn hello(&mut self) -> Hello {
        let message = HostMessage { message: Some(self.next().await) };
        Hello::from_first_message(message).unwrap()
    }

    pub(crate) async fn ack(&mut self) -> wire::Ack {
        match self.next().await {
            FromHost::Ack(ack) => ack,
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }

    pub(crate) async fn drift(&mut self) -> wire::DriftReport {
        match self.next().await {
            FromHost::Drift(drift) => drift,
            other => panic!("not a drift report: {other:?}"),
        }
    }

    /// Says that the host said nothing for a while.
    pub(crate) async fn expect_silence(&mut self, wait: Duration) {
        if let Ok(message) = tokio::time::timeout(wait, self.messages.message()).await {
            panic!("the host said {message:?}");
        }
    }

    pub(crate) async fn send(&self, message: FromController) {
        self.to_host.send(Ok(ControllerMessage { message: Some(message) })).await.unwrap();
    }

    pub(crate) async fn send_welcome(&self, resume: Resume, revision: Revision) {
        self.send(FromController::Welcome(Welcome {
            protocol_version: PROTOCOL_VERSION,
            cluster_id: CLUSTER.0.to_vec().into(),
            resume: resume.into(),
            revision,
        }))
        .await;
    }

    pub(crate) async fn send_batch(&self, step: &Step) {
        self.send(FromController::Part(step.part(0, true, step.updates.clone()))).await;
    }

    pub(crate) async fn refuse(&self, reason: Reason) {
        let detail = format!("because of {}", reason.as_str_name());
        self.send(FromController::Refused(Refused { reason: reason.into(), detail })).await;
    }
}

// ---- Views ----

/// A step of the view as it is sent.
pub(crate) struct Step {
    pub(crate) from: Revision,
    pub(crate) to: Revision,
    pub(crate) replace: bool,
    pub(crate) updates: Vec<bytes::Bytes>,
}

impl Step {
    pub(crate) fn part(&self, sequence: u32, last: bool, updates: Vec<bytes::Bytes>) -> BatchPart {
        BatchPart {
            from_revision: if self.replace { 0 } else { self.from },
            to_revision: self.to,
            sequence,
            last,
            replace: self.replace,
            updates,
            repair: false,
        }
    }
}

/// The view as the controller thinks it should be.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) view: HostView,
}

impl Model {
    pub(crate) fn step(&mut self, to: Revision, replace: bool, updates: Vec<bytes::Bytes>) -> Step {
        let from = self.view.revision;
        staging::apply_updates(&mut self.view, to, replace, &updates).unwrap();
        Step { from, to, replace, updates }
    }

    /// Everything anew: a domain, and a shard with some members.
    pub(crate) fn snapshot(&mut self, to: Revision) -> Step {
        let domain = DomainItem { sees: vec![Vni(1)], reaches: vec![Vni(1)], spoofable: false };
        let members = Item::Shard((1..=3).map(address).collect());
        let updates = vec![
            codec::encode_full(ItemKey::Domain(Vni(1)), to, &Item::Domain(domain)),
            codec::encode_full(shard(), to, &members),
        ];
        self.step(to, true, updates)
    }

    /// One more member in the shard.
    pub(crate) fn add_member(&mut self, to: Revision) -> Step {
        let held = &self.view.items[&shard()];
        let added = vec![address(u8::try_from(100 + to).unwrap())];
        let delta = ItemDelta::Shard { removed: Vec::new(), added };
        let update = codec::encode_delta(shard(), held.version, to, &delta);
        self.step(to, false, vec![update])
    }

    pub(crate) fn digest(&self) -> u64 {
        digest::digest(self.view.items.iter().map(|(key, item)| (*key, item.version)))
    }
}

pub(crate) fn shard() -> ItemKey {
    ItemKey::Shard { group: Uid(5), domain: Vni(1) }
}

pub(crate) fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

// ---- The datapath ----

/// What a test sees of a datapath, and makes it do.
#[derive(Default)]
pub(crate) struct Script {
    /// Revision, and the number of items that were said to have changed, of each step.
    pub(crate) applied: Vec<(Revision, Option<usize>)>,
    pub(crate) failures: usize,
    pub(crate) delay: Duration,
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) findings: Vec<Finding>,
}

#[derive(Clone, Default)]
pub(crate) struct TestDatapath {
    pub(crate) record: RecordDatapath,
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) rejections: Vec<Rejection>,
}

impl Datapath for TestDatapath {
    fn name(&self) -> &'static str {
        "test"
    }

    fn apply(
        &mut self,
        view: &HostView,
        changed: Option<&BTreeSet<ItemKey>>,
    ) -> Result<Vec<Rejection>, DatapathError> {
        let delay = self.script.lock().delay;
        std::thread::sleep(delay);
        let mut script = self.script.lock();
        if script.failures > 0 {
            script.failures -= 1;
            return Err(DatapathError::Configuration("the test made it fail".to_owned()));
        }
        script.applied.push((view.revision, changed.map(BTreeSet::len)));
        self.rejections = script.rejections.clone();
        drop(script);
        self.record.apply(view, changed)?;
        Ok(self.rejections.clone())
    }

    fn audit(&mut self) -> Result<Vec<Finding>, DatapathError> {
        let mut script = self.script.lock();
        self.rejections = script.rejections.clone();
        Ok(std::mem::take(&mut script.findings))
    }

    fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    fn remove_all(&mut self) -> Result<(), DatapathError> {
        self.record.remove_all()
    }
}

// ---- The agent ----

/// An agent under test, with a state directory that survives its restarts.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) datapath: TestDatapath,
    pub(crate) config: Config,
    pub(crate) running: Option<(JoinHandle<Result<(), AgentError>>, CancellationToken)>,
}

impl Bench {
    pub(crate) fn new(controllers: &[&Controller]) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let layer = ConfigLayer {
            host: Some("h1".to_owned()),
            controllers: controllers.iter().map(|it| it.address.to_string()).collect(),
            state_dir: Some(directory.path().to_owned()),
            datapath: Some("record".to_owned()),
            ..ConfigLayer::default()
        };
        let mut config = Config::load(None, layer).unwrap();
        config.audit_interval = Duration::from_millis(50);
        config.timing.reconnect_min = Duration::from_millis(10);
        config.timing.reconnect_max = Duration::from_millis(50);
        config.timing.refused_wait = Duration::from_millis(400);
        config.timing.repair_min = Duration::from_millis(10);
        config.timing.repair_max = Duration::from_millis(50);
        Bench { directory, datapath: TestDatapath::default(), config, running: None }
    }

    pub(crate) fn start(&mut self) {
        let shutdown = CancellationToken::new();
        // What the run before said of itself is not what this one says.
        if let Err(error) = std::fs::remove_file(self.directory.path().join(STATUS_FILE)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        let datapath = Box::new(self.datapath.clone());
        let agent = Agent::run(self.config.clone(), datapath, shutdown.clone());
        self.running = Some((tokio::spawn(agent), shutdown));
    }

    /// A new datapath, as after a restart of the machine, and a new agent.
    pub(crate) fn restart(&mut self) {
        self.datapath = TestDatapath::default();
        self.start();
    }

    pub(crate) async fn end(&mut self) -> Result<(), AgentError> {
        let (agent, _) = self.running.take().unwrap();
        tokio::time::timeout(PATIENCE, agent).await.expect("the agent does not end").unwrap()
    }

    pub(crate) async fn stop(&mut self) {
        self.running.as_ref().unwrap().1.cancel();
        self.end().await.unwrap();
    }

    /// Ends the agent as a crash would, between any two of its steps. The directory is free when
    /// all its tasks and threads are gone.
    pub(crate) async fn crash(&mut self) {
        let (agent, _) = self.running.take().unwrap();
        agent.abort();
        assert!(agent.await.unwrap_err().is_cancelled());
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = redb_is_free(self.directory.path()) {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn view(&self) -> HostView {
        (*self.datapath.record.view()).clone()
    }

    pub(crate) fn applied(&self) -> Vec<(Revision, Option<usize>)> {
        self.datapath.script.lock().applied.clone()
    }

    /// Waits until the status is as it should be.
    pub(crate) async fn wait_status(&self, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = Status::read(self.directory.path());
            if let Ok(status) = &status
                && fits(status)
            {
                return status.clone();
            }
            assert!(Instant::now() < deadline, "never {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// True if nobody has the database open.
pub(crate) fn redb_is_free(directory: &std::path::Path) -> Result<(), String> {
    let file = std::fs::File::open(directory.join(STORE_FILE)).map_err(|it| it.to_string())?;
    file.try_lock().map_err(|error| error.to_string())
}

/// An agent that holds a view of revision 3, stopped, and what it holds.
pub(crate) async fn mk_holding(controller: &mut Controller) -> (Bench, Model) {
    let (mut bench, mut model) = (Bench::new(&[controller]), Model::default());
    bench.start();
    let (mut stream, _) = controller.welcome(Resume::Snapshot, 3).await;
    stream.send_batch(&model.snapshot(3)).await;
    assert_eq!(stream.ack().await.revision, 3);
    bench.stop().await;
    (bench, model)
}

/// A controller, an agent that follows it, what that holds, and the stream between them.
pub(crate) async fn mk_following() -> (Controller, Bench, Model, Stream) {
    let mut controller = Controller::start().await;
    let (mut bench, model) = mk_holding(&mut controller).await;
    bench.restart();
    let (mut stream, _) = controller.welcome(Resume::Current, 3).await;
    stream.ack().await;
    (controller, bench, model, stream)
}

pub(crate) fn rejection(reason: &str) -> Rejection {
    Rejection { key: ItemKey::Port(Uid(9)), reason: reason.to_owned() }
}
