use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Matches,
    Differs,
    NoPattern,
    NoPermission,
}

use Answer::{Differs, Matches, NoPattern, NoPermission};

const LONGEST: &str = concat!(
    "0123456789012345678901234567890123456789012345678901234567890123:",
    "012345678901234567890123456789012345678901234567890123456789012"
);
const TOO_LONG: &str = concat!(
    "0123456789012345678901234567890123456789012345678901234567890123:",
    "0123456789012345678901234567890123456789012345678901234567890123"
);

#[rustfmt::skip]
const TABLE: &[(&str, &str, Answer)] = &[
    // Letter by letter.
    ("orders", "orders", Matches),
    ("orders", "order", Differs),
    ("order", "orders", Differs),
    ("orders:refund", "orders:refund", Matches),
    ("orders:refund", "orders:read", Differs),
    ("orders:refund", "orders", Differs),
    ("orders", "orders:refund", Differs),
    ("orders:refund", "refund:orders", Differs),
    ("orders:refund", "ordersrefund", Differs),
    ("a-b_c:0", "a-b_c:0", Matches),
    ("a-b", "a_b", Differs),
    ("-", "-", Matches),
    ("__", "__", Matches),
    ("007", "7", Differs),
    // `*` is exactly one whole segment.
    ("*", "orders", Matches),
    ("*", "orders:read", Differs),
    ("*:*", "orders:read", Matches),
    ("*:*", "orders", Differs),
    ("orders:*", "orders:read", Matches),
    ("orders:*", "orders", Differs),
    ("orders:*", "orders:read:own", Differs),
    ("orders:*", "order:read", Differs),
    ("*:read", "orders:read", Matches),
    ("*:read", "orders:write", Differs),
    ("*:read", "read", Differs),
    ("orders:*:own", "orders:read:own", Matches),
    ("orders:*:own", "orders:own", Differs),
    ("orders:*:own", "orders:a:b:own", Differs),
    ("*:*:*:*:*:*:*:*", "a:b:c:d:e:f:g:h", Matches),
    ("*:*:*:*:*:*:*:*", "a:b:c:d:e:f:g", Differs),
    // A last `**` is one or more.
    ("**", "orders", Matches),
    ("**", "a:b:c:d:e:f:g:h", Matches),
    ("**", LONGEST, Matches),
    ("orders:**", "orders", Differs),
    ("orders:**", "orders:read", Matches),
    ("orders:**", "orders:read:own", Matches),
    ("orders:**", "orders2:read", Differs),
    ("orders:**", "orders-old:read", Differs),
    ("*:**", "orders", Differs),
    ("*:**", "orders:read", Matches),
    ("*:own:**", "orders:own:read", Matches),
    ("*:own:**", "orders:all:read", Differs),
    ("a:b:c:d:e:f:g:**", "a:b:c:d:e:f:g:h", Matches),
    ("a:b:c:d:e:f:g:**", "a:b:c:d:e:f:g", Differs),
    ("postern:**", "postern:grants:any", Matches),
    ("postern:**", "postern2:grants:any", Differs),
    // Bounds.
    (LONGEST, LONGEST, Matches),
    (TOO_LONG, "a", NoPattern),
    ("**", TOO_LONG, NoPermission),
    ("a:b:c:d:e:f:g:h", "a:b:c:d:e:f:g:h", Matches),
    ("a:b:c:d:e:f:g:h:i", "a", NoPattern),
    ("a:b:c:d:e:f:g:h:**", "a", NoPattern),
    ("**", "a:b:c:d:e:f:g:h:i", NoPermission),
    // Case, and what only looks alike.
    ("Orders:read", "a", NoPattern),
    ("**", "Orders:read", NoPermission),
    ("**", "ORDERS", NoPermission),
    ("**", "örders:read", NoPermission),
    ("**", "оrders:read", NoPermission), // a Cyrillic letter
    ("**", "orders\u{200b}:read", NoPermission),
    ("**", "ｏrders", NoPermission),
    ("**", "orders：read", NoPermission), // a full-width colon
    ("örders:*", "a", NoPattern),
    ("∗", "a", NoPattern), // an operator that looks like a wildcard
    // Nothing is normalized, trimmed, unescaped or taken for a path.
    ("**", "orders.read", NoPermission),
    ("orders.*", "a", NoPattern),
    ("**", "orders:.", NoPermission),
    ("**", "orders:..:users", NoPermission),
    ("orders:..", "a", NoPattern),
    ("**", "orders/read", NoPermission),
    ("**", "orders%3aread", NoPermission),
    ("**", "orders read", NoPermission),
    ("**", " orders", NoPermission),
    ("**", "orders ", NoPermission),
    ("**", "orders\n", NoPermission),
    ("**", "orders\0", NoPermission),
    ("**", "orders,users", NoPermission),
    ("orders:read ", "a", NoPattern),
    ("a|b", "a", NoPattern),
    ("[a-z]", "a", NoPattern),
    ("orders:rea?", "a", NoPattern),
    ("{orders,users}:*", "a", NoPattern),
    ("!orders", "a", NoPattern),
    // Empty segments.
    ("**", "", NoPermission),
    ("**", ":", NoPermission),
    ("**", ":orders", NoPermission),
    ("**", "orders:", NoPermission),
    ("**", "orders::read", NoPermission),
    ("", "a", NoPattern),
    (":", "a", NoPattern),
    (":*", "a", NoPattern),
    ("orders:", "a", NoPattern),
    ("orders:*:", "a", NoPattern),
    ("orders::*", "a", NoPattern),
    // A wildcard is a whole segment, `**` the last one, and a question has none.
    ("a:*b", "a", NoPattern),
    ("a:b*", "a", NoPattern),
    ("a:***", "a", NoPattern),
    ("a**", "a", NoPattern),
    ("**:a", "a", NoPattern),
    ("a:**:b", "a", NoPattern),
    ("**:**", "a", NoPattern),
    ("**:*", "a", NoPattern),
    ("a:* *", "a", NoPattern),
    ("**", "*", NoPermission),
    ("**", "**", NoPermission),
    ("**", "orders:*", NoPermission),
    ("**", "orders:**", NoPermission),
];

