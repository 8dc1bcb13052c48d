//! Causal self-attention with grouped heads and rotary positions.

use mscc_ir::Value;
use mscc_ir::attr::Float;
use mscc_ir::module::CacheKind;
use mscc_ir::ops::{Attention, CacheWrite, Reshape, Rope, Split};

use super::linear::positive_cap;
use super::rms_norm::EPS;
use super::{Block, Interface, Param, ParamKind, dim};
use crate::trace::{Scope, TraceError};

/// Each token attends to the cached tokens of its sequence up to itself: all, or with `window` the last so many.
///
/// With N query heads, K key and value heads, D `head_dim`:
///
/// | weight                               | shape    |                            |
/// |--------------------------------------|----------|----------------------------|
/// | `q_proj.weight`                      | [N·D, H] |                            |
/// | `k_proj.weight`, `v_proj.weight`     | [K·D, H] |                            |
/// | `qkv_proj.weight`                    | [(N+2·K)·D, H] | in their place if `fused_qkv` holds: q, k, v |
/// | `{q,k,v,qkv}_proj.bias`              | as wide as the result | if `qkv_bias` holds |
/// | `o_proj.weight`                      | [H, N·D] |                            |
/// | `o_proj.bias`                        | [H]      | if `o_bias` holds          |
/// | `q_norm.weight`, `k_norm.weight`     | [D]      | unless `qk_norm_eps` is null; before the rotation |
/// | `q_norm.bias`, `k_norm.bias`         | [D]      | if `qk_norm` is `layer_norm` |
/// | `sinks`                              | [N]      | if `sinks` holds           |
///
/// `qk_norm` is `rms_norm` or `layer_norm`, over each head, or with `qk_norm_over` `all_heads` (weights [N·D] and
/// [K·D]) over the whole projection. Queries and keys are rotated by the tables that `rotary_emb` names, neighbours
/// paired if `rope_interleaved` holds, or not at all if it is null. Scores are scaled by `scale`, D^-0.5 if it is
/// null, and bounded by `soft_cap`.
///
/// Errors: N no multiple of K.
/// Source: HF `modeling_llama.py`, `modeling_qwen3.py`, `modeling_gemma2.py`, `modeling_olmo2.py`, `modeling_phi.py`,
/// `modeling_gpt_oss.py`.
pub static BLOCK: Block = Block {
    name: "attention",
    interface: Interface::Hidden,
    reads_wide: false,
    params: &[
        Param::required("num_attention_heads", ParamKind::Size),
        Param::required("num_key_value_heads", ParamKind::Size),
        Param::required("head_dim", ParamKind::Size),
        Param::with_default("qkv_bias", ParamKind::Flag, "false"),
        Param::with_default("o_bias", ParamKind::Flag, "false"),
        Param::with_default("fused_qkv", ParamKind::Flag, "false"),
        Param::optional("qk_norm_eps", ParamKind::Number, "null"),
        Param::with_default("qk_norm", ParamKind::Text, "'rms_norm'"),
        Param::with_default("qk_norm_over", ParamKind::Text, "'head'"),
        Param::with_default("qk_norm_weight_offset", ParamKind::Number, "0"),
        Param::optional("rotary_emb", ParamKind::Text, "'rotary_emb'"),
        Param::with_default("rope_interleaved", ParamKind::Flag, "false"),
        Param::optional("scale", ParamKind::Number, "null"),
        Param::optional("window", ParamKind::Size, "null"),
        Param::optional("soft_cap", ParamKind::Number, "null"),
        Param::with_default("sinks", ParamKind::Flag, "false"),
    ],
    modules: &["q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "q_norm", "k_norm", "sinks"],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let sizes = Sizes::of(scope)?;
    let [mut q, mut k, v] = project(scope, x, &sizes)?;
    if let Some((cos, sin)) = scope.rotary("rotary_emb")? {
        let rope = Rope { interleaved: scope.flag("rope_interleaved") };
        q = scope.op(rope.clone(), &[q, cos, sin], "q_rope")?;
        k = scope.op(rope, &[k, cos, sin], "k_rope")?;
    }
    let attended = attend(scope, &sizes, [q, k, v])?;
    let shape = vec![scope.ty(x).shape[0].clone(), dim(sizes.heads * sizes.head_dim)];
    let flat = scope.op(Reshape { shape }, &[attended], "heads")?;
    Ok(vec![scope.linear_out(flat, "o_proj", scope.width(x), scope.flag("o_bias"))?])
}

struct Sizes {
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
}

impl Sizes {
    fn of(scope: &Scope<'_, '_>) -> Result<Sizes, TraceError> {
        let (heads, kv_heads) = (scope.size("num_attention_heads"), scope.size("num_key_value_heads"));
        let expected = format!("a divisor of the number of query heads, {heads}");
        scope.ensure("num_key_value_heads", heads.is_multiple_of(kv_heads), expected)?;
        Ok(Sizes { heads, kv_heads, head_dim: scope.size("head_dim") })
    }
}

/// Queries `[T, N, D]`, keys and values `[T, K, D]`, not rotated.
fn project(scope: &mut Scope<'_, '_>, x: Value, sizes: &Sizes) -> Result<[Value; 3], TraceError> {
    let Sizes { heads, kv_heads, head_dim } = *sizes;
    let bias = scope.flag("qkv_bias");
    let [q, k, v] = if scope.flag("fused_qkv") {
        let flat = scope.linear(x, "qkv_proj", (heads + 2 * kv_heads) * head_dim, bias)?;
        let sizes = [heads, kv_heads, kv_heads].map(|heads| dim(heads * head_dim)).to_vec();
        let parts = scope.ops(Split { axis: -1, sizes }, &[flat], &["q_proj", "k_proj", "v_proj"])?;
        [parts[0], parts[1], parts[2]]
    } else {
        let q = scope.linear(x, "q_proj", heads * head_dim, bias)?;
        let k = scope.linear(x, "k_proj", kv_heads * head_dim, bias)?;
        [q, k, scope.linear(x, "v_proj", kv_heads * head_dim, bias)?]
    };
    let over_all = match scope.text("qk_norm_over") {
        "head" => false,
        "all_heads" => true,
        _ => return Err(scope.unsupported("qk_norm_over", "head or all_heads")),
    };
    let heads_of = |scope: &mut Scope<'_, '_>, x: Value, heads: u64, name: &str| {
        let shape = vec![scope.ty(x).shape[0].clone(), dim(heads), dim(head_dim)];
        scope.op(Reshape { shape }, &[x], name)
    };
    let normed_heads = |scope: &mut Scope<'_, '_>, x: Value, heads: u64, name: &str| {
        let norm = format!("{name}_norm");
        let x = if over_all { qk_norm(scope, x, &norm)? } else { x };
        let x = heads_of(scope, x, heads, name)?;
        if over_all { Ok(x) } else { qk_norm(scope, x, &norm) }
    };
    let q = normed_heads(scope, q, heads, "q")?;
    let k = normed_heads(scope, k, kv_heads, "k")?;
    Ok([q, k, heads_of(scope, v, kv_heads, "v")?])
}

/// The norm of queries or keys, if there is one.
fn qk_norm(scope: &mut Scope<'_, '_>, x: Value, module: &str) -> Result<Value, TraceError> {
    let Some(eps) = scope.optional_number("qk_norm_eps") else { return Ok(x) };
    scope.ensure("qk_norm_eps", (0.0..=1.0).contains(&eps), EPS)?;
    match scope.text("qk_norm") {
        "rms_norm" => scope.rms_norm(x, module, eps, scope.number("qk_norm_weight_offset")),
        "layer_norm" => scope.layer_norm(x, module, eps, true),
        _ => Err(scope.unsupported("qk_norm", "rms_norm or layer_norm")),
    }
}

/// What each query sees: `[T, N, D]`.
fn attend(scope: &mut Scope<'_, '_>, sizes: &Sizes, [q, k, v]: [Value; 3]) -> Result<Value, TraceError> {
    // A window that no sequence outgrows is none.
    let window = scope.optional_size("window").and_then(|window| u32::try_from(window).ok());
    let window = window.filter(|window| *window < scope.max_model_len());
    let kind = window.map_or(CacheKind::Full, CacheKind::Window);
    let group = scope.cache_group(kind, &[("k", k), ("v", v)]);
    let slots = scope.input(&format!("slot_mapping.{group}"));
    let mut written = |tensor: &str, rows: Value| {
        let cache = scope.cache(&group, tensor);
        let cache = scope.op(CacheWrite, &[cache, rows, slots], &format!("{tensor}_cache"))?;
        scope.keep(&group, tensor, cache);
        Ok::<Value, TraceError>(cache)
    };
    let (k_cache, v_cache) = (written("k", k)?, written("v", v)?);
    let block_table = scope.input(&format!("block_table.{group}"));
    let (query_start, context_len) = (scope.input("query_start"), scope.input("context_len"));
    let mut operands = vec![q, k_cache, v_cache, block_table, query_start, context_len];
    if scope.flag("sinks") {
        operands.push(scope.weight("sinks", &[sizes.heads])?);
    }
    let scale = scope.optional_number("scale").unwrap_or((sizes.head_dim as f64).powf(-0.5));
    let attention = Attention { scale: Float(scale), window, soft_cap: positive_cap(scope)? };
    scope.op(attention, &operands, "attention")
}
