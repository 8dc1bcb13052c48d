//! Random instances of rules: types, sizes and attribute values inside what a rule gives, and next to it.

use std::collections::BTreeMap;

use mscc_ir::attr::{Attr, AttrError};
use mscc_ir::ops::OpKind;
use mscc_ir::reference::Sampler;
use mscc_ir::{DType, Dim, Symbol, TensorType};

use crate::attrs;
use crate::instantiate::Assignment;
use crate::rule::{AttrTerm, Axis, DTypeClass, Given, Rule, Shape, bare_name};

/// Values of the symbols of an instance.
pub(crate) type Sizes = BTreeMap<Symbol, i64>;

/// Random combinations of attribute values that are tried for one op.
const ATTR_TRIES: usize = 300;

/// Types for the operands of `rule`, all as given, and sizes of the symbols in them.
///
/// The first three of four `round`s take sizes of 1, primes, and no multiples of 16; where later `attempt`s
/// show that a round's sizes do not suit the rule, others join in.
pub(crate) fn types(rule: &Rule, sampler: &mut Sampler, round: u32, attempt: u32) -> (Assignment, Sizes) {
    let late = attempt >= 60;
    let pool: &[i64] = match (round % 4, late) {
        (0, false) => &[1],
        (0, true) => &[1, 1, 2, 5],
        (1, _) => &[2, 3, 5, 7, 13],
        (2, _) => &[18, 5, 33, 6],
        _ => &[1, 2, 3, 7, 13, 16, 18, 33],
    };
    // All sizes symbols in some rounds and none in others, as equal numbers hide what symbols tell apart.
    let symbolic = [100, 60, 30, 0][(round / 4 + attempt / 60) as usize % 4];
    let mut draw = Draw { sampler, pool, symbolic, sizes: Sizes::new(), axes: BTreeMap::new() };
    let deepest = if rule.given.iter().all(|given| given.axes.is_empty()) { 5 } else { 3 };
    let rank = if late { draw.sampler.below(deepest) } else { u64::from(round) % deepest };
    let leading: Vec<Dim> = (0..rank).map(|axis| draw.size(&format!("leading_{axis}"), true)).collect();
    let siblings = match rule.shape {
        Shape::Siblings { .. } => 2 + draw.sampler.below(4) as usize,
        Shape::Tree => 1,
    };
    let base = draw.dtype(DTypeClass::Any);
    let mut types = BTreeMap::new();
    for given in &rule.given {
        let star = rule.is_star(&given.var);
        let own = draw.like(base, given.dtype, 70);
        let all = (0..if star { siblings } else { 1 })
            .map(|nth| {
                let dtype = draw.like(own, given.dtype, 95);
                TensorType::new(dtype, draw.shape(rule, given, nth, &leading))
            })
            .collect();
        types.insert(given.var.clone(), all);
    }
    let mut axes = BTreeMap::new();
    for list in rule.matched_lists() {
        for size in list {
            size.for_each_symbol(&mut |name| {
                axes.insert(name.name().to_owned(), draw.size(name.name(), false));
            });
        }
    }
    (Assignment { types, axes, ..Assignment::default() }, draw.sizes)
}

struct Draw<'a> {
    sampler: &'a mut Sampler,
    pool: &'a [i64],
    /// Axes in a hundred that are symbols.
    symbolic: u64,
    sizes: Sizes,
    axes: BTreeMap<String, Dim>,
}

