//! A tower layer that lets a call through when Postern allows it. Copy this file; it knows nothing of orders.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::postern::Postern;
use crate::postern::auth::{Check, Decision, Principal, VerifyRequest, VerifyResponse};

/// Postern answers from memory. One that has not answered by now is away.
const DEADLINE: Duration = Duration::from_millis(500);

const SCHEME: &str = "bearer ";
const TENANT: &str = "x-tenant";

/// What a method asks of its caller.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Nothing.
    Open,
    /// A good token, and this permission in the tenant that the call names.
    Needs(&'static str),
}

/// The path of a method, and what it asks.
pub type Rule = (&'static str, Access);

/// Who calls, and for which tenant this was judged. Handlers find it in the extensions of the request; they must not
/// read the tenant from the metadata again.
#[derive(Clone)]
pub struct Caller {
    pub principal: Principal,
    pub tenant: String,
}

/// Stands before all services of a server.
#[derive(Clone)]
pub struct Guard {
    postern: Postern,
    rules: &'static [Rule],
}

impl Guard {
    pub fn new(postern: Postern, rules: &'static [Rule]) -> Self {
        Self { postern, rules }
    }

    /// The caller of a method that asks for one, or the refusal to be answered.
    async fn admit(&self, path: &str, metadata: &HeaderMap) -> Result<Option<Caller>, Status> {
        let permission = match self.rules.iter().find(|(listed, _)| *listed == path) {
            Some((_, Access::Needs(permission))) => *permission,
            Some((_, Access::Open)) => return Ok(None),
            // What was forgotten in the rules is closed.
            None => return Err(Status::unimplemented("this server has no rule for this method")),
        };
        let token = bearer(metadata).ok_or_else(|| Status::unauthenticated("a bearer token is needed"))?;
        let tenant = tenant(metadata).ok_or_else(|| Status::invalid_argument("x-tenant is malformed"))?;
        let answer = self
            .verify(VerifyRequest {
                access_token: token.to_owned(),
                require: vec![Check { permission: permission.to_owned(), tenant: tenant.to_owned() }],
                ..VerifyRequest::default()
            })
            .await?;
        // <region decision>
        let reason = answer.refusal.as_ref().map_or("", |refusal| refusal.reason().as_str_name());
        let reason = reason.trim_start_matches("REASON_");
        match (answer.decision(), answer.principal) {
            (Decision::Allow, Some(principal)) => Ok(Some(Caller { principal, tenant: tenant.to_owned() })),
            // The name of the reason tells the caller whether a refresh helps (TOKEN_EXPIRED) or a new sign-in.
            (Decision::Unauthenticated | Decision::StepUp, _) => Err(Status::unauthenticated(reason)),
            // Also whatever a later Postern may say that this program does not know.
            _ => Err(Status::permission_denied(format!("{reason} {permission}"))),
        }
        // </region>
    }

    // <region verify>
    /// Postern's answer. When there is none, the call is neither allowed nor denied: it could not be judged.
    async fn verify(&self, question: VerifyRequest) -> Result<VerifyResponse, Status> {
        let mut request = tonic::Request::new(question);
        request.set_timeout(DEADLINE);
        // The timeout above runs from when the channel is connected, this one in any case.
        match tokio::time::timeout(DEADLINE, self.postern.clone().verify(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            // Of all we sent, only the tenant can be malformed.
            Ok(Err(status)) if status.code() == Code::InvalidArgument => {
                Err(Status::invalid_argument("x-tenant is malformed"))
            }
            // PERMISSION_DENIED too: it speaks of this program's own secret, never of the person.
            Ok(Err(status)) => Err(no_verdict(status.code(), status.message())),
            Err(_elapsed) => Err(no_verdict(Code::DeadlineExceeded, "no answer in time")),
        }
    }
    // </region>
}

fn no_verdict(code: Code, message: &str) -> Status {
    eprintln!("no verdict from Postern: {code:?}: {message}");
    Status::unavailable("authorization cannot be judged at present")
}

/// The one token of the call. Which of two would count is not for us to guess.
fn bearer(metadata: &HeaderMap) -> Option<&str> {
    let mut values = metadata.get_all(http::header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_at_checked(SCHEME.len())?;
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// Empty when the call names none: then only roles that hold everywhere count.
fn tenant(metadata: &HeaderMap) -> Option<&str> {
    let mut values = metadata.get_all(TENANT).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(""),
        (Some(value), None) => value.to_str().ok(),
        (Some(_), Some(_)) => None,
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind the guard.
#[derive(Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let guard = self.guard.clone();
        // The one that was asked whether it is ready is the one that must be called.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match guard.admit(parts.uri.path(), &parts.headers).await {
                Ok(caller) => {
                    if let Some(caller) = caller {
                        parts.extensions.insert(caller);
                    }
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(refusal) => Ok(refusal.into_http()),
            }
        })
    }
}
