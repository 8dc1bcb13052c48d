//! What a layer computes.

use super::expr::{Binary, Expr, ExprError, ExprProblem, Term, TermKind};
use super::expr_parse::parse;
use super::family::{Argument, Reader, Slot};
use super::yaml::{FamilyProblem, Located, Map, Place};

/// The value that every layer starts from.
const HIDDEN_STATES: &str = "hidden_states";

/// A named value of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Where it stands in the file.
    pub place: Place,
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
    /// A value times the factor of this index.
    Scale(Box<Flow>, usize),
}

/// Reads the steps of a layer; gives them and the factors in them.
pub(super) fn read(
    map: &Map,
    slots: &[Slot],
    expressions: &Reader<'_>,
) -> Located<(Vec<Step>, Vec<Argument>)> {
    let mut reader =
        Steps { slots, expressions, steps: Vec::new(), factors: Vec::new(), used: vec![false; slots.len()] };
    for (name, place, value) in &map.entries {
        if name == HIDDEN_STATES {
            return Err((*place, FamilyProblem::Twice(name.clone())));
        }
        let text = value.str()?;
        let term = parse(text).map_err(|error| (value.place, error.into()))?;
        let flow = reader.flow(text, value.place, &term)?;
        reader.steps.push(Step { name: name.clone(), place: value.place, flow });
    }
    match reader.used.iter().position(|used| !used) {
        _ if reader.steps.is_empty() => {
            Err((map.place, FamilyProblem::Missing("the step of the output".to_owned())))
        }
        Some(slot) => Err((map.place, FamilyProblem::UnusedSlot(slots[slot].name.clone()))),
        None => Ok((reader.steps, reader.factors)),
    }
}

struct Steps<'a> {
    slots: &'a [Slot],
    expressions: &'a Reader<'a>,
    steps: Vec<Step>,
    factors: Vec<Argument>,
    used: Vec<bool>,
}

impl Steps<'_> {
    fn flow(&mut self, text: &str, place: Place, term: &Term) -> Located<Flow> {
        let unexpected = |found: &str| {
            let problem = ExprProblem::Syntax {
                expected: "a step, a call of a slot with one value, a sum, or a value times a number",
                found: found.to_owned(),
            };
            Err((place, ExprError { text: text.to_owned(), at: term.at, problem }.into()))
        };
        match &term.kind {
            TermKind::Key(name) if name == HIDDEN_STATES => Ok(Flow::HiddenStates),
            TermKind::Key(name) => match self.steps.iter().position(|step| step.name == *name) {
                Some(step) => Ok(Flow::Step(step)),
                None => {
                    let names = self.steps.iter().map(|step| step.name.as_str());
                    let all = std::iter::once(HIDDEN_STATES).chain(names);
                    Err((place, FamilyProblem::unknown("step", name, all)))
                }
            },
            TermKind::Call(name, arguments) => {
                let Some(slot) = self.slots.iter().position(|slot| slot.name == *name) else {
                    let names = self.slots.iter().map(|slot| slot.name.as_str());
                    return Err((place, FamilyProblem::unknown("slot", name, names)));
                };
                let [argument] = arguments.as_slice() else { return unexpected("another number of values") };
                self.used[slot] = true;
                Ok(Flow::Slot(slot, Box::new(self.flow(text, place, argument)?)))
            }
            TermKind::Binary(Binary::Add, terms) => {
                let left = self.flow(text, place, &terms[0])?;
                Ok(Flow::Add(Box::new(left), Box::new(self.flow(text, place, &terms[1])?)))
            }
            TermKind::Binary(Binary::Multiply, terms) => {
                let value = self.flow(text, place, &terms[0])?;
                let factor = Expr::part(text, &terms[1]).map_err(|error| (place, error.into()))?;
                self.factors.push(self.expressions.checked(factor, place)?);
                Ok(Flow::Scale(Box::new(value), self.factors.len() - 1))
            }
            TermKind::Const(_) => unexpected("a value"),
            TermKind::Not(_) | TermKind::Negative(_) | TermKind::Binary(..) => unexpected("another operator"),
            TermKind::If(_) | TermKind::Item(_) | TermKind::List(_) => unexpected("another form"),
        }
    }
}
