//! What a layer's steps say of its slots.

use mscc_ir::attr::Float;
use mscc_ir::ops::{Add, Cast, Op, Scale};
use mscc_ir::{DType, Value};

use super::context::Context;
use super::error::TraceError;
use super::scope::Body;
use super::tracer::OfLayer;
use crate::spec::Flow;

/// What a step may speak of.
pub(super) struct Values<'s> {
    pub arguments: &'s OfLayer,
    /// The layer's input.
    pub input: Value,
    /// What earlier steps made.
    pub steps: &'s [Value],
    /// The step's name, which its sums and products take.
    pub name: &'s str,
}

impl Values<'_> {
    /// Traces what a step says; what the block of a slot makes is of type `dtype`, where the block lets one choose.
    pub fn flow<'b>(&self, body: &mut Body<'b>, what: &Flow, dtype: DType) -> Result<Value, TraceError> {
        let residual_dtype = body.context.residual_dtype;
        match what {
            Flow::HiddenStates => Ok(self.input),
            Flow::Step(step) => Ok(self.steps[*step]),
            Flow::Slot(slot, operand) => {
                let context: &'b Context<'b> = body.context;
                let (slot, given) = (&context.family.layers.slots[*slot], &self.arguments.slots[*slot]);
                let reads_wide = given.of(slot).block.reads_wide;
                let read = if reads_wide { residual_dtype } else { context.compute_dtype };
                let operand = self.flow(body, operand, read)?;
                Ok(one(body.slot(slot, given, operand, dtype)?))
            }
            Flow::Add(left, right) => {
                let left = self.flow(body, left, residual_dtype)?;
                let left = self.typed(body, left, residual_dtype)?;
                let right = self.flow(body, right, residual_dtype)?;
                let right = self.typed(body, right, residual_dtype)?;
                self.op(body, Add, &[left, right])
            }
            Flow::Scale(value, factor) => {
                let value = self.flow(body, value, dtype)?;
                let by = Float(self.arguments.factors[*factor]);
                if by.0 == 1.0 { Ok(value) } else { self.op(body, Scale { by }, &[value]) }
            }
        }
    }

    /// The value in another type, if it is of another.
    pub fn typed(&self, body: &mut Body<'_>, value: Value, dtype: DType) -> Result<Value, TraceError> {
        if body.graph.ty(value).dtype == dtype { Ok(value) } else { self.op(body, Cast { dtype }, &[value]) }
    }

    fn op(&self, body: &mut Body<'_>, op: impl Into<Op>, operands: &[Value]) -> Result<Value, TraceError> {
        body.graph.op1(op, operands, self.name).map_err(|problem| TraceError::Step {
            file: body.context.family.file.clone(),
            place: body.context.family.layers.place(self.name),
            step: self.name.to_owned(),
            problem: Box::new(problem),
        })
    }
}

/// The result of a block that has one.
pub(super) fn one(results: Vec<Value>) -> Value {
    *results.first().expect("every block has a result")
}
