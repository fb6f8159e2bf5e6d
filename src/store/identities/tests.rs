use std::collections::BTreeSet;

use super::*;
use crate::domain::account::Identifier;
use crate::domain::audit::AuditKind;
use crate::domain::identity::EmailTrust;
use crate::store::testing::{Engine, Scratch};
use crate::store::{ProfileChange, UserKey};

fn profile(provider: &str, subject: &str, email: &str, trust: EmailTrust) -> Profile {
    let key = IdentityKey { provider: provider.parse().unwrap(), subject: subject.parse().unwrap() };
    let mut profile = Profile::new(key, format!("https://{provider}.example"));
    profile.email = (!email.is_empty()).then(|| email.parse().unwrap());
    profile.email_trust = trust;
    profile.display_name = format!("Name of {subject}");
    profile
}

/// How the operator set it.
#[derive(Clone, Copy)]
struct Rules<'a> {
    roles: &'a [RoleId],
    sign_up: bool,
    link_by_email: bool,
}

const OPEN: Rules<'static> = Rules { roles: &[], sign_up: true, link_by_email: false };

async fn admit(scratch: &Scratch, profile: &Profile, rules: Rules<'_>) -> Result<Admitted, AdmitError> {
    let event = |kind| AuditEvent::new(kind, scratch.clock.now());
    let arrival = Arrival {
        profile,
        id: UserId::generate(),
        roles: rules.roles,
        sign_up: rules.sign_up,
        link_by_email: rules.link_by_email,
        created: &event(AuditKind::UserCreated),
        linked: &event(AuditKind::IdentityLinked),
    };
    scratch.store.admit(&arrival).await
}

async fn created(scratch: &Scratch, profile: &Profile) -> UserId {
    match admit(scratch, profile, OPEN).await.unwrap() {
        Admitted::Created(user) => user,
        other => panic!("{other:?}"),
    }
}

async fn holder(scratch: &Scratch, profile: &Profile) -> Option<UserId> {
    let found = scratch.store.credential_by_identity(&profile.key).await.unwrap();
    assert_eq!(found.issuer.is_some(), found.answer.found.is_some());
    found.answer.found.map(|credential| credential.user)
}

async fn email_of(scratch: &Scratch, user: UserId) -> (Option<String>, bool) {
    let user = scratch.store.user(&UserKey::Id(user)).await.unwrap().unwrap();
    (user.email.map(|email| email.canonical().to_owned()), user.email_verified)
}

async fn somebody_new_gets_an_account_once(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = profile("kakao", "123", "kim@example.com", EmailTrust::Authoritative);
    let roles = ["postern.backend".parse().unwrap()];
    let admitted = admit(&scratch, &kim, Rules { roles: &roles, ..OPEN }).await.unwrap();
    let Admitted::Created(user) = admitted else { panic!("{admitted:?}") };
    assert_eq!(holder(&scratch, &kim).await, Some(user));
    assert_eq!(scratch.owner(user).await.bindings.len(), 1);
    assert_eq!(email_of(&scratch, user).await, (Some("kim@example.com".to_owned()), true));
    assert_eq!(admit(&scratch, &kim, OPEN).await.unwrap(), Admitted::Known(user));
    // The same number elsewhere is somebody else.
    let other = profile("naver", "123", "", EmailTrust::None);
    assert_ne!(created(&scratch, &other).await, user);
}

/// Row 117: concurrent first sign-ins make one user.
async fn of_many_first_sign_ins_one_makes_the_user(engine: Engine) {
    let scratch = std::sync::Arc::new(Scratch::new(engine).await);
    let kim = profile("kakao", "123", "kim@example.com", EmailTrust::Verified);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (scratch, kim) = (std::sync::Arc::clone(&scratch), kim.clone());
        tasks.spawn(async move { admit(&scratch, &kim, OPEN).await.unwrap() });
    }
    let admitted = tasks.join_all().await;
    let made: Vec<_> = admitted.iter().filter(|one| matches!(one, Admitted::Created(_))).collect();
    assert_eq!(made.len(), 1, "{admitted:?}");
    let user = holder(&scratch, &kim).await.unwrap();
    let all = [Admitted::Created(user), Admitted::Known(user)];
    assert!(admitted.iter().all(|one| all.contains(one)), "{admitted:?}");
}

