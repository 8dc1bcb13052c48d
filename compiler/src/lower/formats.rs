//! Storage formats of weights: once per plan, so that nothing is resident twice.

use mscc_ir::kernels::ascend::{self, AclnnDecl, Family, Format, TensorOf, Usage};
use mscc_ir::plan::{Function, Launch, Place, Recipe, Variant};
use mscc_ir::{SymbolTable, TensorType};

/// Stores a weight in blocks of the cube unit where every launch that reads it can take it so, and launches those.
pub fn choose(variants: &mut [Variant], recipes: &mut [Recipe], symbols: &SymbolTable, family: Family) {
    let mut wanted = vec![Want::Unread; recipes.len()];
    for function in variants.iter().flat_map(|variant| &variant.functions) {
        for launch in &function.launches {
            for (index, operand) in launch.operands.iter().enumerate() {
                let Place::Weight(weight) = operand.place else { continue };
                let recipe = function.weights[weight as usize].recipe as usize;
                let takes = in_blocks(launch, function, recipes, symbols, family);
                let takes = takes.is_some_and(|(_, at)| at == index);
                wanted[recipe] = match (wanted[recipe], takes) {
                    (Want::Unread | Want::Blocks, true) => Want::Blocks,
                    (Want::Unread | Want::Blocks | Want::Rows, _) => Want::Rows,
                };
            }
        }
    }
    for (recipe, want) in recipes.iter_mut().zip(wanted) {
        if want == Want::Blocks {
            recipe.format = Format::Nz;
        }
    }
    for function in variants.iter_mut().flat_map(|variant| &mut variant.functions) {
        let kernels: Vec<Option<&AclnnDecl>> = function
            .launches
            .iter()
            .map(|launch| {
                let (decl, at) = in_blocks(launch, function, recipes, symbols, family)?;
                let Place::Weight(weight) = launch.operands[at].place else { return None };
                let recipe = &recipes[function.weights[weight as usize].recipe as usize];
                (recipe.format == Format::Nz).then_some(decl)
            })
            .collect();
        for (launch, decl) in function.launches.iter_mut().zip(kernels) {
            if let Some(decl) = decl {
                launch.kernel = decl.name.to_owned();
            }
        }
    }
}

/// How the launches that read a weight take it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// None does.
    Unread,
    /// All can in blocks.
    Blocks,
    /// One cannot.
    Rows,
}

/// The call that computes the same with a whole weight in blocks, and which operand that is.
fn in_blocks(
    launch: &Launch,
    function: &Function,
    recipes: &[Recipe],
    symbols: &SymbolTable,
    family: Family,
) -> Option<(&'static AclnnDecl, usize)> {
    let operands: Vec<TensorType> = launch.operands.iter().map(|operand| operand.ty()).collect();
    let results = launch.op.infer(&operands).ok()?;
    let usage = Usage { op: &launch.op, operands: &operands, results: &results, symbols, family };
    ascend::decls_for_blocks(launch.op.kind()).find(|(decl, at)| {
        let Some(operand) = launch.operands.get(*at) else { return false };
        let Place::Weight(weight) = operand.place else { return false };
        let recipe = &recipes[function.weights[weight as usize].recipe as usize];
        let whole = operand.layout.is_contiguous() && recipe.ty().is_some_and(|ty| *ty == operand.ty());
        whole
            && decl.bind(usage).is_ok_and(|call| {
                let mut tensors = call.tensors();
                tensors.all(|tensor| match tensor.of {
                    TensorOf::Operand(index) => {
                        index == *at || tensor.layout(&launch.operands[index].layout).is_some()
                    }
                    TensorOf::Result(_) => true,
                    TensorOf::InOut(_)
                    | TensorOf::All
                    | TensorOf::Extra(_)
                    | TensorOf::ExtraLike(_)
                    | TensorOf::Constant(_) => false,
                })
            })
    })
}
