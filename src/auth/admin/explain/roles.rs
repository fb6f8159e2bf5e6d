//! Which binding and which pattern decide. Pure.

use crate::auth::admin::explain::Step;
use crate::domain::permission::{Pattern, Tenant};
use crate::domain::role::BoundRole;
use crate::domain::time::Timestamp;
use crate::verifier::{Check, Granted, Policy};

const BINDINGS_TOLD: usize = 100;
const PATTERNS_TOLD: usize = 10;

/// Whether `check` is held by what is bound. If it is, the steps are the binding and the role that Verify names too; if
/// not, everything that was looked at in vain.
pub(super) fn judge(policy: &Policy, bound: &[BoundRole], check: &Check, now: Timestamp) -> (bool, Vec<Step>) {
    if let Some(granted) = policy.check(bound, &check.permission, check.tenant.as_ref(), now) {
        let end = bound
            .iter()
            .find(|bound| {
                bound.role == granted.role && bound.scope == granted.scope && bound.counts(check.tenant.as_ref(), now)
            })
            .and_then(|bound| bound.expires_at);
        let place = place(granted.scope.tenant());
        let binding = format!("{} is bound {place}, {}", granted.role, until(end));
        let role = grant(&granted, check);
        return (true, vec![Step::held("binding", binding), Step::held("role", role)]);
    }
    let mut steps = Vec::new();
    if bound.is_empty() {
        steps.push(Step::failed("binding", "no role is bound"));
    }
    for bound in bound.iter().take(BINDINGS_TOLD) {
        look_at(policy, bound, check, now, &mut steps);
    }
    let untold = bound.len().saturating_sub(BINDINGS_TOLD);
    if untold > 0 {
        steps.push(Step::failed("binding", format!("nor do {untold} more bindings give it")));
    }
    (false, steps)
}

/// A binding that does not give what is asked for, and why not.
fn look_at(policy: &Policy, bound: &BoundRole, check: &Check, now: Timestamp, steps: &mut Vec<Step>) {
    let BoundRole { role, scope, expires_at } = bound;
    let place = place(scope.tenant());
    if let Some(end) = expires_at.filter(|end| *end <= now) {
        steps.push(Step::failed("binding", format!("{role} was bound {place}, until {end}")));
        return;
    }
    if !scope.reaches(check.tenant.as_ref()) {
        let asked = match &check.tenant {
            Some(tenant) => format!("tenant {tenant} was asked for"),
            None => "no tenant was asked for, so only what holds everywhere counts".to_owned(),
        };
        // The nearest miss of all, so it is worth a word.
        let there = if policy.check([bound], &check.permission, scope.tenant(), now).is_some() {
            format!("; there it grants {}", check.permission)
        } else {
            String::new()
        };
        steps.push(Step::failed("binding", format!("{role} is bound {place}, and {asked}{there}")));
        return;
    }
    steps.push(Step::held("binding", format!("{role} is bound {place}, {}", until(*expires_at))));
    let text = if policy.has_role(role) {
        format!("{role} does not grant {}: {}", check.permission, list(&policy.patterns_of(role)))
    } else {
        format!("there is no role {role}")
    };
    steps.push(Step::failed("role", text));
}

fn grant(granted: &Granted, check: &Check) -> String {
    let Granted { role, inherited_role, pattern, .. } = granted;
    let by = match inherited_role {
        Some(parent) => format!("{role} inherits {parent}, which grants {}", check.permission),
        None => format!("{role} grants {}", check.permission),
    };
    if pattern.as_str() == check.permission.as_str() { by } else { format!("{by} by {pattern}") }
}

fn place(tenant: Option<&Tenant>) -> String {
    tenant.map_or_else(|| "everywhere".to_owned(), |tenant| format!("in tenant {tenant}"))
}

fn until(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "for good".to_owned(), |end| format!("until {end}"))
}

