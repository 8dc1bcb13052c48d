//! Attention and rotation of sizes that the target's operators do not take, computed by others of theirs.
//!
//! Heads are filled up with zeros to the next width that an operator takes, in caches too: scores and results are the
//! same, the zeros are cut off behind. Where no operator takes sequences of several new tokens, each new token is a row
//! of its own, with the pages of its sequence and as many tokens as it sees; where none takes several query heads for a
//! key head, keys and values are kept once for each query head.

use std::collections::BTreeMap;

use mscc_ir::attr::Float;
use mscc_ir::graph::{CacheRef, Graph, Leaf, NodeId, NodeKind, Value};
use mscc_ir::module::CacheGroup;
use mscc_ir::ops::{
    Add, ApplyRotary, CacheRead, CacheWritePair, Concat, Effect, Gather, InterleaveRope, KvRmsNormRopeCache,
    Mul, Op, OpKind, Pad, RepeatHeads, Reshape, RmsNorm, Scale, Split, TokenAttention,
};
use mscc_ir::{Dim, Module, SymbolTable, TensorType, step};

use super::carry::carry;
use super::rebuild::Rebuild;
use crate::target::{Device, NoKernel, Target};

/// Heads of attention over a paged cache, in sequences of any length.
const WIDTHS: [u32; 2] = [64, 128];
/// Width of heads of expanded latent attention, and of what is rotated.
const EXPANDED: (u32, u32) = (128, 64);
/// Width of latents, and of what is rotated.
const LATENT: (u32, u32) = (512, 64);
/// What a head's width must be a multiple of where each token is a row.
const ROW_BLOCK: i64 = 16;

/// How an op is computed by one that the target has.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The op.
    op: Op,
    /// Innermost sizes of operands that are filled up.
    widths: Vec<Option<u32>>,
    /// Whether each new token is a row of its own.
    by_rows: bool,
    /// The operand of one row for all heads that is spelled out for each.
    spelled_out: Option<usize>,
    /// How often each key head is kept.
    repeat: u32,
}

/// How `op` can be computed, if the target has no kernel for it as it is.
///
/// Errors: what stands against each way.
pub fn fit(target: &Target, op: &Op, operands: &[TensorType]) -> Result<Fit, NoKernel> {
    let mut refused = NoKernel::default();
    for fit in candidates(target, op, operands).unwrap_or_default() {
        let types = fit.operand_types(operands);
        let results = types.as_ref().and_then(|types| fit.op.infer(types).ok());
        let Some((types, results)) = types.zip(results) else { continue };
        match target.kernel(&fit.op, &types, &results) {
            Ok(_) => return Ok(fit),
            Err(reasons) => refused.0.extend(reasons.0),
        }
    }
    Err(refused)
}

/// The ways that there are, the best first.
fn candidates(target: &Target, op: &Op, operands: &[TensorType]) -> Option<Vec<Fit>> {
    if target.device == Device::Cpu {
        return None;
    }
    let wide = |widths: &[Option<u32>]| Fit {
        op: op.clone(),
        widths: widths.to_vec(),
        by_rows: false,
        spelled_out: None,
        repeat: 1,
    };
    let last = |index: usize| operands.get(index)?.last().as_const();
    let mut candidates = Vec::new();
    match op {
        Op::Attention(attention) => {
            candidates.extend(WIDTHS.map(|width| wide(&[Some(width); 3])));
            let plain = attention.window.is_none() && attention.soft_cap.is_none() && operands.len() == 6;
            let width =
                u32::try_from((last(1)?.max(last(2)?) + ROW_BLOCK - 1) / ROW_BLOCK * ROW_BLOCK).ok()?;
            if plain {
                let op = Op::from(TokenAttention { scale: attention.scale });
                let fit =
                    Fit { op, widths: vec![Some(width); 3], by_rows: true, spelled_out: None, repeat: 1 };
                let heads = operands[0].shape[1]
                    .exact_div(&operands[1].shape[2])
                    .and_then(|groups| groups.as_const());
                let repeat = heads.and_then(|groups| u32::try_from(groups).ok()).filter(|groups| *groups > 1);
                candidates.push(fit.clone());
                candidates.extend(repeat.map(|repeat| Fit { repeat, ..fit }));
            }
        }
        Op::RaggedAttention(_) => {
            let (head, rotary) = EXPANDED;
            let widths = [Some(head), Some(rotary), Some(head), Some(rotary), Some(head)];
            // As wide as they are, for what the operator says of wider ones.
            candidates.extend([&widths[..], &[]].map(|widths| Fit { spelled_out: Some(3), ..wide(widths) }));
        }
        Op::LatentAttention(_) => {
            let (latent, rotary) = LATENT;
            let fit = wide(&[Some(latent), Some(rotary), Some(latent), Some(rotary)]);
            candidates.extend([fit.clone(), Fit { by_rows: true, ..fit }]);
        }
        _ => {}
    }
    Some(candidates)
}

