//! The functions and calls of a module, layer by layer.

use std::collections::HashMap;

use mscc_ir::graph::Sink;
use mscc_ir::ops::Gather;
use mscc_ir::{DType, Graph, Module, Template, TensorType, Value};

use super::context::Context;
use super::error::TraceError;
use super::flow::{Values, one};
use super::scope::{Arguments, Body, UsedWeight, table_name};
use super::warning::Warning;
use super::weights::Checker;
use crate::keys::Ignored;
use crate::spec::{Family, Place};

/// Most kinds of layers that a model may have.
const MAX_KINDS: usize = 256;
/// Most ops and leaves of a layer, of all kinds of layers together, and of all layers: far above any model's.
const MAX_NODES: usize = 512;
const MAX_NODES_OF_KINDS: usize = 1 << 13;
const MAX_NODES_OF_LAYERS: usize = 1 << 18;

/// Most tensors of all layers together, each of them read on its own: some ten times what the largest models have.
const MAX_TENSORS: u64 = 1 << 19;

/// The functions and calls of a module under construction.
pub(super) struct Tracer<'a> {
    context: &'a Context<'a>,
    module: Module,
    checker: Option<Checker<'a>>,
    /// The slot of each tensor that is not shared.
    owners: HashMap<Template, String>,
    /// Tensors stored although they are tied, and what they are tied to.
    tied: Vec<(String, String)>,
}

/// The tables of cosines and sines: the name of each kind and its type.
type Tables = Vec<(String, TensorType)>;

/// What a layer's slots and steps are given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OfLayer {
    pub slots: Vec<Arguments>,
    pub factors: Vec<f64>,
}

/// Layers of equal parameters and stored types.
struct Kind {
    function: usize,
    arguments: OfLayer,
    weights: Vec<UsedWeight>,
    dtypes: Vec<DType>,
    groups: Vec<String>,
}

impl<'a> Tracer<'a> {
    /// Nothing has been traced yet.
    pub fn new(context: &'a Context<'a>) -> Self {
        Tracer {
            context,
            module: Module { name: context.family.model_type.clone(), ..Module::default() },
            checker: context.checkpoint.map(Checker::new),
            owners: HashMap::new(),
            tied: Vec::new(),
        }
    }

    /// Traces all of it; also gives warnings, and tensors that are left aside.
    pub fn run(mut self, num_layers: u32) -> Result<(Module, Vec<Warning>, Vec<Ignored>), TraceError> {
        let (hidden, rotary) = self.embed()?;
        self.layers(num_layers, &hidden, &rotary)?;
        self.head(num_layers, &hidden)?;
        let tied = std::mem::take(&mut self.tied).into_iter();
        let mut warnings: Vec<Warning> =
            tied.map(|(tensor, shared)| Warning::StoredThoughTied { tensor, shared }).collect();
        let mut ignored = Vec::new();
        if let (Some(checker), Some(checkpoint)) = (&self.checker, self.context.checkpoint) {
            let problems = checker.problems();
            if !problems.is_empty() {
                let Family { file, is_builtin, .. } = self.context.family;
                let family = (!is_builtin).then(|| file.clone());
                let dir = checkpoint.dir().to_owned();
                return Err(TraceError::Weights { dir, family, problems, unread: Vec::new() });
            }
            let further = self.context.further_layers()?;
            let (unread, skipped) = checker.unread_tensors(self.context.family, num_layers, further);
            warnings.extend(unread);
            ignored.extend(skipped);
        }
        Ok((self.module, warnings, ignored))
    }

