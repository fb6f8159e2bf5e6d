use std::time::Duration;

use super::*;
use crate::store::testing::{Engine, Scratch, bound, principal};

async fn a_grant_raises_roles_at_and_reaches_verifiers(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.user("kim@example.com", Vec::new()).await;
    let by = PrincipalId::User(user);
    let before = scratch.owner(user).await;
    let cursor = scratch.cursor().await;
    let role = bound("postern.front", "t");
    let (binding, revision) = scratch.store.grant(&by, &role, &by, &scratch.audit()).await.unwrap();
    assert_eq!((binding.principal, binding.granted_by, &binding.bound), (by.clone(), Some(by.clone()), &role));
    let owner = scratch.owner(user).await;
    assert!(owner.version > before.version);
    assert_eq!((owner.roles_at, owner.floor), (owner.version, before.floor));
    let learned = scratch.learned(cursor).await;
    let state = principal(&learned.changes, user).unwrap();
    assert_eq!((state.roles_at, &state.bindings), (owner.version, &vec![role.clone()]));

    let (_, again) = scratch.store.grant(&by, &role, &by, &scratch.audit()).await.unwrap();
    assert_eq!(again, revision);
    let shorter = BoundRole { expires_at: Some(scratch.clock.now() + Duration::from_mins(1)), ..role };
    let (moved, later) = scratch.store.grant(&by, &shorter, &by, &scratch.audit()).await.unwrap();
    assert_eq!((moved.bound, later.id), (shorter.clone(), revision.id + 1));
    assert_eq!(scratch.owner(user).await.bindings, std::slice::from_ref(&shorter));

    let withdrawn = scratch.store.withdraw(&by, &shorter.role, &shorter.scope, &scratch.audit()).await.unwrap();
    assert!(withdrawn.changed && scratch.owner(user).await.roles_at > owner.roles_at);
    let again = scratch.store.withdraw(&by, &shorter.role, &shorter.scope, &scratch.audit()).await.unwrap();
    assert_eq!(again, Changed { changed: false, ..withdrawn });
}

async fn what_does_not_exist_is_named(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.user("kim@example.com", Vec::new()).await;
    let grant = async |principal: PrincipalId, role: &str| {
        scratch.store.grant(&principal, &bound(role, ""), &principal, &scratch.audit()).await
    };
    let somebody = PrincipalId::User(UserId::generate());
    let user = || PrincipalId::User(user);
    assert!(matches!(grant(somebody, "postern.front").await, Err(GrantError::UnknownPrincipal)));
    assert!(matches!(grant(user(), "editor").await, Err(GrantError::UnknownRole)));
    assert!(matches!(grant(user(), "postern.made-up").await, Err(GrantError::UnknownRole)));
    let nobody = grant("gateway".parse().unwrap(), "postern.front").await;
    assert!(matches!(nobody, Err(GrantError::UnknownPrincipal)));
    scratch.role("editor", &[]).await;
    grant(user(), "editor").await.unwrap();
}

async fn lists_page_and_filter(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let ends =
        BoundRole { expires_at: Some(scratch.clock.now() + Duration::from_secs(5)), ..bound("postern.admin", "t") };
    let kim = scratch.user("kim@example.com", vec![bound("postern.front", "t"), bound("postern.front", "")]).await;
    let lee = scratch.user("lee@example.com", vec![bound("postern.backend", "t"), ends]).await;
    let list = async |filter: BindingFilter, after: Option<&BindingKey>, limit| {
        let bindings = scratch.store.list_bindings(&filter, after, limit).await.unwrap();
        bindings.into_iter().map(|binding| (binding.principal, binding.bound)).collect::<Vec<_>>()
    };
    let (of_kim, of_lee) = (PrincipalId::User(kim), PrincipalId::User(lee));
    let all = list(BindingFilter::default(), None, 9).await;
    assert_eq!(all.len(), 4);
    assert_eq!(all[0], (of_kim.clone(), bound("postern.front", "")));
    let key = BindingKey { principal: of_kim.clone(), role: all[0].1.role.clone(), scope: Scope::Everywhere };
    assert_eq!(list(BindingFilter::default(), Some(&key), 2).await, all[1..3]);

    scratch.clock.advance(Duration::from_secs(5));
    let of = |principal| BindingFilter { principal: Some(principal), ..BindingFilter::default() };
    assert_eq!(list(of(of_lee.clone()), None, 9).await, [(of_lee, bound("postern.backend", "t"))]);
    assert!(list(of("gateway".parse().unwrap()), None, 9).await.is_empty());
    let role = BindingFilter { role: Some("postern.front".parse().unwrap()), ..BindingFilter::default() };
    assert_eq!(list(role, None, 9).await.len(), 2);
    let everywhere = BindingFilter { scope: Some(Scope::Everywhere), ..BindingFilter::default() };
    assert_eq!(list(everywhere, None, 9).await, [(of_kim, bound("postern.front", ""))]);
}

crate::store::testing::conformance![
    a_grant_raises_roles_at_and_reaches_verifiers,
    what_does_not_exist_is_named,
    lists_page_and_filter,
];
