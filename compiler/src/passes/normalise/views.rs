//! Reshapes and transposes: each as late as it can be, so that what they undo meets them.

use mscc_ir::graph::Value;
use mscc_ir::ops::{Op, OpKind, Reshape, Split, Transpose};
use mscc_ir::tensor_type::resolve_axis;
use mscc_ir::{Dim, TensorType};

use super::builder::{Builder, Values};

pub(super) fn spelling(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    match op {
        Op::Reshape(reshape) => reshape_of(builder, reshape, operands[0], name),
        Op::Transpose(transpose) => transpose_of(builder, transpose, operands[0], name),
        // What a recipe does once need not be simpler.
        _ if operands.iter().all(|operand| builder.is_weight(*operand)) => None,
        Op::Split(split) => late_reshape(builder, op, operands, name)
            .or_else(|| split_of_heads(builder, split, operands[0], name)),
        _ => {
            late_reshape(builder, op, operands, name).or_else(|| late_transpose(builder, op, operands, name))
        }
    }
}

fn reshape_of(builder: &mut Builder, reshape: &Reshape, x: Value, name: &str) -> Option<Values> {
    if builder.ty(x).shape == reshape.shape {
        return Some(vec![x]);
    }
    let (Op::Reshape(_), inner) = builder.maker(x)? else { return None };
    let inner = inner[0];
    builder.make(reshape.clone(), &[inner], &[name])
}

fn transpose_of(builder: &mut Builder, transpose: &Transpose, x: Value, name: &str) -> Option<Values> {
    let permutation = &transpose.permutation;
    let ty = builder.ty(x);
    let moved = permutation.iter().filter(|axis| ty.shape[**axis as usize] != Dim::ONE);
    if moved.is_sorted() {
        let shape = permutation.iter().map(|axis| ty.shape[*axis as usize].clone()).collect();
        return builder.make(Reshape { shape }, &[x], &[name]);
    }
    if let Some(at) = ty.shape.iter().position(|size| *size == Dim::ONE) {
        return without_axis(builder, transpose, x, at, name);
    }
    if let Some(values) = transposed_product(builder, transpose, x, name) {
        return Some(values);
    }
    let (Op::Transpose(inner), operands) = builder.maker(x)? else { return None };
    let (permutation, inner) =
        (permutation.iter().map(|axis| inner.permutation[*axis as usize]).collect(), operands[0]);
    builder.make(Transpose { permutation }, &[inner], &[name])
}

/// A transpose that need not know of axis `at`, whose size is one.
fn without_axis(
    builder: &mut Builder,
    transpose: &Transpose,
    x: Value,
    at: usize,
    name: &str,
) -> Option<Values> {
    let mut shape = builder.ty(x).shape.clone();
    let wanted: Vec<Dim> = transpose.permutation.iter().map(|axis| shape[*axis as usize].clone()).collect();
    shape.remove(at);
    let others = transpose.permutation.iter().filter(|axis| **axis as usize != at);
    let permutation = others.map(|axis| axis - u32::from(*axis as usize > at)).collect();
    let x = builder.reshape(x, &shape, &format!("{name}.rows"))?;
    let turned = builder.make1(Transpose { permutation }, &[x], name)?;
    builder.make(Reshape { shape: wanted }, &[turned], &[&format!("{name}.view")])
}

/// A transpose beside the product that it may be a part of, what is done to each element behind both.
fn transposed_product(builder: &mut Builder, transpose: &Transpose, x: Value, name: &str) -> Option<Values> {
    let (op, &[inner]) = builder.maker(x)? else { return None };
    // A cast stays where the product may take it in.
    if matches!(op, Op::Cast(_)) || !is_elementwise(builder, op, &[inner]) || !builder.is_read_once(x) {
        return None;
    }
    let mut product = inner;
    while let Some((op, &[x])) = builder.maker(product)
        && is_elementwise(builder, op, &[x])
    {
        product = x;
    }
    if !is_product_of_heads(builder, product) {
        return None;
    }
    let op = op.clone();
    let turned = builder.make1(transpose.clone(), &[inner], &format!("{name}.turned"))?;
    builder.make(op, &[turned], &[name])
}

fn is_product_of_heads(builder: &Builder, value: Value) -> bool {
    matches!(builder.maker(value), Some((Op::Matmul(_), _))) && builder.ty(value).rank() > 2
}

fn is_elementwise(builder: &Builder, op: &Op, operands: &[Value]) -> bool {
    let rows = rows(builder, op, operands);
    rows.len() == operands.len() && rows.iter().all(|(_, own)| *own == 0) && !matches!(op, Op::Gather(_))
}

