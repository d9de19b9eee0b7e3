//! Whether packets get from one workload to another.
//!
//! Workloads that [listen](Lab::listen) answer with their own name, so that a probe learns not only
//! that someone answered but who did: with equal addresses in isolated domains that matters. All
//! sockets belong to this process, which opens each inside its workload's namespace: there is one
//! thread for all that listen, and one for each call of [`Lab::probe`].

mod check;
mod respond;

pub(crate) use respond::Responder;

use crate::error::LabError;
use crate::lab::Lab;
use crate::record::Place;
use crate::spec::WorkloadKey;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The most bytes of a name that an answer carries.
const ANSWER_BYTES_MAX: usize = 1024;

/// What a workload listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// A TCP port, at all addresses. Says its name, and then echoes what it is sent.
    Tcp(u16),
    /// A UDP port, at each address. Answers a packet with the packet and its name.
    Udp(u16),
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The workload that sends.
    pub from: WorkloadKey,
    /// What it sends.
    pub check: Check,
    /// The address it sends from; the kernel chooses if there is none.
    pub source: Option<IpAddr>,
}

impl Probe {
    /// A probe from the address that the kernel chooses.
    pub fn new(from: &WorkloadKey, check: Check) -> Probe {
        Probe { from: from.clone(), check, source: None }
    }
}

/// What a probe sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Opens a TCP connection and reads the name of who accepted it.
    Tcp(SocketAddr),
    /// Sends one UDP packet and waits for the answer.
    Udp(SocketAddr),
    /// Sends one ICMP or ICMPv6 echo request and waits for the answer.
    Ping(IpAddr),
}

impl Check {
    /// The address it is sent to.
    pub fn address(&self) -> IpAddr {
        match self {
            Check::Tcp(to) | Check::Udp(to) => to.ip(),
            Check::Ping(to) => *to,
        }
    }
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Someone answered.
    Connected {
        /// Who, if the answer says so: a ping's does not, nor does a listener of somebody else's.
        by: Option<WorkloadKey>,
    },
    /// There was an answer that nobody listens, or a reset.
    Refused,
    /// There was no answer in time.
    TimedOut,
    /// There was an answer that the packet cannot be delivered, or no route to send it by.
    Unreachable,
    /// The probe could not be sent, or ended in a way that says nothing about the network.
    Failed(String),
}

impl Outcome {
    /// True if someone answered.
    pub fn is_connected(&self) -> bool {
        matches!(self, Outcome::Connected { .. })
    }

    /// The outcome that an error of a socket stands for.
    fn of_error(error: &io::Error) -> Outcome {
        use nix::libc::{EACCES, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT, EPERM};
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset, _) => {
                Outcome::Refused
            }
            (io::ErrorKind::TimedOut, _) => Outcome::TimedOut,
            // What the kernel makes of the ICMP codes for prohibited and unreachable.
            (_, Some(EACCES | EHOSTUNREACH | ENETUNREACH | ENOPROTOOPT | EPERM)) => {
                Outcome::Unreachable
            }
            _ => Outcome::Failed(error.to_string()),
        }
    }
}

/// The name that answers carry, and back.
fn answer_of(key: &WorkloadKey) -> String {
    format!("{key}\n")
}

fn parse_answer(answer: &[u8]) -> Option<WorkloadKey> {
    let line = std::str::from_utf8(answer).ok()?.strip_suffix('\n')?;
    let (project, name) = line.split_once('/')?;
    Some(WorkloadKey::new(project, name))
}

/// The socket address family of an address.
fn domain_of(address: IpAddr) -> Domain {
    if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }
}

