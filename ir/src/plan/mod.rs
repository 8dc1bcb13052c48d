//! Plans: what the compiler hands to the runtime.
//!
//! Sizes and offsets are [`Dim`]s over the step's symbols; the runtime turns them into one program that it evaluates
//! when the sizes of a step differ from the last one's. [`container`] reads and writes `plan.bin`; [`validate`] holds
//! for every plan that is run, whoever wrote it.

mod bounds;
mod call;
pub mod container;
pub mod fusion;
mod print;
mod validate;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use call::AclnnLaunch;
pub use fusion::Fusion;
pub use print::print_plan;
pub use validate::{PlanError, validate};

use crate::graph::{CacheRef, Graph};
use crate::kernels::ascend::{Format, nz_storage};
use crate::module::CacheGroup;
use crate::ops::Op;
use crate::template::Template;
use crate::view::ViewLayout;
use crate::{DType, Dim, SymbolInfo, SymbolTable};

/// A compiled model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What was compiled, for what and how.
    pub meta: Meta,
    /// The symbols of the step with their bounds, in order of name.
    pub symbols: Vec<(String, SymbolInfo)>,
    /// What a step is given.
    pub inputs: Vec<InputDecl>,
    /// What a step gives.
    pub outputs: Vec<OutputDecl>,
    /// State kept between steps.
    pub caches: Vec<CacheGroup>,
    /// Where device tensors come from.
    pub weights: Weights,
    /// What can be run.
    pub programs: Vec<Program>,
    /// Tokenizer, chat template and defaults of generation.
    pub text: TextAssets,
}

/// What was compiled, for what and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Name of the model.
    pub model: String,
    /// Its family.
    pub family: String,
    /// Version of mscc that wrote the plan.
    pub producer: String,
    /// Device it is for: `cpu`, `ascend910b3`.
    pub target: String,
    /// Element type of activations.
    pub compute_dtype: DType,
    /// Devices it is spread over.
    pub mesh: Mesh,
    /// Limits within which it runs.
    pub limits: PlanLimits,
    /// What the user should know about the model or the options.
    pub warnings: Vec<String>,
    /// Rewrite rules that were applied, with the number of places.
    pub rewrites: Vec<(String, u32)>,
}

/// Devices a plan is spread over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// How many.
    pub size: u32,
    /// Which of them this plan is for.
    pub rank: u32,
}

/// Limits within which a plan runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLimits {
    /// Longest sequence, in tokens.
    pub max_model_len: u32,
    /// Most sequences in a step.
    pub max_num_seqs: u32,
    /// Most new tokens in a step.
    pub max_num_batched_tokens: u32,
    /// Rows of the output head, which is the number of token ids.
    pub vocab_size: u32,
}

/// An input of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputDecl {
    /// Name in the step contract.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<Dim>,
    /// Where it is read.
    pub residence: Residence,
}

/// Where an input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Residence {
    /// By kernels.
    Device,
    /// By kernels and by the host's stages.
    HostAndDevice,
}

/// An output of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputDecl {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<Dim>,
}

/// Where device tensors come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Directory of the checkpoint, as the user gave it.
    pub dir: String,
    /// Its files; none if the plan was compiled from a config alone and cannot run.
    pub files: Vec<WeightFile>,
    /// How device tensors are made from the files' tensors.
    pub recipes: Vec<Recipe>,
}

/// A file of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightFile {
    /// Name in the directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// BLAKE3 of its header.
    pub header_hash: [u8; 32],
}

/// How a device tensor is made, for every layer that has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Name of the device tensor.
    pub name: Template,
    /// A function whose leaves are weights and whose one sink is the output `weight`.
    pub body: Graph,
    /// How its elements are stored on the device.
    pub format: Format,
}

/// Something to run: the main model, or a draft, sharing weights and caches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its name: `main`.
    pub name: String,
    /// Ways to run it; the first whose guard holds is taken.
    pub variants: Vec<Variant>,
}

/// A way to run a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Its name: `decode`, `mixed`.
    pub name: String,
    /// All must hold; the last variant has none.
    pub guard: Vec<Condition>,
    /// One for each kind of layer.
    pub functions: Vec<Function>,
    /// Calls in order: function and layers.
    pub calls: Vec<(u32, Range<u32>)>,
    /// Bytes of the arena in which activations lie.
    pub arena_bytes: Dim,
}

