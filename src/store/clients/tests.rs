use super::*;
use crate::domain::change::Change;
use crate::domain::client::{ClientSecret, HeldSecret, Origin};
use crate::domain::id::PrincipalId;
use crate::domain::time::Timestamp;
use crate::store::testing::{Engine, Scratch, bound};
use crate::store::{BindingFilter, BindingKey};

fn named(id: &str, sans: &[&str]) -> Registration {
    Registration {
        mtls_sans: sans.iter().map(|san| san.parse().unwrap()).collect(),
        ..Registration::new(id.parse().unwrap(), Origin::Store)
    }
}

fn full() -> Registration {
    let digest = ClientSecret::generate().unwrap().digest();
    Registration {
        display_name: "The \"web\" front".to_owned(),
        secrets: vec![HeldSecret { digest, ends_at: None }],
        audience: "shop".to_owned(),
        token_audiences: vec!["orders".to_owned(), "a,\"b".to_owned()],
        return_urls: vec!["https://shop.example/back".to_owned()],
        limits: SessionLimits {
            idle_ttl: Some(Duration::from_hours(1)),
            refresh_grace: Some(Duration::ZERO),
            max_per_user: Some(3),
            ..SessionLimits::default()
        },
        ..named("web", &["spiffe://prod/web", "web.internal"])
    }
}

fn digests(client: &Registration) -> Vec<SecretDigest> {
    client.secrets.iter().map(|held| held.digest).collect()
}

async fn rotated(scratch: &Scratch, id: &ClientId, overlap: Duration) -> SecretDigest {
    let digest = ClientSecret::generate().unwrap().digest();
    scratch.store.rotate_client_secret(id, &digest, overlap, &scratch.audit()).await.unwrap();
    digest
}

async fn a_client_comes_back_as_it_was_made(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let cursor = scratch.cursor().await;
    let (made, revision) = scratch.store.create_client(&full(), &scratch.audit()).await.unwrap();
    let (create_time, etag) = (made.create_time, made.etag.clone());
    assert!(create_time > Timestamp::default());
    assert_eq!(made, Registration { secrets: made.secrets.clone(), create_time, etag, ..full() });
    assert_eq!(scratch.store.client(&made.id).await.unwrap().as_ref(), Some(&made));
    let learned = scratch.learned(cursor).await;
    assert_eq!((learned.cursor.id, learned.changes), (revision.id, vec![Change::Clients(vec![made])]));
}

async fn a_name_is_one_clients(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let web = scratch.store.create_client(&full(), &scratch.audit()).await.unwrap().0;
    let again = scratch.store.create_client(&named("web", &[]), &scratch.audit()).await;
    assert!(matches!(again, Err(CreateClientError::IdTaken)));
    let other = scratch.store.create_client(&named("orders", &["web.internal"]), &scratch.audit()).await;
    assert!(matches!(other, Err(CreateClientError::SanTaken(San::Dns(_)))));
    let orders = scratch.store.create_client(&named("orders", &[]), &scratch.audit()).await.unwrap().0;
    let sans = |sans: &[San]| ClientChange { mtls_sans: Some(sans.to_vec()), ..ClientChange::default() };
    let update = scratch.store.update_client(&orders.id, None, sans(&web.mtls_sans), &scratch.audit()).await;
    assert!(matches!(update, Err(ChangeClientError::SanTaken(_))));
    // Given up by one, it is free for another; in another order they are still its own.
    let reversed: Vec<San> = web.mtls_sans.iter().rev().cloned().collect();
    let (kept, _) = scratch.store.update_client(&web.id, None, sans(&reversed), &scratch.audit()).await.unwrap();
    assert_eq!(kept.mtls_sans, reversed);
    scratch.store.update_client(&web.id, None, sans(&[]), &scratch.audit()).await.unwrap();
    let (moved, _) = scratch.store.update_client(&orders.id, None, sans(&reversed), &scratch.audit()).await.unwrap();
    assert_eq!(moved.mtls_sans, reversed);
}

async fn a_change_is_kept_by_its_etag(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let web = scratch.store.create_client(&full(), &scratch.audit()).await.unwrap().0;
    let limits = LimitsChange { idle_ttl: Some(None), ..LimitsChange::default() };
    let change = || ClientChange { disabled: Some(true), limits, ..ClientChange::default() };
    assert_eq!(change().fields(), ["session_policy", "disabled"]);
    let (changed, first) =
        scratch.store.update_client(&web.id, Some(&web.etag), change(), &scratch.audit()).await.unwrap();
    assert!(changed.disabled && changed.etag != web.etag);
    assert_eq!(changed.limits, SessionLimits { idle_ttl: None, ..web.limits });
    let stale = scratch.store.update_client(&web.id, Some(&web.etag), change(), &scratch.audit()).await;
    assert!(matches!(stale, Err(ChangeClientError::StaleEtag)));
    // What changes nothing is no change.
    let (same, second) = scratch.store.update_client(&web.id, None, change(), &scratch.audit()).await.unwrap();
    assert_eq!((same.etag, second), (changed.etag, first));
    let nobody = scratch.store.update_client(&"nobody".parse().unwrap(), None, change(), &scratch.audit()).await;
    assert!(matches!(nobody, Err(ChangeClientError::NotFound)));
}

