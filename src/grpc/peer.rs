//! Whom a connection comes from, as every request on it knows.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::domain::client::San;

/// The other end of a connection; in the extensions of each request that came over it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// The names in its certificate, if it proved one. Empty without mTLS.
    pub names: Arc<[San]>,
}
