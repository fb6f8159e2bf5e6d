//! Row 184 over every RPC of the contract and every route of the gateway, from their own lists, so that a new one is among
//! them or fails here: while all is well, while the engines are away, and while the store answers with faults of ours. Each
//! field that the contract calls secret carries a word of its own; each other one carries what forges lines (row 183).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use postern::auth::master_key::MasterKeys;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres;
use postern_rig::providers::ADMIN_KEY;
use postern_rig::redis::{Flavour, Redis};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use pb::auth_service_client::AuthServiceClient;

use super::search::{FORGED, hostile, hostile_token, nothing_leaked};
use super::{Process, as_person, sign_in};
use crate::engines::Home;
use crate::outage::calls::{Rpc, every_rpc, request};
use crate::outage::cast::{ASKER, CLIENT, GUEST, PROVIDER, People, ROLE};
use crate::raw;
use crate::support::{PASSWORD, login_request};

/// In everything that is planted, so that one search finds all of it; who said it stands around it.
pub(super) const MARK: &str = "-canary-in-the-mine-";
const OF_POSTGRES: &str = "password-of-postgres-canary-in-the-mine-";
const OF_REDIS: &str = "password-of-redis-canary-in-the-mine-";
const OF_PROVIDER: &str = "secret-of-kakao-canary-in-the-mine-";
/// More than any oneof has arms.
const ARMS: usize = 8;

fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|option| option.as_bool() == Some(true))
}

/// A message whose every string is one of ours.
fn filled(descriptor: &MessageDescriptor, arm: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let is_chosen = field.containing_oneof().is_none_or(|oneof| {
            let arms: Vec<FieldDescriptor> = oneof.fields().collect();
            assert!(arms.len() <= ARMS, "{} needs more rounds", oneof.full_name());
            arms[arm % arms.len()] == field
        });
        if !is_chosen || field.is_map() {
            continue;
        }
        let value = match field.kind() {
            Kind::String if is_secret(&field) => Value::String(planted(&field)),
            Kind::String => Value::String(hostile()),
            Kind::Message(inner) => Value::Message(filled(&inner, arm)),
            other => Value::default_value(&other),
        };
        message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
    }
    message
}

fn planted(field: &FieldDescriptor) -> String {
    format!("{}{MARK}", field.full_name())
}

/// Does something to every secret in a message.
fn for_each_secret(message: &mut DynamicMessage, with: &mut impl FnMut(&FieldDescriptor, &mut String)) {
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    for field in fields.into_iter().filter(|field| !field.is_map()) {
        if !message.has_field(&field) {
            continue;
        }
        let mut value = message.get_field(&field).into_owned();
        let values = match &mut value {
            Value::List(values) => values.iter_mut().collect(),
            one => vec![one],
        };
        for value in values {
            match value {
                Value::String(text) if is_secret(&field) => with(&field, text),
                Value::Message(inner) => for_each_secret(inner, with),
                _ => {}
            }
        }
        message.set_field(&field, value);
    }
}

/// What opens something by itself: of a signed token everything but its header.
fn parts(secret: &str) -> Vec<String> {
    let parts = secret.split('.').count();
    secret.split('.').skip(usize::from(parts == 3)).map(ToOwned::to_owned).collect()
}

/// Calls an RPC in all ways, and adds what is secret in what it was told and answered; how it answered what is right.
async fn call(channel: &Channel, rpc: &Rpc, people: &People, secrets: &mut BTreeSet<String>) -> Code {
    let pool = DescriptorPool::decode(postern::proto::FILE_DESCRIPTOR_SET).unwrap();
    let service = pool.get_service_by_name(&rpc.service).unwrap();
    let method = service.methods().find(|method| method.name() == rpc.name).unwrap();
    let right = request(rpc, people);
    let mut wrong = DynamicMessage::decode(method.input(), right.as_slice()).unwrap();
    for_each_secret(&mut wrong, &mut |_field, secret| secrets.extend(parts(secret)));
    for_each_secret(&mut wrong, &mut |field, secret| *secret = planted(field));
    let mut bodies = vec![right, wrong.encode_to_vec()];
    bodies.extend((0..ARMS).map(|arm| filled(&method.input(), arm).encode_to_vec()));
    // Cut off in the middle of a secret.
    bodies.extend(bodies.last().map(|whole| whole[..whole.len() * 2 / 3].to_vec()));
    let path = format!("/{}/{}", rpc.service, rpc.name);
    let mut answered = Code::Ok;
    for (number, body) in bodies.into_iter().enumerate() {
        let person = format!("Bearer {}", people.admin);
        let of_nobody = format!("Bearer pcs_{MARK}of-nobody");
        let authorization = if number == 0 && !rpc.service.contains("Admin") { None } else { Some(&person) };
        for authorization in [authorization, (number == 1).then_some(&of_nobody)].into_iter().flatten() {
            let headers = [
                ("authorization", authorization.as_str()),
                ("user-agent", "a\u{9b}2J\u{202e}"),
                ("x-request-id", "a b"),
            ];
            raw::call(channel, &path, &headers, raw::frame(&body)).await.map(drop).unwrap_or_default();
        }
        let headers = [("authorization", person.as_str())];
        let headers = if rpc.service.contains("Admin") { &headers[..] } else { &[] };
        let answer = raw::call(channel, &path, headers, raw::frame(&body)).await.unwrap();
        if number == 0 {
            answered = answer.code;
        }
        if let Some(body) = answer.body.get(5..) {
            let mut message = DynamicMessage::decode(method.output(), body).unwrap();
            for_each_secret(&mut message, &mut |_field, secret| secrets.extend(parts(secret)));
        }
    }
    answered
}