impl Fit {
    /// Types of the op's operands; `None` if one is wider than what it should be filled up to.
    fn operand_types(&self, operands: &[TensorType]) -> Option<Vec<TensorType>> {
        let mut types = Vec::with_capacity(operands.len());
        for (index, ty) in operands.iter().enumerate() {
            types.push(match self.widths.get(index).copied().flatten() {
                Some(width) if ty.last().as_const()? > i64::from(width) => return None,
                Some(width) => with_last(ty, Dim::from(width)),
                None => ty.clone(),
            });
        }
        if self.repeat > 1 {
            for ty in &mut types[1..3] {
                let [pages, block, heads, width] = &ty.shape[..] else { return None };
                let heads = heads.clone() * Dim::from(self.repeat);
                *ty = TensorType::new(ty.dtype, [pages.clone(), block.clone(), heads, width.clone()]);
            }
        }
        if let Some(ty) = self.spelled_out.and_then(|index| types.get_mut(index)) {
            let [rows, width] = &ty.shape[..] else { return None };
            *ty = TensorType::new(ty.dtype, [rows.clone(), operands[0].shape[1].clone(), width.clone()]);
        }
        if self.by_rows {
            let tokens = operands[0].shape[0].clone();
            let pages = operands.iter().find(|ty| !ty.dtype.is_float())?.shape[1].clone();
            let ints = |shape: &[Dim]| TensorType::new(mscc_ir::DType::I32, shape);
            let table = operands.iter().position(|ty| !ty.dtype.is_float())?;
            types.truncate(table);
            types.push(ints(&[tokens.clone(), pages]));
            if matches!(self.op, Op::LatentAttention(_)) {
                types.push(ints(&[tokens.clone() + Dim::ONE]));
            }
            types.push(ints(&[tokens]));
        }
        Some(types)
    }
}

fn with_last(ty: &TensorType, width: Dim) -> TensorType {
    let mut shape = ty.leading().to_vec();
    shape.push(width);
    TensorType::new(ty.dtype, shape)
}

/// What a token leaves in a cache tensor: the innermost size, and how often each head is kept.
type Caches = BTreeMap<(String, String), (u32, u32)>;

/// Fits the attention of all forms of a model, which share caches. Gives for each form and function, of each node now
/// there, the node that it stands for.
///
/// With each form comes what is known of symbols where it runs.
pub fn fit_all(forms: &mut [(&mut Module, SymbolTable)], target: &Target) -> Vec<Vec<Vec<NodeId>>> {
    let mut caches = Caches::new();
    for (module, symbols) in forms.iter() {
        let target = target.with_symbols(symbols);
        for graph in &module.functions {
            for (_, node) in graph.nodes() {
                let Some(fit) = node.op().and_then(|op| needed(&target, graph, op, &node.operands)) else {
                    continue;
                };
                for (value, width) in node.operands.iter().zip(&fit.widths) {
                    if let (Some(cache), Some(width)) = (cache_of(graph, *value), width) {
                        let kept = caches.entry((cache.group.clone(), cache.tensor.clone())).or_default();
                        *kept = (kept.0.max(*width), kept.1.max(fit.repeat));
                    }
                }
            }
        }
    }
    let fit_form = |(module, symbols): &mut (&mut Module, SymbolTable)| {
        let target = target.with_symbols(symbols);
        widen(&mut module.caches, &caches);
        let functions = module.functions.iter_mut();
        let fitted = functions.map(|function| {
            let (fitted, sources) = Fitter::new(function, &caches, &target).run();
            *function = fitted;
            sources
        });
        let mut fitted: Vec<Vec<NodeId>> = fitted.collect();
        carry(module, &target, &mut fitted);
        fitted
    };
    forms.iter_mut().map(fit_form).collect()
}

