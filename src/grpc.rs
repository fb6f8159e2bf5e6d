//! The gRPC port: how calls come in, whose they are, how long they may take, how they are refused, and how the port
//! closes. Translates between messages and the use cases of `auth`; must not know SQL, sealing or what a session is.

pub mod callers;
pub mod fields;
pub mod layers;
pub mod peer;
pub mod render;
pub mod status;

mod admin_service;
mod auth_service;
mod health;
mod limits;
mod pages;
mod verify;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _};

use crate::auth::Auth;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::admin::v1::admin_service_server::AdminServiceServer;
use crate::proto::auth::v1::auth_service_server::AuthServiceServer;
use crate::readiness::Readiness;
use admin_service::AdminDoor;
use auth_service::AuthDoor;
use health::Health;
use layers::{Around, CatchPanic, Deadline, Malformed, Observe};
use limits::BySize;

/// How long calls that were begun may hold up the end.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Stands against one connection taking all of a server. More calls wait in the client.
const STREAMS_MAX: u32 = 128;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Of streams that the peer provoked us to reset. tonic's own default is no limit.
const RESETS_MAX: usize = 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// See [`in_process`].
pub type InProcess = BoxCloneService<http::Request<Body>, http::Response<Body>, Infallible>;

/// What the port is made of.
pub struct GrpcParts {
    pub auth: Arc<Auth>,
    pub readiness: Arc<Readiness>,
    /// Whether to tell strangers what there is to call.
    pub reflection: bool,
}

/// The port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error("the contract cannot be described: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gRPC port failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Answers calls until `shutdown`, and then finishes: health says so first, no connection is taken any more, those that
/// there are get [`DRAIN`] for the calls they have begun.
pub async fn serve(listener: TcpListener, parts: GrpcParts, shutdown: CancellationToken) -> Result<(), GrpcError> {
    let GrpcParts { auth, readiness, reflection } = parts;
    let reporter = HealthReporter::new();
    let health_service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let health = Health::new(reporter, &readiness).await;

    let mut routes = Routes::new(auth_service(&auth))
        .add_service(admin_service(&auth))
        .add_service(health_service.max_decoding_message_size(limits::REQUEST_BYTES_MAX));
    if reflection {
        routes = add_reflection(routes)?;
    }

    let closing = CancellationToken::new();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_INTERVAL));
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_local_error_reset_streams(Some(RESETS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        // From the outside in. First the id and the log, so that whatever answers below bears the one and is in the other.
        .layer(Around(Observe { clock: auth.clock.clone() }))
        // Around all that can panic, and inside the log, which then has a code to write.
        .layer(Around(CatchPanic))
        // So that it counts reading and work and nothing else; what it drops at the deadline is the call alone.
        .layer(Around(Deadline))
        // Innermost: it mends what the generated services say themselves.
        .layer(Around(Malformed))
        .add_routes(routes.prepare())
        .serve_with_incoming_shutdown(incoming, closing.clone().cancelled_owned());

    let end = async {
        health.follow(&readiness, &auth, &shutdown).await;
        closing.cancel();
        health.dismiss().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        outcome = server => outcome?,
        () = end => tracing::warn!("calls were cut off: they took longer than the end may"),
    }
    Ok(())
}

/// AdminService without a port, as the operator of this machine. Who holds this needs no credential.
pub fn in_process(auth: &Arc<Auth>) -> InProcess {
    let service = Around(Malformed).layer(Routes::new(admin_service(auth)).prepare());
    let service = Around(CatchPanic).layer(service);
    let service = Around(Observe { clock: auth.clock.clone() }).layer(service);
    BoxCloneService::new(service.map_request(|mut request: http::Request<Body>| {
        request.extensions_mut().insert(callers::Operator);
        request
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
