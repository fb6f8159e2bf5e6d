//! Sign-in at a provider, from the link to the session: what comes back in which browser, and what does not.

use postern::config::{Client, Provider, SecretSource, Sources};
use postern::domain::client::SessionLimits;
use postern::proto::auth::v1 as pb;
use postern_rig::providers::{Consent, Fake, Kind, Person, Script, Visit};

use super::*;

const SECRET: &str = "pcs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub(super) const ACCESS: &str = "__Host-postern-dev-access";
/// Of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A provider as its settings say.
fn provider(fake: &Fake, id: &str) -> Vec<Provider> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("postern.toml");
    std::fs::write(&file, fake.settings(id)).unwrap();
    Config::load(Sources { file: Some(file), ..Sources::default() }).unwrap().providers
}

/// With Kakao, and beside `dev` an app whose backend trades codes in.
pub(super) async fn server(fake: &Fake) -> (Server, Browser) {
    server_with(fake, |_| ()).await
}

pub(super) async fn server_with(fake: &Fake, change: impl FnOnce(&mut Config)) -> (Server, Browser) {
    let providers = provider(fake, "kakao");
    let server = Server::start_with(|config| {
        with_origin(config);
        config.providers = providers;
        config.clients.push(Client {
            id: "app".parse().unwrap(),
            display_name: String::new(),
            mtls_sans: Vec::new(),
            secrets: vec![SecretSource::Value(SECRET.into())],
            audience: String::new(),
            token_audiences: vec!["https://app.example.com".to_owned()],
            return_urls: vec!["https://app.example.com/in?a=1".to_owned()],
            roles: vec!["postern.front".parse().unwrap()],
            session_policy: SessionLimits::default(),
        });
        config.gateway.clients.push(GatewayClient {
            id: "app".parse().unwrap(),
            secret: Some(SecretSource::Value(SECRET.into())),
            answer: GatewayAnswer::Handoff,
            origins: Vec::new(),
        });
        change(config);
    })
    .await;
    fake.allow_redirect(&format!("{}/callback/kakao", server.gateway.as_deref().unwrap()));
    let browser = Browser::of(&server);
    (server, browser)
}

/// A flow under way: its cookie, and where the provider sent the browser, as a path.
pub(super) struct Flow {
    pub(super) cookie: String,
    pub(super) callback: String,
}

pub(super) async fn begin(browser: &Browser, fake: &Fake) -> Flow {
    let own: String = url::form_urlencoded::byte_serialize(format!("http://{}/", browser.address).as_bytes()).collect();
    begin_at(browser, fake, &format!("/start/dev/kakao?return_to={own}")).await
}

async fn begin_at(browser: &Browser, fake: &Fake, path: &str) -> Flow {
    followed(browser, fake, &browser.get(path).await)
}

