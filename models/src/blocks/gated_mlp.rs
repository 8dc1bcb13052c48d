//! The gated multi-layer perceptron.

use mscc_ir::Value;
use mscc_ir::ops::{Mul, Split};

use super::activation::activation;
use super::{Block, Interface, Param, ParamKind, dim};
use crate::trace::{Scope, TraceError};

/// `y = down_proj(act(gate_proj(x)) * up_proj(x))`.
///
/// With I `intermediate_size`:
///
/// | weight                               | shape                  |                        |
/// |--------------------------------------|------------------------|------------------------|
/// | `gate_proj.weight`, `up_proj.weight` | [I, H]                 |                        |
/// | `gate_up_proj.weight`                | [2·I, H]               | in their place if `fused_gate_up` holds: gate, then up |
/// | `down_proj.weight`                   | [H, I]                 |                        |
/// | `*.bias`                             | as wide as the result  | if `bias` holds        |
///
/// Source: HF `modeling_llama.py`, LlamaMLP; Shazeer, 2020 (arXiv:2002.05202).
pub static BLOCK: Block = Block {
    name: "gated_mlp",
    interface: Interface::Hidden,
    reads_wide: false,
    params: &[
        Param::required("intermediate_size", ParamKind::Size),
        Param::required("hidden_act", ParamKind::Text),
        Param::with_default("bias", ParamKind::Flag, "false"),
        Param::with_default("fused_gate_up", ParamKind::Flag, "false"),
    ],
    modules: &["gate_proj", "up_proj", "gate_up_proj", "down_proj"],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let (intermediate, bias) = (scope.size("intermediate_size"), scope.flag("bias"));
    let (gate, up) = if scope.flag("fused_gate_up") {
        let both = scope.linear(x, "gate_up_proj", 2 * intermediate, bias)?;
        let sizes = vec![dim(intermediate), dim(intermediate)];
        let parts = scope.ops(Split { axis: -1, sizes }, &[both], &["gate", "up"])?;
        (parts[0], parts[1])
    } else {
        let gate = scope.linear(x, "gate_proj", intermediate, bias)?;
        (gate, scope.linear(x, "up_proj", intermediate, bias)?)
    };
    let act = activation(scope, gate, "hidden_act")?;
    let product = scope.op(Mul, &[act, up], "product")?;
    Ok(vec![scope.linear_out(product, "down_proj", scope.width(x), bias)?])
}
