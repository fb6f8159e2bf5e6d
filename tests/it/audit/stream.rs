//! The audit log as lines, of the real program: of the form that the schema says, findable by the id of the call, and never in
//! the way of it (rows 178, 182 and 188).

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::Request;
use tonic::transport::Channel;

use pb::auth_service_client::AuthServiceClient;

use crate::binary::Place;
use crate::support::{PASSWORD, connect, login_request};

pub(crate) const SCHEMA: &str = include_str!("../../../docs/audit-event.schema.json");
/// Far more than a call takes, and less than forever.
const SOON: Duration = Duration::from_secs(20);

type Office = admin::admin_service_client::AdminServiceClient<Channel>;

/// What is wrong with a value by a schema. Knows the words that ours uses, and no others: a new one fails here.
fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (word, rule) in schema.as_object().unwrap() {
        let is_right = match word.as_str() {
            "$schema" | "title" | "description" => true,
            "type" if rule == "object" => value.is_object(),
            "type" if rule == "string" => value.is_string(),
            "enum" => rule.as_array().unwrap().contains(value),
            "minLength" => value.as_str().is_some_and(|text| text.len() as u64 >= rule.as_u64().unwrap()),
            "pattern" => value.as_str().is_some_and(|text| matches(rule.as_str().unwrap(), text)),
            "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    faults.extend(value.get(name).into_iter().flat_map(|value| faults_of(name, rule, value)));
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let others = value.as_object().into_iter().flatten();
                let others = others.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
                for (name, value) in others {
                    match rule {
                        Value::Bool(false) => faults.push(format!("{name} is not known")),
                        rule => faults.extend(faults_of(name, rule, value)),
                    }
                }
                true
            }
            other => panic!("{other}: {rule} is not understood here"),
        };
        if !is_right {
            faults.push(format!("{word}: {rule}, and it is {value}"));
        }
    }
    faults
}

fn faults_of(name: &str, rule: &Value, value: &Value) -> Vec<String> {
    faults(rule, value).into_iter().map(|fault| format!("{name}: {fault}")).collect()
}

/// Of the patterns in the schema: letters, classes, and how many of them.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern = pattern.strip_prefix('^').and_then(|pattern| pattern.strip_suffix('$')).unwrap();
    let (mut pattern, mut text) = (pattern, text);
    while !pattern.is_empty() {
        let letter = pattern.strip_prefix('\\').unwrap_or(pattern);
        let class = pattern.strip_prefix('[').map(|class| class.split_once(']').unwrap());
        let (class, rest) = class.unwrap_or_else(|| letter.split_at(1));
        let (least, most, rest) = match rest.strip_prefix('{') {
            Some(counted) => {
                let (count, rest) = counted.split_once('}').unwrap();
                let (least, most) = count.split_once(',').unwrap_or((count, count));
                (least.parse().unwrap(), most.parse().unwrap(), rest)
            }
            None => rest.strip_prefix('+').map_or((1, 1, rest), |rest| (1, usize::MAX, rest)),
        };
        let letters: Vec<char> = class.chars().collect();
        let is_in = |letter: &char| {
            letters.contains(letter)
                || letters.windows(3).any(|range| range[1] == '-' && (range[0]..=range[2]).contains(letter))
        };
        let count = text.chars().take_while(is_in).take(most).count();
        if count < least {
            return false;
        }
        text = &text[count..];
        pattern = rest;
    }
    text.is_empty()
}

#[test]
fn the_schema_tells_right_from_wrong() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let right = serde_json::json!({
        "timestamp": "2026-01-02T03:04:05.678901Z", "level": "INFO", "target": "postern::audit",
        "message": "authz_fail", "event": "authz_fail", "id": "01890000-0000-7000-8000-000000000000",
        "reason": "TOKEN_INVALID", "request_id": "a.b-c_1", "detail": { "why": "signature" },
    });
    assert_eq!(faults(&schema, &right), Vec::<String>::new());
    for (name, value) in [
        ("timestamp", "2026-01-02T03:04:05Z"),
        ("event", "authz_fails"),
        ("id", "1"),
        ("reason", "no"),
        ("request_id", "a b"),
        ("detail", "text"),
        ("password", "x"),
    ] {
        let mut wrong = right.clone();
        wrong[name] = Value::from(value);
        assert!(!faults(&schema, &wrong).is_empty(), "{name}");
    }
    let mut torn = right;
    torn.as_object_mut().unwrap().remove("id");
    assert!(!faults(&schema, &torn).is_empty());
}

