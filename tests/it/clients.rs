//! Which program calls, and what it may: what proves one, what proves nobody, and that a program's failure never reads as
//! its user's (security rows 85, 147, 153; protocol F19).

use std::collections::BTreeMap;
use std::time::Duration;

use postern::app::{App, FirstPassword, StartError};
use postern::auth::clients::ClientConflict;
use postern::clock::Clock;
use postern::config::{self, Profile, SecretSource};
use postern::domain::client::{ClientSecret, Origin, Registration, SessionLimits};
use postern::proto::account::v1 as account;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use prost::Message as _;
use secrecy::ExposeSecret as _;
use tonic::{Code, Request, Status};

use crate::backstage::{self, allow};
use crate::contract::{self, ADMIN, call, rpcs};
use crate::support::{Admin, Answer, PASSWORD, Server, everywhere, login_request, metadata, quick, reason, verdict};

const AUTH: &str = "postern.auth.v1.AuthService";
const UNKNOWN: (Code, &str) = (Code::PermissionDenied, "CLIENT_UNAUTHENTICATED");

fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

fn refused<T: std::fmt::Debug>(answer: Answer<T>, code: Code, expected: &str) -> Status {
    let status = answer.unwrap_err();
    assert_eq!(told(&status), (code, expected.to_owned()), "{}", status.message());
    status
}

fn bearer(secret: &str) -> String {
    format!("Bearer {secret}")
}

pub(crate) fn random_secret() -> String {
    ClientSecret::generate().unwrap().text().expose_secret().to_owned()
}

fn registration(id: &str) -> Registration {
    Registration::new(id.parse().unwrap(), Origin::Store)
}

/// A request that a client makes.
fn by<T>(secret: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", bearer(secret).parse().unwrap());
    request
}

/// For each RPC of both services a message that passes all rules for fields.
fn messages(server: &Server, user: &str, tokens: &pb::TokenPair) -> BTreeMap<&'static str, Vec<u8>> {
    let verify = pb::VerifyRequest { access_token: tokens.access_token.clone(), ..Default::default() };
    let refresh = pb::RefreshRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() };
    let list = pb::ListSessionsRequest { access_token: tokens.access_token.clone(), ..Default::default() };
    let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
    let answer = Some(pb::complete_challenge_request::Answer::NewPassword(PASSWORD.to_owned()));
    let complete = pb::CompleteChallengeRequest { answer, ..Default::default() };
    let change = account::ChangePasswordRequest {
        access_token: tokens.access_token.clone(),
        current_password: PASSWORD.to_owned(),
        new_password: "too short".to_owned(),
    };
    let mut all = contract::good_messages(user, &server.issuer, "no-such-key");
    all.extend([
        ("Login", login_request("kim", PASSWORD).encode_to_vec()),
        ("CompleteChallenge", complete.encode_to_vec()),
        ("Refresh", refresh.encode_to_vec()),
        ("Verify", verify.encode_to_vec()),
        ("BatchVerify", pb::BatchVerifyRequest { requests: vec![verify] }.encode_to_vec()),
        ("ListSessions", list.encode_to_vec()),
        ("ChangePassword", change.encode_to_vec()),
        ("Revoke", pb::RevokeRequest { target, ..Default::default() }.encode_to_vec()),
        ("GetKeys", pb::GetKeysRequest {}.encode_to_vec()),
    ]);
    all.extend(messages_about_providers(tokens));
    all
}

