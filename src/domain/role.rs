//! Roles: named sets of patterns that may inherit each other, the three that are built in, and what a set of roles must
//! keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::permission::{Pattern, Scope, Tenant};
use super::time::Timestamp;

pub const MAX_ROLES: usize = 10_000;
pub const MAX_PATTERNS_OF_A_ROLE: usize = 1_000;
/// Each costs a verifier some hundred bytes; ten thousand roles with a thousand patterns would be gigabytes.
pub const MAX_PATTERNS: usize = 100_000;
pub const MAX_PARENTS: usize = 64;
pub const MAX_DESCRIPTION_CHARS: usize = 256;

const MAX_ID_BYTES: usize = 64;
const RESERVED: &str = "postern.";

/// A role's name: `[a-z0-9._:-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleId(String);

impl RoleId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is kept for roles that come with Postern, among them ones of a later release.
    pub fn is_built_in(&self) -> bool {
        self.0.starts_with(RESERVED)
    }
}

impl FromStr for RoleId {
    type Err = InvalidRoleId;

    fn from_str(text: &str) -> Result<Self, InvalidRoleId> {
        let fits = (1..=MAX_ID_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._:-".contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidRoleId) }
    }
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not a role's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role's id is 1 to 64 of `a-z`, `0-9`, `.`, `_`, `:` and `-`")]
pub struct InvalidRoleId;

/// A named set of patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub id: RoleId,
    /// For people.
    pub description: String,
    pub patterns: Vec<Pattern>,
    /// Roles whose patterns it grants too.
    pub inherits: Vec<RoleId>,
    /// As the store made it; empty for built-in ones, which nobody changes.
    pub etag: String,
}

/// A role given to a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundRole {
    pub role: RoleId,
    pub scope: Scope,
    /// None: for good.
    pub expires_at: Option<Timestamp>,
}

impl BoundRole {
    /// Whether it counts at `now` for a question about `tenant`. At the very instant of its end it no longer does.
    pub fn counts(&self, tenant: Option<&Tenant>, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end) && self.scope.reaches(tenant)
    }
}

/// The roles that are in every policy.
///
/// `postern:grants:any`, which lifts the rule that nobody grants what they do not hold, is inside `postern:**`.
pub fn built_in() -> Vec<Role> {
    vec![
        built_in_role("postern.admin", "Administers everything.", &["postern:**"]),
        built_in_role(
            "postern.front",
            "Signs people in and acts for them: a gateway, an application.",
            &["postern:auth:login", "postern:auth:refresh", "postern:auth:verify", "postern:accounts:act"],
        ),
        built_in_role("postern.backend", "Asks for verdicts: a service.", &["postern:auth:verify"]),
    ]
}

/// Why a set of roles is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleFault {
    #[error("role `{role}` inherits `{parent}`, which does not exist")]
    UnknownParent { role: RoleId, parent: RoleId },
    #[error("role `{role}` inherits itself, by way of its parent `{parent}`")]
    Cycle { role: RoleId, parent: RoleId },
    #[error("role `{role}` cannot be defined: names that start with `postern.` are built in")]
    BuiltIn { role: RoleId },
    #[error("role `{role}` is defined twice")]
    Duplicate { role: RoleId },
    #[error("{count} roles are more than {MAX_ROLES}")]
    TooManyRoles { count: usize },
    #[error("role `{role}` has {count} patterns, more than {MAX_PATTERNS_OF_A_ROLE}")]
    TooManyPatterns { role: RoleId, count: usize },
    #[error("all roles together have {count} patterns, more than {MAX_PATTERNS}")]
    TooManyPatternsInAll { count: usize },
    #[error("role `{role}` inherits {count} roles, more than {MAX_PARENTS}")]
    TooManyParents { role: RoleId, count: usize },
    #[error("the description of role `{role}` is longer than {MAX_DESCRIPTION_CHARS} characters")]
    LongDescription { role: RoleId },
}

/// Whether these, which are all roles but the built-in ones, are a policy.
pub fn check_roles(roles: &[Role]) -> Result<(), RoleFault> {
    parents_first(&built_in(), roles).map(|_| ())
}

