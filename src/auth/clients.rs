//! The clients, as one snapshot in memory: those of the configuration, those of the store, and the development profile's
//! own. The feed replaces the snapshot whole, so a call never waits for a change, and never sees half of one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::domain::client::{Client, HeldSecret, Origin, Registration, San, SecretDigest, SessionPolicy, is_reserved};
use crate::domain::id::ClientId;
use crate::domain::time::Timestamp;

/// All clients of this process.
pub struct Clients {
    /// Of sessions, where a client has no limits of its own.
    server: SessionPolicy,
    /// Of the configuration and of the profile: as they were at the start.
    fixed: Vec<Arc<Client>>,
    snapshot: ArcSwap<Snapshot>,
}

/// Why clients cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientConflict {
    #[error("the client id `{id}` is reserved for the development profile")]
    Reserved { id: ClientId },
    #[error("client `{id}` is declared twice in [[clients]]")]
    DeclaredTwice { id: ClientId },
    #[error("client `{id}` is declared in [[clients]] and was registered through AdminService too")]
    AlsoStored { id: ClientId },
    #[error("the name {san} would prove two clients, `{first}` and `{second}`")]
    SharedName { san: San, first: ClientId, second: ClientId },
    #[error("clients `{first}` and `{second}` have the same secret")]
    SharedSecret { first: ClientId, second: ClientId },
}

/// A certificate whose names prove two clients proves neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

#[derive(Default)]
struct Snapshot {
    by_id: HashMap<ClientId, Arc<Client>>,
    by_secret: HashMap<SecretDigest, (Arc<Client>, HeldSecret)>,
    by_san: HashMap<San, Arc<Client>>,
    built_in: Option<Arc<Client>>,
    absolute_ttl_max: Duration,
}

impl Clients {
    /// `declared` are those of the configuration; `built_in` is the one that acts for calls without a credential.
    pub fn new(
        server: SessionPolicy,
        declared: Vec<Registration>,
        built_in: Option<Registration>,
    ) -> Result<Self, ClientConflict> {
        if let Some(reserved) = declared.iter().find(|client| is_reserved(&client.id)) {
            return Err(ClientConflict::Reserved { id: reserved.id.clone() });
        }
        let fixed = built_in.into_iter().chain(declared);
        let fixed: Vec<Arc<Client>> = fixed.map(|one| Arc::new(Client::new(one, server))).collect();
        let mut snapshot = Snapshot { absolute_ttl_max: server.absolute_ttl, ..Snapshot::default() };
        for client in &fixed {
            match snapshot.add(client) {
                None => {}
                Some(conflict) => return Err(conflict),
            }
        }
        Ok(Self { server, fixed, snapshot: ArcSwap::from_pointee(snapshot) })
    }

    /// Whether the store has a client that cannot be told apart from one of the configuration.
    pub fn check(&self, stored: &[Registration]) -> Result<(), ClientConflict> {
        self.with(stored).1.map_or(Ok(()), Err)
    }

