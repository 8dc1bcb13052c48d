//! What a layer computes.

use super::expr::{Binary, ExprError, ExprProblem, Term, TermKind};
use super::expr_parse::parse;
use super::family::Slot;
use super::yaml::{FamilyProblem, Located, Map};

/// The value that every layer starts from.
const HIDDEN_STATES: &str = "hidden_states";

/// A named value of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// How it is made.
    pub flow: Flow,
}

/// How a value of a layer is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Flow {
    /// The layer's input.
    HiddenStates,
    /// What the step of this index made.
    Step(usize),
    /// What the slot of this index makes of a value.
    Slot(usize, Box<Flow>),
    /// The sum of two values.
    Add(Box<Flow>, Box<Flow>),
}

/// Reads the steps of a layer.
pub(super) fn read(map: &Map, slots: &[Slot]) -> Located<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut used = vec![false; slots.len()];
    for (name, place, value) in &map.entries {
        if name == HIDDEN_STATES {
            return Err((*place, FamilyProblem::Twice(name.clone())));
        }
        let text = value.str()?;
        let term = parse(text).map_err(|error| (value.place, error.into()))?;
        let flow = flow(text, &term, slots, &steps, &mut used).map_err(|problem| (value.place, problem))?;
        steps.push(Step { name: name.clone(), flow });
    }
    match used.iter().position(|used| !used) {
        _ if steps.is_empty() => {
            Err((map.place, FamilyProblem::Missing("the step of the output".to_owned())))
        }
        Some(slot) => Err((map.place, FamilyProblem::UnusedSlot(slots[slot].name.clone()))),
        None => Ok(steps),
    }
}

fn flow(
    text: &str,
    term: &Term,
    slots: &[Slot],
    steps: &[Step],
    used: &mut [bool],
) -> Result<Flow, FamilyProblem> {
    let unexpected = |found: &str| {
        let problem = ExprProblem::Syntax {
            expected: "a step, a call of a slot with one value, or a sum",
            found: found.to_owned(),
        };
        Err(ExprError { text: text.to_owned(), at: term.at, problem }.into())
    };
    match &term.kind {
        TermKind::Key(name) if name == HIDDEN_STATES => Ok(Flow::HiddenStates),
        TermKind::Key(name) => match steps.iter().position(|step| step.name == *name) {
            Some(step) => Ok(Flow::Step(step)),
            None => {
                let names = steps.iter().map(|step| step.name.as_str());
                let all = std::iter::once(HIDDEN_STATES).chain(names);
                Err(FamilyProblem::unknown("step", name, all))
            }
        },
        TermKind::Call(name, arguments) => {
            let Some(slot) = slots.iter().position(|slot| slot.name == *name) else {
                let names = slots.iter().map(|slot| slot.name.as_str());
                return Err(FamilyProblem::unknown("slot", name, names));
            };
            let [argument] = arguments.as_slice() else { return unexpected("another number of values") };
            used[slot] = true;
            Ok(Flow::Slot(slot, Box::new(flow(text, argument, slots, steps, used)?)))
        }
        TermKind::Binary(Binary::Add, terms) => {
            let left = flow(text, &terms[0], slots, steps, used)?;
            Ok(Flow::Add(Box::new(left), Box::new(flow(text, &terms[1], slots, steps, used)?)))
        }
        TermKind::Const(_) => unexpected("a value"),
        TermKind::Not(_) | TermKind::Negative(_) | TermKind::Binary(..) => unexpected("another operator"),
        TermKind::If(_) | TermKind::Item(_) | TermKind::List(_) => unexpected("another form"),
    }
}
