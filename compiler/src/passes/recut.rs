//! Cutting layers anew, at the attention core.
//!
//! A traced layer ends where its author ended it: with the residual add after the MLP. The first norm of the next
//! layer reads that sum, so the two could be one launch, but they are in different functions. Nothing fuses across
//! attention, so this pass cuts there: a function holds what follows one layer's attention and what leads up to the
//! next one's.
//!
//! ```text
//! author:  embed | norm qkv ATTN o_proj mlp | norm qkv ATTN o_proj mlp | norm head
//! here:    embed   norm qkv ATTN | o_proj mlp   norm qkv ATTN | o_proj mlp   norm head
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mscc_ir::Template;
use mscc_ir::graph::{Graph, Leaf, NodeKind, Sink, Value};
use mscc_ir::module::Module;
use mscc_ir::ops::OpKind;

use super::rebuild::Rebuild;

/// Cuts every function with one attention at it and joins what then follows on each other.
///
/// Work grows with the kinds of layers and the runs of equal ones in the program, not with the layers.
pub fn recut(module: &Module) -> Module {
    let parts: Vec<Parts> = module.functions.iter().map(cut).collect();
    let mut joiner = Joiner {
        parts: &parts,
        out: Module { functions: Vec::new(), program: Vec::new(), ..module.clone() },
        joined: HashMap::new(),
        pending: Vec::new(),
    };
    for call in &module.program {
        let mut layers = call.layers.clone();
        // The first call of a run follows something else; all later ones follow their own kind.
        if let Some(first) = layers.next() {
            joiner.call(call.function, first..first + 1);
        }
        if let Some(second) = layers.next() {
            joiner.call(call.function, second..second + 1);
        }
        if !layers.is_empty() {
            joiner.call(call.function, layers);
        }
    }
    joiner.flush();
    prune_state(joiner.out)
}

/// Attention in all its forms.
const CORES: [OpKind; 3] = [OpKind::Attention, OpKind::LatentAttention, OpKind::RaggedAttention];

/// A function, cut if it has an attention to be cut at.
struct Parts {
    /// What ends a new function: up to and with the attention; the whole if it is not cut.
    head: Graph,
    /// What starts one: behind the attention.
    tail: Option<Graph>,
}

fn cut(graph: &Graph) -> Parts {
    let is_core = |kind: &NodeKind| match kind {
        NodeKind::Op(op) => CORES.contains(&op.kind()),
        NodeKind::Leaf(_) => false,
    };
    let mut cores = graph.nodes().filter(|(_, node)| is_core(&node.kind));
    let (Some((core, _)), None) = (cores.next(), cores.next()) else {
        return Parts { head: graph.clone(), tail: None };
    };
    let mut in_head = vec![false; graph.len()];
    in_head[core.index()] = true;
    for (sink, value) in graph.sinks() {
        in_head[value.node.index()] |= matches!(sink, Sink::Cache(_));
    }
    for (id, node) in graph.nodes().rev() {
        if in_head[id.index()] {
            node.operands.iter().for_each(|operand| in_head[operand.node.index()] = true);
        }
    }
    // A cache write that depends on the attention would put all into the head: leave such a layer whole.
    let depends_on_core = {
        let mut depends = vec![false; graph.len()];
        depends[core.index()] = true;
        for (id, node) in graph.nodes() {
            let inherited = node.operands.iter().any(|operand| depends[operand.node.index()]);
            depends[id.index()] = depends[id.index()] || inherited;
        }
        depends
    };
    if graph.nodes().any(|(id, _)| id != core && in_head[id.index()] && depends_on_core[id.index()]) {
        return Parts { head: graph.clone(), tail: None };
    }
    split_at(graph, &in_head)
}

