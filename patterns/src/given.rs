//! The types that a rule gives its variables, as a condition of the match.

use std::collections::BTreeMap;

use mscc_ir::{DType, Dim, TensorType};

use crate::guards::{Finding, MatchView, Refusal};
use crate::rule::{DTypeClass, Given, Rule};

/// What the names of axes stand for in a match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// The axes written `..`.
    pub leading: Option<Vec<Dim>>,
    /// Size of each named axis; one for each sibling if the name occurs with starred variables only.
    pub axes: BTreeMap<String, Vec<Dim>>,
}

/// Whether the matched values have the types that `rule` gives its variables.
pub fn check_given(rule: &Rule, view: &dyn MatchView) -> Result<Bindings, Refusal> {
    let mut bindings = Bindings::default();
    for given in &rule.given {
        let star = rule.is_star(&given.var);
        let operand =
            |nth: usize| if star { format!("?{}*[{nth}]", given.var) } else { format!("?{}", given.var) };
        let refuse = |nth, found: &dyn std::fmt::Display| Refusal {
            condition: format!("given ?{}{}: {given}", given.var, if star { "*" } else { "" }),
            found: vec![Finding::new(operand(nth), found)],
        };
        let types = view.types(&given.var);
        if types.is_empty() {
            return Err(refuse(0, &"of unknown type"));
        }
        for (nth, ty) in types.into_iter().enumerate() {
            bindings.unify(rule, given, nth, ty).map_err(|reason| refuse(nth, &format!("{ty}{reason}")))?;
        }
    }
    Ok(bindings)
}

impl Bindings {
    /// Holds `ty` against `given`; the error says what disagrees beside the type itself.
    fn unify(&mut self, rule: &Rule, given: &Given, nth: usize, ty: &TensorType) -> Result<(), String> {
        let fits = ty.rank() == given.axes.len() || (given.leading && ty.rank() > given.axes.len());
        if !given.dtype.holds(ty.dtype) || !fits {
            return Err(String::new());
        }
        let (leading, axes) = ty.shape.split_at(ty.rank() - given.axes.len());
        if given.leading {
            let bound = self.leading.get_or_insert_with(|| leading.to_vec());
            if bound != leading {
                return Err(format!(" where .. is {bound:?}"));
            }
        }
        for (name, size) in given.axes.iter().zip(axes) {
            if name == "_" {
                continue;
            }
            if let Ok(number) = name.parse::<i64>() {
                if size.as_const() != Some(number) {
                    return Err(String::new());
                }
                continue;
            }
            let at = if rule.is_per_sibling(name) { nth } else { 0 };
            let bound = self.axes.entry(name.clone()).or_default();
            match bound.get(at) {
                Some(bound) if bound != size => return Err(format!(" where {name} is {bound}")),
                Some(_) => {}
                None => bound.push(size.clone()),
            }
        }
        Ok(())
    }
}

impl Rule {
    /// Whether the axis `name` is one size for each sibling: it occurs with starred variables only.
    pub fn is_per_sibling(&self, name: &str) -> bool {
        let uses = self.given.iter().filter(|given| given.axes.iter().any(|axis| axis == name));
        uses.fold(None, |all: Option<bool>, given| Some(all.unwrap_or(true) && self.is_star(&given.var)))
            .unwrap_or(false)
    }
}

impl DTypeClass {
    /// Whether `dtype` is in the class.
    pub fn holds(self, dtype: DType) -> bool {
        match self {
            DTypeClass::Float => dtype.is_float(),
            DTypeClass::Int => dtype.is_int(),
            DTypeClass::Any => true,
        }
    }
}
