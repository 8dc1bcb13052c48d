//! Launches of plans for Ascend as the aclnn calls that they are.

use super::{Launch, Operand};
use crate::kernels::ascend::{self, AclnnDecl, Call, Family, TensorArg, TensorOf, Usage};
use crate::{SymbolTable, TensorType};

/// A launch and the call that it makes.
pub struct AclnnLaunch<'a> {
    /// How the operator is called.
    pub decl: &'static AclnnDecl,
    /// With what.
    pub call: Call,
    /// Types of the op's results.
    pub results: Vec<TensorType>,
    launch: &'a Launch,
}

impl Launch {
    /// The call, on a device of this family.
    ///
    /// Errors: a kernel that there is not or that computes another op; types that the op does not take; rules of the
    /// operator that the call breaks.
    pub fn aclnn(&self, family: Family, symbols: &SymbolTable) -> Result<AclnnLaunch<'_>, String> {
        let decl = ascend::decl(&self.kernel).ok_or_else(|| format!("unknown kernel `{}`", self.kernel))?;
        if decl.op != self.op.kind() {
            return Err(format!("kernel `{}` does not compute `{}`", decl.name, self.op.kind().name()));
        }
        let given: Vec<TensorType> = self.operands.iter().map(Operand::ty).collect();
        let own = given.len().checked_sub(decl.num_constants()).ok_or("lacks operands")?;
        let operands = decl.op_types(TensorOf::Operand, &given[..own]);
        let results = self.op.infer(&operands).map_err(|error| error.to_string())?;
        let usage = Usage { op: &self.op, operands: &operands, results: &results, symbols, family };
        let call = decl.bind(usage).map_err(|violations| {
            let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
            format!("`{}`: {}", decl.entry, texts.join("; "))
        })?;
        Ok(AclnnLaunch { decl, call, results, launch: self })
    }
}

impl AclnnLaunch<'_> {
    /// The tensors of the call in order of its arguments, each with what it is; `None` where the launch lacks it.
    pub fn tensors(&self) -> Vec<(&TensorArg, Option<&Operand>)> {
        let launch = self.launch;
        let mut constants = launch.operands.len() - self.decl.num_constants();
        let mut extras = self.results.len();
        let next = |count: &mut usize| {
            *count += 1;
            *count - 1
        };
        let place = |arg: &TensorArg| match arg.of {
            TensorOf::Operand(index) | TensorOf::InOut(index) => launch.operands.get(index),
            TensorOf::Result(index) => launch.results.get(index),
            TensorOf::Constant(_) => launch.operands.get(next(&mut constants)),
            TensorOf::Extra(_) | TensorOf::ExtraLike(_) => launch.results.get(next(&mut extras)),
            TensorOf::All => None,
        };
        let mut place = place;
        self.call.tensors().map(|arg| (arg, place(arg))).collect()
    }

    /// How many results the launch has: those of the op, and those that only the call has.
    pub fn num_results(&self) -> usize {
        let own = |tensor: &&TensorArg| matches!(tensor.of, TensorOf::Extra(_) | TensorOf::ExtraLike(_));
        self.results.len() + self.call.tensors().filter(own).count()
    }
}
