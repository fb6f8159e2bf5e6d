//! Keys, freshness, revisions, and what outlives a reload.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::domain::standing::Fence;

fn loaded_again(fixture: &Fixture, changes: &[Change]) -> Result<(), FeedFault> {
    fixture.verifier.load(cursor(1), fixture.now.wall, changes, vec![fixture.forge.key()], fixture.now)
}

#[test]
fn a_replaced_key_takes_its_tokens_along() {
    let fixture = Fixture::new();
    let token = fixture.token();
    let apply = |keys| fixture.verifier.apply(cursor(2), NOW, &[], Some(keys), fixture.now).unwrap();
    assert!(fixture.accepts(&token));
    let second = Forge::new("k2", 2);
    apply(vec![fixture.forge.key(), second.key()]);
    assert!(fixture.accepts(&token));
    assert!(fixture.accepts(&second.token(&fixture.claims())));
    let namesake = Forge::new("k1", 3);
    apply(vec![namesake.key(), second.key()]);
    assert_eq!(fixture.why(&token), InvalidWhy::Signature, "another key under its name");
    assert!(fixture.accepts(&namesake.token(&fixture.claims())));
    apply(vec![second.key()]);
    assert_eq!(fixture.why(&token), InvalidWhy::UnknownKey);
    assert_eq!(fixture.why(&namesake.token(&fixture.claims())), InvalidWhy::UnknownKey);
    apply(vec![fixture.forge.key()]);
    assert!(fixture.accepts(&token));
}

#[test]
fn a_key_retires_at_its_time() {
    let mut fixture = Fixture::new();
    let end = NOW + Duration::from_mins(5);
    let key =
        VerificationKey::new("k1", crate::domain::key::Algorithm::EdDsa, fixture.forge.public(), Some(end)).unwrap();
    fixture.verifier.apply(cursor(2), NOW, &[], Some(vec![key]), fixture.now).unwrap();
    let token = fixture.token();
    assert!(fixture.accepts(&token));
    fixture.pass_fresh(Duration::from_mins(5));
    assert_eq!(fixture.why(&token), InvalidWhy::RetiredKey);
}

#[test]
fn nothing_is_said_before_the_first_load() {
    let loaded = Fixture::new();
    let verifier = Verifier::new(loaded.verifier.settings.clone());
    let token = loaded.token();
    assert!(!verifier.loaded());
    assert_eq!(verifier.age(loaded.now), Duration::MAX);
    assert!(!verifier.reached(&Revision::default()));
    verifier.apply(cursor(9), NOW, &[ended(session())], Some(vec![loaded.forge.key()]), loaded.now).unwrap();
    verifier.fresh(cursor(9), NOW, loaded.now);
    assert_eq!(verifier.judge(&question(&token, &[]), loaded.now).err(), Some(NotFresh::NotLoaded));
    assert_eq!(verifier.identify(&token, loaded.now).err(), Some(NotFresh::NotLoaded));
    assert_eq!(verifier.policy().err(), Some(NotFresh::NotLoaded));

    verifier.load(cursor(3), NOW, &[policy(1)], vec![loaded.forge.key()], loaded.now).unwrap();
    let judgement = verifier.judge(&question(&token, &[]), loaded.now).unwrap();
    assert_eq!(judgement.outcome, Outcome::Unauthenticated(TokenFault::Revoked), "what came before was not lost");
    assert_eq!(verifier.head(), Revision { id: 3, at: NOW });
}

#[test]
fn a_silent_feed_is_no_denial() {
    let mut fixture = Fixture::new();
    let token = fixture.token();
    let freshness = |fixture: &Fixture| fixture.judgement(&question(&token, &[])).map(|judgement| judgement.freshness);
    assert_eq!(freshness(&fixture).unwrap(), Freshness { revision: fixture.verifier.head(), age: None, stale: false });
    fixture.pass(Duration::from_secs(1));
    assert_eq!(freshness(&fixture).unwrap().age, None);
    fixture.pass(Duration::from_secs(59));
    assert_eq!(freshness(&fixture).unwrap().age, Some(Duration::from_mins(1)));
    assert!(!freshness(&fixture).unwrap().stale);
    fixture.pass(Duration::from_millis(1));
    let age = Duration::from_millis(60_001);
    assert_eq!(freshness(&fixture), Err(NotFresh::Stale { age }));
    assert_eq!(fixture.verifier.identify(&token, fixture.now).err(), Some(NotFresh::Stale { age }));
    fixture.pass_fresh(Duration::ZERO);
    assert_eq!(freshness(&fixture).unwrap().age, None);
}

