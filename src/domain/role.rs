use crate::domain::{
    permission::{Pattern, Scope},
    time::Timestamp,
};
use std::{fmt, str::FromStr};
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleId(Box<str>);
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad")]
pub struct InvalidRoleId;
impl RoleId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn is_built_in(&self) -> bool {
        self.0.starts_with("postern.")
    }
}
impl FromStr for RoleId {
    type Err = InvalidRoleId;
    fn from_str(t: &str) -> Result<Self, InvalidRoleId> {
        Ok(Self(t.into()))
    }
}
impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub id: RoleId,
    pub description: String,
    pub patterns: Vec<Pattern>,
    pub inherits: Vec<RoleId>,
    pub etag: String,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundRole {
    pub role: RoleId,
    pub scope: Scope,
    pub expires_at: Option<Timestamp>,
}
pub fn built_in() -> Vec<Role> {
    Vec::new()
}
