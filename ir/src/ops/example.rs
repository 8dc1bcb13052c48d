//! Random uses of ops, on which whatever works for all ops is tested.

use super::{Op, OpKind, TypeError};
use crate::attr::Float;
use crate::graph::{Graph, Leaf, Value};
use crate::reference::Sampler;
use crate::{DType, Dim, Symbol, TensorType};

/// An op, operands that fit it, and sizes for their symbols.
#[derive(Clone, Debug)]
pub struct Example {
    /// The op.
    pub op: Op,
    /// Types of its operands.
    pub operands: Vec<TensorType>,
    sizes: Vec<(&'static str, i64)>,
}

impl Example {
    /// The symbols of examples, all in `0..=7`.
    pub const SYMBOLS: [&'static str; 6] = ["T", "B", "M", "P", "C", "A"];

    /// A use of this kind of op; the same seed gives the same.
    pub fn random(kind: OpKind, seed: u64) -> Self {
        let mut draw = Draw(Sampler::new(seed));
        let (op, operands) = kind.example(&mut draw);
        let sizes = Self::SYMBOLS.map(|name| (name, draw.size() as i64)).to_vec();
        Example { op, operands, sizes }
    }

    /// What a symbol stands for.
    pub fn size(&self, symbol: &Symbol) -> Option<i64> {
        self.sizes.iter().find(|(name, _)| *name == symbol.name()).map(|(_, size)| *size)
    }

    /// A type's shape as numbers; `None` if a dim has no value that is a size.
    pub fn shape(&self, ty: &TensorType) -> Option<Vec<usize>> {
        ty.shape.iter().map(|dim| dim.eval(&|symbol| self.size(symbol)).ok()?.try_into().ok()).collect()
    }

    /// A function that brings the operands in, as `x`, and computes the op, as `y`.
    pub fn graph(&self) -> Result<Graph, TypeError> {
        let mut graph = Graph::new(self.op.kind().name());
        let operands = self.operands.iter().enumerate();
        let leaves: Vec<Value> =
            operands.map(|(at, ty)| graph.leaf(Leaf::Input(format!("in.{at}")), "x", ty.clone())).collect();
        graph.op(self.op.clone(), &leaves, &["y"])?;
        Ok(graph)
    }
}

/// What examples are drawn from.
pub struct Draw(Sampler);

const FLOATS: [DType; 5] = [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3];

impl Draw {
    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// True or false.
    pub fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    /// One of `items`, which are not empty.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// A size in `0..=7`: mostly odd, at times 0.
    pub fn size(&mut self) -> usize {
        [1, 2, 3, 3, 5, 5, 7, 7, 4, 0][self.below(10)]
    }

    /// A size or one of the symbols `T` and `B`.
    pub fn dim(&mut self) -> Dim {
        match self.below(4) {
            0 => Dim::symbol("T"),
            1 => Dim::symbol("B"),
            _ => Dim::from(self.size()),
        }
    }

    /// Sizes of `least..=most` axes.
    pub fn shape(&mut self, least: usize, most: usize) -> Vec<Dim> {
        (0..least + self.below(most - least + 1)).map(|_| self.dim()).collect()
    }

    /// A float dtype.
    pub fn float(&mut self) -> DType {
        FLOATS[self.below(FLOATS.len())]
    }

    /// Any dtype.
    pub fn any(&mut self) -> DType {
        DType::ALL[self.below(DType::ALL.len())]
    }

    /// A number of at least 0.25.
    pub fn number(&mut self) -> Float {
        Float(0.25 + self.below(64) as f64 / 8.0)
    }

    /// An axis, counted from either end.
    pub fn axis(&mut self, axis: usize, rank: usize) -> i64 {
        if self.flip() { axis as i64 } else { axis as i64 - rank as i64 }
    }

    /// Two operands of one dtype, the shape of one a suffix of the other's.
    pub fn broadcast(&mut self) -> Vec<TensorType> {
        let (dtype, longer) = (self.float(), self.shape(0, 3));
        let shorter = longer[self.below(longer.len() + 1)..].to_vec();
        let (a, b) = if self.flip() { (longer, shorter) } else { (shorter, longer) };
        vec![TensorType::new(dtype, a), TensorType::new(dtype, b)]
    }
}
