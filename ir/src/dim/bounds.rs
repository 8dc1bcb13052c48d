//! What is known about symbols, and what follows from it for dims.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Atom, Dim, DimError, Repr, Symbol};

/// Inclusive bounds of a symbol and the value for which plans are tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolInfo {
    /// Least value, at least 0.
    pub min: i64,
    /// Greatest value, at least `min`.
    pub max: i64,
    /// A value that is typical in use; the cost model evaluates there.
    pub likely: i64,
}

/// A relation between dims that always holds, such as `B <= T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What is never greater …
    pub lesser: Dim,
    /// … than this.
    pub greater: Dim,
}

/// The symbols of a module with all that is known about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolTable {
    symbols: BTreeMap<Symbol, SymbolInfo>,
    facts: Vec<Fact>,
}

/// All values between `min` and `max`, both possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
}

impl SymbolTable {
    /// Declares `name`; the later declaration of a name counts.
    pub fn declare(&mut self, name: &str, info: SymbolInfo) {
        self.symbols.insert(Symbol::new(name), info);
    }

    /// States that `lesser <= greater` always.
    pub fn assume_le(&mut self, lesser: Dim, greater: Dim) {
        self.facts.push(Fact { lesser, greater });
    }

    /// What is known about `symbol`.
    pub fn get(&self, symbol: &Symbol) -> Option<&SymbolInfo> {
        self.symbols.get(symbol)
    }

    /// All symbols in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&Symbol, &SymbolInfo)> {
        self.symbols.iter()
    }

    /// All stated relations.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// Whether no symbol is declared.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The value of `dim` at the symbols' likely values.
    pub fn likely(&self, dim: &Dim) -> Result<i64, DimError> {
        dim.eval(&|symbol| self.get(symbol).map(|info| info.likely))
    }

    /// Bounds of `dim` by interval arithmetic; `None` if a symbol is unknown or the bounds do not fit.
    pub fn range(&self, dim: &Dim) -> Option<Range> {
        let (min, max) = self.interval(dim)?;
        Some(Range { min: i64::try_from(min).ok()?, max: i64::try_from(max).ok()? })
    }

    /// Whether `lesser <= greater` is certain. `false` means unknown, not the contrary.
    pub fn prove_le(&self, lesser: &Dim, greater: &Dim) -> bool {
        let slack = greater.clone() - lesser.clone();
        let non_negative = |dim: &Dim| self.interval(dim).is_some_and(|(min, _)| min >= 0);
        non_negative(&slack)
            || self
                .facts
                .iter()
                .any(|fact| non_negative(&(slack.clone() - (fact.greater.clone() - fact.lesser.clone()))))
    }

    /// Whether the two are equal for all values. `false` means unknown.
    pub fn prove_eq(&self, a: &Dim, b: &Dim) -> bool {
        !a.is_invalid() && a == b
    }

    fn interval(&self, dim: &Dim) -> Option<(i128, i128)> {
        let poly = match &dim.0 {
            Repr::Const(value) => return Some((i128::from(*value), i128::from(*value))),
            Repr::Invalid => return None,
            Repr::Poly(poly) => poly,
        };
        let mut sum = (i128::from(poly.constant), i128::from(poly.constant));
        for term in &poly.terms {
            let mut product = (i128::from(term.coefficient), i128::from(term.coefficient));
            for atom in &term.atoms {
                product = multiply(product, self.atom_interval(atom)?)?;
            }
            sum = (sum.0.checked_add(product.0)?, sum.1.checked_add(product.1)?);
        }
        Some(sum)
    }

    fn atom_interval(&self, atom: &Atom) -> Option<(i128, i128)> {
        match atom {
            Atom::Symbol(symbol) => {
                let info = self.get(symbol)?;
                Some((i128::from(info.min), i128::from(info.max)))
            }
            Atom::FloorDiv(dim, k) => {
                let (min, max) = self.interval(dim)?;
                Some((min.div_euclid(i128::from(*k)), max.div_euclid(i128::from(*k))))
            }
            Atom::Mod(dim, k) => match self.interval(dim)? {
                (min, max) if min >= 0 && max < i128::from(*k) => Some((min, max)),
                _ => Some((0, i128::from(*k) - 1)),
            },
            Atom::Min(dims) | Atom::Max(dims) => {
                let is_max = matches!(atom, Atom::Max(_));
                let pick = |a: i128, b: i128| if is_max { a.max(b) } else { a.min(b) };
                let mut all = dims.iter().map(|dim| self.interval(dim));
                let first = all.next()??;
                all.try_fold(first, |(min, max), next| next.map(|(a, b)| (pick(min, a), pick(max, b))))
            }
        }
    }
}

fn multiply(a: (i128, i128), b: (i128, i128)) -> Option<(i128, i128)> {
    let corners =
        [a.0.checked_mul(b.0)?, a.0.checked_mul(b.1)?, a.1.checked_mul(b.0)?, a.1.checked_mul(b.1)?];
    Some((*corners.iter().min()?, *corners.iter().max()?))
}
