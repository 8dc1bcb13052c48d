//! The multi-layer perceptron without a gate.

use mscc_ir::Value;

use super::activation::activation;
use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = down_proj(act(up_proj(x)))`.
///
/// | weight             | shape                  |                 |
/// |--------------------|------------------------|-----------------|
/// | `up_proj.weight`   | [intermediate_size, H] |                 |
/// | `down_proj.weight` | [H, intermediate_size] |                 |
/// | `*.bias`           | as wide as the result  | if `bias` holds |
///
/// Source: HF `modeling_phi.py`, PhiMLP.
pub static BLOCK: Block = Block {
    name: "mlp",
    interface: Interface::Hidden,
    reads_wide: false,
    params: &[
        Param::required("intermediate_size", ParamKind::Size),
        Param::required("hidden_act", ParamKind::Text),
        Param::with_default("bias", ParamKind::Flag, "false"),
    ],
    modules: &["up_proj", "down_proj"],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let bias = scope.flag("bias");
    let up = scope.linear(x, "up_proj", scope.size("intermediate_size"), bias)?;
    let act = activation(scope, up, "hidden_act")?;
    Ok(vec![scope.linear_out(act, "down_proj", scope.width(x), bias)?])
}
