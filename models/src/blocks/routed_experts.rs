//! Mixtures of experts: a router, the experts that it chooses, and experts shared by all tokens.

use mscc_ir::attr::Float;
use mscc_ir::ops::{
    Add, Argsort, Bincount, Cast, Clamp, FloorDiv, Gather, GroupedMatmul, IndexAdd, KeepGroups, Linear, Mul,
    Renormalize, Reshape, Scale, ScaleRows, Shift, Sigmoid, Softmax, Split, Sum, TakeAlong, Topk, Transpose,
};
use mscc_ir::{DType, Dim, Value};

use super::activation::{activation, gated_by_sigmoid};
use super::{Block, Interface, Param, ParamKind, dim};
use crate::trace::{Scope, TraceError};

/// Each token goes through `num_experts_per_tok` of `num_experts` gated perceptrons, chosen by a router, and through the
/// shared ones.
///
/// With E `num_experts`, I `intermediate_size`, S `shared_intermediate_size`:
///
/// | weight                                             | shape  |                                     |
/// |----------------------------------------------------|--------|-------------------------------------|
/// | `gate.weight`                                      | [E, H] | the router                          |
/// | `gate.bias`                                        | [E]    | if `router_bias` holds              |
/// | `gate.e_score_correction_bias`                     | [E], [1, E] if `correction_bias_row` holds | if `correction_bias` holds |
/// | `experts.{e}.gate_proj.weight`, `.up_proj.weight`  | [I, H] | for each expert                     |
/// | `experts.{e}.down_proj.weight`                     | [H, I] | for each expert                     |
/// | `experts.gate_up_proj`, `experts.down_proj`        | [E, H, 2·I], [E, I, H] | in their place if `stacked_experts` holds: gate and up take turns |
/// | `experts.gate_up_proj_bias`, `experts.down_proj_bias` | [E, 2·I], [E, H] | with them, if `expert_bias` holds |
/// | `shared_experts.gate_proj.weight`, `.up_proj.weight` | [S, H] | if S is not null                  |
/// | `shared_experts.down_proj.weight`                  | [H, S] | if S is not null                    |
/// | `shared_experts.*.bias`                            |        | if `shared_bias` holds              |
/// | `shared_expert_gate.weight`                        | [1, H] | if `shared_gate` holds: its sigmoid scales what is shared |
///
/// The scores are, by `scoring`, the `softmax` or `sigmoid` of the router's product, in f32. The best experts by score
/// plus correction bias are chosen, with `n_group` above 1 only among the best `topk_group` groups of consecutive
/// experts; a group is as good as its `group_experts` best. The chosen are weighted by their scores, divided by
/// their sum (plus `norm_eps`, but at least `norm_min`) if `norm_topk_prob` holds, times `routed_scaling_factor`. With
/// `scoring` `softmax_of_chosen` the best products are chosen, and weighted by the softmax over them.
///
/// An expert is `down(act(gate(x)) * up(x))`; with `swiglu_limit` l and `swiglu_alpha` a,
/// `down((clamp(up(x), -l, l) + 1) * g * sigmoid(a * g))` where `g = min(gate(x), l)`.
///
/// Work is in proportion to the tokens routed: (token, expert) pairs are sorted by expert and multiplied group by group.
///
/// Errors: more experts chosen than there are to choose from; experts that do not divide into groups.
/// Source: HF `modeling_mixtral.py`, `modeling_deepseek_v3.py`, `modeling_gpt_oss.py`, `modeling_ernie4_5_moe.py`.
pub static BLOCK: Block = Block {
    name: "routed_experts",
    interface: Interface::Hidden,
    reads_wide: true,
    params: &[
        Param::required("num_experts", ParamKind::Size),
        Param::required("num_experts_per_tok", ParamKind::Size),
        Param::required("intermediate_size", ParamKind::Size),
        Param::with_default("hidden_act", ParamKind::Text, "'silu'"),
        Param::with_default("scoring", ParamKind::Text, "'softmax'"),
        Param::with_default("router_bias", ParamKind::Flag, "false"),
        Param::with_default("correction_bias", ParamKind::Flag, "false"),
        Param::with_default("correction_bias_row", ParamKind::Flag, "false"),
        Param::with_default("n_group", ParamKind::Size, "1"),
        Param::with_default("topk_group", ParamKind::Size, "1"),
        Param::with_default("group_experts", ParamKind::Size, "1"),
        Param::with_default("norm_topk_prob", ParamKind::Flag, "false"),
        Param::with_default("norm_eps", ParamKind::Number, "0"),
        Param::with_default("norm_min", ParamKind::Number, "0"),
        Param::with_default("routed_scaling_factor", ParamKind::Number, "1"),
        Param::with_default("stacked_experts", ParamKind::Flag, "false"),
        Param::with_default("expert_bias", ParamKind::Flag, "false"),
        Param::optional("swiglu_limit", ParamKind::Number, "null"),
        Param::with_default("swiglu_alpha", ParamKind::Number, "1"),
        Param::optional("shared_intermediate_size", ParamKind::Size, "null"),
        Param::with_default("shared_gate", ParamKind::Flag, "false"),
        Param::with_default("shared_bias", ParamKind::Flag, "false"),
    ],
    modules: &[
        "gate",
        "gate.e_score_correction_bias",
        "experts",
        "gate_proj",
        "up_proj",
        "down_proj",
        "shared_experts",
        "shared_expert_gate",
    ],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let sizes = Sizes::of(scope)?;
    let chosen = route(scope, x, &sizes)?;
    let x = scope.narrowed(x, "hidden")?;
    let pairs = Pairs::of(scope, x, &chosen, &sizes)?;
    let routed = experts(scope, &pairs, &sizes)?;
    let routed = scope.op(ScaleRows, &[routed, pairs.weight], "weighted")?;
    let rows = scope.ty(x).shape[0].clone();
    let routed = scope.op(IndexAdd { rows }, &[routed, pairs.token], "routed")?;
    let Some(width) = scope.optional_size("shared_intermediate_size") else { return Ok(vec![routed]) };
    let shared = shared_experts(scope, x, width)?;
    Ok(vec![scope.op(Add, &[routed, shared], "sum")?])
}

