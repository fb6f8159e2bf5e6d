//! TLS on all listeners: which certificate is shown, who vouches for callers, and which names a caller proved. Owns the
//! files of `[tls]` and reads them anew when they change; must not know what is said over a connection, nor what a proven
//! name may do.

mod client;
mod files;
mod names;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::clock::Clock;
use crate::config::{self, SecretError};
use crate::domain::client::San;
use crate::domain::time::Timestamp;
use files::{Files, Loaded};

pub use client::{ClientTlsError, client_config};
pub use watch::POLL_INTERVAL;

/// For whoever failed to shake hands, to hear why.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 64 * 1024;

/// An encrypted connection.
pub type Stream = tokio_rustls::server::TlsStream<TcpStream>;

/// What is spoken inside, which both sides agree on in the handshake (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2, with client certificates if there is somebody to vouch for them.
    Grpc,
    /// HTTP/1.1, for anybody: a probe has no certificate.
    Operations,
}

/// Why the files of `[tls]` cannot be used. Names paths, never what a key file holds.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{setting} {}: cannot be read: {source}", .path.display())]
    Unreadable { setting: &'static str, path: PathBuf, source: io::Error },
    #[error("{setting} {}: {wrong}", .path.display())]
    Unusable { setting: &'static str, path: PathBuf, wrong: String },
    #[error("tls.key {0}")]
    Key(#[from] SecretError),
    #[error("tls.key {}: not the key of the certificate in {}", .key.display(), .certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
    #[error("tls.certificate {}: ended at {ended}", .path.display())]
    Ended { path: PathBuf, ended: Timestamp },
    #[error("tls.certificate {}: begins at {begins}", .path.display())]
    NotYet { path: PathBuf, begins: Timestamp },
}

/// The server's side of TLS, as the files said when they were last good.
pub struct ServerTls {
    files: Files,
    clock: Clock,
    /// Read by each handshake; connections that were opened before a change go on as they are.
    loaded: ArcSwap<Loaded>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, certificate and key do not belong together, or the certificate is not valid now.
    pub fn load(settings: config::Tls, clock: Clock) -> Result<Self, TlsError> {
        let files = Files(settings);
        let loaded = ArcSwap::from_pointee(files.load(&clock)?);
        Ok(Self { files, clock, loaded })
    }

    /// Shakes hands. Answers the names that the caller proved; none if it showed no certificate.
    ///
    /// # Errors
    /// If the caller speaks no TLS of ours, or shows a certificate that nobody here vouches for.
    pub async fn accept(&self, protocol: Protocol, stream: TcpStream) -> io::Result<(Stream, Arc<[San]>)> {
        let config = self.loaded.load().config(protocol);
        let stream = match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((why, stream)) => {
                part(stream).await;
                return Err(why);
            }
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let names = certificates.first().map_or_else(|| Arc::from([]), names::in_certificate);
        Ok((stream, names))
    }

    /// Reads the files again; tells whether they had changed. New handshakes use what they say now.
    ///
    /// # Errors
    /// As [`Self::load`]; what was good stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let next = self.files.load(&self.clock)?;
        let is_news = next.fingerprint != self.loaded.load().fingerprint;
        if is_news {
            self.loaded.store(Arc::new(next));
        }
        Ok(is_news)
    }

    /// When the certificate ends.
    pub fn ends(&self) -> Option<Timestamp> {
        files::ends(&self.loaded.load().certificate)
    }

    /// When the certificate ends, if that is soon enough to worry.
    pub fn ends_soon(&self) -> Option<Timestamp> {
        files::ends_soon(&self.loaded.load().certificate, self.clock.now())
    }
}

/// Lets the other side hear why (the alert was sent). Closed with words of theirs unread, the connection would be reset, and
/// a reset overtakes what was sent before it.
async fn part(mut stream: TcpStream) {
    let hear_out = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(PARTING_BYTES), &mut tokio::io::sink()).await
    };
    // Whoever is gone already needs no explanation.
    drop(tokio::time::timeout(PARTING, hear_out).await);
}
