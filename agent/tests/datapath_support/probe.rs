//! Packets from one workload to another, and what became of them.
//!
//! Workloads answer TCP on [`TCP_PORTS`] and UDP on [`UDP_PORTS`] with their own name, so that a
//! probe learns not only that somebody answered but who.

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The ports that workloads answer TCP on.
pub(crate) const TCP_PORTS: [u16; 4] = [80, 443, 8080, 8443];
/// The ports that workloads answer UDP on.
pub(crate) const UDP_PORTS: [u16; 2] = [53, 5353];

/// How long a probe waits before it takes silence for an answer. Where another answer is expected,
/// a second and a third try have more patience: a busy machine is slow, and the first packet
/// between two namespaces may be lost to address resolution in the underlay.
pub(crate) const PATIENCE: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// Tells probes apart.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// What a probe sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A TCP connection to that port.
    Tcp(u16),
    /// A datagram to that port.
    Udp(u16),
    /// An echo request of the address's family.
    Ping,
    /// An ICMP timestamp request, which Linux answers too.
    Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This workload got it, and its answer came back.
    Answered(String),
    /// Somebody on the way said that it is not allowed, or nobody listens.
    Refused,
    /// Somebody on the way said that there is no route.
    NoRoute,
    /// Nothing came back.
    Silence,
}

/// Runs something on a thread in a network namespace.
pub(crate) fn in_namespace<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let path = format!("/run/netns/{namespace}");
    std::thread::spawn(move || {
        setns(File::open(&path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
    .join()
    .unwrap()
}

/// The servers of a workload. They end with the process.
pub(crate) fn serve(namespace: &str, name: &str) {
    let name = Arc::new(name.to_owned());
    in_namespace(namespace, move || {
        for port in TCP_PORTS {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
            let name = Arc::clone(&name);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let name = Arc::clone(&name);
                    std::thread::spawn(move || converse(stream, &name));
                }
            });
        }
        for port in UDP_PORTS {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
            let name = Arc::clone(&name);
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    RECEIVED.lock().unwrap().push((buffer[..length].to_vec(), name.to_string()));
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            });
        }
    });
}

/// Datagrams that servers got, and which of them.
static RECEIVED: Mutex<Vec<(Vec<u8>, String)>> = Mutex::new(Vec::new());

/// Which server got a datagram with this content, if any did.
pub(crate) fn received(content: &[u8]) -> Option<String> {
    let received = RECEIVED.lock().unwrap();
    received.iter().find(|(sent, _)| sent == content).map(|(_, name)| name.clone())
}

/// Greets with its name, then sends back the number of bytes of each chunk it reads.
fn converse(mut stream: TcpStream, name: &str) {
    if stream.write_all(format!("{name}\n").as_bytes()).is_err() {
        return;
    }
    let mut buffer = vec![0; 1 << 16];
    let mut total: u64 = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        total += length as u64;
        // One byte acknowledges each chunk, so that a client can tell that it lives.
        if stream.write_all(b".").is_err() {
            return;
        }
    }
    let _ = total;
}

/// Sends and waits for so long. `source` makes it forge its address, which the workload must have
/// been given.
pub(crate) fn send(
    namespace: &str,
    source: Option<IpAddr>,
    to: IpAddr,
    sent: Sent,
    patience: Duration,
) -> Outcome {
    in_namespace(namespace, move || match sent {
        Sent::Tcp(port) => tcp(SocketAddr::new(to, port), patience),
        Sent::Udp(port) => udp(source, SocketAddr::new(to, port), patience),
        Sent::Ping => icmp(to, if to.is_ipv4() { 8 } else { 128 }, patience),
        Sent::Timestamp => icmp(to, 13, patience),
    })
}

/// What an error on a socket says about the way.
fn outcome_of(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::EACCES) => Outcome::Refused,
        Some(libc::ENETUNREACH) => Outcome::NoRoute,
        _ => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::Silence,
            _ => panic!("unexpected error: {error}"),
        },
    }
}

fn tcp(to: SocketAddr, patience: Duration) -> Outcome {
    match connect(to, patience) {
        Ok((_, name)) => Outcome::Answered(name),
        Err(error) => outcome_of(&error),
    }
}

/// Connects and reads who is there.
pub(crate) fn connect(to: SocketAddr, patience: Duration) -> io::Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut name = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok((stream, String::from_utf8_lossy(&name).into_owned()));
        }
        name.push(byte[0]);
    }
}