struct Sizes {
    experts: u64,
    chosen: u64,
    groups: u64,
    kept_groups: u64,
}

impl Sizes {
    fn of(scope: &Scope<'_, '_>) -> Result<Sizes, TraceError> {
        let (experts, chosen) = (scope.size("num_experts"), scope.size("num_experts_per_tok"));
        let (groups, kept_groups) = (scope.size("n_group"), scope.size("topk_group"));
        scope.ensure("num_experts", experts <= MAX_EXPERTS, format!("up to {MAX_EXPERTS}"))?;
        let divides = experts.is_multiple_of(groups);
        scope.ensure("n_group", divides, format!("a divisor of the number of experts, {experts}"))?;
        scope.ensure(
            "topk_group",
            kept_groups <= groups,
            format!("at most the number of groups, {groups}"),
        )?;
        let (size, best) = (experts / groups, scope.size("group_experts"));
        if groups > 1 {
            scope.ensure("group_experts", best <= size, format!("at most {size}, the experts of a group"))?;
        }
        let candidates = if groups > 1 { kept_groups * size } else { experts };
        let expected = format!("at most {candidates}, the experts to choose from");
        scope.ensure("num_experts_per_tok", chosen <= candidates, expected)?;
        Ok(Sizes { experts, chosen, groups, kept_groups })
    }
}

/// Less than any score, and no bound to any value.
const LEAST: Float = Float(f32::MIN as f64);

/// Most experts of a layer.
const MAX_EXPERTS: u64 = 1 << 16;

/// What the router chose.
struct Chosen {
    /// The experts of each token, `i32[T, K]`.
    ids: Value,
    /// Their weights, `f32[T, K]`.
    weights: Value,
}