/// Splits a graph; values made by ops of the head that the tail reads cross as state of their names.
fn split_at(graph: &Graph, in_head: &[bool]) -> Parts {
    let is_op = |value: Value| matches!(graph.node(value.node).kind, NodeKind::Op(_));
    let state_name = |value: Value| match &graph.node(value.node).kind {
        NodeKind::Leaf(Leaf::State(name)) => Some(name.clone()),
        NodeKind::Leaf(_) => None,
        NodeKind::Op(_) => Some(graph.value_name(value).to_owned()),
    };
    let (mut head, mut tail) = (Graph::new(&graph.name), Graph::new(&graph.name));
    let (mut into_head, mut into_tail) = (Rebuild::new(graph), Rebuild::new(graph));
    let mut crossing: BTreeMap<Value, String> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        if in_head[id.index()] {
            into_head.copy(&mut head, id);
            continue;
        }
        match &node.kind {
            // Leaves that only the tail reads are made when it reads them.
            NodeKind::Leaf(_) => continue,
            NodeKind::Op(_) => {
                for operand in &node.operands {
                    bring(graph, &mut tail, &mut into_tail, *operand, &mut crossing, &state_name);
                }
                into_tail.copy(&mut tail, id);
            }
        }
    }
    for (sink, value) in graph.sinks() {
        let from_head = in_head[value.node.index()] && (is_op(*value) || matches!(sink, Sink::Cache(_)));
        if from_head && !matches!(sink, Sink::State(_)) {
            head.sink(sink.clone(), into_head.mapped(*value));
        } else {
            bring(graph, &mut tail, &mut into_tail, *value, &mut crossing, &state_name);
            tail.sink(sink.clone(), into_tail.mapped(*value));
        }
    }
    for (value, name) in crossing {
        // State that the head does not read is still there for the tail.
        if let Some(value) = into_head.get(value) {
            head.sink(Sink::State(name), value);
        }
    }
    Parts { head, tail: Some(tail) }
}

/// Makes `value` known in the tail: as a leaf of its own, or as state that crosses the cut.
fn bring(
    graph: &Graph,
    tail: &mut Graph,
    into_tail: &mut Rebuild<'_>,
    value: Value,
    crossing: &mut BTreeMap<Value, String>,
    state_name: &dyn Fn(Value) -> Option<String>,
) {
    if into_tail.get(value).is_some() {
        return;
    }
    match state_name(value) {
        Some(name) => {
            let leaf = tail.leaf(Leaf::State(name.clone()), graph.value_name(value), graph.ty(value).clone());
            into_tail.set(value, leaf);
            crossing.insert(value, name);
        }
        None => into_tail.copy(tail, value.node),
    }
}

/// A part of a function, called for a layer so much before or after the one its new function is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Piece {
    function: usize,
    is_tail: bool,
    layer_offset: i64,
}

struct Joiner<'a> {
    parts: &'a [Parts],
    out: Module,
    joined: HashMap<Vec<Piece>, usize>,
    /// Parts that wait for the next attention, with the layer they are for.
    pending: Vec<(usize, bool, u32)>,
}

impl Joiner<'_> {
    /// Calls an author's function for layers that all follow the same thing.
    fn call(&mut self, function: usize, layers: std::ops::Range<u32>) {
        match self.parts[function].tail {
            // Caches belong to the layer called for, so what has one cannot wait for another layer's call.
            None if layers.len() == 1 && !has_cache(&self.parts[function].head) => {
                self.pending.push((function, false, layers.start));
            }
            None => {
                self.flush();
                let index = self.join(&[Piece { function, is_tail: false, layer_offset: 0 }]);
                self.out.call(index, layers);
            }
            Some(_) => {
                let mut pieces = self.pieces(layers.start);
                pieces.push(Piece { function, is_tail: false, layer_offset: 0 });
                let index = self.join(&pieces);
                self.pending = vec![(function, true, layers.end - 1)];
                self.out.call(index, layers);
            }
        }
    }

    /// Takes what is pending, relative to `layer`.
    fn pieces(&mut self, layer: u32) -> Vec<Piece> {
        let relative = |(function, is_tail, of)| Piece {
            function,
            is_tail,
            layer_offset: i64::from(of) - i64::from(layer),
        };
        self.pending.drain(..).map(relative).collect()
    }

    /// Calls what is still pending, for the layer of its last part.
    fn flush(&mut self) {
        let Some((.., layer)) = self.pending.last().copied() else { return };
        let pieces = self.pieces(layer);
        let index = self.join(&pieces);
        self.out.call(index, layer..layer + 1);
    }

    /// The function that runs the pieces one after the other.
    fn join(&mut self, pieces: &[Piece]) -> usize {
        if let Some(index) = self.joined.get(pieces) {
            return *index;
        }
        let graphs: Vec<(&Graph, i64)> = pieces
            .iter()
            .map(|piece| {
                let parts = &self.parts[piece.function];
                let graph = if piece.is_tail { parts.tail.as_ref() } else { None };
                (graph.unwrap_or(&parts.head), piece.layer_offset)
            })
            .collect();
        let mut graph = concatenate(&graphs);
        graph.name = self.free_name(&graph.name);
        self.out.functions.push(graph);
        let index = self.out.functions.len() - 1;
        self.joined.insert(pieces.to_vec(), index);
        index
    }

    fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| self.out.function(name).is_some();
        if !taken(name) {
            return name.to_owned();
        }
        (1u32..)
            .map(|k| format!("{name}_{k}"))
            .find(|name| !taken(name))
            .expect("fewer functions than numbers")
    }
}