#[test]
fn the_table_holds() {
    for &(pattern, permission, expected) in TABLE {
        let answer = match (pattern.parse::<Pattern>(), permission.parse::<Permission>()) {
            (Err(InvalidPattern), _) => NoPattern,
            (_, Err(InvalidPermission)) => NoPermission,
            (Ok(pattern), Ok(permission)) if pattern.matches(&permission) => Matches,
            (Ok(_), Ok(_)) => Differs,
        };
        assert_eq!(answer, expected, "{pattern:?} and {permission:?}");
    }
    assert!(TABLE.len() >= 60);
}

#[test]
fn texts_come_back_as_they_were() {
    assert_eq!(permission(LONGEST).as_str(), LONGEST);
    assert_eq!(pattern("a:*:**").to_string(), "a:*:**");
    let segments = [Segment::Literal("a"), Segment::One, Segment::Rest];
    assert!(pattern("a:*:**").segments().eq(segments));
}

#[test]
fn tenants_are_opaque_and_bounded() {
    let longest = "t".repeat(128);
    for good in ["acme", "ACME", "a.b_c:d@e-f", ".", "..", "0", &longest] {
        assert_eq!(good.parse::<Tenant>().unwrap().as_str(), good);
    }
    for bad in ["", " ", "a b", "a/b", "ä", "*", "a\n", "a\0", &"t".repeat(129)] {
        assert_eq!(bad.parse::<Tenant>(), Err(InvalidTenant), "{bad:?}");
    }
}

#[test]
fn a_scope_reaches_its_own_tenant_only() {
    let (acme, upper): (Tenant, Tenant) = ("acme".parse().unwrap(), "ACME".parse().unwrap());
    let here = Scope::Tenant(acme.clone());
    assert!(here.reaches(Some(&acme)) && !here.reaches(Some(&upper)) && !here.reaches(None));
    assert!(Scope::Everywhere.reaches(Some(&acme)) && Scope::Everywhere.reaches(None));
    assert_eq!((here.tenant(), Scope::Everywhere.tenant()), (Some(&acme), None));
}

#[test]
fn one_pattern_alone_must_cover() {
    let held = [pattern("a:*"), pattern("a:*:**"), pattern("b:**")];
    for (asked, covered) in
        [("a:x", true), ("b:*:x", true), ("b:**", true), ("a:**", false), ("b", false), ("**", false)]
    {
        assert_eq!(covered_by(&pattern(asked), &held), covered, "{asked}");
    }
    assert!(!covered_by(&pattern("a"), &[]));
}