/// Operands whose leading axes an op carries over one by one, each with the number of its axes behind those.
///
/// Any shape of the same number of elements would do for the leading axes.
fn rows(builder: &Builder, op: &Op, operands: &[Value]) -> Vec<(usize, usize)> {
    let ranks: Vec<usize> = operands.iter().map(|operand| builder.ty(*operand).rank()).collect();
    match op {
        Op::Cast(_)
        | Op::Clamp(_)
        | Op::FloorDiv(_)
        | Op::Gelu(_)
        | Op::Relu(_)
        | Op::Scale(_)
        | Op::Shift(_)
        | Op::Sigmoid(_)
        | Op::Silu(_)
        | Op::SoftCap(_)
        | Op::Tanh(_) => vec![(0, 0)],
        Op::Swiglu(_) => vec![(0, 0), (1, 0)],
        Op::Add(_) | Op::Mul(_) => match ranks[0].cmp(&ranks[1]) {
            std::cmp::Ordering::Equal => vec![(0, 0), (1, 0)],
            std::cmp::Ordering::Greater => vec![(0, ranks[1])],
            std::cmp::Ordering::Less => vec![(1, ranks[0])],
        },
        Op::GegluPacked(_)
        | Op::LayerNorm(_)
        | Op::Renormalize(_)
        | Op::RmsNorm(_)
        | Op::Softmax(_)
        | Op::Sum(_)
        | Op::SwigluPacked(_)
        | Op::Topk(_) => vec![(0, 1)],
        Op::Matmul(_) if ranks[1] == 2 && ranks[0] > 1 => vec![(0, 1)],
        Op::Split(split) if resolve_axis(split.axis, ranks[0]) == ranks[0].checked_sub(1) => vec![(0, 1)],
        Op::Concat(concat) if resolve_axis(concat.axis, ranks[0]) == ranks[0].checked_sub(1) => {
            (0..operands.len()).map(|operand| (operand, 1)).collect()
        }
        Op::DivRows(_) | Op::ScaleRows(_) => vec![(0, 1), (1, 0)],
        Op::Gather(_) => vec![(1, 0)],
        Op::KeepGroups(_) => vec![(0, 2), (1, 1)],
        Op::TakeAlong(_) => vec![(0, 1), (1, 1)],
        // What reads axes by their places, or says how many there are.
        _ => Vec::new(),
    }
}

/// The leading axes that an op is computed with whatever its operands have: one for a layer, none of size one.
fn plain_leading(kind: OpKind, leading: &[Dim], own: usize) -> Option<Vec<Dim>> {
    let plain = match kind {
        OpKind::Matmul => vec![Dim::product(leading)],
        _ => without_ones(leading, own),
    };
    (plain.len() < leading.len()).then_some(plain)
}

/// Leading axes of other sizes than one, and the innermost axis of all, whatever its size; at least one axis.
fn without_ones(leading: &[Dim], own: usize) -> Vec<Dim> {
    let is_kept = |at: usize| leading[at] != Dim::ONE || (own == 0 && at + 1 == leading.len());
    let kept: Vec<Dim> = (0..leading.len()).filter(|at| is_kept(*at)).map(|at| leading[at].clone()).collect();
    if kept.is_empty() { leading[..leading.len().min(1)].to_vec() } else { kept }
}

/// `op(reshape x)` as `reshape(op x)`.
fn late_reshape(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    let rows = rows(builder, op, operands);
    let (first, own) = *rows.first()?;
    let shape = &builder.ty(operands[first]).shape;
    let leading = shape[..shape.len() - own].to_vec();
    let mut best = plain_leading(op.kind(), &leading, own);
    for (operand, own) in rows.iter().filter(|_| op.kind() != OpKind::Matmul) {
        if let Some(other) = leading_before(builder, operands[*operand], *own)
            && Dim::product(&other) == Dim::product(&leading)
            && best.as_ref().is_none_or(|best| other.len() < best.len())
        {
            best = Some(other);
        }
    }
    let Some(best) = best.filter(|best| *best != leading) else {
        return regrouped_row(builder, op, operands, name);
    };
    let mut moved = operands.to_vec();
    for (operand, own) in &rows {
        let value = operands[*operand];
        let is_free =
            builder.is_weight(value) || leading_before(builder, value, *own).as_ref() == Some(&best);
        if !is_free && best.len() >= leading.len() {
            return None;
        }
        let shape = &builder.ty(value).shape;
        let shape = [&best, &shape[shape.len() - own..]].concat();
        let view_name = format!("{}.rows", builder.out.value_name(value));
        moved[*operand] = builder.reshape(value, &shape, &view_name)?;
    }
    reshaped(builder, op, operands, &moved, name)
}