fn with<T>(message: T, token: &str, request_id: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
    request
}

async fn sign_in(client: &mut AuthServiceClient<Channel>, name: &str, password: &str) -> pb::TokenPair {
    let answer = client.login(login_request(name, password)).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
    sign_in.tokens.unwrap()
}

async fn create_user(office: &mut Office, root: &str, name: &str) -> String {
    let user = Some(admin::User { user_name: name.to_owned(), ..Default::default() });
    let request = admin::CreateUserRequest { user, password: PASSWORD.to_owned(), ..Default::default() };
    office.create_user(with(request, root, "made")).await.unwrap().into_inner().user.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_of_the_form_and_is_found_by_the_id_of_its_call() {
    let place = Place::new();
    let running = place.start().await;
    let mut client = AuthServiceClient::new(running.channel.clone());
    let mut office = Office::new(running.channel.clone());
    let root = sign_in(&mut client, "admin", &place.admin_password()).await.access_token;
    let id = create_user(&mut office, &root, "kim").await;
    // What a person's device is called is told by whoever has it.
    let hostile = "a\r\n{\"target\":\"postern::audit\"}\u{1b}[2J\u{2028}\u{202e}".to_owned();
    let device =
        Some(pb::Device { ip_address: "198.51.100.77".into(), user_agent: hostile.clone(), ..Default::default() });
    let wrong = pb::LoginRequest { device, ..login_request("kim", "a wrong password of kim's") };
    let refused = client.login(with(wrong, "", "follow-me.1")).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "follow-me.1");
    let tokens = sign_in(&mut client, "kim", PASSWORD).await;
    let check = pb::Check { permission: "orders:shred".into(), tenant: "acme".into() };
    let question =
        pb::VerifyRequest { access_token: tokens.access_token.clone(), require: vec![check], ..Default::default() };
    client.verify(with(question, "", "follow-me.2")).await.unwrap();
    let note = format!("left{hostile}");
    let disable = admin::DisableUserRequest { id: id.clone(), note };
    office.disable_user(with(disable, &root, "follow-me.3")).await.map(drop).unwrap_or_default();
    let disable = admin::DisableUserRequest { id: id.clone(), note: "left the company".into() };
    office.disable_user(with(disable, &root, "follow-me.4")).await.unwrap();
    office.rotate_key(with(admin::RotateKeyRequest::default(), &root, "follow-me.5")).await.unwrap();
    let rows = admin::ListAuditEventsRequest { page_size: 100, ..Default::default() };
    let rows = loop {
        let events = office.list_audit_events(with(rows.clone(), &root, "ask")).await.unwrap().into_inner().events;
        if events.iter().any(|event| event.request_id == "follow-me.2") {
            break events;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(running.terminate().await.success());

    let log = std::fs::read_to_string(place.path().join("stderr")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let events: Vec<&Value> = lines.iter().filter(|line| line["target"] == "postern::audit").collect();
    for event in &events {
        assert_eq!(faults(&schema, event), Vec::<String>::new(), "{event}");
    }
    for (request_id, kind) in [
        ("follow-me.1", "authn_login_fail"),
        ("follow-me.2", "authz_fail"),
        ("follow-me.4", "user_disabled"),
        ("follow-me.5", "key_created"),
    ] {
        let line = events.iter().find(|event| event["request_id"] == request_id && event["event"] == kind).unwrap();
        let row = rows.iter().find(|row| row.request_id == request_id && row.r#type == kind).unwrap();
        assert_eq!(line["id"], row.id.as_str());
        assert_eq!(line["detail"], serde_json::to_value(&row.detail).unwrap());
    }
    let failed = events.iter().find(|event| event["request_id"] == "follow-me.1").unwrap();
    let row = rows.iter().find(|row| row.request_id == "follow-me.1").unwrap();
    // Where the person is, the lines tell by the network alone.
    assert_eq!((&failed["ip"], row.ip_address.as_str()), (&Value::from("198.51.100.0/24"), "198.51.100.77"));
    for kind in ["authn_login_success", "user_created", "sys_bootstrap", "key_created"] {
        assert!(events.iter().any(|event| event["event"] == kind), "{kind}: {log}");
    }
    // Every line of a call has its id, whoever writes it.
    let answered = lines.iter().find(|line| line["message"] == "answered" && line["request_id"] == "follow-me.1");
    assert_eq!(answered.unwrap()["code"], "UNAUTHENTICATED");
}

/// A server of which standard error is in our hands.
async fn watched(place: &Place, filter: &str) -> (Child, Channel, BufReader<std::process::ChildStdout>) {
    let mut command: Command = place.command();
    command.args(["--set", &format!("log.filter={filter}")]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut address = None;
    loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
        let fact: Value = serde_json::from_str(&line).unwrap();
        match fact["fact"].as_str() {
            Some("grpc") => address = Some(fact["address"].as_str().unwrap().parse().unwrap()),
            Some("ready") => return (child, connect(address.unwrap()).await, stdout),
            _ => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing here may take forever")]
async fn ended(child: &mut Child) -> Option<i32> {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    let asked = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(asked.elapsed() < SOON, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_stands_still_stops_nobody_and_is_told_what_it_missed() {
    let place = Place::new();
    let (mut child, channel, _stdout) =
        watched(&place, "trace,h2=trace,hyper=trace,tonic=trace,tower=trace,sqlx=trace").await;
    let mut client = AuthServiceClient::new(channel);
    let mut tokens = sign_in(&mut client, "admin", &place.admin_password()).await;
    // Far more lines than a pipe and our memory hold, read by nobody.
    for _ in 0..2_500 {
        let question = pb::VerifyRequest { access_token: tokens.access_token.clone(), ..Default::default() };
        tokio::time::timeout(SOON, client.verify(question)).await.expect("nobody waits for the log").unwrap();
    }
    let refresh = pb::RefreshRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() };
    let refreshed = tokio::time::timeout(SOON, client.refresh(refresh)).await.expect("nobody waits for the log");
    tokens = refreshed.unwrap().into_inner().tokens.unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let reader = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    let question = pb::VerifyRequest { access_token: tokens.access_token, ..Default::default() };
    client.verify(question).await.unwrap();
    assert_eq!(ended(&mut child).await, Some(0));
    let log = reader.await.unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = lines.iter().find(|line| line.get("log.lost").is_some()).expect("it is told");
    assert!(told["log.lost"].as_u64().unwrap() > 1_000, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_stops_nobody() {
    let place = Place::new();
    let (mut child, channel, stdout) = watched(&place, "info").await;
    drop((child.stderr.take(), stdout));
    let mut client = AuthServiceClient::new(channel);
    for _ in 0..3 {
        sign_in(&mut client, "admin", &place.admin_password()).await;
    }
    assert_eq!(ended(&mut child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_nothing_stops_nobody_and_is_told_of() {
    let place = Place::new();
    let running = place.start().await;
    let mut client = AuthServiceClient::new(running.channel.clone());
    let mut database = place.home().database().await;
    database.run("ALTER TABLE audit RENAME TO elsewhere", &[]).await;
    for _ in 0..3 {
        sign_in(&mut client, "admin", &place.admin_password()).await;
        client.login(login_request("admin", "a wrong password of admin's")).await.unwrap_err();
    }
    let log = || std::fs::read_to_string(place.path().join("stderr")).unwrap();
    let told = || log().lines().filter(|line| line.contains("audit.lost")).count();
    while told() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    database.run("ALTER TABLE elsewhere RENAME TO audit", &[]).await;
    let before = database.count("audit").await;
    sign_in(&mut client, "admin", &place.admin_password()).await;
    while database.count("audit").await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told(), 1, "{}", log());
    assert!(running.terminate().await.success());
}
