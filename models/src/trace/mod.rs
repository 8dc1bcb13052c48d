//! From a config to a module: the family's slots traced by their blocks, one function per kind of layer.

mod context;
mod error;
mod scope;
mod source_weights;
mod warning;
mod weights;

use std::collections::HashMap;

use mscc_checkpoint::Checkpoint;
use mscc_ir::attr::Float;
use mscc_ir::graph::Sink;
use mscc_ir::ops::{Add, Cast, Gather, Op, Scale};
use mscc_ir::step::{self, Limits};
use mscc_ir::{DType, Graph, Module, SymbolInfo, Template, TensorType, Value, verify};

use self::context::Context;
use self::scope::{Arguments, Body, UsedWeight, table_name};
use self::weights::Checker;
use crate::families;
use crate::hf::{HfConfig, LAYERS};
use crate::keys::{Ignored, UnreadKeys};
use crate::spec::{Family, Flow, Place, Setting};

pub use error::{Misfit, TraceError, UnknownFamily};
pub use scope::Scope;
pub use source_weights::{SourceWeight, SourceWeights};
pub use warning::Warning;
pub use weights::{Affected, Mismatch, WeightProblem};

/// Most kinds of layers that a model may have.
const MAX_KINDS: usize = 256;
/// Most ops and leaves of a layer, of all kinds of layers together, and of all layers: far above any model's.
const MAX_NODES: usize = 512;
const MAX_NODES_OF_KINDS: usize = 1 << 13;
const MAX_NODES_OF_LAYERS: usize = 1 << 18;

/// Most tensors of all layers together, each of them read on its own: some ten times what the largest models have.
const MAX_TENSORS: u64 = 1 << 19;

/// What a trace depends on beside the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Type of caches and of what is multiplied by weights: f32, f16 or bf16.
    pub compute_dtype: DType,
    /// Type of the hidden states that layers add to, `compute_dtype` if not given: f32 keeps what each layer adds, and
    /// what routers decide by, from being rounded.
    pub residual_dtype: Option<DType>,
    /// Longest sequence, in tokens; what the model was trained for if not given.
    pub max_model_len: Option<u32>,
    /// Most sequences in a step.
    pub max_num_seqs: u32,
    /// Most new tokens in a step.
    pub max_num_batched_tokens: u32,
    /// Tokens of a cache page.
    pub block_size: u32,
    /// Whether warnings are errors.
    pub strict: bool,
}

/// A traced model.
#[derive(Clone, Debug)]
pub struct Traced {
    /// What it computes: `embed`, a function per kind of layer, `head`.
    pub module: Module,
    /// The `model_type` of its family.
    pub family: String,
    /// The limits of the trace, with `max_model_len` filled in.
    pub limits: Limits,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// What in the config and the checkpoint changes nothing, and why.
    pub ignored: Vec<Ignored>,
}

impl Traced {
    /// Every tensor that the model reads, each once.
    pub fn source_weights(&self) -> SourceWeights {
        SourceWeights::new(&self.module)
    }
}

/// Traces the model that a config describes, with tensors typed as `checkpoint` stores them, or in the
/// config's type if there is none.
///
/// The module has a function `embed`, called for layer 0, one for each kind of layer, and `head`, called
/// for the layer past the last. Layers are of one kind if their blocks' parameters and the stored types
/// of their weights are equal.
///
/// Errors: no family for the config; settings that make no sense or are not supported; tensors that are
/// missing or of another shape, all at once.
pub fn trace(
    config: &HfConfig,
    checkpoint: Option<&Checkpoint>,
    options: &TraceOptions,
) -> Result<Traced, TraceError> {
    let family = families::find_fitting(config, &|family| misfits(family, config, checkpoint, options))?;
    trace_family(family, config, checkpoint, options)
}

/// The built-in family that the config names.
fn own_builtin(config: &HfConfig) -> Option<String> {
    let model_type = config.opt_str("model_type").ok().flatten()?;
    let is_builtin = families::builtin().iter().any(|family| family.model_type == model_type);
    is_builtin.then(|| model_type.to_owned())
}

/// What of a checkpoint is not as a family has it; nothing, if the config makes no sense to it.
fn misfits(
    family: &Family,
    config: &HfConfig,
    checkpoint: Option<&Checkpoint>,
    options: &TraceOptions,
) -> Option<Vec<String>> {
    let Some(checkpoint) = checkpoint else { return Some(Vec::new()) };
    let options = TraceOptions { strict: false, ..options.clone() };
    match trace_family(family, config, Some(checkpoint), &options) {
        Ok(traced) => {
            let unread = |warning: &&Warning| {
                matches!(warning, Warning::UnreadTensors { .. } | Warning::LayersPastLast { .. })
            };
            Some(traced.warnings.iter().filter(unread).map(ToString::to_string).collect())
        }
        Err(TraceError::Weights { problems, .. }) => Some(problems.iter().map(ToString::to_string).collect()),
        Err(_) => None,
    }
}