fn route(scope: &mut Scope<'_, '_>, x: Value, sizes: &Sizes) -> Result<Chosen, TraceError> {
    let mut operands = vec![x, scope.weight("gate.weight", &[sizes.experts, scope.width(x)])?];
    if scope.flag("router_bias") {
        operands.push(scope.weight("gate.bias", &[sizes.experts])?);
    }
    // The choice hangs on small differences: in f32, of hidden states that were not rounded after their norm.
    let dtype = (scope.ty(x).dtype != DType::F32).then_some(DType::F32);
    let products = scope.op(Linear { dtype }, &operands, "gate")?;
    let best = Topk { k: small(sizes.chosen) };
    let scores = match scope.text("scoring") {
        "softmax" => scope.op(Softmax, &[products], "scores")?,
        "sigmoid" => scope.op(Sigmoid, &[products], "scores")?,
        "softmax_of_chosen" => {
            let chosen = scope.ops(best, &[products], &["chosen", "expert_ids"])?;
            let weights = scope.op(Softmax, &[chosen[0]], "weights")?;
            return Ok(Chosen { ids: chosen[1], weights: scaled(scope, weights)? });
        }
        _ => return Err(scope.unsupported("scoring", "softmax, sigmoid or softmax_of_chosen")),
    };
    let preference = preference(scope, scores, sizes)?;
    let chosen = scope.ops(best, &[preference], &["chosen", "expert_ids"])?;
    let mut weights = match preference == scores {
        true => chosen[0],
        false => scope.op(TakeAlong, &[scores, chosen[1]], "chosen_scores")?,
    };
    if scope.flag("norm_topk_prob") {
        let (eps, least) = (Float(scope.number("norm_eps")), Float(scope.number("norm_min")));
        weights = scope.op(Renormalize { eps, least }, &[weights], "weights")?;
    }
    Ok(Chosen { ids: chosen[1], weights: scaled(scope, weights)? })
}

fn scaled(scope: &mut Scope<'_, '_>, weights: Value) -> Result<Value, TraceError> {
    let by = Float(scope.number("routed_scaling_factor"));
    if by.0 == 1.0 { Ok(weights) } else { scope.op(Scale { by }, &[weights], "scaled_weights") }
}

/// By what experts are chosen, `[T, E]`: their scores with the correction, and nothing outside the best groups.
fn preference(scope: &mut Scope<'_, '_>, scores: Value, sizes: &Sizes) -> Result<Value, TraceError> {
    let mut preference = scores;
    if scope.flag("correction_bias") {
        let experts = sizes.experts;
        let is_row = scope.flag("correction_bias_row");
        let shape = if is_row { vec![1, experts] } else { vec![experts] };
        let mut bias = scope.weight("gate.e_score_correction_bias", &shape)?;
        if is_row {
            bias = scope.op(Reshape { shape: vec![dim(experts)] }, &[bias], "correction")?;
        }
        if scope.ty(bias).dtype != DType::F32 {
            bias = scope.op(Cast { dtype: DType::F32 }, &[bias], "wide_correction")?;
        }
        preference = scope.op(Add, &[scores, bias], "corrected")?;
    }
    if sizes.groups == 1 {
        return Ok(preference);
    }
    let tokens = scope.ty(scores).shape[0].clone();
    let shape = vec![tokens.clone(), dim(sizes.groups), dim(sizes.experts / sizes.groups)];
    let grouped = scope.op(Reshape { shape }, &[preference], "groups")?;
    let best = Topk { k: small(scope.size("group_experts")) };
    let best = scope.ops(best, &[grouped], &["best_of_group", "best_ids"])?;
    let group_scores = scope.op(Sum, &[best[0]], "group_scores")?;
    let kept = Topk { k: small(sizes.kept_groups) };
    let kept = scope.ops(kept, &[group_scores], &["kept_scores", "kept_groups"])?;
    let kept = scope.op(KeepGroups { fill: LEAST }, &[grouped, kept[1]], "kept")?;
    let shape = vec![tokens, dim(sizes.experts)];
    scope.op(Reshape { shape }, &[kept], "preference")
}

/// The (token, expert) pairs, sorted by expert.
struct Pairs {
    /// The experts in order of tokens, `i32[M]`.
    ids: Value,
    /// The place in that order of each, `i32[M]`.
    order: Value,
    /// The token of each, `i32[M]`.
    token: Value,
    /// Its hidden states, `[M, H]`.
    x: Value,
    /// The router's weight of each, `f32[M]`.
    weight: Value,
    /// How many each expert has, `i32[E]`.
    sizes: Value,
}

