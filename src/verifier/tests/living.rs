//! What is judged on every call, whether the signature is remembered or not.

use super::*;

const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_proof_is_remembered_and_only_a_proof() {
    let fixture = Fixture::new();
    let token = fixture.token();
    assert!(fixture.accepts(&token));
    assert!(fixture.accepts(&token));
    fixture.why(&Forge::new("k1", 2).token(&fixture.claims()));
    fixture.why(&fixture.forge.token(&fixture.claims().with("iss", "\"x\"")));
    fixture.why("a.b.c");
    assert_eq!(fixture.verifier.tokens.counts().entries, 1);
}

#[test]
fn the_memory_for_proofs_is_bounded() {
    let fixture = Fixture::with(|settings| settings.cache_bytes = 64 * 1024);
    for n in 0..200 {
        assert!(fixture.accepts(&fixture.forge.token(&fixture.claims().with("jti", format!("\"{n}\"")))));
    }
    assert!(fixture.verifier.tokens.counts().bytes <= 64 * 1024);
    assert!(fixture.verifier.tokens.counts().entries > 10);

    let none = Fixture::with(|settings| settings.cache_bytes = 0);
    assert!(none.accepts(&none.token()));
    assert_eq!(none.verifier.tokens.counts().entries, 0);
}

/// Whoever may sign in can have as many tokens as they like, and ask about each of them once. Between two questions about one
/// that comes again there are more of those here than there is room for.
#[test]
fn a_flood_of_tokens_that_never_come_again_evicts_none_that_do() {
    let fixture = Fixture::with(|settings| settings.cache_bytes = 256 * 1024);
    let named = |name: String| fixture.forge.token(&fixture.claims().with("jti", format!("\"{name}\"")));
    let hot: Vec<String> = (0..50).map(|number| named(format!("hot-{number}"))).collect();
    let ask_all = || hot.iter().for_each(|token| assert!(fixture.accepts(token)));
    ask_all();
    ask_all();
    for number in 0..5_000 {
        assert!(fixture.accepts(&named(format!("once-{number}"))));
        if number % 10 == 0 {
            assert!(fixture.accepts(&hot[number / 10 % hot.len()]));
        }
    }
    assert!(fixture.verifier.cache_counts().entries < 10 * hot.len());
    let before = fixture.verifier.cache_counts().hits;
    ask_all();
    let known = fixture.verifier.cache_counts().hits - before;
    assert!(known >= 45, "{known} of {} are still known", hot.len());
}

#[test]
fn tokens_end_to_the_second() {
    let mut fixture = Fixture::new();
    let token = fixture.token();
    fixture.pass_fresh(Duration::from_secs(1_799));
    assert!(fixture.accepts(&token));
    fixture.pass_fresh(SOON);
    assert_eq!(fixture.fault(&token), TokenFault::Expired);
    let unseen = fixture.forge.token(&claims(NOW).with("jti", "\"unseen\""));
    assert_eq!(fixture.fault(&unseen), TokenFault::Expired);
}

#[test]
fn tokens_of_the_future_are_refused() {
    let fixture = Fixture::new();
    let ahead = |secs: u64| claims(NOW + Duration::from_secs(secs));
    assert!(fixture.accepts(&fixture.forge.token(&ahead(60))));
    assert_eq!(fixture.why(&fixture.forge.token(&ahead(61))), InvalidWhy::Future);
    let not_yet = |secs: i64| fixture.forge.token(&fixture.claims().with("nbf", NOW.secs() + secs));
    assert!(fixture.accepts(&not_yet(60)));
    assert_eq!(fixture.why(&not_yet(61)), InvalidWhy::Future);
    assert!(fixture.accepts(&not_yet(-100)));
}