fn has_cache(graph: &Graph) -> bool {
    graph.leaves().any(|(_, leaf)| matches!(leaf, Leaf::Cache(_)))
}

/// One function out of several that follow on each other; state passes from one to the next as values.
fn concatenate(parts: &[(&Graph, i64)]) -> Graph {
    let mut names: Vec<&str> = parts.iter().map(|(graph, _)| graph.name.as_str()).collect();
    names.dedup();
    let mut out = Graph::new(&names.join("."));
    let mut state: BTreeMap<String, Value> = BTreeMap::new();
    let mut leaves: HashMap<Leaf, Value> = HashMap::new();
    let mut others: Vec<(Sink, Value)> = Vec::new();
    let mut stated: Vec<String> = Vec::new();
    for (graph, offset) in parts {
        let mut rebuild = Rebuild::new(graph);
        for (id, node) in graph.nodes() {
            let NodeKind::Leaf(leaf) = &node.kind else {
                rebuild.copy(&mut out, id);
                continue;
            };
            let value = Value { node: id, index: 0 };
            let leaf = match leaf {
                Leaf::Weight(template) => Leaf::Weight(template.shift(*offset)),
                Leaf::Input(_) | Leaf::State(_) | Leaf::Cache(_) => leaf.clone(),
            };
            let known = match &leaf {
                Leaf::State(name) => state.get(name).or_else(|| leaves.get(&leaf)),
                Leaf::Input(_) | Leaf::Weight(_) | Leaf::Cache(_) => leaves.get(&leaf),
            };
            let mapped = match known {
                Some(mapped) => *mapped,
                None => {
                    let info = &node.results[0];
                    let mapped = out.leaf(leaf.clone(), &info.name, info.ty.clone());
                    leaves.insert(leaf, mapped);
                    mapped
                }
            };
            rebuild.set(value, mapped);
        }
        for (sink, value) in graph.sinks() {
            let value = rebuild.mapped(*value);
            match sink {
                Sink::State(name) => {
                    if state.insert(name.clone(), value).is_none() {
                        stated.push(name.clone());
                    }
                }
                Sink::Tap(tap) => others.push((Sink::Tap(tap.shift(*offset)), value)),
                Sink::Cache(_) | Sink::Output(_) => others.push((sink.clone(), value)),
            }
        }
    }
    for name in stated {
        let value = state[&name];
        // Passing on what came in under the same name says nothing.
        let unchanged = leaves.get(&Leaf::State(name.clone())) == Some(&value);
        if !unchanged {
            out.sink(Sink::State(name), value);
        }
    }
    for (sink, value) in others {
        out.sink(sink, value);
    }
    out
}

/// Drops state that no later call reads, then what only it needed.
fn prune_state(mut module: Module) -> Module {
    let mut kept: Vec<BTreeSet<String>> = vec![BTreeSet::new(); module.functions.len()];
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for call in module.program.iter().rev() {
        let function = &module.functions[call.function];
        // Twice round a run of calls shows all that more would.
        for _ in call.layers.clone().take(2) {
            for (sink, _) in function.sinks() {
                if let Sink::State(name) = sink
                    && wanted.remove(name)
                {
                    kept[call.function].insert(name.clone());
                }
            }
            for (_, leaf) in function.leaves() {
                if let Leaf::State(name) = leaf {
                    wanted.insert(name.clone());
                }
            }
        }
    }
    for (function, kept) in module.functions.iter_mut().zip(&kept) {
        let keep = |sink: &Sink| !matches!(sink, Sink::State(name) if !kept.contains(name));
        if function.sinks().iter().all(|(sink, _)| keep(sink)) {
            continue;
        }
        let mut pruned = Graph::new(&function.name);
        let mut rebuild = Rebuild::new(function);
        function.nodes().for_each(|(id, _)| rebuild.copy(&mut pruned, id));
        for (sink, value) in function.sinks().iter().filter(|(sink, _)| keep(sink)) {
            pruned.sink(sink.clone(), rebuild.mapped(*value));
        }
        *function = super::normalise::normalise(&pruned);
    }
    module
}

/// The greatest layer offset for which a template's placeholders stand, if it has any.
pub fn layer_offset(template: &Template) -> Option<i64> {
    template.is_layered().then(|| {
        let digits = |text: &str| text.parse().unwrap_or(0);
        let offsets = template.as_str().split("{i").skip(1).filter_map(|rest| rest.split('}').next());
        offsets.map(digits).max().unwrap_or(0)
    })
}

#[cfg(test)]
mod tests;