    /// Token ids to hidden states, positions to rotary tables; gives the types of both.
    fn embed(&mut self) -> Result<(TensorType, Tables), TraceError> {
        let (context, family) = (self.context, self.context.family);
        let mut body = Body::new(context, "embed", None, &mut self.module.caches, &[]);
        let token_ids = body.input("token_ids");
        let slot = &family.embed_tokens;
        let arguments = context.arguments(slot, None)?;
        let hidden = one(body.slot(slot, &arguments, token_ids, context.residual_dtype)?);
        let ty = body.graph.ty(hidden).clone();
        body.graph.sink(Sink::State("hidden_states".to_owned()), hidden);
        body.graph.sink(Sink::Tap(Template::new(&arguments.of(slot).at)?), hidden);
        let mut tables = Tables::new();
        for slot in &family.rotary_emb {
            let positions = body.input("positions");
            let both = body.slot(slot, &context.arguments(slot, None)?, positions, DType::F32)?;
            let [cos, sin] = both.as_slice() else { unreachable!("a block of positions gives two tables") };
            tables.push((slot.name.clone(), body.graph.ty(*cos).clone()));
            for (table, value) in [("cos", *cos), ("sin", *sin)] {
                body.graph.sink(Sink::State(table_name(table, &slot.name)), value);
            }
        }
        let done = body.done();
        self.end(done, 0)?;
        Ok((ty, tables))
    }

    fn layers(
        &mut self,
        count: u32,
        hidden: &TensorType,
        rotary: &[(String, TensorType)],
    ) -> Result<(), TraceError> {
        let (context, layers) = (self.context, &self.context.family.layers);
        let of_layer = |layer: u32| -> Result<OfLayer, TraceError> {
            let slots = layers.slots.iter().map(|slot| context.arguments(slot, Some(layer)));
            let factors = layers.factors.iter().map(|factor| context.factor(factor, layer));
            Ok(OfLayer {
                slots: slots.collect::<Result<_, _>>()?,
                factors: factors.collect::<Result<_, _>>()?,
            })
        };
        let shared = if layers.vary() { None } else { Some(of_layer(0)?) };
        let mut kinds: Vec<Kind> = Vec::new();
        let (mut num_tensors, mut num_nodes) = (0, 0);
        for layer in 0..count {
            let arguments = match &shared {
                Some(shared) => shared.clone(),
                None => of_layer(layer)?,
            };
            let alike = kinds.iter().find(|kind| kind.arguments == arguments);
            let same = alike.and_then(|alike| {
                let dtypes = self.dtypes(&alike.weights, layer);
                kinds.iter().position(|kind| kind.arguments == arguments && kind.dtypes == dtypes)
            });
            let kind = match same {
                Some(kind) => kind,
                None if kinds.len() == MAX_KINDS => {
                    return Err(context.too_large("kinds of layers", MAX_KINDS));
                }
                None => {
                    kinds.push(self.layer(layer, arguments, hidden, rotary)?);
                    kinds.len() - 1
                }
            };
            let kind = &kinds[kind];
            num_tensors += kind.weights.iter().map(|weight| u64::from(weight.members().0)).sum::<u64>();
            if num_tensors > MAX_TENSORS {
                return Err(context.too_many_tensors(&kind.arguments.slots, &kind.weights, MAX_TENSORS));
            }
            num_nodes += self.module.functions[kind.function].len();
            if num_nodes > MAX_NODES_OF_LAYERS {
                return Err(context.too_large("ops in all layers", MAX_NODES_OF_LAYERS));
            }
            if let Some(checker) = &mut self.checker {
                for weight in &kind.weights {
                    checker.check(weight, layer);
                }
            }
            for group in self.module.caches.iter_mut().filter(|group| kind.groups.contains(&group.name)) {
                match group.layers.last_mut() {
                    Some(last) if last.end == layer => last.end += 1,
                    Some(_) | None => group.layers.push(layer..layer + 1),
                }
            }
            self.module.call(kind.function, layer..layer + 1);
        }
        if let [only] = kinds.as_slice() {
            self.module.functions[only.function].name = "layer".to_owned();
        }
        Ok(())
    }

    /// The stored types of a layer's tensors.
    fn dtypes(&self, weights: &[UsedWeight], layer: u32) -> Vec<DType> {
        weights.iter().map(|weight| self.context.stored_dtype(&weight.name, Some(layer))).collect()
    }

