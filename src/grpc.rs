//! The gRPC port: how calls come in, whose they are, how long they may take, how they are refused, and how the port
//! closes. Translates between messages and the use cases of `auth`; must not know SQL, sealing or what a session is.

pub mod callers;
pub mod fields;
pub mod layers;
pub mod peer;
pub mod render;
pub mod status;

mod account_service;
mod admin_service;
mod auth_service;
mod connection;
mod health;
mod limits;
mod oauth;
mod pages;
mod rpcs;
mod verify;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service as _;
use tower::util::{BoxCloneService, BoxCloneSyncService};

use crate::auth::Auth;
use crate::listener::Listener;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::account::v1::account_service_server::AccountServiceServer;
use crate::proto::admin::v1::admin_service_server::AdminServiceServer;
use crate::proto::auth::v1::auth_service_server::{AuthServiceServer, SERVICE_NAME as AUTH_SERVICE};
use crate::readiness::Readiness;
use account_service::AccountDoor;
use admin_service::AdminDoor;
use auth_service::AuthDoor;
use connection::Manners;
use health::Health;
use layers::{Answer, Around, Budget, CatchPanic, Deadline, Elsewhere, Form, Made, Malformed, Observe};
use limits::BySize;
use peer::Peer;
use rpcs::Rpcs;

/// How long calls that were begun may hold up the end.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Where calls come in.
pub struct Doors {
    pub public: Listener,
    /// Unset: administration is on the public port, too.
    pub admin: Option<Listener>,
}

/// See [`in_process`].
pub type InProcess = BoxCloneService<http::Request<Body>, http::Response<Body>, Infallible>;
/// See [`for_gateway`].
pub type ForGateway = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

/// What stands behind the doors.
pub struct GrpcParts {
    pub auth: Arc<Auth>,
    pub readiness: Arc<Readiness>,
    /// Whether to tell strangers what there is to call.
    pub reflection: bool,
    /// After which a connection is asked to be made anew.
    pub connection_age: Duration,
}

/// The ports cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error("the contract cannot be described: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Answers calls until `shutdown`, and then finishes: health says so first, no connection is taken any more, those that
/// there are get [`DRAIN`] for the calls they have begun.
pub async fn serve(doors: Doors, parts: GrpcParts, shutdown: CancellationToken) -> Result<(), GrpcError> {
    let GrpcParts { auth, readiness, reflection, connection_age } = parts;
    let rpcs = Rpcs::counted_by(&auth.metrics);
    let reporter = HealthReporter::new();
    let health_service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
        .max_decoding_message_size(limits::REQUEST_BYTES_MAX);
    let health = Health::new(reporter, &readiness).await;

    let common = |routes: Routes| {
        let routes = routes.add_service(health_service.clone());
        if reflection { add_reflection(routes) } else { Ok(routes) }
    };
    let mut public = Routes::new(account_service(&auth));
    let mut admin = None;
    match doors.admin {
        // Not routed on the public port: what is not there cannot be reached by a hole in what guards it.
        Some(listener) => {
            let others = common(Routes::new(admin_service(&auth)))?.prepare();
            admin = Some((listener, Services { auth: None, others }));
        }
        None => public = public.add_service(admin_service(&auth)),
    }
    let public = Services { auth: Some(auth_service(&auth)), others: common(public)?.prepare() };

    let closing = CancellationToken::new();
    let answer = |listener: Listener, services: Services| {
        let manners = Manners { patience: listener.patience, age: connection_age };
        let (service, closing) = (Arc::new(around(&auth, &rpcs, services)), closing.clone());
        let ended = closing.clone();
        listener.serve(move |it| connection::serve(it, Arc::clone(&service), manners, closing.clone()), ended)
    };
    let answers = async {
        let public = answer(doors.public, public);
        match admin {
            Some((listener, services)) => drop(tokio::join!(public, answer(listener, services))),
            None => public.await,
        }
    };
    let end = async {
        health.follow(&readiness, &auth, &shutdown).await;
        closing.cancel();
        health.dismiss().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = answers => {}
        () = end => tracing::warn!("calls were cut off: they took longer than the end may"),
    }
    Ok(())
}

