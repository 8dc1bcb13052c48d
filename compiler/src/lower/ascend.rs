//! Calls of aclnn operators: what they take beside the op's operands, and what they write in place.

use mscc_ir::TensorType;
use mscc_ir::graph::{NodeId, NodeKind, Value};
use mscc_ir::kernels::ascend::{AclnnDecl, Call, TensorArg, TensorOf};
use mscc_ir::ops::{Effect, Op};
use mscc_ir::view::ViewLayout;

use super::LowerError;
use super::draft::{Home, Location};
use super::function::Lowerer;

impl Lowerer<'_> {
    /// Lowers a node to a call, with casts and copies where tensors do not lie as the operator wants them.
    pub(super) fn call(
        &mut self,
        id: NodeId,
        op: &Op,
        decl: &'static AclnnDecl,
        call: &Call,
    ) -> Result<(), LowerError> {
        let node = self.graph.node(id);
        let tensors: Vec<&TensorArg> = call.tensors().collect();
        let arg_of = |of: TensorOf| tensors.iter().copied().find(|tensor| tensor.of == of);
        let mut operands = Vec::with_capacity(node.operands.len());
        for (index, value) in node.operands.iter().enumerate() {
            operands.push(match (arg_of(TensorOf::Operand(index)), arg_of(TensorOf::InOut(index))) {
                (Some(arg), _) => self.suited(*value, arg, id)?,
                (None, Some(_)) if op.kind().effect() == Effect::Pure => self.owned(*value, id)?,
                (None, _) => self.locate(*value),
            });
        }
        let mut results = Vec::with_capacity(node.results.len());
        for (index, result) in node.results.iter().enumerate() {
            results.push(match (arg_of(TensorOf::InOut(index)), arg_of(TensorOf::Result(index))) {
                (Some(_), _) => operands[index].clone(),
                (None, Some(arg)) if !arg.takes(result.ty.dtype) => {
                    self.new_buffer(&TensorType::new(arg.ty.dtype, result.ty.shape.clone()))
                }
                (None, Some(_) | None) => self.new_buffer(&result.ty),
            });
        }
        let made = results.clone();
        for tensor in tensors {
            match tensor.of {
                TensorOf::Extra(_) | TensorOf::ExtraLike(_) => results.push(self.new_buffer(&tensor.ty)),
                TensorOf::Constant(constant) => {
                    let param = self.recipes.constant(constant);
                    operands.push(self.weight(param, &constant.ty()));
                }
                TensorOf::Operand(_) | TensorOf::Result(_) | TensorOf::InOut(_) | TensorOf::All => {}
            }
        }
        let name = &node.results[0].name;
        let origins = self.graph.origins(id).to_vec();
        self.launch(decl.name, op.clone(), operands, results, name.clone(), origins);
        let mut wanted = Vec::with_capacity(made.len());
        for (location, result) in made.into_iter().zip(&node.results) {
            wanted.push(self.in_type(location, &result.ty, &result.name)?);
        }
        self.made(id, wanted);
        Ok(())
    }

    /// An operand as the call takes it.
    fn suited(&mut self, value: Value, arg: &TensorArg, id: NodeId) -> Result<Location, LowerError> {
        let takes = |layout: &ViewLayout| arg.layout(layout).is_some();
        let location = self.weight_view(value, &takes).unwrap_or_else(|| self.locate(value));
        if !arg.takes(location.dtype) {
            let name = format!("{}.{}", self.graph.value_name(value), arg.ty.dtype);
            let wanted = TensorType::new(arg.ty.dtype, location.layout.shape.clone());
            return self.in_type(location, &wanted, &name);
        }
        if takes(&location.layout) { Ok(location) } else { self.copy(&location, id) }
    }

    /// The location itself, or a copy in another element type.
    fn in_type(&mut self, from: Location, ty: &TensorType, name: &str) -> Result<Location, LowerError> {
        if from.dtype == ty.dtype {
            return Ok(from);
        }
        let to = self.new_buffer(ty);
        self.cast_to(from, to.clone(), &format!("{name}.{}", ty.dtype))?;
        Ok(to)
    }

    /// An operand that the call may overwrite: itself if nothing reads it afterwards, else a copy.
    fn owned(&mut self, value: Value, id: NodeId) -> Result<Location, LowerError> {
        let location = self.locate(value);
        let free = matches!(location.home, Home::Buffer(_)) && self.dies_here(value, id);
        if free { Ok(location) } else { self.copy(&location, id) }
    }

    /// Whether nothing but node `id` reads the elements of `value`.
    fn dies_here(&self, value: Value, id: NodeId) -> bool {
        let graph = self.graph;
        let is_sink = |value: Value| graph.sinks().iter().any(|(_, sink)| *sink == value);
        let reads = |value: Value| {
            let users = graph.nodes().filter(|(_, node)| node.operands.contains(&value));
            users.map(|(user, _)| user).collect::<Vec<_>>()
        };
        let (mut value, mut user) = (value, id);
        loop {
            if is_sink(value) || reads(value) != [user] {
                return false;
            }
            match &graph.node(value.node).kind {
                // The parts of a split are apart, so it is enough that nothing else reads the whole.
                NodeKind::Op(op) if op.kind().is_view() => {
                    user = value.node;
                    value = graph.node(value.node).operands[0];
                }
                NodeKind::Op(_) => return true,
                NodeKind::Leaf(_) => return false,
            }
        }
    }
}
