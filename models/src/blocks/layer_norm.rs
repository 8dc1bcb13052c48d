//! Normalisation by mean and variance.

use mscc_ir::Value;

use super::rms_norm::EPS;
use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias` over the innermost axis.
///
/// | weight   | shape |                 |
/// |----------|-------|-----------------|
/// | `weight` | [H]   |                 |
/// | `bias`   | [H]   | if `bias` holds |
pub static BLOCK: Block = Block {
    name: "layer_norm",
    interface: Interface::Hidden,
    reads_wide: true,
    params: &[
        Param::required("eps", ParamKind::Number),
        Param::with_default("bias", ParamKind::Flag, "true"),
    ],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let eps = scope.number("eps");
    scope.ensure("eps", (0.0..=1.0).contains(&eps), EPS)?;
    Ok(vec![scope.layer_norm(x, "", eps, scope.flag("bias"))?])
}
