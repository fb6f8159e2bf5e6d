//! How layers stand around what answers: one future for all of a call's, and where it is run.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tower::Service;
use tracing::{Instrument as _, Span};

use super::{Trace, waits_for_nothing};
use crate::grpc::status;

/// What answers calls. It never fails: a refusal is an answer too.
pub trait Answer: Send + Sync + 'static {
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

/// What a layer does with a call.
pub trait Middle: Send + Sync + 'static {
    fn run<S: Answer>(&self, request: Request<Body>, next: &S) -> impl Future<Output = Response<Body>> + Send;
}

/// A layer around what stands further in. All layers of a call are one future: seven in boxes of their own, each with a copy
/// of all that stands further in, took a third of the time of an empty call.
#[derive(Clone, Debug)]
pub struct Around<M, S>(pub M, pub S);

impl<M: Middle, S: Answer> Answer for Around<M, S> {
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send {
        self.0.run(request, &self.1)
    }
}

/// What others made, as a service of tower's that is always ready.
#[derive(Clone, Debug)]
pub struct Made<S>(pub S);

impl<S> Answer for Made<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.0.clone().call(request).await;
        response
    }
}

/// Has calls that wait for engines answered by the runtime that does everything else, so that those who ask for verdicts do not
/// wait for them. A call that is given up here is given up there.
#[derive(Clone, Debug)]
pub struct Elsewhere<S> {
    pub runtime: Handle,
    pub next: Arc<S>,
}

impl<S: Answer> Answer for Elsewhere<S> {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if waits_for_nothing(request.uri().path()) {
            return self.next.answer(request).await;
        }
        let trace: Option<&Trace> = request.extensions().get();
        let [span, exported] = trace.map_or_else(|| [Span::none(), Span::none()], |trace| trace.spans.clone());
        let next = Arc::clone(&self.next);
        let work = async move { next.answer(request).await }.instrument(exported).instrument(span);
        match AbortOnDropHandle::new(self.runtime.spawn(work)).await {
            Ok(response) => response,
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_the_runtime_ends) => status::internal().into_http(),
            },
        }
    }
}
