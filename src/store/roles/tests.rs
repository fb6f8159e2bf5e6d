use super::*;
use crate::domain::change::Change;
use crate::store::ApplyPolicyError;
use crate::store::testing::{Engine, Scratch, bound, principal};

fn ids(roles: &[Role]) -> Vec<&str> {
    roles.iter().map(|role| role.id.as_str()).collect()
}

async fn a_role_is_put_once(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let cursor = scratch.cursor().await;
    let editor = scratch.role("editor", &["postern.front"]).await;
    assert_eq!(scratch.store.role(&editor.id).await.unwrap().unwrap(), editor);
    let (roles, version) = scratch.store.roles().await.unwrap();
    assert_eq!((&roles[..], version.to_string()), (&[editor.clone()][..], editor.etag.clone()));
    let learned = scratch.learned(cursor).await;
    assert_eq!(learned.changes, [Change::Policy { version, roles }]);

    let put = async |role: &Role, etag: Option<&str>| scratch.store.put_role(role, etag, &scratch.audit()).await;
    let (same, revision) = put(&editor, None).await.unwrap();
    assert_eq!((same, revision.id), (editor.clone(), learned.cursor.id));
    assert!(matches!(put(&editor, Some("1")).await, Err(PutRoleError::StaleEtag)));
    let wider = Role { description: "wider".into(), ..editor.clone() };
    let (wider, _) = put(&wider, Some(&editor.etag)).await.unwrap();
    assert!(wider.etag.parse::<i64>().unwrap() > version);
    let absent = Role { id: "absent".parse().unwrap(), ..editor };
    assert!(matches!(put(&absent, Some("1")).await, Err(PutRoleError::StaleEtag)));
}

async fn roles_are_checked_with_all_others(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let a = scratch.role("a", &[]).await;
    scratch.role("b", &["a"]).await;
    let head = scratch.store.head().await.unwrap();
    let put = async |role: Role| scratch.store.put_role(&role, None, &scratch.audit()).await;
    let cycle = put(Role { inherits: vec!["b".parse().unwrap()], ..a.clone() }).await;
    assert!(matches!(cycle, Err(PutRoleError::Fault(RoleFault::Cycle { .. }))));
    let orphan = put(Role { inherits: vec!["c".parse().unwrap()], ..a.clone() }).await;
    assert!(matches!(orphan, Err(PutRoleError::Fault(RoleFault::UnknownParent { .. }))));
    let built_in = put(Role { id: "postern.admin".parse().unwrap(), ..a }).await;
    assert!(matches!(built_in, Err(PutRoleError::Fault(RoleFault::BuiltIn { .. }))));
    assert_eq!(scratch.store.head().await.unwrap(), head);
}

async fn a_role_in_use_goes_only_by_force(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let a = scratch.role("a", &[]).await;
    scratch.role("b", &["a"]).await;
    let delete = async |force| scratch.store.delete_role(&a.id, force, &scratch.audit()).await;
    assert!(matches!(delete(false).await, Err(DeleteRoleError::Inherited { by }) if by.as_str() == "b"));
    let user = scratch.user("kim@example.com", vec![bound("a", "t"), bound("a", ""), bound("b", "")]).await;
    assert!(matches!(delete(false).await, Err(DeleteRoleError::Bound { bindings: 2 })));

    let (before, cursor) = (scratch.owner(user).await, scratch.cursor().await);
    assert!(delete(true).await.unwrap().changed);
    let owner = scratch.owner(user).await;
    assert_eq!(owner.bindings, [bound("b", "")]);
    assert!(owner.version > before.version && owner.roles_at == owner.version);
    let learned = scratch.learned(cursor).await;
    assert_eq!(principal(&learned.changes, user).unwrap().roles_at, owner.roles_at);
    let (roles, _) = scratch.store.roles().await.unwrap();
    assert!(ids(&roles) == ["b"] && roles[0].inherits.is_empty());
    assert!(!delete(true).await.unwrap().changed);
}

async fn a_policy_is_applied_whole(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let a = scratch.role("a", &[]).await;
    let b = scratch.role("b", &["a"]).await;
    let c = scratch.role("c", &[]).await;
    let user = scratch.user("kim@example.com", vec![bound("a", ""), bound("b", "t"), bound("c", "")]).await;
    let (_, version) = scratch.store.roles().await.unwrap();
    let wanted = [
        Role { inherits: Vec::new(), ..b },
        c.clone(),
        Role { id: "d".parse().unwrap(), inherits: vec![], ..a.clone() },
    ];
    let apply =
        async |roles: &[Role], version, dry| scratch.store.apply_policy(roles, version, dry, &scratch.audit()).await;
    let head = scratch.store.head().await.unwrap();
    let dry = apply(&wanted, Some(version), true).await.unwrap();
    assert_eq!((dry.version, dry.revision), (version, head));
    assert_eq!((dry.created.len(), dry.changed.len(), dry.deleted.len(), dry.affected_bindings), (1, 1, 1, 2));
    assert_eq!(scratch.owner(user).await.bindings.len(), 3);

    let before = scratch.owner(user).await.version;
    let done = apply(&wanted, Some(version), false).await.unwrap();
    assert!(done.version > version && done.revision.id == head.id + 2);
    assert_eq!((done.created, done.changed, done.deleted), (dry.created, dry.changed, dry.deleted));
    let (roles, now) = scratch.store.roles().await.unwrap();
    assert_eq!((ids(&roles), now), (vec!["b", "c", "d"], done.version));
    assert_eq!(roles[1].etag, c.etag);
    let owner = scratch.owner(user).await;
    assert!(owner.bindings == [bound("b", "t"), bound("c", "")] && owner.roles_at > before);

    assert!(matches!(apply(&wanted, Some(version), false).await, Err(ApplyPolicyError::StaleVersion)));
    let same = apply(&wanted, None, false).await.unwrap();
    assert_eq!((same.version, same.revision), (done.version, done.revision));
    let twice = apply(&[c.clone(), c], None, false).await;
    assert!(matches!(twice, Err(ApplyPolicyError::Fault(RoleFault::Duplicate { .. }))));
}

crate::store::testing::conformance![
    a_role_is_put_once,
    roles_are_checked_with_all_others,
    a_role_in_use_goes_only_by_force,
    a_policy_is_applied_whole,
];
