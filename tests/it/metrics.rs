//! What `/metrics` counts, and that its page in the documentation has all of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use postern::config::Config;
use postern::proto::auth::v1 as pb;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::people::{kim, sign_in};
use crate::support::{Server, connect, login_request, reason};

async fn told(server: &Server) -> String {
    // As Prometheus asks.
    let (head, body) =
        asked(server, "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/openmetrics-text"), "{head}");
    body
}

async fn asked(server: &Server, accept: &str) -> (String, String) {
    let mut connection = TcpStream::connect(server.operations).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
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
async fn calls_verdicts_sessions_and_engines_are_counted() {
    let server = Server::quick().await;
    let (id, tokens) = kim(&server).await;
    let start = told(&server).await;
    for _ in 0..2 {
        server.verify(&tokens.access_token).await;
        server.may(&tokens.access_token, "orders:refund", "").await;
    }
    server.verify("no token").await;
    let asked_for = told(&server).await;
    // The next, the same again, and a spent one that comes back when its time is over, twice: the first is forgiven.
    let next = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
    server.refresh(&tokens.refresh_token).await.unwrap();
    server.later(Duration::from_mins(1)).await;
    server.refresh(&tokens.refresh_token).await.unwrap();
    server.later(Duration::from_mins(1)).await;
    let reused = server.refresh(&tokens.refresh_token).await.unwrap_err();
    assert_eq!(reason(&reused), "SESSION_REUSED");
    assert_eq!(reason(&server.refresh(&next.refresh_token).await.unwrap_err()), "SESSION_ENDED");
    let mine = sign_in(&server).await;
    server.logout(&mine.refresh_token).await;
    crate::people::disable(&server, id).await;
    let mut strange = tonic::client::Grpc::new(connect(server.grpc).await);
    strange.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/made.up/Name");
    let codec = tonic_prost::ProstCodec::<pb::VerifyRequest, pb::VerifyResponse>::default();
    strange.unary(tonic::Request::new(pb::VerifyRequest::default()), path, codec).await.unwrap_err();

    let end = told(&server).await;
    let between =
        |start: &str, end: &str, series: &str| value(end, series).unwrap_or(0) - value(start, series).unwrap_or(0);
    let by = |series: &str| between(&start, &end, series);
    let rpc = |method: &str, code: &str| {
        by(&format!("postern_rpc_requests_total{{service=\"AuthService\",method=\"{method}\",code=\"{code}\"}}"))
    };
    assert_eq!((rpc("Refresh", "OK"), rpc("Refresh", "UNAUTHENTICATED")), (3, 2), "{end}");
    assert_eq!(by("postern_rpc_requests_total{service=\"other\",method=\"other\",code=\"UNIMPLEMENTED\"}"), 1);
    assert!(!end.contains("made.up"), "a stranger's word became a label");
    let verified = |series: &str| between(&start, &asked_for, series);
    for series in [
        "requests_total{service=\"AuthService\",method=\"Verify\",code=\"OK\"}",
        "duration_seconds_count{service=\"AuthService\",method=\"Verify\"}",
        "duration_seconds_bucket{le=\"+Inf\",service=\"AuthService\",method=\"Verify\"}",
    ] {
        assert_eq!(verified(&format!("postern_rpc_{series}")), 5, "{series}: {asked_for}");
    }
    assert_eq!(value(&end, "postern_rpc_in_flight"), Some(0));
    let decided = |decision: &str, reason: &str| {
        verified(&format!("postern_decisions_total{{decision=\"{decision}\",reason=\"{reason}\"}}"))
    };
    assert_eq!(decided("ALLOW", ""), 2);
    assert_eq!(decided("DENY", "PERMISSION_MISSING"), 2);
    assert_eq!(decided("UNAUTHENTICATED", "TOKEN_INVALID"), 1);
    assert!(by("postern_verifier_cache_lookups_total{result=\"hit\"}") >= 3);
    assert!(by("postern_verifier_cache_lookups_total{result=\"miss\"}") >= 2);
    assert!(value(&end, "postern_verifier_cache_entries").unwrap() >= 1);
    let became = |event: &str| by(&format!("postern_session_events_total{{event=\"{event}\"}}"));
    let told: Vec<u64> =
        ["opened", "advanced", "repeated", "late", "reused", "refused", "revoked"].map(became).to_vec();
    // Beside kim's: the administrator's who disables.
    assert_eq!(told, [2, 1, 1, 1, 1, 1, 1], "{end}");
    assert!(by("postern_feed_changes_total") >= 3 && by("postern_feed_delay_seconds_count") >= 3);
    assert!(value(&end, "postern_feed_reloads_total") >= Some(1));
    for engine in ["store", "vault"] {
        assert_eq!(value(&end, &format!("postern_engine_up{{engine=\"{engine}\"}}")), Some(1), "{end}");
    }
    assert!(by("postern_store_statement_duration_seconds_count") > 10 && by("postern_store_wait_seconds_count") > 5);
    assert_eq!(value(&end, "postern_store_errors_total"), Some(0), "{end}");
    for operation in ["get", "swap", "insert", "remove", "list"] {
        let count = by(&format!("postern_vault_operation_duration_seconds_count{{operation=\"{operation}\"}}"));
        assert!(count >= 1, "{operation}: {end}");
    }
    assert_eq!(value(&end, "postern_ready"), Some(1));
    assert_eq!(value(&end, "postern_signing_keys{state=\"signing\"}"), Some(1));
    assert!(value(&end, "postern_connections{listener=\"grpc\"}") >= Some(1));
    assert!(by("postern_password_hash_seconds_count") >= 1 && by("postern_password_wait_seconds_count") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_is_counted_as_such() {
    let server = Server::quick().await;
    let (_id, tokens) = kim(&server).await;
    server.database().await.run("ALTER TABLE revocations RENAME TO gone", &[]).await;
    server.refresh(&tokens.refresh_token).await.unwrap_err();
    let text = told(&server).await;
    assert!(value(&text, "postern_store_errors_total") >= Some(1), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_format_gets_the_one_that_all_tools_read() {
    let server = Server::quick().await;
    for accept in ["*/*", "text/plain"] {
        let (head, body) = asked(&server, accept).await;
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(
            body.contains("# TYPE postern_sign_in_alarms_total counter\npostern_sign_in_alarms_total 0\n"),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_page_has_every_metric_and_no_other() {
    let server = Server::quick().await;
    // What has labels is not told before there is one.
    server.login("nobody", "not the password").await.unwrap_err();
    let gateway = server.gateway.as_deref().unwrap().trim_start_matches("http://").to_owned();
    let mut page = TcpStream::connect(gateway).await.unwrap();
    page.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    page.read_to_string(&mut String::new()).await.unwrap();
    // The engines are asked for the first time soon after the start.
    let mut text = told(&server).await;
    while !text.contains("postern_engine_up{") {
        tokio::time::sleep(Duration::from_millis(20)).await;
        text = told(&server).await;
    }
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .filter(|name| name.starts_with("postern_"))
        .collect();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operator.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `postern_"));
    let written: BTreeSet<String> = rows.map(|row| format!("postern_{}", row.split_once('`').unwrap().0)).collect();
    // This server has no certificate.
    let everywhere = |name: &String| name != "postern_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(told, written.into_iter().filter(everywhere).collect());
    for process in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_start_time_seconds "] {
        assert!(text.lines().any(|line| line.starts_with(process)), "{process}");
        assert!(page.contains(&format!("`{}`", process.trim_end())), "{process}");
    }
}
