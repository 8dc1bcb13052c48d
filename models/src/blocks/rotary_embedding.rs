//! Rotary position embedding.

use mscc_ir::Value;
use mscc_ir::attr::Float;
use mscc_ir::ops::{RopeFreqs, RopeScaling, RopeTable};

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError, Warning};

/// Cosines and sines of the rotary angles of `dim` elements of a head, computed once a step.
///
/// Of `dim` elements the part `partial_rotary_factor` is rotated, rounded down. `rope_type` is `default`, `linear`,
/// `dynamic`, `llama3`, `longrope` or `yarn`; the other parameters belong to some of them. All but `dim` are by
/// default the keys of `rope_parameters` in the config, so that a family rarely says them; of a table with a name they
/// are those of the object of that name in it, or where that has none, again its own.
///
/// `longrope` takes `long_factor` where sequences may be longer than `original_max_position_embeddings`, else
/// `short_factor`: one choice for a plan, since what is in the cache cannot be rotated anew. `dynamic` changes nothing up to
/// `max_position_embeddings`, and no further is supported for the same reason.
///
/// Errors: another `rope_type`; settings for each type of layer.
/// Source: HF `modeling_rope_utils.py`; yarn: Peng et al., 2023 (arXiv:2309.00071); longrope: Ding et al., 2024
/// (arXiv:2402.13753).
pub static BLOCK: Block = Block {
    name: "rotary_embedding",
    interface: Interface::Positions,
    reads_wide: false,
    params: &[
        Param::required("dim", ParamKind::Size),
        Param::with_default("theta", ParamKind::Number, "rope_parameters.rope_theta"),
        Param::with_default("rope_type", ParamKind::Text, "rope_parameters.rope_type ?? 'default'"),
        Param::with_default(
            "per_layer_type",
            ParamKind::Flag,
            "rope_parameters.full_attention != null or rope_parameters.sliding_attention != null",
        ),
        Param::with_default("partial_rotary_factor", ParamKind::Number, "1"),
        Param::optional("factor", ParamKind::Number, "rope_parameters.factor"),
        Param::optional("low_freq_factor", ParamKind::Number, "rope_parameters.low_freq_factor"),
        Param::optional("high_freq_factor", ParamKind::Number, "rope_parameters.high_freq_factor"),
        Param::optional(
            "original_max_position_embeddings",
            ParamKind::Size,
            "original_max_position_embeddings ?? rope_parameters.original_max_position_embeddings \
             ?? max_position_embeddings",
        ),
        Param::with_default("beta_fast", ParamKind::Number, "rope_parameters.beta_fast ?? 32"),
        Param::with_default("beta_slow", ParamKind::Number, "rope_parameters.beta_slow ?? 1"),
        Param::with_default("truncate", ParamKind::Flag, "rope_parameters.truncate ?? true"),
        Param::optional("attention_factor", ParamKind::Number, "rope_parameters.attention_factor"),
        Param::with_default("mscale", ParamKind::Number, "rope_parameters.mscale ?? 0"),
        Param::with_default("mscale_all_dim", ParamKind::Number, "rope_parameters.mscale_all_dim ?? 0"),
        Param::optional("long_factor", ParamKind::Numbers, "rope_parameters.long_factor"),
        Param::optional("short_factor", ParamKind::Numbers, "rope_parameters.short_factor"),
        Param::optional("max_position_embeddings", ParamKind::Size, "max_position_embeddings"),
    ],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, positions: Value) -> Result<Vec<Value>, TraceError> {
    if scope.flag("per_layer_type") {
        return Err(scope.unsupported("per_layer_type", "one set of `rope_parameters` for all layers"));
    }
    let dim = rotated(scope)?;
    let (scaling, scale) = match scope.text("rope_type") {
        "default" => (RopeScaling::None, 1.0),
        "linear" => (RopeScaling::Linear { factor: positive(scope, "factor")? }, 1.0),
        "llama3" => {
            let (low, high) = (positive(scope, "low_freq_factor")?.0, positive(scope, "high_freq_factor")?.0);
            scope.ensure("high_freq_factor", high > low, format!("a number above low_freq_factor, {low}"))?;
            let scaling = RopeScaling::Llama3 {
                factor: positive(scope, "factor")?,
                low_freq_factor: positive(scope, "low_freq_factor")?,
                high_freq_factor: positive(scope, "high_freq_factor")?,
                original_max_position_embeddings: original(scope)?,
            };
            (scaling, 1.0)
        }
        "yarn" => {
            let scaling = RopeScaling::Yarn {
                factor: positive(scope, "factor")?,
                beta_fast: positive(scope, "beta_fast")?,
                beta_slow: positive(scope, "beta_slow")?,
                original_max_position_embeddings: original(scope)?,
                truncate: scope.flag("truncate"),
            };
            (scaling, yarn_attention_factor(scope)?)
        }
        "dynamic" => {
            let trained = scope.optional_size("max_position_embeddings").unwrap_or(0);
            if u64::from(scope.max_model_len()) > trained {
                let supported = format!("dynamic scaling up to a max_model_len of {trained}");
                return Err(scope.unsupported("rope_type", supported));
            }
            (RopeScaling::None, 1.0)
        }
        "longrope" => longrope(scope, dim)?,
        _ => return Err(scope.unsupported("rope_type", "default, linear, dynamic, llama3, longrope or yarn")),
    };
    let theta = scope.number("theta");
    scope.ensure("theta", theta > 1.0, "a number above 1")?;
    let freqs = RopeFreqs { dim, theta: Float(theta), scaling };
    let freqs = scope.op(freqs, &[], "inv_freq")?;
    scope.ops(RopeTable { scale: Float(scale) }, &[positions, freqs], &["cos", "sin"])
}

