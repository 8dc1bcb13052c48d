//! Division and remainder.

use super::sum::Sum;
use super::{Atom, Dim, MAX_DEPTH, Poly, Repr, Term};

impl Dim {
    /// `floor(self / divisor)`; invalid unless `divisor` > 0.
    pub fn floor_div(&self, divisor: i64) -> Dim {
        match (&self.0, divisor) {
            (_, ..=0) | (Repr::Invalid, _) => Dim::INVALID,
            (_, 1) => self.clone(),
            (Repr::Const(value), _) => Dim::constant(value.div_euclid(divisor)),
            (Repr::Poly(poly), _) => poly.floor_div(divisor),
        }
    }

    /// `self` mod `divisor`, never negative; invalid unless `divisor` > 0.
    pub fn modulo(&self, divisor: i64) -> Dim {
        match (&self.0, divisor) {
            (_, ..=0) | (Repr::Invalid, _) => Dim::INVALID,
            (_, 1) => Dim::ZERO,
            (Repr::Const(value), _) => Dim::constant(value.rem_euclid(divisor)),
            (Repr::Poly(poly), _) => {
                let (_, rest) = poly.split_multiples(divisor);
                match rest.as_const() {
                    Some(value) => Dim::constant(value.rem_euclid(divisor)),
                    None if rest.depth() >= MAX_DEPTH => Dim::INVALID,
                    None => Dim::from_atom(Atom::Mod(rest, divisor)),
                }
            }
        }
    }

    /// `ceil(self / divisor)`; invalid unless `divisor` > 0.
    pub fn ceil_div(&self, divisor: i64) -> Dim {
        if divisor <= 0 {
            return Dim::INVALID;
        }
        (self.clone() + Dim::constant(divisor - 1)).floor_div(divisor)
    }

    /// The least multiple of `multiple` that is not below `self`.
    pub fn round_up(&self, multiple: i64) -> Dim {
        self.ceil_div(multiple) * Dim::constant(multiple)
    }

    /// `self / divisor` if the division leaves no rest for any value of the symbols.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        if let Some(k) = divisor.as_const() {
            if k <= 0 {
                return None;
            }
            return match &self.0 {
                Repr::Const(value) => (value % k == 0).then(|| Dim::constant(value / k)),
                Repr::Poly(poly) => {
                    let (multiples, rest) = poly.split_multiples(k);
                    (rest == Dim::ZERO).then_some(multiples)
                }
                Repr::Invalid => None,
            };
        }
        self.divide_by_term(divisor)
    }

    /// Division by a dim of a single term, such as `T` or `2*T`, term by term.
    fn divide_by_term(&self, divisor: &Dim) -> Option<Dim> {
        let (Repr::Poly(divisor), Repr::Poly(dividend)) = (&divisor.0, &self.0) else {
            return (self.as_const() == Some(0) && !divisor.is_invalid()).then_some(Dim::ZERO);
        };
        let [by] = divisor.terms.as_slice() else { return (divisor == dividend).then_some(Dim::ONE) };
        if divisor.constant != 0 || dividend.constant != 0 {
            return (divisor == dividend).then_some(Dim::ONE);
        }
        let mut sum = Sum::default();
        for term in &dividend.terms {
            if term.coefficient.checked_rem(by.coefficient)? != 0 {
                return None;
            }
            let mut atoms = term.atoms.clone();
            for atom in &by.atoms {
                let at = atoms.iter().position(|other| other == atom)?;
                atoms.remove(at);
            }
            sum.add_term(atoms, term.coefficient.checked_div(by.coefficient)?);
        }
        Some(sum.finish())
    }
}

impl Poly {
    /// `(q, r)` with `self = k*q + r`, where `r` holds the terms and the part of the constant that are no
    /// multiples of `k`; the constant of `r` lies in `0..k`.
    fn split_multiples(&self, k: i64) -> (Dim, Dim) {
        let (mut multiples, mut rest) = (Sum::default(), Sum::default());
        for term in &self.terms {
            if term.coefficient % k == 0 {
                multiples.add_term(term.atoms.clone(), term.coefficient / k);
            } else {
                rest.add_term(term.atoms.clone(), term.coefficient);
            }
        }
        multiples.add_constant(self.constant.div_euclid(k));
        rest.add_constant(self.constant.rem_euclid(k));
        (multiples.finish(), rest.finish())
    }

    fn floor_div(&self, k: i64) -> Dim {
        let (multiples, rest) = self.split_multiples(k);
        multiples + floor_div_rest(rest, k)
    }
}

/// `floor(rest / k)` where no term of `rest` is a multiple of `k`.
fn floor_div_rest(rest: Dim, k: i64) -> Dim {
    let Repr::Poly(poly) = &rest.0 else {
        return rest.as_const().map_or(Dim::INVALID, |value| Dim::constant(value.div_euclid(k)));
    };
    // floor(floor(a / i) / k) = floor(a / (i * k)), the nested division being all there is.
    if let ([Term { atoms, coefficient: 1 }], 0) = (poly.terms.as_slice(), poly.constant)
        && let [Atom::FloorDiv(inner, i)] = atoms.as_slice()
        && let Some(product) = i.checked_mul(k)
    {
        return inner.floor_div(product);
    }
    // Common factors cancel: floor((a*g + c) / (k*g)) = floor((a + floor(c / g)) / k).
    let common = poly.terms.iter().fold(k, |common, term| gcd(common, term.coefficient));
    if common > 1 {
        let mut reduced = Sum::default();
        for term in &poly.terms {
            reduced.add_term(term.atoms.clone(), term.coefficient / common);
        }
        reduced.add_constant(poly.constant.div_euclid(common));
        return reduced.finish().floor_div(k / common);
    }
    if rest.depth() >= MAX_DEPTH {
        return Dim::INVALID;
    }
    Dim::from_atom(Atom::FloorDiv(rest, k))
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
}
