//! A netlink socket for routing messages.
//!
//! The kernel works on such a message before `send` returns, so the socket never waits: an answer
//! that is not there is an error and not a hang. Requests go out many to a datagram.

use crate::datapath::DatapathError;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// The most requests in one datagram. Every one is acknowledged with about 40 bytes, and all
/// acknowledgements must fit into the receive buffer.
const REQUESTS_PER_DATAGRAM: usize = 128;
/// The size of the receive buffer, in bytes.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A request that changes something.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The message.
    pub(crate) message: RouteNetlinkMessage,
    /// `NLM_F_CREATE`, `NLM_F_EXCL`, `NLM_F_REPLACE` and the like.
    pub(crate) flags: u16,
}

/// The socket.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// If the kernel does not give one.
    pub(crate) fn open() -> Result<Netlink, DatapathError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_rx_buf_sz(RECEIVE_BUFFER_BYTES)?;
            // Dumps are filtered by the kernel: a host may carry a million routes of others.
            socket.set_netlink_get_strict_chk(true)?;
            socket.set_cap_ack(true)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        match open() {
            Ok(socket) => Ok(Netlink { socket, sequence: 0 }),
            Err(source) => Err(failure("open a socket", &source)),
        }
    }

    /// Asks for all objects that match `message`. Those that cannot be decoded are left out: they
    /// are none of ours.
    ///
    /// # Errors
    ///
    /// If the kernel refuses or does not answer.
    pub(crate) fn dump(
        &mut self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, DatapathError> {
        // A dump that a change interrupts may lack something: it is marked, and asked for again.
        const ATTEMPTS_MAX: usize = 5;
        for _ in 0..ATTEMPTS_MAX {
            let mut buffer = Vec::new();
            let sequence = self.append(&mut buffer, message.clone(), NLM_F_REQUEST | NLM_F_DUMP);
            self.send(what, &buffer)?;
            if let Some(objects) = self.receive_dump(what, sequence)? {
                return Ok(objects);
            }
        }
        Err(DatapathError::Netlink {
            what: what.to_owned(),
            message: format!("the list changed during each of {ATTEMPTS_MAX} readings"),
        })
    }

    /// Executes requests in order and returns the outcome of each.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer at all.
    pub(crate) fn execute(
        &mut self,
        requests: &[Request],
    ) -> Result<Vec<Result<(), io::Error>>, DatapathError> {
        let what = "change the network";
        let mut outcomes = Vec::with_capacity(requests.len());
        for batch in requests.chunks(REQUESTS_PER_DATAGRAM) {
            let mut buffer = Vec::new();
            let first = self.sequence.wrapping_add(1);
            for request in batch {
                let flags = NLM_F_REQUEST | NLM_F_ACK | request.flags;
                self.append(&mut buffer, request.message.clone(), flags);
            }
            self.send(what, &buffer)?;
            let base = outcomes.len();
            outcomes.resize_with(base + batch.len(), || None);
            let mut waiting = batch.len();
            while waiting > 0 {
                for (sequence, answer) in self.receive(what)? {
                    let position = sequence.wrapping_sub(first) as usize;
                    if let Answer::Outcome(outcome) = answer
                        && position < batch.len()
                        && outcomes[base + position].is_none()
                    {
                        outcomes[base + position] = Some(outcome);
                        waiting -= 1;
                    }
                }
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn append(&mut self, buffer: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        // Messages in a datagram begin at multiples of four.
        let start = buffer.len().next_multiple_of(4);
        buffer.resize(start + message.buffer_len(), 0);
        message.serialize(&mut buffer[start..]);
        self.sequence
    }

    fn send(&self, what: &str, buffer: &[u8]) -> Result<(), DatapathError> {
        self.socket.send(buffer, 0).map(drop).map_err(|source| failure(what, &source))
    }

    /// `None` if the dump was interrupted.
    fn receive_dump(
        &self,
        what: &str,
        wanted: u32,
    ) -> Result<Option<Vec<RouteNetlinkMessage>>, DatapathError> {
        let (mut objects, mut complete) = (Vec::new(), true);
        loop {
            for (sequence, answer) in self.receive(what)? {
                if sequence != wanted {
                    continue;
                }
                match answer {
                    Answer::Object { object, interrupted } => {
                        complete &= !interrupted;
                        objects.extend(object.map(|object| *object));
                    }
                    Answer::Done { interrupted } => {
                        return Ok((complete && !interrupted).then_some(objects));
                    }
                    Answer::Outcome(Err(source)) => return Err(failure(what, &source)),
                    Answer::Outcome(Ok(())) => {}
                }
            }
        }
    }

    fn receive(&self, what: &str) -> Result<Vec<(u32, Answer)>, DatapathError> {
        let (datagram, _) =
            self.socket.recv_from_full().map_err(|source| failure(what, &source))?;
        Ok(split(&datagram))
    }
}

/// One message from the kernel.
enum Answer {
    /// An object of a dump, `None` if it could not be decoded.
    Object { object: Option<Box<RouteNetlinkMessage>>, interrupted: bool },
    /// The end of a dump.
    Done { interrupted: bool },
    /// An acknowledgement, or why not.
    Outcome(Result<(), io::Error>),
}

/// `NLM_F_DUMP_INTR`: the list changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x10;
const HEADER_BYTES: usize = 16;

/// The messages of a datagram with their sequence numbers.
fn split(datagram: &[u8]) -> Vec<(u32, Answer)> {
    let mut answers = Vec::new();
    let mut rest = datagram;
    while let Some(&[a, b, c, d, _, _, f, g, s, t, u, v, ..]) = rest.get(..HEADER_BYTES) {
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(message) = rest.get(..length).filter(|_| length >= HEADER_BYTES) else { break };
        let interrupted = u16::from_ne_bytes([f, g]) & DUMP_INTERRUPTED != 0;
        let sequence = u32::from_ne_bytes([s, t, u, v]);
        let answer = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
            Ok(message) => match message.payload {
                NetlinkPayload::Done(_) => Answer::Done { interrupted },
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    Answer::Outcome(Err(error.to_io()))
                }
                NetlinkPayload::Error(_) => Answer::Outcome(Ok(())),
                NetlinkPayload::InnerMessage(object) => {
                    Answer::Object { object: Some(Box::new(object)), interrupted }
                }
                _ => Answer::Object { object: None, interrupted },
            },
            Err(_) => Answer::Object { object: None, interrupted },
        };
        answers.push((sequence, answer));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

fn failure(what: &str, source: &io::Error) -> DatapathError {
    let message = match source.kind() {
        io::ErrorKind::WouldBlock => "the kernel gave no answer".to_owned(),
        io::ErrorKind::PermissionDenied => {
            format!("{source}; the agent must run as root in the host's network namespace")
        }
        _ => source.to_string(),
    };
    DatapathError::Netlink { what: what.to_owned(), message }
}