async fn two_secrets_at_most(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let web = scratch.store.create_client(&full(), &scratch.audit()).await.unwrap().0;
    let first = digests(&web)[0];
    let held = async || scratch.store.client(&web.id).await.unwrap().unwrap();
    let hour = Duration::from_hours(1);
    let second = rotated(&scratch, &web.id, hour).await;
    assert_eq!(digests(&held().await), [first, second]);
    // The oldest makes room at once, and the other keeps to what it was promised.
    let third = rotated(&scratch, &web.id, hour).await;
    assert_eq!(digests(&held().await), [second, third]);
    scratch.clock.advance(hour);
    assert_eq!(digests(&held().await), [third]);
    let fourth = rotated(&scratch, &web.id, Duration::ZERO).await;
    assert_eq!(digests(&held().await), [fourth]);
    // An overlap that comes later does not make one live longer.
    let fifth = rotated(&scratch, &web.id, Duration::from_secs(10)).await;
    let ends: Vec<Option<Timestamp>> = held().await.secrets.iter().map(|held| held.ends_at).collect();
    assert!(ends[0].is_some() && ends[1].is_none(), "{ends:?}");
    assert_eq!(digests(&held().await), [fourth, fifth]);
    let nobody = "nobody".parse().unwrap();
    let unknown = scratch.store.rotate_client_secret(&nobody, &first, hour, &scratch.audit()).await;
    assert!(matches!(unknown, Err(ChangeClientError::NotFound)));
}

async fn bindings_come_and_go_with_their_client(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let web = scratch.store.create_client(&full(), &scratch.audit()).await.unwrap().0;
    let kim = scratch.user("kim@example.com", vec![bound("postern.front", "")]).await;
    let (principal, by) = (PrincipalId::Client(web.id.clone()), PrincipalId::User(kim));
    scratch.role("clerk", &[]).await;
    let cursor = scratch.cursor().await;
    for role in ["postern.front", "clerk"] {
        scratch.store.grant(&principal, &bound(role, ""), &by, &scratch.audit()).await.unwrap();
    }
    let learned = scratch.learned(cursor).await;
    let [Change::Clients(clients)] = learned.changes.as_slice() else { panic!("{learned:?}") };
    assert_eq!(clients[0].roles, [bound("clerk", ""), bound("postern.front", "")]);

    let all = scratch.store.list_bindings(&BindingFilter::default(), None, 9).await.unwrap();
    let principals: Vec<&PrincipalId> = all.iter().map(|binding| &binding.principal).collect();
    assert_eq!(principals, [&by, &principal, &principal]);
    for size in 1..3 {
        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let page = scratch.store.list_bindings(&BindingFilter::default(), after.as_ref(), size).await.unwrap();
            let Some(last) = page.last() else { break };
            let bound = last.bound.clone();
            let key = BindingKey { principal: last.principal.clone(), role: bound.role, scope: bound.scope };
            after = Some(key);
            paged.extend(page);
        }
        assert_eq!(paged, all, "{size}");
    }

    scratch.store.delete_role(&"clerk".parse().unwrap(), true, &scratch.audit()).await.unwrap();
    let [front] = &scratch.store.client(&web.id).await.unwrap().unwrap().roles[..] else { panic!("one is left") };
    let withdrawn = scratch.store.withdraw(&principal, &front.role, &front.scope, &scratch.audit()).await.unwrap();
    assert!(withdrawn.changed);
    scratch.store.grant(&principal, front, &by, &scratch.audit()).await.unwrap();

    let cursor = scratch.cursor().await;
    assert!(scratch.store.delete_client(&web.id, &scratch.audit()).await.unwrap().changed);
    assert!(!scratch.store.delete_client(&web.id, &scratch.audit()).await.unwrap().changed);
    assert_eq!(scratch.learned(cursor).await.changes, [Change::Clients(Vec::new())]);
    for rest in [
        "SELECT count(*) FROM client_sans",
        "SELECT count(*) FROM client_secrets",
        "SELECT count(*) FROM bindings WHERE client_id IS NOT NULL",
    ] {
        assert_eq!(scratch.number(rest).await, 0, "{rest}");
    }
    // Made again, it is another one, and has nothing of the first.
    let again = scratch.store.create_client(&named("web", &[]), &scratch.audit()).await.unwrap().0;
    assert!(again.roles.is_empty() && again.secrets.is_empty());
}

crate::store::testing::conformance![
    a_client_comes_back_as_it_was_made,
    a_name_is_one_clients,
    a_change_is_kept_by_its_etag,
    two_secrets_at_most,
    bindings_come_and_go_with_their_client,
];
