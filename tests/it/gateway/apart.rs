//! `postern gateway`: the same gateway as a process of its own, in front of a server that knows nothing of browsers.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::binary::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_its_own_asks_a_server_and_outlives_it() {
    let mut server = Server::start_with(|config| {
        quick(config);
        config.gateway.in_process = false;
    })
    .await;
    assert_eq!(server.gateway, None);
    let place = Place::new();
    let asks = format!("gateway.server=http://{}", server.grpc);
    let mut command = place.command_with(&["gateway", "--listen.gateway", "127.0.0.1:0", "--set", &asks]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let facts: Vec<serde_json::Value> =
        lines.by_ref().take(4).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let fact = |name: &str| facts.iter().find(|fact| fact["fact"] == name).unwrap_or_else(|| panic!("{facts:?}"));
    assert_eq!(fact("server")["url"], format!("http://{}", server.grpc));
    fact("ready");
    let browser = Browser { address: fact("gateway")["address"].as_str().unwrap().parse().unwrap() };

    assert_eq!(browser.get("/.well-known/openid-configuration").await.json()["issuer"], server.issuer);
    let someone = server.someone().await;
    let cookie = format!("__Host-postern-dev-access={}", someone.tokens.access_token);
    let shown = browser.raw("GET /session/dev HTTP/1.1", &[("cookie", &*cookie)], "").await.json();
    assert_eq!(shown["userId"], someone.id);

    // An outage is said to be one, with the time to come back, and takes no cookie away.
    server.stop().await;
    let cookie = format!("__Host-postern-dev-refresh={}", someone.tokens.refresh_token);
    let away = browser.post("/session/dev/refresh", &[("cookie", &*cookie), ("x-postern-request", "1")]).await;
    assert_eq!((away.status, away.header("retry-after")), (503, "1".to_owned()), "{away:?}");
    assert!(!away.head.contains("set-cookie"), "{away:?}");
    is_armed(&away);
    assert_eq!(browser.get("/health").await.status, 200);

    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{ended:?}");
}