/// All of both, each behind every role that it inherits; or why there is no such order, or no policy. A chain of
/// inheritance may be as long as there are roles: nothing here or in the verifier follows one by recursion.
pub fn parents_first<'a>(built_in: &'a [Role], custom: &'a [Role]) -> Result<Vec<&'a Role>, RoleFault> {
    check_bounds(custom)?;
    let mut by_id = BTreeMap::new();
    for role in built_in.iter().chain(custom) {
        if by_id.insert(&role.id, role).is_some() {
            return Err(RoleFault::Duplicate { role: role.id.clone() });
        }
    }

    let mut children: BTreeMap<&RoleId, Vec<&Role>> = BTreeMap::new();
    for role in by_id.values() {
        for parent in &role.inherits {
            if !by_id.contains_key(parent) {
                return Err(RoleFault::UnknownParent { role: role.id.clone(), parent: parent.clone() });
            }
            children.entry(parent).or_default().push(role);
        }
    }

    let mut waiting_for: BTreeMap<&RoleId, usize> =
        by_id.values().map(|role| (&role.id, role.inherits.len())).collect();
    let mut ready: Vec<&Role> = by_id.values().copied().filter(|role| role.inherits.is_empty()).collect();
    let mut order = Vec::with_capacity(by_id.len());
    while let Some(role) = ready.pop() {
        order.push(role);
        waiting_for.remove(&role.id);
        for child in children.remove(&role.id).unwrap_or_default() {
            if let Some(parents) = waiting_for.get_mut(&child.id) {
                *parents -= 1;
                if *parents == 0 {
                    ready.push(child);
                }
            }
        }
    }
    match find_cycle(&by_id, &waiting_for) {
        Some(cycle) => Err(cycle),
        None => Ok(order),
    }
}

/// A role that still waits has a parent that still waits, so a walk from one to the next must come round.
fn find_cycle(by_id: &BTreeMap<&RoleId, &Role>, waiting_for: &BTreeMap<&RoleId, usize>) -> Option<RoleFault> {
    let mut role = *waiting_for.first_key_value()?.0;
    let mut seen = BTreeSet::new();
    loop {
        let parent = by_id.get(role)?.inherits.iter().find(|parent| waiting_for.contains_key(parent))?;
        if !seen.insert(role) {
            return Some(RoleFault::Cycle { role: role.clone(), parent: parent.clone() });
        }
        role = parent;
    }
}

fn check_bounds(roles: &[Role]) -> Result<(), RoleFault> {
    if roles.len() > MAX_ROLES {
        return Err(RoleFault::TooManyRoles { count: roles.len() });
    }
    for Role { id, description, patterns, inherits, .. } in roles {
        let role = || id.clone();
        if id.is_built_in() {
            return Err(RoleFault::BuiltIn { role: role() });
        }
        if patterns.len() > MAX_PATTERNS_OF_A_ROLE {
            return Err(RoleFault::TooManyPatterns { role: role(), count: patterns.len() });
        }
        if inherits.len() > MAX_PARENTS {
            return Err(RoleFault::TooManyParents { role: role(), count: inherits.len() });
        }
        if description.chars().count() > MAX_DESCRIPTION_CHARS {
            return Err(RoleFault::LongDescription { role: role() });
        }
    }
    let count = roles.iter().map(|role| role.patterns.len()).sum();
    if count > MAX_PATTERNS { Err(RoleFault::TooManyPatternsInAll { count }) } else { Ok(()) }
}

fn built_in_role(id: &'static str, description: &str, patterns: &[&'static str]) -> Role {
    #[expect(clippy::expect_used, reason = "constants of this file, which a test reads")]
    let patterns = patterns.iter().map(|text| text.parse().expect("a pattern")).collect();
    Role {
        id: RoleId(id.to_owned()),
        description: description.to_owned(),
        patterns,
        inherits: Vec::new(),
        etag: String::new(),
    }
}

#[cfg(test)]
mod tests;
