//! The ports: what answers where, how many may come, how long they may be silent, and how old a connection grows.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use postern::listener::Patience;
use postern::proto::auth::v1::GetKeysRequest;
use postern::proto::auth::v1::auth_service_client::AuthServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GET_KEYS, GOAWAY, HEADERS, NO_ERROR, PING, REFUSED_STREAM, RST_STREAM,
    SETTINGS, Wire, block, call_headers, frame,
};
use crate::raw;
use crate::support::{Server, connect, quick};

/// Seconds become tenths of them.
const IMPATIENT: Patience = Patience {
    handshake: Duration::from_secs(1),
    head: Duration::from_secs(1),
    ping_interval: Duration::from_secs(1),
    ping: Duration::from_millis(500),
    farewell: Duration::from_secs(5),
};

async fn keys(channel: &Channel) -> Result<(), tonic::Status> {
    AuthServiceClient::new(channel.clone()).get_keys(GetKeysRequest::default()).await.map(drop)
}

/// Whether the server ends a connection, by itself, before the test runs out of patience.
async fn is_ended(stream: &mut TcpStream) -> bool {
    let mut heard = Vec::new();
    let end = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut heard)).await;
    match end {
        Ok(Ok(_)) => true,
        Ok(Err(why)) => matches!(why.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        Err(_elapsed) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_is_on_its_own_port_alone() {
    let server = Server::start_with(|config| {
        quick(config);
        config.listen.admin = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let admin = connect(server.admin_port.unwrap()).await;
    let info = "/postern.admin.v1.AdminService/GetServerInfo";
    let token = format!("Bearer {}", server.login_admin().await.access_token);
    let person = [("authorization", token.as_str())];
    for (channel, path, headers, code) in [
        (&admin, info, &person[..], Code::Ok),
        (&server.channel, info, &person, Code::Unimplemented),
        (&server.channel, GET_KEYS, &[], Code::Ok),
        (&admin, GET_KEYS, &[], Code::Unimplemented),
    ] {
        let answer = raw::call(channel, path, headers, raw::frame(&[])).await.unwrap();
        assert_eq!(answer.code, code, "{path}");
    }
    for channel in [&admin, &server.channel] {
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel.clone()).check(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_is_told_so_by_http() {
    let server = Server::quick().await;
    for (method, form, status) in [
        ("POST", "application/grpc", "200"),
        ("POST", "application/grpc+proto", "200"),
        ("POST", "application/grpc-web", "415"),
        ("POST", "application/grpc-web+proto", "415"),
        ("POST", "application/grpc-web-text", "415"),
        ("POST", "application/grpc+json", "415"),
        ("POST", "application/json", "415"),
        ("GET", "application/grpc", "405"),
        ("OPTIONS", "application/grpc", "405"),
    ] {
        let request = http::Request::builder().method(method).uri(GET_KEYS).header("content-type", form);
        let body = http_body_util::Full::new(tonic::codegen::Bytes::from(raw::frame(&[])));
        let request = request.body(tonic::body::Body::new(body)).unwrap();
        let answer = tower::ServiceExt::oneshot(server.channel.clone(), request).await.unwrap();
        assert_eq!(answer.status().as_str(), status, "{method} {form}");
        assert!(answer.headers().contains_key("x-request-id"), "{method} {form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_http_2_are_told_and_kept() {
    let server = Server::quick().await;
    let mut wire = Wire::open(server.grpc).await;
    let settings = wire.read_to(SETTINGS).await.unwrap().settings();
    assert!(settings.contains(&(3, 128)), "streams: {settings:?}");
    assert!(settings.contains(&(6, 16 * 1024)), "header list: {settings:?}");
    assert!(settings.contains(&(5, 16 * 1024)) || settings.iter().all(|(id, _)| *id != 5), "frame: {settings:?}");

    // All begun, none finished; the last is one too many.
    for stream in 0..=128_u32 {
        let headers = call_headers("/postern.auth.v1.AuthService/Login");
        wire.send(&frame(HEADERS, END_HEADERS, 2 * stream + 1, &headers)).await.unwrap();
    }
    let reset = wire.read_to(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.error_code()), (257, REFUSED_STREAM));

    // 17 KiB of headers end the stream or are answered with 431, and the next call on the connection is answered.
    let mut wire = Wire::open(server.grpc).await;
    let filler = "x".repeat(120);
    let many: Vec<(String, &str)> = (0..140).map(|index| (format!("x-{index}"), &*filler)).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, *value)).collect();
    let headers = [call_headers(GET_KEYS), block(&many)].concat();
    let (head, tail) = headers.split_at(16_000);
    wire.send(&frame(HEADERS, END_STREAM, 1, head)).await.unwrap();
    wire.send(&frame(crate::frames::CONTINUATION, END_HEADERS, 1, tail)).await.unwrap();
    wire.send(&frame(HEADERS, END_HEADERS, 3, &call_headers(GET_KEYS))).await.unwrap();
    wire.send(&frame(DATA, END_STREAM, 3, &raw::frame(&[]))).await.unwrap();
    let mut refused = false;
    loop {
        let frame = wire.read().await.expect("the connection lives");
        let is_431 = frame.kind == HEADERS && frame.flags & END_STREAM != 0;
        refused |= frame.stream == 1 && (is_431 || frame.kind == RST_STREAM);
        assert!(!(frame.stream == 1 && frame.kind == DATA), "it was answered");
        if frame.stream == 3 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert!(refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_connections_and_no_more() {
    let server = Server::start_with(|config| {
        quick(config);
        config.limits.connections_per_address = 5;
    })
    .await;
    // One is the server's own channel of this test.
    let mut held: Vec<Wire> = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(server.grpc).await;
        wire.read_to(SETTINGS).await.unwrap();
        held.push(wire);
    }
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.grpc).await.unwrap();
        assert!(is_ended(&mut stream).await, "one too many");
    }
    keys(&server.channel).await.unwrap();
    drop(held);
    // A place is free when the server has seen the end.
    loop {
        let mut stream = TcpStream::connect(server.grpc).await.unwrap();
        drop(stream.write_all(&[crate::frames::PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await);
        if stream.read_exact(&mut [0; 9]).await.is_ok() {
            break;
        }
    }
}

/// Drips one byte after the other, and waits for the end.
async fn drip(index: u32, address: SocketAddr, at_once: Vec<u8>, rest: Vec<u8>) -> Result<(), u32> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    drop(stream.write_all(&at_once).await);
    let (mut reader, mut writer) = stream.split();
    let dripping = async {
        for byte in rest {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        Err(index)
    };
    let mut heard = Vec::new();
    tokio::select! {
        // Whether with a word, at once or by a reset.
        _ended = reader.read_to_end(&mut heard) => Ok(()),
        held = dripping => held,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_peers_are_freed_and_nobody_else_notices() {
    let server = Server::impatient(IMPATIENT, |_config| {}).await;
    let channel = connect(server.grpc).await;
    let head = b"GET /livez HTTP/1.1\r\nhost: a-very-long-name-that-takes-its-time\r\n\r\n".to_vec();
    let settled = [crate::frames::PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut slow = JoinSet::new();
    for index in 0..1_000 {
        let (grpc, operations) = (server.grpc, server.operations);
        match index % 5 {
            0 => slow.spawn(drip(index, grpc, Vec::new(), Vec::new())),
            1 => slow.spawn(drip(index, grpc, Vec::new(), crate::frames::PREFACE.to_vec())),
            // Begins well, and then takes its time for a frame; it answers no ping either.
            2 => {
                slow.spawn(drip(index, grpc, settled.clone(), frame(HEADERS, END_HEADERS, 1, &call_headers(GET_KEYS))))
            }
            3 => slow.spawn(drip(index, operations, Vec::new(), Vec::new())),
            _ => slow.spawn(drip(index, operations, Vec::new(), head.clone())),
        };
    }
    let is_over = std::cell::Cell::new(false);
    let freed = async {
        while let Some(ended) = slow.join_next().await {
            ended.unwrap().expect("held for ever");
        }
        is_over.set(true);
    };
    // Each call to its end: one that is given up resets its stream, and of such the server takes only so many.
    let answered = async {
        let mut answered = 0;
        while !is_over.get() {
            keys(&channel).await.unwrap();
            answered += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answered
    };
    let ((), answered) = tokio::join!(freed, answered);
    assert!(answered > 10, "{answered}");
    keys(&channel).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_left_in_peace() {
    let server = Server::impatient(Patience::default(), |config| {
        config.limits.connection_age = Duration::from_millis(500);
    })
    .await;
    let mut wire = Wire::open(server.grpc).await;
    wire.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(GET_KEYS))).await.unwrap();
    let goodbye = wire.read_to(GOAWAY).await.unwrap();
    assert_eq!((goodbye.last_stream(), goodbye.error_code()), (0x7fff_ffff, NO_ERROR), "all that is under way counts");
    let ping = wire.read_to(PING).await.unwrap();

    // One that had begun, and one that was on its way when the server said good-bye.
    wire.send(&frame(HEADERS, END_HEADERS, 3, &call_headers(GET_KEYS))).await.unwrap();
    for stream in [1, 3] {
        wire.send(&frame(DATA, END_STREAM, stream, &raw::frame(&[]))).await.unwrap();
    }
    wire.send(&frame(PING, ACK, 0, &ping.payload)).await.unwrap();
    let (mut answered, mut last) = (Vec::new(), None);
    while let Some(frame) = wire.read().await {
        assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
        if frame.kind == GOAWAY {
            last = Some((frame.last_stream(), frame.error_code()));
        }
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            answered.push(frame.stream);
        }
    }
    answered.sort_unstable();
    assert_eq!((answered, last), (vec![1, 3], Some((3, NO_ERROR))));
}

/// Whether the server never saw the call. tonic gives such a one up, where other clients send it over the next connection
/// without a word: one for a connection that was just closing, or above the last that the server said it would answer.
fn was_not_begun(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
            || format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_a_call_to_the_age_of_a_connection() {
    let server = Server::impatient(Patience::default(), |config| {
        config.limits.connection_age = Duration::from_millis(200);
    })
    .await;
    let channel = connect(server.grpc).await;
    let until = server.clock.moment().uptime + Duration::from_secs(2);
    let mut answered = 0;
    while server.clock.moment().uptime < until {
        match keys(&channel).await {
            Ok(()) => answered += 1,
            Err(status) => assert!(was_not_begun(&status), "{status:?}"),
        }
    }
    assert!(answered > 20, "{answered}");
    keys(&connect(server.grpc).await).await.unwrap();
}
