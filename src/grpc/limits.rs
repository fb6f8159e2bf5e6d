//! How large a message may be. tonic refuses by the length before the message (`OUT_OF_RANGE`), so nothing is allocated for
//! what a caller only claims to send.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tower::Service;

use crate::proto::auth::v1::auth_service_server::{AuthService, AuthServiceServer, SERVICE_NAME};

/// Of a request.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Of a request with many tokens.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Of an answer: what clients of all languages take unless told otherwise.
pub(super) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

const BATCH_PATH: &str = "/postern.auth.v1.AuthService/BatchVerify";

/// AuthService behind two doors, because tonic knows one limit for a whole service.
#[derive(Debug)]
pub(super) struct BySize<T> {
    usual: AuthServiceServer<T>,
    batch: AuthServiceServer<T>,
}

impl<T: AuthService> BySize<T> {
    pub(super) fn new(service: T) -> Self {
        let service = Arc::new(service);
        let server = |limit| {
            AuthServiceServer::from_arc(Arc::clone(&service))
                .max_decoding_message_size(limit)
                .max_encoding_message_size(ANSWER_BYTES_MAX)
        };
        Self { usual: server(REQUEST_BYTES_MAX), batch: server(BATCH_BYTES_MAX) }
    }
}

impl<T> Clone for BySize<T> {
    fn clone(&self) -> Self {
        Self { usual: self.usual.clone(), batch: self.batch.clone() }
    }
}

impl<T: AuthService> Service<Request<Body>> for BySize<T> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    /// Generated servers are always ready.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() == BATCH_PATH { self.batch.call(request) } else { self.usual.call(request) }
    }
}

impl<T> NamedService for BySize<T> {
    const NAME: &'static str = SERVICE_NAME;
}
