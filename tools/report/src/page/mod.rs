//! The page: one file of HTML that loads nothing and runs no script.

mod canvas;
mod kind;
mod memory;
mod weights;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use mscc_ir::TensorType;
use mscc_ir::plan::{Condition, Plan};
use serde::Serialize;

use crate::figures::{self, bytes};
use crate::{ReportError, clip};
use kind::{Budget, KindView};
use memory::MemoryView;
use weights::WeightsView;

/// Most rows of a table.
const MAX_ROWS: usize = 400;

/// The page of a plan.
///
/// Errors: none but bugs.
pub fn html(plan: &Plan) -> Result<String, ReportError> {
    let failed = |error: minijinja::Error| ReportError::Template(format!("{error:#}"));
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
    environment.set_syntax(syntax);
    environment.add_template("page", include_str!("page.html")).map_err(failed)?;
    let template = environment.get_template("page").map_err(failed)?;
    template.render(minijinja::Value::from(Serde(Page::new(plan)))).map_err(failed)
}

/// What the template is given.
#[derive(Serialize)]
struct Page {
    style: &'static str,
    model: String,
    about: Vec<(&'static str, String)>,
    tiles: Vec<Tile>,
    warnings: Vec<String>,
    legend: Vec<(usize, &'static str)>,
    variants: Vec<VariantView>,
    weights: WeightsView,
    tables: Vec<Table>,
}

/// A figure that stands out.
#[derive(Serialize)]
struct Tile {
    value: String,
    label: &'static str,
    note: String,
}

/// A variant with its kinds of layers.
#[derive(Serialize)]
struct VariantView {
    title: String,
    guard: String,
    launches: u64,
    kinds: Vec<KindView>,
    memory: Option<MemoryView>,
}

/// A plain table.
#[derive(Serialize)]
struct Table {
    title: &'static str,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    left_out: usize,
}

impl Table {
    fn new(title: &'static str, head: &[&'static str], rows: impl Iterator<Item = Vec<String>>) -> Table {
        let mut rows = rows.map(|row| row.iter().map(|cell| clip(cell)).collect());
        let shown = rows.by_ref().take(MAX_ROWS).collect();
        Table { title, head: head.to_vec(), rows: shown, left_out: rows.count() }
    }
}

impl Page {
    fn new(plan: &Plan) -> Page {
        let meta = &plan.meta;
        let mut budget = Budget::default();
        let mut variants = Vec::new();
        for program in &plan.programs {
            for variant in &program.variants {
                let kinds = variant.functions.iter().enumerate();
                let kinds = kinds.take(MAX_ROWS).map(|(index, function)| {
                    let calls = figures::calls_of(variant, index);
                    KindView::new(plan, function, calls, &mut budget)
                });
                variants.push(VariantView {
                    title: clip(&format!("program {}, variant {}", program.name, variant.name)),
                    guard: clip(&guard(&variant.guard)),
                    launches: figures::launches_per_step(variant),
                    kinds: kinds.collect(),
                    memory: MemoryView::new(plan, variant),
                });
            }
        }
        Page {
            style: include_str!("page.css"),
            model: clip(&meta.model),
            about: vec![
                ("family", clip(&meta.family)),
                ("target", clip(&meta.target)),
                ("computes in", meta.compute_dtype.name().to_owned()),
                ("written by", clip(&meta.producer)),
            ],
            tiles: tiles(plan, &variants),
            warnings: meta.warnings.iter().take(MAX_ROWS).map(|warning| clip(warning)).collect(),
            legend: budget
                .colors
                .iter()
                .enumerate()
                .map(|(color, op)| (color % canvas::COLORS, *op))
                .collect(),
            variants,
            weights: WeightsView::new(plan),
            tables: tables(plan),
        }
    }
}

fn guard(conditions: &[Condition]) -> String {
    let text = |condition: &Condition| match condition {
        Condition::Le(a, b) => format!("{a} ≤ {b}"),
        Condition::Eq(a, b) => format!("{a} = {b}"),
    };
    match conditions {
        [] => "any step".to_owned(),
        conditions => conditions.iter().map(text).collect::<Vec<_>>().join(" and "),
    }
}

fn tiles(plan: &Plan, variants: &[VariantView]) -> Vec<Tile> {
    let memory = figures::memory(plan);
    let tile = |value, label, note| Tile { value, label, note };
    let launches = variants.iter().map(|variant| variant.launches.to_string());
    let kinds: usize = variants.iter().map(|variant| variant.kinds.len()).sum();
    let mapped = match (memory.weights, memory.weights_mapped) {
        (Some(all), Some(mapped)) => {
            format!(
                "{} mapped, {} made at load",
                bytes(Some(mapped)),
                bytes(Some(all.saturating_sub(mapped)))
            )
        }
        (_, _) => "not countable".to_owned(),
    };
    vec![
        tile(
            launches.collect::<Vec<_>>().join(" / "),
            "launches a step",
            format!("kinds of layers: {kinds}, variants: {}", variants.len()),
        ),
        tile(bytes(memory.weights), "weights", mapped),
        tile(bytes(memory.arena_peak), "activations at most", "the arena, for the largest step".to_owned()),
        tile(
            bytes(memory.cache_per_token),
            "cache per token",
            format!("cache groups: {}", plan.caches.len()),
        ),
    ]
}

fn tables(plan: &Plan) -> Vec<Table> {
    let limits = &plan.meta.limits;
    let limits = [
        ("sequence length", limits.max_model_len),
        ("sequences in a step", limits.max_num_seqs),
        ("new tokens in a step", limits.max_num_batched_tokens),
        ("vocabulary", limits.vocab_size),
    ];
    let symbols = plan.symbols.iter().map(|(name, info)| {
        vec![name.clone(), info.min.to_string(), info.likely.to_string(), info.max.to_string()]
    });
    let ty = |dtype, shape: &[mscc_ir::Dim]| TensorType::new(dtype, shape.to_vec()).to_string();
    let inputs =
        plan.inputs.iter().map(|input| vec![input.name.clone(), ty(input.dtype, &input.shape), "in".into()]);
    let outputs = plan
        .outputs
        .iter()
        .map(|output| vec![output.name.clone(), ty(output.dtype, &output.shape), "out".into()]);
    let caches = plan.caches.iter().map(|group| {
        let tensors = group.tensors.iter();
        let tensors = tensors.map(|tensor| format!("{}: {}", tensor.name, group.tensor_type(tensor)));
        vec![
            group.name.clone(),
            group.num_layers().to_string(),
            group.block_size.to_string(),
            tensors.collect::<Vec<_>>().join(", "),
            bytes(group.bytes_per_token()),
        ]
    });
    let rewrites = plan.meta.rewrites.iter().map(|(rule, count)| vec![rule.clone(), count.to_string()]);
    let files = plan.weights.files.iter().map(|file| vec![file.name.clone(), bytes(Some(file.len))]);
    let mut tables = vec![
        Table::new("Rewrites", &["rule", "places"], rewrites),
        Table::new("Symbols", &["symbol", "least", "likely", "greatest"], symbols),
        Table::new("Inputs and outputs", &["name", "type", ""], inputs.chain(outputs)),
        Table::new("Caches", &["group", "layers", "page", "tensors", "per token"], caches),
        Table::new(
            "Limits",
            &["", "at most"],
            limits.iter().map(|(name, limit)| vec![(*name).into(), limit.to_string()]),
        ),
        Table::new("Weight files", &["file", "size"], files),
    ];
    tables.retain(|table| !table.rows.is_empty());
    tables
}
