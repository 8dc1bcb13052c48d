//! Normalisation by root mean square.

use mscc_ir::Value;
use mscc_ir::attr::Float;
use mscc_ir::ops::Scale;

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = x / sqrt(mean(x²) + eps) * (weight + weight_offset) * scale` over the innermost axis.
///
/// | weight   | shape |
/// |----------|-------|
/// | `weight` | [H]   |
///
/// Source: HF `modeling_llama.py`; with `weight_offset` 1, `modeling_gemma2.py`.
pub static BLOCK: Block = Block {
    name: "rms_norm",
    interface: Interface::Hidden,
    reads_wide: true,
    params: &[
        Param::required("eps", ParamKind::Number),
        Param::with_default("weight_offset", ParamKind::Number, "0"),
        Param::with_default("scale", ParamKind::Number, "1"),
    ],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let (eps, by) = (scope.number("eps"), Float(scope.number("scale")));
    scope.ensure("eps", (0.0..=1.0).contains(&eps), EPS)?;
    let normed = scope.rms_norm(x, "", eps, scope.number("weight_offset"))?;
    Ok(vec![if by.0 == 1.0 { normed } else { scope.op(Scale { by }, &[normed], "scaled")? }])
}

/// What is added to a mean square may be.
pub(super) const EPS: &str = "a number from 0 to 1";
