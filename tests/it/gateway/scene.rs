//! Providers, a server that knows them, and the browser of a person who signs in there.

use postern::config::{Client, SecretSource};
use postern::domain::client::SessionLimits;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::{Person, Visit};

use super::*;
use crate::oauth::Stage;

pub(super) const ACCESS: &str = "__Host-postern-web-access";
pub(super) const REFRESH: &str = "__Host-postern-web-refresh";
/// Where the program `web` has its people sent back to, with letters that mean something in a page.
pub(super) const RETURN_URL: &str = "https://app.example.com/in?a=1&b='2'";
const SECRET: &str = "pcs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) struct Scene {
    pub(super) server: Server,
    pub(super) browser: Browser,
    stages: Vec<Stage>,
}

/// A flow under way: its cookie, and where the provider sent the browser, as a path.
pub(super) struct Flow {
    pub(super) cookie: String,
    pub(super) authorization_url: String,
    pub(super) callback: String,
}

impl Flow {
    /// The callback with another value of this parameter, or without it.
    pub(super) fn with(&self, name: &str, value: Option<&str>) -> String {
        let (path, query) = self.callback.split_once('?').unwrap();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known != name);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .extend_pairs(value.map(|value| (name, value)))
            .finish();
        format!("{path}?{query}")
    }
}

impl Scene {
    pub(super) async fn of(stages: Vec<Stage>) -> Self {
        Self::with(stages, |_| ()).await
    }

    /// With a program whose people get cookies.
    pub(super) async fn with(stages: Vec<Stage>, change: impl FnOnce(&mut Config)) -> Self {
        let providers = stages.iter().map(Stage::settings).map(|mut provider| {
            provider.redirect_uri = None;
            provider
        });
        let providers = providers.collect();
        let server = Server::start_with(|config| {
            quick(config);
            config.providers = providers;
            config.clients.push(Client {
                id: "web".parse().unwrap(),
                display_name: String::new(),
                mtls_sans: Vec::new(),
                secrets: vec![SecretSource::Value(SECRET.into())],
                audience: "web".to_owned(),
                token_audiences: vec!["web".to_owned()],
                return_urls: vec![RETURN_URL.to_owned()],
                roles: vec!["postern.front".parse().unwrap()],
                session_policy: SessionLimits::default(),
            });
            config.gateway.clients.push(GatewayClient {
                id: "web".parse().unwrap(),
                secret: Some(SecretSource::Value(SECRET.into())),
                answer: GatewayAnswer::Cookies,
                origins: Vec::new(),
            });
            change(config);
        })
        .await;
        for stage in &stages {
            stage.fake.allow_redirect(&format!("{}/callback/{}", server.gateway.as_deref().unwrap(), stage.id));
            stage.person(Person::new("4242").with_email(Some(&format!("{}@example.com", stage.id)), true));
        }
        let browser = Browser::of(&server);
        Self { server, browser, stages }
    }

    pub(super) fn stage(&self, id: &str) -> &Stage {
        self.stages.iter().find(|stage| stage.id == id).unwrap()
    }

    pub(super) async fn begin(&self, id: &str) -> Flow {
        let to: String = url::form_urlencoded::byte_serialize(RETURN_URL.as_bytes()).collect();
        let reply = self.browser.get(&format!("/start/web/{id}?return_to={to}")).await;
        assert_eq!(reply.status, 303, "{id}: {reply:?}");
        let [cookie] = reply.headers("set-cookie")[..] else { panic!("{reply:?}") };
        let authorization_url = reply.header("location");
        let Visit::Sent(callback) = self.stage(id).fake.visit(&authorization_url) else { panic!("{id}: {reply:?}") };
        let callback = callback.strip_prefix(self.server.gateway.as_deref().unwrap()).unwrap().to_owned();
        Flow { cookie: cookie.split(';').next().unwrap().to_owned(), authorization_url, callback }
    }

    /// As a browser, with what else it sends.
    pub(super) async fn come_back(&self, callback: &str, cookie: &str, headers: &[(&str, &str)]) -> Reply {
        let mut all = vec![("cookie", cookie)];
        all.extend(headers);
        self.browser.raw(&format!("GET {callback} HTTP/1.1"), &all, "").await
    }

    /// As the program itself sees them; nobody, if the token has ended.
    pub(super) async fn sessions(&self, access_token: &str, show_ended: bool) -> Vec<pb::Session> {
        let list = pb::ListSessionsRequest { access_token: access_token.to_owned(), show_ended, ..Default::default() };
        let mut request = tonic::Request::new(list);
        request.metadata_mut().insert("authorization", format!("Bearer {SECRET}").parse().unwrap());
        match self.server.client().list_sessions(request).await {
            Ok(listed) => listed.into_inner().sessions,
            Err(status) if status.code() == tonic::Code::Unauthenticated => Vec::new(),
            Err(status) => panic!("{status}"),
        }
    }

    /// The whole way, with the tokens of the cookies.
    pub(super) async fn sign_in(&self, id: &str) -> (String, String) {
        let flow = self.begin(id).await;
        let reply = self.come_back(&flow.callback, &flow.cookie, &[]).await;
        assert_eq!((reply.status, reply.header("location")), (303, RETURN_URL.to_owned()), "{id}: {reply:?}");
        (reply.cookie_value(ACCESS), reply.cookie_value(REFRESH))
    }
}

/// Nothing is in the browser after it but what was there before, and not even that.
pub(super) fn sets_nothing(reply: &Reply) {
    assert!(reply.headers("set-cookie").iter().all(|cookie| cookie.ends_with("Max-Age=0")), "{reply:?}");
    assert_eq!(reply.header("location"), "", "{reply:?}");
}