/// How an op is to be computed, where it cannot be as it is.
fn needed(target: &Target, graph: &Graph, op: &Op, operands: &[Value]) -> Option<Fit> {
    let is_attention =
        matches!(op.kind(), OpKind::Attention | OpKind::RaggedAttention | OpKind::LatentAttention);
    if !is_attention {
        return None;
    }
    let types: Vec<TensorType> = operands.iter().map(|value| graph.ty(*value).clone()).collect();
    let results = op.infer(&types).ok()?;
    match target.kernel(op, &types, &results) {
        Ok(_) => None,
        Err(_) => fit(target, op, &types).ok(),
    }
}

/// The cache that a value is, written to or not.
fn cache_of(graph: &Graph, mut value: Value) -> Option<&CacheRef> {
    loop {
        match &graph.node(value.node).kind {
            NodeKind::Leaf(Leaf::Cache(cache)) => return Some(cache),
            NodeKind::Op(op) if op.kind().effect() == Effect::Writes => {
                value = graph.node(value.node).operands[value.index as usize];
            }
            NodeKind::Leaf(_) | NodeKind::Op(_) => return None,
        }
    }
}

fn widen(groups: &mut [CacheGroup], caches: &Caches) {
    for group in groups {
        for tensor in &mut group.tensors {
            let kept = caches.get(&(group.name.clone(), tensor.name.clone()));
            let Some((width, repeat)) = kept else { continue };
            if let [heads @ .., last] = &mut tensor.row[..] {
                *last = *width;
                heads.iter_mut().for_each(|heads| *heads *= repeat);
            }
        }
    }
}

struct Fitter<'a> {
    graph: &'a Graph,
    caches: &'a Caches,
    target: &'a Target,
    out: Graph,
    rebuild: Rebuild<'a>,
}

/// Nodes are made of parts of a sound graph, by ops whose types were worked out with them.
const SOUND: &str = "the types fit by construction";

impl<'a> Fitter<'a> {
    fn new(graph: &'a Graph, caches: &'a Caches, target: &'a Target) -> Self {
        Fitter { graph, caches, target, out: Graph::new(&graph.name), rebuild: Rebuild::new(graph) }
    }

    /// The function, and of each of its nodes the node that it stands for.
    fn run(mut self) -> (Graph, Vec<NodeId>) {
        let mut sources = Vec::with_capacity(self.graph.len());
        for (id, node) in self.graph.nodes() {
            match &node.kind {
                NodeKind::Leaf(Leaf::Cache(cache)) => self.cache(id, cache),
                NodeKind::Leaf(_) => self.rebuild.copy(&mut self.out, id),
                NodeKind::Op(Op::CacheRead(read)) => self.read(id, read),
                NodeKind::Op(op @ (Op::CacheWrite(_) | Op::CacheWritePair(_))) => self.write(id, op),
                NodeKind::Op(Op::KvRmsNormRopeCache(write)) if self.is_filled(id) => {
                    self.write_normed(id, write);
                }
                NodeKind::Op(Op::ApplyRotary(rotary)) if self.lacks(id) => self.rotate(id, rotary),
                NodeKind::Op(op) => match needed(self.target, self.graph, op, &node.operands) {
                    Some(fit) => self.attend(id, fit),
                    None => self.rebuild.copy(&mut self.out, id),
                },
            }
            sources.resize(self.out.len(), id);
        }
        for (sink, value) in self.graph.sinks() {
            self.out.sink(sink.clone(), self.rebuild.mapped(*value));
        }
        (self.out, sources)
    }