/// A key that was made because another leaked signs after two seconds; who has not heard of it must not deny.
#[test]
fn an_unknown_key_is_denied_only_by_who_has_heard_of_all() {
    let mut fixture = Fixture::new();
    let unheard = Forge::new("k2", 2).token(&fixture.claims());
    fixture.pass(Duration::from_millis(1_500));
    assert_eq!(fixture.why(&unheard), InvalidWhy::UnknownKey);
    fixture.pass(Duration::from_millis(1));
    let age = Duration::from_millis(1_501);
    assert_eq!(fixture.judgement(&question(&unheard, &[])).err(), Some(NotFresh::Stale { age }));
    assert!(fixture.accepts(&fixture.token()), "what is known goes on");
}

#[test]
fn either_clock_makes_knowledge_old() {
    let fixture = Fixture::new();
    let minutes = Duration::from_mins(2);
    let set_back = Moment { wall: NOW - minutes, uptime: fixture.now.uptime + minutes };
    let suspended = Moment { wall: NOW + minutes, uptime: fixture.now.uptime };
    for now in [set_back, suspended] {
        assert_eq!(fixture.verifier.age(now), minutes);
        assert!(fixture.verifier.judge(&question(&fixture.token(), &[]), now).is_err());
    }
}

#[test]
fn going_on_while_stale_is_marked_and_admits_ignorance_of_keys() {
    let mut fixture = Fixture::with(|settings| settings.serve_stale = true);
    let token = fixture.token();
    let unheard = Forge::new("k2", 2).token(&fixture.claims());
    assert_eq!(fixture.why(&unheard), InvalidWhy::UnknownKey);
    let age = Duration::from_mins(2);
    fixture.pass(age);
    let judgement = fixture.judgement(&question(&token, &[])).unwrap();
    assert!(matches!(judgement.outcome, Outcome::Allow { .. }));
    assert_eq!((judgement.freshness.stale, judgement.freshness.age), (true, Some(age)));
    // Who acts by what they hold gets no answer that could bear the mark.
    assert_eq!(fixture.verifier.identify(&token, fixture.now).err(), Some(NotFresh::Stale { age }));
    assert_eq!(fixture.judgement(&question(&unheard, &[])).err(), Some(NotFresh::Stale { age }));
    assert_eq!(fixture.why("a.b.c"), InvalidWhy::Malformed);
    let behind = Question { min_revision: Some(Revision { id: 2, at: NOW }), ..question(&token, &[]) };
    assert_eq!(fixture.judgement(&behind).err(), Some(NotFresh::Behind));
}

#[test]
fn a_revision_is_reached_by_number_or_by_time() {
    let mut fixture = Fixture::new();
    let token = fixture.token();
    let revision = |id| Revision { id, at: NOW };
    let judge = |fixture: &Fixture, id| {
        let question = Question { min_revision: Some(revision(id)), ..question(&token, &[]) };
        fixture.judgement(&question).map(|judgement| judgement.outcome)
    };
    assert!(fixture.verifier.reached(&revision(1)));
    assert!(judge(&fixture, 1).is_ok());
    assert_eq!(judge(&fixture, 2), Err(NotFresh::Behind));
    fixture.learn(&[]);
    assert!(judge(&fixture, 2).is_ok());

    // The log was rewound: no row of that number will come, but the feed was fresh long after it.
    fixture.pass_fresh(Duration::from_millis(4_999));
    assert_eq!(judge(&fixture, 900), Err(NotFresh::Behind));
    fixture.pass(Duration::from_secs(10));
    assert_eq!(judge(&fixture, 900), Err(NotFresh::Behind), "time alone is not freshness");
    fixture.pass_fresh(Duration::ZERO);
    assert!(judge(&fixture, 900).is_ok());
    assert!(!fixture.verifier.reached(&Revision { id: i64::MAX, at: Timestamp::MAX }));
}

