//! Casts that say nothing: there and back, and around an op that computes in wide numbers anyway.

use mscc_ir::DType;
use mscc_ir::graph::Value;
use mscc_ir::ops::{Cast, Op, OpKind, Swiglu};
use mscc_patterns::guards::embeds;

use super::builder::{Builder, Values};

pub(super) fn spelling(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    match op {
        Op::Cast(cast) => cast_of(builder, cast.dtype, operands[0], name),
        _ => result_type(builder, op, operands, name),
    }
}

fn cast_of(builder: &mut Builder, dtype: DType, x: Value, name: &str) -> Option<Values> {
    let wide = builder.ty(x).dtype;
    if wide == dtype {
        return Some(vec![x]);
    }
    let (op, operands) = builder.maker(x)?;
    let (op, operands) = (op.clone(), operands.to_vec());
    if matches!(op, Op::Cast(_)) && embeds(builder.ty(operands[0]).dtype, wide) {
        return builder.make(Cast { dtype }, &operands, &[name]);
    }
    if embeds(dtype, wide)
        && let Some(value) = narrowed(builder, x, dtype)
    {
        return Some(vec![value]);
    }
    if !builder.is_read_once(x) || !embeds(dtype, wide) {
        return None;
    }
    if let Some(value) = wide_swiglu(builder, x, &op, &operands, dtype, name) {
        return Some(value);
    }
    if !rounds_once(op.kind()) {
        return None;
    }
    // `cast(op(cast x))` is `op x`, which rounds once where this rounds twice.
    let mut narrow = Vec::with_capacity(operands.len());
    for (index, operand) in operands.iter().enumerate() {
        let any_type = index > 0 && matches!(op.kind(), OpKind::RmsNorm | OpKind::LayerNorm | OpKind::Matmul);
        let value = narrowed(builder, *operand, dtype);
        narrow.push(if any_type { value.unwrap_or(*operand) } else { value? });
    }
    let plain = without_dtype(&op);
    let fits =
        plain.infer(&builder.types(&narrow)).is_ok_and(|types| types[0] == builder.ty(x).with_dtype(dtype));
    fits.then(|| builder.make(plain, &narrow, &[name]))?
}

/// `cast(silu(cast gate) * cast up)` as `swiglu`, which rounds once.
fn wide_swiglu(
    builder: &mut Builder,
    x: Value,
    op: &Op,
    operands: &[Value],
    dtype: DType,
    name: &str,
) -> Option<Values> {
    let (Op::Mul(_), &[a, b]) = (op, operands) else { return None };
    let gate = |builder: &Builder, act: Value| match builder.maker(act) {
        Some((Op::Silu(_), gate)) if builder.is_read_once(act) => Some(gate[0]),
        _ => None,
    };
    let (gate, up) = match (gate(builder, a), gate(builder, b)) {
        (Some(gate), _) => (gate, b),
        (None, Some(gate)) => (gate, a),
        (None, None) => return None,
    };
    if builder.ty(gate) != builder.ty(x) || builder.ty(up) != builder.ty(x) {
        return None;
    }
    let operands = [narrowed(builder, gate, dtype)?, narrowed(builder, up, dtype)?];
    builder.make(Swiglu, &operands, &[name])
}

/// The value before it was widened, perhaps under another view.
fn narrowed(builder: &mut Builder, value: Value, dtype: DType) -> Option<Value> {
    let name = format!("{}.{dtype}", builder.out.value_name(value));
    let (op, operands) = builder.maker(value)?;
    let (op, x) = (op.clone(), *operands.first()?);
    match op {
        Op::Cast(_) => (builder.ty(x).dtype == dtype).then_some(x),
        Op::Reshape(_) | Op::Transpose(_) => {
            let x = narrowed(builder, x, dtype)?;
            builder.make1(op, &[x], &name)
        }
        Op::Split(_) => {
            let x = narrowed(builder, x, dtype)?;
            builder.make(op, &[x], &[&name])?.get(value.index as usize).copied()
        }
        _ => None,
    }
}

/// Whether an op of narrow floats computes as that of wide ones does, and rounds its result.
fn rounds_once(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Add
            | OpKind::Clamp
            | OpKind::DivRows
            | OpKind::Gelu
            | OpKind::LayerNorm
            | OpKind::Matmul
            | OpKind::Mul
            | OpKind::Relu
            | OpKind::Renormalize
            | OpKind::RmsNorm
            | OpKind::Scale
            | OpKind::Shift
            | OpKind::Sigmoid
            | OpKind::Silu
            | OpKind::SoftCap
            | OpKind::Softmax
            | OpKind::Sum
            | OpKind::Swiglu
            | OpKind::Tanh
    )
}

/// A result type that is what the op gives without being asked.
fn result_type(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    let plain = without_dtype(op);
    let types = builder.types(operands);
    let says_nothing = plain != *op && plain.infer(&types).ok()? == op.infer(&types).ok()?;
    says_nothing.then(|| builder.make(plain, operands, &[name]))?
}

/// The op with a result of the type that it gives by default.
pub(crate) fn without_dtype(op: &Op) -> Op {
    let attrs = op.attrs().into_iter().filter(|(attr, _)| *attr != "dtype");
    let attrs: Vec<_> = attrs.map(|(attr, value)| (attr.to_owned(), value)).collect();
    op.kind().with_attrs(&attrs).unwrap_or_else(|_| op.clone())
}