/// A relation over symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// The first is at most the second.
    Le(Dim, Dim),
    /// Both are equal.
    Eq(Dim, Dim),
}

/// The launches of a kind of layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Name of the kind.
    pub name: String,
    /// Launches in order.
    pub launches: Vec<Launch>,
    /// Device tensors it reads.
    pub weights: Vec<WeightParam>,
    /// Cache tensors of the layer called for.
    pub caches: Vec<CacheRef>,
    /// Values that can be read while it runs.
    pub taps: Vec<Tap>,
    /// The graphs that it was lowered from, for people to look at: nothing runs from them.
    pub listing: Option<Listing>,
}

/// A function as graphs, before and after fusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// As its author wrote it, normalised and cut where functions end.
    pub source: Graph,
    /// In the form that was lowered.
    pub fused: Graph,
    /// Of each node of `fused`, the nodes of `source` that it stands for, by index, each once, in order.
    pub origins: Vec<Vec<u32>>,
    /// What each rule did on the way from `source` to `fused`.
    pub fusion: Fusion,
}

/// A device tensor that a function reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WeightParam {
    /// Index of the recipe.
    pub recipe: u32,
    /// Added to the layer called for, to give the layer whose tensor it is.
    pub layer_offset: i64,
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Name of the kernel in the target's table.
    pub kernel: String,
    /// The op with its attributes.
    pub op: Op,
    /// What is read, in the op's order; behind that, tensors that the kernel wants beside the op's operands.
    pub operands: Vec<Operand>,
    /// What is written, in the op's order; behind that, results of the kernel that the op does not have.
    pub results: Vec<Operand>,
    /// Name of the first result.
    pub name: String,
    /// Names of the traced ops it came from.
    pub origins: Vec<String>,
}

/// A view of a buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operand {
    /// The buffer.
    pub place: Place,
    /// Element type.
    pub dtype: DType,
    /// Bytes from the buffer's start to where `layout` counts from; a multiple of [`ALIGNMENT`].
    pub base_bytes: Dim,
    /// Which elements.
    pub layout: ViewLayout,
}

/// A buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// The arena of the step.
    Arena,
    /// Input number so much of the plan.
    Input(u32),
    /// Output number so much of the plan.
    Output(u32),
    /// Weight parameter number so much of the function.
    Weight(u32),
    /// Cache tensor number so much of the function.
    Cache(u32),
}

/// Alignment of buffers in the arena, in bytes.
pub const ALIGNMENT: i64 = 64;

/// A value that can be read out while a function runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tap {
    /// Its name, that of the model's source.
    pub name: Template,
    /// Index of the launch after which it is there.
    pub after: u32,
    /// The value.
    pub value: Operand,
}

/// What the text side needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextAssets {
    /// Directory with tokenizer files, as given.
    pub tokenizer_dir: Option<String>,
    /// A chat template given by the user in place of the model's.
    pub chat_template: Option<String>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Token that starts a text.
    pub bos_token_id: Option<u32>,
    /// What the model's authors recommend for sampling.
    pub sampling: SamplingDefaults,
}

/// Recommended sampling parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingDefaults {
    /// Whether to sample at all.
    pub do_sample: Option<bool>,
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// Keeps so many of the likeliest.
    pub top_k: Option<u32>,
    /// Keeps the likeliest that add up to so much.
    pub top_p: Option<f32>,
    /// Keeps those at least so likely, relative to the likeliest.
    pub min_p: Option<f32>,
    /// Divides the score of tokens already seen.
    pub repetition_penalty: Option<f32>,
}

impl Plan {
    /// The program of this name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// The symbols with their bounds.
    pub fn symbol_table(&self) -> SymbolTable {
        let mut table = SymbolTable::default();
        self.symbols.iter().for_each(|(name, info)| table.declare(name, *info));
        table
    }

    /// Bytes that one token takes in all caches; `None` if they do not fit 64 bits.
    pub fn cache_bytes_per_token(&self) -> Option<u64> {
        self.caches.iter().try_fold(0u64, |sum, group| sum.checked_add(group.bytes_per_token()?))
    }

