//! Nobody grants what they do not hold, nor takes over who holds more. Pure, so that it can be tested case by case.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::domain::permission::{Pattern, Permission, Scope, covered_by};
use crate::domain::role::{BoundRole, Role, RoleFault, RoleId, built_in, parents_first};
use crate::domain::time::Timestamp;
use crate::verifier::Policy;

/// Lifts the rule for who holds it.
const GRANT_ANY: &str = "postern:grants:any";

/// The first of these patterns that `held` does not cover.
pub(super) fn beyond<'a>(wanted: &'a [Pattern], held: &[Pattern]) -> Option<&'a Pattern> {
    let grants_any: Result<Permission, _> = GRANT_ANY.parse();
    if grants_any.is_ok_and(|permission| held.iter().any(|pattern| pattern.matches(&permission))) {
        return None;
    }
    wanted.iter().find(|pattern| !covered_by(pattern, held))
}

/// Of what somebody holds, what they hold at least until `end`; none is for good.
pub(super) fn lasting(bound: &[BoundRole], end: Option<Timestamp>) -> Vec<BoundRole> {
    let lasts = |own: &&BoundRole| match (own.expires_at, end) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own_end), Some(end)) => own_end >= end,
    };
    bound.iter().filter(lasts).cloned().collect()
}

/// What roles would grant that they do not grant yet: their own new patterns, and what comes by new parents. A pattern
/// that a role had from a parent and now lists itself counts as new, since it would outlast the parent's. Both are all
/// roles but the built-in ones.
///
/// Roles that stay as they are gain only through a parent that is looked at itself.
pub(super) fn gained(before: &[Role], after: &[Role]) -> Result<Vec<Pattern>, RoleFault> {
    let built_in = built_in();
    let (before, after) = (parents_first(&built_in, before)?, parents_first(&built_in, after)?);
    let old: HashMap<&RoleId, &Role> = before.iter().map(|role| (&role.id, *role)).collect();
    let mut gained = BTreeSet::new();
    let mut heirs = Vec::new();
    for role in &after {
        let (patterns, parents) = old.get(&role.id).map_or((&[][..], &[][..]), |old| (&old.patterns, &old.inherits));
        gained.extend(role.patterns.iter().filter(|pattern| !patterns.contains(pattern)));
        let new_parents: Vec<&RoleId> = role.inherits.iter().filter(|parent| !parents.contains(parent)).collect();
        if !new_parents.is_empty() {
            heirs.push((&role.id, new_parents));
        }
    }
    let mut inherited = granted_by(heirs.iter().flat_map(|(_, parents)| parents.iter().copied()), &after);
    inherited.retain(|pattern| !gained.contains(pattern));
    // Pattern by pattern and role by role, a long chain of roles would cost the square of its length.
    let inherited: Vec<&Pattern> = inherited.into_iter().collect();
    for patterns in inherited.chunks(u64::BITS as usize) {
        let (had, has) = (masks(&before, patterns), masks(&after, patterns));
        let of = |masks: &HashMap<&RoleId, u64>, role| masks.get(role).copied().unwrap_or_default();
        let news = heirs.iter().fold(0, |news, (heir, parents)| {
            news | parents.iter().fold(0, |all, parent| all | of(&has, parent)) & !of(&had, heir)
        });
        gained.extend(patterns.iter().zip(bits()).filter(|(_, bit)| news & bit != 0).map(|(pattern, _)| *pattern));
    }
    Ok(gained.into_iter().cloned().collect())
}

