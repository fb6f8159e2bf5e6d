//! Rows 184 and 185: nothing secret in the log, at any level. The server runs as a process of its own, as the operator runs
//! it, tells everything that it can, and serves calls with known secrets in them, in vain ones too.

mod every_rpc;
mod search;

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres;
use postern_rig::redis::{Flavour, Redis};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::Channel;

use pb::auth_service_client::AuthServiceClient;

use crate::engines::Home;
use crate::support::{connect, login_request};

const RIGHT: &str = "canary-right-password-in-the-mine";
const WRONG: &str = "canary-wrong-password-in-the-mine";
const NEXT: &str = "canary-next-password-in-the-mine";
const CHOSEN: &str = "canary-chosen-password-in-the-mine";

/// A process with all that it says.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn start(home: &Home, format: &str, engines: &[(&str, String)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postern"))
            .current_dir(home.path())
            .envs(engines.iter().cloned())
            .args(["--data", "data"])
            .args(["--listen.grpc", "127.0.0.1:0", "--listen.operations", "127.0.0.1:0", "--listen.gateway", "127.0.0.1:0"])
            // All libraries too: those that are quietened unless they are named.
            .args([
                "--set",
                "log.filter=trace,sqlx=trace,fred=trace,tonic=trace,h2=trace,hyper=trace,hyper_util=trace,tower=trace,rustls=trace,tokio_rustls=trace,hyper_rustls=trace,axum=trace,oauth2=trace",
            ])
            .args(["--set", &format!("log.format={format}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            read(child.stdout.take().unwrap(), Arc::clone(&said)),
            read(child.stderr.take().unwrap(), Arc::clone(&said)),
        ];
        Self { child, said, readers }
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// To the address that it tells on standard output once it serves.
    pub(crate) async fn channel(&self) -> Channel {
        for _attempt in 0..400 {
            let facts = self.said();
            let mut facts = facts.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            if let Some(grpc) = facts.find(|fact| fact["fact"] == "grpc") {
                return connect(grpc["address"].as_str().unwrap().parse().unwrap()).await;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it does not serve: {}", self.said());
    }

    /// All that it ever said.
    pub(crate) async fn stop(mut self) -> String {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        self.child.wait().await.unwrap();
        for reader in self.readers {
            reader.await.unwrap();
        }
        self.said.lock().unwrap().clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no tracker")]
fn read(from: impl AsyncRead + Unpin + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let mut said = into.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    })
}

fn as_person<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

async fn sign_in(client: &mut AuthServiceClient<Channel>, name: &str, password: &str) -> pb::TokenPair {
    let answer = client.login(login_request(name, password)).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no outcome") };
    sign_in.tokens.unwrap()
}

/// Answers a challenge, in vain and in truth; answers its token.
async fn change_at_login(client: &mut AuthServiceClient<Channel>, held: &pb::TokenPair) -> String {
    client.login(login_request("kim", NEXT)).await.unwrap_err();
    let supported_challenges = vec![pb::ChallengeKind::NewPassword.into()];
    let replace_refresh_token = held.refresh_token.clone();
    let able = pb::LoginRequest { supported_challenges, replace_refresh_token, ..login_request("kim", NEXT) };
    let answer = client.login(able).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::Challenge(challenge)) = answer.outcome else { panic!("no challenge") };
    let token = challenge.challenge_token;
    let spoilt = format!("{}~", &token[..token.len() - 1]);
    for (token, password) in [(&spoilt, WRONG), (&token, NEXT), (&token, CHOSEN), (&token, CHOSEN)] {
        let answer = Some(pb::complete_challenge_request::Answer::NewPassword(password.to_owned()));
        let request = pb::CompleteChallengeRequest { challenge_token: token.clone(), answer, ..Default::default() };
        client.complete_challenge(request).await.map(drop).unwrap_or_default();
    }
    sign_in(client, "kim", CHOSEN).await;
    token
}

/// Goes through the calls, and answers the secrets that were in them.
async fn use_it(channel: Channel, first_password: &str) -> Vec<String> {
    let mut client = AuthServiceClient::new(channel.clone());
    let mut office = admin::admin_service_client::AdminServiceClient::new(channel);
    let root = sign_in(&mut client, "admin", first_password).await;
    let user = Some(admin::User { user_name: "kim".to_owned(), ..Default::default() });
    let create = admin::CreateUserRequest { user, password: RIGHT.to_owned(), ..Default::default() };
    let kim = office.create_user(as_person(create, &root.access_token)).await.unwrap().into_inner().user.unwrap().id;
    client.login(login_request("kim", WRONG)).await.unwrap_err();
    client.login(login_request("nobody", WRONG)).await.unwrap_err();
    let mut tokens = vec![sign_in(&mut client, "kim", RIGHT).await];
    for _round in 0..3 {
        let refresh_token = tokens.last().unwrap().refresh_token.clone();
        let request = pb::RefreshRequest { refresh_token, ..Default::default() };
        tokens.push(client.refresh(request).await.unwrap().into_inner().tokens.unwrap());
    }
    let last = tokens.last().unwrap().clone();
    let forged = format!("{}A", &last.access_token[..last.access_token.len() - 1]);
    let spoilt = format!("{}A", &last.refresh_token[..last.refresh_token.len() - 1]);
    for access_token in [&last.access_token, &forged, &root.access_token] {
        let check = pb::Check { permission: "orders:read".to_owned(), ..Default::default() };
        let question =
            pb::VerifyRequest { access_token: access_token.clone(), require: vec![check], ..Default::default() };
        client.verify(question.clone()).await.unwrap();
        client.batch_verify(pb::BatchVerifyRequest { requests: vec![question] }).await.unwrap();
        let listing =
            pb::ListSessionsRequest { access_token: access_token.clone(), show_ended: true, ..Default::default() };
        client.list_sessions(listing).await.map(drop).unwrap_or_default();
        let subject = Some(admin::explain_access_request::Subject::AccessToken(access_token.clone()));
        let explain = admin::ExplainAccessRequest {
            subject,
            check: Some(pb::Check { permission: "a".to_owned(), ..Default::default() }),
        };
        office.explain_access(as_person(explain, &root.access_token)).await.unwrap();
        office
            .list_users(as_person(admin::ListUsersRequest::default(), access_token))
            .await
            .map(drop)
            .unwrap_or_default();
    }
    // A client's wrong credential, a spoilt token, one that is presented too often and too late.
    client.get_keys(as_person(pb::GetKeysRequest {}, "pcs_canary-client-secret")).await.unwrap_err();
    for refresh_token in [&spoilt, &tokens[0].refresh_token, &tokens[0].refresh_token] {
        let request = pb::RefreshRequest { refresh_token: refresh_token.clone(), ..Default::default() };
        client.refresh(request).await.map(drop).unwrap_or_default();
    }
    let set = admin::SetPasswordRequest { id: kim, password: NEXT.to_owned(), ..Default::default() };
    office.set_password(as_person(set.clone(), &root.access_token)).await.unwrap();
    tokens.push(sign_in(&mut client, "kim", NEXT).await);
    for refresh_token in [&last.refresh_token, &tokens.last().unwrap().refresh_token] {
        let target = Some(pb::revoke_request::Target::RefreshToken(refresh_token.clone()));
        client.revoke(pb::RevokeRequest { target, ..Default::default() }).await.unwrap();
    }
    let set = admin::SetPasswordRequest { must_change_password: true, ..set };
    office.set_password(as_person(set, &root.access_token)).await.unwrap();
    let challenge = change_at_login(&mut client, tokens.last().unwrap()).await;
    let mut secrets: Vec<String> =
        [RIGHT, WRONG, NEXT, CHOSEN, first_password, "canary-client-secret"].map(ToOwned::to_owned).into();
    secrets.extend([challenge[4..].to_owned(), challenge]);
    for pair in tokens.iter().chain([&root]) {
        // Of a token the parts that make it one: a header or a subject alone opens nothing.
        secrets.extend(pair.access_token.split('.').skip(1).map(ToOwned::to_owned));
        secrets.push(pair.refresh_token.clone());
        secrets.push(pair.refresh_token[80..].to_owned());
    }
    secrets.extend([spoilt, forged]);
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_logged() {
    for format in ["json", "pretty"] {
        let home = Home::untouched();
        let process = Process::start(&home, format, &home.engines.environment());
        let channel = process.channel().await;
        let data = home.data();
        let password = std::fs::read_to_string(data.join("initial-admin-password")).unwrap().trim().to_owned();
        let mut secrets = use_it(channel, &password).await;
        let master_key = std::fs::read_to_string(data.join("master.key")).unwrap();
        secrets.extend(master_key.split_whitespace().last().map(ToOwned::to_owned));
        let said = process.stop().await;
        // It did talk: of the libraries as of itself.
        for word in ["authn_login_success", "authn_login_fail", "authz_fail", "TRACE", "DEBUG"] {
            assert!(said.contains(word), "{word} is nowhere in {} bytes", said.len());
        }
        let own = ["initial-admin-password", "master.key"].map(|name| data.join(name).display().to_string());
        let stored: Vec<_> = home.stored().await.into_iter().filter(|(place, _)| !own.contains(place)).collect();
        for secret in &secrets {
            assert!(secret.len() >= 20, "too short to be looked for");
            let place = said.find(secret.as_str());
            assert!(place.is_none(), "{}", place.map(|place| said[..place].lines().last().unwrap()).unwrap());
            // What stands in the database stands there sealed or hashed.
            for (place, bytes) in &stored {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "a secret is in {place}");
            }
        }
    }
}

/// Of PostgreSQL and Redis, right and wrong ones, while they are there and while they are away.
#[tokio::test(flavor = "multi_thread")]
async fn no_password_of_an_engine_is_ever_logged() {
    const OF_POSTGRES: &str = "canary-password-of-postgres";
    const OF_REDIS: &str = "canary-password-of-redis";
    const OF_NOBODY: &str = "canary-password-of-nobody";
    let (postgres, mut redis) = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start();
        postgres.role("service", OF_POSTGRES);
        postgres.set_access_rules(&["host all all 127.0.0.1/32 scram-sha-256"]);
        postgres.psql("postgres", "CREATE DATABASE canary OWNER service");
        (postgres, Redis::start_with(Flavour::Redis, &["requirepass canary-password-of-redis"]))
    })
    .await
    .unwrap();
    let (store, vault) = (postgres.port(), redis.port());
    let engines = |of_postgres: &str, of_redis: &str| {
        [
            (
                "POSTERN__STORE__POSTGRES__URL__VALUE",
                format!("postgres://service:{of_postgres}@127.0.0.1:{store}/canary"),
            ),
            ("POSTERN__VAULT__REDIS__URL__VALUE", format!("redis://127.0.0.1:{vault}")),
            ("POSTERN__VAULT__REDIS__PASSWORD__VALUE", of_redis.to_owned()),
        ]
    };
    let mut said = String::new();
    let home = Home::untouched();
    let process = Process::start(&home, "json", &engines(OF_POSTGRES, OF_REDIS));
    let mut client = AuthServiceClient::new(process.channel().await);
    let password = std::fs::read_to_string(home.data().join("initial-admin-password")).unwrap();
    sign_in(&mut client, "admin", password.trim()).await;
    redis = tokio::task::spawn_blocking(move || {
        redis.kill();
        redis
    })
    .await
    .unwrap();
    client.login(login_request("admin", password.trim())).await.unwrap_err();
    redis = tokio::task::spawn_blocking(move || {
        redis.start_again();
        redis
    })
    .await
    .unwrap();
    while client.login(login_request("admin", password.trim())).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    said += &process.stop().await;
    let process = Process::start(&home, "json", &engines(OF_POSTGRES, OF_NOBODY));
    let mut client = AuthServiceClient::new(process.channel().await);
    client.login(login_request("admin", password.trim())).await.unwrap_err();
    said += &process.stop().await;
    let mut process = Process::start(&home, "json", &engines(OF_NOBODY, OF_REDIS));
    assert!(!process.child.wait().await.unwrap().success());
    for reader in process.readers {
        reader.await.unwrap();
    }
    said += &process.said.lock().unwrap();
    for word in ["TRACE", "connected to Redis", "check user, password"] {
        assert!(said.contains(word), "{word} is nowhere in {} bytes", said.len());
    }
    for secret in [OF_POSTGRES, OF_REDIS, OF_NOBODY] {
        let place = said.find(secret);
        assert!(place.is_none(), "{}", place.map(|place| said[..place].lines().last().unwrap()).unwrap());
    }
    drop((postgres, redis));
}
