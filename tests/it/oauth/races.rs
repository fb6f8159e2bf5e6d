//! An identity that is taken away while somebody signs in by it. The races are forced by triggers in the database, at the one
//! moment that counts.

use postern::proto::auth::v1 as pb;
use postern_rig::providers::Person;

use super::handoff::{VERIFIER, collect, handed_off};
use super::links::{ADDRESS, link_by_flow, login, person, unlink};
use super::{Scene, Stage, by, refused};
use crate::database::Database;

/// Somebody who has a password and an identity at Google; with their access token.
async fn scene() -> (Scene, String) {
    let scene = Scene::of(vec![Stage::google()]).await;
    person(&scene, ADDRESS).await;
    let token = login(&scene, ADDRESS).await.access_token;
    scene.stage("google").person(Person::new("7").with_email(None, false));
    link_by_flow(&scene, &token, "google").await.unwrap();
    (scene, token)
}

async fn sessions(database: &mut Database) -> i64 {
    database.row::<(i64,)>("SELECT count(*) FROM vault WHERE kind = 'session'", &[]).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_began_before_the_identity_went_opens_nothing() {
    let (scene, _token) = scene().await;
    let mut database = scene.server.database().await;
    let before = sessions(&mut database).await;
    // After the identity was found, and before the session is written.
    let race = "CREATE TRIGGER race AFTER UPDATE OF sign_in_time ON identities BEGIN \
        DELETE FROM identities WHERE provider = NEW.provider AND subject = NEW.subject; END";
    database.run(race, &[]).await;
    refused(scene.sign_in("google").await, "INVALID_CREDENTIALS");
    assert_eq!(sessions(&mut database).await, before);
    let ended: (i64,) = database.row("SELECT count(*) FROM revocations", &[]).await;
    assert_eq!(ended.0, 1, "in SQL too, or a vault that is thrown back would bring it back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_opened_meanwhile_ends_with_the_identity() {
    let (scene, token) = scene().await;
    let mut database = scene.server.database().await;
    database.run("CREATE TABLE known AS SELECT key FROM vault WHERE kind = 'session'", &[]).await;
    let tokens = scene.sign_in("google").await.unwrap().tokens.unwrap();
    // Nobody sees the session before the identity is gone; then it is there.
    for statement in [
        "CREATE TABLE aside AS SELECT * FROM vault WHERE kind = 'session' AND key NOT IN (SELECT key FROM known)",
        "DELETE FROM vault WHERE kind = 'session' AND key NOT IN (SELECT key FROM known)",
        "CREATE TRIGGER race AFTER DELETE ON identities BEGIN INSERT INTO vault SELECT * FROM aside; END",
    ] {
        database.run(statement, &[]).await;
    }
    unlink(&scene, &token, "google", "7").await.unwrap();
    let refresh = pb::RefreshRequest { refresh_token: tokens.refresh_token, ..Default::default() };
    refused(scene.server.client().refresh(by(&scene.secret, refresh)).await, "SESSION_ENDED");
    assert_eq!(scene.identities(&token).await.len(), 0, "the own session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_off_code_dies_with_its_identity() {
    let (scene, token) = scene().await;
    let code = handed_off(&scene).await;
    let mut database = scene.server.database().await;
    let before = sessions(&mut database).await;
    unlink(&scene, &token, "google", "7").await.unwrap();
    refused(collect(&scene, &scene.secret, &code, VERIFIER).await, "INVALID_CREDENTIALS");
    assert_eq!(sessions(&mut database).await, before);
}
