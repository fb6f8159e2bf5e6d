use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000);

#[test]
fn nothing_is_held_by_default() {
    let policy = Policy::compile(&[], 7).unwrap();
    assert_eq!(policy.version(), 7);
    let asked = permission("orders:read");
    assert_eq!(policy.check(&[], &asked, None, NOW), None);
    // A role that was deleted, or never was, grants nothing, whatever it is called.
    assert_eq!(policy.check(&[everywhere("postern.none"), everywhere("gone")], &asked, None, NOW), None);
    assert!(!policy.has_role(&id("gone")) && policy.has_role(&id("postern.admin")));
    assert_eq!(policy.patterns_of(&id("gone")), []);
}

#[test]
fn an_answer_says_by_what() {
    let roles = [role("lead", &[], &["clerk"]), role("clerk", &["orders:*"], &[])];
    let policy = Policy::compile(&roles, 0).unwrap();
    let asked = permission("orders:read");
    let direct = policy.check(&[everywhere("clerk")], &asked, None, NOW).unwrap();
    let expected =
        Granted { role: id("clerk"), inherited_role: None, pattern: pattern("orders:*"), scope: Scope::Everywhere };
    assert_eq!(direct, expected);
    let inherited = policy.check(&[everywhere("lead")], &asked, None, NOW).unwrap();
    assert_eq!(inherited, Granted { role: id("lead"), inherited_role: Some(id("clerk")), ..expected });
}

#[test]
fn tenants_do_not_reach_into_each_other() {
    let policy = Policy::compile(&[role("clerk", &["orders:read"], &[])], 0).unwrap();
    let asked = permission("orders:read");
    let (acme, other) = (tenant("acme"), tenant("other"));
    let bound = [BoundRole { scope: Scope::Tenant(acme.clone()), ..everywhere("clerk") }];
    assert_eq!(policy.check(&bound, &asked, Some(&acme), NOW).unwrap().scope, Scope::Tenant(acme));
    assert_eq!(policy.check(&bound, &asked, Some(&other), NOW), None);
    assert_eq!(policy.check(&bound, &asked, None, NOW), None);
    assert!(policy.check(&[everywhere("clerk")], &asked, Some(&other), NOW).is_some());
}

#[test]
fn among_several_the_choice_is_fixed() {
    let roles = [
        role("rest", &["**"], &[]),
        role("star", &["orders:*", "*:read"], &[]),
        role("exact", &["orders:read"], &[]),
        role("heir", &[], &["z", "y"]),
        role("y", &["orders:read"], &[]),
        role("z", &["orders:read"], &[]),
    ];
    let policy = Policy::compile(&roles, 0).unwrap();
    let asked = permission("orders:read");
    let by = |names: &[&str]| {
        let bound: Vec<BoundRole> = names.iter().map(|name| everywhere(name)).collect();
        let granted = policy.check(&bound, &asked, None, NOW).unwrap();
        let inherited = granted.inherited_role.map(|role| role.to_string()).unwrap_or_default();
        (granted.role.to_string(), inherited, granted.pattern.to_string())
    };
    let expect =
        |role: &str, inherited: &str, pattern: &str| (role.to_owned(), inherited.to_owned(), pattern.to_owned());
    assert_eq!(by(&["rest", "star", "heir", "exact"]), expect("exact", "", "orders:read"));
    assert_eq!(by(&["rest", "star", "heir"]), expect("heir", "y", "orders:read"));
    assert_eq!(by(&["rest", "star"]), expect("star", "", "orders:*"));
    assert_eq!(by(&["rest"]), expect("rest", "", "**"));
    assert_eq!(by(&["z", "y"]), expect("z", "", "orders:read"));
    assert_eq!(by(&["y", "z"]), expect("y", "", "orders:read"));
}

