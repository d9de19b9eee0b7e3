//! The least that it takes to bring bytes to many hosts and hear back: plain TCP, a task for each socket.

use super::{PATIENCE, within};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// As long as an acknowledgement is on the wire: frame, gRPC's prefix, message.
const ANSWER_BYTES: usize = 24;

/// Connections on loopback, both ends in this process.
pub(crate) struct RawFanOut {
    rounds: watch::Sender<u64>,
    answers: mpsc::Receiver<()>,
    sockets: usize,
    _tasks: JoinSet<()>,
}

impl RawFanOut {
    /// Connects so many hosts, each of which is brought so many bytes a round.
    pub(crate) async fn connect(sockets: usize, bytes: usize) -> Result<RawFanOut, String> {
        let refused = |error: std::io::Error| format!("raw connections: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (rounds, round) = watch::channel(0);
        let (answered, answers) = mpsc::channel(sockets.max(1));
        let mut tasks = JoinSet::new();
        for _ in 0..sockets {
            let (accepted, connected) = tokio::join!(listener.accept(), connect(address));
            let (server, _) = accepted.map_err(refused)?;
            server.set_nodelay(true).map_err(refused)?;
            tasks.spawn(serve(server, bytes, round.clone()));
            tasks.spawn(follow(connected.map_err(refused)?, bytes, answered.clone()));
        }
        Ok(RawFanOut { rounds, answers, sockets, _tasks: tasks })
    }

    /// Brings all hosts their bytes once. Returns how long it takes until the last has them and has
    /// answered.
    pub(crate) async fn round(&mut self) -> Result<Duration, String> {
        let started = Instant::now();
        self.rounds.send_modify(|round| *round += 1);
        let all = async {
            for _ in 0..self.sockets {
                if self.answers.recv().await.is_none() {
                    return Err("the raw connections have ended".to_owned());
                }
            }
            Ok(started.elapsed())
        };
        within("a raw fan-out", all).await?
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| std::io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn serve(mut stream: TcpStream, bytes: usize, mut round: watch::Receiver<u64>) {
    let message = vec![7; bytes];
    let mut answer = [0; ANSWER_BYTES];
    while round.changed().await.is_ok() {
        let answers = async {
            stream.write_all(&message).await?;
            stream.read_exact(&mut answer).await
        };
        if answers.await.is_err() {
            return;
        }
    }
}

async fn follow(mut stream: TcpStream, bytes: usize, answered: mpsc::Sender<()>) {
    let mut message = vec![0; bytes];
    while stream.read_exact(&mut message).await.is_ok() {
        let sent = stream.write_all(&[1; ANSWER_BYTES]).await;
        if sent.is_err() || answered.send(()).await.is_err() {
            return;
        }
    }
}
