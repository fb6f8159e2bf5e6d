use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::domain::id::SessionId;
use crate::store::testing::{Engine, Scratch, bound};

fn new(profile: Profile) -> NewUser {
    NewUser {
        id: UserId::generate(),
        profile,
        password_hash: None,
        password_due: false,
        request_id: None,
        bindings: Vec::new(),
    }
}

async fn a_user_is_found_by_every_name(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut profile = Scratch::profile("Kim@Example.COM", "Kim.Lee", "ext-1");
    profile.display_name = "김 Kim".to_owned();
    let new = NewUser { password_hash: Some("hash".into()), ..new(profile) };
    let head = scratch.store.head().await.unwrap();
    let created = scratch.store.create_user(&new, &scratch.audit()).await.unwrap();
    assert_eq!((created.repeated, created.revision), (false, head));
    let user = created.user;
    assert!(user.has_password && !user.email_verified);
    assert_eq!(user.email.as_ref().unwrap().as_given(), "Kim@Example.COM");
    let typed = |text| UserKey::Identifier(Identifier::from_typed(text).unwrap());
    for key in [UserKey::Id(new.id), UserKey::ExternalId("ext-1".into()), typed(" kim@EXAMPLE.com"), typed("KIM.LEE")] {
        assert_eq!(scratch.store.user(&key).await.unwrap().as_ref(), Some(&user), "{key:?}");
    }
    assert_eq!(scratch.store.user(&typed("lee")).await.unwrap(), None);
    assert_eq!(scratch.store.user(&UserKey::ExternalId(String::new())).await.unwrap(), None);
}

async fn canonical_forms_are_unique_and_the_broken_rule_is_named(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let first = new(Scratch::profile("kim@example.com", "kim", "1"));
    scratch.store.create_user(&first, &scratch.audit()).await.unwrap();
    for (profile, rule) in [
        (Scratch::profile("ＫＩＭ@example.com", "", ""), Taken::Email),
        (Scratch::profile("", "KIM", ""), Taken::UserName),
        (Scratch::profile("", "", "1"), Taken::ExternalId),
    ] {
        let refused = scratch.store.create_user(&new(profile.clone()), &scratch.audit()).await;
        assert!(matches!(refused, Err(CreateUserError::Taken(taken)) if taken == rule), "{rule:?}");
        let other = new(Scratch::profile("", "", ""));
        scratch.store.create_user(&other, &scratch.audit()).await.unwrap();
        let change = ProfileChange {
            external_id: Some(profile.external_id),
            email: Some(profile.email),
            user_name: Some(profile.user_name),
            ..ProfileChange::default()
        };
        let refused = scratch.store.update_user(other.id, None, change, &scratch.audit()).await;
        assert!(matches!(refused, Err(UpdateUserError::Taken(taken)) if taken == rule), "{rule:?}");
    }
    assert_eq!(scratch.number("SELECT count(*) FROM users").await, 4);
}