impl Lab {
    /// Makes a workload listen, until it is removed or the lab is no longer held here.
    pub fn listen(&mut self, key: &WorkloadKey, on: &[Listen]) -> Result<(), LabError> {
        let place = Place::Workload(key.clone());
        let addresses: Vec<IpAddr> = self
            .spec()
            .workload(key)
            .map(|workload| workload.addresses.iter().map(ipnet::IpNet::addr).collect())
            .unwrap_or_default();
        if self.responder.is_none() {
            raise_file_limit();
            self.responder = Some(Responder::start()?);
        }
        let sockets = self.run_in(&place, || respond::open(on, &addresses))?;
        let sockets =
            sockets.map_err(|(what, error)| LabError::io(format!("{key}: {what}"))(error))?;
        match &self.responder {
            Some(responder) => responder.add(key, sockets),
            None => Ok(()),
        }
    }

    /// Asks all questions, thousands at once, and returns the outcomes in the same order. `timeout`
    /// is for each probe by itself; what is denied without an answer takes that long.
    pub fn probe(&self, probes: &[Probe], timeout: Duration) -> Result<Vec<Outcome>, LabError> {
        raise_file_limit();
        check::run(self.record(), probes, timeout)
    }

    /// Opens a TCP connection from a workload to one that [listens](Lab::listen), and keeps it.
    pub fn connect(
        &self,
        from: &WorkloadKey,
        to: SocketAddr,
        timeout: Duration,
    ) -> Result<Flow, LabError> {
        let place = Place::Workload(from.clone());
        self.run_in(&place, || Flow::open(to, timeout))?
            .map_err(LabError::io(format!("connecting from {from} to {to}")))
    }
}

/// A TCP connection between two workloads.
#[derive(Debug)]
pub struct Flow {
    stream: BufReader<TcpStream>,
    by: Option<WorkloadKey>,
}

impl Flow {
    fn open(to: SocketAddr, timeout: Duration) -> io::Result<Flow> {
        let socket = Socket::new(domain_of(to.ip()), Type::STREAM, Some(Protocol::TCP))?;
        socket.connect_timeout(&SockAddr::from(to), timeout)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        let mut stream = BufReader::new(stream);
        let mut answer = Vec::new();
        stream.by_ref().take(ANSWER_BYTES_MAX as u64).read_until(b'\n', &mut answer)?;
        Ok(Flow { stream, by: parse_answer(&answer) })
    }

    /// Who accepted the connection, if the answer says so.
    pub fn by(&self) -> Option<&WorkloadKey> {
        self.by.as_ref()
    }

    /// The connection, for whatever else shall be done with it.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes and waits until they are back. Returns how long that took.
    ///
    /// # Errors
    ///
    /// Of kind `TimedOut` if they are not back in time, and of kind `InvalidData` if other bytes
    /// came back. The flow is of no use then.
    pub fn echo(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<Duration> {
        let start = Instant::now();
        let mut writer = self.stream.get_ref().try_clone()?;
        writer.set_write_timeout(Some(timeout))?;
        let timed_out = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::from(io::ErrorKind::TimedOut),
            _ => error,
        };
        std::thread::scope(|scope| {
            // Beside the reader, because what does not fit the buffers on the way would block.
            let sent = scope.spawn(move || writer.write_all(bytes));
            let mut back = vec![0; bytes.len()];
            let mut filled = 0;
            while filled < back.len() {
                let left = timeout.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.stream.get_ref().set_read_timeout(Some(left))?;
                match self.stream.read(&mut back[filled..]).map_err(timed_out)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => filled += count,
                }
            }
            sent.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            if back != bytes {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes came back"));
            }
            Ok(start.elapsed())
        })
    }
}

/// Raises the soft limit of open files to the hard one: labs of hundreds of workloads have
/// thousands of sockets. If that fails, opening a socket will say so.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!(%error, "could not raise the limit of open files");
    }
}

/// How many probes may be under way at once: a quarter of the files that may be open.
fn in_flight_max() -> usize {
    const MIN: u64 = 64;
    const MAX: u64 = 4096;
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(MIN, |(soft, _)| soft);
    usize::try_from((soft / 4).clamp(MIN, MAX)).unwrap_or(MIN as usize)
}
