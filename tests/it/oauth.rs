//! Sign-in at providers, over gRPC as a front uses it, against fakes that check what we send: the flow and what it is bound
//! to, whose account is meant, hand-off, native apps, linking, and what a provider's outage costs (security rows 97 to 101,
//! 104, 110, 117 to 121, 129 and 131).

mod accounts;
mod bindings;
mod canary;
mod crash;
mod handoff;
mod journey;
mod limits;
mod links;
mod notices;
mod outage;
mod races;

use std::sync::Arc;

use postern::config::{self, Config, SecretSource};
use postern::domain::client::SessionLimits;
use postern::domain::identity::ProviderKind;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::{ADMIN_KEY, CLIENT_ID, CLIENT_SECRET, Fake, Kind, Person, Script, Visit};
use tonic::{Request, Status};

use crate::support::{Answer, Server, quick, reason};

const CALLBACK: &str = "https://auth.example.com/callback";
const APP: &str = "https://app.example.com/signed-in";

/// The faces of all providers: an id for each.
pub(crate) const FACES: [(&str, Kind, bool); 7] = [
    ("google", Kind::Google, true),
    ("kakao", Kind::Kakao, true),
    ("kakao-plain", Kind::Kakao, false),
    ("naver", Kind::Naver, true),
    ("naver-plain", Kind::Naver, false),
    ("github", Kind::GitHub, false),
    ("keycloak", Kind::Oidc, true),
];

/// A provider's fake, and how a server is told of it.
pub(crate) struct Stage {
    pub(crate) id: &'static str,
    kind: Kind,
    is_oidc: bool,
    pub(crate) fake: Fake,
}

