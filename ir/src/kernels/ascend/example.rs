//! A legal use of each declaration, and the illegal ones next to it: one step beyond each limit.

use std::collections::BTreeMap;

use super::call::Usage;
use super::decl::{AclnnDecl, Source, TensorOf, TensorSource};
use super::limit::{Bound, Limit};
use super::shape::{Names, Pattern};
use super::soc::Family;
use crate::attr::Attr;
use crate::ops::Op;
use crate::{DType, Dim, Symbol, SymbolTable, TensorType, text};

/// An op with types of constant shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The op.
    pub op: Op,
    /// Types of its operands.
    pub operands: Vec<TensorType>,
    /// Types of its results.
    pub results: Vec<TensorType>,
}

impl Instance {
    /// As the argument of [`AclnnDecl::bind`].
    pub fn usage<'a>(&'a self, symbols: &'a SymbolTable, family: Family) -> Usage<'a> {
        Usage { op: &self.op, operands: &self.operands, results: &self.results, symbols, family }
    }
}

impl AclnnDecl {
    /// The declaration's example with some sizes or integer attributes replaced; `None` where the op itself refuses
    /// it, or the family has no row of element types.
    pub fn example(&self, family: Family, replace: &[(&str, i64)]) -> Option<Instance> {
        let replaced = |name: &str| replace.iter().find(|(other, _)| *other == name).map(|(_, size)| *size);
        let (sizes, leading) = self.sizes(&replaced);
        let mut attrs = text::parse_attrs(&format!("{{{}}}", self.example.attrs)).ok()?;
        for (name, value) in &mut attrs {
            match (value, replaced(name)) {
                (value @ Attr::Int(_), Some(other)) => *value = Attr::Int(other),
                (value @ Attr::Bool(_), Some(other)) => *value = Attr::Bool(other != 0),
                _ => {}
            }
        }
        let op = self.op.with_attrs(&attrs).ok()?;
        let mut names = Names::default();
        for (name, size) in &sizes {
            names.set(name, &Dim::constant(*size)).ok()?;
        }
        for (name, value) in &attrs {
            if let Attr::Int(value) = value {
                names.set(name, &Dim::constant(*value)).ok()?;
            }
        }
        names.set_leading(&leading);
        let row = self.parsed.rows.iter().find(|(socs, _)| socs.has(family)).map(|(_, row)| row)?;
        let operands = self.operands(&names, row, &attrs)?;
        let results = op.infer(&operands).ok()?;
        Some(Instance { op, operands, results })
    }

    /// For each limit that holds on the family, the use that is one step beyond it.
    pub fn illegal(&self, family: Family) -> Vec<(&'static str, Option<Instance>)> {
        let limits = self.limits.iter().zip(&self.parsed.limits);
        let holding = limits.filter(|(_, (socs, _))| socs.has(family));
        holding.map(|(text, (_, limit))| (text.rule, self.beyond(family, limit))).collect()
    }

    fn sizes(&self, replaced: &dyn Fn(&str) -> Option<i64>) -> (BTreeMap<String, i64>, Vec<Dim>) {
        let mut leading = Vec::new();
        let mut sizes = BTreeMap::new();
        for part in self.example.sizes.split_whitespace() {
            let Some((name, size)) = part.split_once('=') else { continue };
            let Ok(size) = size.parse::<i64>() else { continue };
            if name == ".." {
                leading.push(Dim::constant(size));
            } else {
                sizes.insert(name.to_owned(), replaced(name).unwrap_or(size));
            }
        }
        (sizes, leading)
    }

    fn operands(
        &self,
        names: &Names,
        row: &[Option<DType>],
        attrs: &[(String, Attr)],
    ) -> Option<Vec<TensorType>> {
        let mut operands: BTreeMap<usize, TensorType> = BTreeMap::new();
        let mut cells = row.iter();
        for (at, arg) in self.args.iter().enumerate() {
            let pattern: Option<&Pattern> = self.parsed.shapes[at].as_ref().map(|(own, _)| own);
            match arg.source {
                Source::Tensor(source) => {
                    let cell = cells.next()?.unwrap_or(DType::F16);
                    if let (TensorOf::Operand(index) | TensorOf::InOut(index), Some(pattern)) =
                        (source.of, pattern)
                        && let Ok(shape) = pattern.shape(names)
                    {
                        operands.insert(index, operand_type(&source, cell, shape, attrs));
                    }
                }
                Source::Host { operand, .. } => {
                    let shape = pattern?.shape(names).ok()?;
                    operands.insert(operand, TensorType::new(DType::I32, shape));
                }
                _ => {}
            }
        }
        // Operands that the op may do without are left out from the first that has no sizes.
        (0..operands.len()).map(|index| operands.remove(&index)).collect()
    }

