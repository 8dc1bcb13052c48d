//! The ops: each defined once, in a file of its own; everything else asks the definition.
//!
//! To add an op, write its file and one line in `define_ops!` below. Printing, parsing, verification, the
//! e-graph's language, the interpreter, the cost model and the tests of all of these follow from the definition.

mod attend;
mod check;
mod error;
mod example;

use serde::{Deserialize, Serialize};

pub use check::Check;
pub use error::{EvalError, TypeError};
pub use example::{Draw, Example};

use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::view::ViewLayout;
use crate::{Dim, TensorType};

/// How often an operand occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Once.
    One,
    /// Once or not at all; only behind all of `One`.
    Optional,
    /// One or more times; only as the last.
    Many,
}

/// Which values of an operand are meaningful, where not every bit pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Any finite values.
    Values,
    /// Rows of another operand: `0 <= v < size of its axis 0`.
    RowsOf(usize),
    /// Places along an axis of another operand, 1 being its innermost: `0 <= v < size of the axis`.
    IndexOf {
        /// The other operand.
        operand: usize,
        /// Its axis, counted from the end and from 1.
        axis_from_end: usize,
    },
    /// Rows of the first result: `0 <= v < size of its axis 0`.
    ResultRows,
    /// Rows of another result: `0 <= v < size of its axis 0`.
    RowsOfResult(usize),
    /// Sizes of consecutive groups of another operand's rows: not negative, together all of them.
    SizesOf {
        /// The operand whose axis 0 is divided.
        operand: usize,
    },
    /// Absolute positions of tokens: not negative.
    Positions,
    /// Distinct slots of the cache operand `[P, block, ..]`: `0 <= v < P * block`, or negative for "not kept".
    SlotsOf(usize),
    /// Pages of the cache operand `[P, ..]`.
    PagesOf(usize),
    /// Where each sequence's new tokens start in operand `tokens` (axis 0): sorted, from 0 to its size.
    QueryStart {
        /// The operand whose axis 0 is divided.
        tokens: usize,
    },
    /// Tokens of each sequence including the new ones, at most what the block table holds.
    ContextLen,
    /// Sizes of consecutive groups of the first result's rows: not negative, together at most all of them.
    SizesOfResult,
}

/// An operand's name, arity and domain.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Name in docs and errors.
    pub name: &'static str,
    /// How often it occurs.
    pub arity: Arity,
    /// Its meaningful values.
    pub domain: Domain,
}

impl Operand {
    /// An operand that occurs once, of any values.
    pub const fn one(name: &'static str) -> Self {
        Operand { name, arity: Arity::One, domain: Domain::Values }
    }

    /// An operand that may be absent.
    pub const fn optional(name: &'static str) -> Self {
        Operand { name, arity: Arity::Optional, domain: Domain::Values }
    }

    /// One or more operands.
    pub const fn many(name: &'static str) -> Self {
        Operand { name, arity: Arity::Many, domain: Domain::Values }
    }

    /// An operand that occurs once, of the values of `domain`.
    pub const fn of(name: &'static str, domain: Domain) -> Self {
        Operand { name, arity: Arity::One, domain }
    }
}

/// What an op does beside computing its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Pure,
    /// The first results, all unless it says how many, are the operands of their numbers with some elements written:
    /// memory planning makes them in place.
    Writes,
}

/// Bytes moved and operations done by one execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes read from memory.
    pub read_bytes: Dim,
    /// Bytes written to memory.
    pub written_bytes: Dim,
    /// Floating-point operations, a multiply-add counting two.
    pub flops: Dim,
}

