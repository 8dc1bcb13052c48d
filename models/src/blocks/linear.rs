//! A linear map.

use mscc_ir::Value;

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = x · weightᵀ + bias`.
///
/// | weight   | shape             |                 |
/// |----------|-------------------|-----------------|
/// | `weight` | [out_features, H] |                 |
/// | `bias`   | [out_features]    | if `bias` holds |
pub static BLOCK: Block = Block {
    name: "linear",
    interface: Interface::Hidden,
    params: &[
        Param::required("out_features", ParamKind::Size),
        Param::with_default("bias", ParamKind::Flag, "false"),
    ],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, x: Value) -> Result<Vec<Value>, TraceError> {
    let (width, bias) = (scope.size("out_features"), scope.flag("bias"));
    Ok(vec![scope.linear(x, "", width, bias)?])
}
