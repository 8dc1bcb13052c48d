//! Rows of a table for token ids.

use mscc_ir::Value;
use mscc_ir::attr::Float;
use mscc_ir::ops::{Cast, Gather, Scale};
use mscc_ir::reference::round_to;

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = table[token_ids] * scale`, in the type of the hidden states that layers add to.
///
/// | weight   | shape                             |
/// |----------|-----------------------------------|
/// | `weight` | [num_embeddings, embedding_dim]   |
///
/// With `round_scale`, the scale is first rounded to the type that the model computes in, as models that keep it in a tensor have it.
pub static BLOCK: Block = Block {
    name: "embedding",
    interface: Interface::Tokens,
    reads_wide: false,
    params: &[
        Param::required("num_embeddings", ParamKind::Size),
        Param::required("embedding_dim", ParamKind::Size),
        Param::with_default("scale", ParamKind::Number, "1"),
        Param::with_default("round_scale", ParamKind::Flag, "false"),
    ],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, token_ids: Value) -> Result<Vec<Value>, TraceError> {
    let shape = [scope.size("num_embeddings"), scope.size("embedding_dim")];
    let table = scope.weight("weight", &shape)?;
    let mut rows = scope.op(Gather, &[table, token_ids], "")?;
    let dtype = scope.result_dtype();
    if scope.ty(rows).dtype != dtype {
        rows = scope.op(Cast { dtype }, &[rows], "cast")?;
    }
    let scale = scope.number("scale");
    if scale != 1.0 {
        let by =
            Float(if scope.flag("round_scale") { round_to(scale, scope.compute_dtype()) } else { scale });
        rows = scope.op(Scale { by }, &[rows], "scaled")?;
    }
    Ok(vec![rows])
}