/// As [`trace`], for a family that the user gives.
pub fn trace_family(
    family: &Family,
    config: &HfConfig,
    checkpoint: Option<&Checkpoint>,
    options: &TraceOptions,
) -> Result<Traced, TraceError> {
    check_options(options)?;
    let keys = UnreadKeys::new(config, family, options.max_model_len);
    if !keys.lacking.is_empty() {
        return Err(TraceError::Lacking {
            config: config.path().to_owned(),
            family: family.model_type.clone(),
            own: (!family.is_builtin).then(|| own_builtin(config).unwrap_or_default()),
            keys: keys.lacking,
        });
    }
    let context = Context::new(family, config, checkpoint, options)?;
    check_requirements(&context)?;
    let mut warnings = Vec::new();
    let trained = context.trained()?;
    let limits = Limits {
        max_model_len: context.max_model_len,
        max_num_seqs: options.max_num_seqs,
        max_num_batched_tokens: options.max_num_batched_tokens,
        block_size: options.block_size,
    };
    if limits.max_model_len > trained {
        warnings.push(Warning::BeyondTrained { max_model_len: limits.max_model_len, trained });
    }
    warnings.extend(other_architecture(&context)?);

    let tracer = Tracer {
        context: &context,
        module: Module { name: family.model_type.clone(), ..Module::default() },
        checker: checkpoint.map(Checker::new),
        owners: HashMap::new(),
        tied: Vec::new(),
    };
    let (mut module, unread, skipped) = tracer.run(num_layers(&context)?)?;
    warnings.extend(context.take_warnings());
    warnings.extend(unread);
    let ignored = keys.ignored.into_iter().chain(skipped).collect();
    module.symbols = step::symbols(&limits);
    for group in &module.caches {
        module.symbols.declare(&group.pages_symbol(), pages(&limits));
    }
    let problems = verify::verify(&module);
    if !problems.is_empty() {
        return Err(TraceError::Unsound { file: family.file.clone(), problems });
    }
    warnings.extend(keys.unknown.into_iter().map(|unknown| Warning::UnknownKey {
        config: config.path().to_owned(),
        key: unknown.key,
        nearest: unknown.nearest,
    }));
    if options.strict && !warnings.is_empty() {
        return Err(TraceError::Strict(warnings));
    }
    Ok(Traced { module, family: family.model_type.clone(), limits, warnings, ignored })
}

/// Every tensor that the model of a config reads, in the type that the config states.
///
/// Errors: as for [`trace`] without a checkpoint.
pub fn source_weights(config: &HfConfig) -> Result<SourceWeights, TraceError> {
    let options = TraceOptions {
        compute_dtype: DType::F32,
        residual_dtype: None,
        max_model_len: None,
        max_num_seqs: 1,
        max_num_batched_tokens: 1,
        block_size: 1,
        strict: false,
    };
    Ok(trace(config, None, &options)?.source_weights())
}

/// The functions and calls of a module under construction.
struct Tracer<'a> {
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
struct OfLayer {
    slots: Vec<Arguments>,
    factors: Vec<f64>,
}

/// Layers of equal parameters and stored types.
struct Kind {
    function: usize,
    arguments: OfLayer,
    weights: Vec<UsedWeight>,
    dtypes: Vec<DType>,
    groups: Vec<String>,
}

impl Tracer<'_> {
    fn run(mut self, num_layers: u32) -> Result<(Module, Vec<Warning>, Vec<Ignored>), TraceError> {
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
                return Err(TraceError::Weights { dir: checkpoint.dir().to_owned(), family, problems });
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

/// What a step may speak of.
struct Values<'s> {
    arguments: &'s OfLayer,
    /// The layer's input.
    input: Value,
    /// What earlier steps made.
    steps: &'s [Value],
    /// The step's name, which its sums and products take.
    name: &'s str,
}