impl Stage {
    pub(crate) fn new((id, kind, is_oidc): (&'static str, Kind, bool)) -> Self {
        let fake = Fake::start(kind);
        fake.allow_redirect(&format!("{CALLBACK}/{id}"));
        Self { id, kind, is_oidc, fake }
    }

    pub(crate) fn all() -> Vec<Self> {
        FACES.map(Self::new).into()
    }

    fn google() -> Self {
        Self::new(FACES[0])
    }

    /// As `[[providers]]` would say it.
    pub(crate) fn settings(&self) -> config::Provider {
        let table: toml::Table = self.fake.settings_of(self.id, self.is_oidc).parse().unwrap();
        let table = table["providers"][0].as_table().unwrap().clone();
        let text = |name: &str| table.get(name).and_then(toml::Value::as_str).map(ToOwned::to_owned);
        config::Provider {
            id: self.id.parse().unwrap(),
            kind: match self.kind {
                Kind::Google => ProviderKind::Google,
                Kind::Kakao => ProviderKind::Kakao,
                Kind::Naver => ProviderKind::Naver,
                Kind::GitHub => ProviderKind::GitHub,
                Kind::Oidc => ProviderKind::Oidc,
            },
            display_name: String::new(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(SecretSource::Value(CLIENT_SECRET.into())),
            native_client_ids: if matches!(self.kind, Kind::Naver | Kind::GitHub) || !self.is_oidc {
                Vec::new()
            } else {
                vec!["native-app".to_owned()]
            },
            issuer: text("issuer"),
            endpoints: config::Endpoints {
                authorization: text("authorization_endpoint"),
                token: text("token_endpoint"),
                userinfo: text("userinfo_endpoint"),
                ..config::Endpoints::default()
            },
            redirect_uri: Some(format!("{CALLBACK}/{}", self.id)),
            scopes: None,
            surface: if self.is_oidc { config::Surface::Oidc } else { config::Surface::OAuth2 },
            pkce: true,
            client_auth: None,
            form_post: false,
            parameters: vec!["login_hint".to_owned()],
            hosted_domain: None,
            sign_up: true,
            link_by_email: false,
            link_domains: Vec::new(),
            admin_key: Some(SecretSource::Value(ADMIN_KEY.into())),
            private_network: true,
            ca: None,
        }
    }

    /// The person who signs in from now on.
    pub(crate) fn person(&self, person: Person) {
        self.fake.script(Script::of(person));
    }

    /// Where the provider sends a browser that came from `authorization_url`.
    fn sent(&self, authorization_url: &str) -> url::Url {
        match self.fake.visit(authorization_url) {
            Visit::Sent(callback) => callback.parse().unwrap(),
            Visit::Page(page) => panic!("{}: {page}", self.id),
        }
    }

    /// How often a code was traded in.
    pub(crate) fn exchanges(&self) -> usize {
        self.fake.requests("").iter().filter(|request| request.form.contains_key("code")).count()
    }
}

/// A server that knows these providers, with one client of its own that has a page to return to.
struct Scene {
    server: Server,
    stages: Vec<Stage>,
    secret: String,
    other: String,
}

impl Scene {
    async fn of(stages: Vec<Stage>) -> Self {
        Self::with(stages, |_| ()).await
    }

    async fn with(stages: Vec<Stage>, change: impl FnOnce(&mut Config)) -> Self {
        let (secret, other) = (crate::clients::random_secret(), crate::clients::random_secret());
        let providers: Vec<config::Provider> = stages.iter().map(Stage::settings).collect();
        let (first, second) = (secret.clone(), other.clone());
        let server = Server::start_with(move |config| {
            quick(config);
            config.providers = providers;
            config.clients = vec![client("web", &first), client("other", &second)];
            change(config);
        })
        .await;
        Self { server, stages, secret, other }
    }

    fn stage(&self, id: &str) -> &Stage {
        self.stages.iter().find(|stage| stage.id == id).unwrap()
    }

    async fn start(&self, provider: &str) -> Answer<pb::OAuthStartResponse> {
        self.start_with(pb::OAuthStartRequest { provider: provider.to_owned(), ..Default::default() }).await
    }

    async fn start_with(&self, request: pb::OAuthStartRequest) -> Answer<pb::OAuthStartResponse> {
        Ok(self.server.client().o_auth_start(by(&self.secret, request)).await?.into_inner())
    }

    async fn exchange(&self, proof: pb::o_auth_exchange_request::Proof) -> Answer<pb::OAuthExchangeResponse> {
        self.exchange_as(&self.secret, proof).await
    }

    async fn exchange_as(
        &self,
        secret: &str,
        proof: pb::o_auth_exchange_request::Proof,
    ) -> Answer<pb::OAuthExchangeResponse> {
        let request = pb::OAuthExchangeRequest {
            proof: Some(proof),
            supported_challenges: vec![pb::ChallengeKind::LinkIdentity.into()],
            ..Default::default()
        };
        Ok(self.server.client().o_auth_exchange(by(secret, request)).await?.into_inner())
    }

    /// The whole way: there, back, and in.
    async fn sign_in(&self, provider: &str) -> Answer<pb::SignIn> {
        match self.arrive(provider).await?.outcome.unwrap() {
            pb::o_auth_exchange_response::Outcome::SignIn(sign_in) => Ok(sign_in),
            other => panic!("{other:?}"),
        }
    }

    async fn arrive(&self, provider: &str) -> Answer<pb::OAuthExchangeResponse> {
        let code = self.code(provider).await?;
        self.exchange(Proof::ProviderCode(code)).await
    }

    /// What came back from a provider, with all that a front holds.
    async fn code(&self, provider: &str) -> Answer<pb::ProviderCode> {
        let started = self.start(provider).await?;
        let callback = self.stage(provider).sent(&started.authorization_url);
        Ok(returned(provider, &callback, &started.flow_secret))
    }

    async fn users(&self) -> usize {
        let admin = self.server.login_admin().await.access_token;
        let listed = self.server.admin(&admin).list_users(admin::ListUsersRequest::default()).await.unwrap();
        listed.users.len()
    }

    async fn identities(&self, access_token: &str) -> Vec<account::Identity> {
        let request = account::ListIdentitiesRequest { access_token: access_token.to_owned() };
        self.accounts().list_identities(by(&self.secret, request)).await.unwrap().into_inner().identities
    }

    fn accounts(&self) -> account::account_service_client::AccountServiceClient<tonic::transport::Channel> {
        account::account_service_client::AccountServiceClient::new(self.server.channel.clone())
    }
}

use pb::o_auth_exchange_request::Proof;
use postern::proto::account::v1 as account;

fn client(id: &str, secret: &str) -> config::Client {
    config::Client {
        id: id.parse().unwrap(),
        display_name: String::new(),
        mtls_sans: Vec::new(),
        secrets: vec![SecretSource::Value(secret.into())],
        audience: "shop".to_owned(),
        token_audiences: vec!["shop".to_owned()],
        return_urls: vec![APP.to_owned()],
        roles: ["postern.front", "postern.backend"].map(|role| role.parse().unwrap()).into(),
        session_policy: SessionLimits::default(),
    }
}

/// A request that a client makes.
fn by<T>(secret: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    request
}

/// The parameters of a callback, as a front reads them.
fn returned(provider: &str, callback: &url::Url, flow_secret: &str) -> pb::ProviderCode {
    let value = |name: &str| {
        let found = callback.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    pb::ProviderCode {
        provider: provider.to_owned(),
        code: value("code"),
        state: value("state"),
        issuer: value("iss"),
        flow_secret: flow_secret.to_owned(),
        error: value("error"),
    }
}

fn refused<T: std::fmt::Debug>(answer: Answer<T>, expected: &str) -> Status {
    let status = answer.unwrap_err();
    assert_eq!(reason(&status), expected, "{}", status.message());
    status
}

fn shared(scene: Scene) -> Arc<Scene> {
    Arc::new(scene)
}
