//! Accounts as administration makes and changes them, and the person who signs in to one.

use postern::auth::passwords::Passwords;
use postern::domain::account::Profile;
use postern::domain::audit::{AuditEvent, AuditKind};
use postern::domain::id::UserId;
use postern::domain::password::Password;
use postern::domain::time::Timestamp;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern::store::NewUser;
use secrecy::{ExposeSecret as _, SecretString};

use crate::support::{Admin, PASSWORD, Server};

/// A user, straight in the store: for tests that are not about how users are made.
pub(crate) async fn add_user(server: &Server, user_name: &str, password: Option<&str>) -> UserId {
    let profile = Profile { user_name: Some(user_name.parse().unwrap()), ..Profile::default() };
    add(server, profile, password).await
}

pub(crate) async fn add(server: &Server, profile: Profile, password: Option<&str>) -> UserId {
    let password_hash = match password {
        Some(password) => Some(hash_with(&server.auth.passwords, password).await),
        None => None,
    };
    let id = UserId::generate();
    let new = NewUser { id, profile, password_hash, password_due: false, request_id: None, bindings: Vec::new() };
    server.auth.store.create_user(&new, &event(AuditKind::UserCreated, id)).await.unwrap();
    id
}

/// A new user called kim with [`PASSWORD`], and the tokens of a first session.
pub(crate) async fn kim(server: &Server) -> (UserId, pb::TokenPair) {
    let id = add_user(server, "kim", Some(PASSWORD)).await;
    (id, sign_in(server).await)
}

/// One more session of kim's.
pub(crate) async fn sign_in(server: &Server) -> pb::TokenPair {
    server.login("kim", PASSWORD).await.unwrap().tokens.unwrap()
}

pub(crate) async fn set_password(server: &Server, id: UserId, password: &str) {
    let request = admin::SetPasswordRequest { id: id.to_string(), password: password.to_owned(), ..Default::default() };
    administrator(server).await.set_password(request).await.unwrap();
}

/// A password that was hashed elsewhere, in one step: for races.
pub(crate) async fn set_hash(server: &Server, id: UserId, hash: &SecretString) {
    let event = event(AuditKind::PasswordSet, id);
    let revision = server.auth.store.set_password(id, hash.expose_secret(), false, &event).await.unwrap();
    server.auth.feed.catch_up(revision).await;
}

pub(crate) async fn disable(server: &Server, id: UserId) {
    let request = admin::DisableUserRequest { id: id.to_string(), note: "left".to_owned() };
    administrator(server).await.disable_user(request).await.unwrap();
}

pub(crate) async fn enable(server: &Server, id: UserId) {
    let request = admin::EnableUserRequest { id: id.to_string(), note: "back".to_owned() };
    administrator(server).await.enable_user(request).await.unwrap();
}

pub(crate) async fn delete(server: &Server, id: UserId) {
    let request = admin::DeleteUserRequest { id: id.to_string(), note: "asked for it".to_owned() };
    administrator(server).await.delete_user(request).await.unwrap();
}

pub(crate) async fn end_all_sessions(server: &Server) {
    let request = admin::EndAllSessionsRequest { confirm: server.issuer.clone(), note: "drill".to_owned() };
    administrator(server).await.end_all_sessions(request).await.unwrap();
}

async fn administrator(server: &Server) -> Admin {
    server.admin(&server.login_admin().await.access_token)
}

pub(crate) async fn hash_with(passwords: &Passwords, password: &str) -> SecretString {
    passwords.hash(Password::from_typed(password).unwrap()).await.unwrap()
}

pub(crate) fn event(kind: AuditKind, target: UserId) -> AuditEvent {
    AuditEvent {
        id: uuid::Uuid::now_v7(),
        time: Timestamp::from_secs(0),
        kind,
        actor: None,
        target: Some(target.to_string()),
        session: None,
        client: None,
        ip_address: String::new(),
        request_id: String::new(),
        reason: None,
        detail: Vec::new(),
    }
}
