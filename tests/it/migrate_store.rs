//! Moving up, with people signed in: from the embedded store to PostgreSQL, with sessions in SQL or on Redis. Nobody signs in
//! again, what was ended stays so, and what was changed last counts.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use postern::config::{Config, Postgres, Redis, SecretSource, Store, Vault};
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres as Engine;
use postern_rig::redis::{Flavour, Redis as RedisEngine};
use tonic::{Code, Request};

use crate::backstage;
use crate::support::{PASSWORD, Server, everywhere, quick, reason, verdict};

const ALLOW: (pb::Decision, pb::Reason) = (pb::Decision::Allow, pb::Reason::Unspecified);

fn on_postgres(url: &str) -> Store {
    let url = SecretSource::Value(url.into());
    Store::Postgres(Postgres { url, pool_size: 8, pooler: false, migrate: true, migrate_url: None })
}

/// Names of this test's own, on a server that others use.
const PREFIX: &str = "migrate-store:";

fn on_redis(url: &str) -> Vault {
    let url = SecretSource::Value(url.into());
    Vault::Redis(Redis { url, username: None, password: None, ca: None, prefix: PREFIX.to_owned() })
}

/// The program, with what the settings would say of Redis in its environment.
fn migrate_store(from: &Path, to: &str, redis: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(from);
    if let Some(url) = redis {
        command.env("POSTERN__VAULT__REDIS__URL__VALUE", url).env("POSTERN__VAULT__REDIS__PREFIX", PREFIX);
    }
    command.args(["migrate-store", "--json", "--from", &format!("sqlite:{}", from.display()), "--to", to]);
    command
}

#[track_caller]
fn answer(output: &Output) -> serde_json::Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn keys(server: &Server) -> String {
    server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner().jwks_json
}

async fn everybody_stays_signed_in(redis: Option<String>) {
    let server = Server::quick().await;
    let root = server.login_admin().await;
    let kim = server.create_user(&root.access_token, "kim").await;
    let mira = server.create_user(&root.access_token, "mira").await;
    let sign_in = async |name: &str| server.login(name, PASSWORD).await.unwrap().tokens.unwrap();
    let (first, lost, old) = (sign_in("kim").await, sign_in("kim").await, sign_in("mira").await);
    let mut kept = first.clone();
    for _ in 0..3 {
        kept = server.refresh(&kept.refresh_token).await.unwrap().tokens.unwrap();
    }
    server.logout(&lost.refresh_token).await;
    let admin = server.admin(&root.access_token);
    admin.disable_user(admin::DisableUserRequest { id: mira, ..Default::default() }).await.unwrap();
    let client =
        admin::Client { id: "web".to_owned(), mtls_sans: vec!["web.internal".to_owned()], ..Default::default() };
    let create = admin::CreateClientRequest { client: Some(client), with_secret: true };
    let secret = admin.create_client(create).await.unwrap().secret;
    backstage::put_role(&server, "clerk", &["orders:*"], &[]).await;
    // The last change before the move, for tokens that are out.
    let granted = admin
        .grant_role(admin::GrantRoleRequest {
            binding: Some(admin::Binding {
                principal_id: kim.clone(),
                role: "clerk".to_owned(),
                scope: everywhere(),
                ..Default::default()
            }),
        })
        .await
        .unwrap();
    let (jwks, issuer, head) = (keys(&server).await, server.issuer.clone(), granted.revision.clone());
    let sessions = server.sessions(&kept.access_token, true).await.len();

    let url = Engine::shared().create_database();
    let (from, redis) = (server.data_dir(), redis.as_deref());
    let running = refusal(&migrate_store(&from, &url, redis).output().unwrap());
    assert!(running.contains("another postern"), "{running}");
    let mut stopped = server;
    stopped.stop().await;
    // Somebody who looks into the file is in the way too: what they write would be lost.
    let mut reader = stopped.database().await;
    assert!(reader.head().await > 1);
    let in_use = refusal(&migrate_store(&from, &url, redis).output().unwrap());
    drop(reader);
    assert!(in_use.contains("in use by another program"), "{in_use}");

    let mut cut = migrate_store(&from, &url, redis).spawn().unwrap();
    cut.kill().unwrap();
    cut.wait().unwrap();
    let moved = answer(&migrate_store(&from, &url, redis).output().unwrap());
    let tables = moved["tables"].as_array().unwrap();
    let rows = |name: &str| tables.iter().find(|table| table["table"] == name).map(|table| table["rows"].clone());
    assert_eq!(rows("users"), Some(3.into()));
    assert_eq!((rows("vault").is_none(), moved["vault"].is_null()), (redis.is_some(), redis.is_none()), "{moved}");
    let again = answer(&migrate_store(&from, &url, redis).output().unwrap());
    assert_eq!(again["changed"], false, "{again}");

    let server = stopped
        .restart_with(|config: &mut Config| {
            quick(config);
            config.store = on_postgres(&url);
            if let Some(redis) = redis {
                config.vault = on_redis(redis);
            }
        })
        .await;
    assert_eq!((server.issuer.as_str(), keys(&server).await), (issuer.as_str(), jwks));
    // The log goes on: what a backend has seen of the old one is known here.
    let check = pb::Check { permission: "orders:read".to_owned(), tenant: String::new() };
    for token in [&first.access_token, &kept.access_token] {
        let request = pb::VerifyRequest {
            access_token: token.clone(),
            require: vec![check.clone()],
            min_revision: head.clone(),
            ..Default::default()
        };
        assert_eq!(verdict(&server.verify_with(request).await.unwrap()), ALLOW);
    }
    assert_eq!(verdict(&server.verify(&root.access_token).await), ALLOW);
    for (token, why) in [(&lost, pb::Reason::TokenRevoked), (&old, pb::Reason::TokenRevoked)] {
        let verdict = verdict(&server.verify(&token.access_token).await);
        assert_eq!(verdict, (pb::Decision::Unauthenticated, why));
        let refused = server.refresh(&token.refresh_token).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::Unauthenticated, "SESSION_ENDED".to_owned()));
    }
    assert_eq!(server.sessions(&kept.access_token, true).await.len(), sessions);
    let next = server.refresh(&kept.refresh_token).await.unwrap().tokens.unwrap();
    // A retry is still a retry, and a spent token is still spent.
    assert_eq!(server.refresh(&kept.refresh_token).await.unwrap().tokens.unwrap().refresh_token, next.refresh_token);
    let root = server.refresh(&root.refresh_token).await.unwrap().tokens.unwrap();
    let mut request = Request::new(pb::GetKeysRequest {});
    request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    server.client().get_keys(request).await.unwrap();
    server.later(Duration::from_mins(1)).await;
    let reused = server.refresh(&first.refresh_token).await.unwrap_err();
    assert_eq!(reason(&reused), "SESSION_REUSED");
    assert_eq!(verdict(&server.verify(&next.access_token).await).0, pb::Decision::Unauthenticated);
    server.login("kim", PASSWORD).await.unwrap();
    assert_eq!(verdict(&server.verify(&root.access_token).await), ALLOW);

    let mut server = server;
    server.stop().await;
    nothing_more_is_moved(&from, &url, redis);
}