impl Draw<'_> {
    fn size(&mut self, name: &str, small: bool) -> Dim {
        if let Some(size) = self.axes.get(name) {
            return size.clone();
        }
        let drawn = self.sampler.pick(self.pool).copied().unwrap_or(1);
        let value = if small { 1 + (drawn - 1) % 7 } else { drawn };
        let dim = if self.sampler.below(100) < self.symbolic {
            self.sizes.insert(Symbol::new(name), value);
            Dim::symbol(name)
        } else {
            Dim::constant(value)
        };
        self.axes.insert(name.to_owned(), dim.clone());
        dim
    }

    fn shape(&mut self, rule: &Rule, given: &Given, nth: usize, leading: &[Dim]) -> Vec<Dim> {
        let mut shape = if given.leading { leading.to_vec() } else { Vec::new() };
        for (axis, wanted) in given.axes.iter().enumerate() {
            shape.push(match wanted {
                Axis::Any => match self.axes.values().cloned().collect::<Vec<_>>() {
                    known if self.sampler.below(2) == 0 && !known.is_empty() => {
                        known[self.sampler.below(known.len() as u64) as usize].clone()
                    }
                    _ => self.size(&format!("{}_{axis}", given.var), false),
                },
                Axis::Size(size) => match bare_name(size) {
                    Some(name) if rule.is_per_sibling(name.name()) => {
                        self.size(&format!("{name}_{nth}"), false)
                    }
                    Some(_) | None => self.computed(size),
                },
            });
        }
        shape
    }

    /// A size by names, each drawn.
    fn computed(&mut self, size: &Dim) -> Dim {
        let mut names = Vec::new();
        size.for_each_symbol(&mut |name| names.push(name.clone()));
        let drawn: Vec<(Symbol, Dim)> =
            names.into_iter().map(|name| (name.clone(), self.size(name.name(), false))).collect();
        size.substitute(&|name| drawn.iter().find(|(other, _)| other == name).map(|(_, size)| size.clone()))
    }

    fn dtype(&mut self, class: DTypeClass) -> DType {
        let common = [DType::F32, DType::BF16, DType::F16];
        match self.sampler.below(3) {
            0 | 1 if class != DTypeClass::Int => self.sampler.pick(&common).copied().unwrap_or(DType::F32),
            // The integers of a step.
            0 | 1 => DType::I32,
            _ => loop {
                if let Some(dtype) = self.sampler.pick(&DType::ALL).filter(|dtype| class.holds(**dtype)) {
                    break *dtype;
                }
            },
        }
    }

    /// `other` in `percent` of cases, if the class holds it.
    fn like(&mut self, other: DType, class: DTypeClass, percent: u64) -> DType {
        let take = self.sampler.below(100) < percent && class.holds(other);
        if take { other } else { self.dtype(class) }
    }
}

/// An assignment that differs from `assignment` in one type, origin or attribute value.
pub(crate) fn neighbour(assignment: &Assignment, sampler: &mut Sampler) -> Assignment {
    let mut other = assignment.clone();
    let vars: Vec<String> = assignment.types.keys().cloned().collect();
    let Some(var) = sampler.pick(&vars) else { return other };
    let kind = sampler.below(6);
    if kind == 0 {
        other.activations.push(var.clone());
        return other;
    }
    if kind == 1 && !assignment.axes.is_empty() && sampler.below(2) == 0 {
        let names: Vec<&String> = assignment.axes.keys().collect();
        if let Some(name) = sampler.pick(&names) {
            other.axes.insert((*name).clone(), Dim::constant(1 + sampler.below(40) as i64));
        }
        return other;
    }
    if kind == 1 && !assignment.attrs.is_empty() {
        let names: Vec<&String> = assignment.attrs.keys().collect();
        let types: Vec<TensorType> = assignment.types[var].clone();
        let values = candidates(&types, sampler);
        if let (Some(name), Some(value)) = (sampler.pick(&names), sampler.pick(&values)) {
            other.attrs.insert((*name).clone(), value.clone());
        }
        return other;
    }
    let Some(types) = other.types.get_mut(var) else { return other };
    let nth = sampler.below(types.len() as u64) as usize;
    let ty = &mut types[nth];
    let axis = sampler.below(ty.rank() as u64) as usize;
    match kind {
        2 => ty.shape.insert(0, Dim::from(2u32)),
        3 if axis < ty.rank() => {
            ty.shape.remove(axis);
        }
        4 if axis < ty.rank() => ty.shape[axis] = Dim::constant(1 + sampler.below(40) as i64),
        _ => ty.dtype = sampler.pick(&DType::ALL).copied().unwrap_or(ty.dtype),
    }
    other
}