#[test]
fn lifetimes_are_sane() {
    let fixture = Fixture::new();
    let with = |name, value: i64| fixture.forge.token(&fixture.claims().with(name, value));
    let now = NOW.secs();
    assert!(fixture.accepts(&with("exp", now + 3_600)));
    assert_eq!(fixture.why(&with("exp", now + 3_601)), InvalidWhy::Lifetime);
    assert_eq!(fixture.why(&with("exp", now + 315_360_000)), InvalidWhy::Lifetime);
    assert_eq!(fixture.why(&with("exp", now)), InvalidWhy::Lifetime);
    assert_eq!(fixture.why(&with("exp", 0)), InvalidWhy::Lifetime);
    assert_eq!(fixture.why(&with("iat", 0)), InvalidWhy::Lifetime);
    assert_eq!(fixture.why(&with("auth_time", now + 61)), InvalidWhy::Lifetime);
    assert!(fixture.accepts(&with("auth_time", 0)));
}

#[test]
fn the_audience_is_asked_every_time() {
    let fixture = Fixture::new();
    let audience = |token: &str, audience: &str| {
        fixture.judgement(&Question { audience, ..question(token, &[]) }).unwrap().outcome
    };
    let refused = Outcome::Unauthenticated(TokenFault::Invalid(InvalidWhy::Audience));
    let token = fixture.token();
    assert!(fixture.accepts(&token));
    for other in ["", "order", "orders2", "Orders", "orders ", "billing"] {
        assert_eq!(audience(&token, other), refused, "{other}");
    }
    let two = fixture.forge.token(&fixture.claims().with("aud", r#"["billing","orders"]"#));
    assert!(fixture.accepts(&two));
    assert_eq!(audience(&two, "billing,orders"), refused);
    assert!(fixture.accepts(&fixture.forge.token(&fixture.claims().with("aud", "\"orders\""))), "RFC 7519, 4.1.3");

    let foreign = fixture.forge.token(&fixture.claims().with("aud", "[\"billing\"]"));
    assert_eq!(fixture.why(&foreign), InvalidWhy::Audience);
    let bearer = fixture.verifier.identify(&foreign, fixture.now).unwrap().unwrap();
    assert!(bearer.identity.has_audience("billing"));
    assert!(!bearer.identity.has_audience("orders"));
}

#[test]
fn an_ended_session_takes_its_tokens_along() {
    let mut fixture = Fixture::new();
    let token = fixture.token();
    let other_session = SessionId::generate();
    let other = fixture.forge.token(&fixture.claims().with("sid", format!("\"{other_session}\"")));
    assert!(fixture.accepts(&token) && fixture.accepts(&other));
    fixture.learn(&[ended(session())]);
    assert_eq!(fixture.fault(&token), TokenFault::Revoked);
    let respelled =
        fixture.forge.forge(fixture.forge.header().to_string().replace(',', ", "), fixture.claims().to_string());
    assert_eq!(fixture.fault(&respelled), TokenFault::Revoked);
    assert_eq!(fixture.fault(&fixture.forge.token(&fixture.claims().with("jti", "\"x\""))), TokenFault::Revoked);
    assert!(fixture.accepts(&other));
    assert!(fixture.verifier.identify(&token, fixture.now).unwrap().is_err());

    fixture.pass_fresh(Duration::from_hours(1));
    assert_eq!(fixture.fault(&token), TokenFault::Revoked, "although it is expired too");
    assert_eq!(fixture.fault(&other), TokenFault::Expired);
}

#[test]
fn a_session_is_ended_for_its_user_only() {
    let fixture = Fixture::new();
    let stranger = UserId::generate();
    let token = fixture.forge.token(&fixture.claims().with("sub", format!("\"{stranger}\"")));
    fixture.learn(&[ended(session()), floor(1_000, None)]);
    assert!(fixture.accepts(&token));
    assert_eq!(fixture.fault(&fixture.token()), TokenFault::Revoked);
}

#[test]
fn a_floor_kills_what_is_below_it_save_one_session() {
    let fixture = Fixture::new();
    let current = SessionId::generate();
    let version = |version: i64| fixture.forge.token(&fixture.claims().with("ver", version));
    let of_current = fixture.forge.token(&fixture.claims().with("sid", format!("\"{current}\"")));
    fixture.learn(&[floor(101, Some(current))]);
    assert_eq!(fixture.fault(&version(100)), TokenFault::Revoked);
    assert!(fixture.accepts(&version(101)));
    assert!(fixture.accepts(&of_current));
    fixture.learn(&[ended(current)]);
    assert_eq!(fixture.fault(&of_current), TokenFault::Revoked, "exempted from the floor, not from its own end");
    fixture.learn(&[floor(i64::MAX, None)]);
    assert_eq!(fixture.fault(&version(i64::MAX - 1)), TokenFault::Revoked, "the user was deleted");
}

#[test]
fn the_fence_kills_everybody() {
    let fixture = Fixture::new();
    let token = fixture.token();
    assert!(fixture.accepts(&token));
    let fence = |version| Change::Fence(crate::domain::standing::Fence { version, at: NOW });
    fixture.learn(&[fence(100)]);
    assert!(fixture.accepts(&token));
    fixture.learn(&[fence(101), floor(101, Some(session()))]);
    assert_eq!(fixture.fault(&token), TokenFault::Revoked, "no session is exempted");
    fixture.learn(&[fence(50)]);
    assert_eq!(fixture.fault(&token), TokenFault::Revoked, "an old one came late");
    assert!(fixture.accepts(&fixture.forge.token(&fixture.claims().with("ver", 101))));
}

#[test]
fn roles_are_the_tokens_until_they_change() {
    let fixture = Fixture::new();
    let token = fixture.token();
    let allowed = |token: &str, permission, tenant| {
        matches!(fixture.judge(token, &[check(permission, tenant)]), Outcome::Allow { .. })
    };
    assert!(allowed(&token, "orders:read", ""));
    assert!(allowed(&token, "orders:write", "acme"));
    assert!(!allowed(&token, "orders:write", ""));
    assert!(!allowed(&token, "orders:write", "globex"));

    fixture.learn(&[roles(101, vec![bound("editor", "globex", None)])]);
    assert!(!allowed(&token, "orders:read", ""));
    assert!(!allowed(&token, "orders:write", "acme"));
    assert!(allowed(&token, "orders:write", "globex"));
    let newer = fixture.forge.token(&fixture.claims().with("ver", 101));
    assert!(allowed(&newer, "orders:write", "acme"), "it was issued with the roles that it names");

    fixture.learn(&[roles(102, vec![])]);
    assert!(!allowed(&token, "orders:write", "globex"));
    assert!(fixture.accepts(&token), "without roles, and still somebody");
}

#[test]
fn a_late_change_changes_nothing() {
    let fixture = Fixture::new();
    let token = fixture.token();
    fixture.learn(&[roles(105, vec![])]);
    fixture.learn(&[roles(103, vec![bound("editor", "", None)])]);
    assert!(matches!(fixture.judge(&token, &[check("orders:read", "")]), Outcome::Deny { .. }));
    fixture.learn(&[policy(0)]);
    assert_eq!(fixture.verifier.policy().unwrap().version(), 1);
}

#[test]
fn new_roles_stay_within_the_tenant_and_their_time() {
    let mut fixture = Fixture::new();
    let token = fixture.forge.token(&fixture.claims().with("tenant", "\"acme\""));
    let end = NOW + Duration::from_mins(5);
    fixture.learn(&[roles(
        101,
        vec![bound("editor", "globex", None), bound("viewer", "", None), bound("editor", "acme", Some(end))],
    )]);
    let bearer = fixture.verifier.identify(&token, fixture.now).unwrap().unwrap();
    let permission = |text: &str| text.parse().unwrap();
    let tenant = |text: &str| text.parse().ok();
    assert!(bearer.allowed(&permission("orders:read"), tenant("globex").as_ref()), "it is held everywhere");
    assert!(!bearer.allowed(&permission("orders:write"), tenant("globex").as_ref()));
    assert!(bearer.allowed(&permission("orders:write"), tenant("acme").as_ref()));
    assert!(bearer.allowed(&permission("orders:read"), None));
    assert_eq!(bearer.held_patterns(tenant("acme").as_ref()).len(), 2);
    fixture.pass_fresh(Duration::from_mins(5));
    let outcome = fixture.judge(&token, &[check("orders:write", "acme")]);
    assert_eq!(outcome, Outcome::Deny { missing: check("orders:write", "acme") });
}

#[test]
fn the_first_missing_check_is_named_and_each_grant_too() {
    let fixture = Fixture::new();
    let token = fixture.token();
    let require = [check("orders:read", ""), check("orders:write", "acme")];
    let ask = [check("orders:read", "acme"), check("orders:drop", "acme"), check("orders:write", "acme")];
    let judgement = fixture.judgement(&Question { ask: &ask, ..question(&token, &require) }).unwrap();
    let Outcome::Allow { grants } = judgement.outcome else { panic!("{:?}", judgement.outcome) };
    assert_eq!(grants.iter().map(|grant| grant.role.as_str()).collect::<Vec<_>>(), ["viewer", "editor"]);
    assert_eq!(judgement.verdicts.iter().map(|verdict| verdict.allowed).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(judgement.verdicts[2].grant, Some(grants[1].clone()));
    assert_eq!(judgement.identity.unwrap().user(), user());

    let require = [check("orders:read", ""), check("orders:write", ""), check("orders:drop", "")];
    let judgement = fixture.judgement(&Question { ask: &ask, ..question(&token, &require) }).unwrap();
    assert_eq!(judgement.outcome, Outcome::Deny { missing: check("orders:write", "") });
    assert_eq!(judgement.verdicts.len(), 3);

    let judgement = fixture.judgement(&Question { ask: &ask, ..question("x", &require) }).unwrap();
    assert!(judgement.identity.is_none() && judgement.verdicts.is_empty());
}

#[test]
fn a_new_policy_counts_for_old_tokens() {
    let fixture = Fixture::new();
    let token = fixture.token();
    let require = [check("orders:read", "")];
    assert!(matches!(fixture.judge(&token, &require), Outcome::Allow { .. }));
    fixture.learn(&[Change::Policy { version: 2, roles: vec![role("viewer", &["bills:read"], &[])] }]);
    assert!(matches!(fixture.judge(&token, &require), Outcome::Deny { .. }));
    assert!(matches!(fixture.judge(&token, &[check("bills:read", "")]), Outcome::Allow { .. }));
    assert!(matches!(fixture.judge(&token, &[check("orders:write", "acme")]), Outcome::Deny { .. }), "role is unknown");
}

#[test]
fn step_up_comes_after_permission() {
    let mut fixture = Fixture::new();
    let token = fixture.token();
    let strong = Assurance { max_age: None, level: Level::MultiFactor };
    let recent = Assurance { max_age: Some(Duration::from_mins(1)), level: Level::SingleFactor };
    let asked = |fixture: &Fixture, token: &str, assurance: Assurance, require: &[Check]| {
        fixture.judgement(&Question { assurance, ..question(token, require) }).unwrap().outcome
    };
    let held = [check("orders:read", "")];
    assert_eq!(asked(&fixture, &token, strong, &held), Outcome::StepUp { needed: strong });
    assert!(matches!(asked(&fixture, &token, strong, &[check("orders:drop", "")]), Outcome::Deny { .. }));
    assert!(matches!(asked(&fixture, &token, recent, &held), Outcome::Allow { .. }));
    let two = fixture.forge.token(&fixture.claims().with("amr", r#"["pwd","otp"]"#));
    assert!(matches!(asked(&fixture, &two, strong, &held), Outcome::Allow { .. }));
    fixture.pass_fresh(Duration::from_secs(61));
    assert_eq!(asked(&fixture, &token, recent, &held), Outcome::StepUp { needed: recent });
}

#[test]
fn claims_survive_their_own_writing() {
    let fixture = Fixture::new();
    let text = fixture.claims().with("tenant", "\"acme\"").with("external_id", "\"7\"").to_string();
    let read: Claims = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let bare: Claims = serde_json::from_str(&fixture.claims().to_string()).unwrap();
    assert_eq!(serde_json::to_string(&bare).unwrap(), fixture.claims().to_string());
    let identity =
        fixture.verifier.identify(&fixture.forge.token(&fixture.claims().with("external_id", "\"7\"")), fixture.now);
    assert_eq!(identity.unwrap().unwrap().identity.external_id(), Some("7"));
}
