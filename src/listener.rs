//! Where connections come in, for every port alike: how many there may be, from whom, encrypted or not, and how they end.
//! Must not know what is said over them; the port that is given one decides how long it may be silent.

mod io;
mod lanes;
mod places;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::client::San;
use crate::tls::{Protocol, ServerTls};
use places::Places;

pub use io::Io;
pub use lanes::Lanes;
pub use places::{Connections, Limits};

/// While the process has no descriptor left, asking again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may take. Not settings: nobody has a reason to wait longer, and tests wait less.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For what an HTTP connection begins with: the preface of HTTP/2, each head of HTTP/1.1.
    pub head: Duration,
    /// Between two questions whether the peer is still there.
    pub ping_interval: Duration,
    /// For the answer to one.
    pub ping: Duration,
    /// For calls that have begun, once a connection is old.
    pub farewell: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            ping: Duration::from_secs(10),
            // Above the longest deadline of a call.
            farewell: Duration::from_mins(1),
        }
    }
}

/// An open port.
pub struct Listener {
    pub socket: TcpListener,
    /// Unset: clear text.
    pub tls: Option<Arc<ServerTls>>,
    pub protocol: Protocol,
    pub limits: Limits,
    pub patience: Patience,
    pub clock: Clock,
    pub counts: Connections,
    /// Where connections are spoken with. Unset: where the port is served.
    pub lanes: Option<Lanes>,
}

/// A connection that may speak.
pub struct Connection {
    pub io: Io,
    pub peer: SocketAddr,
    /// What its certificate proved.
    pub names: Arc<[San]>,
}

impl Listener {
    /// Hands every connection to `speak` until `closing`; then the port is closed, and this waits for those that there
    /// are. Dropping it cuts them off.
    pub async fn serve<S, F>(self, speak: S, closing: CancellationToken)
    where
        S: Fn(Connection) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let _cut_when_dropped = cut.clone().drop_guard();
        let Self { socket, tls, protocol, limits, patience, clock, counts, lanes } = self;
        let places = Places::new(limits, clock, counts);
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(why) if is_the_peers(&why) => continue,
                Err(why) => {
                    places.cannot_accept(&why);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Whoever has none is closed at once: a queue would be one more thing to fill.
            let Some(place) = places.take(peer.ip()) else { continue };
            let lane = lanes.as_ref().and_then(Lanes::emptiest);
            let runtime = lane.as_ref().map_or_else(Handle::current, |lane| lane.runtime().clone());
            // It is heard by the runtime that it was accepted in, until that lets it go.
            let Ok(stream) = stream.into_std() else { continue };
            let (tls, speak, cut) = (tls.clone(), speak.clone(), cut.clone());
            // In a task of its own from the first byte on, so that nobody waits for another's handshake.
            let conversation = async move {
                let conversation = async {
                    let Ok(stream) = TcpStream::from_std(stream) else { return };
                    if let Some(connection) = open(stream, peer, tls.as_deref(), protocol, patience.handshake).await {
                        speak(connection).await;
                    }
                };
                tokio::select! {
                    () = conversation => {}
                    () = cut.cancelled() => {}
                }
                drop((place, lane));
            };
            connections.spawn_on(conversation, &runtime);
        }
        drop(socket);
        connections.close();
        connections.wait().await;
    }
}

/// `None` if the peer did not get as far as being able to speak.
async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&ServerTls>,
    protocol: Protocol,
    patience: Duration,
) -> Option<Connection> {
    // Answers are small and awaited; held back for more to send they would take 40 ms. A socket that refuses is dead.
    stream.set_nodelay(true).ok()?;
    let Some(tls) = tls else {
        return Some(Connection { io: Io::Clear(stream), peer, names: Arc::from([]) });
    };
    match tokio::time::timeout(patience, tls.accept(protocol, stream)).await {
        Ok(Ok((stream, names))) => Some(Connection { io: Io::Encrypted(Box::new(stream)), peer, names }),
        Ok(Err(why)) => {
            // As often as strangers like, so not where it would fill a disk.
            tracing::debug!(%peer, %why, "no TLS handshake");
            None
        }
        Err(_elapsed) => None,
    }
}

/// An error of the one connection that would have been next.
fn is_the_peers(why: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(why.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

#[cfg(test)]
impl Listener {
    /// Clear text on a free port of this machine.
    pub(crate) async fn local(protocol: Protocol) -> Self {
        Self {
            socket: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls: None,
            protocol,
            limits: Limits { connections: 100, per_address: 100 },
            patience: Patience::default(),
            clock: Clock::default(),
            counts: Connections::default(),
            lanes: None,
        }
    }
}
