//! What a block sees of the function that it is traced into.

use mscc_ir::attr::Float;
use mscc_ir::graph::{CacheRef, Leaf, Sink};
use mscc_ir::module::{CacheGroup, CacheKind, CacheTensor};
use mscc_ir::ops::{Cast, LayerNorm, Linear, Op, RmsNorm, Shift, TypeError};
use mscc_ir::{DType, Dim, Graph, Template, TensorType, Value, step};

use super::context::Context;
use super::error::{Misfit, TraceError};
use super::warning::Warning;
use crate::blocks::Interface;
use crate::spec::{Filling, LAYER_INDEX, ROTARY_EMB, Setting, Slot};

/// A function under construction.
pub(super) struct Body<'b> {
    pub context: &'b Context<'b>,
    pub graph: Graph,
    /// The layer that the function is traced for, if it is one.
    pub layer: Option<u32>,
    /// All cache groups of the module.
    pub caches: &'b mut Vec<CacheGroup>,
    /// The cache groups that this function uses.
    pub groups: Vec<String>,
    /// Tensors of the checkpoint that this function reads.
    pub weights: Vec<UsedWeight>,
    /// Tensors that the config says are shared, but that are stored.
    pub stored_though_tied: Vec<(String, String)>,
    /// The tables of cosines and sines: the name of each kind and its type.
    pub rotary: &'b [(String, TensorType)],
    leaves: Vec<(Leaf, Value)>,
}

/// A tensor of the checkpoint, with the shape that the model wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UsedWeight {
    pub name: Template,
    pub shape: Vec<u64>,
    /// The slot whose own it is; `None` if the slot shares what is another's.
    pub owner: Option<String>,
}

impl UsedWeight {
    /// How many tensors of the checkpoint it is, and the shape of each.
    pub fn members(&self) -> (u32, &[u64]) {
        match self.shape.split_first() {
            Some((count, shape)) if self.name.is_stacked() => {
                (u32::try_from(*count).expect("stacks have at most 2^31 members"), shape)
            }
            _ => (1, &self.shape),
        }
    }
}

/// What fills a slot, and the values of its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arguments {
    /// Which of the slot's fillings.
    pub filling: usize,
    /// In the order of the block's parameters.
    pub values: Vec<Setting>,
    /// The path whose weights are shared.
    pub tied_to: Option<String>,
}

impl Arguments {
    /// What fills `slot`.
    pub fn of<'s>(&self, slot: &'s Slot) -> &'s Filling {
        &slot.fillings[self.filling]
    }
}

/// What a block sees of the function that it is traced into: its parameters, its weights, the inputs of
/// the step and the caches; and how it adds ops.
///
/// Values are named by the path of the module that makes them, relative to the layer.
pub struct Scope<'a, 'b> {
    body: &'a mut Body<'b>,
    slot: &'b Filling,
    arguments: &'a Arguments,
    result_dtype: DType,
}

impl<'b> Body<'b> {
    /// An empty function.
    pub fn new(
        context: &'b Context<'b>,
        name: &str,
        layer: Option<u32>,
        caches: &'b mut Vec<CacheGroup>,
        rotary: &'b [(String, TensorType)],
    ) -> Self {
        Body {
            context,
            graph: Graph::new(name),
            layer,
            caches,
            groups: Vec::new(),
            weights: Vec::new(),
            stored_though_tied: Vec::new(),
            rotary,
            leaves: Vec::new(),
        }
    }

    /// Traces the block of a slot, with hidden states in the type that it reads; its result is of type `result_dtype`,
    /// where the block lets one choose.
    pub fn slot(
        &mut self,
        slot: &'b Slot,
        arguments: &Arguments,
        operand: Value,
        result_dtype: DType,
    ) -> Result<Vec<Value>, TraceError> {
        let slot = arguments.of(slot);
        let mut scope = Scope { body: self, slot, arguments, result_dtype };
        let operand = match slot.block.interface == Interface::Hidden && !slot.block.reads_wide {
            true => scope.narrowed(operand, "narrowed")?,
            false => operand,
        };
        (slot.block.trace)(&mut scope, operand)
    }

