//! A network between a client and a server that fails on command.

mod connection;

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use connection::Connection;

use crate::wait_until;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens: connecting is refused. Connections that there are, are reset.
    Refuse,
    /// Connections stay open and new ones are accepted, and nothing arrives anywhere, an end neither. What was sent
    /// meanwhile arrives when the next mode lets it, as after an outage of a network.
    BlackHole,
    /// Resets the connections that there are, once; then passes.
    Cut,
    /// Passes, each piece this much later, in both directions.
    Delay(Duration),
}

/// Has a port of its own, also while it refuses. All its threads end with it.
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

/// What the proxy and all its threads know.
struct Network {
    target: u16,
    state: Mutex<State>,
    changed: Condvar,
    accepted: AtomicUsize,
    bytes: AtomicU64,
}

struct State {
    mode: Mode,
    /// Each is its thread's own, and its sockets close when that ends.
    connections: Vec<(Weak<Connection>, JoinHandle<()>)>,
}

impl Proxy {
    /// In front of a port of 127.0.0.1, where somebody may or may not listen.
    pub fn to(port: u16) -> Self {
        let state = Mutex::new(State { mode: Mode::Pass, connections: Vec::new() });
        let (accepted, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        let network = Arc::new(Network { target: port, state, changed: Condvar::new(), accepted, bytes });
        let mut listener = None;
        wait_until("the proxy has a port", || {
            listener = TcpListener::bind(("127.0.0.1", crate::port())).ok();
            listener.is_some()
        });
        let listener = listener.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = Mutex::new(Some(network.listen(listener)));
        Self { port, network, listener }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections that are open to the client now.
    pub fn connections(&self) -> usize {
        self.network.state().connections.iter().filter(|(_, thread)| !thread.is_finished()).count()
    }

    /// Connections that were ever accepted.
    pub fn accepted(&self) -> usize {
        self.network.accepted.load(Ordering::SeqCst)
    }

    /// Bytes passed on so far, in both directions.
    pub fn bytes(&self) -> u64 {
        self.network.bytes.load(Ordering::SeqCst)
    }

    /// All is so when this returns: nothing more arrives through a black hole, nobody listens who refuses, and the old
    /// connections are reset.
    pub fn set(&self, mode: Mode) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if mode == Mode::Cut { Mode::Pass } else { mode };
        self.network.state().mode = next;
        self.network.changed.notify_all();
        if mode == Mode::Refuse
            && let Some(thread) = listener.take()
        {
            self.close(thread);
        }
        if matches!(mode, Mode::Refuse | Mode::Cut) {
            self.network.reset_all();
        } else {
            self.network.settle();
        }
        if mode != Mode::Refuse && listener.is_none() {
            let mut again = None;
            wait_until("the proxy has its port again", || {
                again = TcpListener::bind(("127.0.0.1", self.port)).ok();
                again.is_some()
            });
            *listener = again.map(|again| self.network.listen(again));
        }
    }

    /// The listener looks at the mode whenever somebody connects.
    fn close(&self, thread: JoinHandle<()>) {
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        thread.join().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Mode::Refuse);
    }
}

impl Network {
    fn listen(self: &Arc<Self>, listener: TcpListener) -> JoinHandle<()> {
        let network = Arc::clone(self);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let mut state = network.state();
                if state.mode == Mode::Refuse {
                    return;
                }
                network.accepted.fetch_add(1, Ordering::SeqCst);
                state.connections.retain(|(_, thread)| !thread.is_finished());
                let connection = Arc::new(Connection::new(client));
                let weak = Arc::downgrade(&connection);
                let thread = std::thread::spawn({
                    let network = Arc::clone(&network);
                    move || connection.serve(&network)
                });
                state.connections.push((weak, thread));
            }
        })
    }

    /// Until all connections are reset on both sides and their threads have ended.
    fn reset_all(&self) {
        let connections = std::mem::take(&mut self.state().connections);
        connections.iter().filter_map(|(connection, _)| connection.upgrade()).for_each(|connection| connection.reset());
        // Whoever has looked at the connection and not yet begun to wait holds the state.
        drop(self.state());
        self.changed.notify_all();
        connections.into_iter().for_each(|(_, thread)| thread.join().unwrap());
    }

    /// Until no connection does what an earlier mode allowed.
    fn settle(&self) {
        let connections: Vec<_> =
            self.state().connections.iter().filter_map(|(connection, _)| connection.upgrade()).collect();
        connections.iter().for_each(|connection| connection.settle());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
