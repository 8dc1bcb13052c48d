//! Symbolic dims: integer expressions in canonical form.
//!
//! A [`Dim`] is a sum of integer multiples of products of *atoms* plus a constant. An atom is a symbol or
//! a floor division, remainder, minimum or maximum of dims. The form is canonical at construction, so
//! equality, order and hash are those of the content, and two dims are equal exactly when their forms are.
//!
//! Arithmetic never panics: what does not fit (64 bits, [`MAX_TERMS`] terms, [`MAX_ATOMS`] atoms, [`MAX_DEPTH`])
//! becomes [`Dim::INVALID`], which absorbs everything and which the verifier refuses.

mod bounds;
mod text;

use std::collections::BTreeMap;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use bounds::{Fact, Range, SymbolInfo, SymbolTable};
pub use text::ParseDimError;
pub(crate) use text::parse_dim_at;

/// Most terms that a dim may have; more make it invalid, so that hostile text cannot make it explode.
pub const MAX_TERMS: usize = 256;
/// Most atoms that a dim may have, nested ones included: subexpressions are shared in memory, but comparing and
/// printing walk through all of them.
pub const MAX_ATOMS: u32 = 4096;
/// Deepest nesting of floor divisions, remainders, minima and maxima.
pub const MAX_DEPTH: u32 = 16;

/// The name of a size that is known only when a step runs, such as `T`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// A symbol of this name.
    pub fn new(name: &str) -> Self {
        Symbol(Arc::from(name))
    }

    /// Whether the text form can say this name: letters, digits and `_`, no digit first.
    pub fn is_name(name: &str) -> bool {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        plain && name != "invalid" && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Symbol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for Symbol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A symbolic integer in canonical form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Const(i64),
    Poly(Arc<Poly>),
    Invalid,
}

/// A sum with at least one term.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Poly {
    /// Sorted by atoms, coefficients not zero.
    terms: Vec<Term>,
    constant: i64,
    /// Number of atoms, nested ones included; follows from the terms.
    num_atoms: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Term {
    /// Sorted, repeated for powers, never empty.
    atoms: Vec<Atom>,
    coefficient: i64,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Symbol),
    /// Divisor at least 2.
    FloorDiv(Dim, i64),
    /// Divisor at least 2.
    Mod(Dim, i64),
    /// Sorted, at least two different dims, at most one constant.
    Min(Vec<Dim>),
    /// As `Min`.
    Max(Vec<Dim>),
}

