use proptest::prelude::*;

use super::*;

#[test]
fn ids_are_bounded() {
    let longest = "r".repeat(64);
    for good in ["clerk", "a.b_c:d-e", "0", "postern", &longest] {
        assert_eq!(good.parse::<RoleId>().unwrap().as_str(), good);
    }
    for bad in ["", "Clerk", "a b", "a/b", "ä", "*", "a\n", &"r".repeat(65)] {
        assert_eq!(bad.parse::<RoleId>(), Err(InvalidRoleId), "{bad:?}");
    }
    assert!(id("postern.anything").is_built_in());
    assert!(!id("postern").is_built_in() && !id("postern-x").is_built_in() && !id("x.postern.").is_built_in());
}

#[test]
fn the_built_in_roles_are_as_promised() {
    let roles = built_in();
    let texts = |role: &Role| role.patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let found: Vec<_> = roles.iter().map(|role| (role.id.as_str(), texts(role))).collect();
    let front = "postern:auth:login postern:auth:refresh postern:auth:verify postern:accounts:act";
    let expected =
        [("postern.admin", "postern:**"), ("postern.front", front), ("postern.backend", "postern:auth:verify")];
    assert_eq!(found, expected.map(|(id, patterns)| (id, patterns.to_owned())));
    for role in &roles {
        assert!(role.id.is_built_in() && role.etag.is_empty());
        assert_eq!(role.id.as_str().parse(), Ok(role.id.clone()));
    }
    assert!(roles[0].patterns[0].matches(&"postern:grants:any".parse().unwrap()));
}

#[test]
fn roles_may_inherit_each_other_and_the_built_in_ones() {
    let roles = [role("lead", &["clerk", "postern.backend"]), role("clerk", &["reader"]), role("reader", &[])];
    assert_eq!(check_roles(&roles), Ok(()));
    assert_eq!(check_roles(&[]), Ok(()));
    // Naming a parent twice is clumsy, not wrong.
    assert_eq!(check_roles(&[role("a", &["b", "b"]), role("b", &[])]), Ok(()));
}

#[test]
fn faults_name_the_role_and_what_to_mend() {
    let fault = |roles: &[Role]| check_roles(roles).unwrap_err().to_string();
    assert_eq!(fault(&[role("a", &["b"])]), "role `a` inherits `b`, which does not exist");
    assert_eq!(fault(&[role("a", &["postern.none"])]), "role `a` inherits `postern.none`, which does not exist");
    assert_eq!(fault(&[role("a", &["a"])]), "role `a` inherits itself, by way of its parent `a`");
    assert_eq!(fault(&[role("a", &[]), role("a", &[])]), "role `a` is defined twice");
    let reserved = "cannot be defined: names that start with `postern.` are built in";
    assert_eq!(fault(&[role("postern.admin", &[])]), format!("role `postern.admin` {reserved}"));
    assert_eq!(fault(&[role("postern.new", &[])]), format!("role `postern.new` {reserved}"));
    // What hangs on a cycle is not blamed for it.
    let roles = [role("a", &["b"]), role("b", &["c"]), role("c", &["d", "b"]), role("d", &[])];
    assert_eq!(fault(&roles), "role `b` inherits itself, by way of its parent `c`");
}

#[test]
fn bounds_hold_to_the_last() {
    let with = |change: &dyn Fn(&mut Role)| {
        let mut role = role("a", &[]);
        change(&mut role);
        check_roles(&[role])
    };
    let pattern: Pattern = "a".parse().unwrap();
    assert_eq!(with(&|role| role.patterns = vec![pattern.clone(); 1_000]), Ok(()));
    let fault = RoleFault::TooManyPatterns { role: id("a"), count: 1_001 };
    assert_eq!(with(&|role| role.patterns = vec![pattern.clone(); 1_001]), Err(fault));

    assert_eq!(with(&|role| role.inherits = vec![id("postern.front"); 64]), Ok(()));
    let fault = RoleFault::TooManyParents { role: id("a"), count: 65 };
    assert_eq!(with(&|role| role.inherits = vec![id("postern.front"); 65]), Err(fault));

    assert_eq!(with(&|role| role.description = "ä".repeat(256)), Ok(()));
    let fault = RoleFault::LongDescription { role: id("a") };
    assert_eq!(with(&|role| role.description = "a".repeat(257)), Err(fault));

    let mut roles: Vec<Role> = (0..10_000).map(|n| role(&format!("r{n}"), &[])).collect();
    assert_eq!(check_roles(&roles), Ok(()));
    for role in roles.iter_mut().take(101) {
        role.patterns = vec![pattern.clone(); 1_000];
    }
    assert_eq!(check_roles(&roles), Err(RoleFault::TooManyPatternsInAll { count: 101_000 }));
    roles[0].patterns.clear();
    assert_eq!(check_roles(&roles), Ok(()));
    roles.push(role("one-more", &[]));
    assert_eq!(check_roles(&roles), Err(RoleFault::TooManyRoles { count: 10_001 }));
}

#[test]
fn a_cycle_through_all_roles_is_refused() {
    let roles: Vec<Role> = (0..10_000).map(|n| role(&format!("r{n}"), &[&format!("r{}", (n + 1) % 10_000)])).collect();
    assert!(matches!(check_roles(&roles), Err(RoleFault::Cycle { .. })));
}

#[test]
fn a_binding_ends_at_its_very_instant() {
    let bound = BoundRole { role: id("a"), scope: Scope::Everywhere, expires_at: Some(Timestamp::from_micros(10)) };
    assert!(bound.counts(None, Timestamp::from_micros(9)) && !bound.counts(None, Timestamp::from_micros(10)));
    let for_good = BoundRole { expires_at: None, ..bound };
    assert!(for_good.counts(None, Timestamp::MAX));
}

proptest! {
    /// Any arrows at all: refused if and only if a role reaches itself, and the fault names one that does.
    #[test]
    fn cycles_are_found_and_nothing_else(arrows in proptest::collection::vec((0_usize..12, 0_usize..12), 0..24)) {
        let mut roles: Vec<Role> = (0..12).map(|n| role(&format!("r{n}"), &[])).collect();
        for (child, parent) in &arrows {
            roles[*child].inherits.push(id(&format!("r{parent}")));
        }
        let reaches_itself = |start: usize| {
            let mut reached = BTreeSet::new();
            let mut next: Vec<usize> = vec![start];
            while let Some(at) = next.pop() {
                for (_, parent) in arrows.iter().filter(|(child, _)| *child == at) {
                    if reached.insert(*parent) {
                        next.push(*parent);
                    }
                }
            }
            reached.contains(&start)
        };
        match check_roles(&roles) {
            Ok(()) => prop_assert!(!(0..12).any(reaches_itself)),
            Err(RoleFault::Cycle { role, parent }) => {
                for name in [&role, &parent] {
                    prop_assert!(reaches_itself(name.as_str()[1..].parse().unwrap()));
                }
                prop_assert!(roles.iter().any(|found| found.id == role && found.inherits.contains(&parent)));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

fn role(name: &str, parents: &[&str]) -> Role {
    Role {
        id: id(name),
        description: String::new(),
        patterns: Vec::new(),
        inherits: parents.iter().map(|parent| id(parent)).collect(),
        etag: String::new(),
    }
}

fn id(text: &str) -> RoleId {
    text.parse().unwrap()
}
