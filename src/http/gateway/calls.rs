//! Calls to the service: on whose behalf, how long, under which id.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::USER_AGENT;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::body::Body;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;

use super::refusal::Refusal;
use super::{Asked, Gateway, ServedClient};
use crate::proto::account::v1::account_service_client::AccountServiceClient;
use crate::proto::account::v1::{LinkIdentityRequest, LinkIdentityResponse};
use crate::proto::auth::v1::Device;
use crate::proto::auth::v1::auth_service_client::AuthServiceClient;
use crate::spans;

/// A connection to the service, or the service itself.
#[derive(Clone)]
pub struct Upstream(Erased);

type Erased = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Upstream {
    pub fn new<S>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error: Into<BoxError>, Future: Send + 'static>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self(BoxCloneSyncService::new(service.map_err(Into::into)))
    }
}

impl Service<http::Request<Body>> for Upstream {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().trim_start_matches('/');
        let (service, method) = path.split_once('/').unwrap_or((path, ""));
        let span = spans::call(service, method);
        spans::inject(&span, request.headers_mut());
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.instrument(span.clone()).await;
            spans::failed_if(&span, answer.is_err());
            answer
        })
    }
}

const AUTHORIZATION: &str = "authorization";
const REQUEST_ID: &str = "x-request-id";
/// Above the service's own longest, so that its word comes first.
const TIMEOUT: Duration = Duration::from_secs(16);
const MARGIN: Duration = Duration::from_millis(500);
/// As many as the contract takes.
const USER_AGENT_BYTES_MAX: usize = 512;

/// Proves to the service which client the gateway acts for.
#[derive(Clone)]
pub struct Credential(AsciiMetadataValue);

impl Credential {
    /// `None` if it is not of letters that a header may hold.
    pub fn bearer(secret: &SecretString) -> Option<Self> {
        let mut value: AsciiMetadataValue = format!("Bearer {}", secret.expose_secret()).parse().ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl Gateway {
    /// One call, once.
    pub(super) async fn call<M, R, F>(
        &self,
        asked: &Asked,
        client: &ServedClient,
        message: M,
        call: impl FnOnce(AuthServiceClient<Upstream>, Request<M>) -> F,
    ) -> Result<R, Refusal>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let service = AuthServiceClient::new(self.upstream.clone());
        in_time(call(service, request(asked, client, message))).await
    }

    /// One call of the other service.
    pub(super) async fn call_account(
        &self,
        asked: &Asked,
        client: &ServedClient,
        message: LinkIdentityRequest,
    ) -> Result<LinkIdentityResponse, Refusal> {
        let mut service = AccountServiceClient::new(self.upstream.clone());
        in_time(service.link_identity(request(asked, client, message))).await
    }
}

fn request<M>(asked: &Asked, client: &ServedClient, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    if let Some(Credential(value)) = &client.credential {
        request.metadata_mut().insert(AUTHORIZATION, value.clone());
    }
    if let Ok(id) = asked.request_id.parse() {
        request.metadata_mut().insert(REQUEST_ID, id);
    }
    request
}

async fn in_time<R>(answer: impl Future<Output = Result<Response<R>, Status>>) -> Result<R, Refusal> {
    match tokio::time::timeout(TIMEOUT + MARGIN, answer).await {
        Ok(answer) => answer.map(Response::into_inner).map_err(|status| Refusal::of_call(&status)),
        Err(_elapsed) => Err(Refusal::of_call(&Status::deadline_exceeded("the service is silent"))),
    }
}

impl Asked {
    /// The person's device. What a header says of its address counts as far as trusted proxies wrote it.
    pub(super) fn device(&self) -> Device {
        let agent = self.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let agent = agent.unwrap_or_default();
        let user_agent = agent.get(..agent.floor_char_boundary(USER_AGENT_BYTES_MAX)).unwrap_or_default().to_owned();
        Device { ip_address: self.peer.to_string(), user_agent, ..Device::default() }
    }
}
