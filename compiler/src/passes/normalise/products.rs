//! Products: weights second and as [N, K], other operands as they lie.

use mscc_ir::graph::Value;
use mscc_ir::ops::{Add, Cast, Matmul, Op, Transpose};

use super::builder::{Builder, Values};

pub(super) fn spelling(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    match op {
        Op::Linear(linear) => {
            linear_layer(builder, &Matmul { trans_b: true, dtype: linear.dtype }, operands, name)
        }
        Op::Matmul(matmul) => turned(builder, matmul, operands, name),
        Op::Transpose(transpose) if *transpose == turn(2) => other_way_round(builder, operands[0], name),
        _ => None,
    }
}

/// `matmul`, and `add` if there is a bias, cast to the product's type; the last of them takes the layer's name.
fn linear_layer(builder: &mut Builder, matmul: &Matmul, operands: &[Value], name: &str) -> Option<Values> {
    let &[x, w, bias] = operands else { return builder.make(matmul.clone(), operands, &[name]) };
    let product = builder.make1(matmul.clone(), &[x, w], &format!("{name}.matmul"))?;
    let dtype = builder.ty(product).dtype;
    let cast_name = format!("{}.cast", builder.out.value_name(bias));
    let bias = builder.make1(Cast { dtype }, &[bias], &cast_name)?;
    builder.make(Add, &[product, bias], &[name])
}

fn turned(builder: &mut Builder, matmul: &Matmul, operands: &[Value], name: &str) -> Option<Values> {
    let (a, b) = (operands[0], operands[1]);
    let rank = builder.ty(b).rank();
    let other_way = Matmul { trans_b: !matmul.trans_b, ..matmul.clone() };
    // Linear layers as checkpoints store them, whatever the recipe has to turn.
    let is_layer = rank == 2 && builder.is_weight(b) && !builder.is_weight(a);
    if is_layer && matmul.trans_b {
        return None;
    }
    if let Some(turned) = turned_back(builder, b) {
        let operands = [&[a, turned], &operands[2..]].concat();
        return builder.make(other_way, &operands, &[name]);
    }
    let both_matrices = rank == 2 && builder.ty(a).rank() == 2;
    if is_layer {
        let turned_name = format!("{}.turned", builder.out.value_name(b));
        let weight = builder.make1(turn(2), &[b], &turned_name)?;
        let operands = [&[a, weight], &operands[2..]].concat();
        return builder.make(other_way, &operands, &[name]);
    }
    if both_matrices && builder.is_weight(a) && !builder.is_weight(b) && operands.len() == 2 {
        // `w · x` is the product of x and w the other way round.
        let dtype = Some(builder.out.ty(a).dtype);
        let x = if matmul.trans_b { b } else { builder.make1(turn(2), &[b], &format!("{name}.rows"))? };
        let product = Matmul { trans_b: true, dtype: matmul.dtype.or(dtype) };
        let product = builder.make1(product, &[x, a], &format!("{name}.product"))?;
        return builder.make(turn(2), &[product], &[name]);
    }
    None
}

/// `(a · b)ᵀ` as `bᵀ · aᵀ`, where neither is a weight.
fn other_way_round(builder: &mut Builder, product: Value, name: &str) -> Option<Values> {
    let (Op::Matmul(matmul), &[a, b]) = builder.maker(product)? else { return None };
    let (matmul, a, b) = (matmul.clone(), a, b);
    if !builder.is_read_once(product) || builder.is_weight(a) || builder.is_weight(b) {
        return None;
    }
    let dtype = Some(builder.ty(product).dtype);
    let b = if matmul.trans_b { b } else { builder.make1(turn(2), &[b], &format!("{name}.rows"))? };
    builder.make(Matmul { trans_b: true, dtype }, &[b, a], &[name])
}

/// The value whose last two axes were changed about.
fn turned_back(builder: &Builder, value: Value) -> Option<Value> {
    let (op, operands) = builder.maker(value)?;
    let rank = builder.ty(value).rank();
    (rank >= 2 && *op == turn(rank).into()).then(|| operands[0])
}

/// The last two axes changed about.
fn turn(rank: usize) -> Transpose {
    let mut permutation: Vec<u32> = (0..rank as u32).collect();
    permutation.swap(rank - 2, rank - 1);
    Transpose { permutation }
}