fn messages_about_providers(tokens: &pb::TokenPair) -> [(&'static str, Vec<u8>); 8] {
    let code = || pb::ProviderCode { code: "code".into(), ..Default::default() };
    let exchange = Some(pb::o_auth_exchange_request::Proof::ProviderCode(code()));
    let link = Some(account::link_identity_request::Proof::ProviderCode(code()));
    let access_token = || tokens.access_token.clone();
    let subject_token = Some(pb::exchange_token_request::SubjectToken::ExternalToken(access_token() + "a.b.c"));
    let exchange_token = pb::ExchangeTokenRequest { subject_token, token_options: None };
    let unlink = account::UnlinkIdentityRequest {
        access_token: access_token(),
        provider: "google".into(),
        subject: "42".into(),
        device: None,
    };
    [
        ("ListProviders", pb::ListProvidersRequest {}.encode_to_vec()),
        ("OAuthStart", pb::OAuthStartRequest { provider: "google".into(), ..Default::default() }.encode_to_vec()),
        ("OAuthExchange", pb::OAuthExchangeRequest { proof: exchange, ..Default::default() }.encode_to_vec()),
        ("OAuthUnlink", pb::OAuthUnlinkRequest { provider: "kakao".into(), ..Default::default() }.encode_to_vec()),
        ("ExchangeToken", exchange_token.encode_to_vec()),
        ("ListIdentities", account::ListIdentitiesRequest { access_token: access_token() }.encode_to_vec()),
        (
            "LinkIdentity",
            account::LinkIdentityRequest { access_token: access_token(), proof: link, device: None }.encode_to_vec(),
        ),
        ("UnlinkIdentity", unlink.encode_to_vec()),
    ]
}

async fn sign_in(server: &Server, secret: &str) -> Answer<pb::TokenPair> {
    sign_in_for(server, secret, &[]).await
}

async fn sign_in_for(server: &Server, secret: &str, audiences: &[&str]) -> Answer<pb::TokenPair> {
    let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
    let token_options = Some(pb::TokenOptions { audiences, ..Default::default() });
    let login = pb::LoginRequest { token_options, ..login_request("kim", PASSWORD) };
    let answer = server.client().login(by(secret, login)).await?.into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no outcome") };
    Ok(sign_in.tokens.unwrap())
}

async fn keys(server: &Server, secret: &str) -> Answer<()> {
    server.client().get_keys(by(secret, pb::GetKeysRequest {})).await.map(drop)
}

/// Everything that is not a client's good credential, on every RPC of both services.
#[tokio::test(flavor = "multi_thread")]
async fn what_proves_nobody_calls_nothing() {
    let server = Server::quick().await;
    let kim = server.someone().await;
    let root = server.admin(&kim.admin);
    let old = backstage::client(&server, "rotated").await;
    let overlap = Some(prost_types::Duration::default());
    root.rotate_client_secret(admin::RotateClientSecretRequest { id: "rotated".into(), overlap }).await.unwrap();
    let disabled = backstage::client_with(&server, Registration { disabled: true, ..registration("disabled") }).await;
    let deleted = backstage::client(&server, "deleted").await;
    root.delete_client(admin::DeleteClientRequest { id: "deleted".into() }).await.unwrap();

    let secrets = [random_secret(), "pcs_short".to_owned(), format!("{}=", random_secret()), old, disabled, deleted];
    let foreign = [
        kim.admin.clone(),
        kim.tokens.access_token.clone(),
        kim.tokens.refresh_token.clone(),
        "pst_0123456789".to_owned(),
        String::new(),
    ];
    let mut credentials: Vec<String> = secrets.iter().chain(&foreign).map(|text| bearer(text)).collect();
    credentials.extend([random_secret(), format!("Basic {}", random_secret()), "x".to_owned()]);
    let messages = messages(&server, &kim.id, &kim.tokens);
    for rpc in rpcs() {
        for credential in &credentials {
            for message in [messages[rpc.name.as_str()].clone(), Vec::new()] {
                // Administration is of people too: there what is no client's secret is judged as a person's token.
                if rpc.service == ADMIN && !credential.starts_with("Bearer pcs_") {
                    continue;
                }
                let status = call(&server, &rpc.service, &rpc.name, Some(credential), message).await.unwrap_err();
                assert_eq!(told(&status), (UNKNOWN.0, UNKNOWN.1.to_owned()), "{} {credential}", rpc.name);
            }
        }
    }
    assert_eq!(server.client().get_keys(pb::GetKeysRequest {}).await.map(drop).map_err(|why| told(&why)), Ok(()));
}

/// Two credentials are none: which of them counts would be for an attacker to guess.
#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_none() {
    let server = Server::quick().await;
    let good = backstage::client(&server, "web").await;
    keys(&server, &good).await.unwrap();
    let mut request = by(&good, pb::GetKeysRequest {});
    request.metadata_mut().append("authorization", bearer(&good).parse().unwrap());
    refused(server.client().get_keys(request).await, UNKNOWN.0, UNKNOWN.1);
}

/// Outside of development nobody acts for a call without a credential.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_nobody_calls() {
    let front = config_client("web", &random_secret());
    // What production does not make, development has made.
    let server = Server::quick().await;
    let server = server
        .restart_with(|config| {
            quick(config);
            config.profile = Profile::Production;
            config.issuer.url = Some("https://id.example".to_owned());
            config.clients = vec![front];
        })
        .await;
    let messages = messages(&server, "019a8c1e-0000-7000-8000-00000000b7f3", &pb::TokenPair::default());
    for rpc in rpcs() {
        for message in [messages[rpc.name.as_str()].clone(), Vec::new()] {
            let status = call(&server, &rpc.service, &rpc.name, None, message).await.unwrap_err();
            // On AdminService, with nobody else in the message, the caller is the one that is unknown.
            let expected = if rpc.service == ADMIN { (Code::Unauthenticated, "TOKEN_INVALID") } else { UNKNOWN };
            assert_eq!(told(&status), (expected.0, expected.1.to_owned()), "{}", rpc.name);
        }
    }
}

