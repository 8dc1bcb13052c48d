//! Sums and products.

use std::collections::BTreeMap;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

use super::{Atom, Dim, MAX_TERMS, Poly, Repr, Term};

/// Collects terms into a canonical sum.
#[derive(Default)]
pub(super) struct Sum {
    terms: BTreeMap<Vec<Atom>, i64>,
    constant: i64,
    invalid: bool,
}

impl Sum {
    pub(super) fn add_constant(&mut self, value: i64) {
        match self.constant.checked_add(value) {
            Some(sum) => self.constant = sum,
            None => self.invalid = true,
        }
    }

    pub(super) fn add_term(&mut self, mut atoms: Vec<Atom>, coefficient: i64) {
        if atoms.is_empty() {
            return self.add_constant(coefficient);
        }
        atoms.sort();
        let entry = self.terms.entry(atoms).or_insert(0);
        match entry.checked_add(coefficient) {
            Some(sum) => *entry = sum,
            None => self.invalid = true,
        }
    }

    fn add_dim(&mut self, dim: &Dim, factor: i64) {
        match &dim.0 {
            Repr::Invalid => self.invalid = true,
            Repr::Const(value) => match value.checked_mul(factor) {
                Some(value) => self.add_constant(value),
                None => self.invalid = true,
            },
            Repr::Poly(poly) => {
                for term in &poly.terms {
                    match term.coefficient.checked_mul(factor) {
                        Some(coefficient) => self.add_term(term.atoms.clone(), coefficient),
                        None => self.invalid = true,
                    }
                }
                match poly.constant.checked_mul(factor) {
                    Some(value) => self.add_constant(value),
                    None => self.invalid = true,
                }
            }
        }
    }

    pub(super) fn finish(self) -> Dim {
        let terms: Vec<Term> = self
            .terms
            .into_iter()
            .filter(|(_, coefficient)| *coefficient != 0)
            .map(|(atoms, coefficient)| Term { atoms, coefficient })
            .collect();
        if self.invalid {
            Dim::INVALID
        } else if terms.is_empty() {
            Dim::constant(self.constant)
        } else {
            Poly::checked(terms, self.constant)
        }
    }
}

impl Add for Dim {
    type Output = Dim;

    fn add(self, other: Dim) -> Dim {
        let mut sum = Sum::default();
        sum.add_dim(&self, 1);
        sum.add_dim(&other, 1);
        sum.finish()
    }
}

impl Sub for Dim {
    type Output = Dim;

    fn sub(self, other: Dim) -> Dim {
        let mut sum = Sum::default();
        sum.add_dim(&self, 1);
        sum.add_dim(&other, -1);
        sum.finish()
    }
}

impl Neg for Dim {
    type Output = Dim;

    fn neg(self) -> Dim {
        Dim::ZERO - self
    }
}

impl Mul for Dim {
    type Output = Dim;

    fn mul(self, other: Dim) -> Dim {
        let mut sum = Sum::default();
        match (&self.0, &other.0) {
            (Repr::Invalid, _) | (_, Repr::Invalid) => return Dim::INVALID,
            (Repr::Const(factor), _) => sum.add_dim(&other, *factor),
            (_, Repr::Const(factor)) => sum.add_dim(&self, *factor),
            (Repr::Poly(left), Repr::Poly(right)) => {
                if left.terms.len().saturating_mul(right.terms.len()) > MAX_TERMS {
                    return Dim::INVALID;
                }
                for a in &left.terms {
                    for b in &right.terms {
                        let atoms = a.atoms.iter().chain(&b.atoms).cloned().collect();
                        match a.coefficient.checked_mul(b.coefficient) {
                            Some(coefficient) => sum.add_term(atoms, coefficient),
                            None => return Dim::INVALID,
                        }
                    }
                }
                let mut scaled = |poly: &Poly, factor: i64| {
                    sum.add_dim(&Dim(Repr::Poly(Arc::new(Poly { constant: 0, ..poly.clone() }))), factor);
                };
                scaled(left, right.constant);
                scaled(right, left.constant);
                match left.constant.checked_mul(right.constant) {
                    Some(value) => sum.add_constant(value),
                    None => return Dim::INVALID,
                }
            }
        }
        sum.finish()
    }
}

impl Dim {
    /// The product of all.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::ONE, |product, dim| product * dim.clone())
    }
}
