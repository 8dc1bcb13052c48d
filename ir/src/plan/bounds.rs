//! How many of each thing a plan may hold, so that what is done with it takes bounded time and memory.

use super::validate::{PlanError, check};
use super::{Plan, Recipe};

/// Most of each thing; far above any real plan. Lists that are looked through for each other's entries are short.
const MAX_SYMBOLS: usize = 1024;
const MAX_BUFFERS: usize = 1024;
const MAX_CACHES: usize = 256;
const MAX_CACHE_TENSORS: usize = 64;
const MAX_LAYER_RANGES: usize = 4096;
const MAX_PROGRAMS: usize = 64;
const MAX_VARIANTS: usize = 64;
const MAX_TAPS: usize = 256;
/// Most launches, weights, caches and taps of the functions of all calls together: each is kept for each call.
const MAX_STEPS: u64 = 1 << 19;
/// Most ops and stored tensors of all recipes at all layers together.
const MAX_RECIPE_WORK: u64 = 1 << 20;

/// Counts everything.
///
/// Errors: the first list that is too long, or calls that are too many together.
pub fn check_bounds(plan: &Plan) -> Result<(), PlanError> {
    at_most("symbols", plan.symbols.len(), MAX_SYMBOLS)?;
    at_most("inputs", plan.inputs.len(), MAX_BUFFERS)?;
    at_most("outputs", plan.outputs.len(), MAX_BUFFERS)?;
    at_most("caches", plan.caches.len(), MAX_CACHES)?;
    for (index, cache) in plan.caches.iter().enumerate() {
        let field = |list: &str| format!("caches[{index}].{list}");
        at_most(&field("tensors"), cache.tensors.len(), MAX_CACHE_TENSORS)?;
        at_most(&field("layers"), cache.layers.len(), MAX_LAYER_RANGES)?;
    }
    at_most("programs", plan.programs.len(), MAX_PROGRAMS)?;
    let mut steps = 0u64;
    for program in &plan.programs {
        let field = format!("programs.{}", program.name);
        at_most(&field, program.variants.len(), MAX_VARIANTS)?;
        for variant in &program.variants {
            let field = format!("{field}.{}", variant.name);
            for function in &variant.functions {
                let field = || format!("{field}.{}", function.name);
                at_most(&format!("{}.taps", field()), function.taps.len(), MAX_TAPS)?;
                at_most(&format!("{}.caches", field()), function.caches.len(), MAX_CACHES)?;
            }
            for (index, (function, layers)) in variant.calls.iter().enumerate() {
                let function = variant.functions.get(*function as usize);
                let each = function.map_or(0, |function| {
                    function.launches.len()
                        + function.weights.len()
                        + function.caches.len()
                        + function.taps.len()
                });
                let calls = u64::from(layers.end.saturating_sub(layers.start)).max(1);
                steps = steps.saturating_add(calls.saturating_mul(1 + each as u64));
                let field = || format!("{field}.calls[{index}]");
                check(steps <= MAX_STEPS, field, || "a step would have too many launches".into())?;
            }
        }
    }
    // Bounded by the steps.
    let mut work = 0u64;
    for (index, _) in plan.weight_instances() {
        let recipe = plan.weights.recipes.get(index as usize);
        work = work.saturating_add(recipe.map_or(0, Recipe::work));
        let field = || format!("weights.recipes[{index}]");
        check(work <= MAX_RECIPE_WORK, field, || "loading would take too many tensors and ops".into())?;
    }
    Ok(())
}

fn at_most(field: &str, count: usize, most: usize) -> Result<(), PlanError> {
    check(count <= most, || field.into(), || format!("has {count} entries; {most} are the most"))
}
