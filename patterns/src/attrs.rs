//! Values that attributes may take.

use std::collections::BTreeMap;

use mscc_ir::attr::{Attr, AttrError, Float};
use mscc_ir::ops::{Example, OpKind};
use mscc_ir::{DType, Dim};

use crate::rule::AttrTerm;

/// Values of every kind, for trying what an attribute takes.
pub(crate) fn pool() -> Vec<Attr> {
    let floats = [1e-6, 1e-5, 0.01, 0.5, 2.0].map(|value| Attr::Float(Float(value)));
    let lists = [vec![0], vec![1], vec![1, 2], vec![0, 1]];
    let dims = lists.map(|list| Attr::Dims(list.into_iter().map(|size: i64| Dim::from(size)).collect()));
    [true, false]
        .map(Attr::Bool)
        .into_iter()
        .chain([0, 1, 2, -1, -2, 16].map(Attr::Int))
        .chain(floats)
        .chain(DType::ALL.map(|dtype| Attr::Name(dtype.name().to_owned())))
        .chain(dims)
        .collect()
}

/// Values that the attributes of `op` take in examples of it, by name.
pub(crate) fn examples(op: OpKind) -> BTreeMap<&'static str, Vec<Attr>> {
    let mut values: BTreeMap<&'static str, Vec<Attr>> = BTreeMap::new();
    for (name, value) in (0..EXAMPLES).flat_map(|seed| Example::random(op, seed).op.attrs()) {
        let known = values.entry(name).or_default();
        if !known.contains(&value) {
            known.push(value);
        }
    }
    values
}

/// How many examples of an op are looked at.
const EXAMPLES: u64 = 32;

/// Whether `op` takes these attributes for some values of the variables among them.
pub(crate) fn check(op: OpKind, terms: &[(String, AttrTerm)]) -> Result<(), AttrError> {
    let (pool, examples) = (pool(), examples(op));
    let lists = |attr: &Attr| matches!(attr, Attr::Dims(_));
    let tried: Vec<Vec<&Attr>> = terms
        .iter()
        .map(|(name, term)| match term {
            AttrTerm::Value(value) => vec![value],
            AttrTerm::Var(_) => {
                let own = examples.get(name.as_str()).into_iter().flatten();
                own.chain(&pool).collect()
            }
            AttrTerm::Sizes(..) | AttrTerm::Axes(_) => pool.iter().filter(|attr| lists(attr)).collect(),
            AttrTerm::DType(_) => pool.iter().filter(|attr| matches!(attr, Attr::Name(_))).collect(),
            AttrTerm::Reciprocal(_) => pool.iter().filter(|attr| matches!(attr, Attr::Float(_))).collect(),
        })
        .collect();
    let mut at = vec![0; terms.len()];
    loop {
        let attrs: Vec<(String, Attr)> = terms
            .iter()
            .enumerate()
            .map(|(nth, (name, _))| (name.clone(), tried[nth][at[nth]].clone()))
            .collect();
        let error = match op.with_attrs(&attrs) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // An op reads its attributes one by one, so each can be settled before the next.
        let AttrError::Bad { name, .. } = &error else { return Err(error) };
        match terms.iter().position(|(term, _)| term == name) {
            Some(nth) if at[nth] + 1 < tried[nth].len() => at[nth] += 1,
            _ => return Err(error),
        }
    }
}