async fn an_address_is_won_once(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (store, audit) = (scratch.store.clone(), scratch.audit());
        tasks.spawn(async move {
            let new = new(Scratch::profile("kim@example.com", "", ""));
            store.create_user(&new, &audit).await.is_ok()
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
}

async fn a_repeated_request_gets_the_same_user_for_a_day(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let request_id = Some(Uuid::now_v7());
    let first = NewUser { request_id, ..new(Scratch::profile("kim@example.com", "", "")) };
    scratch.store.create_user(&first, &scratch.audit()).await.unwrap();
    let retry = NewUser { request_id, ..new(Scratch::profile("kim@example.com", "", "")) };
    let again = scratch.store.create_user(&retry, &scratch.audit()).await.unwrap();
    assert_eq!((again.repeated, again.user.id), (true, first.id));
    scratch.clock.advance(Duration::from_hours(25));
    scratch.store.purge().await.unwrap();
    let late = scratch.store.create_user(&retry, &scratch.audit()).await;
    assert!(matches!(late, Err(CreateUserError::Taken(Taken::Email))));
}

async fn the_first_administrator_comes_with_the_role(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let made_up = NewUser { bindings: vec![bound("postern.made-up", "")], ..new(Profile::default()) };
    let refused = scratch.store.create_user(&made_up, &scratch.audit()).await;
    assert!(matches!(refused, Err(CreateUserError::UnknownRole(_))));
    assert_eq!(scratch.number("SELECT count(*) FROM users").await, 0);
    let user = scratch.user("kim@example.com", vec![bound("postern.admin", "")]).await;
    assert_eq!(scratch.owner(user).await.bindings, [bound("postern.admin", "")]);
    assert_eq!(scratch.store.administrators().await.unwrap(), 1);
}

async fn an_update_is_guarded_and_says_when_nothing_changed(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.user("kim@example.com", Vec::new()).await;
    let update = async |etag: Option<&str>, change| {
        scratch.store.update_user(user, etag, change, &scratch.audit()).await.map(|(user, _)| user)
    };
    let verified = ProfileChange { email_verified: Some(true), ..ProfileChange::default() };
    let changed = update(Some("1"), verified.clone()).await.unwrap();
    assert!(changed.email_verified && changed.etag == "2");
    assert_eq!(update(None, verified.clone()).await.unwrap(), changed);
    assert!(matches!(update(Some("1"), verified).await, Err(UpdateUserError::StaleEtag)));

    // The same address in another spelling stays proven, another one is not.
    let email = |text: &str| ProfileChange { email: Some(Some(text.parse().unwrap())), ..ProfileChange::default() };
    let respelled = update(None, email("Kim@Example.com")).await.unwrap();
    assert!(respelled.email_verified && respelled.email.unwrap().as_given() == "Kim@Example.com");
    assert!(!update(None, email("lee@example.com")).await.unwrap().email_verified);
    let cleared = ProfileChange { email: Some(None), ..ProfileChange::default() };
    assert_eq!(update(None, cleared).await.unwrap().email, None);
    let nobody = scratch.store.update_user(UserId::generate(), None, email("x@y.z"), &scratch.audit()).await;
    assert!(matches!(nobody, Err(UpdateUserError::NotFound)));
}

async fn lists_page_and_filter(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut ids = Vec::new();
    for name in ["kim@example.com", "kai@example.com", "100%@example.com"] {
        ids.push(scratch.user(name, Vec::new()).await);
    }
    scratch.store.disable_user(ids[1], &scratch.audit()).await.unwrap();
    let list = async |prefix: &str, state, after, limit| {
        let users = scratch.store.list_users(prefix, state, after, limit).await.unwrap();
        users.into_iter().map(|user| user.id).collect::<Vec<_>>()
    };
    assert_eq!(list("", None, None, 2).await, ids[..2]);
    assert_eq!(list("", None, Some(ids[1]), 2).await, ids[2..]);
    assert_eq!(list("K", None, None, 9).await, ids[..2]);
    assert_eq!(list("k", Some(UserState::Active), None, 9).await, ids[..1]);
    assert_eq!(list("", Some(UserState::Disabled), None, 9).await, ids[1..2]);
    assert_eq!(list("%", None, None, 9).await, []);
    assert_eq!(list("100%", None, None, 9).await, ids[2..]);
}

async fn sign_in_sees_one_consistent_user(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let typed = Identifier::from_typed("KIM@example.com").unwrap();
    let nobody = scratch.store.credential(&typed, b"kim").await.unwrap();
    assert!(nobody.found.is_none());
    assert!(nobody.now >= scratch.clock.now() - Duration::from_secs(5));
    let ended = BoundRole { expires_at: Some(scratch.clock.now()), ..bound("postern.backend", "") };
    let ends =
        BoundRole { expires_at: Some(scratch.clock.now() + Duration::from_mins(5)), ..bound("postern.front", "t") };
    let user = scratch.user("kim@example.com", vec![bound("postern.admin", ""), ends.clone(), ended]).await;

    let found = scratch.store.credential(&typed, b"kim").await.unwrap().found.unwrap();
    assert_eq!(found.user, user);
    assert_eq!(found.password_hash.as_ref().unwrap().expose_secret(), "old hash");
    assert!(!format!("{found:?}").contains("old hash"));
    assert_eq!(found.owner, scratch.owner(user).await);
    assert_eq!(found.owner, scratch.store.standing(user, SessionId::generate()).await.unwrap().owner.unwrap());
    assert_eq!(found.owner.bindings, [bound("postern.admin", ""), ends]);
    scratch.clock.advance(Duration::from_mins(5));
    assert_eq!(scratch.owner(user).await.bindings, [bound("postern.admin", "")]);
}

async fn a_hash_is_replaced_only_if_it_is_still_there(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.user("kim@example.com", Vec::new()).await;
    assert!(scratch.store.replace_password_hash(user, "old hash", "new").await.unwrap());
    assert!(!scratch.store.replace_password_hash(user, "old hash", "newer").await.unwrap());
    assert_eq!(scratch.owner(user).await.floor.version, 0);
}

crate::store::testing::conformance![
    a_user_is_found_by_every_name,
    canonical_forms_are_unique_and_the_broken_rule_is_named,
    an_address_is_won_once,
    a_repeated_request_gets_the_same_user_for_a_day,
    the_first_administrator_comes_with_the_role,
    an_update_is_guarded_and_says_when_nothing_changed,
    lists_page_and_filter,
    sign_in_sees_one_consistent_user,
    a_hash_is_replaced_only_if_it_is_still_there,
];
