//! The port itself: what stands around the calls, through a socket. What the calls do is tested from outside.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::time::Instant;

use http_body_util::Full;
use secrecy::ExposeSecret as _;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::*;
use crate::auth::Rules;
use crate::auth::audit::Audit;
use crate::auth::clients::Clients;
use crate::auth::feed::FeedTask;
use crate::auth::key_rotation::KeyRules;
use crate::auth::keyring::Keyring;
use crate::auth::master_key::MasterKeys;
use crate::auth::password_rules::PasswordRules;
use crate::auth::passwords::{HashSettings, Passwords};
use crate::auth::pepper::Peppers;
use crate::clock::Clock;
use crate::domain::client::{Origin, Registration, SessionPolicy};
use crate::domain::key::Algorithm;
use crate::domain::password::Context;
use crate::domain::permission::Scope;
use crate::domain::role::BoundRole;
use crate::metrics::Metrics;
use crate::oauth::Providers;
use crate::proto::auth::v1::auth_service_client::AuthServiceClient;
use crate::proto::auth::v1::login_request::Credential;
use crate::proto::auth::v1::{
    BatchVerifyRequest, Decision, GetKeysRequest, LoginRequest, PasswordCredential, VerifyRequest,
};
use crate::store::Store;
use crate::tls::Protocol;
use crate::vault::records::Records;
use crate::vault::sessions::Sessions;
use crate::verifier::{CACHE_BYTES_DEFAULT, Settings, Verifier};

/// A port with nobody to sign in.
struct Port {
    listener: Listener,
    auth: Arc<Auth>,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Port {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let auth = Arc::new(auth(directory.path()).await);
        let listener = Listener::local(Protocol::Grpc).await;
        Self { listener, auth, readiness: Arc::default(), shutdown: CancellationToken::new(), _directory: directory }
    }

    /// Serves while `calls` run, and then ends.
    async fn during(self, calls: impl AsyncFnOnce(Channel, &Readiness, &CancellationToken)) {
        let Self { listener, auth, readiness, shutdown, _directory } = self;
        let address = format!("http://{}", listener.socket.local_addr().unwrap());
        let age = Duration::from_mins(30);
        let parts = GrpcParts { auth, readiness: Arc::clone(&readiness), reflection: true, connection_age: age };
        let doors = Doors { public: listener, admin: None };
        let calls = async {
            let channel = Channel::from_shared(address).unwrap().connect_lazy();
            calls(channel, &readiness, &shutdown).await;
            shutdown.cancel();
        };
        let (served, ()) = tokio::join!(serve(doors, parts, shutdown.clone()), calls);
        served.unwrap();
    }
}

async fn auth(directory: &std::path::Path) -> Auth {
    let clock = Clock::default();
    let store = Store::open(&directory.join("postern.db"), clock.clone()).await.unwrap();
    let masters = MasterKeys::parse(&MasterKeys::generate().unwrap()).unwrap();
    let issuer = "http://127.0.0.1:7301".to_owned();
    let verifier = Arc::new(Verifier::new(Settings {
        issuer: issuer.clone(),
        max_staleness: Duration::from_mins(1),
        serve_stale: false,
        cache_bytes: CACHE_BYTES_DEFAULT,
    }));
    let keyring = Arc::new(Keyring::new(masters.keyring_sealer()));
    let role = |name: &str| BoundRole { role: name.parse().unwrap(), scope: Scope::Everywhere, expires_at: None };
    let built_in = Registration {
        audience: issuer.clone(),
        token_audiences: vec![issuer.clone()],
        roles: vec![role("postern.front"), role("postern.backend")],
        ..Registration::new("dev".parse().unwrap(), Origin::BuiltIn)
    };
    let server = SessionPolicy {
        access_ttl: Duration::from_mins(10),
        idle_ttl: Duration::from_hours(1),
        absolute_ttl: Duration::from_hours(2),
        refresh_grace: Duration::from_secs(30),
        max_per_user: 10,
    };
    let clients = Arc::new(Clients::new(server, Vec::new(), Some(built_in)).unwrap());
    let (feed, mut task) = FeedTask::new(
        store.clone(),
        Arc::clone(&verifier),
        Arc::clone(&keyring),
        Arc::clone(&clients),
        clock.clone(),
        Duration::from_secs(1),
    );
    task.load().await.unwrap();
    let one = NonZeroUsize::MIN;
    let cost = HashSettings { memory_kib: 19_456, iterations: 2, parallelism: 1, threads: one, queue: 1 };
    Auth {
        sessions: Sessions::new(Arc::new(store.vault()), masters.sealer("session")),
        challenges: Records::new(Arc::new(store.vault()), masters.sealer("challenge")),
        flows: Records::new(Arc::new(store.vault()), masters.sealer("flow")),
        codes: Records::new(Arc::new(store.vault()), masters.sealer("code")),
        links: Records::new(Arc::new(store.vault()), masters.sealer("link")),
        traded: Records::new(Arc::new(store.vault()), masters.sealer("traded")),
        providers: Providers::new(Vec::new(), &clock).unwrap(),
        trusted_issuers: crate::oauth::trusted::TrustedIssuers::default(),
        vault: Arc::new(store.vault()),
        limits: crate::auth::limits::Limits::new(
            Arc::new(store.vault()),
            masters.sealer("device"),
            crate::config::Config::development_defaults(std::path::Path::new("unused")).limits.tries,
        ),
        summaries: masters.sealer("summary"),
        audit: Audit::new(store.clone(), Clock::default(), Metrics::new()).0,
        passwords: Passwords::start(&cost, Peppers::default()).unwrap(),
        clients,
        rules: Rules {
            issuer,
            late_repeats: true,
            new_user_roles: Vec::new(),
            passwords: PasswordRules { min_length: 12, context: Context::default(), breached: None },
            jwks_max_age: Duration::from_mins(5),
            keys: KeyRules { algorithm: Algorithm::EdDsa, wait: Duration::from_mins(11), rotate_every: None },
        },
        store,
        verifier,
        keyring,
        masters,
        feed,
        clock,
        metrics: Metrics::new(),
        replica: uuid::Uuid::nil(),
    }
}

