//! The gated multi-layer perceptron.

use mscc_ir::Value;
use mscc_ir::ops::{Mul, Silu};

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = down_proj(act(gate_proj(x)) * up_proj(x))`.
///
/// | weight                            | shape                  |                 |
/// |-----------------------------------|------------------------|-----------------|
/// | `gate_proj.weight`, `up_proj.weight` | [intermediate_size, H] |              |
/// | `down_proj.weight`                | [H, intermediate_size] |                 |
/// | `*.bias`                          | as wide as the result  | if `bias` holds |
///
/// Source: HF `modeling_llama.py`, LlamaMLP; Shazeer, 2020 (arXiv:2002.05202).
pub static BLOCK: Block = Block {
    name: "gated_mlp",
    interface: Interface::Hidden,
    params: &[
        Param::required("intermediate_size", ParamKind::Size),
        Param::required("hidden_act", ParamKind::Text),
        Param::with_default("bias", ParamKind::Flag, "false"),
    ],
    modules: &["gate_proj", "up_proj", "down_proj"],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    if !matches!(scope.text("hidden_act"), "silu" | "swish") {
        return Err(scope.unsupported("hidden_act", "\"silu\""));
    }
    let (hidden, bias) = (scope.width(x), scope.flag("bias"));
    let intermediate = scope.size("intermediate_size");
    let gate = scope.linear(x, "gate_proj", intermediate, bias)?;
    let up = scope.linear(x, "up_proj", intermediate, bias)?;
    let act = scope.op(Silu, &[gate], "act")?;
    let product = scope.op(Mul, &[act, up], "product")?;
    Ok(vec![scope.linear(product, "down_proj", hidden, bias)?])
}
