//! The way to the controller, and what its refusals mean to a person.

use crate::cli::{CONTROLLER_DEFAULT, Global};
use crate::failure::{Failure, FailureKind};
use spanwire_adminproto::wire::admin_client::AdminClient;
use spanwire_adminproto::wire::admin_server::SERVICE_NAME;
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long to wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one of several controllers may take to say whether it serves.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an idle stream is checked, so that `watch` notices a controller that is gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The largest answer that is taken: the view of one host, or a page of resources.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Metadata of a call that reads: see `proto/spanwire/admin/v1/admin.proto`.
const READ_METADATA: &str = "spanwire-read";

/// The client of the admin API.
pub(crate) type Admin = AdminClient<InterceptedService<Channel, ReadMode>>;

/// How calls read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReadMode {
    /// Take what the controller has, whether or not it is current.
    pub(crate) stale: bool,
}

impl Interceptor for ReadMode {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if self.stale {
            request.metadata_mut().insert(READ_METADATA, MetadataValue::from_static("stale"));
        }
        Ok(request)
    }
}

/// The controllers that the command line names, in its order.
pub(crate) fn endpoints(global: &Global) -> Result<Vec<String>, Failure> {
    let named = global.controller.as_deref().unwrap_or(CONTROLLER_DEFAULT);
    let endpoints: Vec<String> = named
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if endpoints.is_empty() {
        return Err(Failure::new(FailureKind::Usage, format!("{named:?} names no controller"))
            .remedy("give one or more as HOST:PORT,HOST:PORT"));
    }
    Ok(endpoints)
}

/// Connects to the first of the controllers that the command line names which serves. One that waits to
/// be added, knows of no leader or does not answer speaks for itself alone, and only if all do so: then the
/// first that can be reached.
pub(crate) async fn connect(global: &Global) -> Result<Admin, Failure> {
    let endpoints = endpoints(global)?;
    let mode = ReadMode { stale: global.stale };
    if endpoints.len() > 1 {
        for address in &endpoints {
            if let Ok(channel) = connect_channel(address).await
                && is_serving(channel.clone()).await
            {
                return Ok(mk_admin(channel, mode));
            }
        }
    }
    connect_from(global, &endpoints, 0).await.map(|(_, admin)| admin)
}

/// Whether a controller says, in time, that it serves.
async fn is_serving(channel: Channel) -> bool {
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let asked = timeout(HEALTH_TIMEOUT, async { HealthClient::new(channel).check(request).await });
    match asked.await {
        Ok(Ok(response)) => response.into_inner().status() == ServingStatus::Serving,
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Connects to the first of several controllers that can be reached, beginning with the one at `first`
/// and going round. Returns which it is.
pub(crate) async fn connect_from(
    global: &Global,
    endpoints: &[String],
    first: usize,
) -> Result<(usize, Admin), Failure> {
    let mut failures = Vec::new();
    for turn in 0..endpoints.len() {
        let position = (first + turn) % endpoints.len();
        match connect_as(&endpoints[position], ReadMode { stale: global.stale }).await {
            Ok(admin) => return Ok((position, admin)),
            Err(failure) if failure.kind() == FailureKind::Usage => return Err(failure),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.len() {
        1 => Err(failures.remove(0)),
        count => {
            let each: Vec<&str> = failures.iter().map(Failure::message).collect();
            let message = format!("none of {count} controllers answers:\n  {}", each.join("\n  "));
            Err(Failure::new(FailureKind::Unreachable, message)
                .remedy("start them, or name others with --controller or SPANWIRE_CONTROLLER"))
        }
    }
}

/// Connects to a controller at `HOST:PORT`.
pub(crate) async fn connect_to(address: &str) -> Result<Admin, Failure> {
    connect_as(address, ReadMode::default()).await
}

async fn connect_as(address: &str, mode: ReadMode) -> Result<Admin, Failure> {
    connect_channel(address).await.map(|channel| mk_admin(channel, mode))
}

fn mk_admin(channel: Channel, mode: ReadMode) -> Admin {
    AdminClient::with_interceptor(channel, mode)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn connect_channel(address: &str) -> Result<Channel, Failure> {
    let bare = address.strip_prefix("http://").unwrap_or(address);
    let endpoint = Endpoint::from_shared(format!("http://{bare}")).map_err(|error| {
        Failure::caused(format!("{address:?} is no address of a controller"), &error)
            .of_kind(FailureKind::Usage)
            .remedy("give it as HOST:PORT, as 127.0.0.1:6690 or [::1]:6690")
    })?;
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .connect()
        .await
        .map_err(|error| {
            Failure::caused(format!("no controller answers at {bare}"), &error)
                .of_kind(FailureKind::Unreachable)
                .remedy(
                    "start one with `spanwire controller`, or name another with --controller or \
                     SPANWIRE_CONTROLLER",
                )
        })
}

/// Runs a client verb: on this thread, for it mostly waits.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("the runtime does not start", &error))?
        .block_on(future)
}

/// What a status means. `doing` says what was asked, as "apply 12 resources".
pub(crate) fn to_failure(doing: &str, status: &Status) -> Failure {
    let message = format!("{doing}: {}", status.message());
    match status.code() {
        Code::NotFound => Failure::new(FailureKind::NotFound, message),
        Code::DeadlineExceeded => Failure::new(FailureKind::Timeout, message),
        Code::Unavailable => Failure::new(FailureKind::Unreachable, message).remedy(
            "ask again: if this was a write, it may have happened, and doing it again is safe",
        ),
        Code::Unknown | Code::Cancelled if status.message().is_empty() || is_transport(status) => {
            Failure::new(
                FailureKind::Unreachable,
                format!("{doing}: the connection to the controller broke"),
            )
            .remedy(
                "ask again: if this was a write, it may have happened, and doing it again is safe",
            )
        }
        Code::OutOfRange => Failure::refused(message)
            .remedy("start from the present: list again, and watch from the revision of the list"),
        Code::Unimplemented => Failure::refused(message)
            .remedy("the controller is older than this client: use the client of its release"),
        _ => Failure::refused(message),
    }
}

/// True if the status was made on this side, out of a broken connection.
pub(crate) fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_exit_codes_of_their_own() {
        let cases = [
            (Status::not_found("x"), FailureKind::NotFound),
            (Status::invalid_argument("x"), FailureKind::Refused),
            (Status::failed_precondition("x"), FailureKind::Refused),
            (Status::unavailable("x"), FailureKind::Unreachable),
            (Status::deadline_exceeded("x"), FailureKind::Timeout),
            (Status::cancelled(""), FailureKind::Unreachable),
            (Status::out_of_range("x"), FailureKind::Refused),
        ];
        for (status, kind) in cases {
            let failure = to_failure("apply", &status);
            assert_eq!(failure.kind(), kind, "{}", failure.to_text());
        }
    }
}
