//! Asking a running ovsdb-server (RFC 7047): one schema request, and one transaction that selects
//! every row of every table, so that what comes back is one state of the database.

use super::dump::Table;
use super::framing::{FrameError, Framer};
use serde_json::{Value, json};
use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long a whole conversation may take unless the caller says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// The database that is asked for.
const DATABASE: &str = "OVN_Northbound";
/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;
/// The most messages that are read while waiting for an answer: echo requests and notifications
/// that nobody asked for.
const OTHER_MESSAGES_MAX: usize = 10_000;

/// Where an ovsdb-server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host name or address, and a port.
    Tcp(String, u16),
}

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The text names no server.
    #[error(
        "{0:?} names no database server: expected unix:PATH or tcp:HOST:PORT (IPv6 in brackets); \
         for a server behind ssl:, dump it with `ovsdb-client -f json dump` and import the file"
    )]
    Remote(String),
    /// The connection failed.
    #[error("cannot {verb} {remote}: {source}; is ovsdb-server listening there?")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The server.
        remote: Remote,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The answer did not come in time.
    #[error("{remote} did not answer within {timeout:?}: is it overloaded, or no ovsdb-server?")]
    Timeout {
        /// The server.
        remote: Remote,
        /// How long was waited.
        timeout: Duration,
    },
    /// What the server sent is not JSON-RPC, or not the answer to what was asked.
    #[error("{remote} sent no valid answer to {request}: {problem}")]
    Protocol {
        /// The server.
        remote: Remote,
        /// What was asked.
        request: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The server refused.
    #[error("{remote} refused {request}: {reason}; is it the northbound database's server?")]
    Refused {
        /// The server.
        remote: Remote,
        /// What was asked.
        request: &'static str,
        /// What it said.
        reason: String,
    },
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Unix(path) => write!(f, "unix:{}", path.display()),
            Remote::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Remote::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl FromStr for Remote {
    type Err = FetchError;

    fn from_str(text: &str) -> Result<Remote, FetchError> {
        let bad = || FetchError::Remote(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Remote::Unix(path.into())) };
        }
        let rest = text.strip_prefix("tcp:").ok_or_else(bad)?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        if host.is_empty() || port == 0 {
            return Err(bad());
        }
        Ok(Remote::Tcp(host.to_owned(), port))
    }
}

/// Every table of the northbound database behind a server.
pub fn fetch(remote: &Remote, timeout: Duration) -> Result<Vec<Table>, FetchError> {
    let mut session = Session::connect(remote, timeout)?;
    let schema = session.request("get_schema", json!([DATABASE]))?;
    let columns = table_columns(&schema)
        .ok_or_else(|| session.protocol("get_schema", "it is no schema".to_owned()))?;
    let mut params = vec![json!(DATABASE)];
    params.extend(columns.iter().map(|(table, columns)| {
        json!({ "op": "select", "table": table, "where": [], "columns": columns })
    }));
    let results = session.request("transact", Value::Array(params))?;
    session.tables(columns, results)
}

/// The names of the tables and of their columns.
fn table_columns(schema: &Value) -> Option<Vec<(String, Vec<String>)>> {
    let tables = schema.get("tables")?.as_object()?;
    let mut named = Vec::with_capacity(tables.len());
    for (table, definition) in tables {
        let columns = definition.get("columns")?.as_object()?;
        let uuid = std::iter::once("_uuid".to_owned());
        named.push((table.clone(), uuid.chain(columns.keys().cloned()).collect()));
    }
    Some(named)
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

struct Session<'a> {
    remote: &'a Remote,
    timeout: Duration,
    deadline: Instant,
    stream: Stream,
    framer: Framer,
    last_id: u64,
}