/// Over all short patterns and every permission of three letters, one of which no pattern names; once in the open, then
/// against the bound on segments, then against the one on bytes.
#[test]
fn covers_is_exact() {
    let long: Vec<String> = (118..=126).map(|len| "x".repeat(len) + ":").collect();
    let prefixes = ["", "a:a:a:a:a:", "a:*:a:*:a:a:"].into_iter().chain(long.iter().map(String::as_str));
    for prefix in prefixes {
        let behind = |texts: Vec<String>| texts.into_iter().map(move |text| format!("{prefix}{text}"));
        let patterns: Vec<Pattern> =
            behind(words(&["a", "b", "*", "**"], 3)).filter_map(|text| text.parse().ok()).collect();
        let bare_prefix = prefix.replace('*', "a");
        let permissions: Vec<Permission> = words(&["a", "b", "c"], 4)
            .into_iter()
            .filter_map(|text| format!("{bare_prefix}{text}").parse().ok())
            .collect();
        assert!(!patterns.is_empty() && !permissions.is_empty());
        for one in &patterns {
            for other in &patterns {
                let truth = permissions.iter().all(|asked| !other.matches(asked) || one.matches(asked));
                assert_eq!(one.covers(other), truth, "{one} covers {other}");
            }
        }
    }
}

proptest! {
    #[test]
    fn matches_agrees_with_the_oracle(pattern in patterns(), permission in permissions()) {
        prop_assert_eq!(pattern.matches(&permission), oracle(&pattern, &permission));
    }

    #[test]
    fn whatever_is_covered_is_matched(one in patterns(), other in patterns(), permission in permissions()) {
        prop_assert!(!one.covers(&other) || !other.matches(&permission) || one.matches(&permission));
        prop_assert!(one.covers(&one));
    }

    #[test]
    fn a_permission_is_a_pattern_for_itself_alone(permission in permissions(), other in permissions()) {
        let pattern: Pattern = permission.as_str().parse().unwrap();
        prop_assert_eq!(pattern.matches(&other), permission == other);
    }

    #[test]
    fn no_text_breaks_parsing(text in "[a-b:*.A\u{e4} ]{0,20}") {
        if let Ok(permission) = text.parse::<Permission>() {
            prop_assert_eq!(permission.as_str(), &text);
            prop_assert!(text.parse::<Pattern>().is_ok() && permission.segments().all(|segment| !segment.is_empty()));
        }
        if let Ok(pattern) = text.parse::<Pattern>() {
            prop_assert_eq!(pattern.as_str(), &text);
        }
    }
}

/// Spells `**` out as one to eight `*`, then compares segment with segment.
fn oracle(pattern: &Pattern, permission: &Permission) -> bool {
    let asked: Vec<&str> = permission.as_str().split(':').collect();
    let spelled_out = match pattern.as_str().strip_suffix("**") {
        Some(head) => (1..=8).map(|count| format!("{head}{}", vec!["*"; count].join(":"))).collect(),
        None => vec![pattern.as_str().to_owned()],
    };
    spelled_out.iter().any(|text| {
        let held: Vec<&str> = text.split(':').collect();
        held.len() == asked.len() && held.iter().zip(&asked).all(|(held, asked)| *held == "*" || held == asked)
    })
}

/// Few letters, so that random pairs match often.
fn permissions() -> impl Strategy<Value = Permission> {
    "[a-c](:[a-c]){0,7}".prop_map(|text| text.parse().unwrap())
}

fn patterns() -> impl Strategy<Value = Pattern> {
    "([a-c*]:){0,7}([a-c*]|\\*\\*)".prop_map(|text| text.parse().unwrap())
}

/// All texts of one to `longest` of these segments.
fn words(segments: &[&str], longest: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last: Vec<String> = segments.iter().map(|&segment| segment.to_owned()).collect();
    for _ in 0..longest {
        let next =
            last.iter().flat_map(|word| segments.iter().map(move |segment| format!("{word}:{segment}"))).collect();
        all.append(&mut std::mem::replace(&mut last, next));
    }
    all
}

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}
