//! Tokens whose signature was proven, so that it is computed once. Only that and what follows from the token alone is in
//! an entry: whatever may change is judged on every call. Nothing unproven gets in, so garbage evicts nobody.

use std::sync::Arc;

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::keys::Keys;
use super::proven::Proven;

/// A token of ours with its claims; it only decides into how many shards the room is cut.
const ENTRY_BYTES_TYPICAL: u64 = 1_536;
/// Reference counts, the cache's own book-keeping, and what an allocator rounds up.
const ENTRY_BYTES_BESIDE: usize = 128;

/// Keyed by the whole token: the hash finds the place, then all bytes are compared. An index by hash alone would let
/// whoever finds a collision in it be somebody else.
pub(super) struct ProvenTokens {
    cache: Cache<Box<str>, Arc<Proven>, ByBytes, RandomState>,
}

impl ProvenTokens {
    pub(super) fn with_capacity(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / ENTRY_BYTES_TYPICAL).unwrap_or(usize::MAX).max(1);
        // The hasher's seeds are of this process, so nobody can prepare tokens that share a place.
        let cache = Cache::with(entries, bytes, ByBytes, RandomState::default(), DefaultLifecycle::default());
        Self { cache }
    }

    /// An entry dies with the key that proved it.
    pub(super) fn get(&self, token: &str, keys: &Keys) -> Option<Arc<Proven>> {
        let proven = self.cache.get(token)?;
        if keys.has(&proven.key) {
            return Some(proven);
        }
        self.cache.remove(token);
        None
    }

    pub(super) fn insert(&self, token: &str, proven: &Arc<Proven>) {
        self.cache.insert(token.into(), Arc::clone(proven));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, Arc<Proven>> for ByBytes {
    fn weight(&self, token: &Box<str>, proven: &Arc<Proven>) -> u64 {
        (token.len() + proven.bytes + ENTRY_BYTES_BESIDE) as u64
    }
}
