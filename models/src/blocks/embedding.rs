//! Rows of a table for token ids.

use mscc_ir::Value;
use mscc_ir::ops::{Cast, Gather};

use super::{Block, Interface, Param, ParamKind};
use crate::trace::{Scope, TraceError};

/// `y = table[token_ids]`, in the type that the model computes in.
///
/// | weight   | shape                             |
/// |----------|-----------------------------------|
/// | `weight` | [num_embeddings, embedding_dim]   |
pub static BLOCK: Block = Block {
    name: "embedding",
    interface: Interface::Tokens,
    params: &[
        Param::required("num_embeddings", ParamKind::Size),
        Param::required("embedding_dim", ParamKind::Size),
    ],
    modules: &[],
    trace,
};

fn trace(scope: &mut Scope<'_, '_>, token_ids: Value) -> Result<Vec<Value>, TraceError> {
    let shape = [scope.size("num_embeddings"), scope.size("embedding_dim")];
    let table = scope.weight("weight", &shape)?;
    let rows = scope.op(Gather, &[table, token_ids], "")?;
    let dtype = scope.compute_dtype();
    if scope.ty(rows).dtype == dtype {
        return Ok(vec![rows]);
    }
    Ok(vec![scope.op(Cast { dtype }, &[rows], "cast")?])
}
