//! Everything a stranger can send to any method: it is refused with a typed status, never a panic or a fault of ours,
//! and the server lives on.

use std::time::Duration;

use postern::proto::auth::v1 as pb;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use tonic::Code;
use tonic::transport::Channel;

use crate::people::{add_user, kim};
use crate::raw::{self, Raw, frame};
use crate::support::{PASSWORD, Server, connect};

/// A method of ours: its path and what it takes.
struct Method {
    path: String,
    input: MessageDescriptor,
    is_admin: bool,
}

fn methods() -> Vec<Method> {
    let pool = DescriptorPool::decode(postern::proto::FILE_DESCRIPTOR_SET).unwrap();
    let ours = pool.services().filter(|service| service.full_name().starts_with("postern."));
    let methods: Vec<Method> = ours
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| Method {
            path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
            input: method.input(),
            is_admin: method.parent_service().name() == "AdminService",
        })
        .collect();
    assert!(methods.len() >= 27, "{}", methods.len());
    methods
}

/// A server, its administrator, and somebody whose tokens are real.
struct Target {
    server: Server,
    admin: String,
    tokens: pb::TokenPair,
    user: String,
}

impl Target {
    async fn new() -> Self {
        let server = Server::quick().await;
        let admin = server.login_admin().await.access_token;
        let (user, tokens) = kim(&server).await;
        Self { server, admin, tokens, user: user.to_string() }
    }

    /// Somebody new, if the one before is gone or locked out.
    async fn renew(&mut self) {
        let name = format!("kim{}", uuid::Uuid::now_v7().simple());
        self.user = add_user(&self.server, &name, Some(PASSWORD)).await.to_string();
        self.tokens = self.server.login(&name, PASSWORD).await.unwrap().tokens.unwrap();
    }

    async fn send(&self, method: &Method, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Raw, String> {
        self.send_on(&self.server.channel, method, headers, body).await
    }

    async fn send_on(
        &self,
        channel: &Channel,
        method: &Method,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Raw, String> {
        let authorization = format!("Bearer {}", self.admin);
        let mut all = headers.to_vec();
        if method.is_admin {
            all.push(("authorization", &authorization));
        }
        raw::call(channel, &method.path, &all, body).await
    }

    async fn lives(&self) {
        let channel = connect(self.server.grpc).await;
        let keys = raw::call(&channel, "/postern.auth.v1.AuthService/GetKeys", &[], frame(&[])).await.unwrap();
        assert_eq!(keys.code, Code::Ok);
    }
}

/// Neither a panic nor a fault of ours, and with a reason unless the transport itself refused.
fn is_proper(raw: &Raw) -> bool {
    !matches!(raw.code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented)
}

fn key(number: u32, wire: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | wire), &mut bytes);
    bytes
}

/// Bytes that are no message of ours, each with a name.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let each = |wire: u32, value: &[u8]| -> Vec<u8> {
        (1..=8).flat_map(|number| [key(number, wire), value.to_vec()].concat()).collect()
    };
    vec![
        ("varints everywhere", each(0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])),
        ("fixed64 everywhere", each(1, &[0xff; 8])),
        ("fixed32 everywhere", each(5, &[0xff; 4])),
        ("groups everywhere", each(3, &[])),
        ("ends of groups everywhere", each(4, &[])),
        ("wire type 6", each(6, &[1, 2, 3])),
        ("wire type 7", each(7, &[1, 2, 3])),
        ("text that is no text", each(2, &[4, 0xff, 0xfe, 0xc3, 0x28])),
        ("a length beyond the end", [key(1, 2), vec![0xff, 0xff, 0xff, 0xff, 0x0f, b'x']].concat()),
        ("a length beyond all numbers", [key(1, 2), vec![0xff; 10], vec![0x7f]].concat()),
        ("a varint without end", vec![0xff; 64]),
        ("field number zero", vec![0x00, 0x01]),
        ("half a key", vec![0x8a]),
        ("groups in groups", [0x0b].repeat(30_000)),
        ("messages in messages", nested(1_000)),
        ("zeros", vec![0; 1_000]),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ]
}

