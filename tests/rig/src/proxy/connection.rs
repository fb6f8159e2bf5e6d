//! One connection through the proxy: two sockets and a thread for each direction.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::{Mode, Network};

/// How soon a thread that can send nothing notices that it is over.
const PATIENCE: Duration = Duration::from_millis(50);

/// Each socket exists once, without copies: the reset is sent when the last one of a socket is closed.
pub(super) struct Connection {
    client: TcpStream,
    server: OnceLock<TcpStream>,
    is_reset: AtomicBool,
    /// One for each direction, held from the look at the mode until the piece is sent.
    sending: [Mutex<()>; 2],
}

impl Connection {
    pub(super) fn new(client: TcpStream) -> Self {
        let connection =
            Self { client, server: OnceLock::new(), is_reset: AtomicBool::new(false), sending: Default::default() };
        prepare(&connection.client);
        connection
    }

    /// Until both sides have ended, or it is reset.
    pub(super) fn serve(&self, network: &Network) {
        if !self.connect(network) {
            self.reset();
            return;
        }
        let server = self.server.get().expect("connected above");
        std::thread::scope(|scope| {
            scope.spawn(|| self.pump(network, server, &self.client, &self.sending[0]));
            self.pump(network, &self.client, server, &self.sending[1]);
        });
    }

    /// Both threads notice, and end; closing then sends a reset instead of an end.
    pub(super) fn reset(&self) {
        self.is_reset.store(true, Ordering::SeqCst);
        for socket in [Some(&self.client), self.server.get()].into_iter().flatten() {
            set_socket_linger(socket, Some(Duration::ZERO)).ok();
            // Wakes who reads, and tells the other side nothing.
            socket.shutdown(Shutdown::Read).ok();
        }
    }

    /// Until nothing is sent any more that was looked at before.
    pub(super) fn settle(&self) {
        for sending in &self.sending {
            drop(sending.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn connect(&self, network: &Network) -> bool {
        let target = SocketAddr::from(([127, 0, 0, 1], network.target));
        while self.wait_for_passage(network) {
            match TcpStream::connect_timeout(&target, PATIENCE) {
                Ok(server) => {
                    prepare(&server);
                    let server = self.server.get_or_init(|| server);
                    // A reset in between saw only the client.
                    if self.is_reset() {
                        set_socket_linger(server, Some(Duration::ZERO)).ok();
                    }
                    return !self.is_reset();
                }
                // Its queue is full, as that of a server that hangs.
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(_) => return false,
            }
        }
        false
    }

    fn pump(&self, network: &Network, mut from: &TcpStream, to: &TcpStream, sending: &Mutex<()>) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let length = match from.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.reset_both(network),
            };
            if self.is_reset() {
                return;
            }
            self.delay(network);
            let mut rest = &buffer[..length];
            loop {
                if !self.wait_for_passage(network) {
                    return;
                }
                let guard = sending.lock().unwrap_or_else(PoisonError::into_inner);
                if network.state().mode == Mode::BlackHole {
                    continue;
                }
                if rest.is_empty() {
                    // The other direction may go on.
                    to.shutdown(Shutdown::Write).ok();
                    return;
                }
                match (&*to).write(rest) {
                    Ok(sent) => {
                        network.bytes.fetch_add(sent as u64, Ordering::SeqCst);
                        rest = &rest[sent..];
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    Err(_) => return self.reset_both(network),
                }
                drop(guard);
                if rest.is_empty() {
                    break;
                }
            }
        }
    }

    /// One side has reset; the other learns of it as soon as anything arrives there.
    fn reset_both(&self, network: &Network) {
        if self.wait_for_passage(network) {
            self.reset();
            drop(network.state());
            network.changed.notify_all();
        }
    }

    /// Waits while the network is a black hole. False if the connection is over.
    fn wait_for_passage(&self, network: &Network) -> bool {
        let blocked = |state: &mut super::State| state.mode == Mode::BlackHole && !self.is_reset();
        drop(network.changed.wait_while(network.state(), blocked).unwrap_or_else(PoisonError::into_inner));
        !self.is_reset()
    }

    /// Until the piece is due, or another mode is set.
    fn delay(&self, network: &Network) {
        let start = Instant::now();
        let mut state = network.state();
        while let Mode::Delay(delay) = state.mode
            && let Some(rest) = delay.checked_sub(start.elapsed())
            && !self.is_reset()
        {
            state = network.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_reset(&self) -> bool {
        self.is_reset.load(Ordering::SeqCst)
    }
}

fn prepare(socket: &TcpStream) {
    socket.set_nodelay(true).ok();
    socket.set_write_timeout(Some(PATIENCE)).ok();
}
