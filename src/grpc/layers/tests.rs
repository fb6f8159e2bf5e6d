use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Mutex;

use tower::service_fn;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::metrics::Metrics;

const VERIFY: &str = "/postern.auth.v1.AuthService/Verify";
const LOGIN: &str = "/postern.auth.v1.AuthService/Login";

fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn request(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

#[test]
fn a_plain_request_id_is_kept_and_any_other_replaced() {
    let long = "a".repeat(65);
    for kept in ["a", "req-1.2_3", &"a".repeat(64)] {
        assert_eq!(&*request_id(&headers(REQUEST_ID, &[kept]), Timestamp::default()), kept);
    }
    for values in [&[][..], &[""], &["a b"], &["a/b"], &["a\u{e9}"], &[&long], &["a", "b"], &["a", "a"]] {
        let now = Timestamp::from_millis(1_764_000_000_000);
        let [id, other] = [(); 2].map(|()| request_id(&headers(REQUEST_ID, values), now));
        assert_ne!(id, other);
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7, "{values:?}");
    }
}

#[test]
fn the_callers_deadline_is_read_as_grpc_writes_it() {
    for (text, timeout) in [
        ("1H", Some(Duration::from_hours(1))),
        ("2M", Some(Duration::from_mins(2))),
        ("3S", Some(Duration::from_secs(3))),
        ("4m", Some(Duration::from_millis(4))),
        ("5u", Some(Duration::from_micros(5))),
        ("6n", Some(Duration::from_nanos(6))),
        ("0S", Some(Duration::ZERO)),
        ("99999999H", Some(Duration::from_hours(99_999_999))),
        ("100000000S", None),
        ("", None),
        ("S", None),
        ("1", None),
        ("1s", None),
        ("+1S", None),
        ("-1S", None),
        ("1.5S", None),
        (" 1S", None),
    ] {
        assert_eq!(caller_timeout(&headers(GRPC_TIMEOUT, &[text])), timeout, "{text:?}");
    }
    assert_eq!(caller_timeout(&HeaderMap::new()), None);
}

#[test]
fn every_method_has_a_longest_time() {
    for (path, secs) in [
        (VERIFY, 1),
        ("/postern.auth.v1.AuthService/BatchVerify", 1),
        ("/postern.auth.v1.AuthService/GetKeys", 1),
        ("/postern.auth.v1.AuthService/Refresh", 3),
        ("/postern.auth.v1.AuthService/ListSessions", 3),
        ("/postern.auth.v1.AuthService/Revoke", 3),
        (LOGIN, 10),
        ("/postern.admin.v1.AdminService/ApplyPolicy", 30),
        ("/grpc.health.v1.Health/Check", 10),
        ("/", 10),
        ("", 10),
    ] {
        assert_eq!(deadline_cap(path), Duration::from_secs(secs), "{path}");
    }
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let forever = service_fn(|_request: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let mut call = request(LOGIN);
    call.headers_mut().insert(GRPC_TIMEOUT, HeaderValue::from_static("5m"));
    let response = Around(Deadline, Made(forever)).answer(call).await;
    assert_eq!(code(&response), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let bad = service_fn(async |request: Request<Body>| -> Result<Response<Body>, Infallible> {
        assert_ne!(request.uri().path(), VERIFY, "a panic of this test");
        Ok(Response::default())
    });
    let stack = Around(CatchPanic, Made(bad));
    assert_eq!(code(&stack.answer(request(VERIFY)).await), Code::Internal);
    assert_eq!(code(&stack.answer(request(LOGIN)).await), Code::Ok);
}

#[tokio::test]
async fn only_tonics_own_internal_errors_are_the_callers() {
    let answers = [
        (Status::internal("failed to decode"), Code::InvalidArgument),
        (status::internal(), Code::Internal),
        (Status::out_of_range("too long"), Code::OutOfRange),
    ];
    for (status, seen) in answers {
        let answering = service_fn(move |_request: Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(status.clone().into_http::<Body>()))
        });
        assert_eq!(code(&Around(Malformed, Made(answering)).answer(request(VERIFY)).await), seen);
    }
}

#[tokio::test]
async fn the_id_goes_in_and_comes_back() {
    let echo = service_fn(async |request: Request<Body>| {
        let trace: &Trace = request.extensions().get().unwrap();
        assert_eq!(&**trace.request_id(), "mine");
        Ok::<_, Infallible>(Status::unavailable("x").into_http())
    });
    let mut call = request(VERIFY);
    call.headers_mut().insert(REQUEST_ID, HeaderValue::from_static("mine"));
    let observe = Observe { clock: Clock::default(), rpcs: Rpcs::counted_by(&Metrics::new()) };
    let response = Around(observe, Made(echo)).answer(call).await;
    assert_eq!(response.headers().get(REQUEST_ID).unwrap(), "mine");
    assert_eq!(code(&response), Code::Unavailable);
}

/// What was written, as `LEVEL field=value…`, without durations.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _context: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() != "duration_ms" {
                    write!(self.0, " {}={value:?}", field.name()).unwrap();
                }
            }
        }
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
}

#[test]
fn one_line_a_call_also_for_those_that_were_given_up() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answering = service_fn(async |request: Request<Body>| {
                let trace: &Trace = request.extensions().get().unwrap();
                trace.identified(&"dev".parse().unwrap());
                if request.uri().path() == "/x/Forever" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Status::not_found("x").into_http())
            });
            let observe = Observe { clock: Clock::default(), rpcs: Rpcs::counted_by(&Metrics::new()) };
            let stack = Around(observe, Made(answering));
            for path in [VERIFY, LOGIN, "/x/Forever"] {
                let answer = stack.answer(request(path));
                tokio::time::timeout(Duration::from_millis(5), answer).await.ok();
            }
        });
    });
    let lines = lines.0.lock().unwrap().clone();
    assert_eq!(
        lines,
        [
            r#"DEBUG message=answered method="postern.auth.v1.AuthService/Verify" code="NOT_FOUND" client="dev""#,
            r#"INFO message=answered method="postern.auth.v1.AuthService/Login" code="NOT_FOUND" client="dev""#,
            r#"INFO message=answered method="x/Forever" code="CANCELLED" client="dev""#,
        ]
    );
}
