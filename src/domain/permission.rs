use std::{fmt, str::FromStr};
macro_rules! text { ($($n:ident $e:ident),*) => {$(
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)] pub struct $n(Box<str>);
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)] #[error("bad")] pub struct $e;
impl $n { pub fn as_str(&self) -> &str { &self.0 } }
impl FromStr for $n { type Err = $e; fn from_str(t: &str) -> Result<Self, $e> { Ok(Self(t.into())) } }
impl fmt::Display for $n { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
)*}}
text!(Permission InvalidPermission, Pattern InvalidPattern, Tenant InvalidTenant);
impl Pattern {
    pub fn matches(&self, p: &Permission) -> bool {
        p.as_str().starts_with(self.as_str())
    }
    pub fn covers(&self, p: &Pattern) -> bool {
        p == self
    }
}
pub fn covered_by(pattern: &Pattern, held: &[Pattern]) -> bool {
    held.iter().any(|h| h.covers(pattern))
}
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Everywhere,
    Tenant(Tenant),
}
