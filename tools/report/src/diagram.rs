//! Which nodes of a function are drawn, which edges, and what fused to what.

use std::collections::{BTreeMap, BTreeSet};

use mscc_ir::graph::Node;
use mscc_ir::ops::Op;
use mscc_ir::plan::Listing;
use mscc_ir::{Graph, Leaf, NodeId, NodeKind, Sink, Value};

/// Ops of the source that rewrites put into the place of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fusion {
    /// The op that does the work: `add_rms_norm`.
    pub op: &'static str,
    /// Name of its first result.
    pub name: String,
    /// Nodes of the fused graph.
    pub members: Vec<NodeId>,
    /// Ops of the source that they stand for.
    pub sources: Vec<NodeId>,
    /// The same for all fusions of one op.
    pub color: usize,
}

/// The fusions of a function, in order of the fused graph. `colors` remembers ops from one function to the next.
pub fn fusions(listing: &Listing, colors: &mut Vec<&'static str>) -> Vec<Fusion> {
    let Listing { source, fused, origins, fusion: _ } = listing;
    let mut groups: BTreeMap<Vec<NodeId>, Vec<NodeId>> = BTreeMap::new();
    for ((id, node), origins) in fused.nodes().zip(origins) {
        let sources = origins.iter().map(|origin| NodeId(*origin));
        let sources: Vec<NodeId> =
            sources.filter(|id| id.index() < source.len() && source.node(*id).op().is_some()).collect();
        if node.op().is_some() && sources.len() > 1 {
            groups.entry(sources).or_default().push(id);
        }
    }
    let weight_only = fused.weight_only();
    let mut fusions: Vec<Fusion> = Vec::with_capacity(groups.len());
    for (sources, members) in groups {
        let is_work =
            |id: &&NodeId| !weight_only[id.index()] && fused.node(**id).op().is_some_and(|op| !is_view(op));
        let Some(main) = members.iter().find(is_work).or(members.first()) else { continue };
        let node = fused.node(*main);
        let Some(op) = node.op() else { continue };
        let op = op.kind().name();
        let color = colors.iter().position(|known| *known == op).unwrap_or_else(|| {
            colors.push(op);
            colors.len() - 1
        });
        fusions.push(Fusion { op, name: node.results[0].name.clone(), members, sources, color });
    }
    fusions.sort_by_key(|fusion| fusion.members.first().copied());
    fusions
}

/// Of each of `len` nodes of the fused graph, or with `sources` of the source graph, the fusion that it belongs to.
pub fn fusion_of(fusions: &[Fusion], len: usize, sources: bool) -> Vec<Option<usize>> {
    let mut of_node = vec![None; len];
    for (index, fusion) in fusions.iter().enumerate() {
        for id in if sources { &fusion.sources } else { &fusion.members } {
            of_node[id.index()] = Some(index);
        }
    }
    of_node
}

/// Whether an op only looks at its operand's memory.
pub fn is_view(op: &Op) -> bool {
    op.kind().is_view()
}

/// Something drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An op.
    Op(NodeId),
    /// State that comes in.
    Arrival(NodeId),
    /// Results of a node that go on to other functions or out, and as what.
    Departure(String),
}

/// A graph as it is drawn: ops that run in a step, state that comes and goes. What else comes in (weights, inputs, caches,
/// and state that many only read) is told by the nodes that read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagram {
    /// What is drawn; operands before users.
    pub items: Vec<Item>,
    /// By items, each pair once.
    pub edges: Vec<(usize, usize)>,
}

/// What of a graph is drawn: all, or ops in `only`.
pub fn diagram(graph: &Graph, only: Option<&BTreeSet<NodeId>>) -> Diagram {
    let weight_only = graph.weight_only();
    let replaced: BTreeSet<&str> = graph.sinks().iter().filter_map(|(sink, _)| state_name(sink)).collect();
    let replaces = |name: &String| replaced.contains(name.as_str());
    let users: Vec<usize> = graph.users().iter().map(Vec::len).collect();
    let is_drawn = |id: NodeId, node: &Node| match &node.kind {
        NodeKind::Op(_) => match only {
            Some(only) => only.contains(&id),
            None => !weight_only[id.index()],
        },
        NodeKind::Leaf(Leaf::State(name)) => only.is_none() && (replaces(name) || users[id.index()] == 1),
        NodeKind::Leaf(_) => false,
    };
    let mut items = Vec::new();
    let mut item_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (id, node) in graph.nodes().filter(|(id, node)| is_drawn(*id, node)) {
        item_of.insert(id, items.len());
        items.push(if node.op().is_some() { Item::Op(id) } else { Item::Arrival(id) });
    }
    let mut edges = BTreeSet::new();
    for (id, to) in &item_of {
        for operand in &graph.node(*id).operands {
            edges.extend(item_of.get(&operand.node).map(|from| (*from, *to)));
        }
    }
    let mut departures: BTreeMap<NodeId, Vec<&str>> = BTreeMap::new();
    for (sink, value) in graph.sinks().iter().filter(|_| only.is_none()) {
        if let Sink::State(name) | Sink::Output(name) = sink {
            departures.entry(value.node).or_default().push(name);
        }
    }
    for (from, names) in departures {
        edges.extend(item_of.get(&from).map(|from| (*from, items.len())));
        items.push(Item::Departure(names.join(", ")));
    }
    Diagram { items, edges: edges.into_iter().collect() }
}

fn state_name(sink: &Sink) -> Option<&str> {
    match sink {
        Sink::State(name) => Some(name),
        Sink::Cache(_) | Sink::Output(_) | Sink::Tap(_) => None,
    }
}

impl Diagram {
    /// Nodes of the graph that are drawn.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        let node = |item: &Item| match item {
            Item::Op(id) | Item::Arrival(id) => Some(*id),
            Item::Departure(_) => None,
        };
        self.items.iter().filter_map(node).collect()
    }
}

/// What an operand is for someone who looks at the node that reads it.
pub fn describe(graph: &Graph, weight_only: &[bool], value: Value) -> String {
    match &graph.node(value.node).kind {
        NodeKind::Leaf(Leaf::Weight(template)) => template.as_str().to_owned(),
        NodeKind::Leaf(leaf @ (Leaf::Input(_) | Leaf::State(_) | Leaf::Cache(_))) => leaf.to_string(),
        NodeKind::Op(_) if weight_only[value.node.index()] => {
            format!("{} (made at load)", graph.value_name(value))
        }
        NodeKind::Op(_) => graph.value_name(value).to_owned(),
    }
}
