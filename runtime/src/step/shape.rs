//! The shape stage: all sizes and offsets of a step as one program over its symbols.

use std::collections::HashMap;

use mscc_ir::dim::{DimError, DimExpr, Factor};
use mscc_ir::{Dim, Symbol, SymbolInfo};

#[cfg(feature = "jit")]
use super::jit::Native;

/// Position of a value in a [`Tape`].
pub type Slot = u32;

/// An instruction of a tape; slots point backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TapeOp {
    /// A number.
    Const(i64),
    /// Symbol number so much of the tape.
    Symbol(u32),
    /// Sum.
    Add(Slot, Slot),
    /// Product.
    Mul(Slot, Slot),
    /// `floor(a / k)`, k ≥ 2.
    FloorDiv(Slot, i64),
    /// `a - k * floor(a / k)`, k ≥ 2.
    Mod(Slot, i64),
    /// The lesser.
    Min(Slot, Slot),
    /// The greater.
    Max(Slot, Slot),
}

/// A straight-line program in which every common part of many dims is computed once.
///
/// Sums and products are taken in the order of [`Dim::eval`], so that both overflow alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    ops: Vec<TapeOp>,
    symbols: Vec<Symbol>,
}

/// Collects dims into a [`Tape`].
#[derive(Debug, Default)]
pub struct TapeBuilder {
    tape: Tape,
    ops: HashMap<TapeOp, Slot>,
    dims: HashMap<Dim, Slot>,
}

impl TapeBuilder {
    /// Where the value of `dim` will be.
    ///
    /// Errors: an invalid dim, or more instructions than can be numbered.
    pub fn slot(&mut self, dim: &Dim) -> Result<Slot, DimError> {
        if let Some(slot) = self.dims.get(dim) {
            return Ok(*slot);
        }
        let slot = match dim.expr() {
            DimExpr::Const(value) => self.push(TapeOp::Const(value))?,
            DimExpr::Sum { terms, constant } => {
                let mut sum = None;
                if constant != 0 {
                    sum = Some(self.push(TapeOp::Const(constant))?);
                }
                for (coefficient, factors) in &terms {
                    let term = self.term(*coefficient, factors)?;
                    sum = Some(match sum {
                        None => term,
                        Some(sum) => self.push(TapeOp::Add(sum, term))?,
                    });
                }
                sum.ok_or(DimError::Overflow)?
            }
            DimExpr::Invalid => return Err(DimError::Overflow),
        };
        self.dims.insert(dim.clone(), slot);
        Ok(slot)
    }

    /// The finished program.
    pub fn finish(self) -> Tape {
        self.tape
    }

    fn term(&mut self, coefficient: i64, factors: &[Factor<'_>]) -> Result<Slot, DimError> {
        let mut product = None;
        if coefficient != 1 {
            product = Some(self.push(TapeOp::Const(coefficient))?);
        }
        for factor in factors {
            let factor = self.factor(factor)?;
            product = Some(match product {
                None => factor,
                Some(product) => self.push(TapeOp::Mul(product, factor))?,
            });
        }
        product.ok_or(DimError::Overflow)
    }

    fn factor(&mut self, factor: &Factor<'_>) -> Result<Slot, DimError> {
        match factor {
            Factor::Symbol(symbol) => {
                let known = self.tape.symbols.iter().position(|other| other == *symbol);
                let index = known.unwrap_or_else(|| {
                    self.tape.symbols.push((*symbol).clone());
                    self.tape.symbols.len() - 1
                });
                self.push(TapeOp::Symbol(index as u32))
            }
            Factor::FloorDiv(dim, k) if *k >= 2 => {
                let dividend = self.slot(dim)?;
                self.push(TapeOp::FloorDiv(dividend, *k))
            }
            Factor::Mod(dim, k) if *k >= 2 => {
                let dividend = self.slot(dim)?;
                self.push(TapeOp::Mod(dividend, *k))
            }
            Factor::FloorDiv(..) | Factor::Mod(..) => Err(DimError::Overflow),
            Factor::Min(dims) => self.extremum(dims, TapeOp::Min),
            Factor::Max(dims) => self.extremum(dims, TapeOp::Max),
        }
    }

    fn extremum(&mut self, dims: &[Dim], op: fn(Slot, Slot) -> TapeOp) -> Result<Slot, DimError> {
        let mut best = None;
        for dim in dims {
            let slot = self.slot(dim)?;
            best = Some(match best {
                None => slot,
                Some(best) => self.push(op(best, slot))?,
            });
        }
        best.ok_or(DimError::Overflow)
    }

    fn push(&mut self, op: TapeOp) -> Result<Slot, DimError> {
        if let Some(slot) = self.ops.get(&op) {
            return Ok(*slot);
        }
        let slot = Slot::try_from(self.tape.ops.len()).map_err(|_| DimError::Overflow)?;
        self.tape.ops.push(op);
        self.ops.insert(op, slot);
        Ok(slot)
    }
}

impl Tape {
    /// Its instructions; each one's value has its position as slot.
    pub fn ops(&self) -> &[TapeOp] {
        &self.ops
    }

