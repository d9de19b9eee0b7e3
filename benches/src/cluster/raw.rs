//! The least that it takes to bring bytes to many hosts and hear back: plain TCP, a task for each socket.

use super::files::allow_sockets;
use super::process::{Process, free_address};
use super::{PATIENCE, within};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// As long as an acknowledgement is on the wire: frame, gRPC's prefix, message.
const ANSWER_BYTES: usize = 24;

/// Connections on loopback to a process that has their other ends, as a controller has.
pub(crate) struct RawFanOut {
    /// What is written here makes the server go on to the next round.
    control: TcpStream,
    answers: mpsc::Receiver<()>,
    sockets: usize,
    _tasks: JoinSet<()>,
    _process: Process,
}

impl RawFanOut {
    /// Connects so many hosts, each of which is brought so many bytes a round.
    pub(crate) async fn connect(
        directory: &Path,
        sockets: usize,
        bytes: usize,
    ) -> Result<RawFanOut, String> {
        let refused = |error: std::io::Error| format!("raw connections: {error}");
        let address = free_address()?;
        let numbers = [address.to_string(), bytes.to_string(), sockets.to_string()];
        let [listen, bytes_of, sockets_of] = &numbers;
        let arguments =
            ["raw-fan-out", "--listen", listen, "--bytes", bytes_of, "--sockets", sockets_of];
        let mut process = Process::of_this_program("raw-fan-out", &arguments, directory)?;
        let control = process.reach(async || connect(address).await).await?;
        let (answered, answers) = mpsc::channel(sockets.max(1));
        let mut tasks = JoinSet::new();
        for _ in 0..sockets {
            let stream = connect(address).await.map_err(refused)?;
            tasks.spawn(follow(stream, bytes, answered.clone()));
        }
        Ok(RawFanOut { control, answers, sockets, _tasks: tasks, _process: process })
    }

    /// Brings all hosts their bytes once. Returns how long it takes until the last has them and has
    /// answered.
    pub(crate) async fn round(&mut self) -> Result<Duration, String> {
        let started = Instant::now();
        let sent = self.control.write_all(&[1]).await;
        sent.map_err(|error| format!("the raw fan-out has ended: {error}"))?;
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

/// Serves one fan-out until it is ended: the first that connects says when, all others are hosts.
pub(crate) async fn serve(listen: SocketAddr, bytes: usize, sockets: usize) -> Result<(), String> {
    allow_sockets(sockets)?;
    let failed = |error: std::io::Error| format!("{listen}: {error}");
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let (rounds, round) = watch::channel(0_u64);
    let (mut control, _) = listener.accept().await.map_err(failed)?;
    let mut tasks = JoinSet::new();
    let mut signal = [0];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                tasks.spawn(bring(stream, bytes, round.clone()));
            }
            read = control.read_exact(&mut signal) => {
                if read.is_err() {
                    return Ok(());
                }
                rounds.send_modify(|round| *round += 1);
            }
        }
    }
}

async fn bring(mut stream: TcpStream, bytes: usize, mut round: watch::Receiver<u64>) {
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