/// Row 50: whoever has ten thousand sessions, one change ends them all.
#[test]
fn one_change_ends_ten_thousand_sessions() {
    let fixture = Fixture::new();
    let token = |_| fixture.forge.token(&fixture.claims().with("sid", format!("\"{}\"", SessionId::generate())));
    let tokens: Vec<String> = (0..10_000).map(token).collect();
    assert!(tokens.iter().all(|token| fixture.accepts(token)));
    fixture.learn(&[floor(101, None)]);
    assert!(tokens.iter().all(|token| fixture.fault(token) == TokenFault::Revoked));
}

/// For Refresh, whose store may have been thrown back.
#[test]
fn what_ended_is_known_with_its_cause() {
    use crate::domain::standing::EndCause;
    let fixture = Fixture::new();
    let exempt = SessionId::generate();
    let end = |session, epoch| fixture.verifier.end_of(user(), session, epoch).map(|end| end.cause);
    assert_eq!(end(session(), 0), None);
    fixture.learn(&[ended(session())]);
    assert_eq!((end(session(), i64::MAX), end(exempt, 0)), (Some(EndCause::Logout), None));
    fixture.learn(&[floor(101, Some(exempt))]);
    let other = SessionId::generate();
    assert_eq!((end(other, 100), end(other, 101)), (Some(Floor::NONE.cause), None));
    assert_eq!(end(exempt, 100), None);
    fixture.learn(&[Change::Fence(Fence { version: 200, at: NOW })]);
    assert_eq!((end(exempt, 199), end(exempt, 200)), (Some(EndCause::EndedForAll), None));
    assert_eq!(
        fixture.verifier.end_of(UserId::generate(), other, 199).map(|end| end.cause),
        Some(EndCause::EndedForAll)
    );
}

#[test]
fn a_reload_forgets_nothing_before_its_time() {
    let mut fixture = Fixture::new();
    let exempt = SessionId::generate();
    let token = fixture.token();
    let exempted = fixture.forge.token(&fixture.claims().with("sid", format!("\"{exempt}\"")));
    fixture.learn(&[ended(exempt), floor(101, Some(exempt)), Change::Fence(Fence { version: 60, at: NOW })]);
    let below =
        fixture.forge.token(&fixture.claims().with("ver", 59).with("sub", format!("\"{}\"", UserId::generate())));
    let all_revoked = |fixture: &Fixture| {
        [&token, &exempted, &below].into_iter().all(|token| fixture.fault(token) == TokenFault::Revoked)
    };
    assert!(all_revoked(&fixture));
    // A database thrown back knows none of it, and of the user an older state.
    loaded_again(&fixture, &[policy(1), Change::Principal(state(90))]).unwrap();
    assert!(all_revoked(&fixture));
    // Each sweep is of one map only.
    let sweep_all = |fixture: &mut Fixture| (0..100).for_each(|_| fixture.pass_fresh(Duration::ZERO));
    fixture.pass(Duration::from_mins(69));
    loaded_again(&fixture, &[policy(1)]).unwrap();
    sweep_all(&mut fixture);
    let all_of_now = |fixture: &Fixture| {
        let claims = || fixture.claims();
        [claims(), claims().with("sid", format!("\"{exempt}\"")), claims().with("ver", 59)]
            .map(|claims| fixture.forge.token(&claims))
    };
    for token in all_of_now(&fixture) {
        assert_eq!(fixture.fault(&token), TokenFault::Revoked);
    }
    fixture.pass(Duration::from_mins(2));
    loaded_again(&fixture, &[policy(1)]).unwrap();
    sweep_all(&mut fixture);
    for token in all_of_now(&fixture) {
        assert!(fixture.accepts(&token), "forgotten in time");
    }
}

