//! What fusion did and why, as text and as data.

use std::collections::BTreeSet;
use std::ops::Range;

use mscc_ir::plan::fusion::{Cost, Event, Outcome, RuleReport, Why};
use mscc_ir::plan::{Fusion, Plan, Variant};
use mscc_patterns::builtin;
use mscc_report::figures::bytes;
use serde_json::{Value, json};

use crate::prediction::time;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    /// Rules by name; all if none is named.
    pub rules: &'a [String],
    /// A layer; all if none is named.
    pub layer: Option<u32>,
}

/// A kind of layer with what fusion did there.
pub struct Explained<'a> {
    /// Its name.
    pub name: &'a str,
    /// Of which layers it computes something.
    pub layers: Vec<Range<u32>>,
    /// What fusion did.
    pub fusion: &'a Fusion,
}

/// The kinds of layers of all variants.
pub fn functions(plan: &Plan) -> impl Iterator<Item = Explained<'_>> {
    let variants = plan.programs.iter().flat_map(|program| &program.variants);
    variants.flat_map(|variant| functions_of(plan, variant))
}

/// One more than the greatest layer.
pub fn num_layers(plan: &Plan) -> u32 {
    functions(plan).flat_map(|function| function.layers).map(|layers| layers.end).max().unwrap_or(0)
}

fn functions_of<'a>(plan: &'a Plan, variant: &'a Variant) -> impl Iterator<Item = Explained<'a>> {
    variant.functions.iter().enumerate().filter_map(|(index, function)| {
        let fusion = &function.listing.as_ref()?.fusion;
        Some(Explained { name: &function.name, layers: layers_of(plan, variant, index), fusion })
    })
}

/// The layers of the model of which a function computes something: those whose weights or caches it reads, which may be
/// others than it is called for, since functions end at attention.
fn layers_of(plan: &Plan, variant: &Variant, index: usize) -> Vec<Range<u32>> {
    let function = &variant.functions[index];
    let layered = function.weights.iter().filter(|param| {
        plan.weights.recipes.get(param.recipe as usize).is_some_and(|recipe| recipe.name.is_layered())
    });
    let mut offsets: BTreeSet<i64> = layered.map(|param| param.layer_offset).collect();
    offsets.extend((!function.caches.is_empty()).then_some(0));
    let calls = variant.calls.iter().filter(|(called, _)| *called as usize == index);
    let shifted = calls.flat_map(|(_, layers)| {
        offsets.iter().filter_map(|offset| {
            let shift = |layer: u32| u32::try_from(i64::from(layer).checked_add(*offset)?).ok();
            Some(shift(layers.start)?..shift(layers.end)?)
        })
    });
    let mut ranges: Vec<Range<u32>> = shifted.filter(|range| !range.is_empty()).collect();
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, before| {
        let joins = next.start <= before.end;
        before.end = if joins { before.end.max(next.end) } else { before.end };
        joins
    });
    ranges
}

impl Filter<'_> {
    fn takes(&self, function: &Explained<'_>) -> bool {
        self.layer.is_none_or(|layer| function.layers.iter().any(|layers| layers.contains(&layer)))
    }

    fn takes_rule(&self, rule: &str) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|name| name == rule)
    }
}

/// For people.
pub fn text(plan: &Plan, filter: Filter<'_>) -> String {
    let docs: Vec<(String, String)> =
        builtin().unwrap_or_default().into_iter().map(|rule| (rule.name, rule.doc)).collect();
    let mut out = vec![format!("{} ({}) for {}", plan.meta.model, plan.meta.family, plan.meta.target)];
    for variant in plan.programs.iter().flat_map(|program| &program.variants) {
        let functions: Vec<Explained<'_>> =
            functions_of(plan, variant).filter(|function| filter.takes(function)).collect();
        let Some(first) = functions.first() else { continue };
        out.push(String::new());
        out.push(format!("variant {}, {}", variant.name, guard(variant)));
        let sizes: Vec<String> =
            first.fusion.sizes.iter().map(|(name, size)| format!("{name}={size}")).collect();
        out.push(format!("  costs compared at {}", sizes.join(", ")));
        for function in functions {
            let Fusion { before, after, rules, .. } = function.fusion;
            let (launches, moved) =
                ((before.launches, after.launches), (size(before.bytes), size(after.bytes)));
            out.push(format!(
                "  @{}{}: {} → {} launches, {} → {} moved, {} → {}",
                function.name,
                layers(&function.layers),
                launches.0,
                launches.1,
                moved.0,
                moved.1,
                signed_time(before.ps),
                signed_time(after.ps),
            ));
            let mut rules: Vec<&RuleReport> =
                rules.iter().filter(|rule| filter.takes_rule(&rule.rule)).collect();
            // What came to most stands first.
            rules.sort_by_key(|rule| rule.events.iter().map(rank).min());
            for rule in rules {
                let doc =
                    docs.iter().find(|(name, _)| *name == rule.rule).map_or("", |(_, doc)| doc.as_str());
                out.push(format!("    {}: {doc}", rule.rule));
                rule.events.iter().for_each(|event| write_event(&mut out, event));
            }
        }
    }
    out.join("\n") + "\n"
}

