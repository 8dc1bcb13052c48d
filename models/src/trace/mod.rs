//! From a config to a module: the family's slots traced by their blocks, one function per kind of layer.

mod context;
mod error;
mod flow;
mod scope;
mod source_weights;
mod tracer;
mod warning;
mod weights;

use mscc_checkpoint::Checkpoint;
use mscc_ir::step::{self, Limits};
use mscc_ir::{DType, Module, SymbolInfo, verify};

use self::context::Context;
use self::tracer::Tracer;
use crate::families;
use crate::hf::{HfConfig, LAYERS};
use crate::keys::{Ignored, UnreadKeys};
use crate::spec::{Family, Setting};

pub use error::{Misfit, TraceError, UnknownFamily};
pub use scope::Scope;
pub use source_weights::{SourceWeight, SourceWeights};
pub use warning::Warning;
pub use weights::{Affected, Mismatch, WeightProblem};

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

    let unread_keys: Vec<Warning> = keys
        .unknown
        .into_iter()
        .map(|unknown| Warning::UnknownKey {
            config: config.path().to_owned(),
            key: unknown.key,
            nearest: unknown.nearest,
        })
        .collect();
    let traced = Tracer::new(&context).run(num_layers(&context)?).map_err(|error| match error {
        TraceError::Weights { dir, family, problems, .. } => {
            TraceError::Weights { dir, family, problems, unread: unread_keys.clone() }
        }
        other => other,
    });
    let (mut module, unread, skipped) = traced?;
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
    warnings.extend(unread_keys);
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
