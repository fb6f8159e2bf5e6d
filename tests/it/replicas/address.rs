//! A service address: clients know it, and the server behind it changes, as in front of a database that fails over.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections to it end when it leads elsewhere.
pub(super) struct Address {
    pub(super) port: u16,
    target: Arc<watch::Sender<Option<u16>>>,
    /// Ends with this value.
    _relay: JoinSet<()>,
}

impl Address {
    pub(super) async fn of(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(watch::Sender::new(Some(target)));
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, Arc::clone(&target)));
        Self { port, target, _relay: relay }
    }

    pub(super) fn lead_to(&self, port: u16) {
        self.target.send_replace(Some(port));
    }

    /// Nobody is there: connections are cut, and new ones as soon as they are made.
    pub(super) fn lead_nowhere(&self) {
        self.target.send_replace(None);
    }

    /// What a connection to `url` would be over this address.
    pub(super) fn url(&self, url: &str) -> String {
        let (front, path) = url.rsplit_once('/').unwrap();
        format!("{}:{}/{path}", front.rsplit_once(':').unwrap().0, self.port)
    }
}

async fn accept(listener: TcpListener, target: Arc<watch::Sender<Option<u16>>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut inner, _)) = listener.accept().await else { continue };
        let mut changed = target.subscribe();
        let Some(port) = *changed.borrow_and_update() else { continue };
        connections.spawn(async move {
            let Ok(mut outer) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            tokio::select! {
                _ended = copy_bidirectional(&mut inner, &mut outer) => {}
                _led_elsewhere = changed.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
