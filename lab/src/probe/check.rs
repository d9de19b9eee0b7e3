//! The asking side: many probes at once on one thread.

use super::{ANSWER_BYTES_MAX, Check, Outcome, Probe, domain_of, in_flight_max, parse_answer};
use crate::error::LabError;
use crate::namespace;
use crate::record::{LabRecord, Place};
use crate::spec::WorkloadKey;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Protocol, SockAddr, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long a connection that is open may take to say who accepted it. It is no part of the
/// question, so it does not count against the timeout.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// ICMP and ICMPv6 echo requests: type, code, checksum, identifier, sequence. The kernel fills in
/// the checksum and the identifier, and hands us only the answers to our own.
const ECHO_REQUEST_V4: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
const ECHO_REQUEST_V6: [u8; 8] = [128, 0, 0, 0, 0, 0, 0, 1];

/// What a probe waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// That its connection opens.
    Connecting,
    /// The name of who accepted it.
    AwaitingName,
    /// The answer to its packet.
    AwaitingReply,
}

/// A probe under way.
struct Attempt {
    socket: Socket,
    stage: Stage,
    received: Vec<u8>,
    deadline: Instant,
    /// What was said of a connection that is neither open nor has a reason not to be.
    puzzle: Option<EpollFlags>,
}

/// The probes under way, by their position in the list.
struct Prober {
    epoll: Epoll,
    attempts: BTreeMap<usize, Attempt>,
    deadlines: BTreeSet<(Instant, usize)>,
    outcomes: Vec<Option<Outcome>>,
}