/// How many elements of a head are rotated.
fn rotated(scope: &Scope<'_, '_>) -> Result<u32, TraceError> {
    let (dim, factor) = (scope.size("dim"), scope.number("partial_rotary_factor"));
    scope.ensure("dim", dim <= MAX_DIM, format!("an even size of a head, up to {MAX_DIM}"))?;
    scope.ensure("partial_rotary_factor", 0.0 < factor && factor <= 1.0, "a number above 0, up to 1")?;
    let rotated = (dim as f64 * factor).floor() as u32;
    let fits = rotated.is_multiple_of(2) && rotated > 0;
    match factor == 1.0 {
        true => scope.ensure("dim", fits, format!("an even size of a head, up to {MAX_DIM}"))?,
        false => {
            let expected = format!("a part of a head that is even, not {rotated} of its {dim} elements");
            scope.ensure("partial_rotary_factor", fits, expected)?;
        }
    }
    Ok(rotated)
}

/// The factors of frequencies for the plan's longest sequence, and that of cosines and sines.
fn longrope(scope: &Scope<'_, '_>, dim: u32) -> Result<(RopeScaling, f64), TraceError> {
    let original = original(scope)?;
    let (max, longest) = (scope.max_model_len(), scope.optional_size("max_position_embeddings"));
    let is_long = max > original;
    let name = if is_long { "long_factor" } else { "short_factor" };
    let factors: Vec<Float> = scope.numbers(name).into_iter().map(Float).collect();
    let fits = factors.len() == (dim / 2) as usize && factors.iter().all(|factor| factor.0 > 0.0);
    scope.ensure(name, fits, format!("a list of {} numbers above 0", dim / 2))?;
    if is_long && scope.numbers("short_factor") != scope.numbers("long_factor") {
        scope.warn(Warning::LongFactor { max_model_len: max, original });
    }
    let scale = scope.optional_number("attention_factor").unwrap_or_else(|| {
        let longest = longest.map_or(f64::from(original), |longest| longest as f64);
        let factor = scope.optional_number("factor").unwrap_or(longest / f64::from(original));
        match factor > 1.0 && original > 1 {
            true => (1.0 + factor.ln() / f64::from(original).ln()).sqrt(),
            false => 1.0,
        }
    });
    Ok((RopeScaling::Longrope { factors }, scale))
}

/// Largest head, in elements.
const MAX_DIM: u64 = 1 << 16;

fn positive(scope: &Scope<'_, '_>, name: &str) -> Result<Float, TraceError> {
    match scope.optional_number(name) {
        Some(value) if value > 0.0 => Ok(Float(value)),
        Some(_) | None => Err(scope.bad(name, "a number above 0")),
    }
}

fn original(scope: &Scope<'_, '_>) -> Result<u32, TraceError> {
    let name = "original_max_position_embeddings";
    let size = scope.optional_size(name).ok_or_else(|| scope.bad(name, ParamKind::Size.describe()))?;
    Ok(u32::try_from(size).expect("a size is at most 2^31"))
}

/// The factor of cosines and sines, which grows with the context so that attention stays as sharp.
fn yarn_attention_factor(scope: &Scope<'_, '_>) -> Result<f64, TraceError> {
    if let Some(given) = scope.optional_number("attention_factor") {
        return Ok(given);
    }
    let factor = positive(scope, "factor")?.0;
    let magnitude = |mscale: f64| yarn_magnitude(factor, mscale);
    let (mscale, mscale_all_dim) = (scope.number("mscale"), scope.number("mscale_all_dim"));
    if mscale == 0.0 || mscale_all_dim == 0.0 {
        return Ok(magnitude(1.0));
    }
    let scale = magnitude(mscale) / magnitude(mscale_all_dim);
    if scale.is_finite() {
        Ok(scale)
    } else {
        Err(scope.bad("mscale_all_dim", "a number that gives a finite factor"))
    }
}

/// By how much a context that is `factor` times as long sharpens attention.
pub(super) fn yarn_magnitude(factor: f64, mscale: f64) -> f64 {
    if factor > 1.0 { 0.1 * mscale * factor.ln() + 1.0 } else { 1.0 }
}
