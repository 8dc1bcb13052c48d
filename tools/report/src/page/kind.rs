//! A kind of layer: its graphs and launches.

use std::collections::{BTreeMap, BTreeSet};

use mscc_ir::kernels::ascend::Soc;
use mscc_ir::plan::{Function, Launch, Listing, Operand, Plan};
use mscc_ir::{NodeId, SymbolTable, TensorType};
use serde::Serialize;

use super::MAX_ROWS;
use super::canvas::{Canvas, Mark, canvas, card};
use crate::diagram::{Fusion, fusion_of, fusions, is_view};
use crate::{clip, figures};

/// What all kinds of a page share.
pub struct Budget {
    /// Nodes that may still be drawn.
    nodes: usize,
    /// Kinds so far.
    kinds: usize,
    /// Ops that fusions made, by colour.
    pub colors: Vec<&'static str>,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { nodes: 6000, kinds: 0, colors: Vec::new() }
    }
}

/// A kind of layer.
#[derive(Serialize)]
pub struct KindView {
    id: usize,
    name: String,
    calls: u64,
    launches: usize,
    source_ops: usize,
    fused: Option<Canvas>,
    source: Option<Canvas>,
    rows: Vec<LaunchView>,
    left_out: usize,
    taps: Vec<String>,
}

/// A row of the table of launches.
#[derive(Serialize)]
struct LaunchView {
    number: usize,
    kernel: String,
    name: String,
    ty: String,
    origins: String,
    moved: String,
    flops: String,
}

impl KindView {
    pub fn new(plan: &Plan, function: &Function, calls: u64, budget: &mut Budget) -> KindView {
        budget.kinds += 1;
        let table = figures::symbols(plan);
        let soc = Soc::by_target(&plan.meta.target);
        let (fused, source) = match &function.listing {
            Some(listing) => graphs(function, listing, budget),
            None => (None, None),
        };
        let source_ops = function.listing.as_ref().map_or(0, |listing| {
            let weight_only = listing.source.weight_only();
            let runs = |id: NodeId| {
                let op = listing.source.node(id).op();
                !weight_only[id.index()] && op.is_some_and(|op| !is_view(op))
            };
            listing.source.nodes().filter(|(id, _)| runs(*id)).count()
        });
        let rows = function.launches.iter().enumerate().take(MAX_ROWS);
        KindView {
            id: budget.kinds,
            name: clip(&function.name),
            calls,
            launches: function.launches.len(),
            source_ops,
            fused,
            source,
            rows: rows.map(|(index, launch)| LaunchView::new(&table, index, launch, soc)).collect(),
            left_out: function.launches.len().saturating_sub(MAX_ROWS),
            taps: function.taps.iter().take(MAX_ROWS).map(|tap| clip(tap.name.as_str())).collect(),
        }
    }
}

/// The graph after fusion, whose boxes unfold to what was there before, and the graph before.
fn graphs(function: &Function, listing: &Listing, budget: &mut Budget) -> (Option<Canvas>, Option<Canvas>) {
    let nodes = listing.source.len() + listing.fused.len();
    if nodes > budget.nodes {
        return (None, None);
    }
    budget.nodes -= nodes;
    let fusions = fusions(listing, &mut budget.colors);
    let mark = |of_node: &[Option<usize>], id: NodeId| -> Mark {
        of_node[id.index()].map(|index| (index + 1, fusions[index].color))
    };
    let launch_of = launches(function);
    let of_fused = fusion_of(&fusions, listing.fused.len(), false);
    let weight_only = listing.fused.weight_only();
    let mut fused_card = |id: NodeId| {
        let node = listing.fused.node(id);
        let op = node.op()?;
        let mut what = match launch_of.get(&(node.results[0].name.as_str(), op.kind().name())) {
            Some(index) => format!("launch {} of {}", index + 1, function.launches.len()),
            None if is_view(op) => "a view, which costs no launch".to_owned(),
            None => "not launched".to_owned(),
        };
        let fusion = of_fused[id.index()].map(|index| (index, &fusions[index]));
        let sources = fusion.and_then(|(index, fusion)| {
            what.push_str(&format!(", stands for {} ops", fusion.sources.len()));
            unfolded(listing, fusion, index + 1)
        });
        Some(card(&listing.fused, &weight_only, id, what, sources))
    };
    let fused = canvas(&listing.fused, None, &|id| mark(&of_fused, id), &mut fused_card);
    let of_source = fusion_of(&fusions, listing.source.len(), true);
    let weight_only = listing.source.weight_only();
    let mut source_card = |id: NodeId| {
        let what = match of_source[id.index()] {
            Some(index) => format!("became part of {} {}", fusions[index].op, clip(&fusions[index].name)),
            None => "stayed as it was".to_owned(),
        };
        Some(card(&listing.source, &weight_only, id, what, None))
    };
    let source = canvas(&listing.source, None, &|id| mark(&of_source, id), &mut source_card);
    (fused, source)
}

/// Launches by the name of their first result and their op.
fn launches(function: &Function) -> BTreeMap<(&str, &'static str), usize> {
    let launches = function.launches.iter().enumerate();
    launches.map(|(index, launch)| ((launch.name.as_str(), launch.op.kind().name()), index)).collect()
}

/// Most source ops that a box unfolds to.
const MAX_UNFOLDED: usize = 24;

/// The ops that fused, as they were.
fn unfolded(listing: &Listing, fusion: &Fusion, number: usize) -> Option<Canvas> {
    let only: BTreeSet<NodeId> = fusion.sources.iter().take(MAX_UNFOLDED).copied().collect();
    canvas(&listing.source, Some(&only), &|_| Some((number, fusion.color)), &mut |_| None)
}

impl LaunchView {
    fn new(table: &SymbolTable, index: usize, launch: &Launch, soc: Option<&Soc>) -> LaunchView {
        let types = |operands: &[Operand]| operands.iter().map(Operand::ty).collect::<Vec<TensorType>>();
        let results = types(&launch.results);
        let call = soc.and_then(|soc| launch.aclnn(soc.family, table).ok());
        let work = match &call {
            // Behind the op's operands are those of the call alone.
            Some(call) => {
                let own = launch.operands.len().saturating_sub(call.decl.num_constants());
                launch.op.work(&types(&launch.operands[..own]), &call.results)
            }
            None => launch.op.work(&types(&launch.operands), &results),
        };
        let moved = figures::likely(table, &(work.read_bytes + work.written_bytes));
        LaunchView {
            number: index + 1,
            kernel: clip(call.map_or(&launch.kernel, |call| call.decl.entry)),
            name: clip(&launch.name),
            ty: clip(&results.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            origins: clip(&launch.origins.join(", ")),
            moved: moved.map_or("?".to_owned(), |moved| figures::bytes(Some(moved))),
            flops: figures::likely(table, &work.flops).map_or("?".to_owned(), count),
        }
    }
}

/// A number of operations for people.
fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..10_000_000 => format!("{:.1} k", number as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} M", number as f64 / 1e6),
        10_000_000_000.. => format!("{:.1} G", number as f64 / 1e9),
    }
}
