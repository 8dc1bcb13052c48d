//! Multi-head latent attention: keys and values are made of a small latent, which alone is cached.

use mscc_ir::Value;
use mscc_ir::attr::Float;
use mscc_ir::module::CacheKind;
use mscc_ir::ops::{CacheRead, CacheWrite, RaggedAttention, Reshape, Rope, Split};
use mscc_ir::{Dim, step};

use super::rms_norm::EPS;
use super::rotary_embedding::yarn_magnitude;
use super::{Block, Interface, Param, ParamKind, dim};
use crate::trace::{Scope, TraceError};

/// Attention to keys and values that are made of a latent of R `kv_lora_rank` elements, with a rotated part of keys of
/// Dr `qk_rope_head_dim` elements that all heads share.
///
/// With N `num_attention_heads`, D `qk_nope_head_dim`, Dv `v_head_dim`, Q `q_lora_rank`:
///
/// | weight                           | shape            |                                  |
/// |----------------------------------|------------------|----------------------------------|
/// | `q_proj.weight`                  | [N·(D+Dr), H]    | if Q is null                     |
/// | `q_a_proj.weight`                | [Q, H]           | if not                           |
/// | `q_a_layernorm.weight`           | [Q]              | if not                           |
/// | `q_b_proj.weight`                | [N·(D+Dr), Q]    | if not                           |
/// | `kv_a_proj_with_mqa.weight`      | [R+Dr, H]        |                                  |
/// | `kv_a_layernorm.weight`          | [R]              | of the latent alone              |
/// | `kv_b_proj.weight`               | [N·(D+Dv), R]    | key and value of each head       |
/// | `o_proj.weight`                  | [H, N·Dv]        |                                  |
/// | `{q_a_proj,kv_a_proj_with_mqa,o_proj}.bias` | as wide as the result | if `bias` holds |
///
/// The cache keeps the normed latent and the rotated part. Keys and values of all cached tokens are made of them in
/// each step as it is traced; a rule turns that into attention over the latents themselves.
///
/// Scores are scaled by (D+Dr)^-0.5, times (0.1 · `mscale_all_dim` · ln(`factor`) + 1)² where `factor` is above 1.
///
/// Source: DeepSeek-AI, 2024 (arXiv:2405.04434), section 2.1; HF `modeling_deepseek_v3.py`.
pub static BLOCK: Block = Block {
    name: "latent_attention",
    interface: Interface::Hidden,
    reads_wide: false,
    params: &[
        Param::required("num_attention_heads", ParamKind::Size),
        Param::optional("q_lora_rank", ParamKind::Size, "null"),
        Param::required("kv_lora_rank", ParamKind::Size),
        Param::required("qk_nope_head_dim", ParamKind::Size),
        Param::required("qk_rope_head_dim", ParamKind::Size),
        Param::required("v_head_dim", ParamKind::Size),
        Param::with_default("bias", ParamKind::Flag, "false"),
        Param::with_default("latent_norm_eps", ParamKind::Number, "1e-6"),
        Param::optional("rotary_emb", ParamKind::Text, "'rotary_emb'"),
        Param::with_default("rope_interleaved", ParamKind::Flag, "true"),
        Param::with_default(
            "mscale_all_dim",
            ParamKind::Number,
            "if (rope_parameters.rope_type ?? 'default') == 'default' then 0 else rope_parameters.mscale_all_dim ?? 0",
        ),
        Param::with_default("factor", ParamKind::Number, "rope_parameters.factor ?? 1"),
    ],
    modules: &[
        "q_proj",
        "q_a_proj",
        "q_a_layernorm",
        "q_b_proj",
        "kv_a_proj_with_mqa",
        "kv_a_layernorm",
        "kv_b_proj",
        "o_proj",
    ],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let eps = scope.number("latent_norm_eps");
    scope.ensure("latent_norm_eps", (0.0..=1.0).contains(&eps), EPS)?;
    let (heads, rank) = (scope.size("num_attention_heads"), scope.size("kv_lora_rank"));
    let (nope, rope) = (scope.size("qk_nope_head_dim"), scope.size("qk_rope_head_dim"));
    let (v_dim, bias) = (scope.size("v_head_dim"), scope.flag("bias"));
    let tokens = scope.ty(x).shape[0].clone();

    let q = match scope.optional_size("q_lora_rank") {
        None => scope.linear(x, "q_proj", heads * (nope + rope), false)?,
        Some(q_rank) => {
            let low = scope.linear(x, "q_a_proj", q_rank, bias)?;
            let low = scope.rms_norm(low, "q_a_layernorm", eps, 0.0)?;
            scope.linear(low, "q_b_proj", heads * (nope + rope), false)?
        }
    };
    let shape = vec![tokens.clone(), dim(heads), dim(nope + rope)];
    let q = scope.op(Reshape { shape }, &[q], "q")?;
    let [q, q_rope] = halves(scope, q, [nope, rope], ["q_nope", "q_rope"])?;
    let compressed = scope.linear(x, "kv_a_proj_with_mqa", rank + rope, bias)?;
    let [latent, k_rope] = halves(scope, compressed, [rank, rope], ["latent", "k_rope"])?;
    let latent = scope.rms_norm(latent, "kv_a_layernorm", eps, 0.0)?;
    let (q_rope, k_rope) = rotate(scope, q_rope, k_rope, rope)?;

    let group = scope.cache_group(CacheKind::Latent, &[("latent", latent), ("k_rope", k_rope)]);
    let latents = all_rows(scope, &group, "latent", latent)?;
    let k_ropes = all_rows(scope, &group, "k_rope", k_rope)?;
    let kv = scope.linear(latents, "kv_b_proj", heads * (nope + v_dim), false)?;
    let shape = vec![Dim::symbol(step::CONTEXT), dim(heads), dim(nope + v_dim)];
    let kv = scope.op(Reshape { shape }, &[kv], "kv")?;
    let [k, v] = halves(scope, kv, [nope, v_dim], ["k", "v"])?;

    let (query_start, context_len) = (scope.input("query_start"), scope.input("context_len"));
    let sharper = yarn_magnitude(scope.number("factor"), scope.number("mscale_all_dim"));
    let attention = RaggedAttention { scale: Float(((nope + rope) as f64).powf(-0.5) * sharper * sharper) };
    let attended = scope.op(attention, &[q, q_rope, k, k_ropes, v, query_start, context_len], "attention")?;
    let shape = vec![tokens, dim(heads * v_dim)];
    let flat = scope.op(Reshape { shape }, &[attended], "heads")?;
    Ok(vec![scope.linear_out(flat, "o_proj", scope.width(x), bias)?])
}