    /// An input of the step.
    pub fn input(&mut self, name: &str) -> Value {
        let ty = step::input_type(name).expect("blocks ask for inputs of the step contract");
        self.leaf(Leaf::Input(name.to_owned()), name, ty)
    }

    /// What an earlier call left.
    pub fn state(&mut self, name: &str, ty: TensorType) -> Value {
        self.leaf(Leaf::State(name.to_owned()), name, ty)
    }

    fn leaf(&mut self, leaf: Leaf, name: &str, ty: TensorType) -> Value {
        if let Some((_, value)) = self.leaves.iter().find(|(other, _)| *other == leaf) {
            return *value;
        }
        let value = self.graph.leaf(leaf.clone(), name, ty);
        self.leaves.push((leaf, value));
        value
    }

    /// The path of a module in checkpoints.
    fn checkpoint_path(&self, path: &str) -> String {
        match self.layer {
            None => path.to_owned(),
            Some(_) => join(self.context.family.layers.at.as_str(), path),
        }
    }
}

impl Scope<'_, '_> {
    /// A size.
    pub fn size(&self, name: &str) -> u64 {
        self.optional_size(name).expect("a parameter that may not be null has a value")
    }

    /// A size, if it is not null.
    pub fn optional_size(&self, name: &str) -> Option<u64> {
        match self.argument(name) {
            Setting::Int(size) => u64::try_from(*size).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn number(&self, name: &str) -> f64 {
        self.optional_number(name).expect("a parameter that may not be null has a value")
    }

    /// A number, if it is not null.
    pub fn optional_number(&self, name: &str) -> Option<f64> {
        self.argument(name).as_f64()
    }

    /// A truth value.
    pub fn flag(&self, name: &str) -> bool {
        *self.argument(name) == Setting::Bool(true)
    }

    /// A text.
    pub fn text(&self, name: &str) -> &str {
        self.optional_text(name).unwrap_or_default()
    }

    /// A list of numbers; empty if it is null.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        match self.argument(name) {
            Setting::List(items) => items.iter().filter_map(Setting::as_f64).collect(),
            _ => Vec::new(),
        }
    }

