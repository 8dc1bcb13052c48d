//! Causal self-attention with grouped heads and rotary positions.

use mscc_ir::attr::Float;
use mscc_ir::module::CacheKind;
use mscc_ir::ops::{Attention, CacheWrite, Reshape, Rope};
use mscc_ir::{Dim, Value};

use super::rms_norm::EPS;
use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// Each token attends to all cached tokens of its sequence up to itself.
///
/// With N query heads, K key and value heads, D `head_dim`:
///
/// | weight                               | shape    |                            |
/// |--------------------------------------|----------|----------------------------|
/// | `q_proj.weight`                      | [N·D, H] |                            |
/// | `k_proj.weight`, `v_proj.weight`     | [K·D, H] |                            |
/// | `{q,k,v}_proj.bias`                  | as wide as the result | if `qkv_bias` holds |
/// | `o_proj.weight`                      | [H, N·D] |                            |
/// | `o_proj.bias`                        | [H]      | if `o_bias` holds          |
/// | `q_norm.weight`, `k_norm.weight`     | [D]      | unless `qk_norm_eps` is null; per head, before the rotation |
///
/// Scores are scaled by D^-0.5.
///
/// Errors: N no multiple of K.
/// Source: HF `modeling_llama.py`, `modeling_qwen3.py`.
pub static BLOCK: Block = Block {
    name: "attention",
    interface: Interface::Hidden,
    params: &[
        Param::required("num_attention_heads", ParamKind::Size),
        Param::required("num_key_value_heads", ParamKind::Size),
        Param::required("head_dim", ParamKind::Size),
        Param::with_default("qkv_bias", ParamKind::Flag, "false"),
        Param::with_default("o_bias", ParamKind::Flag, "false"),
        Param::optional("qk_norm_eps", ParamKind::Number, "null"),
    ],
    modules: &["q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let (heads, kv_heads) = (scope.size("num_attention_heads"), scope.size("num_key_value_heads"));
    let expected = format!("a divisor of the number of query heads, {heads}");
    scope.ensure("num_key_value_heads", heads % kv_heads == 0, expected)?;
    let (head_dim, hidden) = (scope.size("head_dim"), scope.width(x));
    let (qkv_bias, eps) = (scope.flag("qkv_bias"), scope.optional_number("qk_norm_eps"));
    scope.ensure("qk_norm_eps", eps.is_none_or(|eps| (0.0..=1.0).contains(&eps)), EPS)?;
    let tokens = scope.ty(x).shape[0].clone();

    let project = |scope: &mut Scope<'_, '_>, name: &str, heads: u64| {
        let flat = scope.linear(x, &format!("{name}_proj"), heads * head_dim, qkv_bias)?;
        let shape = vec![tokens.clone(), dim(heads), dim(head_dim)];
        scope.op(Reshape { shape }, &[flat], name)
    };
    let mut q = project(scope, "q", heads)?;
    let mut k = project(scope, "k", kv_heads)?;
    let v = project(scope, "v", kv_heads)?;
    if let Some(eps) = eps {
        q = scope.rms_norm(q, "q_norm", eps)?;
        k = scope.rms_norm(k, "k_norm", eps)?;
    }
    let (cos, sin) = scope.rotary();
    let rope = Rope { interleaved: false };
    q = scope.op(rope.clone(), &[q, cos, sin], "q_rope")?;
    k = scope.op(rope, &[k, cos, sin], "k_rope")?;

    let group = scope.cache_group(CacheKind::Full, &[("k", k), ("v", v)]);
    let slots = scope.input(&format!("slot_mapping.{group}"));
    let k_cache = scope.cache(&group, "k");
    let k_cache = scope.op(CacheWrite, &[k_cache, k, slots], "k_cache")?;
    scope.keep(&group, "k", k_cache);
    let v_cache = scope.cache(&group, "v");
    let v_cache = scope.op(CacheWrite, &[v_cache, v, slots], "v_cache")?;
    scope.keep(&group, "v", v_cache);

    let block_table = scope.input(&format!("block_table.{group}"));
    let (query_start, context_len) = (scope.input("query_start"), scope.input("context_len"));
    let attention = Attention { scale: Float((head_dim as f64).powf(-0.5)), window: None, soft_cap: None };
    let operands = [q, k_cache, v_cache, block_table, query_start, context_len];
    let attended = scope.op(attention, &operands, "attention")?;
    let shape = vec![tokens, dim(heads * head_dim)];
    let flat = scope.op(Reshape { shape }, &[attended], "heads")?;
    let o_bias = scope.flag("o_bias");
    Ok(vec![scope.linear(flat, "o_proj", hidden, o_bias)?])
}

/// A size that fits, since its factors are at most 2^31.
fn dim(size: u64) -> Dim {
    Dim::constant(i64::try_from(size).expect("a product of two sizes is at most 2^62"))
}
