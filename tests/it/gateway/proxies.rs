//! Behind a reverse proxy: whose address limits, sessions and the audit see (row 148).

use std::time::Duration;

use postern::domain::rate::Quota;
use postern_rig::providers::{Fake, Kind};

use super::flows::{ACCESS, come_back, followed, server_with};
use super::*;

const FORWARDED_FOR: &str = "x-forwarded-for";

fn start(browser: &Browser) -> String {
    let own: String = url::form_urlencoded::byte_serialize(format!("http://{}/", browser.address).as_bytes()).collect();
    format!("/start/dev/kakao?return_to={own}")
}

async fn begin(browser: &Browser, forwarded: &str) -> Reply {
    browser.raw(&format!("GET {} HTTP/1.1", start(browser)), &[(FORWARDED_FOR, forwarded)], "").await
}

/// The addresses that a session and the audit have of who comes with this header.
async fn seen(trusted: &[&str], forwarded: &str) -> [String; 2] {
    let fake = Fake::start(Kind::Kakao);
    let (server, browser) = server_with(&fake, |config| {
        config.gateway.trusted_proxies = trusted.iter().map(|block| block.parse().unwrap()).collect();
    })
    .await;
    let flow = followed(&browser, &fake, &begin(&browser, forwarded).await);
    let headers = [("cookie", flow.cookie.as_str()), (FORWARDED_FOR, forwarded), ("x-real-ip", "9.9.9.9")];
    let reply = browser.raw(&format!("GET {} HTTP/1.1", flow.callback), &headers, "").await;
    let sessions = server.sessions(&reply.cookie_value(ACCESS), false).await;
    // The same code again: a failure, which the audit has with its address.
    assert_eq!(browser.raw(&format!("GET {} HTTP/1.1", flow.callback), &headers, "").await.status, 400);
    let mut database = server.database().await;
    assert_eq!(database.audited_at_last("authn_login_fail").await, 1);
    let failed: Vec<(String,)> =
        database.rows("SELECT ip_address FROM audit WHERE kind = 'authn_login_fail'", &[]).await;
    [sessions[0].device.clone().unwrap().ip_address, failed[0].0.clone()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_trusted_says_where_the_browser_is() {
    let address = "198.51.100.7".to_owned();
    assert_eq!(seen(&["127.0.0.0/8"], "9.9.9.9, 198.51.100.7").await, [address.clone(), address.clone()]);
    assert_eq!(seen(&["127.0.0.1", "10.0.0.0/8"], "9.9.9.9, [::ffff:198.51.100.7]:80, 10.0.0.2").await[0], address);
    // From anybody else it is what the browser wrote itself.
    for trusted in [&[][..], &["10.0.0.0/8"]] {
        assert_eq!(seen(trusted, "198.51.100.7").await, ["127.0.0.1"; 2], "{trusted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_browser_behind_the_proxy_uses_up_its_own_share() {
    let fake = Fake::start(Kind::Kakao);
    let (_server, browser) = server_with(&fake, |config| {
        config.gateway.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.limits.tries.address = Quota { burst: 3, every: Duration::from_mins(3) };
    })
    .await;
    // What it writes itself stands to the left, and does not make it another.
    for n in 0..3 {
        assert_eq!(begin(&browser, &format!("203.0.113.{n}, 198.51.100.7")).await.status, 303);
    }
    assert_eq!(begin(&browser, "203.0.113.9, 198.51.100.7").await.status, 429);
    let flow = followed(&browser, &fake, &begin(&browser, "198.51.100.8").await);
    assert_eq!(come_back(&browser, &flow.callback, &flow.cookie).await.status, 303);
}