    /// A text, if it is not null.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        match self.argument(name) {
            Setting::Str(text) => Some(text),
            _ => None,
        }
    }

    fn argument(&self, name: &str) -> &Setting {
        &self.arguments.values[self.position(name)]
    }

    fn position(&self, name: &str) -> usize {
        let position = self.slot.block.params.iter().position(|param| param.name == name);
        position.expect("a block asks for the parameters that it declares")
    }

    /// The error for a value of a parameter that no block takes yet.
    pub fn unsupported(&self, name: &str, supported: impl Into<String>) -> TraceError {
        let argument = &self.slot.arguments[self.position(name)];
        self.body.context.unsupported(argument, self.body.layer, supported.into())
    }

    /// The error for a value of a parameter that makes no sense.
    pub fn bad(&self, name: &str, expected: impl Into<String>) -> TraceError {
        let argument = &self.slot.arguments[self.position(name)];
        self.body.context.bad_setting(argument, self.body.layer, self.argument(name).clone(), expected.into())
    }

    /// Refuses a parameter's value unless it is what is expected.
    pub fn ensure(&self, name: &str, holds: bool, expected: impl Into<String>) -> Result<(), TraceError> {
        if holds { Ok(()) } else { Err(self.bad(name, expected)) }
    }

    /// Notes what the user should know.
    pub fn warn(&self, warning: Warning) {
        self.body.context.warn(warning);
    }

    /// Longest sequence, in tokens.
    pub fn max_model_len(&self) -> u32 {
        self.body.context.max_model_len
    }

    /// The type of the hidden states that layers add to.
    pub fn residual_dtype(&self) -> DType {
        self.body.context.residual_dtype
    }

    /// The type that the model computes in.
    pub fn compute_dtype(&self) -> DType {
        self.body.context.compute_dtype
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        self.body.graph.ty(value)
    }

    /// Size of the innermost axis of hidden states.
    pub fn width(&self, value: Value) -> u64 {
        let width = self.ty(value).last().as_const().and_then(|width| u64::try_from(width).ok());
        width.expect("hidden states are as wide as sizes of the config say")
    }

    /// A tensor of the checkpoint, named `module.tensor` relative to the slot.
    pub fn weight(&mut self, name: &str, shape: &[u64]) -> Result<Value, TraceError> {
        let local = self.renamed(name);
        let own = self.body.checkpoint_path(&join(&self.slot.at, &local));
        let mut path = own.clone();
        let mut owner = Some(self.slot.slot.clone());
        if let Some(tied_to) = &self.arguments.tied_to {
            let shared = join(tied_to, &local);
            if self.body.context.is_stored(&own, self.body.layer) {
                self.body.stored_though_tied.push((own, shared));
            } else {
                path = shared;
                owner = None;
            }
        }
        let template = Template::new(&path)?;
        let dtype = self.body.context.stored_dtype(&template, self.body.layer);
        let dims: Vec<Dim> = shape.iter().map(|size| dim(*size)).collect();
        let ty = TensorType::new(dtype, dims);
        // Values have no placeholders in their names.
        let name = join(&self.slot.at, &local.replace(".{e}", ""));
        let value = self.body.leaf(Leaf::Weight(template.clone()), &name, ty);
        let used = UsedWeight { name: template, shape: shape.to_vec(), owner };
        if !self.body.weights.contains(&used) {
            self.body.weights.push(used);
        }
        Ok(value)
    }

    /// An input of the step.
    pub fn input(&mut self, name: &str) -> Value {
        self.body.input(name)
    }

    /// Cosines and sines of the tokens' rotary angles, of the kind that a parameter names; none if it is null.
    ///
    /// Errors: a name that the family has no table of.
    pub fn rotary(&mut self, param: &str) -> Result<Option<(Value, Value)>, TraceError> {
        let name = match self.argument(param) {
            Setting::Str(name) => name.to_string(),
            _ => return Ok(None),
        };
        let Some((name, ty)) = self.body.rotary.iter().find(|(other, _)| *other == name) else {
            let names: Vec<&str> = self.body.rotary.iter().map(|(name, _)| name.as_str()).collect();
            return Err(self.bad(param, format!("null or one of {}", names.join(", "))));
        };
        let mut table = |table: &str| self.body.state(&table_name(table, name), ty.clone());
        Ok(Some((table("cos"), table("sin"))))
    }

    /// The name of the cache group of this kind that keeps rows of these values, made if there is none.
    pub fn cache_group(&mut self, kind: CacheKind, tensors: &[(&str, Value)]) -> String {
        let tensors: Vec<CacheTensor> = tensors
            .iter()
            .map(|(name, rows)| {
                let ty = self.ty(*rows);
                let row = ty.shape.iter().skip(1).map(|dim| {
                    let size = dim.as_const().and_then(|size| u32::try_from(size).ok());
                    size.expect("rows are made of sizes of the config")
                });
                CacheTensor { name: (*name).to_owned(), dtype: ty.dtype, row: row.collect() }
            })
            .collect();
        let same = |group: &&CacheGroup| group.kind == kind && group.tensors == tensors;
        let name = match self.body.caches.iter().find(same) {
            Some(group) => group.name.clone(),
            None => {
                let base = match &kind {
                    CacheKind::Full => "full".to_owned(),
                    CacheKind::Window(window) => format!("window{window}"),
                    CacheKind::Latent => "latent".to_owned(),
                };
                let taken = |name: &str| self.body.caches.iter().any(|group| group.name == name);
                let more = (1..).map(|number| format!("{base}_{number}"));
                let name = std::iter::once(base.clone()).chain(more).find(|name| !taken(name));
                let name = name.expect("numbers do not run out");
                self.body.caches.push(CacheGroup {
                    name: name.clone(),
                    kind,
                    block_size: self.body.context.block_size,
                    tensors,
                    layers: Vec::new(),
                });
                name
            }
        };
        if !self.body.groups.contains(&name) {
            self.body.groups.push(name.clone());
        }
        name
    }

    /// This layer's part of a cache.
    pub fn cache(&mut self, group: &str, tensor: &str) -> Value {
        let found = self.body.caches.iter().find(|other| other.name == group);
        let found = found.and_then(|group| Some(group.tensor_type(group.tensor(tensor)?)));
        let ty = found.expect("a block asks for the cache tensors that it declared");
        let leaf = CacheRef { group: group.to_owned(), tensor: tensor.to_owned() };
        self.body.leaf(Leaf::Cache(leaf), &format!("{group}.{tensor}"), ty)
    }

    /// Says that `value` is the new content of this layer's part of a cache.
    pub fn keep(&mut self, group: &str, tensor: &str, value: Value) {
        let cache = CacheRef { group: group.to_owned(), tensor: tensor.to_owned() };
        self.body.graph.sink(Sink::Cache(cache), value);
    }

    /// Adds an op with one result, named `name` relative to the slot.
    pub fn op(&mut self, op: impl Into<Op>, operands: &[Value], name: &str) -> Result<Value, TraceError> {
        let name = self.path(name);
        self.body.graph.op1(op, operands, &name).map_err(|source| self.misfit(source))
    }

    /// Adds an op with results of these names relative to the slot.
    pub fn ops(
        &mut self,
        op: impl Into<Op>,
        operands: &[Value],
        names: &[&str],
    ) -> Result<Vec<Value>, TraceError> {
        let names: Vec<String> = names.iter().map(|name| self.path(name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let results = self.body.graph.op(op, operands, &names).map_err(|source| self.misfit(source))?;
        Ok(results.to_vec())
    }

    /// Adds `x · weightᵀ + bias` of a module inside the slot.
    pub fn linear(&mut self, x: Value, module: &str, width: u64, bias: bool) -> Result<Value, TraceError> {
        self.linear_as(self.ty(x).dtype, x, module, width, bias)
    }

    /// As [`Scope::linear`], for what is the slot's result.
    pub fn linear_out(
        &mut self,
        x: Value,
        module: &str,
        width: u64,
        bias: bool,
    ) -> Result<Value, TraceError> {
        self.linear_as(self.result_dtype, x, module, width, bias)
    }

    fn linear_as(
        &mut self,
        dtype: DType,
        x: Value,
        module: &str,
        width: u64,
        bias: bool,
    ) -> Result<Value, TraceError> {
        let mut operands = vec![x, self.weight(&join(module, "weight"), &[width, self.width(x)])?];
        if bias {
            operands.push(self.weight(&join(module, "bias"), &[width])?);
        }
        let dtype = Some(dtype).filter(|dtype| *dtype != self.ty(x).dtype);
        self.op(Linear { dtype }, &operands, module)
    }

    /// Adds the normalisation by root mean square of a module inside the slot; `offset` is added to its weight.
    pub fn rms_norm(&mut self, x: Value, module: &str, eps: f64, offset: f64) -> Result<Value, TraceError> {
        let mut weight = self.weight(&join(module, "weight"), &[self.width(x)])?;
        if offset != 0.0 {
            // In f32, where small weights are not lost beside the offset.
            if self.ty(weight).dtype != DType::F32 {
                weight = self.op(Cast { dtype: DType::F32 }, &[weight], &join(module, "wide"))?;
            }
            weight = self.op(Shift { by: Float(offset) }, &[weight], &join(module, "shifted"))?;
        }
        let dtype = self.norm_dtype(x, module);
        self.op(RmsNorm { eps: Float(eps), dtype }, &[x, weight], module)
    }

    /// The type of a norm's result, if it is not its operand's: that of the slot's result if it is the slot's norm, not
    /// one inside a block.
    fn norm_dtype(&self, x: Value, module: &str) -> Option<DType> {
        Some(self.result_dtype).filter(|dtype| module.is_empty() && *dtype != self.ty(x).dtype)
    }

    /// The type that whoever reads the slot's result wants it in, where the block lets one choose.
    pub fn result_dtype(&self) -> DType {
        self.result_dtype
    }

    /// The value in the type that the model computes in.
    pub fn narrowed(&mut self, x: Value, name: &str) -> Result<Value, TraceError> {
        let dtype = self.compute_dtype();
        if self.ty(x).dtype == dtype { Ok(x) } else { self.op(Cast { dtype }, &[x], name) }
    }

    /// Adds the normalisation by mean and variance of a module inside the slot.
    pub fn layer_norm(&mut self, x: Value, module: &str, eps: f64, bias: bool) -> Result<Value, TraceError> {
        let mut operands = vec![x, self.weight(&join(module, "weight"), &[self.width(x)])?];
        if bias {
            operands.push(self.weight(&join(module, "bias"), &[self.width(x)])?);
        }
        let dtype = self.norm_dtype(x, module);
        self.op(LayerNorm { eps: Float(eps), dtype }, &operands, module)
    }

    /// The path of something inside the slot, for names of values.
    fn path(&self, name: &str) -> String {
        join(&self.slot.at, &self.renamed(name))
    }

    /// The name with its modules as checkpoints of the family call them; a longer module goes before a shorter.
    fn renamed(&self, name: &str) -> String {
        let mut result = String::new();
        let mut rest = name;
        while !rest.is_empty() {
            let behind = |module: &str| match rest.strip_prefix(module)? {
                "" => Some(""),
                behind => behind.strip_prefix('.'),
            };
            let modules = self.slot.names.iter().filter(|(module, _)| behind(module).is_some());
            let part = match modules.max_by_key(|(module, _)| module.len()) {
                Some((module, name)) => {
                    rest = behind(module).unwrap_or_default();
                    name
                }
                None => {
                    let (part, behind) = rest.split_once('.').unwrap_or((rest, ""));
                    rest = behind;
                    part
                }
            };
            result = join(&result, part);
        }
        result
    }

    fn misfit(&self, problem: TypeError) -> TraceError {
        let context = self.body.context;
        let mut keys = Vec::new();
        for argument in &self.slot.arguments {
            argument.expr.keys(&mut |key| {
                if key != LAYER_INDEX && context.setting(key) != Setting::Null && !keys.contains(&key) {
                    keys.push(key);
                }
            });
        }
        TraceError::Misfit(Box::new(Misfit {
            config: context.config.path().to_owned(),
            keys: context.keys_and_values(&keys),
            file: context.family.file.clone(),
            place: self.slot.place,
            slot: self.slot.slot.clone(),
            block: self.slot.block.name,
            problem,
            is_builtin: context.family.is_builtin,
        }))
    }
}

/// A size of a tensor as a dim.
fn dim(size: u64) -> Dim {
    Dim::constant(i64::try_from(size).expect("a product of two sizes is at most 2^62"))
}

/// The state that holds a table of cosines or sines of the kind that the slot `name` makes.
pub(super) fn table_name(table: &str, name: &str) -> String {
    if name == ROTARY_EMB { table.to_owned() } else { join(table, name) }
}

/// Two parts of a path.
pub(super) fn join(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => path.to_owned(),
        (false, false) => format!("{path}.{name}"),
    }
}