/// All that these roles grant; `roles` stand behind their parents.
fn granted_by<'a>(ids: impl Iterator<Item = &'a RoleId>, roles: &[&'a Role]) -> BTreeSet<&'a Pattern> {
    let mut reached: HashSet<&RoleId> = ids.collect();
    let mut granted = BTreeSet::new();
    for role in roles.iter().rev() {
        if reached.contains(&role.id) {
            reached.extend(&role.inherits);
            granted.extend(&role.patterns);
        }
    }
    granted
}

/// Which of these patterns, at most 64, each role grants, itself or by inheritance: a bit for each, in their order.
/// `roles` stand behind their parents.
fn masks<'a>(roles: &[&'a Role], patterns: &[&Pattern]) -> HashMap<&'a RoleId, u64> {
    let bit_of: HashMap<&Pattern, u64> = patterns.iter().copied().zip(bits()).collect();
    let mut masks = HashMap::with_capacity(roles.len());
    for role in roles {
        let own = role.patterns.iter().filter_map(|pattern| bit_of.get(pattern));
        let inherited = role.inherits.iter().filter_map(|parent| masks.get(parent));
        let mask = own.chain(inherited).fold(0, |mask, bits| mask | bits);
        masks.insert(&role.id, mask);
    }
    masks
}

fn bits() -> impl Iterator<Item = u64> {
    (0..u64::BITS).map(|place| 1 << place)
}

/// Something that `target` may do and `actor` may not, in a place where the target may do it.
pub(super) fn stronger(policy: &Policy, target: &[BoundRole], actor: &[BoundRole], now: Timestamp) -> Option<Pattern> {
    let scopes: BTreeSet<&Scope> = target.iter().map(|bound| &bound.scope).collect();
    scopes.into_iter().find_map(|scope| {
        let here = target.iter().filter(|bound| bound.scope == *scope);
        let wanted = policy.held_patterns(here, scope.tenant(), now);
        beyond(&wanted, &policy.held_patterns(actor, scope.tenant(), now)).cloned()
    })
}