async fn what_cannot_be_whole_leaves_nothing(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = profile("kakao", "123", "kim@example.com", EmailTrust::Verified);
    let roles = ["nobody-made-it".parse().unwrap()];
    let refused = admit(&scratch, &kim, Rules { roles: &roles, ..OPEN }).await;
    assert!(matches!(refused, Err(AdmitError::UnknownRole(_))), "{refused:?}");
    assert_eq!(holder(&scratch, &kim).await, None);
    let typed = Identifier::from_typed("kim@example.com").unwrap();
    assert!(scratch.store.credential(&typed, b"kim").await.unwrap().found.is_none());
    assert_eq!(admit(&scratch, &kim, Rules { sign_up: false, ..OPEN }).await.unwrap(), Admitted::Stranger);
}

/// An address that nobody has proven must not keep its owner from getting it.
async fn an_unproven_address_is_not_occupied(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let squatter = created(&scratch, &profile("naver", "1", "kim@example.com", EmailTrust::None)).await;
    assert_eq!(email_of(&scratch, squatter).await, (None, false));
    assert_eq!(scratch.store.identities(squatter).await.unwrap()[0].email, "kim@example.com");
    let owner = created(&scratch, &profile("google", "2", "kim@example.com", EmailTrust::Authoritative)).await;
    assert_eq!(email_of(&scratch, owner).await, (Some("kim@example.com".to_owned()), true));
}

/// What a provider proved once may be another's by now: it is kept, and links nobody's identity.
async fn an_address_of_once_is_not_proven_here(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let first = created(&scratch, &profile("google", "1", "kim@example.com", EmailTrust::Verified)).await;
    assert_eq!(email_of(&scratch, first).await, (Some("kim@example.com".to_owned()), false));
    let owner = profile("kakao", "2", "kim@example.com", EmailTrust::Authoritative);
    let linking = Rules { link_by_email: true, ..OPEN };
    assert_eq!(admit(&scratch, &owner, linking).await.unwrap(), Admitted::AddressTaken(first));
}

/// Rows 118 and 119: an address links nothing unless the operator, the provider and the account all say so.
async fn an_address_links_only_where_all_agree(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let local = scratch.user("kim@example.com", Vec::new()).await;
    let linking = Rules { link_by_email: true, ..OPEN };
    for (subject, rules) in [("1", OPEN), ("2", linking)] {
        let kim = profile("google", subject, "Kim@Example.com", EmailTrust::Authoritative);
        // Whoever registered the address first has not proven it.
        assert_eq!(admit(&scratch, &kim, rules).await.unwrap(), Admitted::AddressTaken(local));
        assert_eq!(holder(&scratch, &kim).await, None);
    }
    let proven = ProfileChange { email_verified: Some(true), ..ProfileChange::default() };
    scratch.store.update_user(local, None, proven, &scratch.audit()).await.unwrap();
    let kim = profile("google", "3", "Kim@Example.com", EmailTrust::Authoritative);
    assert_eq!(admit(&scratch, &kim, OPEN).await.unwrap(), Admitted::AddressTaken(local));
    assert_eq!(admit(&scratch, &kim, linking).await.unwrap(), Admitted::Linked(local));
    assert_eq!(holder(&scratch, &kim).await, Some(local));
    scratch.store.disable_user(local, &scratch.audit()).await.unwrap();
    let late = profile("kakao", "4", "kim@example.com", EmailTrust::Authoritative);
    assert_eq!(admit(&scratch, &late, linking).await.unwrap(), Admitted::AddressTaken(local));
}

async fn what_a_provider_says_is_noted_and_moves_nobody(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut kim = profile("google", "1", "kim@example.com", EmailTrust::Verified);
    let user = created(&scratch, &kim).await;
    kim.email = Some("kim@other.example".parse().unwrap());
    kim.display_name = "Kim the Second".to_owned();
    scratch.store.note_sign_in(user, &kim, Timestamp::from_secs(7)).await.unwrap();
    let identity = scratch.store.identities(user).await.unwrap().remove(0);
    assert_eq!((identity.email.as_str(), identity.display_name.as_str()), ("kim@other.example", "Kim the Second"));
    assert_eq!(identity.sign_in_time, Some(Timestamp::from_secs(7)));
    let found = scratch.store.user(&UserKey::Id(user)).await.unwrap().unwrap();
    assert_eq!(found.display_name, "Kim the Second");
    assert_eq!(email_of(&scratch, user).await.0.as_deref(), Some("kim@example.com"));

    // A name that an administrator gave stays.
    let named = ProfileChange { display_name: Some("Kim (sales)".to_owned()), ..ProfileChange::default() };
    scratch.store.update_user(user, None, named, &scratch.audit()).await.unwrap();
    kim.display_name = "Kim the Third".to_owned();
    scratch.store.note_sign_in(user, &kim, Timestamp::from_secs(8)).await.unwrap();
    let found = scratch.store.user(&UserKey::Id(user)).await.unwrap().unwrap();
    assert_eq!(found.display_name, "Kim (sales)");
}

