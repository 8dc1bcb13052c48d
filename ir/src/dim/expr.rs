//! What is done to a dim's structure: evaluation, substitution, translation.

use super::{Atom, Dim, DimError, Repr, Symbol};

/// A node of a dim's expression, for those who translate it (evaluation programs, other text forms).
#[derive(Clone, Debug, PartialEq)]
pub enum DimExpr<'a> {
    /// A number.
    Const(i64),
    /// A sum of `coefficient * product of factors`, plus a constant.
    Sum {
        /// Coefficient and factors of each term.
        terms: Vec<(i64, Vec<Factor<'a>>)>,
        /// What is added at the end.
        constant: i64,
    },
    /// Overflowed or too large.
    Invalid,
}

/// A factor of a product in a dim.
#[derive(Clone, Debug, PartialEq)]
pub enum Factor<'a> {
    /// A symbol.
    Symbol(&'a Symbol),
    /// `floor(dim / k)`, k ≥ 2.
    FloorDiv(&'a Dim, i64),
    /// `dim - k * floor(dim / k)`, k ≥ 2.
    Mod(&'a Dim, i64),
    /// The least of two or more dims.
    Min(&'a [Dim]),
    /// The greatest of two or more dims.
    Max(&'a [Dim]),
}

impl Dim {
    /// Its value where `value_of` gives the symbols'.
    pub fn eval(&self, value_of: &dyn Fn(&Symbol) -> Option<i64>) -> Result<i64, DimError> {
        match &self.0 {
            Repr::Const(value) => Ok(*value),
            Repr::Invalid => Err(DimError::Overflow),
            Repr::Poly(poly) => {
                let mut sum = poly.constant;
                for term in &poly.terms {
                    let mut product = term.coefficient;
                    for atom in &term.atoms {
                        let value = atom.eval(value_of)?;
                        product = product.checked_mul(value).ok_or(DimError::Overflow)?;
                    }
                    sum = sum.checked_add(product).ok_or(DimError::Overflow)?;
                }
                Ok(sum)
            }
        }
    }

    /// The dim with `replace(symbol)` in place of each symbol for which it gives one.
    pub fn substitute(&self, replace: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        match &self.0 {
            Repr::Const(_) | Repr::Invalid => self.clone(),
            Repr::Poly(poly) => {
                let mut sum = Dim::constant(poly.constant);
                for term in &poly.terms {
                    let mut product = Dim::constant(term.coefficient);
                    for atom in &term.atoms {
                        product = product * atom.substitute(replace);
                    }
                    sum = sum + product;
                }
                sum
            }
        }
    }

    /// Calls `visit` for each symbol in it, with repeats.
    pub fn for_each_symbol(&self, visit: &mut dyn FnMut(&Symbol)) {
        if let Repr::Poly(poly) = &self.0 {
            for atom in poly.terms.iter().flat_map(|term| &term.atoms) {
                match atom {
                    Atom::Symbol(symbol) => visit(symbol),
                    Atom::FloorDiv(dim, _) | Atom::Mod(dim, _) => dim.for_each_symbol(visit),
                    Atom::Min(dims) | Atom::Max(dims) => {
                        dims.iter().for_each(|dim| dim.for_each_symbol(visit));
                    }
                }
            }
        }
    }

    /// Its structure, for translation into another form.
    pub fn expr(&self) -> DimExpr<'_> {
        match &self.0 {
            Repr::Const(value) => DimExpr::Const(*value),
            Repr::Invalid => DimExpr::Invalid,
            Repr::Poly(poly) => DimExpr::Sum {
                terms: poly
                    .terms
                    .iter()
                    .map(|term| (term.coefficient, term.atoms.iter().map(Atom::factor).collect()))
                    .collect(),
                constant: poly.constant,
            },
        }
    }
}

impl Atom {
    fn factor(&self) -> Factor<'_> {
        match self {
            Atom::Symbol(symbol) => Factor::Symbol(symbol),
            Atom::FloorDiv(dim, k) => Factor::FloorDiv(dim, *k),
            Atom::Mod(dim, k) => Factor::Mod(dim, *k),
            Atom::Min(dims) => Factor::Min(dims),
            Atom::Max(dims) => Factor::Max(dims),
        }
    }
    fn eval(&self, value_of: &dyn Fn(&Symbol) -> Option<i64>) -> Result<i64, DimError> {
        match self {
            Atom::Symbol(symbol) => value_of(symbol).ok_or_else(|| DimError::Unbound(symbol.clone())),
            Atom::FloorDiv(dim, k) => Ok(dim.eval(value_of)?.div_euclid(*k)),
            Atom::Mod(dim, k) => Ok(dim.eval(value_of)?.rem_euclid(*k)),
            Atom::Min(dims) | Atom::Max(dims) => {
                let is_max = matches!(self, Atom::Max(_));
                let mut best: Option<i64> = None;
                for dim in dims {
                    let value = dim.eval(value_of)?;
                    best = Some(match best {
                        None => value,
                        Some(other) if is_max => other.max(value),
                        Some(other) => other.min(value),
                    });
                }
                best.ok_or(DimError::Overflow)
            }
        }
    }

    fn substitute(&self, replace: &dyn Fn(&Symbol) -> Option<Dim>) -> Dim {
        match self {
            Atom::Symbol(symbol) => replace(symbol).unwrap_or_else(|| Dim::from_atom(self.clone())),
            Atom::FloorDiv(dim, k) => dim.substitute(replace).floor_div(*k),
            Atom::Mod(dim, k) => dim.substitute(replace).modulo(*k),
            Atom::Min(dims) => Dim::min(dims.iter().map(|dim| dim.substitute(replace))),
            Atom::Max(dims) => Dim::max(dims.iter().map(|dim| dim.substitute(replace))),
        }
    }
}