/// The way to the provider and back to our door.
pub(super) fn followed(browser: &Browser, fake: &Fake, reply: &Reply) -> Flow {
    assert_eq!(reply.status, 303, "{reply:?}");
    is_armed(reply);
    let [cookie] = reply.headers("set-cookie")[..] else { panic!("{reply:?}") };
    for part in ["__Host-postern-flow-", "; Secure", "; HttpOnly", "; Path=/", "; SameSite=Lax", "; Max-Age=600"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let Visit::Sent(callback) = fake.visit(&reply.header("location")) else { panic!("{reply:?}") };
    let callback = callback.strip_prefix(&format!("http://{}", browser.address)).unwrap().to_owned();
    Flow { cookie: cookie.split(';').next().unwrap().to_owned(), callback }
}

pub(super) async fn come_back(browser: &Browser, callback: &str, cookie: &str) -> Reply {
    browser.raw(&format!("GET {callback} HTTP/1.1"), &[("cookie", cookie), ("accept", "text/html")], "").await
}

fn exchanges(fake: &Fake) -> usize {
    fake.requests("/oauth/token").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_comes_back_signed_in() {
    let fake = Fake::start(Kind::Kakao);
    let (server, browser) = server(&fake).await;
    let flow = begin(&browser, &fake).await;
    let reply = come_back(&browser, &flow.callback, &flow.cookie).await;
    assert_eq!((reply.status, reply.header("location")), (303, format!("http://{}/", browser.address)), "{reply:?}");
    is_armed(&reply);
    let flow_name = flow.cookie.split('=').next().unwrap();
    assert!(reply.cookie(flow_name).unwrap().ends_with("Max-Age=0"), "{reply:?}");
    assert!(reply.cookie("__Host-postern-dev-refresh").unwrap().contains("SameSite=Strict"));
    let token = reply.cookie_value(ACCESS);
    assert_eq!(server.sessions(&token, false).await[0].method, "kakao");
    let page = come_back(&browser, "/", &format!("{ACCESS}={token}")).await;
    assert!(page.body.contains("kakao") && page.body.contains("Revoke"), "{page:?}");

    // Once: not again from the history.
    assert_eq!(come_back(&browser, &flow.callback, &flow.cookie).await.status, 400);
    assert_eq!(exchanges(&fake), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_ends_only_in_the_browser_that_began_it() {
    let fake = Fake::start(Kind::Kakao);
    let (_server, browser) = server(&fake).await;
    let (mine, theirs) = (begin(&browser, &fake).await, begin(&browser, &fake).await);
    // Login CSRF: somebody else's code and state, with no cookie, with another flow's, and with its value under our name.
    let (name, _) = mine.cookie.split_once('=').unwrap();
    let forged = format!("{name}={}", theirs.cookie.split_once('=').unwrap().1);
    for cookie in ["", &theirs.cookie, &format!("{0}; {0}", mine.cookie)] {
        let reply = come_back(&browser, &mine.callback, cookie).await;
        assert_eq!(reply.status, 400, "{cookie}");
        assert!(reply.cookie(ACCESS).is_none() && reply.header("location").is_empty(), "{reply:?}");
    }
    assert_eq!(exchanges(&fake), 0);
    // Another provider's callback, and parameters that come twice.
    let mixed = mine.callback.replace("/callback/kakao", "/callback/google");
    for callback in [mixed, format!("{}&state=x", mine.callback), format!("{}&code=x", mine.callback)] {
        assert_eq!(come_back(&browser, &callback, &mine.cookie).await.status, 400, "{callback}");
    }
    assert_eq!(come_back(&browser, &mine.callback, &forged).await.status, 400);
    assert_eq!(exchanges(&fake), 0, "the provider was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_is_told_so_and_can_go_on() {
    let fake = Fake::start(Kind::Kakao);
    let (_server, browser) = server(&fake).await;
    fake.script(Script { consent: Consent::Cancelled, ..Script::default() });
    let flow = begin(&browser, &fake).await;
    let reply = come_back(&browser, &flow.callback, &flow.cookie).await;
    assert!(reply.status == 403 && reply.body.contains("Sign-in cancelled"), "{reply:?}");
    assert!(reply.headers("set-cookie").iter().all(|cookie| cookie.ends_with("Max-Age=0")), "{reply:?}");
    assert_eq!(exchanges(&fake), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_a_code_for_its_backend() {
    let fake = Fake::start(Kind::Kakao);
    fake.script(Script::of(Person::new("77")));
    let (server, browser) = server(&fake).await;
    let to = "return_to=https%3A%2F%2Fapp.example.com%2Fin%3Fa%3D1";
    assert_eq!(browser.get(&format!("/start/app/kakao?{to}")).await.status, 400, "a challenge is missing");
    let path = format!("/start/app/kakao?{to}&handoff_challenge={CHALLENGE}");
    let flow = begin_at(&browser, &fake, &path).await;
    let reply = come_back(&browser, &flow.callback, &flow.cookie).await;
    let location = reply.header("location");
    let code = location.strip_prefix("https://app.example.com/in?a=1&code=").unwrap_or_else(|| panic!("{reply:?}"));
    assert_eq!(reply.headers("set-cookie").len(), 1, "only the flow's cookie, to delete it: {reply:?}");

    let proof = pb::HandoffCode { code: code.to_owned(), verifier: VERIFIER.to_owned() };
    let proof = Some(pb::o_auth_exchange_request::Proof::HandoffCode(proof));
    let mut request = tonic::Request::new(pb::OAuthExchangeRequest { proof, ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {SECRET}").parse().unwrap());
    let answer = server.client().o_auth_exchange(request).await.unwrap().into_inner();
    assert!(matches!(answer.outcome, Some(pb::o_auth_exchange_response::Outcome::SignIn(_))));
}
