//! Storage formats of weights: once per plan, so that nothing is resident twice.

use mscc_ir::kernels::ascend::{self, AclnnDecl, Family, Format, TensorOf, Usage};
use mscc_ir::plan::{Function, Launch, Operand, Place, Recipe, Variant};
use mscc_ir::view::ViewLayout;
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
                let takes = takes.is_some_and(|(_, at)| at.contains(&index));
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
                let lies = |operand: &Operand| Some(recipe(operand, function, recipes)?.format);
                at.iter().all(|at| lies(&launch.operands[*at]) == Some(Format::Nz)).then_some(decl)
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

/// The recipe of an operand that is a weight.
fn recipe<'a>(operand: &Operand, function: &Function, recipes: &'a [Recipe]) -> Option<&'a Recipe> {
    let Place::Weight(weight) = operand.place else { return None };
    Some(&recipes[function.weights[weight as usize].recipe as usize])
}

/// The call that computes the same with whole weights in blocks, and which operands those are.
fn in_blocks(
    launch: &Launch,
    function: &Function,
    recipes: &[Recipe],
    symbols: &SymbolTable,
    family: Family,
) -> Option<(&'static AclnnDecl, Vec<usize>)> {
    let given: Vec<TensorType> = launch.operands.iter().map(|operand| operand.ty()).collect();
    let bind = |decl: &AclnnDecl| {
        let operands = decl.op_types(TensorOf::Operand, &given);
        let results = launch.op.infer(&operands).ok()?;
        decl.bind(Usage { op: &launch.op, operands: &operands, results: &results, symbols, family }).ok()
    };
    let is_whole = |at: &usize| {
        let operand = launch.operands.get(*at)?;
        let ty = recipe(operand, function, recipes)?.ty()?;
        let layout = &operand.layout;
        let rank = layout.shape.len();
        let turned = (rank == 2).then(|| layout.permute(&[1, 0]));
        let is_all = |layout: &ViewLayout| layout.is_contiguous() && layout.shape[..] == ty.shape[..];
        Some(is_all(layout) || turned.is_some_and(|turned| is_all(&turned)))
    };
    ascend::decls_for_blocks(launch.op.kind()).find(|(decl, at)| {
        at.iter().all(|at| is_whole(at) == Some(true))
            && bind(decl).is_some_and(|call| {
                if launch.kernel == decl.name {
                    return true;
                }
                let mut tensors = call.tensors();
                tensors.all(|tensor| match tensor.of {
                    TensorOf::Operand(index) => {
                        at.contains(&index) || tensor.layout(&launch.operands[index].layout).is_some()
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