impl Pairs {
    fn of(scope: &mut Scope<'_, '_>, x: Value, chosen: &Chosen, sizes: &Sizes) -> Result<Pairs, TraceError> {
        let count = scope.ty(x).shape[0].clone() * Dim::constant(sizes.chosen as i64);
        let flat = Reshape { shape: vec![count] };
        let ids = scope.op(flat.clone(), &[chosen.ids], "pair_ids")?;
        let weights = scope.op(flat, &[chosen.weights], "pair_weights")?;
        let order = scope.op(Argsort, &[ids], "order")?;
        let token = scope.op(FloorDiv { by: small(sizes.chosen) }, &[order], "token")?;
        Ok(Pairs {
            ids,
            order,
            token,
            x: scope.op(Gather, &[x, token], "dispatched")?,
            weight: scope.op(Gather, &[weights, order], "pair_weight")?,
            sizes: scope.op(Bincount { size: small(sizes.experts) }, &[ids], "group_sizes")?,
        })
    }

    /// Multiplies rows `[M, ..]` by their experts' matrices `[E, N, K]`, and adds their biases `[E, N]`.
    fn linear(
        &self,
        scope: &mut Scope<'_, '_>,
        x: Value,
        (weight, bias): (Value, Option<Value>),
        dtype: DType,
        name: &str,
    ) -> Result<Value, TraceError> {
        let dtype = Some(dtype).filter(|dtype| *dtype != scope.ty(x).dtype);
        let product = GroupedMatmul { trans_b: true, dtype };
        let product = scope.op(product, &[x, weight, self.sizes], name)?;
        let Some(bias) = bias else { return Ok(product) };
        let dtype = scope.ty(product).dtype;
        let bias = match scope.ty(bias).dtype == dtype {
            true => bias,
            false => scope.op(Cast { dtype }, &[bias], &format!("{name}_bias"))?,
        };
        let expert = scope.op(Gather, &[self.ids, self.order], &format!("{name}_expert"))?;
        let bias = scope.op(Gather, &[bias, expert], &format!("{name}_bias_rows"))?;
        scope.op(Add, &[product, bias], &format!("{name}_biased"))
    }
}

/// What the experts make of their pairs, `[M, H]`.
fn experts(scope: &mut Scope<'_, '_>, pairs: &Pairs, sizes: &Sizes) -> Result<Value, TraceError> {
    let (hidden, intermediate) = (scope.width(pairs.x), scope.size("intermediate_size"));
    let [gate, up, down] = match scope.flag("stacked_experts") {
        true => stacked_weights(scope, sizes.experts, hidden, intermediate)?,
        false => {
            let mut weight = |module: &str, shape: [u64; 2]| {
                let shape = [sizes.experts, shape[0], shape[1]];
                Ok::<_, TraceError>((scope.weight(&format!("experts.{{e}}.{module}.weight"), &shape)?, None))
            };
            let gate = weight("gate_proj", [intermediate, hidden])?;
            [gate, weight("up_proj", [intermediate, hidden])?, weight("down_proj", [hidden, intermediate])?]
        }
    };
    let dtype = scope.compute_dtype();
    let gate = pairs.linear(scope, pairs.x, gate, dtype, "gate_proj")?;
    let up = pairs.linear(scope, pairs.x, up, dtype, "up_proj")?;
    let product = match scope.optional_number("swiglu_limit") {
        None => {
            let act = activation(scope, gate, "hidden_act")?;
            scope.op(Mul, &[act, up], "product")?
        }
        Some(limit) => {
            scope.ensure("swiglu_limit", limit > 0.0, "null or a number above 0")?;
            let (alpha, greatest) = (scope.number("swiglu_alpha"), Float(limit));
            let gate = scope.op(Clamp { least: LEAST, greatest }, &[gate], "gate_limited")?;
            let up = scope.op(Clamp { least: Float(-limit), greatest }, &[up], "up_limited")?;
            let act = gated_by_sigmoid(scope, gate, alpha, "act")?;
            let up = scope.op(Shift { by: Float(1.0) }, &[up], "up_shifted")?;
            scope.op(Mul, &[act, up], "product")?
        }
    };
    pairs.linear(scope, product, down, scope.result_dtype(), "down_proj")
}