async fn an_identity_is_one_users(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let (kim, lee) = (scratch.user("kim@x.com", Vec::new()).await, scratch.user("lee@x.com", Vec::new()).await);
    let identity = profile("google", "1", "", EmailTrust::None);
    let linked = scratch.store.link_identity(kim, &identity, &scratch.audit()).await.unwrap();
    assert_eq!((&linked.key, linked.sign_in_time), (&identity.key, None));
    assert_eq!(scratch.store.link_identity(kim, &identity, &scratch.audit()).await.unwrap(), linked);
    let taken = scratch.store.link_identity(lee, &identity, &scratch.audit()).await;
    assert!(matches!(taken, Err(LinkError::Taken)), "{taken:?}");
    let nobody = scratch.store.link_identity(UserId::generate(), &identity, &scratch.audit()).await;
    assert!(matches!(nobody, Err(LinkError::NoUser)), "{nobody:?}");
    for subject in 2..=IDENTITIES_MAX {
        let more = profile("google", &subject.to_string(), "", EmailTrust::None);
        scratch.store.link_identity(kim, &more, &scratch.audit()).await.unwrap();
    }
    let last = profile("google", "last", "", EmailTrust::None);
    let refused = scratch.store.link_identity(kim, &last, &scratch.audit()).await;
    assert!(matches!(refused, Err(LinkError::TooMany)), "{refused:?}");
    assert_eq!(scratch.store.identities(kim).await.unwrap().len(), IDENTITIES_MAX);
}

/// Row 120.
async fn the_last_way_in_stays(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let usable: BTreeSet<(ProviderId, String)> =
        ["google", "kakao"].map(|id| (id.parse().unwrap(), format!("https://{id}.example"))).into();
    let [google, kakao, gone] = ["google", "kakao", "gone"].map(|id| profile(id, "1", "", EmailTrust::None));
    let user = created(&scratch, &google).await;
    let unlink =
        async |which: &Profile| scratch.store.unlink_identity(user, &which.key, &usable, &scratch.audit()).await;
    assert!(matches!(unlink(&google).await, Err(UnlinkError::LastWayIn)));
    // A provider that is configured no more leads nowhere.
    scratch.store.link_identity(user, &gone, &scratch.audit()).await.unwrap();
    assert!(matches!(unlink(&google).await, Err(UnlinkError::LastWayIn)));
    // Nor does one that was linked under the same name to another issuer.
    let mut renamed = profile("kakao", "0", "", EmailTrust::None);
    renamed.issuer = "https://before.example".to_owned();
    scratch.store.link_identity(user, &renamed, &scratch.audit()).await.unwrap();
    assert!(matches!(unlink(&google).await, Err(UnlinkError::LastWayIn)));
    scratch.store.link_identity(user, &kakao, &scratch.audit()).await.unwrap();
    unlink(&google).await.unwrap();
    assert!(matches!(unlink(&google).await, Err(UnlinkError::NotFound)));
    assert!(matches!(unlink(&kakao).await, Err(UnlinkError::LastWayIn)));
    scratch.store.set_password(user, "hash", false, &scratch.audit()).await.unwrap();
    unlink(&kakao).await.unwrap();
    // Those of others are nobody's business.
    let other = created(&scratch, &profile("google", "2", "", EmailTrust::None)).await;
    let foreign = profile("google", "2", "", EmailTrust::None);
    assert!(matches!(unlink(&foreign).await, Err(UnlinkError::NotFound)));
    assert_eq!(holder(&scratch, &foreign).await, Some(other));
}

async fn identities_go_with_their_user(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = profile("google", "1", "", EmailTrust::None);
    let user = created(&scratch, &kim).await;
    scratch.store.delete_user(user, &scratch.audit()).await.unwrap();
    assert_eq!(holder(&scratch, &kim).await, None);
    assert_ne!(created(&scratch, &kim).await, user);
}

crate::store::testing::conformance![
    somebody_new_gets_an_account_once,
    of_many_first_sign_ins_one_makes_the_user,
    what_cannot_be_whole_leaves_nothing,
    an_unproven_address_is_not_occupied,
    an_address_of_once_is_not_proven_here,
    an_address_links_only_where_all_agree,
    what_a_provider_says_is_noted_and_moves_nobody,
    an_identity_is_one_users,
    the_last_way_in_stays,
    identities_go_with_their_user,
];