    /// Takes over what the store has. Of two that conflict the configuration's counts: another replica, which does not
    /// have it, let the other one be registered.
    pub fn learn(&self, stored: &[Registration]) {
        let (snapshot, conflict) = self.with(stored);
        if let Some(conflict) = conflict {
            tracing::error!(%conflict, "a registered client was passed over; the configuration's counts");
        }
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Who acts for a call that brings no credential, where the profile has somebody.
    pub fn anonymous(&self) -> Option<Arc<Client>> {
        self.snapshot.load().built_in.clone()
    }

    pub fn get(&self, id: &ClientId) -> Option<Arc<Client>> {
        self.snapshot.load().by_id.get(id).cloned()
    }

    /// Whose secret this is now.
    pub fn by_secret(&self, digest: &SecretDigest, now: Timestamp) -> Option<Arc<Client>> {
        let snapshot = self.snapshot.load();
        let (client, held) = snapshot.by_secret.get(digest)?;
        (held.proves_at(now) && !client.disabled).then(|| Arc::clone(client))
    }

    /// Whose certificate this is. Names that are nobody's do not count; a disabled client's do, so that a certificate
    /// that it shares with another does not turn into the other's.
    pub fn by_names(&self, names: &[San]) -> Result<Option<Arc<Client>>, Ambiguous> {
        let snapshot = self.snapshot.load();
        let mut proven: Option<&Arc<Client>> = None;
        for client in names.iter().filter_map(|name| snapshot.by_san.get(name)) {
            if proven.is_some_and(|proven| proven.id != client.id) {
                return Err(Ambiguous);
            }
            proven = Some(client);
        }
        Ok(proven.filter(|client| !client.disabled).cloned())
    }

    /// The client of this process's own, if one has this id: nobody changes it through AdminService.
    pub fn fixed(&self, id: &ClientId) -> Option<&Arc<Client>> {
        self.fixed.iter().find(|client| client.id == *id)
    }

    /// The clients of this process's own.
    pub fn all_fixed(&self) -> &[Arc<Client>] {
        &self.fixed
    }

    /// Whether a client of this process's own is proven by one of these names.
    pub fn fixed_name<'a>(&self, sans: &'a [San]) -> Option<&'a San> {
        sans.iter().find(|san| self.fixed.iter().any(|client| client.mtls_sans.contains(san)))
    }

    /// The limits of a session that `id` opened at that time, if that client still exists.
    pub fn session_policy(&self, id: &ClientId, opened: Timestamp) -> Option<SessionPolicy> {
        let snapshot = self.snapshot.load();
        snapshot.by_id.get(id).filter(|client| client.opened(id, opened)).map(|client| client.session_policy)
    }

    /// With the server's limits, for those that have none of their own.
    pub fn effective(&self, registration: &Registration) -> SessionPolicy {
        registration.limits.over(self.server)
    }

    /// The longest that any client's sessions may live.
    pub fn absolute_ttl_max(&self) -> Duration {
        self.snapshot.load().absolute_ttl_max
    }

    /// The snapshot with these clients of the store, and the first conflict among them.
    fn with(&self, stored: &[Registration]) -> (Snapshot, Option<ClientConflict>) {
        let mut snapshot = Snapshot { absolute_ttl_max: self.server.absolute_ttl, ..Snapshot::default() };
        let mut conflict = None;
        let stored = stored.iter().map(|one| Arc::new(Client::new(one.clone(), self.server)));
        for client in self.fixed.iter().cloned().chain(stored) {
            let found = snapshot.add(&client);
            conflict = conflict.or(found);
        }
        (snapshot, conflict)
    }
}

impl Snapshot {
    /// What another client has already stays the other's.
    fn add(&mut self, client: &Arc<Client>) -> Option<ClientConflict> {
        let id = || client.id.clone();
        if self.by_id.contains_key(&client.id) {
            let conflict = if client.origin == Origin::Store {
                ClientConflict::AlsoStored { id: id() }
            } else {
                ClientConflict::DeclaredTwice { id: id() }
            };
            return Some(conflict);
        }
        let mut conflict = None;
        for san in &client.mtls_sans {
            if let Some(other) = self.by_san.get(san).filter(|other| other.id != client.id) {
                let (san, first) = (san.clone(), other.id.clone());
                conflict = Some(ClientConflict::SharedName { san, first, second: id() });
            } else {
                self.by_san.insert(san.clone(), Arc::clone(client));
            }
        }
        for held in &client.secrets {
            if let Some((other, _)) = self.by_secret.get(&held.digest).filter(|(other, _)| other.id != client.id) {
                conflict = Some(ClientConflict::SharedSecret { first: other.id.clone(), second: id() });
            } else {
                self.by_secret.insert(held.digest, (Arc::clone(client), *held));
            }
        }
        self.absolute_ttl_max = self.absolute_ttl_max.max(client.session_policy.absolute_ttl);
        if client.origin == Origin::BuiltIn {
            self.built_in = Some(Arc::clone(client));
        }
        self.by_id.insert(id(), Arc::clone(client));
        conflict
    }
}

#[cfg(test)]
mod tests;
