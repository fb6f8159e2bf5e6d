//! Row 123: whatever a provider puts into whichever member, there is a profile within its bounds or a refusal.

use std::cell::Cell;

use postern_rig::providers::{Changes, Reply};
use proptest::collection::vec as several;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use url::Url;

use super::*;

/// What any of them reads, outside and inside.
const MEMBERS: &[&str] = &[
    "id",
    "sub",
    "email",
    "email_verified",
    "name",
    "nickname",
    "given_name",
    "family_name",
    "preferred_username",
    "picture",
    "profile_image",
    "avatar_url",
    "login",
    "hd",
    "kakao_account",
    "profile",
    "is_email_valid",
    "is_email_verified",
    "is_default_image",
    "profile_image_url",
    "resultcode",
    "response",
    "emails",
    "primary",
    "verified",
    "code",
    "error",
    "auth_time",
];

const TEXTS: &[&str] = &[
    "",
    " ",
    "00",
    "0",
    "-1",
    "9223372036854775808",
    "true",
    "minji@naver.com",
    "MINJI@GMAIL.COM",
    "a@b@c",
    "@",
    "가@나.다",
    "x@users.noreply.github.com",
    "https://k.example/a.png",
    "http://k.example/\r\n",
    "https://a:b@k.example",
    "javascript:x",
    "\u{202e}\u{0}\u{feff}",
    "***",
];

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => proptest::sample::select(TEXTS).prop_map(str::to_owned),
        2 => any::<String>(),
        1 => (any::<char>(), 0..3_000_usize).prop_map(|(letter, count)| letter.to_string().repeat(count)),
    ]
}

fn odd_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        4 => odd_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 8, |inner| {
        prop_oneof![
            1 => several(inner.clone(), 0..4).prop_map(Value::from),
            3 => several((proptest::sample::select(MEMBERS), inner), 0..8).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
            }),
        ]
    })
}

/// Members that are something else than usual, or gone.
fn odd_members() -> impl Strategy<Value = Changes> {
    several((proptest::sample::select(MEMBERS).prop_map(str::to_owned), weighted(0.9, odd_value())), 1..8)
}

/// The same where Kakao and Naver have theirs, with a person that can be known.
fn inside(changes: &Changes) -> Changes {
    let members = changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let mut account: Map<String, Value> = members.collect();
    let kakao = Value::from(account.clone());
    account.insert("id".to_owned(), "4242".into());
    vec![("kakao_account".to_owned(), Some(kakao)), ("response".to_owned(), Some(account.into()))]
}

fn is_within_bounds(profile: &Profile) {
    assert!(profile.display_name.chars().count() <= 128, "{profile:?}");
    assert!(!profile.display_name.chars().any(char::is_control), "{profile:?}");
    assert!(!profile.key.subject.as_str().is_empty() && profile.key.subject.as_str().len() <= 255, "{profile:?}");
    let url = &profile.avatar_url;
    assert!(url.is_empty() || Url::parse(url).is_ok_and(|url| url.scheme() == "https"), "{profile:?}");
}

/// `cases` times, one after the other: each is a journey of its own over the network.
fn each<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value)) {
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let checked = runner.run(strategy, |value| {
        check(value);
        Ok(())
    });
    checked.unwrap_or_else(|why| panic!("{why}"));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn odd_members_are_a_profile_or_a_refusal() {
    let runtime = runtime();
    for (kind, is_oidc) in FACES {
        let scene = Scene::new(kind, is_oidc);
        let good = Cell::new(0);
        each(32, &(odd_members(), odd_members()), |(mut profile, claims)| {
            // What the token says of itself is held against the flow elsewhere.
            let claims: Changes = claims.into_iter().filter(|(name, _)| name != "sub").collect();
            let inside = inside(&profile);
            for nested in [false, true] {
                if nested {
                    profile.clone_from(&inside);
                }
                let script = Script { profile: profile.clone(), claims: claims.clone(), ..Script::default() };
                match runtime.block_on(scene.sign_in(script)) {
                    Ok(profile) => {
                        is_within_bounds(&profile);
                        good.set(good.get() + 1);
                    }
                    Err(ProviderFault::Rejected(_)) => {}
                    Err(fault) => panic!("{kind:?}: it answered, and it is said to be away: {fault}"),
                }
            }
        });
        assert!(good.get() > 4, "{kind:?}: {}", good.get());
    }
}

#[test]
fn odd_answers_are_refused() {
    let runtime = runtime();
    for (kind, is_oidc) in FACES {
        let scene = Scene::new(kind, is_oidc);
        each(16, &(odd_value(), proptest::sample::select(&[200_u16, 201, 400, 403][..])), |(body, status)| {
            for (token, userinfo) in [
                (Reply::Json(status, body.clone()), Reply::Usual),
                (Reply::Usual, Reply::Json(status, body.clone())),
                (Reply::Usual, Reply::Json(200, json!({ "resultcode": "00", "response": body, "id": body }))),
            ] {
                match runtime.block_on(scene.sign_in(Script { token, userinfo, ..Script::default() })) {
                    Ok(profile) => is_within_bounds(&profile),
                    Err(fault) => assert!(!format!("{fault} {fault:?}").contains("minji"), "{fault:?}"),
                }
            }
        });
    }
}
