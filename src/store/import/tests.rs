use super::*;
use crate::domain::account::{Identifier, Profile as UserProfile, UserState};
use crate::domain::audit::AuditKind;
use crate::domain::identity::IdentityKey;
use crate::domain::permission::Scope;
use crate::domain::role::BoundRole;
use crate::store::UserKey;
use crate::store::testing::{Engine, Scratch};
use secrecy::SecretString;

fn newcomer(scratch: &Scratch, external_id: &str, email: &str) -> Newcomer {
    let profile = UserProfile {
        external_id: external_id.to_owned(),
        email: (!email.is_empty()).then(|| email.parse().unwrap()),
        ..UserProfile::default()
    };
    Newcomer {
        user: NewUser {
            id: UserId::generate(),
            profile,
            password_hash: Some(SecretString::from("$2b$12$of another program")),
            password_due: false,
            request_id: None,
            bindings: Vec::new(),
        },
        scheme: "bcrypt:12".to_owned(),
        disabled: false,
        identities: Vec::new(),
        audit: AuditEvent::new(AuditKind::UserCreated, scratch.clock.now()),
    }
}

fn somebody() -> PrincipalId {
    PrincipalId::User(UserId::generate())
}

async fn import(scratch: &Scratch, newcomers: &[Newcomer]) -> Vec<Imported> {
    scratch.store.import_users(newcomers, &somebody(), false).await.unwrap()
}

async fn they_come_whole(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut kim = newcomer(&scratch, "4711", "Kim@Example.com");
    let key = IdentityKey { provider: "kakao".parse().unwrap(), subject: "99".parse().unwrap() };
    kim.identities = vec![Profile::new(key.clone(), "https://kauth.kakao.com".to_owned())];
    kim.user.bindings =
        vec![BoundRole { role: "postern.admin".parse().unwrap(), scope: Scope::Everywhere, expires_at: None }];
    let mut gone = newcomer(&scratch, "4712", "");
    gone.disabled = true;
    assert_eq!(import(&scratch, &[kim, gone]).await, [Imported::Created, Imported::Created]);

    let kim = scratch.store.user(&UserKey::ExternalId("4711".to_owned())).await.unwrap().unwrap();
    assert!(kim.state == UserState::Active && kim.has_password);
    let gone = scratch.store.user(&UserKey::ExternalId("4712".to_owned())).await.unwrap().unwrap();
    assert_eq!(gone.state, UserState::Disabled);
    let found = scratch.store.credential_by_identity(&key).await.unwrap();
    assert_eq!(found.issuer.as_deref(), Some("https://kauth.kakao.com"));
    let found = found.answer.found.unwrap();
    assert_eq!((found.user, found.owner.bindings.len()), (kim.id, 1));
    assert_eq!(scratch.number("SELECT count(*) FROM passwords WHERE scheme = 'bcrypt:12'").await, 2);
    assert_eq!(scratch.number("SELECT count(*) FROM audit WHERE kind = 'user_created'").await, 2);

    assert_eq!(scratch.store.password_schemes().await.unwrap(), ["bcrypt:12"]);

    // With a password of ours the other program's is forgotten.
    let event = AuditEvent::new(AuditKind::PasswordSet, scratch.clock.now());
    scratch.store.set_password(kim.id, "$argon2id$", false, &event).await.unwrap();
    assert_eq!(scratch.number("SELECT count(*) FROM passwords WHERE scheme = 'bcrypt:12'").await, 1);
}

/// Row 26: a credential that is there is never written over.
async fn who_is_there_stays_as_they_are(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut first = newcomer(&scratch, "1", "one@example.com");
    let key = IdentityKey { provider: "naver".parse().unwrap(), subject: "1".parse().unwrap() };
    first.identities = vec![Profile::new(key.clone(), "https://nid.naver.com".to_owned())];
    let id = first.user.id;
    import(&scratch, &[first]).await;
    let before: Vec<_> = scratch.store.user(&UserKey::Id(id)).await.unwrap().into_iter().collect();

    let mut by_identity = newcomer(&scratch, "2", "two@example.com");
    by_identity.identities = vec![Profile::new(key, "https://nid.naver.com".to_owned())];
    let mut again = newcomer(&scratch, "3", "ONE@example.com");
    again.user.password_hash = Some(SecretString::from("$2b$12$an attacker's"));
    let mut unknown = newcomer(&scratch, "5", "");
    unknown.user.bindings =
        vec![BoundRole { role: "nothing".parse().unwrap(), scope: Scope::Everywhere, expires_at: None }];
    let rows = [
        newcomer(&scratch, "1", ""),
        again,
        by_identity,
        unknown,
        newcomer(&scratch, "4", ""),
        newcomer(&scratch, "4", ""),
    ];
    let fourth = rows[4].user.id;
    assert_eq!(
        import(&scratch, &rows).await,
        [
            Imported::Exists(id, Same::Profile(Taken::ExternalId)),
            Imported::Exists(id, Same::Profile(Taken::Email)),
            Imported::Exists(id, Same::Identity(0)),
            Imported::UnknownRole("nothing".parse().unwrap()),
            Imported::Created,
            Imported::Exists(fourth, Same::Profile(Taken::ExternalId)),
        ]
    );
    let after: Vec<_> = scratch.store.user(&UserKey::Id(id)).await.unwrap().into_iter().collect();
    assert_eq!(before, after);
    assert_eq!(scratch.number("SELECT count(*) FROM users").await, 2);
    assert_eq!(scratch.number("SELECT count(*) FROM passwords WHERE hash LIKE '%attacker%'").await, 0);
}

async fn each_kind_of_password_is_known_once(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    assert!(scratch.store.password_schemes().await.unwrap().is_empty());
    let kinds = ["scrypt:15:8:1", "bcrypt:12", "", "bcrypt:10", "bcrypt:12"];
    let newcomers = kinds
        .iter()
        .enumerate()
        .map(|(place, kind)| Newcomer { scheme: (*kind).to_owned(), ..newcomer(&scratch, &place.to_string(), "") });
    let newcomers: Vec<_> = newcomers.collect();
    import(&scratch, &newcomers).await;
    assert_eq!(scratch.store.password_schemes().await.unwrap(), ["bcrypt:10", "bcrypt:12", "scrypt:15:8:1"]);
    let hash = "$2b$12$of another program";
    assert!(scratch.store.replace_password_hash(newcomers[0].user.id, hash, "$argon2id$").await.unwrap());
    assert_eq!(scratch.store.password_schemes().await.unwrap(), ["bcrypt:10", "bcrypt:12"]);
}

async fn a_rehearsal_leaves_nothing(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let rows = [newcomer(&scratch, "1", "one@example.com"), newcomer(&scratch, "2", "ONE@example.com")];
    let first = rows[0].user.id;
    let outcomes = scratch.store.import_users(&rows, &somebody(), true).await.unwrap();
    assert_eq!(outcomes, [Imported::Created, Imported::Exists(first, Same::Profile(Taken::Email))]);
    for count in ["SELECT count(*) FROM users", "SELECT count(*) FROM passwords", "SELECT count(*) FROM audit"] {
        assert_eq!(scratch.number(count).await, 0, "{count}");
    }
    let one = Identifier::from_typed("one@example.com").unwrap();
    assert!(scratch.store.user(&UserKey::Identifier(one)).await.unwrap().is_none());
}

crate::store::testing::conformance![
    each_kind_of_password_is_known_once,
    they_come_whole,
    who_is_there_stays_as_they_are,
    a_rehearsal_leaves_nothing
];
