//! Row 165: whatever a text says, it is a value. It comes back as it was, means nothing to the engine, and finds nothing that
//! is not its own. A NUL, which PostgreSQL's text has not, is no outage.

use crate::domain::account::{Identifier, Profile};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::client::{Origin, Registration};
use crate::domain::id::UserId;
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::store::testing::{Engine, Scratch};
use crate::store::{NewUser, UserKey};
use crate::vault::{Kind, Slot, Vault as _};

const PAYLOADS: &[&str] = &[
    "'; DROP TABLE users; --",
    "\"; DELETE FROM audit; --",
    "' OR '1'='1",
    "') UNION SELECT hash FROM passwords --",
    "$1 $2 $$ $tag$ ?1 :name @name",
    "\\'; SELECT pg_sleep(60); --",
    "E'\\x27' U&'\\0027' x'00'",
    "%_%\\%",
    "/* */ -- #",
    "\r\nFLUSHALL\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "a\0b",
    "\0",
    "\u{FFFD}\u{FEFF}\u{202E}\u{10FFFF}",
    "김민수 ß İ ﬃ \u{1F511}",
    "{}{{p}}%7d",
];

/// What a text is when it comes back.
fn kept(engine: Engine, payload: &str) -> String {
    match engine {
        Engine::Sqlite => payload.to_owned(),
        _ => payload.replace('\0', "\u{FFFD}"),
    }
}

async fn a_payload_is_a_value(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let store = &scratch.store;
    let bystander = scratch.user("lee@example.com", Vec::new()).await;
    for (index, payload) in PAYLOADS.iter().enumerate() {
        let kept = kept(engine, payload);
        // A user: every text of theirs, and every way to ask.
        let profile = Profile {
            external_id: format!("{index} {payload}"),
            user_name: Some(format!("user{index}").parse().unwrap()),
            display_name: (*payload).to_owned(),
            ..Profile::default()
        };
        let id = UserId::generate();
        let new = NewUser {
            id,
            profile,
            password_hash: Some((*payload).into()),
            password_due: false,
            request_id: None,
            bindings: Vec::new(),
        };
        store.create_user(&new, &scratch.audit()).await.unwrap();
        let user = store.user(&UserKey::ExternalId(format!("{index} {payload}"))).await.unwrap().unwrap();
        assert_eq!((user.id, &user.display_name), (id, &kept), "{payload:?}");
        assert_eq!(store.user(&UserKey::ExternalId((*payload).to_owned())).await.unwrap(), None, "{payload:?}");
        for text in [Identifier::Email((*payload).to_owned()), Identifier::UserName((*payload).to_owned())] {
            assert_eq!(store.user(&UserKey::Identifier(text.clone())).await.unwrap(), None, "{payload:?}");
            store.credential(&text, b"x").await.unwrap();
        }
        let found = store.list_users(payload, None, None, 100).await.unwrap();
        assert!(found.iter().all(|user| user.id != bystander), "{payload:?}");
        // For SQLite a text ends at its NUL when it is measured: nothing is found by one.
        assert!(found.iter().any(|user| user.id == id) || payload.contains('\0'), "{payload:?}");
        assert!(store.replace_password_hash(id, payload, "another").await.unwrap(), "{payload:?}");

        // A role, a client, a setting.
        let role = Role {
            id: format!("role{index}").parse().unwrap(),
            description: (*payload).to_owned(),
            patterns: Vec::new(),
            inherits: Vec::new(),
            etag: String::new(),
        };
        store.put_role(&role, None, &scratch.audit()).await.unwrap();
        assert_eq!(store.role(&role.id).await.unwrap().unwrap().description, kept, "{payload:?}");
        let client = Registration {
            display_name: (*payload).to_owned(),
            audience: format!("{index} {payload}"),
            return_urls: vec![(*payload).to_owned()],
            ..Registration::new(format!("client{index}").parse().unwrap(), Origin::Store)
        };
        store.create_client(&client, &scratch.audit()).await.unwrap();
        let client = store.client(&client.id).await.unwrap().unwrap();
        assert_eq!((&client.display_name, &client.audience), (&kept, &format!("{index} {kept}")), "{payload:?}");
        store.fix_setting(&format!("{index} {payload}"), payload).await.unwrap();
        let setting = store.setting(&format!("{index} {payload}")).await.unwrap();
        assert_eq!(setting.as_deref(), Some(kept.as_str()), "{payload:?}");
        assert_eq!(store.setting(payload).await.unwrap(), None, "{payload:?}");

        // What is audited.
        let event = AuditEvent {
            target: Some((*payload).to_owned()),
            ip_address: (*payload).to_owned(),
            request_id: (*payload).to_owned(),
            detail: vec![("note", (*payload).to_owned())],
            ..AuditEvent::new(AuditKind::LoginFailed, scratch.clock.now())
        };
        store.append_audit(&[event]).await.unwrap();

        // What expires.
        let vault = store.vault();
        let slot = Slot { kind: Kind::Session, partition: (*payload).to_owned(), key: (*payload).to_owned() };
        assert!(vault.insert(&slot, payload.as_bytes(), Timestamp::MAX).await.unwrap());
        assert_eq!(vault.get(&slot).await.unwrap().as_deref(), Some(payload.as_bytes()), "{payload:?}");
        assert_eq!(vault.list(Kind::Session, payload).await.unwrap().len(), 1, "{payload:?}");
        assert_eq!(vault.take(&slot).await.unwrap().as_deref(), Some(payload.as_bytes()), "{payload:?}");
    }
    let users = PAYLOADS.len() + 1;
    assert_eq!(store.list_users("", None, None, 100).await.unwrap().len(), users);
    assert_eq!(store.audit_details("authn_login_fail").await.len(), PAYLOADS.len());
    assert!(store.user(&UserKey::Id(bystander)).await.unwrap().is_some());
}

crate::store::testing::conformance![a_payload_is_a_value];