    /// A new kind of layers, of which `layer` is the first.
    fn layer(
        &mut self,
        layer: u32,
        arguments: OfLayer,
        hidden: &TensorType,
        rotary: &[(String, TensorType)],
    ) -> Result<Kind, TraceError> {
        let (context, layers) = (self.context, &self.context.family.layers);
        let function = self.module.functions.len();
        // Behind `embed`.
        let name = format!("layer_{}", function - 1);
        let mut body = Body::new(context, &name, Some(layer), &mut self.module.caches, rotary);
        let input = body.state("hidden_states", hidden.clone());
        let mut steps: Vec<Value> = Vec::new();
        for (at, step) in layers.steps.iter().enumerate() {
            let is_output = at + 1 == layers.steps.len();
            let dtype = if is_output { context.residual_dtype } else { context.compute_dtype };
            let values = Values { arguments: &arguments, input, steps: &steps, name: &step.name };
            let value = values.flow(&mut body, &step.flow, dtype)?;
            steps.push(if is_output { values.typed(&mut body, value, dtype)? } else { value });
            if body.graph.len() > MAX_NODES {
                let (file, Place { line, column }) = (&context.family.file, step.place);
                return Err(TraceError::TooLarge {
                    place: format!("{file}:{line}:{column}: step `{}`", step.name),
                    what: "ops in a layer",
                    limit: MAX_NODES,
                });
            }
        }
        let output = steps.last().copied().unwrap_or(input);
        body.graph.sink(Sink::State("hidden_states".to_owned()), output);
        body.graph.sink(Sink::Tap(layers.at.clone()), output);
        let Done { graph, weights, groups, tied } = body.done();
        let of_kinds: usize = self.module.functions.iter().map(Graph::len).sum();
        if of_kinds + graph.len() > MAX_NODES_OF_KINDS {
            return Err(context.too_large("ops in all kinds of layers", MAX_NODES_OF_KINDS));
        }
        self.claim(&weights)?;
        self.module.functions.push(graph);
        self.tied.extend(tied);
        let dtypes = self.dtypes(&weights, layer);
        Ok(Kind { function, arguments, weights, dtypes, groups })
    }

    /// Hidden states to logits of the rows asked for.
    fn head(&mut self, layer: u32, hidden: &TensorType) -> Result<(), TraceError> {
        let (context, family) = (self.context, self.context.family);
        let mut body = Body::new(context, "head", None, &mut self.module.caches, &[]);
        let input = body.state("hidden_states", hidden.clone());
        let slot = &family.norm;
        let arguments = context.arguments(slot, None)?;
        let normed = one(body.slot(slot, &arguments, input, context.compute_dtype)?);
        body.graph.sink(Sink::Tap(Template::new(&arguments.of(slot).at)?), normed);
        let logit_index = body.input("logit_index");
        let rows = body.graph.op1(Gather, &[normed, logit_index], "logit_rows");
        let rows = rows.expect("hidden states have rows, and the index picks rows");
        let slot = &family.lm_head;
        let logits = one(body.slot(slot, &context.arguments(slot, None)?, rows, DType::F32)?);
        body.graph.sink(Sink::Output("logits".to_owned()), logits);
        let done = body.done();
        self.end(done, layer)?;
        Ok(())
    }

    /// Adds a function before or after the layers, called for `layer`.
    fn end(&mut self, done: Done, layer: u32) -> Result<(), TraceError> {
        self.claim(&done.weights)?;
        if let Some(checker) = &mut self.checker {
            for weight in &done.weights {
                checker.check(weight, 0);
            }
        }
        self.tied.extend(done.tied);
        self.module.call(self.module.functions.len(), layer..layer + 1);
        self.module.functions.push(done.graph);
        Ok(())
    }

    /// Notes whose tensors these are.
    fn claim(&mut self, weights: &[UsedWeight]) -> Result<(), TraceError> {
        for weight in weights {
            let Some(owner) = &weight.owner else { continue };
            let first = self.owners.entry(weight.name.clone()).or_insert_with(|| owner.clone());
            if first != owner {
                return Err(TraceError::ClaimedTwice {
                    file: self.context.family.file.clone(),
                    tensor: weight.name.to_string(),
                    first: first.clone(),
                    second: owner.clone(),
                });
            }
        }
        Ok(())
    }
}

/// A function, and what it uses.
struct Done {
    graph: Graph,
    weights: Vec<UsedWeight>,
    groups: Vec<String>,
    tied: Vec<(String, String)>,
}

impl Body<'_> {
    fn done(self) -> Done {
        let graph = self.graph.leaves_first();
        Done { graph, weights: self.weights, groups: self.groups, tied: self.stored_though_tied }
    }
}