/// Something that `target` may do for longer than `actor`.
pub(super) fn outlasting(
    policy: &Policy,
    target: &[BoundRole],
    actor: &[BoundRole],
    now: Timestamp,
) -> Option<Pattern> {
    target.iter().find_map(|bound| {
        let tenant = bound.scope.tenant();
        let wanted = policy.held_patterns([bound], tenant, now);
        beyond(&wanted, &policy.held_patterns(&lasting(actor, bound.expires_at), tenant, now)).cloned()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::permission::Tenant;
    use crate::domain::role::MAX_ROLES;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn role(id: &str, own: &[&str], inherits: &[&str]) -> Role {
        Role {
            id: id.parse().unwrap(),
            description: String::new(),
            patterns: patterns(own),
            inherits: inherits.iter().map(|id| id.parse().unwrap()).collect(),
            etag: String::new(),
        }
    }

    fn gain(before: &[Role], after: &[Role]) -> Vec<String> {
        gained(before, after).unwrap().iter().map(ToString::to_string).collect()
    }

    fn bound(role: &str, tenant: &str) -> BoundRole {
        let tenant: Option<Tenant> = tenant.parse().ok();
        BoundRole {
            role: role.parse().unwrap(),
            scope: tenant.map_or(Scope::Everywhere, Scope::Tenant),
            expires_at: None,
        }
    }

    #[test]
    fn only_what_lasts_as_long_may_be_granted() {
        let until = |end: Option<i64>| BoundRole { expires_at: end.map(Timestamp::from_secs), ..bound("r", "") };
        for (own, granted, lasts) in [
            (None, None, true),
            (None, Some(9), true),
            (Some(9), None, false),
            (Some(9), Some(9), true),
            (Some(9), Some(10), false),
            (Some(9), Some(8), true),
        ] {
            assert_eq!(
                lasting(&[until(own)], granted.map(Timestamp::from_secs)).len() == 1,
                lasts,
                "{own:?} {granted:?}"
            );
        }
    }

    #[test]
    fn only_what_is_covered_may_be_granted() {
        for (wanted, held, expected) in [
            (&["orders:read"][..], &["orders:*"][..], None),
            (&["orders:**"], &["orders:*"], Some("orders:**")),
            (&["orders:read", "billing:pay"], &["orders:**"], Some("billing:pay")),
            (&["orders:read"], &[], Some("orders:read")),
            (&[], &[], None),
            (&["**"], &["postern:grants:any"], None),
            (&["**"], &["postern:grants:*"], None),
            (&["**"], &["postern:**"], None),
            (&["**"], &["postern:grants:all"], Some("**")),
            (&["**"], &["*:*:*"], None),
            (&["postern:users:write"], &["postern:*:read", "postern:users:**"], None),
        ] {
            let wanted = patterns(wanted);
            assert_eq!(beyond(&wanted, &patterns(held)).map(Pattern::as_str), expected, "{wanted:?} by {held:?}");
        }
    }

    #[test]
    fn a_new_role_gains_all_of_its_patterns() {
        let base = role("base", &["a:x"], &[]);
        let heir = role("heir", &["b:x"], &["base"]);
        assert_eq!(gain(&[], &[base.clone(), heir.clone()]), ["a:x", "b:x"]);
        assert_eq!(gain(std::slice::from_ref(&base), &[base.clone(), heir.clone()]), ["a:x", "b:x"]);
        assert!(gain(&[base.clone(), heir.clone()], &[base, heir]).is_empty());
    }

    #[test]
    fn what_a_role_had_is_not_gained() {
        let before = [role("r", &["a:x", "a:y"], &[])];
        assert!(gain(&before, &[role("r", &["a:x"], &[])]).is_empty());
        assert_eq!(gain(&before, &[role("r", &["a:x", "a:z"], &[])]), ["a:z"]);
        assert!(gain(&before, &[]).is_empty());
        // Wider than before is new, though it looks alike.
        assert_eq!(gain(&before, &[role("r", &["a:*"], &[])]), ["a:*"]);
    }

    #[test]
    fn a_new_parent_brings_what_it_inherits() {
        let (top, middle) = (role("top", &["a:x"], &[]), role("middle", &["b:x"], &["top"]));
        let before = [top.clone(), middle.clone(), role("r", &[], &[])];
        let after = [top.clone(), middle.clone(), role("r", &[], &["middle"])];
        assert_eq!(gain(&before, &after), ["a:x", "b:x"]);
        assert_eq!(gain(&[role("r", &[], &[])], &[role("r", &[], &["postern.admin"])]), ["postern:**"]);
        // By another way, what was there already is no gain.
        let rerouted = [top, middle, role("r", &[], &["middle", "top"])];
        assert!(gain(&after, &rerouted).is_empty());
    }

    #[test]
    fn a_pattern_that_is_made_a_roles_own_is_new() {
        let base = role("base", &["a:x"], &[]);
        let before = [base.clone(), role("r", &[], &["base"])];
        assert_eq!(gain(&before, &[base, role("r", &["a:x"], &["base"])]), ["a:x"]);
    }

    #[test]
    fn heirs_gain_through_a_parent_that_changes() {
        let before = [role("base", &[], &[]), role("r", &[], &["base"])];
        let after = [role("base", &["a:x"], &[]), role("r", &[], &["base"])];
        assert_eq!(gain(&before, &after), ["a:x"]);
    }

    /// What is gained, said as shortly as possible, whatever it costs.
    fn gain_by_definition(before: &[Role], after: &[Role]) -> BTreeSet<String> {
        let (old_policy, policy) = (Policy::compile(before, 1).unwrap(), Policy::compile(after, 2).unwrap());
        let mut gained = BTreeSet::new();
        for role in after {
            let old = before.iter().find(|old| old.id == role.id);
            let (patterns, parents) = old.map_or((&[][..], &[][..]), |old| (&old.patterns, &old.inherits));
            let had = old_policy.patterns_of(&role.id);
            gained.extend(role.patterns.iter().filter(|pattern| !patterns.contains(pattern)).cloned());
            let inherited = role.inherits.iter().filter(|parent| !parents.contains(parent));
            let inherited = inherited.flat_map(|parent| policy.patterns_of(parent));
            gained.extend(inherited.filter(|pattern| !had.contains(pattern)));
        }
        gained.iter().map(ToString::to_string).collect()
    }

    /// Roles that inherit from those before them, with patterns out of two hundred.
    fn any_roles() -> impl Strategy<Value = Vec<Role>> {
        let parents = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
        let one = prop::option::weighted(0.8, (prop::collection::vec(0..200_u8, 0..20), parents));
        prop::collection::vec(one, 1..12).prop_map(|all| {
            let mut roles: Vec<Role> = Vec::new();
            for (place, one) in all.into_iter().enumerate() {
                let Some((patterns, parents)) = one else { continue };
                let parents = parents.iter().filter(|_| !roles.is_empty()).map(|parent| parent.get(&roles).id.clone());
                let inherits = parents.collect::<BTreeSet<RoleId>>().into_iter().collect();
                let patterns = patterns.iter().map(|pattern| format!("a:p{pattern}").parse().unwrap()).collect();
                roles.push(Role { patterns, inherits, ..role(&format!("r{place}"), &[], &[]) });
            }
            roles
        })
    }

    proptest! {
        #[test]
        fn what_is_gained_is_what_the_definition_says(before in any_roles(), after in any_roles()) {
            let expected: Vec<String> = gain_by_definition(&before, &after).into_iter().collect();
            prop_assert_eq!(gain(&before, &after), expected);
        }
    }

    /// Role by role, each with all that it inherits, these would take minutes.
    #[test]
    fn a_long_chain_costs_little_more_than_its_length() {
        let roles = |count: usize, inherits: fn(usize) -> Vec<String>| -> Vec<Role> {
            let id = |place: usize| format!("r{place}");
            let pattern = |place: usize| format!("a:p{place}");
            let one = |place: usize| {
                let parents = inherits(place);
                let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
                role(&id(place), &[&pattern(place)], &parents)
            };
            (0..count).map(one).collect()
        };
        let next = |place: usize| place.checked_sub(1).map(|parent| format!("r{parent}")).into_iter().collect();
        let chain = roles(MAX_ROLES, next);
        assert_eq!(gain(&[], &chain).len(), MAX_ROLES);
        assert_eq!(gain(&chain, &chain).len(), 0);
        // Here everything but the last one's own comes by inheritance.
        let alone = roles(MAX_ROLES / 2, |_| Vec::new());
        assert_eq!(gain(&alone, &chain[..MAX_ROLES / 2]).len(), MAX_ROLES / 2 - 1);
    }

    #[test]
    fn who_holds_more_anywhere_is_stronger() {
        let roles = [role("helpdesk", &["postern:users:write"], &[]), role("clerk", &["orders:*"], &[])];
        let policy = Policy::compile(&roles, 1).unwrap();
        let helpdesk = || bound("helpdesk", "");
        for (target, actor, expected) in [
            (vec![], vec![helpdesk()], None),
            (vec![bound("postern.admin", "")], vec![helpdesk()], Some("postern:**")),
            (vec![bound("postern.admin", "acme")], vec![helpdesk()], Some("postern:**")),
            (vec![helpdesk()], vec![helpdesk()], None),
            (vec![bound("clerk", "acme")], vec![helpdesk()], Some("orders:*")),
            (vec![bound("clerk", "acme")], vec![helpdesk(), bound("clerk", "")], None),
            (vec![bound("clerk", "acme")], vec![helpdesk(), bound("clerk", "acme")], None),
            (vec![bound("clerk", "acme")], vec![helpdesk(), bound("clerk", "beta")], Some("orders:*")),
            // In one tenant is less than everywhere.
            (vec![bound("clerk", "")], vec![helpdesk(), bound("clerk", "acme")], Some("orders:*")),
            (vec![bound("postern.admin", ""), bound("clerk", "x")], vec![bound("postern.admin", "")], None),
            (vec![bound("clerk", "")], vec![bound("postern.admin", "acme")], Some("orders:*")),
        ] {
            let beyond = stronger(&policy, &target, &actor, NOW);
            assert_eq!(beyond.as_ref().map(Pattern::as_str), expected, "{target:?} by {actor:?}");
        }
    }

    #[test]
    fn what_has_ended_makes_nobody_strong() {
        let policy = Policy::compile(&[], 1).unwrap();
        let ended = BoundRole { expires_at: Some(NOW), ..bound("postern.admin", "") };
        assert_eq!(stronger(&policy, std::slice::from_ref(&ended), &[], NOW), None);
        let target = [bound("postern.backend", "")];
        assert!(stronger(&policy, &target, &[ended], NOW).is_some());
    }
}