/// The leading axes of what was reshaped, but those of size one, if its last `own` axes stayed as they are.
fn leading_before(builder: &Builder, value: Value, own: usize) -> Option<Vec<Dim>> {
    let (Op::Reshape(_), x) = builder.maker(value)? else { return None };
    let (before, after) = (&builder.ty(x[0]).shape, &builder.ty(value).shape);
    let (leading, row) = before.split_at(before.len().checked_sub(own)?);
    (row == &after[after.len() - own..]).then(|| without_ones(leading, own))
}

/// An operand that is the same for all rows, where the rows themselves were reshaped.
fn regrouped_row(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    if !matches!(op.kind(), OpKind::Add | OpKind::Mul) {
        return None;
    }
    let [a, b] = [0, 1].map(|operand| builder.ty(operands[operand]).rank());
    let (full, row) = if a >= b { (0, 1) } else { (1, 0) };
    let (Op::Reshape(_), x) = builder.maker(operands[full])? else { return None };
    let x = x[0];
    let before = builder.ty(x).shape.clone();
    if a == b || before.len() >= builder.ty(operands[full]).rank() {
        return None;
    }
    let count = builder.ty(operands[row]).numel();
    let suffix = (0..before.len()).map(|at| &before[at..]).find(|suffix| Dim::product(*suffix) == count)?;
    let view_name = format!("{}.row", builder.out.value_name(operands[row]));
    let mut moved = [x, x];
    moved[row] = builder.reshape(operands[row], suffix, &view_name)?;
    reshaped(builder, op, operands, &moved, name)
}

/// The op on `moved`, its results under the shapes that they have on `operands`.
fn reshaped(
    builder: &mut Builder,
    op: &Op,
    operands: &[Value],
    moved: &[Value],
    name: &str,
) -> Option<Values> {
    let wanted: Vec<TensorType> = op.infer(&builder.types(operands)).ok()?;
    let found = op.infer(&builder.types(moved)).ok()?;
    if found.iter().zip(&wanted).any(|(found, wanted)| found.numel() != wanted.numel()) {
        return None;
    }
    let names: Vec<String> = match wanted.len() {
        1 => vec![name.to_owned()],
        count => (0..count).map(|result| format!("{name}.{result}")).collect(),
    };
    let short: Vec<&str> = names.iter().map(String::as_str).collect();
    let values = builder.make(op.clone(), moved, &short)?;
    let views = values.iter().zip(&wanted).zip(&names);
    views.map(|((value, ty), name)| builder.reshape(*value, &ty.shape, &format!("{name}.view"))).collect()
}

/// `op(transpose x)` as `transpose(op x)`, for ops element by element.
fn late_transpose(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    if !is_elementwise(builder, op, operands) {
        return None;
    }
    let mut permutation: Option<Transpose> = None;
    let mut moved = Vec::with_capacity(operands.len());
    for operand in operands {
        let (Op::Transpose(transpose), x) = builder.maker(*operand)? else { return None };
        let differs = permutation.as_ref().is_some_and(|other| other != transpose);
        let is_scaled_product =
            operands.len() == 1 && !matches!(op, Op::Cast(_)) && is_product_of_heads(builder, x[0]);
        if differs || is_scaled_product {
            return None;
        }
        permutation = Some(transpose.clone());
        moved.push(x[0]);
    }
    let value = builder.make1(op.clone(), &moved, name)?;
    builder.make(permutation?, &[value], &[&format!("{name}.view")])
}

/// Rows cut where axes were made of them: the rows themselves are cut.
fn split_of_heads(builder: &mut Builder, split: &Split, x: Value, name: &str) -> Option<Values> {
    let (Op::Reshape(_), before) = builder.maker(x)? else { return None };
    let before = before[0];
    let shape = builder.ty(x).shape.clone();
    let axis = resolve_axis(split.axis, shape.len())?;
    let (leading, behind) = (&shape[..axis], Dim::product(&shape[axis + 1..]));
    if builder.ty(before).leading() != leading || axis + 1 == shape.len() {
        return None;
    }
    let sizes = split.sizes.iter().map(|size| size.clone() * behind.clone()).collect();
    let names: Vec<String> = (0..split.sizes.len()).map(|part| format!("{name}.{part}")).collect();
    let short: Vec<&str> = names.iter().map(String::as_str).collect();
    let parts = builder.make(Split { axis: -1, sizes }, &[before], &short)?;
    let views = parts.iter().zip(&split.sizes).zip(&names);
    let view = |((part, size), name): ((&Value, &Dim), &String)| {
        let shape = [leading, std::slice::from_ref(size), &shape[axis + 1..]].concat();
        builder.reshape(*part, &shape, &format!("{name}.view"))
    };
    views.map(view).collect()
}