/// Those that the calls are about, made over the wire.
async fn people(channel: &Channel, password: &str) -> People {
    let mut client = AuthServiceClient::new(channel.clone());
    let mut office = admin::admin_service_client::AdminServiceClient::new(channel.clone());
    let root = sign_in(&mut client, "admin", password).await;
    let mut ward = String::new();
    for name in [GUEST, ASKER, "due", "ward"] {
        let request = admin::CreateUserRequest {
            user: Some(admin::User { user_name: name.to_owned(), ..Default::default() }),
            password: PASSWORD.to_owned(),
            must_change_password: name == "due",
            ..Default::default()
        };
        let made = office.create_user(as_person(request, &root.access_token)).await.unwrap().into_inner();
        ward = made.user.unwrap().id;
    }
    let role = Some(admin::Role { id: ROLE.to_owned(), ..Default::default() });
    office.put_role(as_person(admin::PutRoleRequest { role }, &root.access_token)).await.unwrap();
    let client_made = Some(admin::Client { id: CLIENT.to_owned(), ..Default::default() });
    let request = admin::CreateClientRequest { client: client_made, with_secret: true };
    office.create_client(as_person(request, &root.access_token)).await.unwrap();
    let supported_challenges = vec![pb::ChallengeKind::NewPassword.into()];
    let due = pb::LoginRequest { supported_challenges, ..login_request("due", PASSWORD) };
    let outcome = client.login(due).await.unwrap().into_inner().outcome;
    let Some(pb::login_response::Outcome::Challenge(challenge)) = outcome else { panic!("no challenge") };
    let start = pb::OAuthStartRequest { provider: PROVIDER.to_owned(), ..Default::default() };
    let started = client.o_auth_start(start).await.unwrap().into_inner();
    let url = url::Url::parse(&started.authorization_url).unwrap();
    let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    People {
        // Not what it is, so that all sessions go on.
        issuer: "another".to_owned(),
        admin: root.access_token,
        ward,
        tokens: sign_in(&mut client, ASKER, PASSWORD).await,
        spare: sign_in(&mut client, ASKER, PASSWORD).await,
        challenge: challenge.challenge_token,
        state,
    }
}

/// The routes of the gateway, as its sources list them.
fn routes() -> Vec<String> {
    let source = include_str!("../../../src/http/gateway/routes.rs");
    let templates = source.split("const fn template").nth(1).unwrap().split("\n    }").next().unwrap();
    let routes: Vec<String> = templates
        .lines()
        .filter_map(|line| line.split_once("=> \"").map(|(_, rest)| rest.split('"').next().unwrap().to_owned()))
        .map(|template| template.replace("{client}", "dev").replace("{provider}", PROVIDER))
        .collect();
    assert!(routes.len() >= 13, "{routes:?}");
    routes
}