#[test]
fn what_is_held_is_listed_once() {
    let roles = [role("lead", &["b:**", "a"], &["clerk"]), role("clerk", &["a", "c:*"], &["postern.backend"])];
    let policy = Policy::compile(&roles, 0).unwrap();
    let texts = |patterns: Vec<Pattern>| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(policy.patterns_of(&id("lead"))), ["a", "b:**", "c:*", "postern:auth:verify"]);
    let (acme, past) = (tenant("acme"), Some(NOW));
    let bound = [
        BoundRole { scope: Scope::Tenant(acme.clone()), ..everywhere("clerk") },
        everywhere("postern.backend"),
        BoundRole { expires_at: past, ..everywhere("postern.admin") },
    ];
    assert_eq!(texts(policy.held_patterns(&bound, None, NOW)), ["postern:auth:verify"]);
    assert_eq!(texts(policy.held_patterns(&bound, Some(&acme), NOW)), ["a", "c:*", "postern:auth:verify"]);
}

#[test]
fn a_chain_of_all_roles_compiles() {
    let mut roles = vec![role("r0", &["deep:end"], &[])];
    roles.extend((1..10_000).map(|n| role(&format!("r{n}"), &[], &[&format!("r{}", n - 1)])));
    roles.reverse();
    let policy = Policy::compile(&roles, 0).unwrap();
    let granted = policy.check(&[everywhere("r9999")], &permission("deep:end"), None, NOW).unwrap();
    assert_eq!(granted.inherited_role, Some(id("r0")));
    assert_eq!(policy.patterns_of(&id("r9999")), [pattern("deep:end")]);
    assert_eq!(policy.check(&[everywhere("r9999")], &permission("deep"), None, NOW), None);
}

#[test]
fn a_fault_is_no_policy() {
    let roles = [role("a", &[], &["b"]), role("b", &[], &["a"])];
    assert!(matches!(Policy::compile(&roles, 0), Err(RoleFault::Cycle { .. })));
}

proptest! {
    #[test]
    fn check_agrees_with_the_oracle(
        roles in policies(),
        bound in vec(bindings(), 0..6),
        asked in vec(permissions(), 1..6),
        tenant in proptest::option::of(tenants()),
        now in 0_i64..4,
    ) {
        let policy = Policy::compile(&roles, 0).unwrap();
        let now = Timestamp::from_micros(now);
        let held = policy.held_patterns(&bound, tenant.as_ref(), now);
        for asked in &asked {
            let granted = policy.check(&bound, asked, tenant.as_ref(), now);
            prop_assert_eq!(held.iter().any(|pattern| pattern.matches(asked)), granted.is_some());
            prop_assert_eq!(granted, oracle(&roles, &bound, asked, tenant.as_ref(), now));
        }
    }

    #[test]
    fn more_roles_and_bindings_never_take_a_right_away(
        roles in policies(),
        mut bound in vec(bindings(), 1..4),
        asked in permissions(),
        more_patterns in vec(patterns(), 0..3),
        more in bindings(),
        place in 0_usize..4,
    ) {
        let before = Policy::compile(&roles, 0).unwrap().check(&bound, &asked, None, NOW);
        let mut more_roles = roles;
        let mut added = role("added", &[], &["r0"]);
        added.patterns = more_patterns;
        more_roles.push(added);
        bound.insert(place.min(bound.len()), more);
        bound.insert(0, everywhere("added"));
        let after = Policy::compile(&more_roles, 0).unwrap().check(&bound, &asked, None, NOW);
        prop_assert!(before.is_none() || after.is_some());
    }

    #[test]
    fn the_order_of_the_roles_does_not_matter(roles in policies(), bound in vec(bindings(), 0..4), asked in permissions()) {
        let reversed: Vec<Role> = roles.iter().rev().cloned().collect();
        let [one, other] = [roles, reversed].map(|roles| Policy::compile(&roles, 0).unwrap());
        prop_assert_eq!(one.check(&bound, &asked, None, NOW), other.check(&bound, &asked, None, NOW));
    }
}