impl Values<'_> {
    /// Traces what a step says; what the block of a slot makes is of type `dtype`, where the block lets one choose.
    fn flow<'b>(&self, body: &mut Body<'b>, what: &Flow, dtype: DType) -> Result<Value, TraceError> {
        let residual_dtype = body.context.residual_dtype;
        match what {
            Flow::HiddenStates => Ok(self.input),
            Flow::Step(step) => Ok(self.steps[*step]),
            Flow::Slot(slot, operand) => {
                let context: &'b Context<'b> = body.context;
                let (slot, given) = (&context.family.layers.slots[*slot], &self.arguments.slots[*slot]);
                let reads_wide = given.of(slot).block.reads_wide;
                let read = if reads_wide { residual_dtype } else { context.compute_dtype };
                let operand = self.flow(body, operand, read)?;
                Ok(one(body.slot(slot, given, operand, dtype)?))
            }
            Flow::Add(left, right) => {
                let left = self.flow(body, left, residual_dtype)?;
                let left = self.typed(body, left, residual_dtype)?;
                let right = self.flow(body, right, residual_dtype)?;
                let right = self.typed(body, right, residual_dtype)?;
                self.op(body, Add, &[left, right])
            }
            Flow::Scale(value, factor) => {
                let value = self.flow(body, value, dtype)?;
                let by = Float(self.arguments.factors[*factor]);
                if by.0 == 1.0 { Ok(value) } else { self.op(body, Scale { by }, &[value]) }
            }
        }
    }

    /// The value in another type, if it is of another.
    fn typed(&self, body: &mut Body<'_>, value: Value, dtype: DType) -> Result<Value, TraceError> {
        if body.graph.ty(value).dtype == dtype { Ok(value) } else { self.op(body, Cast { dtype }, &[value]) }
    }

    fn op(&self, body: &mut Body<'_>, op: impl Into<Op>, operands: &[Value]) -> Result<Value, TraceError> {
        body.graph.op1(op, operands, self.name).map_err(|problem| TraceError::Step {
            file: body.context.family.file.clone(),
            place: body.context.family.layers.place(self.name),
            step: self.name.to_owned(),
            problem: Box::new(problem),
        })
    }
}

/// The result of a block that has one.
fn one(results: Vec<Value>) -> Value {
    *results.first().expect("every block has a result")
}

fn check_options(options: &TraceOptions) -> Result<(), TraceError> {
    let residual_dtype = options.residual_dtype.unwrap_or(options.compute_dtype);
    for (name, dtype) in [("compute_dtype", options.compute_dtype), ("residual_dtype", residual_dtype)] {
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(TraceError::Option { name, expected: "f32, f16 or bf16", found: dtype.to_string() });
        }
    }
    for (name, value) in [
        ("max_model_len", options.max_model_len.unwrap_or(1)),
        ("max_num_seqs", options.max_num_seqs),
        ("max_num_batched_tokens", options.max_num_batched_tokens),
        ("block_size", options.block_size),
    ] {
        if !(1..=MAX_LIMIT).contains(&value) {
            let found = value.to_string();
            return Err(TraceError::Option { name, expected: "a number from 1 to 2147483647", found });
        }
    }
    Ok(())
}

/// Inputs of the step count in i32.
const MAX_LIMIT: u32 = i32::MAX as u32;

/// Conditions of the family.
fn check_requirements(context: &Context<'_>) -> Result<(), TraceError> {
    for requirement in &context.family.requires {
        if !context.flag(&requirement.that, None)? {
            let mut keys = vec![requirement.key.as_str()];
            keys.extend(context.sources(&requirement.that).into_iter().filter(|key| *key != requirement.key));
            let keys = context.keys_and_values(&keys);
            return Err(context.unsupported_keys(keys, requirement.supported.clone()));
        }
    }
    Ok(())
}

fn num_layers(context: &Context<'_>) -> Result<u32, TraceError> {
    let count = &context.family.layers.count;
    let layers = context.size(count)?;
    if LAYERS.contains(&u64::from(layers)) {
        return Ok(layers);
    }
    let expected = format!("an integer from {} to {}", LAYERS.start(), LAYERS.end());
    Err(context.bad_setting(count, None, Setting::Int(i64::from(layers)), expected))
}

/// A family found by one of `model_type` and `architectures` while the other says something else.
fn other_architecture(context: &Context<'_>) -> Result<Option<Warning>, TraceError> {
    let family = context.family.model_type.as_str();
    if let Some(found) = context.config.opt_str("model_type")?.filter(|found| *found != family) {
        return Ok(Some(Warning::OtherModelType {
            config: context.config.path().to_owned(),
            found: found.to_owned(),
            family: family.to_owned(),
        }));
    }
    let (found, expected) = (context.config.architectures()?, &context.family.architectures);
    if found.is_empty() || found.iter().any(|name| expected.iter().any(|other| other == name)) {
        return Ok(None);
    }
    Ok(Some(Warning::OtherArchitecture {
        config: context.config.path().to_owned(),
        found: found.join(", "),
        expected: expected.join(", "),
    }))
}

/// How many pages a cache may have: enough for all sequences at full length.
fn pages(limits: &Limits) -> SymbolInfo {
    let per_sequence = |tokens: u32| i64::from(tokens.div_ceil(limits.block_size));
    let sequences = i64::from(limits.max_num_seqs);
    let max = per_sequence(limits.max_model_len) * sequences;
    let likely = per_sequence(limits.max_model_len.min(LIKELY_CONTEXT)) * sequences.min(LIKELY_SEQUENCES);
    SymbolInfo { min: 1, max, likely: likely.clamp(1, max) }
}

/// A usual load, in tokens and sequences.
const LIKELY_CONTEXT: u32 = 512;
const LIKELY_SEQUENCES: i64 = 8;