    /// Every device tensor the plan needs: recipe and layer, in order of first use, each once.
    pub fn weight_instances(&self) -> Vec<(u32, i64)> {
        let mut seen = std::collections::HashSet::new();
        let mut instances = Vec::new();
        let variants = self.programs.iter().flat_map(|program| &program.variants);
        for variant in variants {
            for (function, layers) in &variant.calls {
                let Some(function) = variant.functions.get(*function as usize) else { continue };
                for layer in layers.clone() {
                    for param in &function.weights {
                        let instance = param.instance(&self.weights.recipes, layer);
                        if seen.insert(instance) {
                            instances.push(instance);
                        }
                    }
                }
            }
        }
        instances
    }
}

impl WeightParam {
    /// The recipe and the layer for which it is made when the function is called for `layer`; layer 0 stands for
    /// tensors that no layer owns.
    pub fn instance(&self, recipes: &[Recipe], layer: u32) -> (u32, i64) {
        let layered = recipes.get(self.recipe as usize).is_some_and(|recipe| recipe.name.is_layered());
        (self.recipe, if layered { i64::from(layer).saturating_add(self.layer_offset) } else { 0 })
    }
}

impl Recipe {
    /// The checkpoint's tensor if the device tensor is that, unchanged; a stack is made of several.
    pub fn identity(&self) -> Option<&Template> {
        match (self.body.sinks(), self.body.len()) {
            ([(_, value)], 1) => match &self.body.node(value.node).kind {
                crate::NodeKind::Leaf(crate::Leaf::Weight(template)) if !template.is_stacked() => {
                    Some(template)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// What it reads of the checkpoint; of each leaf of its body, that is a weight as validation asks, its tensors.
    pub fn sources(&self) -> impl Iterator<Item = (crate::Value, crate::Stored<'_>)> {
        self.body.leaves().filter_map(|(value, leaf)| match leaf {
            crate::Leaf::Weight(template) => {
                Some((value, crate::Stored::new(template, self.body.ty(value))?))
            }
            crate::Leaf::Input(_) | crate::Leaf::State(_) | crate::Leaf::Cache(_) => None,
        })
    }

    /// Ops that are run and tensors that are read to make the device tensor of one layer.
    pub fn work(&self) -> u64 {
        self.sources().fold(self.body.len() as u64, |sum, (_, stored)| sum + u64::from(stored.count()))
    }

    /// Bytes that the device tensor takes, with what its format fills up; `None` if they do not fit 64 bits.
    pub fn stored_bytes(&self) -> Option<u64> {
        let ty = self.ty()?;
        let shape = match self.format {
            Format::Nd => ty.shape.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>()?,
            Format::Nz => nz_storage(ty)?,
        };
        let elements = shape.iter().try_fold(1i64, |product, size| product.checked_mul(*size))?;
        u64::try_from(elements).ok()?.checked_mul(u64::from(ty.dtype.bits())).map(|bits| bits.div_ceil(8))
    }

    /// The type of the device tensor.
    pub fn ty(&self) -> Option<&crate::TensorType> {
        let (_, value) = self.body.sinks().first()?;
        Some(self.body.ty(*value))
    }
}

impl Condition {
    /// Adds to what is known of symbols that the condition holds.
    pub fn assume_in(&self, symbols: &mut SymbolTable) {
        match self {
            Condition::Le(lesser, greater) => symbols.assume_le(lesser.clone(), greater.clone()),
            Condition::Eq(a, b) => {
                symbols.assume_le(a.clone(), b.clone());
                symbols.assume_le(b.clone(), a.clone());
            }
        }
    }

    /// Whether it holds at these sizes.
    pub fn holds(
        &self,
        value_of: &dyn Fn(&crate::Symbol) -> Option<i64>,
    ) -> Result<bool, crate::dim::DimError> {
        Ok(match self {
            Condition::Le(a, b) => a.eval(value_of)? <= b.eval(value_of)?,
            Condition::Eq(a, b) => a.eval(value_of)? == b.eval(value_of)?,
        })
    }
}

impl Operand {
    /// Its type.
    pub fn ty(&self) -> crate::TensorType {
        crate::TensorType::new(self.dtype, self.layout.shape.clone())
    }
}