fn nested(depth: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..depth {
        let mut outer = key(1, 2);
        prost::encoding::encode_varint(message.len() as u64, &mut outer);
        outer.extend_from_slice(&message);
        message = outer;
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused_as_such_by_every_method() {
    let target = Target::new().await;
    for method in &methods() {
        for (what, bytes) in garbage() {
            let raw = target.send(method, &[], frame(&bytes)).await.unwrap();
            // A message without fields takes what can be read as fields of a later version.
            let is_read = method.input.fields().len() == 0 && raw.code == Code::Ok;
            let is_refused = raw.code == Code::InvalidArgument && raw.reason() == "INVALID_FIELD";
            assert!(is_read || is_refused, "{} {what}: {raw:?}", method.path);
        }
    }
    target.lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_refused_by_every_method() {
    let target = Target::new().await;
    for method in &methods() {
        let is_large = ["/BatchVerify", "/ApplyPolicy"].iter().any(|large| method.path.ends_with(large));
        let limit = if is_large { 1024 * 1024 } else { 64 * 1024 };
        let too_large = frame(&vec![0x0a; limit + 1]);
        let claims = |length: u32| [&[0][..], &length.to_be_bytes(), &[0; 100]].concat();
        let compressed = [vec![1, 0, 0, 0, 2], vec![0; 2]].concat();
        for (what, headers, body, code) in [
            ("a message above the limit", vec![], too_large, Code::OutOfRange),
            ("a claim of 4 GiB", vec![], claims(u32::MAX), Code::OutOfRange),
            ("a claim of 2 GiB", vec![], claims(1 << 31), Code::OutOfRange),
            ("a compressed flag", vec![], compressed.clone(), Code::InvalidArgument),
            ("a flag that is none", vec![], [vec![7, 0, 0, 0, 2], vec![0; 2]].concat(), Code::InvalidArgument),
            ("compression", vec![("grpc-encoding", "gzip")], compressed.clone(), Code::Unimplemented),
            ("unheard-of compression", vec![("grpc-encoding", "nonsense")], compressed, Code::Unimplemented),
            ("nothing", vec![], Vec::new(), Code::InvalidArgument),
            ("half a frame", vec![], vec![0, 0, 0], Code::InvalidArgument),
            ("less than the frame says", vec![], vec![0, 0, 0, 0, 9, 1], Code::InvalidArgument),
        ] {
            let raw = target.send(method, &headers, body).await.unwrap();
            // Of rows there may be none.
            let code = if method.path.ends_with("/ImportUsers") && what == "nothing" { Code::Ok } else { code };
            assert_eq!(raw.code, code, "{} {what}: {raw:?}", method.path);
            assert!(raw.text("x-request-id").len() > 8, "{what}");
        }
    }
    target.lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_every_kind_leave_the_server_alive() {
    let target = Target::new().await;
    let long = "x".repeat(20_000);
    let many: Vec<(String, String)> = (0..400).map(|index| (format!("x-{index}"), "y".repeat(60))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    for method in &methods() {
        for headers in [
            vec![("x-request-id", &*long)],
            vec![("authorization", &*long)],
            many.clone(),
            vec![("x-request-id", "a\tb"), ("x-request-id", "c")],
            vec![("grpc-timeout", "99999999999999S")],
            vec![("grpc-timeout", "S")],
            vec![("grpc-timeout", "-1S")],
            vec![("grpc-accept-encoding", "gzip, br, \u{e9}")],
            vec![("some-bin", "this is no base64 !!")],
            vec![("traceparent", "00-nonsense")],
        ] {
            // Headers above the limit end the stream or are answered; what is answered is proper.
            let Ok(raw) = target.send(method, &headers, frame(&[])).await else { continue };
            assert!(is_proper(&raw) || !raw.metadata.contains_key("grpc-status"), "{} {raw:?}", method.path);
            let id = raw.text("x-request-id");
            assert!(id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
        }
    }
    target.lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_to_be_called_is_unimplemented() {
    let target = Target::new().await;
    for path in ["/postern.auth.v1.AuthService/Nothing", "/nothing.Nothing/Nothing", "/", "/a", "/../../etc/passwd"] {
        let raw = raw::call(&target.server.channel, path, &[], frame(&[])).await.unwrap();
        assert_eq!(raw.code, Code::Unimplemented, "{path}");
    }
    target.lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_waits_for_costs_nothing() {
    let target = Target::new().await;
    let all = methods();
    for method in all.iter().filter(|method| !method.path.ends_with("/EndAllSessions")) {
        for _ in 0..10 {
            let call = target.send(method, &[], frame(&[]));
            let given_up = tokio::time::timeout(Duration::from_micros(200), call).await;
            drop(given_up);
        }
    }
    target.lives().await;
}

// ---- messages that can be read, of values that nobody expects ----

/// Turns random bytes into a message: each byte chooses.
struct Maker<'a> {
    target: &'a Target,
    entropy: std::slice::Iter<'a, u8>,
}

impl Maker<'_> {
    fn byte(&mut self) -> usize {
        self.entropy.next().copied().unwrap_or(0).into()
    }

    fn message(&mut self, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        for field in of.fields() {
            // Some are left out; of a oneof the last one set counts.
            if self.byte() % 8 == 7 {
                continue;
            }
            let value = if field.is_list() {
                let count = [0, 1, 2, 3, 20, 300][self.byte() % 6].min(if depth > 0 { 3 } else { 300 });
                Value::List((0..count).map(|_| self.value(&field, depth)).collect())
            } else {
                self.value(&field, depth)
            };
            message.set_field(&field, value);
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        const INTEGERS: [i64; 16] = [
            0,
            1,
            2,
            0,
            1,
            2,
            3,
            50,
            900_000_000,
            1_999_999_999,
            -1,
            -2,
            i64::MAX,
            i64::MIN,
            i32::MAX as i64,
            i32::MIN as i64,
        ];
        let integer = INTEGERS[self.byte() % 16];
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        match field.kind() {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer),
            Kind::Enum(_) => Value::EnumNumber(integer as i32),
            Kind::Bool => Value::Bool(self.byte() % 2 == 1),
            // Mostly what would do, or no message would get past its first field.
            Kind::String if !self.byte().is_multiple_of(6) => Value::String(self.fitting(field.name())),
            Kind::String => Value::String(self.text()),
            Kind::Message(of) => Value::Message(self.message(&of, depth + 1)),
            other => panic!("the contract has a {other:?} now"),
        }
    }

    fn fitting(&mut self, field: &str) -> String {
        let (target, tokens) = (self.target, &self.target.tokens);
        let user = target.user.as_str();
        let some: &[&str] = match field {
            "id" => &[user, user, "reader", "editor"],
            "user_id" | "principal_id" => &[user],
            "session_id" => &[&tokens.session_id],
            "access_token" => &[&tokens.access_token, &target.admin],
            "refresh_token" | "replace_refresh_token" => &[&tokens.refresh_token],
            "password" => &["correct horse battery"],
            "identifier" | "user_name" => &["kim", "lee", "admin"],
            "email" => &["kim@example.com", "lee@example.com"],
            "external_id" | "display_name" | "description" => &["x1", "x2"],
            "permission" => &["postern:users:read", "docs:read"],
            "patterns" => &["docs:*", "docs:**", "**"],
            "role" | "inherits" => &["reader", "editor", "postern.backend"],
            "tenant" => &["acme"],
            "paths" => &["display_name", "email", "user_name", "email_verified"],
            "audience" | "audiences" => &[&target.server.issuer],
            "ip_address" => &["192.0.2.1", "2001:db8::1"],
            "request_id" => &["019a8c1e-0000-7000-8000-00000000b7f3"],
            _ => &[""],
        };
        some[self.byte() % some.len()].to_owned()
    }

    fn text(&mut self) -> String {
        let target = self.target;
        let tokens = &target.tokens;
        match self.byte() % 36 {
            0 => String::new(),
            1 => "kim".to_owned(),
            2 => target.user.clone(),
            3 => tokens.session_id.clone(),
            4 => tokens.access_token.clone(),
            5 => tokens.refresh_token.clone(),
            6 => target.admin.clone(),
            7 => "postern.admin".to_owned(),
            8 => "postern:users:read".to_owned(),
            9 => "a:**".to_owned(),
            10 => "reader".to_owned(),
            11 => "correct horse battery".to_owned(),
            12 => "kim@example.com".to_owned(),
            13 => "display_name".to_owned(),
            14 => "acme".to_owned(),
            15 => target.server.issuer.clone(),
            16 => "192.0.2.1".to_owned(),
            17 => uuid::Uuid::nil().to_string(),
            18 => uuid::Uuid::max().to_string(),
            19 => "f".repeat(32),
            // A revision and a page token at the ends of all numbers.
            20 => "f".to_owned() + &"_".repeat(20) + "w",
            21 => "gAAAAAAAAACAAAAAAAAAAA".to_owned(),
            22 => "_".repeat(27),
            23 => "A".repeat(22),
            24 => "\0".to_owned(),
            25 => "a\u{1b}[31m\r\nb".to_owned(),
            26 => "\u{202e}\u{2066}gnirts\u{feff}".to_owned(),
            27 => "e\u{301}".repeat(30),
            28 => "\u{fdfa}".repeat(80),
            29 => "İ".repeat(127),
            30 => "x".repeat(255),
            31 => "x".repeat(5_000),
            32 => "' OR 1=1; --".to_owned(),
            33 => "%s%n${jndi:ldap://x}".to_owned(),
            34 => "../../../etc/passwd".to_owned(),
            _ => (0..self.byte() % 40).map(|_| char::from(u8::try_from(self.byte()).unwrap_or(b'x'))).collect(),
        }
    }
}

#[test]
fn no_message_that_can_be_read_makes_the_server_fail() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut target = runtime.block_on(Target::new());
    let mut all = methods();
    // Each with a sign-in of its own, because the one before may have ended it; this one ends all.
    all.sort_by_key(|method| method.path.ends_with("/EndAllSessions"));
    for method in &all {
        target.admin = runtime.block_on(target.server.login_admin()).access_token;
        runtime.block_on(target.renew());
        let target = &target;
        let mut runner = TestRunner::new(Cases { cases: 48, failure_persistence: None, ..Cases::default() });
        let (began, mut count) = (tokio::time::Instant::now(), 0);
        // Once, or as long as somebody asks for.
        while count == 0 || began.elapsed() < postern_rig::fuzz::asked_time().unwrap_or_default() {
            count += 48;
            let outcome = runner.run(&proptest::collection::vec(any::<u8>(), 0..200), |entropy| {
                let message = Maker { target, entropy: entropy.iter() }.message(&method.input, 0);
                let bytes = message.encode_to_vec();
                if bytes.len() > 60_000 {
                    return Ok(());
                }
                let raw = runtime.block_on(target.send(method, &[], frame(&bytes))).unwrap();
                prop_assert!(is_proper(&raw), "{} {message:?}: {:?}", method.path, raw.status());
                let has_reason = raw.code == Code::Ok || !raw.reason().is_empty();
                prop_assert!(has_reason, "{} {message:?}: {:?}", method.path, raw.status());
                Ok(())
            });
            if let Err(why) = outcome {
                panic!("{}: {why}", method.path);
            }
        }
        println!("fuzz {}: {count} messages", method.path);
    }
    runtime.block_on(target.lives());
}