#[test]
fn a_reload_replaces_policy_and_keys() {
    let fixture = Fixture::new();
    let second = Forge::new("k2", 2);
    let roles = vec![role("viewer", &["bills:read"], &[])];
    let changes = [Change::Policy { version: 0, roles }, Change::Fence(Fence { version: 100, at: NOW })];
    fixture.verifier.load(cursor(7), NOW, &changes, vec![second.key()], fixture.now).unwrap();
    assert_eq!(fixture.why(&fixture.token()), InvalidWhy::UnknownKey);
    let token = second.token(&fixture.claims());
    assert!(matches!(fixture.judge(&token, &[check("bills:read", "")]), Outcome::Allow { .. }));
    fixture.verifier.load(cursor(8), NOW, &[], vec![second.key()], fixture.now).unwrap();
    assert!(matches!(fixture.judge(&token, &[check("bills:read", "")]), Outcome::Deny { .. }), "no roles but built-in");
    assert!(fixture.verifier.policy().unwrap().has_role(&"postern.admin".parse().unwrap()));
}

#[test]
fn a_fault_in_one_part_spoils_no_other() {
    let mut fixture = Fixture::new();
    let token = fixture.token();
    let looping = Change::Policy { version: 2, roles: vec![role("a", &[], &["b"]), role("b", &[], &["a"])] };
    fixture.pass(Duration::from_secs(1));
    let head = fixture.verifier.head();
    let changes = [looping.clone(), ended(session()), Change::Fence(Fence { version: 50, at: NOW })];
    let second = Forge::new("k2", 2);
    let applied = fixture.verifier.apply(cursor(2), NOW, &changes, Some(vec![fixture.forge.key()]), fixture.now);
    assert!(matches!(applied, Err(FeedFault::Roles(_))));
    assert_eq!(fixture.fault(&token), TokenFault::Revoked);
    let unfenced = fixture.claims().with("sid", format!("\"{}\"", SessionId::generate()));
    assert_eq!(fixture.fault(&fixture.forge.token(&unfenced.clone().with("ver", 49))), TokenFault::Revoked);
    assert!(matches!(
        fixture.judge(&fixture.forge.token(&unfenced), &[check("orders:read", "")]),
        Outcome::Allow { .. }
    ));
    assert_eq!((fixture.verifier.head(), fixture.verifier.age(fixture.now)), (head, Duration::from_secs(1)));

    assert!(fixture.verifier.load(cursor(2), NOW, &[looping], vec![second.key()], fixture.now).is_err());
    assert_eq!(fixture.why(&fixture.forge.token(&unfenced)), InvalidWhy::UnknownKey, "the end of a key counts at once");
    let ambiguous = vec![second.key(), Forge::new("k2", 3).key()];
    let applied = fixture.verifier.apply(cursor(2), NOW, &[], Some(ambiguous), fixture.now);
    assert_eq!(applied, Err(FeedFault::Keys(KeyFault::Ambiguous { kid: "k2".to_owned() })));
    assert_eq!(fixture.verifier.head(), head);
    let empty = Verifier::new(fixture.verifier.settings.clone());
    assert!(empty.load(cursor(1), NOW, &[], vec![second.key(), Forge::new("k2", 3).key()], fixture.now).is_err());
    assert!(!empty.loaded());
}

#[test]
fn floors_of_one_height_exempt_only_whom_both_exempt() {
    let fixture = Fixture::new();
    let other = SessionId::generate();
    fixture.learn(&[floor(101, Some(session())), floor(101, Some(other))]);
    assert_eq!(fixture.fault(&fixture.token()), TokenFault::Revoked);
    let fixture = Fixture::new();
    fixture.learn(&[floor(101, Some(session())), floor(101, Some(session()))]);
    assert!(fixture.accepts(&fixture.token()));
}

#[test]
fn questions_and_changes_run_at_once() {
    let fixture = Fixture::new();
    let token = fixture.token();
    let done = AtomicBool::new(false);
    let allowed = Outcome::Allow { grants: Vec::new() };
    let ask = || {
        while !done.load(Ordering::Relaxed) {
            let outcome = fixture.judge(&token, &[]);
            assert!(outcome == allowed || outcome == revoked(), "{outcome:?}");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(ask);
        scope.spawn(ask);
        for _ in 0..200 {
            fixture.learn(&[ended(SessionId::generate()), policy(1)]);
        }
        fixture.learn(&[ended(session())]);
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fixture.judge(&token, &[]), revoked());
}

fn revoked() -> Outcome {
    Outcome::Unauthenticated(TokenFault::Revoked)
}