/// The definition of an op.
pub trait OpDef: Sized {
    /// Name in the text form.
    const NAME: &'static str;
    /// Operands in order.
    const OPERANDS: &'static [Operand];
    /// Names of the results; empty if their number depends on attributes.
    const RESULTS: &'static [&'static str] = &["y"];
    /// Whether the first two operands may change places.
    const COMMUTATIVE: bool = false;
    /// What it does beside computing.
    const EFFECT: Effect = Effect::Pure;
    /// How many results, the first ones, are operands written, if it writes.
    const NUM_WRITTEN: usize = Self::RESULTS.len();

    /// Attributes in print order; those at their default are left out.
    fn attrs(&self) -> Attrs {
        Vec::new()
    }

    /// Reads the attributes back.
    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError>;

    /// Types of the results. Attributes are checked here too, since they need not come from `from_attrs`.
    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError>;

    /// Bytes and FLOPs; by default all operands read once, all results written once, one FLOP an element.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::ONE)
    }

    /// Layout of each result inside operand 0's buffer, for ops that move nothing.
    fn views(&self, _operand: &ViewLayout, _results: &[TensorType]) -> Option<Vec<ViewLayout>> {
        None
    }

    /// Whether `views` may give something, so that a copy is the exception.
    const IS_VIEW: bool = false;

    /// Results computed in f64, not rounded. Types have been checked by `infer`, sizes by
    /// [`check_size`](crate::reference::check_size); `shapes` are the results'.
    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError>;

    /// A random use that fits: attributes, and types of the operands. All that is tested for every op, from
    /// parsing to kernels, is tested on it, so it covers every attribute, rank and combination of dtypes.
    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>);
}

/// All operands read once, all results written once, `flops` an element of the first result.
pub fn default_work(operands: &[TensorType], results: &[TensorType], flops: Dim) -> Work {
    let sum = |types: &[TensorType]| types.iter().fold(Dim::ZERO, |sum, ty| sum + ty.bytes());
    Work {
        read_bytes: sum(operands),
        written_bytes: sum(results),
        flops: results.first().map_or(Dim::ZERO, TensorType::numel) * flops,
    }
}

macro_rules! define_ops {
    ($($module:ident :: $op:ident),* $(,)?) => {
        $(mod $module; pub use $module::$op;)*

        /// An op with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // each variant is documented at its type
        pub enum Op { $($op($op)),* }

        /// An op without its attributes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // each variant is documented at its type
        pub enum OpKind { $($op),* }

        impl OpKind {
            /// All kinds, in order of declaration.
            pub const ALL: &'static [OpKind] = &[$(OpKind::$op),*];

            /// Name in the text form.
            pub fn name(self) -> &'static str {
                match self { $(OpKind::$op => $op::NAME),* }
            }

            /// Operands in order.
            pub fn operands(self) -> &'static [Operand] {
                match self { $(OpKind::$op => $op::OPERANDS),* }
            }

            /// Names of the results; empty if their number depends on attributes.
            pub fn results(self) -> &'static [&'static str] {
                match self { $(OpKind::$op => $op::RESULTS),* }
            }

            /// Whether the first two operands may change places.
            pub fn is_commutative(self) -> bool {
                match self { $(OpKind::$op => $op::COMMUTATIVE),* }
            }

            /// Whether the op usually moves nothing.
            pub fn is_view(self) -> bool {
                match self { $(OpKind::$op => $op::IS_VIEW),* }
            }

            /// What it does beside computing.
            pub fn effect(self) -> Effect {
                match self { $(OpKind::$op => $op::EFFECT),* }
            }

            /// How many results, the first ones, are the operands of their numbers with elements written.
            pub fn num_written(self) -> usize {
                match (self.effect(), self) {
                    (Effect::Pure, _) => 0,
                    $((Effect::Writes, OpKind::$op) => $op::NUM_WRITTEN),*
                }
            }

            /// The op of this kind with these attributes.
            pub fn with_attrs(self, attrs: &[(String, Attr)]) -> Result<Op, AttrError> {
                let mut reader = AttrReader::new(attrs);
                let op = match self { $(OpKind::$op => Op::$op($op::from_attrs(&mut reader)?)),* };
                reader.finish()?;
                Ok(op)
            }

            /// A random use of an op of this kind.
            fn example(self, draw: &mut Draw) -> (Op, Vec<TensorType>) {
                match self { $(OpKind::$op => {
                    let (op, operands) = $op::example(draw);
                    (Op::$op(op), operands)
                })* }
            }
        }

        impl Op {
            /// The op without its attributes.
            pub fn kind(&self) -> OpKind {
                match self { $(Op::$op(_) => OpKind::$op),* }
            }

            /// Attributes in print order.
            pub fn attrs(&self) -> Attrs {
                match self { $(Op::$op(op) => op.attrs()),* }
            }

            /// Types of the results, or why the operands do not fit.
            pub fn infer(&self, operands: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
                match self { $(Op::$op(op) => {
                    let check = Check::new($op::NAME, $op::OPERANDS, operands)?;
                    check.results(op.infer(check)?)
                })* }
            }

            /// Bytes moved and operations done.
            pub fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
                match self { $(Op::$op(op) => op.work(operands, results)),* }
            }

            /// Layout of each result inside operand 0's buffer, if nothing need be moved.
            pub fn views(&self, operand: &ViewLayout, results: &[TensorType]) -> Option<Vec<ViewLayout>> {
                match self { $(Op::$op(op) => op.views(operand, results)),* }
            }

            /// Results by the reference implementation, in f64 and not rounded.
            pub fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
                match self { $(Op::$op(op) => op.eval(operands, shapes)),* }
            }
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Op { Op::$op(op) }
        })*
    };
}

