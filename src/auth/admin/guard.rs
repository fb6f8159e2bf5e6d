//! Nobody grants what they do not hold, nor takes over who holds more. Pure, so that it can be tested case by case.

use std::collections::BTreeSet;

use crate::domain::permission::{Pattern, Permission, Scope, covered_by};
use crate::domain::role::{BoundRole, Role, RoleId};
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
/// that a role had from a parent and now lists itself counts as new, since it would outlast the parent's.
///
/// Roles that stay as they are gain only through a parent that is looked at itself.
pub(super) fn gained(before: &Roles<'_>, after: &Roles<'_>) -> Vec<Pattern> {
    let mut gained = BTreeSet::new();
    for role in after.roles {
        let old = before.roles.iter().find(|old| old.id == role.id);
        let (patterns, parents) = old.map_or((&[][..], &[][..]), |old| (&old.patterns, &old.inherits));
        let new_patterns = role.patterns.iter().filter(|pattern| !patterns.contains(pattern));
        gained.extend(new_patterns.cloned());
        let new_parents: Vec<&RoleId> = role.inherits.iter().filter(|parent| !parents.contains(parent)).collect();
        if new_parents.is_empty() {
            continue;
        }
        let granted = before.policy.patterns_of(&role.id);
        let inherited = new_parents.into_iter().flat_map(|parent| after.policy.patterns_of(parent));
        gained.extend(inherited.filter(|pattern| granted.binary_search(pattern).is_err()));
    }
    gained.into_iter().collect()
}

/// All roles but the built-in ones, and what they make.
pub(super) struct Roles<'a> {
    pub(super) roles: &'a [Role],
    pub(super) policy: &'a Policy,
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
    use super::*;
    use crate::domain::permission::Tenant;

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
        let (old, new) = (Policy::compile(before, 1).unwrap(), Policy::compile(after, 2).unwrap());
        let gained = gained(&Roles { roles: before, policy: &old }, &Roles { roles: after, policy: &new });
        gained.iter().map(ToString::to_string).collect()
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