    fn add(&mut self, op: impl Into<Op>, operands: &[Value], name: &str, id: NodeId) -> Value {
        let value = self.out.op1(op, operands, name).expect(SOUND);
        self.out.set_origins(value.node, self.graph.origins(id).to_vec());
        value
    }

    fn mapped(&self, id: NodeId) -> Vec<Value> {
        self.graph.node(id).operands.iter().map(|value| self.rebuild.mapped(*value)).collect()
    }

    fn cache(&mut self, id: NodeId, cache: &CacheRef) {
        let result = &self.graph.node(id).results[0];
        let kept = self.caches.get(&(cache.group.clone(), cache.tensor.clone()));
        let ty = kept.map_or(result.ty.clone(), |(width, repeat)| {
            let mut shape = result.ty.shape.to_vec();
            if let [_, _, heads @ .., last] = &mut shape[..] {
                *last = Dim::from(*width);
                heads.iter_mut().for_each(|heads| *heads = heads.clone() * Dim::from(*repeat));
            }
            TensorType::new(result.ty.dtype, shape)
        });
        let value = self.out.leaf(Leaf::Cache(cache.clone()), &result.name, ty);
        self.rebuild.set(Value { node: id, index: 0 }, value);
    }

    /// Rows are as wide as the cache into which they go: operands are caches, then rows, then slots.
    fn write(&mut self, id: NodeId, op: &Op) {
        let mut operands = self.mapped(id);
        let count = self.graph.node(id).results.len();
        for at in 0..count {
            let cache = self.out.ty(operands[at]).clone();
            operands[count + at] = self.repeated(operands[count + at], &cache, id);
            operands[count + at] = self.filled(operands[count + at], &cache.last(), id);
        }
        let names: Vec<&str> =
            self.graph.node(id).results.iter().map(|result| result.name.as_str()).collect();
        let results = self.out.op(op.clone(), &operands, &names).expect(SOUND);
        self.out.set_origins(results[0].node, self.graph.origins(id).to_vec());
        for (index, result) in results.into_iter().enumerate() {
            self.rebuild.set(Value { node: id, index: index as u32 }, result);
        }
    }

    /// Whether a cache that the node writes is now wider than what the node makes for it.
    fn is_filled(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let operands = node.operands.iter().zip(&node.results);
        operands.into_iter().any(|(value, result)| *self.out.ty(self.rebuild.mapped(*value)) != result.ty)
    }

    /// Latents normalised and keys rotated, each with zeros behind, which the norm must not see.
    fn write_normed(&mut self, id: NodeId, write: &KvRmsNormRopeCache) {
        let operands = self.mapped(id);
        let [latents, ropes, kv, weight, cos, sin, slots] = operands[..] else {
            unreachable!("the op has seven operands")
        };
        let results = &self.graph.node(id).results;
        let names = [0, 1].map(|index| results[index].name.clone());
        let (rotary, ty) = (self.out.ty(cos).last(), self.out.ty(kv).clone());
        let split = Split { axis: -1, sizes: vec![ty.last() - rotary.clone(), rotary.clone()] };
        let parts = [format!("{}.rows", names[0]), format!("{}.heads", names[1])];
        let parts = self.out.op(Op::from(split), &[kv], &[&parts[0], &parts[1]]).expect(SOUND);
        self.out.set_origins(parts[0].node, self.graph.origins(id).to_vec());
        let norm = RmsNorm { eps: write.eps, dtype: None };
        let normed = self.add(norm, &[parts[0], weight], &format!("{}.normed", names[0]), id);
        let sized = |shape: &[&Dim]| Reshape { shape: shape.iter().copied().cloned().collect() };
        let tokens = &ty.shape[0];
        let head =
            self.add(sized(&[tokens, &Dim::ONE, &rotary]), &[parts[1]], &format!("{}.head", names[1]), id);
        let turned = self.add(InterleaveRope, &[head, cos, sin], &format!("{}.rotated", names[1]), id);
        let rows = self.add(sized(&[tokens, &rotary]), &[turned], &format!("{}.flat", names[1]), id);
        let filled = [(normed, latents), (rows, ropes)].map(|(rows, cache)| {
            let width = self.out.ty(cache).last();
            self.filled(rows, &width, id)
        });
        let caches = [latents, ropes, filled[0], filled[1], slots];
        let caches = self.out.op(Op::from(CacheWritePair), &caches, &[&names[0], &names[1]]).expect(SOUND);
        self.out.set_origins(caches[0].node, self.graph.origins(id).to_vec());
        for (index, cache) in caches.into_iter().enumerate() {
            self.rebuild.set(Value { node: id, index: index as u32 }, cache);
        }
    }