define_ops! {
    add::Add,
    add_layer_norm::AddLayerNorm,
    add_rms_norm::AddRmsNorm,
    apply_rotary::ApplyRotary,
    apply_rotary_pair::ApplyRotaryPair,
    argsort::Argsort,
    attention::Attention,
    bincount::Bincount,
    cache_read::CacheRead,
    cache_write::CacheWrite,
    cache_write_pair::CacheWritePair,
    cast::Cast,
    causal_mask::CausalMask,
    clamp::Clamp,
    concat::Concat,
    div_rows::DivRows,
    floor_div::FloorDiv,
    gather::Gather,
    geglu_packed::GegluPacked,
    gelu::Gelu,
    grouped_matmul::GroupedMatmul,
    index_add::IndexAdd,
    interleave_rope::InterleaveRope,
    iota::Iota,
    keep_groups::KeepGroups,
    kv_rms_norm_rope_cache::KvRmsNormRopeCache,
    latent_attention::LatentAttention,
    layer_norm::LayerNorm,
    linear::Linear,
    matmul::Matmul,
    mla_prolog::MlaProlog,
    moe_finalize_routing::MoeFinalizeRouting,
    moe_gating::MoeGating,
    moe_init_routing::MoeInitRouting,
    mul::Mul,
    pad::Pad,
    ragged_attention::RaggedAttention,
    relu::Relu,
    renormalize::Renormalize,
    repeat_heads::RepeatHeads,
    reshape::Reshape,
    rms_norm::RmsNorm,
    rope::Rope,
    rope_freqs::RopeFreqs,
    rope_table::RopeTable,
    scale::Scale,
    scale_rows::ScaleRows,
    shift::Shift,
    sigmoid::Sigmoid,
    silu::Silu,
    soft_cap::SoftCap,
    softmax::Softmax,
    split::Split,
    sum::Sum,
    swiglu::Swiglu,
    swiglu_packed::SwigluPacked,
    take_along::TakeAlong,
    tanh::Tanh,
    token_attention::TokenAttention,
    topk::Topk,
    transpose::Transpose,
    transpose_batch_matmul::TransposeBatchMatmul,
}

pub use moe_gating::Scoring;
pub use rope_freqs::RopeScaling;

/// Ops are written by name, so that adding one does not change what plans on disk mean.
impl Serialize for Op {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.kind().name(), self.attrs()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let (name, attrs): (String, Vec<(String, Attr)>) = Deserialize::deserialize(deserializer)?;
        let kind =
            OpKind::from_name(&name).ok_or_else(|| D::Error::custom(format!("unknown op `{name}`")))?;
        kind.with_attrs(&attrs).map_err(|error| D::Error::custom(format!("`{name}`: {error}")))
    }
}

impl OpKind {
    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<OpKind> {
        OpKind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The operand declaration of position `index`, the last one standing for all of a `Many`.
    pub fn operand(self, index: usize) -> Option<&'static Operand> {
        let operands = self.operands();
        operands.get(index).or_else(|| operands.last().filter(|last| last.arity == Arity::Many))
    }
}

#[cfg(test)]
pub(crate) mod tests;
