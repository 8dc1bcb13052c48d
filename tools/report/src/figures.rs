//! Plans in numbers.

use std::collections::{BTreeMap, HashSet};

use mscc_ir::plan::{Plan, Variant};
use mscc_ir::{Dim, Symbol, SymbolTable};

/// Bytes of a plan's memory, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All device tensors; `None` if they cannot be counted.
    pub weights: Option<u64>,
    /// Of these, tensors that are used as they lie in the checkpoint.
    pub weights_mapped: Option<u64>,
    /// The arena at the greatest sizes.
    pub arena_peak: Option<u64>,
    /// What a token takes in all caches.
    pub cache_per_token: Option<u64>,
}

/// The device tensors that a recipe makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tensors {
    /// How many, counting none that another recipe has already.
    pub count: u64,
    /// Bytes of each as it is stored; `None` if they are not known.
    pub bytes: Option<u64>,
    /// Whether they are used as they lie in the checkpoint.
    pub mapped: bool,
}

impl Tensors {
    /// Bytes of all.
    pub fn total(&self) -> Option<u64> {
        self.bytes?.checked_mul(self.count)
    }
}

/// Memory of a plan.
pub fn memory(plan: &Plan) -> Memory {
    let table = symbols(plan);
    let peak = |dim: &Dim| table.range(dim).and_then(|range| u64::try_from(range.max).ok());
    let variants = plan.programs.iter().flat_map(|program| &program.variants);
    let arenas: Option<Vec<u64>> = variants.map(|variant| peak(&variant.arena_bytes)).collect();
    let tensors = tensors(plan);
    let sum = |all: bool| {
        let counted = tensors.values().filter(|tensors| tensors.count > 0 && (all || tensors.mapped));
        counted.map(Tensors::total).try_fold(0u64, |sum, bytes| sum.checked_add(bytes?))
    };
    Memory {
        weights: sum(true),
        weights_mapped: sum(false),
        arena_peak: arenas.and_then(|arenas| arenas.into_iter().max()),
        cache_per_token: plan.cache_bytes_per_token(),
    }
}

/// The device tensors of each recipe that is used. Tied weights are one tensor, used where it lies under two names.
pub fn tensors(plan: &Plan) -> BTreeMap<u32, Tensors> {
    let mut of_recipe: BTreeMap<u32, Tensors> = BTreeMap::new();
    let mut seen = HashSet::new();
    for (index, layer) in plan.weight_instances() {
        let Some(recipe) = plan.weights.recipes.get(index as usize) else { continue };
        let tensors = of_recipe.entry(index).or_insert_with(|| {
            let mapped = plan.meta.target == "cpu" && recipe.identity().is_some();
            Tensors { count: 0, bytes: recipe.stored_bytes(), mapped }
        });
        let is_new = recipe.identity().is_none_or(|source| seen.insert((source.as_str(), layer)));
        tensors.count += u64::from(is_new);
    }
    of_recipe
}

/// The symbols of a plan.
pub fn symbols(plan: &Plan) -> SymbolTable {
    let mut table = SymbolTable::default();
    plan.symbols.iter().for_each(|(name, info)| table.declare(name, *info));
    table
}

/// Calls of a function in a step.
pub fn calls_of(variant: &Variant, function: usize) -> u64 {
    let calls = variant.calls.iter().filter(|(called, _)| *called as usize == function);
    calls.map(|(_, layers)| u64::from(layers.end.saturating_sub(layers.start))).sum()
}

/// Launches in a step.
pub fn launches_per_step(variant: &Variant) -> u64 {
    let functions = variant.functions.iter().enumerate();
    functions.map(|(index, function)| calls_of(variant, index) * function.launches.len() as u64).sum()
}

/// A dim at the sizes of a typical step; `None` where it has none.
pub(crate) fn likely(table: &SymbolTable, dim: &Dim) -> Option<u64> {
    let value = |symbol: &Symbol| table.get(symbol).map(|info| info.likely);
    u64::try_from(dim.eval(&value).ok()?).ok()
}

/// A dim with all symbols at their greatest.
pub(crate) fn greatest(table: &SymbolTable, dim: &Dim) -> Option<u64> {
    let value = |symbol: &Symbol| table.get(symbol).map(|info| info.max);
    u64::try_from(dim.eval(&value).ok()?).ok()
}

/// A number of bytes for people: `1234 B`, `56.7 kB`.
pub fn bytes(count: Option<u64>) -> String {
    match count {
        None => "not bounded".to_owned(),
        Some(count) if count < 10_000 => format!("{count} B"),
        Some(count) if count < 10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        Some(count) if count < 10_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        Some(count) => format!("{:.1} GB", count as f64 / 1e9),
    }
}
