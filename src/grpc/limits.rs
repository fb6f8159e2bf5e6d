//! How large a message may be. tonic refuses by the length before the message (`OUT_OF_RANGE`), so nothing is allocated for
//! what a caller only claims to send.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// Of a request.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Of a request with many tokens, or with all roles.
pub(super) const LARGE_BYTES_MAX: usize = 1024 * 1024;
/// Of an answer: what clients of all languages take unless told otherwise.
pub(super) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) const BATCH_VERIFY: &str = "/postern.auth.v1.AuthService/BatchVerify";
pub(super) const APPLY_POLICY: &str = "/postern.admin.v1.AdminService/ApplyPolicy";

/// A service behind two doors, because tonic knows one limit for a whole service.
#[derive(Clone, Debug)]
pub(super) struct BySize<S> {
    usual: S,
    large: S,
    large_path: &'static str,
}

impl<S> BySize<S> {
    /// `door` makes the service with a limit; calls of `large_path` pass through the larger one.
    pub(super) fn new(large_path: &'static str, door: impl Fn(usize) -> S) -> Self {
        Self { usual: door(REQUEST_BYTES_MAX), large: door(LARGE_BYTES_MAX), large_path }
    }
}

impl<S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>> Service<Request<Body>> for BySize<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    /// Generated servers are always ready.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() == self.large_path { self.large.call(request) } else { self.usual.call(request) }
    }
}

impl<S: NamedService> NamedService for BySize<S> {
    const NAME: &'static str = S::NAME;
}