fn login(password: String) -> LoginRequest {
    let credential = PasswordCredential { identifier: "nobody".to_owned(), password };
    LoginRequest { credential: Some(Credential::Password(credential)), ..Default::default() }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn calls_are_answered_with_their_id() {
    let calls = async |channel, _: &Readiness, _: &CancellationToken| {
        let mut client = AuthServiceClient::new(channel);
        let mut keys = Request::new(GetKeysRequest {});
        keys.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
        let keys = client.get_keys(keys).await.unwrap();
        assert_eq!(keys.metadata().get("x-request-id").unwrap(), "mine");

        let refused = client.login(login("wrong".to_owned())).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unauthenticated, "INVALID_CREDENTIALS"));
        assert!(refused.metadata().contains_key("x-request-id"));

        let refused = client.login(login(String::new())).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "INVALID_FIELD"));

        let mut keys = Request::new(GetKeysRequest {});
        keys.metadata_mut().insert("authorization", "Bearer pcs_x".parse().unwrap());
        let refused = client.get_keys(keys).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "CLIENT_UNAUTHENTICATED"));
    };
    Port::new().await.during(calls).await;
}

#[tokio::test]
async fn a_batch_may_be_larger_than_other_messages() {
    let calls = async |channel, _: &Readiness, _: &CancellationToken| {
        let mut client = AuthServiceClient::new(channel);
        let large = "x".repeat(70_000);
        let refused = client.login(login(large.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
        let requests = vec![VerifyRequest { access_token: large, ..Default::default() }; 2];
        let judged = client.batch_verify(BatchVerifyRequest { requests }).await.unwrap().into_inner();
        assert_eq!(judged.responses.len(), 2);
        assert!(judged.responses.iter().all(|response| response.decision() == Decision::Unauthenticated));
        let requests = vec![VerifyRequest { access_token: "x".repeat(1_100_000), ..Default::default() }];
        assert_eq!(client.batch_verify(BatchVerifyRequest { requests }).await.unwrap_err().code(), Code::OutOfRange);
        let none = BatchVerifyRequest::default();
        assert_eq!(client.batch_verify(none).await.unwrap_err().code(), Code::InvalidArgument);
    };
    Port::new().await.during(calls).await;
}

/// The length is believed only as far as the limit, and what cannot be read is the caller's fault.
#[tokio::test]
async fn hostile_bytes_are_refused_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let auth = Arc::new(auth(directory.path()).await);
    let four_gib = &b"\0\xff\xff\xff\xff"[..];
    let no_message = &b""[..];
    let wrong_wire_type = &b"\0\0\0\0\x02\x08\x01"[..];
    let truncated = &b"\0\0\0\0\x09\x0a"[..];
    let bad_utf8 = &b"\0\0\0\0\x06\x0a\x04\x0a\x02\xff\xff"[..];
    for method in ["Login", "BatchVerify"] {
        for (body, code) in
            [(four_gib, "11"), (no_message, "3"), (wrong_wire_type, "3"), (truncated, "3"), (bad_utf8, "3")]
        {
            let service = Around(Malformed, Made(auth_service(&auth)));
            let request = http::Request::post(format!("/postern.auth.v1.AuthService/{method}"))
                .header("content-type", "application/grpc")
                .body(Body::new(Full::<prost::bytes::Bytes>::from(body)))
                .unwrap();
            let response = service.answer(request).await;
            assert_eq!(response.headers().get("grpc-status").unwrap(), code, "{method} {body:?}");
        }
    }
}

#[tokio::test]
async fn tools_find_the_contract() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let calls = async |channel, _: &Readiness, _: &CancellationToken| {
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(channel);
        let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
        assert!(list.service.iter().any(|service| service.name == "postern.auth.v1.AuthService"));
    };
    Port::new().await.during(calls).await;
}

