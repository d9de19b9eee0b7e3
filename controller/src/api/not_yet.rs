//! The services of a controller that waits to be added to a cluster: whoever calls is told so, and to
//! go elsewhere.

use super::write::OUTCOME_METADATA;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataValue;
use tonic::server::NamedService;

/// In the place of a service `S`. Every call is UNAVAILABLE, and was not applied: a client that knows
/// several controllers asks the next one, and one whose write is unknown goes on asking.
#[derive(Debug)]
pub struct NotYet<S>(PhantomData<fn() -> S>);

impl<S> NotYet<S> {
    /// In the place of `S`.
    pub fn new() -> NotYet<S> {
        NotYet(PhantomData)
    }
}

impl<S> Default for NotYet<S> {
    fn default() -> NotYet<S> {
        NotYet::new()
    }
}

impl<S> Clone for NotYet<S> {
    fn clone(&self) -> NotYet<S> {
        NotYet::new()
    }
}

impl<S: NamedService> NamedService for NotYet<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for NotYet<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let why = "this controller waits to be added to a cluster; nothing was changed";
        let mut status = Status::unavailable(why);
        let outcome = MetadataValue::from_static("not-applied");
        status.metadata_mut().insert(OUTCOME_METADATA, outcome);
        ready(Ok(status.into_http()))
    }
}
