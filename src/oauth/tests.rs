//! Each provider against a fake that checks what it is sent.

mod attacks;
mod encrypted;
mod journeys;
mod keys;
mod odd;
mod refusals;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_rig::providers::{ADMIN_KEY, Asked, CLIENT_ID, CLIENT_SECRET, Fake, Kind, Script, Visit};
use secrecy::ExposeSecret as _;

use super::provider::Patience;
use super::*;
use crate::clock::Clock;
use crate::domain::identity::Profile;

const REDIRECT: &str = "http://127.0.0.1:7303/callback/it";
const NONCE: &str = "00112233445566778899aabbccddeeff";
const STATE: &str = "state-of-this-flow";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Long enough for a busy machine, short enough not to be waited for.
const SHORT: Patience = Patience { call: Duration::from_millis(1_500), exchange: Duration::from_secs(3) };

/// The faces of all providers.
const FACES: [(Kind, bool); 7] = [
    (Kind::Google, true),
    (Kind::Kakao, true),
    (Kind::Kakao, false),
    (Kind::Naver, true),
    (Kind::Naver, false),
    (Kind::GitHub, false),
    (Kind::Oidc, true),
];

const OPENID: [Kind; 4] = [Kind::Google, Kind::Kakao, Kind::Naver, Kind::Oidc];

fn kind_of(kind: Kind) -> ProviderKind {
    match kind {
        Kind::Google => ProviderKind::Google,
        Kind::Kakao => ProviderKind::Kakao,
        Kind::Naver => ProviderKind::Naver,
        Kind::GitHub => ProviderKind::GitHub,
        Kind::Oidc => ProviderKind::Oidc,
    }
}

/// As the settings of a fake would be read.
fn settings(fake: &Fake, kind: Kind, is_oidc: bool) -> Settings {
    let toml: toml::Table = fake.settings_of("it", is_oidc).parse().unwrap();
    let table = toml["providers"][0].as_table().unwrap().clone();
    let text = |name: &str| table.get(name).and_then(toml::Value::as_str).map(ToOwned::to_owned);
    Settings {
        id: "it".parse().unwrap(),
        kind: kind_of(kind),
        display_name: String::new(),
        client_id: CLIENT_ID.to_owned(),
        client_secret: Some(CLIENT_SECRET.into()),
        native_client_ids: vec!["native-app".to_owned()],
        issuer: text("issuer"),
        discovery: None,
        authorization: text("authorization_endpoint"),
        token: text("token_endpoint"),
        userinfo: text("userinfo_endpoint"),
        jwks: None,
        redirect_uri: REDIRECT.to_owned(),
        scopes: None,
        is_oidc,
        pkce: true,
        auth_in_body: None,
        form_post: false,
        parameters: vec!["login_hint".to_owned()],
        hosted_domain: None,
        link_domains: Vec::new(),
        admin_key: Some(ADMIN_KEY.into()),
        private_network: true,
        ca: None,
        sign_up: true,
        link_by_email: false,
    }
}

/// A provider and its fake.
struct Scene {
    fake: Fake,
    providers: Providers,
    clock: Clock,
    kind: Kind,
    is_oidc: bool,
    /// Where the next person is; each is somewhere else.
    network: AtomicU8,
}

impl Scene {
    fn new(kind: Kind, is_oidc: bool) -> Self {
        Self::with(kind, is_oidc, |_| ())
    }

    fn with(kind: Kind, is_oidc: bool, change: impl FnOnce(&mut Settings)) -> Self {
        let fake = Fake::start(kind);
        fake.allow_redirect(REDIRECT);
        let mut settings = settings(&fake, kind, is_oidc);
        change(&mut settings);
        let clock = Clock::default();
        let providers = Providers::with_patience(vec![settings], &clock, SHORT).unwrap();
        Self { fake, providers, clock, kind, is_oidc, network: AtomicU8::new(0) }
    }

    fn provider(&self) -> &Provider {
        self.providers.get("it").unwrap()
    }