/// The matrices of gate, up and down as `[E, N, K]` and their biases, from tensors that hold all experts as `[E, K, N]`.
fn stacked_weights(
    scope: &mut Scope<'_, '_>,
    experts: u64,
    hidden: u64,
    intermediate: u64,
) -> Result<[(Value, Option<Value>); 3], TraceError> {
    let has_bias = scope.flag("expert_bias");
    // [E, .., 2·I], gate and up taking turns, to two of [E, .., I].
    let unzip = |scope: &mut Scope<'_, '_>, zipped: Value, name: &str| {
        let shape = scope.ty(zipped).shape.clone();
        let (leading, _) = shape.split_at(shape.len() - 1);
        let pairs: Vec<Dim> = leading.iter().cloned().chain([dim(intermediate), Dim::constant(2)]).collect();
        let pairs = scope.op(Reshape { shape: pairs }, &[zipped], &format!("{name}_pairs"))?;
        let split = Split { axis: -1, sizes: vec![Dim::ONE, Dim::ONE] };
        let names = [format!("{name}_gate"), format!("{name}_up")];
        let parts = scope.ops(split, &[pairs], &[&names[0], &names[1]])?;
        let flat: Vec<Dim> = leading.iter().cloned().chain([dim(intermediate)]).collect();
        let mut part = |at: usize| {
            let name = format!("{}_flat", names[at]);
            scope.op(Reshape { shape: flat.clone() }, &[parts[at]], &name)
        };
        Ok::<_, TraceError>([part(0)?, part(1)?])
    };
    let transposed = |scope: &mut Scope<'_, '_>, x: Value, name: &str| {
        scope.op(Transpose { permutation: vec![0, 2, 1] }, &[x], name)
    };
    let both = scope.weight("experts.gate_up_proj", &[experts, hidden, 2 * intermediate])?;
    let [gate, up] = unzip(scope, both, "experts")?;
    let down = scope.weight("experts.down_proj", &[experts, intermediate, hidden])?;
    let mut biases = [None, None, None];
    if has_bias {
        let both = scope.weight("experts.gate_up_proj_bias", &[experts, 2 * intermediate])?;
        let [gate, up] = unzip(scope, both, "experts_bias")?;
        biases = [Some(gate), Some(up), Some(scope.weight("experts.down_proj_bias", &[experts, hidden])?)];
    }
    let [gate_bias, up_bias, down_bias] = biases;
    Ok([
        (transposed(scope, gate, "experts_gate_weight")?, gate_bias),
        (transposed(scope, up, "experts_up_weight")?, up_bias),
        (transposed(scope, down, "experts_down_weight")?, down_bias),
    ])
}

/// What all tokens share, `[T, H]`.
fn shared_experts(scope: &mut Scope<'_, '_>, x: Value, width: u64) -> Result<Value, TraceError> {
    let bias = scope.flag("shared_bias");
    let gate = scope.linear(x, "shared_experts.gate_proj", width, bias)?;
    let up = scope.linear(x, "shared_experts.up_proj", width, bias)?;
    let act = activation(scope, gate, "hidden_act")?;
    let product = scope.op(Mul, &[act, up], "shared_product")?;
    let shared = scope.linear_out(product, "shared_experts.down_proj", scope.width(x), bias)?;
    if !scope.flag("shared_gate") {
        return Ok(shared);
    }
    let gate = scope.linear(x, "shared_expert_gate", 1, false)?;
    let gate = scope.op(Sigmoid, &[gate], "shared_sigmoid")?;
    let shape = vec![scope.ty(x).shape[0].clone()];
    let gate = scope.op(Reshape { shape }, &[gate], "shared_factor")?;
    scope.op(ScaleRows, &[shared, gate], "shared")
}

/// A number that is at most [`MAX_EXPERTS`].
fn small(size: u64) -> u32 {
    u32::try_from(size).expect("it is at most the number of experts")
}