    fn read(&mut self, id: NodeId, read: &CacheRead) {
        let result = &self.graph.node(id).results[0];
        let rows = self.mapped(id);
        let value = self.out.op1(Op::from(read.clone()), &rows, &result.name).expect(SOUND);
        self.out.set_origins(value.node, self.graph.origins(id).to_vec());
        let value = self.cut(value, &result.ty.last(), &result.name, id);
        self.rebuild.set(Value { node: id, index: 0 }, value);
    }

    /// Whether the target has no kernel for a node.
    fn lacks(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let types =
            |values: &[Value]| values.iter().map(|value| self.graph.ty(*value).clone()).collect::<Vec<_>>();
        let results: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
        node.op().is_some_and(|op| self.target.kernel(op, &types(&node.operands), &results).is_err())
    }

    /// A rotation element by element: `x * cos + turned(x) * sin`, the tables once for each head.
    fn rotate(&mut self, id: NodeId, rotary: &ApplyRotary) {
        let operands = self.mapped(id);
        let name = self.graph.node(id).results[0].name.clone();
        let ty = self.out.ty(operands[0]).clone();
        let (half, sized) = (ty.last().floor_div(2), |shape: &[Dim]| Reshape { shape: shape.to_vec() });
        // Pairs lie along the last axis: neighbours once they have one of their own.
        let (whole, part) = if rotary.interleaved {
            let pairs = [ty.leading(), &[half.clone(), Dim::constant(2)]].concat();
            (self.add(sized(&pairs), &[operands[0]], &format!("{name}.pairs"), id), Dim::ONE)
        } else {
            (operands[0], half)
        };
        let split = Split { axis: -1, sizes: vec![part.clone(), part] };
        let names = [format!("{name}.first"), format!("{name}.second")];
        let parts = self.out.op(Op::from(split), &[whole], &[&names[0], &names[1]]).expect(SOUND);
        self.out.set_origins(parts[0].node, self.graph.origins(id).to_vec());
        let minus = self.add(Scale { by: Float(-1.0) }, &[parts[1]], &format!("{name}.minus"), id);
        let turned = self.add(Concat { axis: -1 }, &[minus, parts[0]], &format!("{name}.turned"), id);
        let turned = self.add(sized(&ty.shape), &[turned], &format!("{name}.turned.heads"), id);
        let heads = ty.shape[1].as_const().and_then(|heads| u32::try_from(heads).ok());
        let heads = heads.expect("the number of heads is a size of the model");
        let mut products = Vec::with_capacity(2);
        for (x, table, part) in [(operands[0], operands[1], "cos"), (turned, operands[2], "sin")] {
            let table = self.add(RepeatHeads { heads }, &[table], &format!("{name}.{part}"), id);
            products.push(self.add(Mul, &[x, table], &format!("{name}.by_{part}"), id));
        }
        let y = self.add(Add, &products, &name, id);
        self.rebuild.set(Value { node: id, index: 0 }, y);
    }

