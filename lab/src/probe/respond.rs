//! The answering side: one thread for all workloads that listen.

use super::{ANSWER_BYTES_MAX, Listen, answer_of, domain_of};
use crate::error::LabError;
use crate::spec::WorkloadKey;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// Commands that wait for the thread.
const COMMANDS_MAX: usize = 64;
/// Connections that wait to be accepted, for each port.
const BACKLOG: i32 = 4096;
/// Connections kept open; more are accepted and closed.
const STREAMS_MAX: usize = 8192;
/// Bytes kept for a connection whose other end does not read; it is not read from meanwhile.
const PENDING_BYTES_MAX: usize = 64 * 1024;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// The mark of the pipe that wakes the thread; all other marks are larger.
const WAKE: u64 = 0;

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Opens sockets in the namespace of the calling thread. An error says what could not be opened.
pub(super) fn open(
    on: &[Listen],
    addresses: &[IpAddr],
) -> Result<Vec<Listener>, (String, io::Error)> {
    let mut listeners = Vec::new();
    for listen in on {
        match *listen {
            Listen::Tcp(port) => listeners
                .push(open_tcp(port).map_err(|error| (format!("listening on TCP {port}"), error))?),
            // One for each address, so that the answer comes from the address that was asked.
            Listen::Udp(port) => {
                for address in addresses {
                    let to = SocketAddr::new(*address, port);
                    let listener =
                        open_udp(to).map_err(|error| (format!("listening on UDP {to}"), error))?;
                    listeners.push(listener);
                }
            }
        }
    }
    Ok(listeners)
}

fn open_tcp(port: u16) -> io::Result<Listener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)))?;
    socket.listen(BACKLOG)?;
    Ok(Listener::Tcp(socket.into()))
}

fn open_udp(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(domain_of(address.ip()), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(Listener::Udp(socket.into()))
}

enum Command {
    Add(WorkloadKey, Vec<Listener>),
    /// Close everything of a workload, and then drop the sender.
    Close(WorkloadKey, SyncSender<()>),
}

/// The thread that answers, and the way to command it. It ends when this is dropped, and closes
/// all sockets before.
#[derive(Debug)]
pub(crate) struct Responder {
    commands_tx: Option<SyncSender<Command>>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    pub(super) fn start() -> Result<Responder, LabError> {
        let (commands_tx, commands_rx) = sync_channel(COMMANDS_MAX);
        let (wake, woken) = UnixStream::pair().map_err(LabError::io("making a pipe"))?;
        let server = Server::new(commands_rx, woken).map_err(LabError::io("making an epoll"))?;
        let thread = std::thread::Builder::new()
            .name("lab-responder".to_owned())
            .spawn(move || server.run())
            .map_err(LabError::io("starting a thread"))?;
        Ok(Responder { commands_tx: Some(commands_tx), wake, thread: Some(thread) })
    }

    pub(super) fn add(&self, key: &WorkloadKey, sockets: Vec<Listener>) -> Result<(), LabError> {
        self.command(Command::Add(key.clone(), sockets))
    }

    /// Closes all sockets of a workload, and waits until they are closed.
    pub(crate) fn close(&self, key: &WorkloadKey) -> Result<(), LabError> {
        let (done_tx, done_rx) = sync_channel(0);
        self.command(Command::Close(key.clone(), done_tx))?;
        // Nothing is ever sent: the other end is dropped when all is closed.
        let _closed = done_rx.recv();
        Ok(())
    }

    fn command(&self, command: Command) -> Result<(), LabError> {
        let gone = || LabError::io("answering probes")(io::Error::other("the thread has ended"));
        let commands_tx = self.commands_tx.as_ref().ok_or_else(gone)?;
        commands_tx.send(command).map_err(|_| gone())?;
        (&self.wake).write_all(&[1]).map_err(LabError::io("waking a thread"))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.commands_tx = None;
        // If this fails the thread is gone already.
        let _woken = (&self.wake).write_all(&[1]);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the thread that answers probes has panicked");
        }
    }
}

/// A connection whose bytes go back to where they came from.
struct Echo {
    stream: TcpStream,
    pending: Vec<u8>,
}

enum Endpoint {
    Listener(Listener),
    Echo(Echo),
}

struct Server {
    epoll: Epoll,
    commands_rx: Receiver<Command>,
    woken: UnixStream,
    sockets: BTreeMap<u64, (WorkloadKey, Endpoint)>,
    streams: usize,
    next_mark: u64,
}

impl Server {
    fn new(commands_rx: Receiver<Command>, woken: UnixStream) -> io::Result<Server> {
        woken.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&woken, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let sockets = BTreeMap::new();
        Ok(Server { epoll, commands_rx, woken, sockets, streams: 0, next_mark: WAKE + 1 })
    }

    fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => {
                    tracing::error!(%error, "could not wait for probes: none is answered any more");
                    return;
                }
            };
            for event in &events[..count] {
                match event.data() {
                    WAKE => {
                        if !self.process_commands() {
                            return;
                        }
                    }
                    mark => self.process_socket(mark),
                }
            }
        }
    }

    /// Returns false when there will be no more commands.
    fn process_commands(&mut self) -> bool {
        let mut bytes = [0; COMMANDS_MAX];
        // How many bytes there are does not matter; they are only there to be noticed.
        let _count = self.woken.read(&mut bytes);
        loop {
            match self.commands_rx.try_recv() {
                Ok(Command::Add(key, listeners)) => {
                    for listener in listeners {
                        self.add(key.clone(), Endpoint::Listener(listener));
                    }
                }
                Ok(Command::Close(key, done)) => {
                    self.sockets.retain(|_, (owner, _)| *owner != key);
                    self.streams = self
                        .sockets
                        .values()
                        .filter(|(_, socket)| matches!(socket, Endpoint::Echo(_)))
                        .count();
                    drop(done);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, key: WorkloadKey, socket: Endpoint) {
        let mark = self.next_mark;
        self.next_mark += 1;
        let fd = match &socket {
            Endpoint::Listener(Listener::Tcp(listener)) => listener.as_fd(),
            Endpoint::Listener(Listener::Udp(socket)) => socket.as_fd(),
            Endpoint::Echo(echo) => echo.stream.as_fd(),
        };
        match self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, mark)) {
            Ok(()) => {
                self.streams += usize::from(matches!(socket, Endpoint::Echo(_)));
                self.sockets.insert(mark, (key, socket));
            }
            Err(error) => tracing::warn!(%error, workload = %key, "could not watch a socket"),
        }
    }

    fn process_socket(&mut self, mark: u64) {
        // Gone already, if a command before it in the same round closed it.
        let Some((key, socket)) = self.sockets.get_mut(&mark) else { return };
        match socket {
            Endpoint::Listener(Listener::Udp(socket)) => reply(socket, key),
            Endpoint::Listener(Listener::Tcp(listener)) => {
                let key = key.clone();
                let accepted: Vec<TcpStream> =
                    std::iter::from_fn(|| listener.accept().ok()).map(|(it, _)| it).collect();
                for stream in accepted {
                    self.greet(&key, stream);
                }
            }
            Endpoint::Echo(echo) => {
                let goes_on = echo.step().and_then(|()| {
                    let wanted = if echo.pending.is_empty() {
                        EpollFlags::EPOLLIN
                    } else {
                        EpollFlags::EPOLLOUT
                    };
                    let mut event = EpollEvent::new(wanted, mark);
                    self.epoll.modify(&echo.stream, &mut event).map_err(io::Error::from)
                });
                if goes_on.is_err() {
                    self.sockets.remove(&mark);
                    self.streams -= 1;
                }
            }
        }
    }

    /// Says the name of the workload on a new connection, and keeps it.
    fn greet(&mut self, key: &WorkloadKey, mut stream: TcpStream) {
        let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
        // A new connection takes a name without blocking, or its other end is gone.
        let greeted = ready.and_then(|()| stream.write_all(answer_of(key).as_bytes()));
        if greeted.is_ok() && self.streams < STREAMS_MAX {
            self.add(key.clone(), Endpoint::Echo(Echo { stream, pending: Vec::new() }));
        }
    }
}

impl Echo {
    /// Moves bytes as far as they go. An error means that the connection has ended.
    fn step(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            self.pending.resize(PENDING_BYTES_MAX, 0);
            match self.stream.read(&mut self.pending) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.pending.truncate(count),
                Err(error) => {
                    self.pending.clear();
                    return if is_transient(&error) { Ok(()) } else { Err(error) };
                }
            }
        }
        match self.stream.write(&self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Answers the packets that have arrived with themselves and the name of the workload.
fn reply(socket: &UdpSocket, key: &WorkloadKey) {
    let mut bytes = [0; ANSWER_BYTES_MAX];
    loop {
        match socket.recv_from(&mut bytes) {
            Ok((count, from)) => {
                let mut answer = bytes[..count].to_vec();
                answer.extend_from_slice(answer_of(key).as_bytes());
                // An answer that cannot be sent is one that does not arrive: the probe will tell.
                let _sent = socket.send_to(&answer, from);
            }
            // A refused answer is reported here, and the next packet waits behind it.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
