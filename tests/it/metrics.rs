//! What `/metrics` counts, and that its page in the documentation has all of it.

use std::collections::BTreeSet;
use std::path::Path;

use postern::config::Config;
use postern::proto::auth::v1 as pb;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::people::{kim, sign_in};
use crate::support::{Server, login_request, reason};

async fn told(server: &Server) -> String {
    let mut connection = TcpStream::connect(server.operations).await.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

/// The number that stands behind a name and its labels.
fn value(text: &str, series: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_limits_and_the_alarm_are_counted() {
    // With the limits that hold where nothing was set.
    let server = Server::start_with(|config| {
        crate::support::quick(config);
        config.limits = Config::development_defaults(Path::new("unused")).limits;
    })
    .await;
    kim(&server).await;
    sign_in(&server).await;
    let before = told(&server).await;
    assert_eq!(value(&before, "postern_sign_ins_total{result=\"success\"}"), Some(2), "{before}");
    assert_eq!(value(&before, "postern_sign_in_alarms_total"), Some(0));

    // A name each: no account fails so often.
    let mut refused = 0;
    for number in 0..130 {
        let device = pb::Device { ip_address: "192.0.2.1".to_owned(), ..pb::Device::default() };
        let name = format!("nobody-{number}");
        let login = pb::LoginRequest { device: Some(device), ..login_request(&name, "not the password") };
        let status = server.client().login(login).await.unwrap_err();
        refused += u64::from(reason(&status) == "THROTTLED");
    }
    let after = told(&server).await;
    assert_eq!(value(&after, "postern_sign_ins_total{result=\"failure\"}"), Some(130 - refused));
    assert_eq!(value(&after, "postern_sign_in_alarms_total"), Some(1), "{after}");
    assert!(refused > 0);
    assert_eq!(value(&after, "postern_limit_decisions_total{limit=\"address\",decision=\"refused\"}"), Some(refused));
    assert_eq!(value(&after, "postern_audit_events_total{event=\"authn_login_fail\"}"), Some(130 - refused));
    assert_eq!(value(&after, "postern_audit_events_lost_total"), Some(0));
    assert_eq!(value(&after, "postern_password_jobs_waiting"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_page_has_every_metric_and_no_other() {
    let server = Server::quick().await;
    // What has labels is not told before there is one.
    server.login("nobody", "not the password").await.unwrap_err();
    let text = told(&server).await;
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operator.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `postern_"));
    let written: BTreeSet<String> = rows.map(|row| format!("postern_{}", row.split_once('`').unwrap().0)).collect();
    assert_eq!(told, written);
}
