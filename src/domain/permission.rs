//! What may be asked for, what may be granted, and where: permissions, the patterns that match them, tenants and scopes.

use std::fmt;
use std::str::FromStr;

/// More would only make a walk over patterns dearer; the contract names both.
pub const MAX_SEGMENTS: usize = 8;
const MAX_BYTES: usize = 128;
const MAX_TENANT_BYTES: usize = 128;

const ONE: &str = "*";
const REST: &str = "**";

/// What a caller asks for, such as `orders:refund`. Never holds a wildcard: a question cannot match more than itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(String);

impl Permission {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One to eight of them, never an empty one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split(':')
    }
}

impl FromStr for Permission {
    type Err = InvalidPermission;

    fn from_str(text: &str) -> Result<Self, InvalidPermission> {
        let fits = fits_bounds(text) && text.split(':').all(is_literal);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidPermission) }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a permission is one to eight segments of `a-z`, `0-9`, `_` and `-`, joined by `:`, without wildcards, at most 128 \
     bytes in all, such as `orders:refund`"
)]
pub struct InvalidPermission;

/// What a role grants: a permission in which `*` may stand for exactly one whole segment, and a last `**` for one or
/// more. So `orders:**` does not match `orders` itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.0.split(':').map(|text| match text {
            ONE => Segment::One,
            REST => Segment::Rest,
            literal => Segment::Literal(literal),
        })
    }

    pub fn matches(&self, permission: &Permission) -> bool {
        let mut asked = permission.segments();
        for segment in self.segments() {
            let held = match (segment, asked.next()) {
                (_, None) => false,
                (Segment::Rest, Some(_)) => return true,
                (Segment::One, Some(_)) => true,
                (Segment::Literal(literal), Some(text)) => literal == text,
            };
            if !held {
                return false;
            }
        }
        asked.next().is_none()
    }

    /// Whether this matches every permission that `other` matches. Exact, not an estimate.
    pub fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.segments();
        let mut ours = self.segments();
        while let Some(segment) = ours.next() {
            let covered = match (segment, theirs.next()) {
                (_, None) => false,
                (Segment::Rest, Some(_)) => return true,
                (Segment::One, Some(Segment::Rest)) => {
                    return ours.next().is_none() && !other.has_room_behind_its_end();
                }
                (Segment::One, Some(_)) => true,
                (literal, Some(their)) => literal == their,
            };
            if !covered {
                return false;
            }
        }
        theirs.next().is_none()
    }

    /// Whether a last `**` can stand for two segments at all: `x:y` must fit where `**` stands.
    fn has_room_behind_its_end(&self) -> bool {
        self.segments().count() < MAX_SEGMENTS && self.0.len() < MAX_BYTES
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let (all_but_last, last) = text.rsplit_once(':').map_or((None, text), |(head, last)| (Some(head), last));
        let fits = fits_bounds(text)
            && all_but_last.is_none_or(|head| head.split(':').all(|segment| segment == ONE || is_literal(segment)))
            && (last == ONE || last == REST || is_literal(last));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidPattern) }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern is one to eight segments of `a-z`, `0-9`, `_` and `-`, joined by `:`, at most 128 bytes in all; `*` \
     stands for one whole segment, and `**`, only at the end, for one or more, such as `orders:*` or `billing:**`"
)]
pub struct InvalidPattern;

/// A piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    Literal(&'a str),
    /// `*`
    One,
    /// `**`; always the last.
    Rest,
}

/// Whether somebody who holds `held` also holds all of `pattern`: the guard before every grant.
///
/// On the safe side: one held pattern alone must cover it. Held `a:*` and `a:*:**` together match all that `a:**`
/// matches, yet this answers no, since an answer that adds up patterns is one that nobody can check by eye.
pub fn covered_by(pattern: &Pattern, held: &[Pattern]) -> bool {
    held.iter().any(|held| held.covers(pattern))
}

/// An opaque name in which a binding holds. Case-sensitive, never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(String);

impl Tenant {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = InvalidTenant;

    fn from_str(text: &str) -> Result<Self, InvalidTenant> {
        let fits = (1..=MAX_TENANT_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidTenant) }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tenant is 1 to 128 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `:`, `@` and `-`")]
pub struct InvalidTenant;

/// Where a binding holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Everywhere,
    Tenant(Tenant),
}

impl Scope {
    /// None: everywhere.
    pub fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Everywhere => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }

    /// Whether what holds here counts for a question about `tenant`. A question that names no tenant is about all of
    /// them, so only what holds everywhere counts.
    pub fn reaches(&self, tenant: Option<&Tenant>) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Tenant(own) => tenant == Some(own),
        }
    }
}

fn fits_bounds(text: &str) -> bool {
    text.len() <= MAX_BYTES && text.split(':').count() <= MAX_SEGMENTS
}

fn is_literal(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests;
