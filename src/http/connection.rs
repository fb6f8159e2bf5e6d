//! One connection of HTTP/1.1: how long heads may take and be, how old it may grow, how it ends.

use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use crate::listener::Connection;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a peer may take of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// For each head, also while nothing is asked.
    pub(super) head: Duration,
    pub(super) head_bytes: usize,
    /// Then what was begun is answered, and no more.
    pub(super) age: Duration,
    /// For that answer.
    pub(super) farewell: Duration,
}

pub(super) async fn converse<S, B>(connection: Connection, service: S, bounds: Bounds, closing: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    // A head that is broken (400) or larger than that (431) is answered by hyper itself, in an empty body and without our
    // headers: it offers no way to have a word in it, and nothing is asked of us then. The connection ends there.
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.head).max_buf_size(bounds.head_bytes);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(connection.io), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = async {
            tokio::select! {
                () = tokio::time::sleep(bounds.age) => {}
                () = closing.cancelled() => {}
            }
        } => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(bounds.farewell, serving.as_mut()).await {
                Ok(ended) => ended,
                Err(_elapsed) => return,
            }
        }
    };
    if let Err(why) = ended {
        tracing::debug!(peer = %connection.peer, why = &why as &dyn std::error::Error, "a connection failed");
    }
}
