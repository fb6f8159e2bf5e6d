//! The clients, as one snapshot in memory.

use std::sync::Arc;

use crate::domain::client::{Client, SessionPolicy};
use crate::domain::id::ClientId;

/// All clients of this process.
#[derive(Clone, Debug)]
pub struct Clients {
    built_in: Arc<Client>,
}

impl Clients {
    /// The development profile's one client, which acts for calls without a credential.
    pub fn development(built_in: Client) -> Self {
        Self { built_in: Arc::new(built_in) }
    }

    /// Who acts for a call that brings no credential.
    pub fn anonymous(&self) -> Arc<Client> {
        Arc::clone(&self.built_in)
    }

    /// The limits of sessions that `id` opened, if it still exists.
    pub fn session_policy(&self, id: &ClientId) -> Option<SessionPolicy> {
        (self.built_in.id == *id).then_some(self.built_in.session_policy)
    }
}