/// Random values for the variables among `terms` that are not `bound`, with which `op` takes `operands`; `None` if
/// none were found.
pub(crate) fn attrs(
    sampler: &mut Sampler,
    op: OpKind,
    terms: &[(String, AttrTerm)],
    operands: &[TensorType],
    bound: &BTreeMap<String, Attr>,
) -> Option<BTreeMap<String, Attr>> {
    let all = candidates(operands, sampler);
    let examples = attrs::examples(op);
    let mut pools: BTreeMap<&str, Vec<Attr>> = BTreeMap::new();
    for (name, term) in terms {
        if let AttrTerm::Var(var) = term
            && !bound.contains_key(var)
        {
            let own: &[Attr] = examples.get(name.as_str()).map_or(&[], Vec::as_slice);
            // Of other kinds than those of examples an attribute takes no value.
            let kinds: Vec<_> = own.iter().map(std::mem::discriminant).collect();
            let fits = |value: &&Attr| kinds.is_empty() || kinds.contains(&std::mem::discriminant(*value));
            pools.insert(var, all.iter().filter(fits).chain(own).cloned().collect());
        }
    }
    for _ in 0..ATTR_TRIES {
        let mut chosen: BTreeMap<String, Attr> = BTreeMap::new();
        for (var, pool) in &pools {
            chosen.insert((*var).to_owned(), sampler.pick(pool)?.clone());
        }
        let mut attrs = Vec::with_capacity(terms.len());
        for (name, term) in terms {
            let value = match term {
                AttrTerm::Value(value) => value,
                AttrTerm::Var(var) => bound.get(var).or_else(|| chosen.get(var))?,
                AttrTerm::Sizes(..) | AttrTerm::Axes(_) | AttrTerm::DType(_) | AttrTerm::Reciprocal(_) => {
                    return None;
                }
            };
            attrs.push((name.clone(), value.clone()));
        }
        match op.with_attrs(&attrs) {
            Ok(op) if op.infer(operands).is_ok() => return Some(chosen),
            Ok(_) => {}
            Err(AttrError::Bad { name, .. }) => {
                let term = terms.iter().find(|(term, _)| term == name).map(|(_, term)| term);
                let Some(AttrTerm::Var(var)) = term else { return None };
                let value = chosen.get(var)?;
                pools.get_mut(var.as_str())?.retain(|other| other != value);
            }
            Err(AttrError::Missing(_) | AttrError::Unknown { .. }) => return None,
        }
    }
    None
}

/// Values of all kinds, among them shapes, permutations and cuts that suit the operands.
fn candidates(operands: &[TensorType], sampler: &mut Sampler) -> Vec<Attr> {
    let mut lists: Vec<Vec<Dim>> = Vec::new();
    if let Some(ty) = operands.first() {
        let shape = &ty.shape;
        lists.push(shape.clone());
        lists.push(vec![ty.numel()]);
        lists.push(shape.iter().rev().cloned().collect());
        lists.push([Dim::ONE].iter().chain(shape).cloned().collect());
        lists.push(shape.iter().cloned().chain([Dim::ONE]).collect());
        if let [.., a, b] = shape.as_slice() {
            let joined = a.clone() * b.clone();
            lists.push(shape[..shape.len() - 2].iter().cloned().chain([joined]).collect());
        }
        for _ in 0..6 {
            let mut axes: Vec<Dim> = (0..shape.len()).map(Dim::from).collect();
            for at in 0..axes.len() {
                let with = at + sampler.below((axes.len() - at) as u64) as usize;
                axes.swap(at, with);
            }
            lists.push(axes);
        }
        for dim in shape {
            lists.push(vec![dim.clone()]);
            if let Some(size @ 2..) = dim.as_const() {
                let cut = 1 + sampler.below(size as u64 - 1) as i64;
                lists.push(vec![Dim::constant(cut), Dim::constant(size - cut)]);
                lists.push(vec![Dim::ONE, Dim::constant(size - 1)]);
                if size > cut + 1 {
                    lists.push(vec![Dim::constant(cut), Dim::ONE, Dim::constant(size - cut - 1)]);
                }
            }
        }
    }
    let mut all = attrs::pool();
    all.extend(lists.into_iter().map(Attr::Dims));
    all
}
