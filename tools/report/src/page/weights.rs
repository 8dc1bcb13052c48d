//! Weights by size.

use std::collections::{BTreeMap, BTreeSet};

use mscc_ir::plan::Plan;
use serde::Serialize;

use crate::clip;
use crate::figures::{self, Tensors, bytes};

/// All weights.
#[derive(Serialize)]
pub struct WeightsView {
    /// By kind of layer: name, calls, what one call reads.
    kinds: Vec<Share>,
    rows: Vec<Row>,
    left_out: usize,
}

/// What a kind of layer reads.
#[derive(Serialize)]
struct Share {
    name: String,
    total: String,
    mapped: String,
    made: String,
    /// In percent of the largest.
    mapped_width: String,
    made_width: String,
}

/// The tensors of a recipe.
#[derive(Serialize)]
struct Row {
    name: String,
    ty: String,
    count: u64,
    total: String,
    width: String,
    mapped: bool,
    kinds: String,
}

/// Most recipes that are shown.
const MAX_RECIPES: usize = 120;

impl WeightsView {
    pub fn new(plan: &Plan) -> WeightsView {
        let tensors = figures::tensors(plan);
        let mut readers: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        let mut read: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        // Variants share weights, so one of each program tells what its layers read.
        let variants = plan.programs.iter().filter_map(|program| program.variants.last());
        for function in variants.flat_map(|variant| &variant.functions) {
            let (mapped, made) = read.entry(&function.name).or_default();
            let once: BTreeSet<_> =
                function.weights.iter().map(|param| (param.recipe, param.layer_offset)).collect();
            for (recipe, _) in once {
                readers.entry(recipe).or_default().insert(&function.name);
                let Some(tensors) = tensors.get(&recipe) else { continue };
                let sum = if tensors.mapped { &mut *mapped } else { &mut *made };
                *sum = sum.saturating_add(tensors.bytes.unwrap_or(0));
            }
        }
        let mut by_size: Vec<(u32, Tensors)> = tensors.into_iter().collect();
        by_size.sort_by_key(|(recipe, tensors)| (std::cmp::Reverse(tensors.total()), *recipe));
        let largest = by_size.first().and_then(|(_, tensors)| tensors.total()).unwrap_or(0);
        let row = |(index, tensors): &(u32, Tensors)| {
            let recipe = plan.weights.recipes.get(*index as usize)?;
            let kinds = readers.get(index).into_iter().flatten().take(8).map(|name| format!("@{name}"));
            Some(Row {
                name: clip(recipe.name.as_str()),
                ty: clip(&recipe.ty().map_or(String::new(), ToString::to_string)),
                count: tensors.count,
                total: bytes(tensors.total()),
                width: percent(tensors.total().unwrap_or(0), largest),
                mapped: tensors.mapped,
                kinds: clip(&kinds.collect::<Vec<_>>().join(", ")),
            })
        };
        let most = read.values().map(|(mapped, made)| mapped.saturating_add(*made)).max().unwrap_or(0);
        let share = |(name, (mapped, made)): (&&str, &(u64, u64))| Share {
            name: clip(name),
            total: bytes(Some(mapped.saturating_add(*made))),
            mapped: bytes(Some(*mapped)),
            made: bytes(Some(*made)),
            mapped_width: percent(*mapped, most),
            made_width: percent(*made, most),
        };
        WeightsView {
            kinds: read.iter().take(MAX_RECIPES).map(share).collect(),
            rows: by_size.iter().take(MAX_RECIPES).filter_map(row).collect(),
            left_out: by_size.len().saturating_sub(MAX_RECIPES),
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}", part as f64 * 100.0 / whole.max(1) as f64)
}