/// Follows every path of inheritance, tries every pattern, and sorts what it found.
fn oracle(
    roles: &[Role],
    bound: &[BoundRole],
    asked: &Permission,
    tenant: Option<&Tenant>,
    now: Timestamp,
) -> Option<Granted> {
    let built_in = built_in();
    let by_id: BTreeMap<&RoleId, &Role> = roles.iter().chain(&built_in).map(|role| (&role.id, role)).collect();
    let mut found = Vec::new();
    for (place, binding) in bound.iter().enumerate() {
        let here = match &binding.scope {
            Scope::Everywhere => true,
            Scope::Tenant(own) => tenant.is_some_and(|tenant| tenant == own),
        };
        let over = binding.expires_at.is_some_and(|end| end <= now);
        let Some(role) = by_id.get(&binding.role).filter(|_| here && !over) else { continue };
        let mut lineage = BTreeSet::new();
        let mut next = vec![&role.id];
        while let Some(id) = next.pop() {
            if lineage.insert(id) {
                next.extend(&by_id[id].inherits);
            }
        }
        for owner in lineage {
            for pattern in by_id[owner].patterns.iter().filter(|pattern| pattern.matches(asked)) {
                let vagueness: Vec<usize> = pattern
                    .as_str()
                    .split(':')
                    .map(|segment| segment.bytes().take_while(|byte| *byte == b'*').count())
                    .collect();
                let inherited_role = (*owner != binding.role).then(|| owner.clone());
                let order = (vagueness, inherited_role.is_some(), place, inherited_role.clone());
                let scope = binding.scope.clone();
                found.push((order, Granted { role: role.id.clone(), inherited_role, pattern: pattern.clone(), scope }));
            }
        }
    }
    found.into_iter().min_by(|one, other| one.0.cmp(&other.0)).map(|(_, granted)| granted)
}

/// Up to 48 roles, so that lists and bitmaps of them both occur. Each inherits from those after it, by names that sort
/// otherwise.
fn policies() -> impl Strategy<Value = Vec<Role>> {
    let one = (vec(patterns(), 0..3), vec(1_usize..48, 0..4));
    vec(one, 1..48).prop_map(|drafts| {
        let count = drafts.len();
        let name = |place: usize| id(&format!("r{}", place * 29 % 48));
        let finish = |(place, (patterns, steps)): (usize, (Vec<Pattern>, Vec<usize>))| Role {
            id: name(place),
            description: String::new(),
            patterns,
            inherits: steps.iter().map(|step| place + step).filter(|parent| *parent < count).map(name).collect(),
            etag: String::new(),
        };
        drafts.into_iter().enumerate().map(finish).collect()
    })
}

/// Of roles that mostly exist.
fn bindings() -> impl Strategy<Value = BoundRole> {
    let scope = proptest::option::of(tenants());
    let end = proptest::option::of(0_i64..4);
    (0_usize..48, scope, end).prop_map(|(role, tenant, end)| BoundRole {
        role: id(&format!("r{role}")),
        scope: tenant.map_or(Scope::Everywhere, Scope::Tenant),
        expires_at: end.map(Timestamp::from_micros),
    })
}

fn tenants() -> impl Strategy<Value = Tenant> {
    "[st]".prop_map(|text| tenant(&text))
}

fn permissions() -> impl Strategy<Value = Permission> {
    "[ab](:[ab]){0,3}".prop_map(|text| permission(&text))
}

fn patterns() -> impl Strategy<Value = Pattern> {
    "([ab*]:){0,3}([ab*]|\\*\\*)".prop_map(|text| pattern(&text))
}

fn role(name: &str, patterns: &[&str], parents: &[&str]) -> Role {
    Role {
        id: id(name),
        description: String::new(),
        patterns: patterns.iter().map(|text| pattern(text)).collect(),
        inherits: parents.iter().map(|parent| id(parent)).collect(),
        etag: String::new(),
    }
}

fn everywhere(name: &str) -> BoundRole {
    BoundRole { role: id(name), scope: Scope::Everywhere, expires_at: None }
}

fn id(text: &str) -> RoleId {
    text.parse().unwrap()
}

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}

fn tenant(text: &str) -> Tenant {
    text.parse().unwrap()
}