/// Why a dim has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DimError {
    /// A symbol without a value.
    #[error("symbol `{0}` has no value")]
    Unbound(Symbol),
    /// The value does not fit 64 bits, or the expression is too large.
    #[error("dim expression is too large or overflows")]
    Overflow,
}

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
    /// What overflowed or grew too large.
    pub const INVALID: Dim = Dim(Repr::Invalid);
    /// 0
    pub const ZERO: Dim = Dim(Repr::Const(0));
    /// 1
    pub const ONE: Dim = Dim(Repr::Const(1));

    /// A constant.
    pub const fn constant(value: i64) -> Self {
        Dim(Repr::Const(value))
    }

    /// The symbol of this name.
    pub fn symbol(name: &str) -> Self {
        Dim::from_atom(Atom::Symbol(Symbol::new(name)))
    }

    /// Its value, if it is a constant.
    pub fn as_const(&self) -> Option<i64> {
        match self.0 {
            Repr::Const(value) => Some(value),
            Repr::Poly(_) | Repr::Invalid => None,
        }
    }

    /// Whether it overflowed.
    pub fn is_invalid(&self) -> bool {
        matches!(self.0, Repr::Invalid)
    }

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

    /// The least of `dims`; invalid if there are none.
    pub fn min(dims: impl IntoIterator<Item = Dim>) -> Dim {
        extremum(dims, false)
    }

    /// The greatest of `dims`; invalid if there are none.
    pub fn max(dims: impl IntoIterator<Item = Dim>) -> Dim {
        extremum(dims, true)
    }

    /// The product of all.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::ONE, |product, dim| product * dim.clone())
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

    fn from_atom(atom: Atom) -> Dim {
        Poly::checked(vec![Term { atoms: vec![atom], coefficient: 1 }], 0)
    }

    fn num_atoms(&self) -> u32 {
        match &self.0 {
            Repr::Const(_) | Repr::Invalid => 0,
            Repr::Poly(poly) => poly.num_atoms,
        }
    }

    fn depth(&self) -> u32 {
        match &self.0 {
            Repr::Const(_) | Repr::Invalid => 0,
            Repr::Poly(poly) => {
                let atoms = poly.terms.iter().flat_map(|term| &term.atoms);
                atoms.map(Atom::depth).max().unwrap_or(0)
            }
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

    fn depth(&self) -> u32 {
        match self {
            Atom::Symbol(_) => 0,
            Atom::FloorDiv(dim, _) | Atom::Mod(dim, _) => 1 + dim.depth(),
            Atom::Min(dims) | Atom::Max(dims) => 1 + dims.iter().map(Dim::depth).max().unwrap_or(0),
        }
    }

    fn num_atoms(&self) -> u32 {
        match self {
            Atom::Symbol(_) => 1,
            Atom::FloorDiv(dim, _) | Atom::Mod(dim, _) => dim.num_atoms().saturating_add(1),
            Atom::Min(dims) | Atom::Max(dims) => {
                dims.iter().fold(1, |sum, dim| sum.saturating_add(dim.num_atoms()))
            }
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

impl Poly {
    /// The sum of canonical terms, of which there is at least one; invalid if it is too large.
    fn checked(terms: Vec<Term>, constant: i64) -> Dim {
        let atoms = terms.iter().flat_map(|term| &term.atoms);
        let num_atoms = atoms.fold(0u32, |sum, atom| sum.saturating_add(atom.num_atoms()));
        if terms.len() > MAX_TERMS || num_atoms > MAX_ATOMS {
            return Dim::INVALID;
        }
        Dim(Repr::Poly(Arc::new(Poly { terms, constant, num_atoms })))
    }

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

fn extremum(dims: impl IntoIterator<Item = Dim>, is_max: bool) -> Dim {
    let mut constant: Option<i64> = None;
    let mut others: Vec<Dim> = Vec::new();
    let mut pending: Vec<Dim> = dims.into_iter().collect();
    while let Some(dim) = pending.pop() {
        match &dim.0 {
            Repr::Invalid => return Dim::INVALID,
            Repr::Const(value) => {
                constant = Some(match constant {
                    None => *value,
                    Some(other) if is_max => other.max(*value),
                    Some(other) => other.min(*value),
                });
            }
            Repr::Poly(poly) => match (poly.terms.as_slice(), poly.constant) {
                ([Term { atoms, coefficient: 1 }], 0) => match atoms.as_slice() {
                    [Atom::Max(inner)] if is_max => pending.extend(inner.iter().cloned()),
                    [Atom::Min(inner)] if !is_max => pending.extend(inner.iter().cloned()),
                    _ => others.push(dim),
                },
                _ => others.push(dim),
            },
        }
    }
    others.sort();
    others.dedup();
    drop_dominated(&mut others, is_max);
    others.extend(constant.map(Dim::constant));
    match others.len() {
        0 => Dim::INVALID,
        1 => others.swap_remove(0),
        len if len > MAX_TERMS || others.iter().any(|dim| dim.depth() >= MAX_DEPTH) => Dim::INVALID,
        _ => {
            others.sort();
            Dim::from_atom(if is_max { Atom::Max(others) } else { Atom::Min(others) })
        }
    }
}

/// Drops dims that differ from another only by a constant that decides between them.
fn drop_dominated(dims: &mut Vec<Dim>, is_max: bool) {
    if dims.len() > 16 {
        return; // quadratic, and only a simplification: canonical all the same, as it depends on the set alone
    }
    let keep: Vec<bool> = dims
        .iter()
        .map(|dim| {
            !dims.iter().any(|other| {
                let difference = (other.clone() - dim.clone()).as_const();
                difference.is_some_and(|d| if is_max { d > 0 } else { d < 0 })
            })
        })
        .collect();
    let mut keep = keep.into_iter();
    dims.retain(|_| keep.next().unwrap_or(true));
}

/// Collects terms into a canonical sum.
#[derive(Default)]
struct Sum {
    terms: BTreeMap<Vec<Atom>, i64>,
    constant: i64,
    invalid: bool,
}

impl Sum {
    fn add_constant(&mut self, value: i64) {
        match self.constant.checked_add(value) {
            Some(sum) => self.constant = sum,
            None => self.invalid = true,
        }
    }

    fn add_term(&mut self, mut atoms: Vec<Atom>, coefficient: i64) {
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

    fn finish(self) -> Dim {
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

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Dim::constant(value)
    }
}

impl From<u32> for Dim {
    fn from(value: u32) -> Self {
        Dim::constant(i64::from(value))
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        i64::try_from(value).map_or(Dim::INVALID, Dim::constant)
    }
}

#[cfg(test)]
mod tests;
