//! One HTTP/2 connection: how it must begin, how much it may ask for at once, and how it ends. The limits are set by hand,
//! since some of them are unlimited by default (CVE-2023-44487, CVE-2025-8671, RUSTSEC-2024-0332).

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use crate::grpc::layers::Answer;
use crate::grpc::peer::Peer;
use crate::listener::{Connection, Io, Patience};

/// Stands against one connection taking all of a server. More calls wait in the client.
const STREAMS_MAX: u32 = 128;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Of streams that the peer reset before we saw them.
const PENDING_RESETS_MAX: usize = 20;
/// Of streams that the peer provoked us to reset.
const OWN_RESETS_MAX: usize = 1024;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How connections are held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    pub(super) patience: Patience,
    /// After which the peer is asked to connect anew.
    pub(super) age: Duration,
}

/// Answers the calls of one connection, until the peer ends it, does not answer, grows old, or `closing`.
pub(super) async fn serve<S: Answer>(
    connection: Connection,
    service: Arc<S>,
    manners: Manners,
    closing: CancellationToken,
) {
    let Manners { patience, age } = manners;
    let Connection { mut io, peer: address, names } = connection;
    // Asked for before h2, which would wait for it for ever.
    if !matches!(tokio::time::timeout(patience.head, begins_well(&mut io)).await, Ok(Ok(true))) {
        return;
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(OWN_RESETS_MAX)
        .keep_alive_interval(patience.ping_interval)
        .keep_alive_timeout(patience.ping);
    let calls = Calls { service, peer: Peer { address, names } };
    let mut serving = pin!(builder.serve_connection(TokioIo::new(Begun { io, replayed: 0 }), calls));
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = tokio::time::sleep(spread(age)) => None,
        () = closing.cancelled() => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        // The peer is told to call elsewhere (GOAWAY), and gets answers to what it has begun.
        serving.as_mut().graceful_shutdown();
        tokio::time::timeout(patience.farewell, serving).await.unwrap_or(Ok(()))
    };
    if let Err(why) = ended {
        tracing::debug!(%address, why = &why as &dyn std::error::Error, "a connection failed");
    }
}

/// Whether the peer speaks HTTP/2, once it has said so.
async fn begins_well(io: &mut Io) -> io::Result<bool> {
    let mut preface = [0; PREFACE.len()];
    io.read_exact(&mut preface).await?;
    Ok(&preface == PREFACE)
}

/// A tenth more or less, so that clients that came together, after a restart, do not leave together for ever.
fn spread(age: Duration) -> Duration {
    let chance = RandomState::new().hash_one(()) % 2_001;
    let thousandths = 900 + u32::try_from(chance / 10).unwrap_or_default();
    age / 1_000 * thousandths
}

/// The calls of one connection; each knows whom it comes from.
struct Calls<S> {
    service: Arc<S>,
    peer: Peer,
}

impl<S: Answer> hyper::service::Service<Request<Incoming>> for Calls<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.peer.clone());
        let service = Arc::clone(&self.service);
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// A connection whose preface was read, and is read once more.
struct Begun {
    io: Io,
    replayed: usize,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match PREFACE.get(self.replayed..) {
            Some(rest) if !rest.is_empty() => {
                let part = rest.get(..buffer.remaining().min(rest.len())).unwrap_or_default();
                buffer.put_slice(part);
                self.replayed += part.len();
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut self.io).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_spread_over_a_fifth() {
        let age = Duration::from_secs(1_000);
        let ages: Vec<Duration> = (0..200).map(|_| spread(age)).collect();
        assert!(ages.iter().all(|age| (900..=1_100).contains(&age.as_secs())), "{ages:?}");
        let (least, most) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
        assert!(most.saturating_sub(*least) > Duration::from_secs(100), "{least:?} {most:?}");
    }
}
