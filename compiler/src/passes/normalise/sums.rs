//! Sums: a bias stands beside the product that it belongs to.

use mscc_ir::graph::Value;
use mscc_ir::ops::{Add, Op};

use super::builder::{Builder, Values};

/// `(r + bias) + y` and `(r + y) + bias`, where y is a product, as `r + (y + bias)`.
pub(super) fn spelling(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    let (Op::Add(_), &[a, b]) = (op, operands) else { return None };
    for (sum, other) in [(a, b), (b, a)] {
        let Some((p, q)) = summands(builder, sum).filter(|_| builder.is_read_once(sum)) else { continue };
        for (rest, moved) in [(p, q), (q, p)] {
            let (product, bias) = if is_product(builder, other) { (other, moved) } else { (moved, other) };
            if !is_product(builder, product) || is_product(builder, rest) || !is_bias(builder, bias, product)
            {
                continue;
            }
            let product = builder.make1(Add, &[product, bias], &format!("{name}.biased"))?;
            return builder.make(Add, &[rest, product], &[name]);
        }
    }
    None
}

fn summands(builder: &Builder, value: Value) -> Option<(Value, Value)> {
    match builder.maker(value)? {
        (Op::Add(_), &[a, b]) => Some((a, b)),
        _ => None,
    }
}

fn is_product(builder: &Builder, value: Value) -> bool {
    builder.maker(value).is_some_and(|(op, operands)| matches!(op, Op::Matmul(_)) && operands.len() == 2)
}

/// Whether it is one row for all rows of the product.
fn is_bias(builder: &Builder, value: Value, product: Value) -> bool {
    builder.is_weight(value) && builder.ty(value).shape == [builder.ty(product).last()]
}
