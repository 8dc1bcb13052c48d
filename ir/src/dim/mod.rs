//! Symbolic dims: integer expressions in canonical form.
//!
//! A [`Dim`] is a sum of integer multiples of products of *atoms* plus a constant. An atom is a symbol or
//! a floor division, remainder, minimum or maximum of dims. The form is canonical at construction, so
//! equality, order and hash are those of the content, and two dims are equal exactly when their forms are.
//!
//! Arithmetic never panics: what does not fit (64 bits, [`MAX_TERMS`] terms, [`MAX_ATOMS`] atoms, [`MAX_DEPTH`])
//! becomes [`Dim::INVALID`], which absorbs everything and which the verifier refuses.

mod bounds;
mod divide;
mod expr;
mod extremum;
mod sum;
mod symbol;
mod text;

use std::sync::Arc;

pub use bounds::{Fact, Range, SymbolInfo, SymbolTable};
pub use expr::{DimExpr, Factor};
pub use symbol::Symbol;
pub use text::ParseDimError;
pub(crate) use text::parse_dim_at;

/// Most terms that a dim may have; more make it invalid, so that hostile text cannot make it explode.
pub const MAX_TERMS: usize = 256;
/// Most atoms that a dim may have, nested ones included: subexpressions are shared in memory, but comparing and
/// printing walk through all of them.
pub const MAX_ATOMS: u32 = 4096;
/// Deepest nesting of floor divisions, remainders, minima and maxima.
pub const MAX_DEPTH: u32 = 16;

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
