//! A linear map.

use mscc_ir::Value;
use mscc_ir::attr::Float;
use mscc_ir::ops::{Scale, SoftCap};

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = (x · weightᵀ + bias) * scale`, and with `soft_cap` c `c * tanh(y / c)`.
///
/// | weight   | shape             |                 |
/// |----------|-------------------|-----------------|
/// | `weight` | [out_features, H] |                 |
/// | `bias`   | [out_features]    | if `bias` holds |
pub static BLOCK: Block = Block {
    name: "linear",
    interface: Interface::Hidden,
    reads_wide: false,
    params: &[
        Param::required("out_features", ParamKind::Size),
        Param::with_default("bias", ParamKind::Flag, "false"),
        Param::with_default("scale", ParamKind::Number, "1"),
        Param::optional("soft_cap", ParamKind::Number, "null"),
    ],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let (width, bias) = (scope.size("out_features"), scope.flag("bias"));
    let (by, cap) = (Float(scope.number("scale")), positive_cap(scope)?);
    let mut y = scope.linear_out(x, "", width, bias)?;
    if by.0 != 1.0 {
        y = scope.op(Scale { by }, &[y], "scaled")?;
    }
    if let Some(cap) = cap {
        y = scope.op(SoftCap { cap }, &[y], "capped")?;
    }
    Ok(vec![y])
}

/// The parameter `soft_cap`.
pub(super) fn positive_cap(scope: &Scope<'_, '_>) -> Result<Option<Float>, TraceError> {
    let cap = scope.optional_number("soft_cap");
    scope.ensure("soft_cap", cap.is_none_or(|cap| cap > 0.0), "null or a number above 0")?;
    Ok(cap.map(Float))
}
