//! What must hold for cache groups, and for what reads and writes them.

use std::collections::HashSet;

use super::Problem;
use crate::Symbol;
use crate::graph::{CacheRef, Graph, Leaf, NodeKind, Value};
use crate::module::{CacheGroup, CacheKind, Module};
use crate::ops::{Effect, Op};
use crate::tensor_type::MAX_RANK;

/// Why there can be no such group.
pub(super) fn group_fault(group: &CacheGroup) -> Option<&'static str> {
    let mut names = HashSet::new();
    let ordered = group.layers.windows(2).all(|pair| pair[0].end <= pair[1].start);
    if !Symbol::is_name(&group.name) {
        Some("has a name that is no symbol's")
    } else if group.block_size == 0 {
        Some("has pages of 0 tokens")
    } else if group.kind == CacheKind::Window(0) {
        Some("has a window of 0 tokens")
    } else if !ordered || group.layers.iter().any(|range| range.is_empty()) {
        Some("has layers that are not ascending and disjoint")
    } else if group.tensors.iter().any(|tensor| tensor.row.len() + 2 > MAX_RANK) {
        Some("has a tensor of too many axes")
    } else if !group.tensors.iter().all(|tensor| names.insert(&tensor.name)) {
        Some("has two tensors of one name")
    } else {
        None
    }
}

/// Ops of a sound graph that go to a cache by another group's tables, or that look further back than it keeps tokens.
pub(super) fn bad_uses(module: &Module, graph: &Graph) -> Vec<(Value, Problem)> {
    let mut found = Vec::new();
    let mut of_node: Vec<Origin<'_>> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let op = match &node.kind {
            NodeKind::Leaf(leaf) => {
                of_node.push(Origin::of(leaf));
                continue;
            }
            NodeKind::Op(op) => op,
        };
        let origins: Vec<Origin<'_>> =
            node.operands.iter().map(|value| of_node[value.node.index()]).collect();
        let writes = op.kind().effect() == Effect::Writes;
        let passes_on = (writes || op.kind().is_view()) && !origins.is_empty();
        of_node.push(if passes_on { origins[0] } else { Origin::Other });
        if op.kind().is_view() {
            continue;
        }
        let caches = origins.iter().filter_map(|origin| match origin {
            Origin::Cache(cache) => Some(*cache),
            Origin::Table(_) | Origin::Other => None,
        });
        for cache in caches {
            let other = origins.iter().find_map(|origin| match origin {
                Origin::Table(table) if table.split_once('.').is_some_and(|(_, of)| of != cache.group) => {
                    Some(*table)
                }
                Origin::Table(_) | Origin::Cache(_) | Origin::Other => None,
            });
            let reason = match other {
                Some(table) => Some(format!("is reached through `{table}`")),
                None if writes => None,
                None => looks_too_far(module.cache(&cache.group), op),
            };
            if let Some(reason) = reason {
                let problem = Problem::CacheUse { group: cache.group.clone(), reason };
                found.push((Value { node: id, index: 0 }, problem));
                break;
            }
        }
    }
    found
}

/// Where a value comes from, as far as caches are concerned.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Cache(&'a CacheRef),
    /// The input of this name, perhaps a table of a cache group.
    Table(&'a str),
    Other,
}

impl<'a> Origin<'a> {
    fn of(leaf: &'a Leaf) -> Self {
        match leaf {
            Leaf::Cache(cache) => Origin::Cache(cache),
            Leaf::Input(name) => Origin::Table(name),
            Leaf::State(_) | Leaf::Weight(_) => Origin::Other,
        }
    }
}

/// Whether an op that reads a cache may see tokens that the group no longer keeps.
fn looks_too_far(group: Option<&CacheGroup>, op: &Op) -> Option<String> {
    let window = group?.window()?;
    let seen = match op {
        Op::Attention(attention) => attention.window,
        _ => None, // the other ops that read caches read all of it
    };
    match seen {
        Some(seen) if seen <= window => None,
        Some(seen) => Some(format!("keeps {window} tokens, and its reader sees {seen}")),
        None => Some(format!("keeps {window} tokens, and its reader sees all")),
    }
}
