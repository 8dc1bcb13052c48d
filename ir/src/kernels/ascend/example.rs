//! A legal use of each declaration, and the illegal ones next to it: one step beyond each limit.

use std::collections::BTreeMap;

use super::call::{STEP_SIZES, Usage};
use super::decl::{AclnnDecl, Only, Source, TensorOf, TensorSource};
use super::limit::{Bound, Limit};
use super::shape::{Names, Pattern};
use super::soc::Family;
use crate::attr::Attr;
use crate::ops::Op;
use crate::{DType, Dim, Symbol, SymbolInfo, SymbolTable, TensorType, text};

/// An op with types of constant shape.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The op.
    pub op: Op,
    /// Types of its operands.
    pub operands: Vec<TensorType>,
    /// Types of its results.
    pub results: Vec<TensorType>,
    /// Sizes of the step that limits name.
    pub symbols: SymbolTable,
}

impl Instance {
    /// As the argument of [`AclnnDecl::bind`].
    pub fn usage(&self, family: Family) -> Usage<'_> {
        let Instance { op, operands, results, symbols } = self;
        Usage { op, operands, results, symbols, family }
    }
}

impl AclnnDecl {
    /// The declaration's example with some sizes or integer attributes replaced; `None` where the op itself refuses
    /// it, or the family has no row of element types.
    pub fn example(&self, family: Family, replace: &[(&str, i64)]) -> Option<Instance> {
        self.example_with(family, replace, None)
    }

    fn example_with(&self, family: Family, replace: &[(&str, i64)], only: Option<&Only>) -> Option<Instance> {
        let replaced = |name: &str| replace.iter().find(|(other, _)| *other == name).map(|(_, size)| *size);
        let (sizes, rest) = self.sizes(&replaced);
        let mut attrs = text::parse_attrs(&format!("{{{}}}", self.example.attrs)).ok()?;
        for (name, value) in &mut attrs {
            match (value, replaced(name)) {
                (value @ Attr::Int(_), Some(other)) => *value = Attr::Int(other),
                (value @ Attr::Bool(_), Some(other)) => *value = Attr::Bool(other != 0),
                (Attr::Dims(dims), Some(other)) if dims.len() == 1 => dims[0] = Dim::constant(other),
                _ => {}
            }
        }
        if let Some(only) = only {
            attrs.retain(|(name, _)| name != only.attr);
            attrs.extend(text::parse_attrs(&format!("{{{}={}}}", only.attr, only.other)).ok()?);
        }
        let op = self.op.with_attrs(&attrs).ok()?;
        let mut names = Names::default();
        for (name, size) in &sizes {
            names.set(name, &Dim::constant(*size)).ok()?;
        }
        for (name, value) in &attrs {
            if let Some(value) = integer(value) {
                names.set(name, &Dim::constant(value)).ok()?;
            }
        }
        names.set_rest(&rest);
        let row = self.parsed.rows.iter().find(|(socs, _)| socs.has(family)).map(|(_, row)| row)?;
        let operands = self.operands(&names, row, &attrs)?;
        let results = op.infer(&operands).ok()?;
        let mut symbols = SymbolTable::default();
        for name in STEP_SIZES {
            if let Some(size) = sizes.get(*name) {
                symbols.declare(name, SymbolInfo { min: 1, max: *size, likely: *size });
            }
        }
        Some(Instance { op, operands, results, symbols })
    }

    /// For each limit that holds on the family, the use that is one step beyond it; for each attribute that must have
    /// one value, the use with another.
    pub fn illegal(&self, family: Family) -> Vec<(String, Option<Instance>)> {
        let limits = self.limits.iter().zip(&self.parsed.limits);
        let holding = limits.filter(|(_, (socs, _))| socs.has(family));
        let beyond =
            holding.map(|(text, (_, limit))| (text.rule.to_owned(), self.beyond(family, text.rule, limit)));
        let other = self.only.iter().map(|only| (only.rule(), self.example_with(family, &[], Some(only))));
        beyond.chain(other).collect()
    }

