//! The types that a rule gives its variables, as a condition of the match.

use std::collections::BTreeMap;

use mscc_ir::attr::Attr;
use mscc_ir::{DType, Dim, TensorType};

use crate::guards::{Finding, MatchView, Refusal};
use crate::rule::{Axis, DTypeClass, Given, Rule, bare_name};

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
    for (list, found) in view.lists() {
        bindings.bind_list(list, &found)?;
    }
    // What is computed of names, once all are bound.
    for given in &rule.given {
        for ty in view.types(&given.var) {
            let axes = &ty.shape[ty.rank() - given.axes.len()..];
            let differs = |(axis, found): &(&Axis, &Dim)| match axis {
                Axis::Any => false,
                Axis::Size(size) => bare_name(size).is_none() && bindings.size(size) != **found,
            };
            if given.axes.iter().zip(axes).any(|pair| differs(&pair)) {
                return Err(Refusal {
                    condition: format!("given ?{}: {given}", given.var),
                    found: vec![Finding::new(format!("?{}", given.var), ty)],
                });
            }
        }
    }
    for (list, found) in view.lists() {
        if list.iter().map(|size| bindings.size(size)).ne(found.iter().cloned()) {
            return Err(other_list(list, &found));
        }
    }
    Ok(bindings)
}

fn other_list(list: &[Dim], found: &[Dim]) -> Refusal {
    let text = |list: &[Dim]| Attr::Dims(list.to_vec()).to_string();
    Refusal { condition: "sizes".to_owned(), found: vec![Finding::new(text(list), text(found))] }
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
        for (axis, size) in given.axes.iter().zip(axes) {
            let Axis::Size(wanted) = axis else { continue };
            if let Some(name) = bare_name(wanted) {
                let at = if rule.is_per_sibling(name.name()) { nth } else { 0 };
                self.bind(name.name(), at, size).map_err(|bound| format!(" where {name} is {bound}"))?;
            } else if wanted.as_const().is_some() && wanted != size {
                return Err(String::new());
            }
        }
        Ok(())
    }

    /// Binds the names that stand alone in a list of sizes.
    fn bind_list(&mut self, list: &[Dim], found: &[Dim]) -> Result<(), Refusal> {
        let mut fits = list.len() == found.len();
        for (size, found) in list.iter().zip(found) {
            if let Some(name) = bare_name(size) {
                fits &= self.bind(name.name(), 0, found).is_ok();
            }
        }
        if fits { Ok(()) } else { Err(other_list(list, found)) }
    }

    /// The error is what `name` stands for already.
    fn bind(&mut self, name: &str, at: usize, size: &Dim) -> Result<(), Dim> {
        let bound = self.axes.entry(name.to_owned()).or_default();
        match bound.get(at) {
            Some(bound) if bound != size => Err(bound.clone()),
            Some(_) => Ok(()),
            None => {
                bound.push(size.clone());
                Ok(())
            }
        }
    }

    /// A size by the names bound.
    pub fn size(&self, size: &Dim) -> Dim {
        size.substitute(&|name| self.axes.get(name.name())?.first().cloned())
    }
}

impl Rule {
    /// Whether the axis `name` is one size for each sibling: it occurs with starred variables only.
    pub fn is_per_sibling(&self, name: &str) -> bool {
        let size = Axis::Size(Dim::symbol(name));
        let mut uses = self.given.iter().filter(|given| given.axes.contains(&size)).peekable();
        uses.peek().is_some() && uses.all(|given| self.is_star(&given.var))
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