fn udp(source: Option<IpAddr>, to: SocketAddr, patience: Duration) -> Outcome {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let unspecified = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
    let socket = UdpSocket::bind((source.unwrap_or(unspecified), 0)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.connect(to).unwrap();
    socket.send(&number).unwrap();
    let mut buffer = [0; 64];
    let heard = socket.recv(&mut buffer);
    let got = received(&number);
    match (got, heard) {
        // The answer to a forged source goes elsewhere.
        (Some(name), Ok(_)) => Outcome::Answered(name),
        (Some(name), Err(_)) if source.is_some() => Outcome::Answered(name),
        (Some(name), Err(error)) => panic!("{name} got it, but did not answer: {error}"),
        (None, Ok(_)) => panic!("an answer to what nobody got"),
        (None, Err(error)) => outcome_of(&error),
    }
}

/// Echo and timestamp requests. The kernel of the workload answers, so the name is not known: it is
/// `kernel`.
fn icmp(to: IpAddr, icmp_type: u8, patience: Duration) -> Outcome {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket::socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    let identity = NUMBER.fetch_add(1, Ordering::Relaxed) as u16;
    let [high, low] = identity.to_be_bytes();
    let mut packet = [icmp_type, 0, 0, 0, high, low, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if to.is_ipv4() {
        // In IPv6 the kernel fills it in.
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    let address = SockaddrStorage::from(SocketAddr::new(to, 0));
    socket::sendto(socket.as_raw_fd(), &packet, &address, MsgFlags::empty()).unwrap();
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Outcome::Silence;
        }
        let wait = TimeVal::microseconds(left.as_micros().max(1000) as i64);
        socket::setsockopt(&socket, sockopt::ReceiveTimeout, &wait).unwrap();
        match socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                if let Some(outcome) = icmp_answer(&buffer[..length], to, icmp_type, identity) {
                    return outcome;
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => panic!("unexpected error: {error}"),
        }
    }
}

/// What a received message says about a request, if it is about that.
fn icmp_answer(received: &[u8], to: IpAddr, icmp_type: u8, identity: u16) -> Option<Outcome> {
    // Only in IPv4 does the socket pass on the IP header, which has no options here.
    let (message, inner_header) = match to {
        IpAddr::V4(_) => (received.get(20..)?, 20),
        IpAddr::V6(_) => (received, 40),
    };
    let number = |message: &[u8]| Some(u16::from_be_bytes([*message.get(4)?, *message.get(5)?]));
    let answer = match icmp_type {
        8 => 0,
        other => other + 1,
    };
    let unreachable = if to.is_ipv4() { 3 } else { 1 };
    match *message.first()? {
        kind if kind == answer && number(message)? == identity => {
            Some(Outcome::Answered("kernel".to_owned()))
        }
        kind if kind == unreachable => {
            let inner = message.get(8 + inner_header..)?;
            (number(inner)? == identity).then(|| match message[1] {
                0 => Outcome::NoRoute,
                _ => Outcome::Refused,
            })
        }
        _ => None,
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(packet: &[u8]) -> u16 {
    let sum: u32 =
        packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Waits until `ready`, at most for some seconds.
pub(crate) fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !ready() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A thread that lives in a namespace and works on something that must stay there.
pub(crate) struct Resident<S> {
    work: Option<mpsc::Sender<Work<S>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Work<S> = Box<dyn FnOnce(&mut S) + Send>;

impl<S: 'static> Resident<S> {
    /// Makes the thing in the namespace.
    pub(crate) fn start(namespace: &str, make: impl FnOnce() -> S + Send + 'static) -> Resident<S> {
        let path = format!("/run/netns/{namespace}");
        let (work, queue) = mpsc::channel::<Work<S>>();
        let thread = std::thread::spawn(move || {
            setns(File::open(&path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let mut state = make();
            for work in queue {
                work(&mut state);
            }
        });
        Resident { work: Some(work), thread: Some(thread) }
    }

    /// Does something with it and returns the outcome.
    pub(crate) fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> T {
        let (outcome_tx, outcome) = mpsc::channel();
        let work: Work<S> = Box::new(move |state| {
            let _ = outcome_tx.send(work(state));
        });
        self.work.as_ref().unwrap().send(work).unwrap();
        outcome.recv().expect("the resident thread panicked")
    }
}

impl<S> Drop for Resident<S> {
    fn drop(&mut self) {
        self.work.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