/// Asks all questions, on a thread that goes from namespace to namespace.
pub(super) fn run(
    record: &LabRecord,
    probes: &[Probe],
    timeout: Duration,
) -> Result<Vec<Outcome>, LabError> {
    let work = || -> Result<Vec<Outcome>, LabError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| LabError::io("making an epoll")(errno.into()))?;
        let outcomes = vec![None; probes.len()];
        let (attempts, deadlines) = (BTreeMap::new(), BTreeSet::new());
        let mut prober = Prober { epoll, attempts, deadlines, outcomes };
        let mut entered: Option<&WorkloadKey> = None;
        let in_flight_max = in_flight_max();
        for (index, probe) in probes.iter().enumerate() {
            while prober.attempts.len() >= in_flight_max {
                prober.wait()?;
            }
            if entered != Some(&probe.from) {
                namespace::enter(&record.namespace(&Place::Workload(probe.from.clone()))?)?;
                entered = Some(&probe.from);
            }
            prober.start(index, probe, timeout)?;
        }
        while !prober.attempts.is_empty() {
            prober.wait()?;
        }
        // None is left open: each attempt that ended has left its outcome.
        Ok(prober.outcomes.into_iter().map(|it| it.unwrap_or(Outcome::TimedOut)).collect())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("lab-probe".to_owned())
            .spawn_scoped(scope, work)
            .map_err(LabError::io("starting a thread"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Opens a socket and sends, without waiting.
fn open(probe: &Probe) -> io::Result<(Socket, Stage)> {
    let address = probe.check.address();
    let domain = domain_of(address);
    let echo = if address.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let (kind, protocol, to) = match probe.check {
        Check::Tcp(to) => (Type::STREAM, Protocol::TCP, to),
        Check::Udp(to) => (Type::DGRAM, Protocol::UDP, to),
        Check::Ping(to) => (Type::DGRAM, echo, SocketAddr::new(to, 0)),
    };
    let mut socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if kind == Type::DGRAM {
        // Without this the kernel keeps to itself that a router could not deliver a packet.
        match address {
            IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
    }
    if let Some(source) = probe.source {
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    match socket.connect(&SockAddr::from(to)) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let stage = match probe.check {
        Check::Tcp(_) => {
            // Closing resets the connection, so that thousands leave no trace in the kernel.
            socket.set_linger(Some(Duration::ZERO))?;
            Stage::Connecting
        }
        Check::Udp(_) => {
            socket.write_all(b"probe\n")?;
            Stage::AwaitingReply
        }
        Check::Ping(_) => {
            socket.write_all(if address.is_ipv4() {
                &ECHO_REQUEST_V4
            } else {
                &ECHO_REQUEST_V6
            })?;
            Stage::AwaitingReply
        }
    };
    Ok((socket, stage))
}

impl Prober {
    fn start(&mut self, index: usize, probe: &Probe, timeout: Duration) -> Result<(), LabError> {
        let (socket, stage) = match open(probe) {
            Ok(opened) => opened,
            Err(error) => {
                self.outcomes[index] = Some(Outcome::of_error(&error));
                return Ok(());
            }
        };
        let interest = match stage {
            Stage::Connecting => EpollFlags::EPOLLOUT,
            Stage::AwaitingName | Stage::AwaitingReply => EpollFlags::EPOLLIN,
        };
        self.epoll
            .add(&socket, EpollEvent::new(interest, index as u64))
            .map_err(|errno| LabError::io("watching a socket")(errno.into()))?;
        let deadline = Instant::now() + timeout;
        self.deadlines.insert((deadline, index));
        self.attempts
            .insert(index, Attempt { socket, stage, received: Vec::new(), deadline, puzzle: None });
        Ok(())
    }

    /// Waits until something happens to at least one attempt, and deals with it.
    fn wait(&mut self) -> Result<(), LabError> {
        let now = Instant::now();
        let wait = self.deadlines.first().map_or(Duration::ZERO, |(d, _)| d.duration_since(now));
        // Rounded up, so that a wait does not end a moment before the deadline, again and again.
        let timeout =
            EpollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX);
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(errno) => return Err(LabError::io("waiting for sockets")(errno.into())),
        };
        for event in &events[..count] {
            if let Ok(index) = usize::try_from(event.data()) {
                self.process_event(index, event.events())?;
            }
        }
        // Only once everything that has arrived was looked at: if this thread was slow, that is
        // nobody's timeout.
        if count < EVENTS_MAX {
            self.process_deadlines(Instant::now());
        }
        Ok(())
    }

    fn process_event(&mut self, index: usize, events: EpollFlags) -> Result<(), LabError> {
        let Some(attempt) = self.attempts.get_mut(&index) else { return Ok(()) };
        let outcome = match attempt.stage {
            // The kernel says that there is an error a moment before it says which: a socket with neither
            // an error nor a peer is asked again, as long as the kernel reports it.
            Stage::Connecting => match attempt.socket.take_error() {
                Ok(None) if attempt.socket.peer_addr().is_err() => {
                    attempt.puzzle = Some(events);
                    None
                }
                Ok(None) => {
                    attempt.stage = Stage::AwaitingName;
                    self.deadlines.remove(&(attempt.deadline, index));
                    attempt.deadline = Instant::now() + ANSWER_WAIT;
                    self.deadlines.insert((attempt.deadline, index));
                    let mut event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
                    self.epoll
                        .modify(&attempt.socket, &mut event)
                        .map_err(|errno| LabError::io("watching a socket")(errno.into()))?;
                    None
                }
                Ok(Some(error)) | Err(error) => Some(Outcome::of_error(&error)),
            },
            Stage::AwaitingName => receive_name(attempt),
            Stage::AwaitingReply => receive_reply(attempt),
        };
        if let Some(outcome) = outcome {
            self.end(index, outcome);
        }
        Ok(())
    }

    fn process_deadlines(&mut self, now: Instant) {
        while let Some(&(deadline, index)) = self.deadlines.first()
            && deadline <= now
        {
            let outcome = match self.attempts.get(&index) {
                // The question was whether it opens, and it did.
                Some(Attempt { stage: Stage::AwaitingName, .. }) => Outcome::Connected { by: None },
                // News about the kernel, and no answer.
                Some(Attempt { puzzle: Some(events), .. }) => Outcome::Failed(format!(
                    "it has neither error nor peer, and the kernel reported {events:?}"
                )),
                _ => Outcome::TimedOut,
            };
            self.end(index, outcome);
        }
    }

    /// Ends an attempt; closing its socket takes it out of the epoll as well.
    fn end(&mut self, index: usize, outcome: Outcome) {
        if let Some(attempt) = self.attempts.remove(&index) {
            self.deadlines.remove(&(attempt.deadline, index));
        }
        self.outcomes[index] = Some(outcome);
    }
}

/// Reads more of the name; the outcome, once that is known.
fn receive_name(attempt: &mut Attempt) -> Option<Outcome> {
    let mut bytes = [0; ANSWER_BYTES_MAX];
    match attempt.socket.read(&mut bytes) {
        Ok(count) => {
            attempt.received.extend_from_slice(&bytes[..count]);
            let complete = attempt.received.ends_with(b"\n");
            let ended = count == 0 || attempt.received.len() >= ANSWER_BYTES_MAX;
            (complete || ended).then(|| Outcome::Connected { by: parse_answer(&attempt.received) })
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        // It was open: who closed it, and why, is not asked.
        Err(_) => Some(Outcome::Connected { by: None }),
    }
}

/// Reads the answer to a packet; the outcome, if there is one.
fn receive_reply(attempt: &mut Attempt) -> Option<Outcome> {
    let mut bytes = [0; ANSWER_BYTES_MAX];
    match attempt.socket.read(&mut bytes) {
        Ok(count) => {
            let name = bytes[..count].strip_prefix(b"probe\n").and_then(parse_answer);
            Some(Outcome::Connected { by: name })
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Outcome::of_error(&error)),
    }
}