fn list(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        return "it has no patterns".to_owned();
    }
    let told: Vec<&str> = patterns.iter().take(PATTERNS_TOLD).map(Pattern::as_str).collect();
    let untold = patterns.len().saturating_sub(PATTERNS_TOLD);
    let more = if untold > 0 { format!(" and {untold} more") } else { String::new() };
    format!("it has {}{more}", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::Scope;
    use crate::domain::role::Role;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn policy() -> Policy {
        let role = |id: &str, patterns: &[&str], inherits: &[&str]| Role {
            id: id.parse().unwrap(),
            description: String::new(),
            patterns: patterns.iter().map(|text| text.parse().unwrap()).collect(),
            inherits: inherits.iter().map(|text| text.parse().unwrap()).collect(),
            etag: String::new(),
        };
        let roles = [
            role("clerk", &["orders:read", "orders:list"], &[]),
            role("boss", &["orders:*"], &["clerk"]),
            role("heir", &[], &["clerk"]),
            role("empty", &[], &[]),
        ];
        Policy::compile(&roles, 1).unwrap()
    }

    fn bound(role: &str, tenant: &str, end: Option<i64>) -> BoundRole {
        BoundRole {
            role: role.parse().unwrap(),
            scope: tenant.parse().map_or(Scope::Everywhere, Scope::Tenant),
            expires_at: end.map(Timestamp::from_secs),
        }
    }

    fn told(bound: &[BoundRole], permission: &str, tenant: &str) -> (bool, Vec<String>) {
        let check = Check { permission: permission.parse().unwrap(), tenant: tenant.parse().ok() };
        let (allowed, steps) = judge(&policy(), bound, &check, NOW);
        let mark = |held| if held { '+' } else { '-' };
        let lines = steps.iter().map(|step| format!("{}{}: {}", mark(step.held), step.subject, step.text));
        (allowed, lines.collect())
    }

    #[test]
    fn what_grants_is_named() {
        let (allowed, steps) = told(&[bound("empty", "", None), bound("clerk", "", None)], "orders:read", "");
        assert!(allowed);
        assert_eq!(steps, ["+binding: clerk is bound everywhere, for good", "+role: clerk grants orders:read"]);
        let (_, steps) = told(&[bound("boss", "acme", Some(2_000))], "orders:refund", "acme");
        assert_eq!(
            steps,
            [
                "+binding: boss is bound in tenant acme, until 1970-01-01T00:33:20Z",
                "+role: boss grants orders:refund by orders:*",
            ]
        );
        let (_, steps) = told(&[bound("heir", "", None)], "orders:read", "");
        assert_eq!(steps.last().unwrap(), "+role: heir inherits clerk, which grants orders:read");
    }

    #[test]
    fn what_was_looked_at_in_vain_is_named() {
        let all = [
            bound("clerk", "", None),
            bound("boss", "acme", None),
            bound("clerk", "acme", None),
            bound("boss", "", Some(1_000)),
            bound("empty", "", None),
            bound("gone", "beta", None),
        ];
        let (allowed, steps) = told(&all, "orders:refund", "beta");
        assert!(!allowed);
        assert_eq!(
            steps,
            [
                "+binding: clerk is bound everywhere, for good",
                "-role: clerk does not grant orders:refund: it has orders:list, orders:read",
                "-binding: boss is bound in tenant acme, and tenant beta was asked for; there it grants orders:refund",
                "-binding: clerk is bound in tenant acme, and tenant beta was asked for",
                "-binding: boss was bound everywhere, until 1970-01-01T00:16:40Z",
                "+binding: empty is bound everywhere, for good",
                "-role: empty does not grant orders:refund: it has no patterns",
                "+binding: gone is bound in tenant beta, for good",
                "-role: there is no role gone",
            ]
        );
        assert_eq!(told(&[], "orders:refund", "").1, ["-binding: no role is bound"]);
        let (_, steps) = told(&[bound("boss", "acme", None)], "orders:refund", "");
        assert_eq!(
            steps,
            ["-binding: boss is bound in tenant acme, and no tenant was asked for, so only what holds everywhere \
              counts; there it grants orders:refund"]
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let many = vec![bound("empty", "", None); BINDINGS_TOLD + 7];
        let (_, steps) = told(&many, "a:b", "");
        assert_eq!(steps.len(), BINDINGS_TOLD * 2 + 1);
        assert_eq!(steps.last().unwrap(), "-binding: nor do 7 more bindings give it");
        let patterns: Vec<Pattern> = (0..12).map(|index| format!("p{index}").parse().unwrap()).collect();
        assert!(list(&patterns).ends_with("p9 and 2 more"));
    }
}