/// Now that servers have gone on there, a run changes nothing, and takes nothing back.
fn nothing_more_is_moved(from: &Path, url: &str, redis: Option<&str>) {
    let late = answer(&migrate_store(from, url, redis).output().unwrap());
    assert_eq!(late["changed"], false, "{late}");
    let other = Engine::shared().create_database();
    Engine::shared().psql(&other, "CREATE TABLE users (name text)");
    let foreign = refusal(&migrate_store(from, &other, redis).output().unwrap());
    assert!(foreign.contains("another program"), "{foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_stays_signed_in_on_postgres() {
    Box::pin(everybody_stays_signed_in(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_stays_signed_in_on_postgres_and_redis() {
    Box::pin(everybody_stays_signed_in(Some(RedisEngine::shared(Flavour::Redis).url()))).await;
}

#[test]
fn what_cannot_be_moved_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = |from: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.env_clear().current_dir(folder.path()).args(["migrate-store", "--from", from]).args(more);
        refusal(&command.output().unwrap())
    };
    assert!(run("sqlite:nothing", &["--to", "postgres://127.0.0.1:1/x"]).contains("there is no store"));
    assert!(run("./data", &[]).contains("--from sqlite:"));
    let written = run("sqlite:nothing", &["--to", "postgres://ann:c4nary@127.0.0.1:1/x"]);
    assert!(written.contains("--to-file FILE") && !written.contains("c4nary"), "{written}");
    std::fs::write(folder.path().join("postern.db"), vec![7; 4_096]).unwrap();
    assert!(run("sqlite:postern.db", &["--to", "postgres://127.0.0.1:1/x"]).contains("is not a database"));
    assert_eq!(std::fs::read(folder.path().join("postern.db")).unwrap(), vec![7; 4_096]);
}
