//! Tokens whose signature was proven, so that it is computed once. Only that and what follows from the token alone is in
//! an entry: whatever may change is judged on every call. Nothing unproven gets in, so garbage evicts nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::keys::Keys;
use super::proven::Proven;

/// A token of ours with its claims; it only decides into how many shards the room is cut.
const ENTRY_BYTES_TYPICAL: u64 = 1_536;
/// Reference counts, the cache's own book-keeping, and what an allocator rounds up.
const ENTRY_BYTES_BESIDE: usize = 128;

/// How the memory for signatures is used, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheCounts {
    pub entries: usize,
    pub bytes: u64,
    pub hits: u64,
    /// What was no token of ours is among them.
    pub misses: u64,
}

/// Keyed by the whole token: the hash finds the place, then all bytes are compared. An index by hash alone would let
/// whoever finds a collision in it be somebody else.
pub(super) struct ProvenTokens {
    cache: Cache<Box<str>, Arc<Proven>, ByBytes, RandomState>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl ProvenTokens {
    pub(super) fn with_capacity(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / ENTRY_BYTES_TYPICAL).unwrap_or(usize::MAX).max(1);
        // The hasher's seeds are of this process, so nobody can prepare tokens that share a place.
        let cache = Cache::with(entries, bytes, ByBytes, RandomState::default(), DefaultLifecycle::default());
        Self { cache, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// An entry dies with the key that proved it.
    pub(super) fn get(&self, token: &str, keys: &Keys) -> Option<Arc<Proven>> {
        if let Some(proven) = self.cache.get(token) {
            if keys.has(&proven.key) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Some(proven);
            }
            self.cache.remove(token);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        None
    }

    pub(super) fn insert(&self, token: &str, proven: &Arc<Proven>) {
        self.cache.insert(token.into(), Arc::clone(proven));
    }

    pub(super) fn counts(&self) -> CacheCounts {
        CacheCounts {
            entries: self.cache.len(),
            bytes: self.cache.weight(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, Arc<Proven>> for ByBytes {
    fn weight(&self, token: &Box<str>, proven: &Arc<Proven>) -> u64 {
        (token.len() + proven.bytes + ENTRY_BYTES_BESIDE) as u64
    }
}
