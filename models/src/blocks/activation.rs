//! Activations by the names that configs give them.

use mscc_ir::Value;
use mscc_ir::attr::Float;
use mscc_ir::ops::{Gelu, Mul, Relu, Scale, Sigmoid, Silu};

use crate::trace::{Scope, TraceError};

/// Adds the activation that the text parameter `param` names.
///
/// Errors: another name.
/// Source: HF `activations.py`, `ACT2FN`.
pub(super) fn activation(scope: &mut Scope<'_, '_>, x: Value, param: &str) -> Result<Value, TraceError> {
    let name = "act";
    match scope.text(param) {
        "silu" | "swish" => scope.op(Silu, &[x], name),
        "gelu" | "gelu_python" => scope.op(Gelu { tanh: false }, &[x], name),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => {
            scope.op(Gelu { tanh: true }, &[x], name)
        }
        "quick_gelu" => gated_by_sigmoid(scope, x, 1.702, name),
        "relu" => scope.op(Relu, &[x], name),
        "relu2" | "relu_squared" => {
            let relu = scope.op(Relu, &[x], "relu")?;
            scope.op(Mul, &[relu, relu], name)
        }
        "sigmoid" => scope.op(Sigmoid, &[x], name),
        "linear" => Ok(x),
        _ => Err(scope.unsupported(param, NAMES)),
    }
}

const NAMES: &str =
    "silu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, relu, relu2, sigmoid or linear";

/// `x * sigmoid(alpha * x)`.
pub(super) fn gated_by_sigmoid(
    scope: &mut Scope<'_, '_>,
    x: Value,
    alpha: f64,
    name: &str,
) -> Result<Value, TraceError> {
    let scaled = scope.op(Scale { by: Float(alpha) }, &[x], "scaled")?;
    let gate = scope.op(Sigmoid, &[scaled], "sigmoid")?;
    scope.op(Mul, &[x, gate], name)
}
