//! Running a function.

use std::collections::HashMap;

use super::Tensor;
use super::tensor::check_size;
use crate::graph::{Graph, NodeKind, Value};
use crate::ops::EvalError;
use crate::{Symbol, TensorType};

/// Whether results are rounded to their types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Everything stays f64: two forms of the same function agree closely.
    Exact,
    /// Each op's results are rounded to their dtype, as a device stores them.
    Stored,
}

/// Computes all values of `graph` at the given sizes; `leaves` gives its leaves by value name.
///
/// Errors: a leaf without a value or with one of another type; an operand outside its domain; a tensor too
/// large for the interpreter.
pub fn interpret(
    graph: &Graph,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
    leaves: &HashMap<String, Tensor>,
    rounding: Rounding,
) -> Result<HashMap<Value, Tensor>, EvalError> {
    let mut values: HashMap<Value, Tensor> = HashMap::new();
    for (id, node) in graph.nodes() {
        let shapes: Vec<Vec<usize>> =
            node.results.iter().map(|result| sized(&result.ty, sizes)).collect::<Result<_, _>>()?;
        let tensors = match &node.kind {
            NodeKind::Leaf(_) => {
                let name = &node.results[0].name;
                let tensor = leaves.get(name).ok_or_else(|| EvalError::Missing(name.clone()))?;
                if !tensor.is_of(&node.results[0].ty, &shapes[0]) {
                    let expected = format!("{}{:?}", node.results[0].ty.dtype, shapes[0]);
                    let found = format!("{}{:?}", tensor.dtype, tensor.shape);
                    return Err(EvalError::Mismatch { name: name.clone(), expected, found });
                }
                vec![tensor.clone()]
            }
            NodeKind::Op(op) => {
                let operands: Vec<Tensor> =
                    node.operands.iter().map(|operand| values[operand].clone()).collect();
                op.eval(&operands, &shapes)?
            }
        };
        for (index, tensor) in tensors.into_iter().enumerate() {
            let tensor = match rounding {
                Rounding::Exact => tensor,
                Rounding::Stored => tensor.cast(tensor.dtype),
            };
            values.insert(Value { node: id, index: index as u32 }, tensor);
        }
    }
    Ok(values)
}

/// The shape of a type at the given sizes.
fn sized(ty: &TensorType, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> Result<Vec<usize>, EvalError> {
    let mut shape = Vec::with_capacity(ty.rank());
    for dim in &ty.shape {
        let size = dim.eval(sizes)?;
        shape.push(usize::try_from(size).map_err(|_| crate::dim::DimError::Overflow)?);
    }
    check_size(&shape)?;
    Ok(shape)
}