/// The layers, from the inside out.
fn around(auth: &Auth, rpcs: &Rpcs, services: impl Answer) -> impl Answer {
    // Innermost: it mends what the generated services say themselves.
    let service = Around(Malformed, services);
    // Around all that asks an engine. Inside the deadline, which is longer: an outage is UNAVAILABLE, and says when to come
    // back.
    let service = Around(Budget, service);
    // Outside the budget, which a task keeps for itself; inside the deadline, which gives up what is done there, too.
    let service = Elsewhere { runtime: Handle::current(), next: Arc::new(service) };
    // So that it counts reading and work and nothing else; what it drops at the deadline is the call alone.
    let service = Around(Deadline, service);
    // Before anything is read: what is no gRPC is not worth more.
    let service = Around(Form, service);
    // Around all that can panic, and inside the log, which then has a code to write.
    let service = Around(CatchPanic, service);
    // First the id and the log, so that whatever answers below bears the one and is in the other.
    Around(Observe { clock: auth.clock.clone(), rpcs: rpcs.clone() }, service)
}

/// AuthService, and whatever else a port has. Most calls are to the former, and need no table of routes.
#[derive(Clone)]
struct Services {
    auth: Option<BySize<AuthServiceServer<AuthDoor>>>,
    others: Routes,
}

impl Answer for Services {
    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let named = request.uri().path().trim_start_matches('/').split_once('/');
        let Ok(response) = match (&self.auth, named) {
            (Some(auth), Some((AUTH_SERVICE, _))) => auth.clone().call(request).await,
            _ => self.others.clone().call(request).await,
        };
        response
    }
}

/// AdminService without a port, as the operator of this machine. Who holds this needs no credential.
pub fn in_process(auth: &Arc<Auth>) -> InProcess {
    let services = Made(Routes::new(admin_service(auth)).prepare());
    let service = Arc::new(around(auth, &Rpcs::counted_by(&auth.metrics), services));
    BoxCloneService::new(tower::service_fn(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(callers::Operator);
        let service = Arc::clone(&service);
        async move { Ok(service.answer(request).await) }
    }))
}

/// What a gateway asks, without a port: as a program on this machine, which proves itself like any other.
pub fn for_gateway(auth: &Arc<Auth>) -> ForGateway {
    let services = Services { auth: Some(auth_service(auth)), others: Routes::new(account_service(auth)).prepare() };
    let service = Arc::new(around(auth, &Rpcs::counted_by(&auth.metrics), services));
    let peer = Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), names: Arc::from([]) };
    BoxCloneSyncService::new(tower::service_fn(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(peer.clone());
        let service = Arc::clone(&service);
        async move { Ok(service.answer(request).await) }
    }))
}

fn auth_service(auth: &Arc<Auth>) -> BySize<AuthServiceServer<AuthDoor>> {
    let door = Arc::new(AuthDoor::new(Arc::clone(auth)));
    BySize::new(limits::BATCH_VERIFY, |limit| {
        AuthServiceServer::from_arc(Arc::clone(&door))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limits::ANSWER_BYTES_MAX)
    })
}

fn account_service(auth: &Arc<Auth>) -> AccountServiceServer<AccountDoor> {
    AccountServiceServer::new(AccountDoor::new(Arc::clone(auth)))
        .max_decoding_message_size(limits::REQUEST_BYTES_MAX)
        .max_encoding_message_size(limits::ANSWER_BYTES_MAX)
}

fn admin_service(auth: &Arc<Auth>) -> BySize<AdminServiceServer<AdminDoor>> {
    let door = Arc::new(AdminDoor::new(Arc::clone(auth)));
    BySize::new(limits::APPLY_POLICY, |limit| {
        AdminServiceServer::from_arc(Arc::clone(&door))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limits::ANSWER_BYTES_MAX)
    })
}

/// Both versions: many tools still ask in the older one only.
fn add_reflection(routes: Routes) -> Result<Routes, GrpcError> {
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that a tool can show the details of a refusal.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let limit = limits::REQUEST_BYTES_MAX;
    Ok(routes
        .add_service(describe().build_v1()?.max_decoding_message_size(limit))
        .add_service(describe().build_v1alpha()?.max_decoding_message_size(limit)))
}

#[cfg(test)]
mod tests;
