//! The operations port: is the process alive, should it be sent work, what has it counted. Owns nothing but these three
//! answers, and must not know what makes the process ready, nor any engine: a probe that asked one would turn its outage
//! into ours.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::get;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use super::connection::{Bounds, converse};
use crate::listener::Listener;
use crate::metrics::{Format, Metrics};
use crate::readiness::{Readiness, State};

/// How long an open connection may hold up the end.
const DRAIN: Duration = Duration::from_secs(2);
/// A probe is done in milliseconds; whoever does not read its answers is no probe.
const CONNECTION_AGE: Duration = Duration::from_mins(1);
/// hyper's least. A probe sends two hundred bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Answers probes until `shutdown`. Whoever wants a draining process to be seen as such ends this port last.
pub async fn serve(listener: Listener, readiness: Arc<Readiness>, metrics: Metrics, shutdown: CancellationToken) {
    let head = listener.patience.head;
    let bounds = Bounds { head, head_bytes: HEAD_BYTES_MAX, age: CONNECTION_AGE, farewell: DRAIN };
    let (routes, closing) = (routes(readiness, metrics), shutdown.clone());
    let speak = move |it| converse(it, TowerToHyperService::new(routes.clone()), bounds, closing.clone());
    let answers = listener.serve(speak, shutdown.clone());
    tokio::select! {
        () = answers => {}
        () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => {}
    }
}

/// Any other path is not found: nothing here tells what the process is, or of which version.
fn routes(readiness: Arc<Readiness>, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(|headers: HeaderMap| async move { told(&metrics, &headers) }))
}

/// In the form that the scraper knows.
fn told(metrics: &Metrics, headers: &HeaderMap) -> ([(HeaderName, &'static str); 1], String) {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    ([(CONTENT_TYPE, format.content_type())], metrics.text(format))
}

async fn readyz(Shared(readiness): Shared<Arc<Readiness>>) -> (StatusCode, &'static str) {
    match readiness.state() {
        State::Ready => (StatusCode::OK, "ready\n"),
        State::Loading => (StatusCode::SERVICE_UNAVAILABLE, "not ready: the feed was not loaded yet\n"),
        State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "not ready: draining\n"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::tls::Protocol;

    #[tokio::test]
    async fn probes_are_answered_and_nothing_else() {
        let listener = Listener::local(Protocol::Operations).await;
        let port = listener.socket.local_addr().unwrap().port();
        let (readiness, metrics) = (Arc::new(Readiness::default()), Metrics::new());
        metrics.sign_in(false);
        let shutdown = CancellationToken::new();
        let ask = async |path: &str| {
            let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            assert!(!answer.to_ascii_lowercase().contains("server:"), "{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            (status, body.to_owned())
        };
        let asked = async {
            assert_eq!(ask("/livez").await, (200, "alive\n".to_owned()));
            assert_eq!(ask("/readyz").await.0, 503);
            readiness.loaded();
            assert_eq!(ask("/readyz").await, (200, "ready\n".to_owned()));
            readiness.drain();
            assert_eq!(ask("/readyz").await, (503, "not ready: draining\n".to_owned()));
            assert_eq!(ask("/livez").await.0, 200);
            let (status, text) = ask("/metrics").await;
            assert_eq!(status, 200);
            assert!(text.contains("postern_sign_ins_total{result=\"failure\"} 1\n"), "{text}");
            for path in ["/", "/metrics/", "/livez/", "/readyz/x"] {
                assert_eq!(ask(path).await.0, 404, "{path}");
            }
            shutdown.cancel();
        };
        let ((), ()) = tokio::join!(serve(listener, Arc::clone(&readiness), metrics, shutdown.clone()), asked);
    }
}
