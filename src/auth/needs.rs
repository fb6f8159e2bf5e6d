//! What Postern's own methods demand of the client that calls them. Read once: Verify asks on every call.

use std::sync::OnceLock;

use crate::auth::error::AuthError;
use crate::domain::permission::Permission;

pub static LOGIN: Need = Need::new("postern:auth:login");
pub static REFRESH: Need = Need::new("postern:auth:refresh");
pub static VERIFY: Need = Need::new("postern:auth:verify");
pub static EXCHANGE: Need = Need::new("postern:auth:exchange");
/// To act for a person on what is theirs.
pub static ACT: Need = Need::new("postern:accounts:act");
pub static SESSIONS_READ: Need = Need::new("postern:sessions:read");
pub static SESSIONS_REVOKE: Need = Need::new("postern:sessions:revoke");

/// A permission, by its text.
#[derive(Debug)]
pub struct Need {
    text: &'static str,
    read: OnceLock<Option<Permission>>,
}

impl Need {
    const fn new(text: &'static str) -> Self {
        Self { text, read: OnceLock::new() }
    }

    pub const fn text(&self) -> &'static str {
        self.text
    }

    pub fn permission(&self) -> Result<&Permission, AuthError> {
        let read = self.read.get_or_init(|| self.text.parse().ok());
        read.as_ref().ok_or_else(|| AuthError::internal("a permission of ours is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_permission() {
        for need in [&LOGIN, &REFRESH, &VERIFY, &EXCHANGE, &ACT, &SESSIONS_READ, &SESSIONS_REVOKE] {
            assert_eq!(need.permission().unwrap().as_str(), need.text());
        }
    }
}