/// A client without the role, on every RPC: its own lack, named, and never its user's.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_what_its_roles_say() {
    let server = Server::quick().await;
    let kim = server.someone().await;
    let web = Registration { audience: server.issuer.clone(), ..registration("web") };
    let secret = backstage::client_with(&server, web).await;
    backstage::client(&server, contract::TARGET).await;
    backstage::put_role(&server, "harmless", &[], &[]).await;
    let credential = bearer(&secret);
    let messages = messages(&server, &kim.id, &kim.tokens);
    let ask =
        async |service: &str, name: &str| call(&server, service, name, Some(&credential), messages[name].clone()).await;
    for rpc in rpcs().iter().filter(|rpc| rpc.needs.is_some()) {
        let status = ask(&rpc.service, &rpc.name).await.unwrap_err();
        assert_eq!(told(&status), (Code::PermissionDenied, "CLIENT_NOT_ALLOWED".to_owned()), "{}", rpc.name);
        // These two bring a person's token: the client only needs to act for people.
        let acts = matches!(rpc.name.as_str(), "ListSessions" | "Revoke");
        let needs = if acts { Some("postern:accounts:act") } else { rpc.needs.as_deref() };
        assert_eq!(Some(metadata(&status, "permission").as_str()), needs, "{}", rpc.name);
    }
    ask(AUTH, "GetKeys").await.unwrap();

    allow(&server, "web", "postern.backend").await;
    ask(AUTH, "Verify").await.unwrap();
    let status = ask(AUTH, "Login").await.unwrap_err();
    assert_eq!(told(&status), (Code::PermissionDenied, "CLIENT_NOT_ALLOWED".to_owned()));
    allow(&server, "web", "postern.admin").await;
    for rpc in rpcs().iter().filter(|rpc| rpc.service == ADMIN && rpc.name != "EndAllSessions") {
        let answer = ask(&rpc.service, &rpc.name).await;
        assert!(answer.is_ok() || reason(&answer.unwrap_err()) == "NOT_FOUND", "{}", rpc.name);
    }
}

/// A client that administers keeps to what it holds, and the log names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_administers_within_what_it_holds() {
    let server = Server::quick().await;
    let kim = server.someone().await;
    let root = server.admin(&kim.admin);
    let secret = backstage::client(&server, "provisioner").await;
    backstage::put_role(&server, "provisioning", &["postern:users:*", "postern:bindings:*", "postern:clients:*"], &[])
        .await;
    allow(&server, "provisioner", "provisioning").await;
    let provisioner = server.admin(&secret);
    let lee = server.create_user(&secret, "lee").await;
    let grant = |principal: &str, role: &str| admin::GrantRoleRequest {
        binding: Some(admin::Binding {
            principal_id: principal.to_owned(),
            role: role.to_owned(),
            scope: everywhere(),
            ..Default::default()
        }),
    };
    let granted = provisioner.grant_role(grant(&lee, "provisioning")).await.unwrap().binding.unwrap();
    assert_eq!(granted.granted_by, "provisioner");
    for principal in [lee.as_str(), "provisioner"] {
        let beyond = provisioner.grant_role(grant(principal, "postern.admin")).await;
        refused(beyond, Code::PermissionDenied, "PERMISSION_MISSING");
    }
    // Who makes a stronger client's secret, or gives it another name, could become it.
    backstage::client(&server, "strong").await;
    root.grant_role(grant("strong", "postern.front")).await.unwrap();
    let rotate = |id: &str| admin::RotateClientSecretRequest { id: id.to_owned(), overlap: None };
    refused(provisioner.rotate_client_secret(rotate("strong")).await, Code::PermissionDenied, "PERMISSION_MISSING");
    let sans = update("strong", &["mtls_sans"], |client| client.mtls_sans = vec!["evil.internal".to_owned()]);
    refused(provisioner.update_client(sans).await, Code::PermissionDenied, "PERMISSION_MISSING");
    let delete = admin::DeleteClientRequest { id: "strong".to_owned() };
    refused(provisioner.delete_client(delete).await, Code::PermissionDenied, "PERMISSION_MISSING");
    let own = provisioner.rotate_client_secret(rotate("provisioner")).await.unwrap().secret;
    keys(&server, &own).await.unwrap();
    let events = server.database().await.actors().await;
    assert!(events.contains(&("user_created".to_owned(), "provisioner".to_owned())), "{events:?}");
}

