//! The ports: opened before anything is made or changed, so that a port that is taken, or a certificate that has ended,
//! costs nothing.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};

use super::StartError;
use crate::clock::Clock;
use crate::config::{self, Config, Profile};
use crate::grpc::Doors;
use crate::listener::{Connections, Lanes, Limits, Listener, Patience};
use crate::metrics::{Counter, Family, Gauge, Labels, Metrics};
use crate::tls::{Protocol, ServerTls};

/// Descriptors that are none of a caller's: the database, its log, the runtime.
const DESCRIPTORS_OWN: usize = 256;
/// How many connections may wait to be accepted. With the usual 128 or 1,024, clients that all come back at once after a
/// restart find the queue full, and some believe that they are connected while the server knows nothing of them.
const BACKLOG: u32 = 4_096;

/// Each port, ready to be served.
pub(super) struct Listeners {
    pub(super) doors: Doors,
    pub(super) operations: Listener,
    /// Unset: this process is no gateway.
    pub(super) gateway: Option<Listener>,
}

pub(super) struct Ports {
    grpc: TcpListener,
    admin: Option<TcpListener>,
    operations: TcpListener,
    gateway: Option<TcpListener>,
    pub(super) tls: Option<Arc<ServerTls>>,
    limits: Limits,
    clock: Clock,
}

impl Ports {
    pub(super) fn open(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let tls = config.tls.clone().map(|tls| ServerTls::load(tls, clock.clone())).transpose()?.map(Arc::new);
        let listen = &config.listen;
        let grpc = bind("listen.grpc", listen.grpc)?;
        let admin = listen.admin.map(|address| bind("listen.admin", address)).transpose()?;
        let operations = bind("listen.operations", listen.operations)?;
        let gateway = config.serves_gateway().then(|| bind("listen.gateway", listen.gateway)).transpose()?;
        let limits = limits(config, 2 + usize::from(admin.is_some()) + usize::from(gateway.is_some()));
        Ok(Self { grpc, admin, operations, gateway, tls, limits, clock: clock.clone() })
    }

    pub(super) fn grpc(&self) -> Option<SocketAddr> {
        self.grpc.local_addr().ok()
    }

    pub(super) fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    pub(super) fn operations(&self) -> Option<SocketAddr> {
        self.operations.local_addr().ok()
    }

    pub(super) fn gateway(&self) -> Option<SocketAddr> {
        self.gateway.as_ref()?.local_addr().ok()
    }

    pub(super) fn into_listeners(self, patience: Patience, metrics: &Metrics) -> io::Result<Listeners> {
        let Self { grpc, admin, operations, gateway, tls, limits, clock } = self;
        let counted = Counted::by(metrics);
        let listener = |name, socket, protocol| {
            let (tls, clock) = (tls.clone(), clock.clone());
            Listener { socket, tls, protocol, limits, patience, clock, counts: counted.of(name), lanes: None }
        };
        // Administration, probes and browsers are few: theirs are the threads that do everything else.
        let lanes = Lanes::start(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))?;
        let doors = Doors {
            public: Listener { lanes: Some(lanes), ..listener("grpc", grpc, Protocol::Grpc) },
            admin: admin.map(|socket| listener("admin", socket, Protocol::Grpc)),
        };
        Ok(Listeners {
            doors,
            operations: listener("operations", operations, Protocol::Operations),
            gateway: gateway.map(|socket| listener("gateway", socket, Protocol::Operations)),
        })
    }
}

/// The connections of all ports.
struct Counted {
    open: Family<Labels<1>, Gauge>,
    refused: Family<Labels<1>, Counter>,
}

impl Counted {
    fn by(metrics: &Metrics) -> Self {
        let (open, refused) = (Family::default(), Family::default());
        metrics.register("connections", "Open connections, by port", Family::clone(&open));
        metrics.register(
            "connections_refused",
            "Connections that were closed at once because there were too many, by port",
            Family::clone(&refused),
        );
        Self { open, refused }
    }

    fn of(&self, listener: &'static str) -> Connections {
        let labels = [("listener", listener)];
        Connections {
            open: self.open.get_or_create(&labels).clone(),
            refused: self.refused.get_or_create(&labels).clone(),
        }
    }
}

/// The only port of a gateway that is a process of its own.
pub(super) struct GatewayPort {
    socket: TcpListener,
    pub(super) tls: Option<Arc<ServerTls>>,
    limits: Limits,
    clock: Clock,
}

impl GatewayPort {
    pub(super) fn open(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let tls = config.tls.clone().map(|tls| ServerTls::load(tls, clock.clone())).transpose()?.map(Arc::new);
        let socket = bind("listen.gateway", config.listen.gateway)?;
        Ok(Self { socket, tls, limits: limits(config, 1), clock: clock.clone() })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    pub(super) fn into_listener(self, patience: Patience) -> Listener {
        let Self { socket, tls, limits, clock } = self;
        Listener {
            socket,
            tls,
            protocol: Protocol::Operations,
            limits,
            patience,
            clock,
            counts: Connections::default(),
            lanes: None,
        }
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // So that a restart need not wait for the connections of the last process to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| StartError::Listen { setting, address, source })
}

/// What is configured, or less if the process may not have so many descriptors: with the last of them gone, the database
/// could not be opened either.
fn limits(config: &Config, ports: usize) -> Limits {
    let config::Limits { connections, connections_per_address, .. } = config.limits;
    let wanted = connections.saturating_mul(ports).saturating_add(DESCRIPTORS_OWN);
    let allowed = descriptors(wanted);
    let possible = allowed.saturating_sub(DESCRIPTORS_OWN).max(ports) / ports;
    // On a developer's machine nobody will come near it.
    if possible < connections && config.profile == Profile::Production {
        tracing::warn!(
            connections,
            possible,
            "limits.connections is more than the limit of open files allows ({allowed}); raise it (ulimit -n)"
        );
    }
    Limits { connections: connections.min(possible), per_address: connections_per_address }
}

/// How many the process may have, after asking for as many as are wanted. Systems start processes with 1,024, and let
/// them have more for the asking.
fn descriptors(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let as_count = |limit: Option<u64>| limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if as_count(current) >= wanted {
        return as_count(current);
    }
    let asked = as_count(maximum).min(wanted);
    match setrlimit(Resource::Nofile, Rlimit { current: Some(asked as u64), maximum }) {
        Ok(()) => asked,
        Err(_) => as_count(current),
    }
}
