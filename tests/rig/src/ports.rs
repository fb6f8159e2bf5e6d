//! Free ports: no two servers get the same one, in this process or in any other that uses this crate.

use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;

/// Below the ports that the kernel gives to outgoing connections, one of which could else take a port between two runs
/// of a server. In the lower half, so that the bus of a Redis Cluster, 10,000 ports above, has room as well.
const FIRST: u16 = 11_000;
const COUNT: u16 = 10_000;
const BUS_OFFSET: u16 = 10_000;

/// A port on 127.0.0.1 that nobody listens on. It stays this process's own until the process ends, so that a server can
/// come back to it. Whoever does not use this crate can still take it: servers are started again elsewhere then.
pub fn port() -> u16 {
    static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let mut claims = CLAIMS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Each process begins elsewhere; within it, one after the other.
    let start = usize::try_from(std::process::id()).unwrap() * 101 + claims.len();
    for step in 0..usize::from(COUNT) {
        let port = FIRST + u16::try_from((start + step) % usize::from(COUNT)).unwrap();
        // The claim is a UDP socket on the same number: it is in no server's way, and ends with the process.
        let Ok(claim) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if is_free(port) && is_free(port + BUS_OFFSET) {
            claims.push(claim);
            return port;
        }
    }
    panic!("no port between {FIRST} and {} is free", FIRST + COUNT);
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_port_is_given_twice() {
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| (0..20).map(|_| super::port()).collect::<Vec<_>>())).collect();
        let ports: Vec<u16> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 160, "{ports:?}");
        assert!(ports.iter().all(|port| super::is_free(*port)));
    }
}