/// A request by hand; what came back.
async fn ask(port: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(port).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.map(drop).unwrap_or_default();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Every route in every way in which something may be sent to it.
async fn browse(gateway: &str, people: &People) -> usize {
    let host = gateway.trim_start_matches("http://");
    let word = |name: &str| format!("{name}{MARK}");
    let pairs =
        ["code", "state", "flow_secret", "error", "error_description", "refresh_token", "access_token", "return_url"]
            .map(|name| format!("{name}={}%0d%0a{FORGED}%1b%5b2J", word(name)))
            .join("&");
    let json = format!("{{\"access_token\":\"{0}\",\"session_id\":\"{0}\",\"refresh_token\":\"{0}\"}}", word("json"));
    let cookies = format!(
        "__Host-postern-dev-access={}; __Host-postern-dev-refresh={}; __Host-postern-flow-BDpxh3TFcr2KJa2-={}.dev",
        word("access"),
        word("refresh"),
        word("flow")
    );
    let real = format!(
        "__Host-postern-dev-access={}; __Host-postern-dev-refresh={}",
        people.spare.access_token, people.spare.refresh_token
    );
    let mut answered = 0;
    for route in routes() {
        for cookies in [&cookies, &real] {
            let head = format!(
                "host: {host}\r\norigin: {gateway}\r\nsec-fetch-site: same-origin\r\ncookie: {cookies}\r\n\
                 authorization: KakaoAK {}\r\nuser-agent: a\u{1b}[2J {FORGED}\r\nconnection: close\r\n",
                word("authorization")
            );
            let posted = |form: &str, body: &str| {
                let length = body.len();
                format!("POST {route} HTTP/1.1\r\n{head}content-type: {form}\r\ncontent-length: {length}\r\n\r\n{body}")
            };
            for request in [
                format!("GET {route}?{pairs} HTTP/1.1\r\n{}\r\n", head.replace('\u{1b}', "")),
                format!("GET {route}?{pairs} HTTP/1.1\r\n{head}\r\n"),
                posted("application/x-www-form-urlencoded", &pairs).replace('\u{1b}', ""),
                posted("application/json", &json).replace('\u{1b}', ""),
            ] {
                answered += usize::from(ask(host, &request).await.starts_with("HTTP/1.1 "));
            }
        }
    }
    answered
}

fn engines(store: u16, vault: u16) -> Vec<(&'static str, String)> {
    vec![
        ("POSTERN__STORE__POSTGRES__URL__VALUE", format!("postgres://service:{OF_POSTGRES}@127.0.0.1:{store}/canary")),
        ("POSTERN__VAULT__REDIS__URL__VALUE", format!("redis://127.0.0.1:{vault}")),
        ("POSTERN__VAULT__REDIS__PASSWORD__VALUE", OF_REDIS.to_owned()),
    ]
}

fn home() -> Home {
    let home = Home::untouched();
    let mut settings = String::new();
    writeln!(
        settings,
        "[[providers]]\nid = \"{PROVIDER}\"\nkind = \"kakao\"\nsurface = \"oauth2\"\nclient_id = \"canary\""
    )
    .unwrap();
    writeln!(settings, "client_secret = {{ value = \"{OF_PROVIDER}\" }}\nadmin_key = {{ value = \"{ADMIN_KEY}\" }}")
        .unwrap();
    // Tries without end.
    for limit in ["address", "caller", "administrator", "token"] {
        writeln!(settings, "[limits.{limit}]\nburst = 10000\nevery = \"1ms\"").unwrap();
    }
    let pepper = home.path().join("pepper");
    std::fs::write(&pepper, MasterKeys::generate().unwrap().expose_secret()).unwrap();
    std::fs::set_permissions(&pepper, std::fs::Permissions::from_mode(0o600)).unwrap();
    writeln!(settings, "[passwords]\npepper_file = \"{}\"", pepper.display()).unwrap();
    std::fs::write(home.path().join("postern.toml"), settings).unwrap();
    home
}

async fn call_all(channel: &Channel, people: &People, secrets: &mut BTreeSet<String>) -> Vec<(String, Code)> {
    let mut codes = Vec::new();
    let question = pb::VerifyRequest { access_token: hostile_token(), ..Default::default() };
    AuthServiceClient::new(channel.clone()).verify(question).await.map(drop).unwrap_or_default();
    for rpc in &every_rpc() {
        codes.push((rpc.name.clone(), call(channel, rpc, people, secrets).await));
    }
    codes
}

fn is_mostly_refused(answers: &[(String, Code)]) -> bool {
    answers.iter().filter(|(_, code)| *code == Code::Unavailable).count() * 2 > answers.len()
}

fn key_in(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).unwrap().split_whitespace().last().map(str::to_owned)
}