    fn attend(&mut self, id: NodeId, fit: Fit) {
        let node = self.graph.node(id);
        let mut operands = self.mapped(id);
        for (operand, width) in operands.iter_mut().zip(&fit.widths) {
            if let Some(width) = width {
                *operand = self.filled(*operand, &Dim::from(*width), id);
            }
        }
        let result = &node.results[0];
        if let Some(index) = fit.spelled_out {
            let heads =
                self.out.ty(operands[0]).shape[1].as_const().and_then(|heads| u32::try_from(heads).ok());
            let heads = heads.expect("the number of heads is a size of the model");
            let name = format!("{}.k_rope", result.name);
            operands[index] = self.add(RepeatHeads { heads }, &[operands[index]], &name, id);
        }
        if fit.by_rows {
            let is_table = |value: &Value| !self.out.ty(*value).dtype.is_float();
            let table = operands.iter().position(is_table).expect("attention reads a block table");
            let sequence = self.input("token_sequence");
            let name = format!("{}.block_table", result.name);
            let pages = self.add(Gather, &[operands[table], sequence], &name, id);
            operands.truncate(table);
            operands.push(pages);
            if matches!(fit.op, Op::LatentAttention(_)) {
                operands.push(self.input("token_start"));
            }
            operands.push(self.input("token_context"));
        }
        let y = self.add(fit.op, &operands, &result.name, id);
        let y = self.cut(y, &result.ty.last(), &result.name, id);
        self.rebuild.set(Value { node: id, index: 0 }, y);
    }

    /// The rows with each head as often as the cache keeps it.
    fn repeated(&mut self, value: Value, cache: &TensorType, id: NodeId) -> Value {
        let ty = self.out.ty(value).clone();
        let ([tokens, heads, width], [_, _, kept, _]) = (&ty.shape[..], &cache.shape[..]) else {
            return value;
        };
        let groups = kept.exact_div(heads).and_then(|groups| u32::try_from(groups.as_const()?).ok());
        let Some(groups) = groups.filter(|groups| *groups > 1) else { return value };
        let name = format!("{}.repeated.{}", self.out.value_name(value), self.out.len());
        let rows = Reshape { shape: vec![tokens.clone() * heads.clone(), width.clone()] };
        let rows = self.add(rows, &[value], &format!("{name}.rows"), id);
        let each = self.add(RepeatHeads { heads: groups }, &[rows], &format!("{name}.each"), id);
        self.add(Reshape { shape: vec![tokens.clone(), kept.clone(), width.clone()] }, &[each], &name, id)
    }

    /// The value with zeros behind its rows up to `width`.
    fn filled(&mut self, value: Value, width: &Dim, id: NodeId) -> Value {
        if self.out.ty(value).last() == *width {
            return value;
        }
        let size = width.as_const().and_then(|width| u32::try_from(width).ok()).expect("widths are numbers");
        // One value may be filled up for several users.
        let name = format!("{}.filled.{}", self.out.value_name(value), self.out.len());
        self.add(Pad { size }, &[value], &name, id)
    }

    /// The first `width` elements of each row.
    fn cut(&mut self, value: Value, width: &Dim, name: &str, id: NodeId) -> Value {
        let whole = self.out.ty(value).last();
        if whole == *width {
            return value;
        }
        let names = [format!("{name}.cut"), format!("{name}.zeros")];
        let split = Split { axis: -1, sizes: vec![width.clone(), whole - width.clone()] };
        let parts = self.out.op(Op::from(split), &[value], &[&names[0], &names[1]]).expect(SOUND);
        self.out.set_origins(parts[0].node, self.graph.origins(id).to_vec());
        parts[0]
    }

    /// An input of the step, brought in once.
    fn input(&mut self, name: &str) -> Value {
        let known = self.out.leaves().find(|(_, leaf)| matches!(leaf, Leaf::Input(other) if other == name));
        if let Some((value, _)) = known {
            return value;
        }
        let ty = step::input_type(name).expect("the contract has it");
        self.out.leaf(Leaf::Input(name.to_owned()), name, ty)
    }
}