/// The innermost axis in two.
fn halves(
    scope: &mut Scope<'_, '_>,
    x: Value,
    sizes: [u64; 2],
    names: [&str; 2],
) -> Result<[Value; 2], TraceError> {
    let split = Split { axis: -1, sizes: sizes.map(dim).to_vec() };
    let parts = scope.ops(split, &[x], &names)?;
    Ok([parts[0], parts[1]])
}

/// Rotates the positional parts of queries `[T, N, Dr]` and of keys `[T, Dr]`.
fn rotate(scope: &mut Scope<'_, '_>, q: Value, k: Value, rope: u64) -> Result<(Value, Value), TraceError> {
    let tables = scope.rotary("rotary_emb")?;
    let Some((cos, sin)) = tables else { return Ok((q, k)) };
    let op = Rope { interleaved: scope.flag("rope_interleaved") };
    let q = scope.op(op.clone(), &[q, cos, sin], "q_rotated")?;
    let tokens = scope.ty(k).shape[0].clone();
    let one_head = Reshape { shape: vec![tokens.clone(), Dim::ONE, dim(rope)] };
    let k = scope.op(one_head, &[k], "k_rope_head")?;
    let k = scope.op(op, &[k, cos, sin], "k_rotated")?;
    let flat = Reshape { shape: vec![tokens, dim(rope)] };
    Ok((q, scope.op(flat, &[k], "k_rotated_flat")?))
}

/// Keeps the new tokens' rows and gives those of all tokens, `[C, ..]`.
fn all_rows(scope: &mut Scope<'_, '_>, group: &str, tensor: &str, rows: Value) -> Result<Value, TraceError> {
    let slots = scope.input(&format!("slot_mapping.{group}"));
    let cache = scope.cache(group, tensor);
    let cache = scope.op(CacheWrite, &[cache, rows, slots], &format!("{tensor}_cache"))?;
    scope.keep(group, tensor, cache);
    let (block_table, context_len) =
        (scope.input(&format!("block_table.{group}")), scope.input("context_len"));
    let read = CacheRead { rows: Dim::symbol(step::CONTEXT) };
    scope.op(read, &[cache, block_table, context_len], &format!("{tensor}s"))
}