    /// Sizes of names in the example, and the axes that `..` stands for.
    fn sizes(&self, replaced: &dyn Fn(&str) -> Option<i64>) -> (BTreeMap<String, i64>, Vec<Dim>) {
        let mut rest = Vec::new();
        let mut sizes = BTreeMap::new();
        for part in self.example.sizes.split_whitespace() {
            let Some((name, size)) = part.split_once('=') else { continue };
            let Ok(size) = size.parse::<i64>() else { continue };
            if name == ".." {
                rest.push(Dim::constant(size));
            } else {
                sizes.insert(name.to_owned(), replaced(name).unwrap_or(size));
            }
        }
        if let Some(axes) = replaced("axes") {
            let named = self.num_named_in_open();
            rest.resize((axes.max(0) as usize).saturating_sub(named), Dim::ONE);
        }
        if let Some(lead) = replaced("lead") {
            rest = vec![Dim::constant(lead)];
        }
        (sizes, rest)
    }

    /// How many axes are named at most in a pattern that more axes match.
    fn num_named_in_open(&self) -> usize {
        let patterns = self.parsed.shapes.iter().flatten().map(|(own, _)| own);
        patterns.filter(|pattern| pattern.is_open()).map(Pattern::num_named).max().unwrap_or(0)
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
                    let Some(shape) = pattern.and_then(|pattern| pattern.shape(names).ok()) else { continue };
                    match source.of {
                        TensorOf::Operand(index) | TensorOf::InOut(index) => {
                            operands.insert(index, operand_type(&source, cell, shape, attrs));
                        }
                        TensorOf::All => {
                            for index in 0..2 {
                                operands.insert(index, operand_type(&source, cell, shape.clone(), attrs));
                            }
                        }
                        TensorOf::Result(_)
                        | TensorOf::Extra(_)
                        | TensorOf::ExtraLike(_)
                        | TensorOf::Constant(_) => {}
                    }
                }
                Source::Host { operand, .. } | Source::HostSums { operand, .. } => {
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
    fn beyond(&self, family: Family, rule: &str, limit: &Limit) -> Option<Instance> {
        let mut candidates: Vec<String> = Vec::new();
        let mut collect = |expr: &Dim| {
            expr.for_each_symbol(&mut |symbol: &Symbol| candidates.push(symbol.name().to_owned()));
        };
        collect(&limit.quantity);
        if let Bound::Most(other) | Bound::Least(other) | Bound::Equal(other) = &limit.bound {
            collect(other);
        }
        candidates.into_iter().find_map(|name| {
            let steps = self.steps(family, limit, &name);
            steps.into_iter().find_map(|size| {
                let instance = self.example(family, &[(&name, size)])?;
                let violations = self.bind(instance.usage(family)).err()?;
                violations.iter().any(|violation| violation.rule == rule).then_some(instance)
            })
        })
    }

    /// Sizes of `name` that may lie just beyond the limit, the nearest first.
    fn steps(&self, family: Family, limit: &Limit, name: &str) -> Vec<i64> {
        let (mut known, rest) = self.sizes(&|_| None);
        known.insert("axes".to_owned(), (rest.len() + self.num_named_in_open()) as i64);
        let lead = rest.iter().fold(Dim::ONE, |product, axis| product * axis.clone());
        known.insert("lead".to_owned(), lead.as_const().unwrap_or(1));
        let row = self.parsed.rows.iter().find(|(socs, _)| socs.has(family));
        if let Some(Some(dtype)) = row.and_then(|(_, row)| row.first()) {
            known.insert("bytes".to_owned(), i64::from(dtype.bits() / 8));
        }
        for (attr, value) in text::parse_attrs(&format!("{{{}}}", self.example.attrs)).unwrap_or_default() {
            if let Some(value) = integer(&value) {
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
            // What the op itself refuses there is passed over.
            sizes.splice(0..0, outside..outside + 64);
        }
        sizes.retain(|size| *size >= 0 && breaks(*size));
        sizes
    }
}

/// The number that an attribute is, for limits and sizes.
fn integer(value: &Attr) -> Option<i64> {
    match value {
        Attr::Int(value) => Some(*value),
        Attr::Bool(value) => Some(i64::from(*value)),
        Attr::Dims(dims) if dims.len() == 1 => dims[0].as_const(),
        Attr::Float(_) | Attr::Name(_) | Attr::Dims(_) | Attr::Floats(_) => None,
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
    if (source.turned || swapped) && rank >= 2 {
        shape.swap(rank - 2, rank - 1);
    }
    // What the call wants in i64, ops have in i32.
    let dtype = if source.cast.is_some() && cell == DType::I64 { DType::I32 } else { cell };
    TensorType::new(dtype, shape)
}