#[tokio::test]
async fn health_follows_readiness_and_says_the_end_first() {
    let ended = OnceLock::new();
    let calls = async |channel: Channel, readiness: &Readiness, shutdown: &CancellationToken| {
        let mut health = HealthClient::new(channel);
        let name = |service: &str| HealthCheckRequest { service: service.to_owned() };
        for service in ["", "postern.auth.v1.AuthService"] {
            let status = health.check(name(service)).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::NotServing, "{service}");
        }
        let mut login = health.watch(name("postern.login")).await.unwrap().into_inner();
        while login.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}

        let mut server = health.watch(name("")).await.unwrap().into_inner();
        assert_eq!(server.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        readiness.loaded();
        assert_eq!(server.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        assert_eq!(health.check(name("other")).await.unwrap_err().code(), Code::NotFound);

        shutdown.cancel();
        #[expect(clippy::disallowed_methods, reason = "how long the end takes")]
        ended.set(Instant::now()).unwrap();
        assert_eq!(server.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        assert!(server.message().await.unwrap().is_none(), "the stream ends, or it would hold up the end");
    };
    Port::new().await.during(calls).await;
    assert!(ended.get().unwrap().elapsed() < DRAIN / 2);
}

/// Rows 85 and 153: a certificate proves one client or nobody, and what it proves is not overruled by a secret.
#[tokio::test]
async fn certificates_prove_clients() {
    use crate::domain::client::{ClientSecret, HeldSecret, San};
    use crate::grpc::layers::Trace;
    use crate::grpc::peer::Peer;

    let directory = tempfile::tempdir().unwrap();
    let auth = auth(directory.path()).await;
    let registered = |id: &str, san: &str| {
        let secret = ClientSecret::generate().unwrap();
        let secrets = vec![HeldSecret { digest: secret.digest(), ends_at: None }];
        let mtls_sans = vec![san.parse().unwrap()];
        let client = Registration { mtls_sans, secrets, ..Registration::new(id.parse().unwrap(), Origin::Store) };
        (client, format!("Bearer {}", secret.text().expose_secret()))
    };
    let (web, web_secret) = registered("web", "web.internal");
    let (orders, orders_secret) = registered("orders", "spiffe://prod/orders");
    let (lost, lost_secret) = registered("lost", "lost.internal");
    auth.clients.learn(&[web, orders, Registration { disabled: true, ..lost }]);
    let request = |address: &str, names: &[&str], authorization: Option<&str>| {
        let mut request = Request::new(());
        let names = names.iter().map(|name| name.parse::<San>().unwrap()).collect();
        request.extensions_mut().insert(Peer { address: address.parse().unwrap(), names });
        request.extensions_mut().insert(Trace::new("request".into()));
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        }
        request
    };
    let here = "127.0.0.1:9";
    for (address, names, secret, proven) in [
        (here, &["web.internal"][..], None, Some("web")),
        ("10.0.0.9:9", &["web.internal", "other.internal"], None, Some("web")),
        (here, &["web.internal"], Some(&web_secret), Some("web")),
        ("10.0.0.9:9", &[], Some(&orders_secret), Some("orders")),
        (here, &["web.internal"], Some(&orders_secret), None),
        (here, &["web.internal", "spiffe://prod/orders"], None, None),
        (here, &["web.internal", "spiffe://prod/orders"], Some(&web_secret), None),
        (here, &["other.internal"], None, None),
        (here, &["other.internal"], Some(&web_secret), None),
        (here, &["lost.internal"], None, None),
        (here, &[], Some(&lost_secret), None),
        // Without any credential: the development profile's own, on this machine.
        (here, &[], None, Some("dev")),
        ("[::1]:9", &[], None, Some("dev")),
        ("[::ffff:127.0.0.1]:9", &[], None, Some("dev")),
        ("10.0.0.9:9", &[], None, None),
    ] {
        let secret = secret.map(String::as_str);
        let call = callers::client(&auth, &request(address, names, secret));
        let found = call.as_ref().map(|call| call.client.id.as_str()).ok();
        assert_eq!(found, proven, "{address} {names:?} {}", secret.is_some());
        assert!(proven.is_some() || matches!(call, Err(crate::auth::Error::ClientUnauthenticated)));
        // The same proof administers, but for nobody's.
        let administrator = callers::administrator(&auth, &request(address, names, secret));
        let found = administrator.as_ref().map(|caller| caller.client_id().as_str()).ok();
        assert_eq!(found, proven.filter(|id| *id != "dev"), "{address} {names:?}");
    }
    // A person's token is judged as one, whatever certificate it comes with; here it is nobody's.
    let person = callers::administrator(&auth, &request(here, &["web.internal"], Some("Bearer eyJ.e30.x")));
    assert!(matches!(person, Err(crate::auth::Error::TokenRefused(_))));
    let no_client = callers::client(&auth, &request(here, &["web.internal"], Some("Bearer eyJ.e30.x")));
    assert!(matches!(no_client, Err(crate::auth::Error::ClientUnauthenticated)));
    // Who cannot be seen is nobody on this machine.
    let mut unseen = Request::new(());
    unseen.extensions_mut().insert(Trace::new("request".into()));
    assert!(callers::client(&auth, &unseen).is_err());
}