    /// Steps beyond a limit by the first name whose size decides it.
    fn beyond(&self, family: Family, limit: &Limit) -> Option<Instance> {
        let mut candidates: Vec<String> = Vec::new();
        let mut collect = |expr: &Dim| {
            expr.for_each_symbol(&mut |symbol: &Symbol| candidates.push(symbol.name().to_owned()));
        };
        collect(&limit.quantity);
        if let Bound::Most(other) | Bound::Least(other) | Bound::Equal(other) = &limit.bound {
            collect(other);
        }
        let symbols = SymbolTable::default();
        candidates.into_iter().find_map(|name| {
            let steps = self.steps(limit, &name);
            steps.into_iter().find_map(|size| {
                let instance = self.example(family, &[(&name, size)])?;
                let breaks = self.bind(instance.usage(&symbols, family)).is_err();
                breaks.then_some(instance)
            })
        })
    }

    /// Sizes of `name` that may lie just beyond the limit, the nearest first.
    fn steps(&self, limit: &Limit, name: &str) -> Vec<i64> {
        let mut known: BTreeMap<String, i64> = self.sizes(&|_| None).0;
        for (attr, value) in text::parse_attrs(&format!("{{{}}}", self.example.attrs)).unwrap_or_default() {
            if let Attr::Int(value) = value {
                known.insert(attr, value);
            }
        }
        let at = |expr: &Dim, size: i64| {
            expr.eval(&|symbol| {
                if symbol.name() == name { Some(size) } else { known.get(symbol.name()).copied() }
            })
            .ok()
        };
        let own = known.get(name).copied().unwrap_or(1);
        let breaks = |size: i64| {
            let value = at(&limit.quantity, size);
            let bound = |other: &Dim| value.zip(at(other, size));
            match &limit.bound {
                Bound::Most(other) => bound(other).is_some_and(|(value, most)| value > most),
                Bound::Least(other) => bound(other).is_some_and(|(value, least)| value < least),
                Bound::Equal(other) => bound(other).is_some_and(|(value, other)| value != other),
                Bound::MultipleOf(divisor) => value.is_some_and(|value| value % divisor != 0),
                Bound::OneOf(values) => value.is_some_and(|value| !values.contains(&value)),
            }
        };
        // Doubling finds a size beyond, halving the distance the first one.
        let mut sizes: Vec<i64> = (1..=64).flat_map(|step| [own + step, own - step]).collect();
        let mut far = own.max(1);
        while far < 1 << 40 && !breaks(far) {
            far *= 2;
        }
        if breaks(far) {
            let (mut inside, mut outside) = (far / 2, far);
            while outside - inside > 1 {
                let middle = inside + (outside - inside) / 2;
                if breaks(middle) { outside = middle } else { inside = middle }
            }
            sizes.insert(0, outside);
        }
        sizes.retain(|size| *size >= 0 && breaks(*size));
        sizes
    }
}

/// The op's type of an operand that the call sees so.
fn operand_type(
    source: &TensorSource,
    cell: DType,
    mut shape: Vec<Dim>,
    attrs: &[(String, Attr)],
) -> TensorType {
    let swapped = source
        .swapped_if
        .is_some_and(|attr| attrs.iter().any(|(name, value)| name == attr && *value == Attr::Bool(true)));
    let rank = shape.len();
    if swapped && rank >= 2 {
        shape.swap(rank - 2, rank - 1);
    }
    // What the call wants in i64, ops have in i32.
    let dtype = if source.cast.is_some() && cell == DType::I64 { DType::I32 } else { cell };
    TensorType::new(dtype, shape)
}