    /// The symbols it uses, in the order in which it takes their values.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// Computes all values, in place of those that `values` held.
    ///
    /// Errors: a value that does not fit 64 bits; a symbol without a value.
    pub fn evaluate(&self, symbols: &[i64], values: &mut Vec<i64>) -> Result<(), DimError> {
        values.clear();
        for op in &self.ops {
            let at = |slot: Slot| values[slot as usize];
            let value = match *op {
                TapeOp::Const(value) => Some(value),
                TapeOp::Symbol(index) => {
                    let value = symbols.get(index as usize).copied();
                    Some(value.ok_or_else(|| DimError::Unbound(self.symbols[index as usize].clone()))?)
                }
                TapeOp::Add(a, b) => at(a).checked_add(at(b)),
                TapeOp::Mul(a, b) => at(a).checked_mul(at(b)),
                TapeOp::FloorDiv(a, k) => Some(at(a).div_euclid(k)),
                TapeOp::Mod(a, k) => Some(at(a).rem_euclid(k)),
                TapeOp::Min(a, b) => Some(at(a).min(at(b))),
                TapeOp::Max(a, b) => Some(at(a).max(at(b))),
            };
            values.push(value.ok_or(DimError::Overflow)?);
        }
        Ok(())
    }
}

/// A tape that is run only when a symbol that it uses has changed; as native code where that is possible.
pub struct ShapeProgram {
    tape: Tape,
    #[cfg(feature = "jit")]
    native: Option<Native>,
    /// For each symbol of the tape, its position among the step's sizes.
    sources: Vec<usize>,
    /// The symbols' values of the last run.
    symbols: Vec<i64>,
    values: Vec<i64>,
    current: bool,
    evaluations: u64,
}

impl ShapeProgram {
    /// A program for `tape`, whose symbols stand at the positions that `source` gives, within the bounds that go
    /// with them; as native code if `native` and where that is possible.
    ///
    /// Errors: the first symbol that `source` does not know.
    pub fn new(
        tape: Tape,
        source: impl Fn(&Symbol) -> Option<(usize, SymbolInfo)>,
        native: bool,
    ) -> Result<ShapeProgram, DimError> {
        #[cfg(not(feature = "jit"))]
        let _ = native;
        let mut sources = Vec::new();
        let mut bounds = Vec::new();
        for symbol in tape.symbols() {
            let (index, info) = source(symbol).ok_or_else(|| DimError::Unbound(symbol.clone()))?;
            sources.push(index);
            bounds.push(info);
        }
        Ok(ShapeProgram {
            #[cfg(feature = "jit")]
            native: if native { Native::compile(&tape, &bounds) } else { None },
            symbols: vec![0; sources.len()],
            sources,
            values: Vec::with_capacity(tape.ops().len()),
            tape,
            current: false,
            evaluations: 0,
        })
    }