impl<'a> Session<'a> {
    fn connect(remote: &'a Remote, timeout: Duration) -> Result<Session<'a>, FetchError> {
        let io = |source| FetchError::Io { verb: "connect to", remote: remote.clone(), source };
        let deadline = Instant::now() + timeout;
        let stream = match remote {
            Remote::Unix(path) => Stream::Unix(UnixStream::connect(path).map_err(io)?),
            Remote::Tcp(host, port) => {
                let mut last = std::io::Error::other("the name has no address");
                let mut connected = None;
                for address in (host.as_str(), *port).to_socket_addrs().map_err(io)? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => {
                            connected = Some(stream);
                            break;
                        }
                        Err(error) => last = error,
                    }
                }
                Stream::Tcp(connected.ok_or_else(|| io(last))?)
            }
        };
        let framer = Framer::default();
        Ok(Session { remote, timeout, deadline, stream, framer, last_id: 0 })
    }

    fn protocol(&self, request: &'static str, problem: String) -> FetchError {
        FetchError::Protocol { remote: self.remote.clone(), request, problem }
    }

    fn io(&self, verb: &'static str, source: std::io::Error) -> FetchError {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        match source.kind() {
            TimedOut | WouldBlock => self.timed_out(),
            _ => FetchError::Io { verb, remote: self.remote.clone(), source },
        }
    }

    fn timed_out(&self) -> FetchError {
        FetchError::Timeout { remote: self.remote.clone(), timeout: self.timeout }
    }

    /// The stream, set to give up at the deadline.
    fn stream(&mut self) -> Result<&mut dyn ReadWrite, FetchError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.timed_out());
        }
        let set = match &self.stream {
            Stream::Unix(s) => s.set_read_timeout(Some(left)).and(s.set_write_timeout(Some(left))),
            Stream::Tcp(s) => s.set_read_timeout(Some(left)).and(s.set_write_timeout(Some(left))),
        };
        set.map_err(|error| self.io("talk to", error))?;
        Ok(match &mut self.stream {
            Stream::Unix(stream) => stream,
            Stream::Tcp(stream) => stream,
        })
    }

    fn send(&mut self, message: &Value) -> Result<(), FetchError> {
        let bytes = message.to_string().into_bytes();
        let sent = self.stream()?.write_all(&bytes);
        sent.map_err(|error| self.io("send to", error))
    }

    /// Sends a request and waits for its result.
    fn request(&mut self, method: &'static str, params: Value) -> Result<Value, FetchError> {
        self.last_id += 1;
        let id = json!(self.last_id);
        self.send(&json!({ "id": id, "method": method, "params": params }))?;
        for _ in 0..OTHER_MESSAGES_MAX {
            let mut message = self.receive(method)?;
            if message.get("method").and_then(Value::as_str) == Some("echo") {
                let answer =
                    json!({ "id": message["id"], "result": message["params"], "error": null });
                self.send(&answer)?;
                continue;
            }
            if message.get("method").is_some() || message.get("id") != Some(&id) {
                continue;
            }
            if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
                return Err(FetchError::Refused {
                    remote: self.remote.clone(),
                    request: method,
                    reason: error.to_string(),
                });
            }
            return Ok(message["result"].take());
        }
        Err(self.protocol(method, format!("{OTHER_MESSAGES_MAX} other messages came instead")))
    }

    /// The next message, a JSON object.
    fn receive(&mut self, request: &'static str) -> Result<Value, FetchError> {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let frame = self.framer.next_frame();
            match frame.map_err(|error: FrameError| self.protocol(request, error.to_string()))? {
                Some(frame) => {
                    return serde_json::from_slice(&frame)
                        .map_err(|error| self.protocol(request, error.to_string()));
                }
                None => {
                    let read = self.stream()?.read(&mut bytes);
                    let count = read.map_err(|error| self.io("read from", error))?;
                    if count == 0 {
                        let problem = "it closed the connection".to_owned();
                        return Err(self.protocol(request, problem));
                    }
                    self.framer.push(&bytes[..count]);
                }
            }
        }
    }

    /// The rows of a transaction's results as tables.
    fn tables(
        &self,
        columns: Vec<(String, Vec<String>)>,
        mut results: Value,
    ) -> Result<Vec<Table>, FetchError> {
        let bad = |problem: String| self.protocol("transact", problem);
        let results = results.as_array_mut().ok_or_else(|| bad("it is no list".to_owned()))?;
        let mut tables = Vec::with_capacity(columns.len());
        for (n, (name, columns)) in columns.into_iter().enumerate() {
            let result = results.get_mut(n).ok_or_else(|| bad(format!("{name} is missing")))?;
            if let Some(error) = result.get("error") {
                return Err(FetchError::Refused {
                    remote: self.remote.clone(),
                    request: "transact",
                    reason: format!("table {name}: {error}"),
                });
            }
            let rows = result.get_mut("rows").and_then(Value::as_array_mut);
            let rows = rows.ok_or_else(|| bad(format!("table {name} has no rows")))?;
            let rows = rows.iter_mut().map(|row| {
                let value = |column: &String| row.get_mut(column).map(Value::take);
                let values: Option<Vec<Value>> = columns.iter().map(value).collect();
                values.ok_or_else(|| bad(format!("a row of table {name} lacks a column")))
            });
            let rows = rows.collect::<Result<_, _>>()?;
            tables.push(Table { name, columns, rows });
        }
        Ok(tables)
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_read() {
        for text in ["unix:/run/ovn/ovnnb_db.sock", "tcp:127.0.0.1:6641", "tcp:[::1]:6641"] {
            assert_eq!(text.parse::<Remote>().unwrap().to_string(), text);
        }
        for text in
            ["", "unix:", "tcp:", "tcp:h", "tcp:h:0", "tcp:::1:6641", "ssl:h:1", "tcp:[::1:1"]
        {
            let error = text.parse::<Remote>().unwrap_err().to_string();
            assert!(error.contains("expected unix:PATH or tcp:HOST:PORT"), "{error}");
        }
    }
}