    async fn authorize(&self) -> Result<Authorization, ProviderFault> {
        let (state, parameters) = (STATE.into(), BTreeMap::new());
        let ask = Ask { state: &state, nonce: NONCE, code_challenge: CHALLENGE, parameters: &parameters };
        self.provider().authorize(&ask).await
    }

    fn asked(&self) -> Asked {
        Asked {
            redirect_uri: REDIRECT.to_owned(),
            state: Some(STATE.to_owned()),
            nonce: self.is_oidc.then(|| NONCE.to_owned()),
            challenge: (self.is_oidc || self.kind != Kind::Naver).then(|| CHALLENGE.to_owned()),
            scope: if self.kind == Kind::Kakao { String::new() } else { "openid email profile".to_owned() },
            is_oidc: self.is_oidc,
        }
    }

    /// A sign-in that goes as the script says, from the code on.
    async fn sign_in(&self, script: Script) -> Result<Profile, ProviderFault> {
        let code = self.fake.issue(script, self.asked());
        self.exchange(&code).await
    }

    async fn exchange(&self, code: &str) -> Result<Profile, ProviderFault> {
        let network = self.network.fetch_add(1, Ordering::Relaxed);
        self.exchange_from(IpAddr::from([198, 51, network, 7]), code).await
    }

    async fn exchange_from(&self, address: IpAddr, code: &str) -> Result<Profile, ProviderFault> {
        let (code, code_verifier, state) = (code.into(), VERIFIER.into(), STATE.into());
        let grant =
            Grant { code: &code, code_verifier: &code_verifier, state: &state, nonce: NONCE, address: Some(address) };
        self.provider().exchange(&grant).await
    }

    /// The whole way, as a browser would go it.
    async fn journey(&self) -> Result<Profile, ProviderFault> {
        let authorization = self.authorize().await?;
        let Visit::Sent(callback) = self.fake.visit(authorization.url.expose_secret()) else { panic!("not sent back") };
        let back = parameters(&callback);
        assert_eq!(back["state"], STATE);
        self.exchange(&back["code"]).await
    }

    fn token_path(&self) -> &'static str {
        match (self.kind, self.is_oidc) {
            (Kind::Google | Kind::Oidc, _) => "/token",
            (Kind::Kakao, _) => "/oauth/token",
            (Kind::Naver, true) => "/oauth2/token",
            (Kind::Naver, false) => "/oauth2.0/token",
            (Kind::GitHub, _) => "/login/oauth/access_token",
        }
    }

    fn userinfo_path(&self) -> &'static str {
        match (self.kind, self.is_oidc) {
            (Kind::Google, _) => "/v1/userinfo",
            (Kind::Oidc, _) => "/userinfo",
            (Kind::Kakao, true) => "/v1/oidc/userinfo",
            (Kind::Kakao, false) => "/v2/user/me",
            (Kind::Naver, _) => "/v1/nid/me",
            (Kind::GitHub, _) => "/user",
        }
    }

    fn jwks_path(&self) -> &'static str {
        match self.kind {
            Kind::Google => "/oauth2/v3/certs",
            Kind::Kakao => "/.well-known/jwks.json",
            Kind::Naver => "/oauth2/jwks",
            Kind::GitHub | Kind::Oidc => "/jwks",
        }
    }

    fn exchanges(&self) -> usize {
        self.fake.requests(self.token_path()).len()
    }
}

fn parameters(url: &str) -> BTreeMap<String, String> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

#[expect(clippy::needless_pass_by_value, reason = "an outcome is judged where it comes from")]
fn rejection<T>(outcome: Result<T, ProviderFault>) -> Option<Rejection> {
    match outcome {
        Err(ProviderFault::Rejected(why)) => Some(why),
        _ => None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an outcome is judged where it comes from")]
fn absence<T>(outcome: Result<T, ProviderFault>) -> Option<Absence> {
    match outcome {
        Err(ProviderFault::Unavailable { why, .. }) => Some(why),
        _ => None,
    }
}

#[test]
fn the_challenge_is_that_of_the_rfc() {
    assert_eq!(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes())), CHALLENGE);
}
