//! One more way into an account, through the browser that is signed in to it.

use postern::proto::account::v1 as account;
use postern_rig::providers::{Fake, Kind, Person, Script};

use account::account_service_client::AccountServiceClient;

use super::flows::{ACCESS, Flow, begin, come_back, followed, server};
use super::*;

async fn sign_in(browser: &Browser, fake: &Fake, id: &str) -> String {
    fake.script(Script::of(Person::new(id).with_email(None, false)));
    let Flow { cookie, callback } = begin(browser, fake).await;
    come_back(browser, &callback, &cookie).await.cookie_value(ACCESS)
}

async fn ask_to_link(browser: &Browser, cookie: &str, origin: &str) -> Reply {
    let own: String = url::form_urlencoded::byte_serialize(format!("http://{}/", browser.address).as_bytes()).collect();
    let headers = [("cookie", cookie), ("origin", origin), ("content-type", "application/x-www-form-urlencoded")];
    let body = format!("provider=kakao&return_to={own}");
    browser.raw("POST /session/dev/link HTTP/1.1", &headers, &body).await
}

async fn subjects(server: &Server, token: &str) -> Vec<String> {
    let request = account::ListIdentitiesRequest { access_token: token.to_owned() };
    let mut accounts = AccountServiceClient::new(server.channel.clone());
    let listed = accounts.list_identities(request).await.unwrap().into_inner().identities;
    listed.into_iter().map(|identity| identity.subject).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_in_adds_a_way_in() {
    let fake = Fake::start(Kind::Kakao);
    let (server, browser) = server(&fake).await;
    let own = format!("http://{}", browser.address);
    let token = sign_in(&browser, &fake, "1").await;
    let signed_in = format!("{ACCESS}={token}");

    // A link on a stranger's page, and their form, begin nothing; nor does anybody without a session.
    for (cookie, origin, status) in
        [(signed_in.as_str(), "https://evil.example", 403), (&signed_in, "null", 403), ("a=b", &own, 401)]
    {
        let reply = ask_to_link(&browser, cookie, origin).await;
        assert_eq!((reply.status, reply.headers("set-cookie").len()), (status, 0), "{reply:?}");
    }
    assert_eq!(browser.get("/session/dev/link").await.status, 405);

    fake.script(Script::of(Person::new("2").with_email(None, false)));
    let flow = followed(&browser, &fake, &ask_to_link(&browser, &signed_in, &own).await);
    // Without the session it is nobody's.
    let reply = come_back(&browser, &flow.callback, &flow.cookie).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    assert_eq!(subjects(&server, &token).await, ["1"]);

    let flow = followed(&browser, &fake, &ask_to_link(&browser, &signed_in, &own).await);
    let reply = come_back(&browser, &flow.callback, &format!("{}; {signed_in}", flow.cookie)).await;
    assert_eq!((reply.status, reply.header("location")), (303, format!("{own}/")), "{reply:?}");
    is_armed(&reply);
    assert!(reply.cookie(ACCESS).is_none(), "no new session");
    assert_eq!(subjects(&server, &token).await, ["1", "2"]);
    let second = sign_in(&browser, &fake, "2").await;
    assert_eq!(subjects(&server, &second).await, ["1", "2"], "the same account");

    // What belongs to somebody else stays theirs.
    let other = sign_in(&browser, &fake, "3").await;
    fake.script(Script::of(Person::new("3").with_email(None, false)));
    let flow = followed(&browser, &fake, &ask_to_link(&browser, &signed_in, &own).await);
    let reply = come_back(&browser, &flow.callback, &format!("{}; {signed_in}", flow.cookie)).await;
    assert_eq!(reply.status, 409, "{reply:?}");
    assert!(reply.body.contains("another account"), "{reply:?}");
    assert_eq!(subjects(&server, &other).await, ["3"]);
}
