//! Numbers that change nothing, factors one after the other, and SiLU spelled out.

use mscc_ir::attr::Float;
use mscc_ir::graph::Value;
use mscc_ir::ops::{Op, Scale, Silu};

use super::builder::{Builder, Values};

pub(super) fn spelling(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    match op {
        Op::Scale(Scale { by: Float(1.0) }) => Some(vec![operands[0]]),
        Op::Shift(shift) if shift.by.0 == 0.0 => Some(vec![operands[0]]),
        Op::Scale(outer) => {
            let (Op::Scale(inner), x) = builder.maker(operands[0])? else { return None };
            let by = Float(outer.by.0 * inner.by.0);
            // Two factors may each be in range where their product is not.
            let (x, is_normal) = (x[0], by.0.is_normal());
            is_normal.then(|| builder.make(Scale { by }, &[x], &[name]))?
        }
        Op::Mul(_) => {
            let (a, b) = (operands[0], operands[1]);
            let is_sigmoid = |sigmoid: Value, x: Value| {
                builder.maker(sigmoid).is_some_and(|(op, of)| matches!(op, Op::Sigmoid(_)) && of[0] == x)
            };
            let x = if is_sigmoid(a, b) { b } else { a };
            (is_sigmoid(a, b) || is_sigmoid(b, a)).then(|| builder.make(Silu, &[x], &[name]))?
        }
        _ => None,
    }
}
