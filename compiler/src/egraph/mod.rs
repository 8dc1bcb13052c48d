//! Fusion by equality saturation: rules add equal forms, extraction takes the cheapest whole.
//!
//! [`saturate`] runs once per function, [`extract`] once per variant, at that variant's sizes. One function comes in,
//! one that computes the same goes out, with the same sinks, value names and leaves. The only user of egg is here.
//!
//! - Ops with several results are tuples, their results projections; a rule equates every result that it makes.
//! - Rules match top-down, siblings by groups; conditions, types and kernels are checked before a node is made.
//! - Phases run in order, each until nothing changes or a cap on nodes or rounds is met; no clock takes part.
//! - Extraction judges whole graphs, so that what is shared is paid once.
//! - A result that the verifier refuses is never used: the function then stays as it was, and the report says so.
//!
//! Nothing depends on the order in which rules are given or on the machine.

mod analysis;
mod apply;
mod emit;
mod language;
mod matcher;
#[cfg(test)]
mod operators_tests;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod oracle_tests;
mod price;
mod provenance;
mod report;
mod saturate;
mod select;
mod space;
#[cfg(test)]
mod tests;

use mscc_ir::plan::fusion::{Cost, Event, Outcome, Why};
use mscc_ir::{Graph, Symbol};

pub use price::Price;
pub use report::{Diagnostic, Growth, Refusal, Report};
pub use saturate::{Rewrites, Saturated, saturate, saturate_within};

use crate::cost::CostModel;
use price::{Pricer, Selection};
use space::Applied;

/// A function in the form chosen for one variant.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// The function.
    pub graph: Graph,
    /// What was done and why.
    pub report: Report,
}

/// The cheapest form of a saturated function at the given sizes; symbols without one take their likely value.
pub fn extract(
    saturated: &Saturated,
    model: &CostModel,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
) -> Extraction {
    extract_by(saturated, model, sizes, select::cheapest)
}

/// The dearest form that the search finds: proves in tests that rewrites which never pay are right too.
pub fn extract_dearest(
    saturated: &Saturated,
    model: &CostModel,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
) -> Extraction {
    extract_by(saturated, model, sizes, select::dearest)
}

/// Some form, the same for the same seed: proves in tests that all forms are right.
pub fn extract_random(
    saturated: &Saturated,
    model: &CostModel,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
    seed: u64,
) -> Extraction {
    extract_by(saturated, model, sizes, |space, _| select::random(space, seed))
}

fn extract_by(
    saturated: &Saturated,
    model: &CostModel,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
    choose: impl Fn(&space::Space, &mut Pricer<'_>) -> Option<Selection>,
) -> Extraction {
    let given = &saturated.graph;
    let mut report = Report {
        function: given.name.clone(),
        given: given.clone(),
        origins: given.nodes().map(|(id, _)| vec![id]).collect(),
        rules: saturated.refusals.clone(),
        sizes: Vec::new(),
        diagnostics: saturated.diagnostics.clone(),
        growth: saturated.growth.clone(),
        before: Price::default(),
        after: Price::default(),
    };
    let Some(space) = &saturated.space else { return Extraction { graph: given.clone(), report } };
    let likely =
        |symbol: &Symbol| sizes(symbol).or_else(|| saturated.symbols.get(symbol).map(|info| info.likely));
    let known = saturated.symbols.iter();
    report.sizes =
        known.filter_map(|(symbol, _)| Some((symbol.name().to_owned(), likely(symbol)?))).collect();
    let mut pricer = Pricer::new(space, model, &likely, &mut report.diagnostics);
    let original = select::original(space);
    report.before = pricer.price(&original).unwrap_or_default();
    report.after = report.before;
    let selection = choose(space, &mut pricer).ok_or_else(|| "a value needs itself".to_owned());
    if pricer.budget == 0 {
        report.diagnostics.push(Diagnostic::Search);
    }
    let emitted = selection.and_then(|selection| {
        emit::emit(space, &selection, given, &saturated.symbols).map(|emitted| (emitted, selection))
    });
    match emitted {
        Ok(((graph, origins), selection)) => {
            report.origins = origins;
            report.after = pricer.price(&selection).unwrap_or_default();
            let chosen = Chosen { needed: price::needed(space, &selection), price: report.after, selection };
            for applied in &space.applications {
                let event = Event {
                    at: applied.at.clone(),
                    replaced: applied.replaced.clone(),
                    number: Some(applied.number),
                    outcome: outcome(space, &pricer, &chosen, applied),
                };
                if let Some(rule) = report.rules.iter_mut().find(|rule| rule.rule == applied.rule) {
                    rule.events.push(event);
                }
            }
            for rule in &mut report.rules {
                rule.events.sort_by_key(|event| match event.outcome {
                    Outcome::Fired(_) | Outcome::Needed | Outcome::NotChosen(_) => 0,
                    Outcome::Refused(_) => 1,
                    Outcome::NearMiss { .. } => 2,
                });
            }
            Extraction { graph, report }
        }
        Err(problem) => {
            report.diagnostics.push(Diagnostic::Broken(problem));
            Extraction { graph: given.clone(), report }
        }
    }
}

/// The selection taken.
struct Chosen {
    selection: Selection,
    price: Price,
    /// Of each class, whether it is computed.
    needed: Vec<bool>,
}

/// What became of an application in the selection taken, and what the other choice would have cost.
fn outcome(space: &space::Space, pricer: &Pricer<'_>, chosen: &Chosen, applied: &Applied) -> Outcome {
    let Chosen { selection, price, needed } = chosen;
    let computed: Vec<&(usize, u32, Option<u32>)> =
        applied.roots.iter().filter(|(class, ..)| needed[*class]).collect();
    if computed.is_empty() {
        // What it replaced is not computed at all any more, but another rule's form may be built on what it made.
        let is_used = |(class, form): &(usize, u32)| {
            let class_of = &space.classes[*class];
            let is_new = class_of.forms[*form as usize].from.original.is_none();
            is_new && !class_of.weight_only && selection[*class] == *form && needed[*class]
        };
        return match applied.made.iter().any(is_used) {
            true => Outcome::Fired(Cost::default()),
            false => Outcome::NotChosen(Why::Unused),
        };
    }
    let difference = |other: &Price| other.cost() - price.cost();
    let is_chosen = |(class, old, new): &&(usize, u32, Option<u32>)| match new {
        Some(new) => selection[*class] == *new,
        None => selection[*class] != *old,
    };
    let mut other = selection.clone();
    if computed.iter().copied().any(|root| is_chosen(&root)) {
        for (class, old, _) in &applied.roots {
            other[*class] = *old;
        }
        // What else was chosen may be built on the new form, so that the old one alone makes no graph.
        return match pricer.price(&other) {
            Some(old) if old.lacks_more_kernels_than(price) => Outcome::Needed,
            Some(old) => Outcome::Fired(difference(&old)),
            None => Outcome::Fired(Cost::default()),
        };
    }
    for (class, _, new) in &applied.roots {
        if let Some(new) = new {
            other[*class] = *new;
        }
    }
    match pricer.price(&other) {
        Some(new) if new.lacks_more_kernels_than(price) => Outcome::NotChosen(Why::NoKernel),
        Some(new) => Outcome::NotChosen(Why::Dearer(difference(&new).ps)),
        None => Outcome::NotChosen(Why::Cyclic),
    }
}