fn update(id: &str, mask: &[&str], change: impl FnOnce(&mut admin::Client)) -> admin::UpdateClientRequest {
    let mut client = admin::Client { id: id.to_owned(), ..Default::default() };
    change(&mut client);
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    admin::UpdateClientRequest { client: Some(client), update_mask: Some(prost_types::FieldMask { paths }) }
}

async fn only(root: &Admin, id: &str) -> Option<admin::Client> {
    let list = root.list_clients(admin::ListClientsRequest::default()).await.unwrap();
    list.clients.into_iter().find(|client| client.id == id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_from_creation_to_deletion() {
    let server = Server::quick().await;
    let kim = server.someone().await;
    let root = server.admin(&kim.admin);
    let new = admin::Client {
        id: "web".to_owned(),
        display_name: "Shop".to_owned(),
        mtls_sans: vec!["Web.internal".to_owned()],
        token_audiences: vec!["shop".to_owned()],
        ..Default::default()
    };
    let create =
        |client: &admin::Client| admin::CreateClientRequest { client: Some(client.clone()), with_secret: true };
    let made = root.create_client(create(&new)).await.unwrap();
    let shown = made.client.unwrap();
    assert!(shown.has_secret && !shown.from_config && !shown.etag.is_empty());
    assert_eq!(shown.mtls_sans, ["web.internal"]);
    keys(&server, &made.secret).await.unwrap();
    assert_eq!(only(&root, "web").await, Some(shown.clone()));
    // The secret is nowhere but in the answer.
    for (place, bytes) in server.home().stored().await {
        assert!(!bytes.windows(made.secret.len()).any(|bytes| bytes == made.secret.as_bytes()), "{place}");
    }

    refused(root.create_client(create(&new)).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    let same_name = admin::Client { id: "other".to_owned(), ..new.clone() };
    refused(root.create_client(create(&same_name)).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    let dev = admin::Client { id: "dev".to_owned(), ..Default::default() };
    refused(root.create_client(create(&dev)).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    let as_user = admin::Client { id: kim.id.clone(), ..Default::default() };
    refused(root.create_client(create(&as_user)).await, Code::InvalidArgument, "INVALID_FIELD");

    let disable = |etag: &str, disabled| {
        update("web", &["disabled"], |client| (client.disabled, client.etag) = (disabled, etag.to_owned()))
    };
    let disabled = root.update_client(disable(&shown.etag, true)).await.unwrap().client.unwrap();
    refused(keys(&server, &made.secret).await, UNKNOWN.0, UNKNOWN.1);
    refused(root.update_client(disable(&shown.etag, false)).await, Code::Aborted, "ETAG_MISMATCH");
    root.update_client(disable(&disabled.etag, false)).await.unwrap();
    keys(&server, &made.secret).await.unwrap();

    let delete = || admin::DeleteClientRequest { id: "web".to_owned() };
    root.delete_client(delete()).await.unwrap();
    refused(keys(&server, &made.secret).await, UNKNOWN.0, UNKNOWN.1);
    root.delete_client(delete()).await.unwrap();
    let gone = root.rotate_client_secret(admin::RotateClientSecretRequest { id: "web".into(), overlap: None }).await;
    refused(gone, Code::NotFound, "NOT_FOUND");
    assert_eq!(only(&root, "web").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_overlap_for_as_long_as_was_said() {
    let server = Server::quick().await;
    let root = server.login_admin().await.access_token;
    let first = backstage::client(&server, "web").await;
    let overlap = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let rotate = |overlap| admin::RotateClientSecretRequest { id: "web".to_owned(), overlap };
    let second = server.admin(&root).rotate_client_secret(rotate(overlap(600))).await.unwrap().secret;
    keys(&server, &first).await.unwrap();
    keys(&server, &second).await.unwrap();
    server.later(Duration::from_mins(10)).await;
    refused(keys(&server, &first).await, UNKNOWN.0, UNKNOWN.1);
    keys(&server, &second).await.unwrap();
    let third = server.admin(&root).rotate_client_secret(rotate(overlap(0))).await.unwrap().secret;
    refused(keys(&server, &second).await, UNKNOWN.0, UNKNOWN.1);
    keys(&server, &third).await.unwrap();
    // Unset is a day.
    server.admin(&root).rotate_client_secret(rotate(None)).await.unwrap();
    keys(&server, &third).await.unwrap();
    let long = server.admin(&root).rotate_client_secret(rotate(overlap(31 * 86_400))).await;
    refused(long, Code::InvalidArgument, "INVALID_FIELD");
}

/// What one replica is told, the others learn by the feed.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_learn() {
    let server = Server::quick().await;
    let replica = server.replica().await;
    let root = server.admin(&server.login_admin().await.access_token);
    let new = admin::Client { id: "web".to_owned(), ..Default::default() };
    let create = admin::CreateClientRequest { client: Some(new), with_secret: true };
    let secret = root.create_client(create).await.unwrap().secret;
    let becomes = async |expected: Result<(), (Code, String)>| {
        for _attempt in 0..400 {
            if keys(&replica, &secret).await.map_err(|why| told(&why)) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the replica did not learn: {expected:?}");
    };
    becomes(Ok(())).await;
    root.delete_client(admin::DeleteClientRequest { id: "web".to_owned() }).await.unwrap();
    becomes(Err((UNKNOWN.0, UNKNOWN.1.to_owned()))).await;
}

pub(crate) fn config_client(id: &str, secret: &str) -> config::Client {
    config::Client {
        id: id.parse().unwrap(),
        display_name: String::new(),
        mtls_sans: vec![format!("{id}.internal").parse().unwrap()],
        secrets: vec![SecretSource::Value(secret.to_owned().into())],
        audience: String::new(),
        token_audiences: vec!["shop".to_owned()],
        return_urls: Vec::new(),
        roles: vec!["postern.front".parse().unwrap()],
        session_policy: SessionLimits::default(),
    }
}

/// What the configuration declares is shown and works, and is changed only there.
#[tokio::test(flavor = "multi_thread")]
async fn declared_clients_are_changed_where_they_are_declared() {
    let secret = random_secret();
    let declared = config_client("web", &secret);
    let server = Server::start_with(|config| {
        quick(config);
        config.clients = vec![declared];
    })
    .await;
    let kim = server.someone().await;
    let root = server.admin(&kim.admin);
    sign_in(&server, &secret).await.unwrap();
    let shown = only(&root, "web").await.unwrap();
    assert!(shown.from_config && shown.has_secret && shown.etag.is_empty());
    assert!(only(&root, "dev").await.unwrap().from_config);

    let create = |id: &str, san: &str| admin::CreateClientRequest {
        client: Some(admin::Client { id: id.into(), mtls_sans: vec![san.into()], ..Default::default() }),
        with_secret: false,
    };
    refused(root.create_client(create("web", "x.internal")).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    refused(root.create_client(create("api", "web.internal")).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    for id in ["web", "dev"] {
        let place = if id == "web" { "[[clients]]" } else { "development" };
        let binding = Some(admin::Binding {
            principal_id: id.to_owned(),
            role: "postern.backend".to_owned(),
            scope: everywhere(),
            ..Default::default()
        });
        let withdraw = admin::WithdrawRoleRequest {
            principal_id: id.to_owned(),
            role: "postern.front".to_owned(),
            scope: everywhere(),
        };
        let rotate = admin::RotateClientSecretRequest { id: id.to_owned(), overlap: None };
        for answer in [
            root.update_client(update(id, &["audience"], |_| ())).await.map(drop),
            root.rotate_client_secret(rotate).await.map(drop),
            root.delete_client(admin::DeleteClientRequest { id: id.to_owned() }).await.map(drop),
            root.grant_role(admin::GrantRoleRequest { binding }).await.map(drop),
            root.withdraw_role(withdraw).await.map(drop),
        ] {
            let status = refused(answer, Code::FailedPrecondition, "CLIENT_NOT_EDITABLE");
            assert!(status.message().contains(place), "{}", status.message());
        }
    }
}

/// Two truths about one client are none: the server does not start, and says which client it is.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_cannot_be_told_apart_stop_the_start() {
    let mut server = Server::quick().await;
    let san = vec!["orders.internal".parse().unwrap()];
    backstage::client_with(&server, Registration { mtls_sans: san, ..registration("web") }).await;
    server.stop().await;
    let start = async |clients: Vec<config::Client>| {
        let mut config = server.home().config();
        config.clients = clients;
        App::start(config, Clock::default(), FirstPassword::Show).await.err()
    };
    let secret = random_secret();
    let also_stored = start(vec![config_client("web", &secret)]).await.unwrap();
    assert!(matches!(also_stored, StartError::Clients(ClientConflict::AlsoStored { .. })), "{also_stored:?}");
    assert!(also_stored.to_string().contains("`web`") && !also_stored.hints().is_empty());
    let same_name = start(vec![config_client("orders", &secret)]).await.unwrap();
    assert!(matches!(same_name, StartError::Clients(ClientConflict::SharedName { .. })), "{same_name:?}");
    let twice = start(vec![config_client("a", &secret), config_client("a", &random_secret())]).await.unwrap();
    assert!(matches!(twice, StartError::Clients(ClientConflict::DeclaredTwice { .. })), "{twice:?}");
    let shared = start(vec![config_client("a", &secret), config_client("b", &secret)]).await.unwrap();
    assert!(matches!(shared, StartError::Clients(ClientConflict::SharedSecret { .. })), "{shared:?}");
    let reserved = start(vec![config_client("dev", &secret)]).await.unwrap();
    assert!(matches!(reserved, StartError::Clients(ClientConflict::Reserved { .. })), "{reserved:?}");
    let weak = start(vec![config_client("a", "swordfish")]).await.unwrap();
    assert!(matches!(weak, StartError::ClientSecret { .. }) && !weak.to_string().contains("swordfish"), "{weak:?}");
    let sound = start(vec![config_client("a", &secret)]).await;
    assert!(sound.is_none(), "{sound:?}");
}

/// A session is its client's: through another one its tokens do nothing, and it lives on.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_belong_to_the_client_that_opened_them() {
    let server = Server::quick().await;
    server.someone().await;
    let front = |id: &str, audience: &str| Registration {
        audience: audience.to_owned(),
        token_audiences: vec![audience.to_owned(), server.issuer.clone()],
        ..registration(id)
    };
    let web = backstage::client_with(&server, front("web", "shop")).await;
    let app = backstage::client_with(&server, front("app", "shop")).await;
    for id in ["web", "app"] {
        allow(&server, id, "postern.front").await;
    }
    let tokens = sign_in(&server, &web).await.unwrap();
    let refresh = async |secret: &str, token: &str| {
        let message = pb::RefreshRequest { refresh_token: token.to_owned(), ..Default::default() };
        Ok::<_, Status>(server.client().refresh(by(secret, message)).await?.into_inner().tokens.unwrap())
    };
    refused(refresh(&app, &tokens.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    let list = async |secret: &str, token: &str| {
        let message = pb::ListSessionsRequest { access_token: token.to_owned(), ..Default::default() };
        Ok::<_, Status>(server.client().list_sessions(by(secret, message)).await?.into_inner().sessions)
    };
    list(&web, &tokens.access_token).await.unwrap();
    refused(list(&app, &tokens.access_token).await, Code::Unauthenticated, "TOKEN_INVALID");
    // A token for Postern itself is good through any client that may act for people.
    let own = sign_in_for(&server, &web, &[&server.issuer]).await.unwrap();
    list(&app, &own.access_token).await.unwrap();
    // To log out through another client ends nothing.
    let target = || Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
    let revoke = async |secret: &str| {
        let message = pb::RevokeRequest { target: target(), ..Default::default() };
        server.client().revoke(by(secret, message)).await.unwrap().into_inner().ended_count
    };
    assert_eq!(revoke(&app).await, 0);
    let next = refresh(&web, &tokens.refresh_token).await.unwrap();
    assert_eq!(revoke(&web).await, 1);
    refused(refresh(&web, &next.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    let alarms = server.database().await.audited_at_last("authn_token_foreign_client").await;
    assert_eq!(alarms, 1);
}

/// Who deletes a client and registers another under its id comes by nothing of the first: no session, no challenge.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_made_again_is_another() {
    let server = Server::quick().await;
    let kim = server.someone().await;
    let root = server.admin(&kim.admin);
    let front = || Registration { token_audiences: vec![server.issuer.clone()], ..registration("web") };
    let refresh = async |secret: &str, token: &str| {
        let message = pb::RefreshRequest { refresh_token: token.to_owned(), ..Default::default() };
        Ok::<_, Status>(server.client().refresh(by(secret, message)).await?.into_inner().tokens.unwrap())
    };
    let count = async || {
        let token = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap().access_token;
        let sessions = server.sessions(&token, false);
        sessions.await.iter().filter(|session| session.client_id == "web").count()
    };
    let due = admin::CreateUserRequest {
        user: Some(admin::User { user_name: "due".to_owned(), ..Default::default() }),
        password: PASSWORD.to_owned(),
        must_change_password: true,
        ..Default::default()
    };
    root.create_user(due).await.unwrap();
    let challenge = async |secret: &str| {
        let supported_challenges = vec![pb::ChallengeKind::NewPassword.into()];
        let login = pb::LoginRequest { supported_challenges, ..login_request("due", PASSWORD) };
        let answer = server.client().login(by(secret, login)).await.unwrap().into_inner();
        let Some(pb::login_response::Outcome::Challenge(challenge)) = answer.outcome else { panic!("no challenge") };
        challenge.challenge_token
    };
    let complete = async |secret: &str, challenge_token: String| {
        let answer = Some(pb::complete_challenge_request::Answer::NewPassword("quite another password".to_owned()));
        let message = pb::CompleteChallengeRequest { challenge_token, answer, ..Default::default() };
        server.client().complete_challenge(by(secret, message)).await.map(drop)
    };

    let first = backstage::client_with(&server, front()).await;
    allow(&server, "web", "postern.front").await;
    let tokens = sign_in(&server, &first).await.unwrap();
    let old_challenge = challenge(&first).await;
    assert_eq!(count().await, 1);
    root.delete_client(admin::DeleteClientRequest { id: "web".to_owned() }).await.unwrap();
    let second = backstage::client_with(&server, front()).await;
    allow(&server, "web", "postern.front").await;

    refused(refresh(&second, &tokens.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    let alarms = server.database().await.audited_at_last("authn_token_foreign_client").await;
    assert_eq!(alarms, 1);
    refused(complete(&second, old_challenge).await, Code::Unauthenticated, "CHALLENGE_FAILED");
    assert_eq!(count().await, 0);
    let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
    let revoke = pb::RevokeRequest { target, ..Default::default() };
    assert_eq!(server.client().revoke(by(&second, revoke)).await.unwrap().into_inner().ended_count, 0);

    // What is its own it has, from its first moment on.
    let own = sign_in(&server, &second).await.unwrap();
    refresh(&second, &own.refresh_token).await.unwrap();
    assert_eq!(count().await, 1);
    complete(&second, challenge(&second).await).await.unwrap();
}

/// Nothing is widened by omission: an empty audience is the client's own, and it asks for no other than it was given.
#[tokio::test(flavor = "multi_thread")]
async fn audiences_are_the_clients_own() {
    let server = Server::quick().await;
    server.someone().await;
    let with = |id: &str, audience: &str, tokens: &[&str]| Registration {
        audience: audience.to_owned(),
        token_audiences: tokens.iter().map(|audience| (*audience).to_owned()).collect(),
        ..registration(id)
    };
    let web = backstage::client_with(&server, with("web", "", &["orders", "billing"])).await;
    let none = backstage::client_with(&server, with("none", "", &[])).await;
    let orders = backstage::client_with(&server, with("orders", "orders", &[])).await;
    for (id, role) in [("web", "postern.front"), ("none", "postern.front"), ("orders", "postern.backend")] {
        allow(&server, id, role).await;
    }
    let for_orders = sign_in(&server, &web).await.unwrap().access_token;
    assert_eq!(backstage::claims(&for_orders)["aud"], serde_json::json!(["orders"]));
    let for_billing = sign_in_for(&server, &web, &["billing"]).await.unwrap().access_token;
    let foreign = sign_in_for(&server, &web, &["orders", &server.issuer]).await;
    refused(foreign, Code::InvalidArgument, "INVALID_FIELD");
    refused(sign_in(&server, &none).await, Code::InvalidArgument, "INVALID_FIELD");

    let verify = async |secret: &str, token: &str, audience: &str| {
        let (access_token, audience) = (token.to_owned(), audience.to_owned());
        let message = pb::VerifyRequest { access_token, audience, ..Default::default() };
        Ok::<_, Status>(verdict(&server.client().verify(by(secret, message)).await?.into_inner()))
    };
    let invalid = (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid);
    assert_eq!(verify(&orders, &for_orders, "").await.unwrap().0, pb::Decision::Allow);
    assert_eq!(verify(&orders, &for_billing, "").await.unwrap(), invalid);
    assert_eq!(verify(&orders, &for_billing, "billing").await.unwrap().0, pb::Decision::Allow);
    refused(verify(&web, &for_orders, "").await, Code::InvalidArgument, "INVALID_FIELD");
}

/// What was taken away from a client is taken from its open sessions too: they end where they are, and go on once it is
/// given back.
#[tokio::test(flavor = "multi_thread")]
async fn an_audience_that_is_taken_away_reaches_open_sessions() {
    let server = Server::quick().await;
    let root = server.someone().await.admin;
    let audiences = |all: &[&str]| all.iter().map(|audience| (*audience).to_owned()).collect::<Vec<String>>();
    let web = Registration { token_audiences: audiences(&["orders", &server.issuer]), ..registration("web") };
    let web = backstage::client_with(&server, web).await;
    allow(&server, "web", "postern.front").await;
    let for_postern = sign_in_for(&server, &web, &[&server.issuer]).await.unwrap().refresh_token;
    let for_both = sign_in_for(&server, &web, &["orders", &server.issuer]).await.unwrap().refresh_token;
    let let_ask_for = async |all: &[&str]| {
        let change = update("web", &["token_audiences"], |client| client.token_audiences = audiences(all));
        server.admin(&root).update_client(change).await.unwrap();
    };
    let refresh = async |token: &str, options: Option<pb::TokenOptions>| {
        let message =
            pb::RefreshRequest { refresh_token: token.to_owned(), token_options: options, ..Default::default() };
        Ok::<_, Status>(server.client().refresh(by(&web, message)).await?.into_inner())
    };
    let asking =
        |all: &[&str], tenant: &str| Some(pb::TokenOptions { audiences: audiences(all), tenant: tenant.to_owned() });
    let audience =
        |answer: &pb::RefreshResponse| backstage::claims(&answer.tokens.as_ref().unwrap().access_token)["aud"].clone();

    let_ask_for(&["orders"]).await;
    for token in [&for_postern, &for_both] {
        for options in [None, asking(&[], "acme"), asking(&[&server.issuer], "")] {
            let status = refused(refresh(token, options).await, Code::InvalidArgument, "INVALID_FIELD");
            let details = tonic_types::StatusExt::get_error_details(&status);
            let faults = &details.bad_request().unwrap().field_violations;
            assert!(faults[0].field.starts_with("token_options.audiences"), "{faults:?}");
            assert!(faults[0].description.ends_with(": orders"), "{faults:?}");
        }
    }
    // The sign-in itself is as good as it was: for what the client may still ask, and for all of it later.
    let narrowed = refresh(&for_both, asking(&["orders"], "")).await.unwrap();
    assert_eq!((narrowed.rotation(), audience(&narrowed)), (pb::Rotation::Advanced, serde_json::json!(["orders"])));
    let_ask_for(&["orders", &server.issuer]).await;
    let answer = refresh(&for_postern, None).await.unwrap();
    assert_eq!(
        (answer.rotation(), audience(&answer)),
        (pb::Rotation::Advanced, serde_json::json!([server.issuer])),
        "what was refused spent nothing"
    );
}

/// A client's own limits, from memory at each use: a change counts for the next call.
#[tokio::test(flavor = "multi_thread")]
async fn limits_are_the_clients_own() {
    let server = Server::quick().await;
    let kim = server.someone().await;
    let limits = SessionLimits { idle_ttl: Some(Duration::from_hours(1)), ..SessionLimits::default() };
    let audience = vec![server.issuer.clone()];
    let web =
        backstage::client_with(&server, Registration { limits, token_audiences: audience, ..registration("web") })
            .await;
    allow(&server, "web", "postern.front").await;
    let life = |tokens: &pb::TokenPair| {
        let now = server.clock.now().secs();
        let seconds = |time: Option<&prost_types::Timestamp>| time.unwrap().seconds - now;
        (seconds(tokens.access_expire_time.as_ref()), seconds(tokens.refresh_expire_time.as_ref()))
    };
    let tokens = sign_in(&server, &web).await.unwrap();
    let (access, idle) = life(&tokens);
    assert!((1_790..=1_800).contains(&access) && (3_590..=3_600).contains(&idle), "{access} {idle}");
    let shorter = update("web", &["session_policy.access_ttl", "session_policy.idle_ttl"], |client| {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        client.session_policy =
            Some(admin::SessionPolicy { access_ttl: seconds(60), idle_ttl: seconds(600), ..Default::default() });
    });
    server.admin(&kim.admin).update_client(shorter).await.unwrap();
    let message = pb::RefreshRequest { refresh_token: tokens.refresh_token, ..Default::default() };
    let tokens = server.client().refresh(by(&web, message)).await.unwrap().into_inner().tokens.unwrap();
    let (access, idle) = life(&tokens);
    assert!((50..=60).contains(&access) && (590..=600).contains(&idle), "{access} {idle}");
    server.later(Duration::from_mins(12)).await;
    let message = pb::RefreshRequest { refresh_token: tokens.refresh_token, ..Default::default() };
    let ended = refused(server.client().refresh(by(&web, message)).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(metadata(&ended, "endCause"), "IDLE");
}