fn rank(event: &Event) -> u8 {
    match event.outcome {
        Outcome::Fired(_) | Outcome::Needed => 0,
        Outcome::NotChosen(_) => 1,
        Outcome::Refused(_) => 2,
        Outcome::NearMiss { .. } => 3,
    }
}

fn write_event(out: &mut Vec<String>, event: &Event) {
    let number = event.number.map_or(String::new(), |number| format!("#{number} "));
    out.push(format!("      {number}{}", event.at.join(", ")));
    let outcome = match &event.outcome {
        Outcome::Fired(Cost { ps: 0, launches: 0, bytes: 0 }) => "fired, others are built on it".to_owned(),
        Outcome::Fired(saved) => format!("fired, saves {}", saving(saved)),
        Outcome::NotChosen(Why::Dearer(ps)) => {
            format!("not chosen, would cost {} more", signed_time(*ps))
        }
        other => other.to_string(),
    };
    out.push(format!("        {outcome}"));
    if event.replaced.len() > event.at.len() {
        out.push(format!("        from {}", event.replaced.join(", ")));
    }
}

fn saving(saved: &Cost) -> String {
    let launches = if saved.launches == 1 { "launch" } else { "launches" };
    format!("{}, {} {launches}, {} moved", signed_time(saved.ps), saved.launches, size(saved.bytes))
}

fn guard(variant: &Variant) -> String {
    match variant.guard.as_slice() {
        [] => "for all steps".to_owned(),
        conditions => {
            let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            format!("for steps with {}", conditions.join(" and "))
        }
    }
}

fn layers(ranges: &[Range<u32>]) -> String {
    match ranges {
        [] => String::new(),
        [one] if one.len() == 1 => format!(" (layer {})", one.start),
        ranges => {
            let ranges: Vec<String> = ranges.iter().map(layer_range).collect();
            format!(" (layers {})", ranges.join(", "))
        }
    }
}

fn layer_range(range: &Range<u32>) -> String {
    match range.end - range.start {
        1 => range.start.to_string(),
        _ => format!("{} to {}", range.start, range.end - 1),
    }
}

/// Picoseconds, which may be less than none, in a unit that fits.
pub fn signed_time(ps: i64) -> String {
    format!("{}{}", if ps < 0 { "-" } else { "" }, time(ps.unsigned_abs()))
}

/// Bytes, which may be less than none, in a unit that fits.
pub fn size(count: i64) -> String {
    format!("{}{}", if count < 0 { "-" } else { "" }, bytes(Some(count.unsigned_abs())))
}

/// For scripts.
pub fn to_json(plan: &Plan, filter: Filter<'_>) -> Value {
    let variants = plan.programs.iter().flat_map(|program| &program.variants).map(|variant| {
        let functions = functions_of(plan, variant).filter(|function| filter.takes(function));
        json!({
            "name": variant.name,
            "guard": variant.guard.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "functions": functions.map(|function| function_json(&function, filter)).collect::<Vec<_>>(),
        })
    });
    json!({
        "schema": "mscc.explain.v1",
        "model": plan.meta.model,
        "family": plan.meta.family,
        "target": plan.meta.target,
        "variants": variants.collect::<Vec<_>>(),
    })
}

fn function_json(function: &Explained<'_>, filter: Filter<'_>) -> Value {
    let Fusion { sizes, before, after, rules } = function.fusion;
    let rules = rules.iter().filter(|rule| filter.takes_rule(&rule.rule));
    let rules = rules.map(|rule| {
        let events = rule.events.iter().map(event_json).collect::<Vec<_>>();
        json!({ "rule": rule.rule, "events": events })
    });
    json!({
        "name": function.name,
        "layers": function.layers.iter().map(|range| json!([range.start, range.end])).collect::<Vec<_>>(),
        "sizes": sizes.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "before": cost_json(before),
        "after": cost_json(after),
        "rules": rules.collect::<Vec<_>>(),
    })
}

fn event_json(event: &Event) -> Value {
    let mut value = json!({ "at": event.at, "replaced": event.replaced, "number": event.number });
    let (outcome, key, detail) = match &event.outcome {
        Outcome::Fired(saved) => ("fired", "saved", cost_json(saved)),
        Outcome::Needed => ("fired", "needed", json!(true)),
        Outcome::NotChosen(Why::Dearer(ps)) => {
            ("not_chosen", "dearer_by_microseconds", json!(*ps as f64 / 1e6))
        }
        Outcome::NotChosen(why) => ("not_chosen", "reason", json!(why.to_string())),
        Outcome::Refused(refusal) => {
            let found = refusal.found.iter().map(|(operand, is)| json!({ "operand": operand, "is": is }));
            let found = found.collect::<Vec<_>>();
            ("refused", "refusal", json!({ "condition": refusal.condition, "found": found }))
        }
        Outcome::NearMiss { value, expected, found } => {
            ("near_miss", "miss", json!({ "value": value, "expected": expected, "found": found }))
        }
    };
    value["outcome"] = json!(outcome);
    value[key] = detail;
    value
}

/// A cost for scripts.
pub fn cost_json(cost: &Cost) -> Value {
    json!({ "microseconds": cost.ps as f64 / 1e6, "launches": cost.launches, "bytes": cost.bytes })
}
