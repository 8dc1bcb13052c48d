//! Least and greatest.

use super::{Atom, Dim, MAX_DEPTH, MAX_TERMS, Repr, Term};

impl Dim {
    /// The least of `dims`; invalid if there are none.
    pub fn min(dims: impl IntoIterator<Item = Dim>) -> Dim {
        extremum(dims, false)
    }

    /// The greatest of `dims`; invalid if there are none.
    pub fn max(dims: impl IntoIterator<Item = Dim>) -> Dim {
        extremum(dims, true)
    }
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
