//! Requests that two readers would end at different places (RFC 9112, section 11.2; row 154): refused, or one request. What
//! stands behind one never comes to anybody's mind.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// What an attacker would have a later person's request begin with.
const SMUGGLED: &str = "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n";

/// The statuses of all that is answered to these bytes, until the connection ends or falls silent.
async fn statuses(address: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    let mut answers = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(length @ 1..)) = tokio::time::timeout(Duration::from_millis(500), connection.read(&mut piece)).await
    {
        answers.extend_from_slice(&piece[..length]);
    }
    let answers = String::from_utf8(answers).unwrap();
    let heads = answers.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head[..3].parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_at_two_places_is_one_request_at_most() {
    let server = Server::quick().await;
    let address = Browser::of(&server).address;
    let post =
        |headers: &str, body: &str| format!("POST /session/dev/logout HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}");
    let whole = SMUGGLED.len();
    let rest = format!("0\r\n\r\n{SMUGGLED}");
    let cases = [
        ("CL.TE", post(&format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", rest.len()), &rest)),
        (
            "TE.CL",
            post(
                "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
                &format!("{whole:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
            ),
        ),
        ("TE.CL, short", post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", &rest)),
        ("TE.TE", post("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", &rest)),
        ("TE, unknown", post("transfer-encoding: xchunked\r\n", &rest)),
        ("TE, not last", post("transfer-encoding: chunked, gzip\r\n", &rest)),
        ("TE, a blank before", post("transfer-encoding : chunked\r\n", &rest)),
        ("TE, a control before", post("transfer-encoding: \x0bchunked\r\n", &rest)),
        (
            "TE in HTTP/1.0",
            post("transfer-encoding: chunked\r\n", &rest)
                .replace("HTTP/1.1\r\nhost: x\r\ntr", "HTTP/1.0\r\nhost: x\r\ntr"),
        ),
        ("CL.CL", post(&format!("content-length: 0\r\ncontent-length: {whole}\r\n"), SMUGGLED)),
        ("CL, a list", post(&format!("content-length: 0, {whole}\r\n"), SMUGGLED)),
        ("CL, a sign", post(&format!("content-length: +{whole}\r\n"), SMUGGLED)),
        ("CL, less than nothing", post("content-length: -1\r\n", SMUGGLED)),
        ("CL, hexadecimal", post("content-length: 0x10\r\n", SMUGGLED)),
        ("CL, huge", post("content-length: 18446744073709551616\r\n", SMUGGLED)),
        ("CL, a blank before", post("content-length : 0\r\n", SMUGGLED)),
        ("obs-fold", post(&format!("x: a\r\n content-length: {whole}\r\n"), "")),
        ("obs-fold of CL", post(&format!("content-length:\r\n {whole}\r\n"), SMUGGLED)),
        ("bare CR", post(&format!("x: a\rcontent-length: {whole}\r\n"), "")),
        ("NUL", post("x: a\0b\r\n", "")),
        ("chunk, a sign", post("transfer-encoding: chunked\r\n", &format!("+0\r\n\r\n{SMUGGLED}"))),
        ("chunk, huge", post("transfer-encoding: chunked\r\n", &format!("10000000000000000\r\n{SMUGGLED}"))),
        ("chunk, bare LF", post("transfer-encoding: chunked\r\n", &format!("{whole:x}\n{SMUGGLED}\r\n0\r\n\r\n"))),
        ("chunk, longer than said", post("transfer-encoding: chunked\r\n", &format!("1\r\nab\r\n{rest}"))),
        ("no host, absolute", "GET http://evil.example/nothing HTTP/1.1\r\n\r\n".to_owned()),
        ("a blank in the target", format!("GET /a b HTTP/1.1\r\nhost: x\r\n\r\n{SMUGGLED}")),
        ("a version", format!("GET /health HTTP/1.2\r\nhost: x\r\n\r\n{SMUGGLED}")),
    ];
    for (case, request) in cases {
        let statuses = statuses(address, request.as_bytes()).await;
        assert!(statuses.len() <= 1, "{case}: {statuses:?}");
        assert!(statuses.iter().all(|status| (400..500).contains(status)), "{case}: {statuses:?}");
    }
    // Lines that end in LF alone are what some clients send: it is one request, whatever is in front of us makes of it.
    let bare = format!("POST /session/dev/logout HTTP/1.1\nhost: x\ncontent-length: {whole}\n\n{SMUGGLED}");
    assert_eq!(statuses(address, bare.as_bytes()).await, [415], "its body has no type");
    // One after the other is as it should be.
    let two = format!("{}{SMUGGLED}", post("content-length: 0\r\n", ""));
    assert_eq!(statuses(address, two.as_bytes()).await, [403, 404]);
}

/// Hyper answers these itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_its_bounds() {
    let server = Server::quick().await;
    let address = Browser::of(&server).address;
    let large = format!("GET /health HTTP/1.1\r\nhost: x\r\ncookie: {}\r\n\r\n", "a".repeat(20_000));
    assert_eq!(statuses(address, large.as_bytes()).await, [431]);
    let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(statuses(address, many.as_bytes()).await, [431]);
    assert_eq!(statuses(address, b"\x16\x03\x01\x02\x00\r\n\r\n").await, [400]);
}