    /// Brings the values up to date with the step's sizes; whether any symbol that counts has changed.
    ///
    /// Errors: a value that does not fit 64 bits.
    pub fn update(&mut self, sizes: &[i64]) -> Result<bool, DimError> {
        let pairs = self.sources.iter().zip(&self.symbols);
        if self.current && pairs.into_iter().all(|(source, value)| sizes.get(*source) == Some(value)) {
            return Ok(false);
        }
        self.current = false;
        for (value, (source, symbol)) in
            self.symbols.iter_mut().zip(self.sources.iter().zip(self.tape.symbols()))
        {
            *value = *sizes.get(*source).ok_or_else(|| DimError::Unbound(symbol.clone()))?;
        }
        self.evaluations += 1;
        if !self.run_native() {
            self.tape.evaluate(&self.symbols, &mut self.values)?;
        }
        self.current = true;
        Ok(true)
    }

    /// The value in a slot; `None` before the first update, or if it is negative or does not fit a size.
    pub fn size(&self, slot: Slot) -> Option<usize> {
        self.value(slot).and_then(|value| usize::try_from(value).ok())
    }

    /// The value in a slot; `None` before the first update.
    pub fn value(&self, slot: Slot) -> Option<i64> {
        self.values.get(slot as usize).copied()
    }

    /// How often the values have been computed.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    #[cfg(feature = "jit")]
    fn run_native(&mut self) -> bool {
        self.values.resize(self.tape.ops().len(), 0);
        self.native.as_ref().is_some_and(|native| native.run(&self.symbols, &mut self.values))
    }

    #[cfg(not(feature = "jit"))]
    fn run_native(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(symbol: &Symbol) -> Option<(usize, SymbolInfo)> {
        let info = SymbolInfo { min: 0, max: 1 << 20, likely: 1 };
        ["T", "B", "C"].iter().position(|name| *name == symbol.name()).map(|index| (index, info))
    }

    #[test]
    fn common_parts_are_computed_once() {
        let mut builder = TapeBuilder::default();
        let rows = builder.slot(&"128*T".parse().unwrap()).unwrap();
        assert_eq!(builder.slot(&"128*T".parse().unwrap()), Ok(rows));
        let before = builder.tape.ops.len();
        builder.slot(&"128*T + 64".parse().unwrap()).unwrap();
        assert_eq!(builder.tape.ops.len(), before + 2, "the constant and the sum");
        assert_eq!(builder.slot(&Dim::INVALID), Err(DimError::Overflow));
    }

    #[test]
    fn runs_only_when_a_used_symbol_changes() {
        let mut builder = TapeBuilder::default();
        let slot = builder.slot(&"3*T + B".parse().unwrap()).unwrap();
        let mut program = ShapeProgram::new(builder.finish(), source, true).unwrap();
        assert_eq!(program.update(&[2, 5, 100]), Ok(true));
        assert_eq!(program.value(slot), Some(11));
        assert_eq!(program.update(&[2, 5, 101]), Ok(false), "C is not used");
        assert_eq!(program.update(&[3, 5, 101]), Ok(true));
        assert_eq!((program.size(slot), program.evaluations()), (Some(14), 2));
    }

    #[test]
    fn unknown_symbols_and_overflow_are_errors() {
        let mut builder = TapeBuilder::default();
        builder.slot(&"X".parse().unwrap()).unwrap();
        assert!(matches!(ShapeProgram::new(builder.finish(), source, true), Err(DimError::Unbound(_))));
        let mut builder = TapeBuilder::default();
        let slot = builder.slot(&"T*T*T*T".parse().unwrap()).unwrap();
        let mut program = ShapeProgram::new(builder.finish(), source, true).unwrap();
        assert_eq!(program.update(&[1 << 20, 0, 0]), Err(DimError::Overflow));
        assert_eq!(program.update(&[1 << 10, 0, 0]), Ok(true), "a failed update is not remembered");
        assert_eq!(program.value(slot), Some(1 << 40));
    }
}
