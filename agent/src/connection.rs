//! One connection to a controller: the gRPC client, and nothing that knows what is said.

use crate::events::{StreamEvent, StreamEventKind};
use spanwire_hostproto::limits::{CONTROLLER_MESSAGE_BYTES_MAX, HOST_MESSAGE_BYTES_MAX};
use spanwire_hostproto::wire::HostMessage;
use spanwire_hostproto::wire::host_stream_client::HostStreamClient;
use std::error::Error;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// How often an idle connection is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How much the controller may send before we have read it: as much as two parts of a batch, so
/// that the next is on its way while one is decoded, and a slow host costs no more.
const WINDOW_BYTES: u32 = 128 * 1024;

/// A connection to be made.
pub(crate) struct Connection {
    /// Its number, which all its events carry.
    pub(crate) number: u64,
    /// `ADDRESS:PORT` of the controller.
    pub(crate) endpoint: String,
    /// How long it may take to be made.
    pub(crate) timeout: Duration,
    /// What is to be sent.
    pub(crate) messages_rx: Receiver<HostMessage>,
    /// Who is told.
    pub(crate) events_tx: Sender<StreamEvent>,
}

/// Tells the session what happens to one connection.
struct Teller {
    number: u64,
    events_tx: Sender<StreamEvent>,
}

impl Teller {
    /// Returns false if nobody listens any more, because the agent is about to stop.
    async fn tell(&self, kind: StreamEventKind) -> bool {
        self.events_tx.send(StreamEvent { connection: self.number, kind }).await.is_ok()
    }
}

impl Connection {
    /// Makes the connection and reads from it until it ends, which is the last event.
    pub(crate) async fn run(self) {
        let Connection { number, endpoint, timeout, messages_rx, events_tx } = self;
        let teller = Teller { number, events_tx };
        let problem = match read(&endpoint, timeout, messages_rx, &teller).await {
            Ok(()) => "the controller closed the stream".to_owned(),
            Err(problem) => problem,
        };
        teller.tell(StreamEventKind::Ended { problem }).await;
    }
}

async fn read(
    endpoint: &str,
    timeout: Duration,
    messages_rx: Receiver<HostMessage>,
    teller: &Teller,
) -> Result<(), String> {
    let channel = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect()
        .await
        .map_err(|error| chain(&error))?;
    let mut client = HostStreamClient::new(channel)
        .max_decoding_message_size(CONTROLLER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(HOST_MESSAGE_BYTES_MAX);
    // Only now, so that the hello speaks of the view as it is when the controller reads it.
    if !teller.tell(StreamEventKind::Connected).await {
        return Ok(());
    }
    let response = client.subscribe(ReceiverStream::new(messages_rx)).await;
    let mut stream = response.map_err(|status| chain(&status))?.into_inner();
    while let Some(message) = stream.message().await.map_err(|status| chain(&status))? {
        if !teller.tell(StreamEventKind::Message(message)).await {
            return Ok(());
        }
    }
    Ok(())
}

/// An error with its causes, which say what the error itself leaves out: `Connection refused`.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}
