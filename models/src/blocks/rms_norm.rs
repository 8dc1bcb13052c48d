//! Normalisation by root mean square.

use mscc_ir::Value;

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = x / sqrt(mean(x²) + eps) * weight` over the innermost axis.
///
/// | weight   | shape |
/// |----------|-------|
/// | `weight` | [H]   |
pub static BLOCK: Block = Block {
    name: "rms_norm",
    interface: Interface::Hidden,
    params: &[Param::required("eps", ParamKind::Number)],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let eps = scope.number("eps");
    scope.ensure("eps", (0.0..=1.0).contains(&eps), EPS)?;
    Ok(vec![scope.rms_norm(x, "", eps)?])
}

/// What is added to a mean square may be.
pub(super) const EPS: &str = "a number from 0 to 1";
