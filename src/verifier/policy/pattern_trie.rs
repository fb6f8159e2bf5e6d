//! All patterns of all roles, found by the permissions that they match.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::role_set::RoleSet;
use crate::domain::permission::{MAX_SEGMENTS, Pattern, Permission, Segment};

/// A pattern and the roles that name it.
pub(super) struct Entry {
    pub(super) pattern: Pattern,
    pub(super) owners: RoleSet,
}

/// A trie over segments. A literal segment is looked up once per question and is a number from there on.
pub(super) struct PatternTrie {
    symbols: HashMap<Box<str>, u32, RandomState>,
    /// (node, symbol) to node.
    edges: HashMap<(u32, u32), u32, RandomState>,
    /// The first is the root.
    nodes: Vec<Node>,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Node {
    /// The node behind `*`.
    one: Option<u32>,
    /// The entry of the pattern that ends here.
    end: Option<u32>,
    /// The entry of the pattern that ends here in `:**`.
    rest: Option<u32>,
}

impl Default for PatternTrie {
    fn default() -> Self {
        Self {
            symbols: HashMap::default(),
            edges: HashMap::default(),
            nodes: vec![Node::default()],
            entries: Vec::new(),
        }
    }
}

impl PatternTrie {
    pub(super) fn insert(&mut self, pattern: &Pattern, owner: u32) {
        let mut at = 0;
        let mut open_ended = false;
        for segment in pattern.segments() {
            match segment {
                Segment::Literal(literal) => at = self.literal_child(at, literal),
                Segment::One => at = self.one_child(at),
                Segment::Rest => open_ended = true,
            }
        }
        let next_entry = place_behind(&self.entries);
        let Some(node) = self.nodes.get_mut(at as usize) else { return };
        let slot = if open_ended { &mut node.rest } else { &mut node.end };
        let entry = *slot.get_or_insert(next_entry);
        if entry == next_entry {
            self.entries.push(Entry { pattern: pattern.clone(), owners: RoleSet::default() });
        }
        if let Some(entry) = self.entries.get_mut(entry as usize) {
            entry.owners.insert(owner);
        }
    }

    /// Those that match, the most literal first: segment by segment from the left, the text before `*` before `**`.
    pub(super) fn matching(&self, permission: &Permission) -> Vec<&Entry> {
        let mut symbols = [None; MAX_SEGMENTS];
        let mut count = 0;
        for (symbol, segment) in symbols.iter_mut().zip(permission.segments()) {
            *symbol = self.symbols.get(segment).copied();
            count += 1;
        }
        let mut found = Vec::new();
        self.walk(0, symbols.get(..count).unwrap_or_default(), &mut found);
        found
    }

    /// No deeper than a permission has segments.
    fn walk<'a>(&'a self, at: u32, ahead: &[Option<u32>], found: &mut Vec<&'a Entry>) {
        let Some(node) = self.nodes.get(at as usize) else { return };
        let Some((segment, behind)) = ahead.split_first() else {
            found.extend(self.entry(node.end));
            return;
        };
        if let Some(symbol) = *segment
            && let Some(child) = self.edges.get(&(at, symbol))
        {
            self.walk(*child, behind, found);
        }
        if let Some(child) = node.one {
            self.walk(child, behind, found);
        }
        found.extend(self.entry(node.rest));
    }

    fn entry(&self, place: Option<u32>) -> Option<&Entry> {
        self.entries.get(place? as usize)
    }

    fn literal_child(&mut self, at: u32, literal: &str) -> u32 {
        let next_symbol = u32::try_from(self.symbols.len()).unwrap_or(u32::MAX);
        let symbol = match self.symbols.get(literal) {
            Some(symbol) => *symbol,
            None => *self.symbols.entry(literal.into()).or_insert(next_symbol),
        };
        let next_node = place_behind(&self.nodes);
        let child = *self.edges.entry((at, symbol)).or_insert(next_node);
        if child == next_node {
            self.nodes.push(Node::default());
        }
        child
    }

    fn one_child(&mut self, at: u32) -> u32 {
        let next_node = place_behind(&self.nodes);
        let Some(node) = self.nodes.get_mut(at as usize) else { return at };
        let child = *node.one.get_or_insert(next_node);
        if child == next_node {
            self.nodes.push(Node::default());
        }
        child
    }
}

/// The bounds on roles and patterns keep every count far below `u32::MAX`.
fn place_behind<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
