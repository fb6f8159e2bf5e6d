//! Who may do what. Owns the compiled form of all roles and the decision over a principal's bindings; must not know of
//! tokens, of the feed, or of how roles are stored. Deny by default, and there are no deny rules, so that adding a role
//! or a binding never takes a right away.
//!
//! A check walks one trie of all patterns (at most eight segments), then asks per binding whether its role, or one that
//! it inherits, owns a pattern that matched. Both sides of that question are sets whose intersection is found in a few
//! steps, so the cost hardly grows with the number of roles, and memory stays bounded for any graph of inheritance.

mod pattern_trie;
mod role_set;

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use foldhash::fast::RandomState;

use crate::domain::permission::{Pattern, Permission, Scope, Tenant};
use crate::domain::role::{BoundRole, Role, RoleFault, RoleId, built_in, parents_first};
use crate::domain::time::Timestamp;

use pattern_trie::{Entry, PatternTrie};
use role_set::RoleSet;

/// A snapshot of all roles, ready to be asked. Never changed; the next version replaces it whole.
pub struct Policy {
    version: i64,
    /// Ordered by id; everything else names a role by its place here.
    roles: Vec<CompiledRole>,
    places: HashMap<RoleId, u32, RandomState>,
    patterns: PatternTrie,
}

struct CompiledRole {
    id: RoleId,
    /// Itself and all that it inherits, at any distance.
    lineage: RoleSet,
    own_patterns: Vec<Pattern>,
}

/// Why a permission is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The role that is bound to the principal.
    pub role: RoleId,
    /// The role whose pattern matched, if `role` only inherits it.
    pub inherited_role: Option<RoleId>,
    pub pattern: Pattern,
    /// Where the binding holds.
    pub scope: Scope,
}

impl Policy {
    /// `roles` are all but the built-in ones.
    pub fn compile(roles: &[Role], version: i64) -> Result<Self, RoleFault> {
        let built_in = built_in();
        let parents_first = parents_first(&built_in, roles)?;
        let mut by_id = parents_first.clone();
        by_id.sort_unstable_by_key(|role| &role.id);
        let places: HashMap<RoleId, u32, RandomState> = by_id.iter().map(|role| role.id.clone()).zip(0..).collect();

        let mut lineages: HashMap<&RoleId, RoleSet, RandomState> = HashMap::default();
        for role in parents_first {
            let mut lineage = RoleSet::default();
            if let Some(place) = places.get(&role.id) {
                lineage.insert(*place);
            }
            for parent in role.inherits.iter().filter_map(|parent| lineages.get(parent)) {
                lineage.unite(parent);
            }
            lineages.insert(&role.id, lineage);
        }

        let mut patterns = PatternTrie::default();
        let mut compiled = Vec::with_capacity(by_id.len());
        for (role, place) in by_id.into_iter().zip(0..) {
            for pattern in &role.patterns {
                patterns.insert(pattern, place);
            }
            compiled.push(CompiledRole {
                id: role.id.clone(),
                lineage: lineages.remove(&role.id).unwrap_or_default(),
                own_patterns: role.patterns.clone(),
            });
        }
        Ok(Self { version, roles: compiled, places, patterns })
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn has_role(&self, role: &RoleId) -> bool {
        self.places.contains_key(role)
    }

    /// Whether what is bound holds `permission`, and by what. Without a tenant only what is bound everywhere counts.
    ///
    /// Where several things grant, the answer does not depend on chance: the most literal pattern (per segment, from
    /// the left: the text itself, then `*`, then `**`), then a role's own before an inherited one, then the earlier
    /// binding; among inherited roles that own the pattern, the one whose id sorts first.
    pub fn check<'b>(
        &self,
        bound: impl IntoIterator<Item = &'b BoundRole>,
        permission: &Permission,
        tenant: Option<&Tenant>,
        now: Timestamp,
    ) -> Option<Granted> {
        let matching = self.patterns.matching(permission);
        if matching.is_empty() {
            return None;
        }
        let mut best: Option<Candidate<'_>> = None;
        for bound in bound.into_iter().filter(|bound| bound.counts(tenant, now)) {
            let Some((place, role)) = self.role(&bound.role) else { continue };
            let candidate = matching.iter().enumerate().find_map(|(rank, entry)| {
                let inherited =
                    if entry.owners.contains(place) { None } else { Some(entry.owners.first_common(&role.lineage)?) };
                Some(Candidate { rank, inherited, entry, bound })
            });
            if let Some(candidate) = candidate
                && best.as_ref().is_none_or(|best| candidate.order() < best.order())
            {
                if candidate.order() == Candidate::UNBEATABLE {
                    return Some(self.grant(&candidate));
                }
                best = Some(candidate);
            }
        }
        best.map(|best| self.grant(&best))
    }

    /// All that the role grants, inherited patterns too, each once and in order of their text. Nothing for an unknown
    /// role.
    pub fn patterns_of(&self, role: &RoleId) -> Vec<Pattern> {
        self.role(role).map_or_else(Vec::new, |(_, role)| self.patterns_along(&role.lineage))
    }

    /// All that is held in `tenant` (in none: everywhere), each pattern once and in order of their text. For the rule
    /// that nobody grants what they do not hold.
    pub fn held_patterns<'b>(
        &self,
        bound: impl IntoIterator<Item = &'b BoundRole>,
        tenant: Option<&Tenant>,
        now: Timestamp,
    ) -> Vec<Pattern> {
        let mut lineage = RoleSet::default();
        for bound in bound.into_iter().filter(|bound| bound.counts(tenant, now)) {
            if let Some((_, role)) = self.role(&bound.role) {
                lineage.unite(&role.lineage);
            }
        }
        self.patterns_along(&lineage)
    }

    fn role(&self, id: &RoleId) -> Option<(u32, &CompiledRole)> {
        let place = *self.places.get(id)?;
        Some((place, self.roles.get(place as usize)?))
    }

    fn patterns_along(&self, lineage: &RoleSet) -> Vec<Pattern> {
        let roles = lineage.iter().filter_map(|place| self.roles.get(place as usize));
        let distinct: BTreeSet<&Pattern> = roles.flat_map(|role| &role.own_patterns).collect();
        distinct.into_iter().cloned().collect()
    }

    fn grant(&self, candidate: &Candidate<'_>) -> Granted {
        let inherited = candidate.inherited.and_then(|place| self.roles.get(place as usize));
        Granted {
            role: candidate.bound.role.clone(),
            inherited_role: inherited.map(|role| role.id.clone()),
            pattern: candidate.entry.pattern.clone(),
            scope: candidate.bound.scope.clone(),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("version", &self.version)
            .field("roles", &self.roles.len())
            .finish_non_exhaustive()
    }
}

/// A binding and the best of the patterns that match by it.
struct Candidate<'a> {
    /// The pattern's place among those that match.
    rank: usize,
    inherited: Option<u32>,
    entry: &'a Entry,
    bound: &'a BoundRole,
}

impl Candidate<'_> {
    const UNBEATABLE: (usize, bool) = (0, false);

    fn order(&self) -> (usize, bool) {
        (self.rank, self.inherited.is_some())
    }
}

#[cfg(test)]
mod tests;