/// What the process told on standard output under this name.
fn fact(process: &Process, name: &str, key: &str) -> String {
    let said = process.said();
    let facts = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let fact = facts.into_iter().find(|fact| fact["fact"] == name).unwrap();
    fact[key].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rpc_and_no_route_tells_a_secret_whatever_fails() {
    let (postgres, mut redis) = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start();
        postgres.role("service", OF_POSTGRES);
        postgres.set_access_rules(&["host all all 127.0.0.1/32 scram-sha-256"]);
        postgres.psql("postgres", "CREATE DATABASE canary OWNER service");
        (postgres, Redis::start_with(Flavour::Redis, &[&format!("requirepass {OF_REDIS}")]))
    })
    .await
    .unwrap();
    let home = home();
    let process = Process::start(&home, "json", &engines(postgres.port(), redis.port()));
    let channel = process.channel().await;
    let data = home.data();
    let password = std::fs::read_to_string(data.join("initial-admin-password")).unwrap().trim().to_owned();
    let mut secrets = BTreeSet::from([password.clone()]);
    secrets.extend([&data.join("master.key"), &home.path().join("pepper")].into_iter().filter_map(|path| key_in(path)));
    let people = people(&channel, &password).await;
    for pair in [&people.tokens, &people.spare] {
        secrets.extend(
            [&pair.access_token, &pair.refresh_token, &people.admin].into_iter().flat_map(|token| parts(token)),
        );
    }
    secrets.extend([people.challenge.clone(), people.state.clone()]);

    let asked = browse(&fact(&process, "gateway", "url"), &people).await;
    assert_eq!(asked, routes().len() * 8);
    let well = call_all(&channel, &people, &mut secrets).await;
    assert!(well.iter().filter(|(_, code)| *code == Code::Ok).count() > 30, "{well:?}");
    for path in ["/livez", "/readyz", "/metrics"] {
        let operations = fact(&process, "operations", "address");
        let answer = ask(&operations, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        nothing_leaked(&answer.replace('\r', ""), &secrets);
    }
    // What was refused is written down without what was wrong with it.
    let audit = postgres.psql("canary", "SELECT audit::text FROM audit");
    assert!(audit.contains("authn_login_fail"));
    nothing_leaked(&audit.replace("\\r\\n", ""), &secrets);

    // The store answers, in its own words, that it has none of what is asked for.
    let tables = "SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public'";
    let tables = postgres.psql("canary", tables);
    for table in tables.split_whitespace() {
        postgres.psql("canary", &format!("ALTER TABLE {table} RENAME TO gone_{table}"));
    }
    let confused = call_all(&channel, &people, &mut secrets).await;
    assert!(is_mostly_refused(&confused), "{confused:?}");
    for table in tables.split_whitespace() {
        postgres.psql("canary", &format!("ALTER TABLE gone_{table} RENAME TO {table}"));
    }

    // Both engines away: one is dead, the other lets nobody in.
    redis = tokio::task::spawn_blocking(move || {
        redis.kill();
        redis
    })
    .await
    .unwrap();
    postgres.psql("postgres", "ALTER ROLE service NOLOGIN");
    postgres.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'service'");
    let away = call_all(&channel, &people, &mut secrets).await;
    assert!(is_mostly_refused(&away), "{away:?}");
    browse(&fact(&process, "gateway", "url"), &people).await;

    let said = process.stop().await;
    for word in
        ["TRACE", "does not exist", "a call failed because an engine is away", "not permitted to log in", "authz_fail"]
    {
        assert!(said.contains(word), "{word} is nowhere in {} bytes", said.len());
    }
    for line in said.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    nothing_leaked(&said, &secrets);
    drop((postgres, redis));
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_in_lines_for_people() {
    let home = home();
    let process = Process::start(&home, "pretty", &home.engines.environment());
    let channel = process.channel().await;
    let password = std::fs::read_to_string(home.data().join("initial-admin-password")).unwrap().trim().to_owned();
    let people = people(&channel, &password).await;
    let mut secrets = BTreeSet::from([password]);
    secrets.extend(key_in(&home.path().join("pepper")));
    call_all(&channel, &people, &mut secrets).await;
    browse(&fact(&process, "gateway", "url"), &people).await;
    let file = home.data().join("postern.db");
    let is_embedded = file.exists();
    if is_embedded {
        // The disk gives back something else than was written.
        for file in [file, home.data().join("postern.db-wal")] {
            let length = std::fs::metadata(&file).unwrap().len();
            std::fs::write(&file, b"no database ".repeat(usize::try_from(length / 12).unwrap())).unwrap();
        }
        let broken = call_all(&channel, &people, &mut secrets).await;
        assert!(broken.iter().any(|(_, code)| matches!(code, Code::Unavailable | Code::Internal)), "{broken:?}");
    }
    let said = process.stop().await;
    assert!(!is_embedded || said.contains("not a database") || said.contains("malformed"));
    assert!(said.contains("TRACE") && said.contains("authn_login_fail"));
    nothing_leaked(&said, &secrets);
}
