//! A random well-typed use of every op.

use super::super::*;
use crate::DType;
use crate::attr::Float;
use crate::graph::{Graph, Leaf, Value};
use crate::reference::Sampler;

/// An op with operands that fit it, and sizes for the symbols.
#[derive(Clone, Debug)]
pub struct Case {
    pub op: Op,
    pub operands: Vec<TensorType>,
    pub sizes: Vec<(&'static str, i64)>,
}

/// The symbols of cases, all in `0..=7`.
pub const SYMBOLS: [&str; 6] = ["T", "B", "M", "P", "C", "A"];

impl Case {
    pub fn random(kind: OpKind, seed: u64) -> Self {
        let mut random = Random(Sampler::new(seed));
        let (op, operands) = random.case(kind);
        let sizes = SYMBOLS.map(|name| (name, random.size() as i64)).to_vec();
        Case { op, operands, sizes }
    }

    pub fn size(&self, symbol: &crate::Symbol) -> Option<i64> {
        self.sizes.iter().find(|(name, _)| *name == symbol.name()).map(|(_, size)| *size)
    }

    pub fn shape(&self, ty: &TensorType) -> Vec<usize> {
        ty.shape.iter().map(|dim| dim.eval(&|symbol| self.size(symbol)).unwrap() as usize).collect()
    }

    /// A function that brings the operands in and computes the op.
    pub fn graph(&self) -> Result<Graph, TypeError> {
        let mut graph = Graph::new(self.op.kind().name());
        let operands = self.operands.iter().enumerate();
        let leaves: Vec<Value> =
            operands.map(|(at, ty)| graph.leaf(Leaf::Input(format!("in.{at}")), "x", ty.clone())).collect();
        graph.op(self.op.clone(), &leaves, &["y"])?;
        Ok(graph)
    }
}

struct Random(Sampler);

const FLOATS: [DType; 5] = [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3];

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Mostly odd, at times 0.
    fn size(&mut self) -> usize {
        *self.0.pick(&[1, 2, 3, 3, 5, 5, 7, 7, 4, 0]).unwrap()
    }

    fn dim(&mut self) -> Dim {
        match self.below(4) {
            0 => Dim::symbol("T"),
            1 => Dim::symbol("B"),
            _ => Dim::from(self.size()),
        }
    }

    fn shape(&mut self, least: usize, most: usize) -> Vec<Dim> {
        (0..least + self.below(most - least + 1)).map(|_| self.dim()).collect()
    }

    fn float(&mut self) -> DType {
        *self.0.pick(&FLOATS).unwrap()
    }

    fn any(&mut self) -> DType {
        *self.0.pick(&DType::ALL).unwrap()
    }

    fn number(&mut self) -> Float {
        Float(0.25 + self.below(64) as f64 / 8.0)
    }

    fn axis(&mut self, axis: usize, rank: usize) -> i64 {
        if self.flip() { axis as i64 } else { axis as i64 - rank as i64 }
    }

    /// One entry per op: attributes and operands that fit.
    fn case(&mut self, kind: OpKind) -> (Op, Vec<TensorType>) {
        let dtype = self.float();
        let other = self.float();
        let of = |shape: &[Dim]| TensorType::new(dtype, shape);
        match kind {
            OpKind::Add => (Add.into(), self.broadcast(dtype)),
            OpKind::Mul => (Mul.into(), self.broadcast(dtype)),
            OpKind::AddRmsNorm => {
                let x = self.shape(1, 3);
                let weight = TensorType::new(other, [x[x.len() - 1].clone()]);
                (AddRmsNorm { eps: Float(1e-5) }.into(), vec![of(&x), of(&x), weight])
            }
            OpKind::Attention => self.attention(),
            OpKind::CacheWrite => {
                let row = self.shape(1, 2);
                let (pages, block, tokens) = (Dim::symbol("P"), self.dim(), Dim::symbol("T"));
                let cache: Vec<Dim> = [pages, block].into_iter().chain(row.iter().cloned()).collect();
                let rows: Vec<Dim> = std::iter::once(tokens.clone()).chain(row).collect();
                (CacheWrite.into(), vec![of(&cache), of(&rows), TensorType::new(DType::I32, [tokens])])
            }
            OpKind::Cast => (Cast { dtype: other }.into(), vec![of(&self.shape(0, 3))]),
            OpKind::Concat => {
                let (dtype, shape) = (self.any(), self.shape(1, 3));
                let axis = self.below(shape.len());
                let parts = (0..1 + self.below(3)).map(|_| {
                    let mut part = shape.clone();
                    part[axis] = self.dim();
                    TensorType::new(dtype, part)
                });
                let parts = parts.collect();
                (Concat { axis: self.axis(axis, shape.len()) }.into(), parts)
            }
            OpKind::Gather => {
                let index = if self.flip() { DType::I32 } else { DType::I64 };
                let table = TensorType::new(self.any(), self.shape(1, 3));
                (Gather.into(), vec![table, TensorType::new(index, self.shape(0, 2))])
            }
            OpKind::Linear => {
                let (x, width) = (self.shape(1, 3), self.dim());
                let weight = TensorType::new(other, [width.clone(), x[x.len() - 1].clone()]);
                let mut operands = vec![of(&x), weight];
                operands.extend(self.flip().then(|| TensorType::new(dtype, [width])));
                (Linear { dtype: self.flip().then_some(other) }.into(), operands)
            }
            OpKind::Matmul => {
                let (leading, m, k, n) = (self.shape(0, 2), self.dim(), self.dim(), self.dim());
                let (trans_b, shared) = (self.flip(), self.flip());
                let a = [leading.as_slice(), &[m, k.clone()]].concat();
                let matrix = if trans_b { [n.clone(), k] } else { [k, n.clone()] };
                let b = [if shared { &[][..] } else { &leading }, &matrix].concat();
                let mut operands = vec![of(&a), TensorType::new(other, b)];
                operands.extend(self.flip().then(|| TensorType::new(other, [n])));
                (Matmul { trans_b, dtype: self.flip().then_some(other) }.into(), operands)
            }
            OpKind::Reshape => self.reshape(),
            OpKind::RmsNorm => {
                let x = self.shape(1, 3);
                let weight = TensorType::new(other, [x[x.len() - 1].clone()]);
                (RmsNorm { eps: Float(1e-6) }.into(), vec![of(&x), weight])
            }
            OpKind::Rope => {
                let (tokens, half) = (self.dim(), self.below(4));
                let table = TensorType::new(DType::F32, [tokens.clone(), Dim::from(half)]);
                let x = [tokens, self.dim(), Dim::from(2 * half + self.below(3))];
                (Rope { interleaved: self.flip() }.into(), vec![of(&x), table.clone(), table])
            }
            OpKind::RopeFreqs => (self.rope_freqs().into(), Vec::new()),
            OpKind::RopeTable => {
                let positions = TensorType::new(DType::I32, [self.dim()]);
                let scale = if self.flip() { Float(1.0) } else { self.number() };
                (RopeTable { scale }.into(), vec![positions, TensorType::new(DType::F32, [self.dim()])])
            }
            OpKind::Silu => (Silu.into(), vec![of(&self.shape(0, 3))]),
            OpKind::Split => {
                let mut shape = self.shape(1, 3);
                let axis = self.below(shape.len());
                let sizes: Vec<Dim> = (0..1 + self.below(3)).map(|_| self.dim()).collect();
                shape[axis] = sizes.iter().fold(Dim::ZERO, |sum, size| sum + size.clone());
                let split = Split { axis: self.axis(axis, shape.len()), sizes };
                (split.into(), vec![TensorType::new(self.any(), shape)])
            }
            OpKind::Swiglu => {
                let x = self.shape(0, 3);
                (Swiglu.into(), vec![of(&x), of(&x)])
            }
            OpKind::Transpose => {
                let shape = self.shape(0, 4);
                let mut axes: Vec<u32> = (0..shape.len() as u32).collect();
                for at in 0..axes.len() {
                    axes.swap(at, at + self.below(shape.len() - at));
                }
                (Transpose { permutation: axes }.into(), vec![TensorType::new(self.any(), shape)])
            }
        }
    }

    fn broadcast(&mut self, dtype: DType) -> Vec<TensorType> {
        let longer = self.shape(0, 3);
        let shorter = longer[self.below(longer.len() + 1)..].to_vec();
        let (a, b) = if self.flip() { (longer, shorter) } else { (shorter, longer) };
        vec![TensorType::new(dtype, a), TensorType::new(dtype, b)]
    }

    fn attention(&mut self) -> (Op, Vec<TensorType>) {
        let (q, cache) = (self.float(), self.float());
        let (pages, block, kv_heads) = (Dim::symbol("P"), self.dim(), Dim::from(1 + self.below(3)));
        let (tokens, sequences) = (Dim::symbol("T"), Dim::symbol("B"));
        let (width, out_width, groups) = (self.dim(), self.dim(), self.below(4));
        let store = |width: &Dim| {
            let shape = [pages.clone(), block.clone(), kv_heads.clone(), width.clone()];
            TensorType::new(cache, shape)
        };
        let ints = |shape: &[Dim]| TensorType::new(DType::I32, shape);
        let operands = vec![
            TensorType::new(q, [tokens, kv_heads.clone() * Dim::from(groups), width.clone()]),
            store(&width),
            store(&out_width),
            ints(&[sequences.clone(), Dim::symbol("M")]),
            ints(&[sequences.clone() + Dim::ONE]),
            ints(&[sequences]),
        ];
        let window = self.flip().then(|| 1 + self.below(4) as u32);
        let soft_cap = self.flip().then(|| self.number());
        (Attention { scale: self.number(), window, soft_cap }.into(), operands)
    }

    /// `[T, 6, 4]` or something empty, with its factors regrouped.
    fn reshape(&mut self) -> (Op, Vec<TensorType>) {
        let shapes: &[&[&str]] = match self.below(4) {
            0 => &[&["T", "0"], &["0"], &["0", "5"], &["3", "0", "B"], &["0", "T", "0"]],
            1 => &[&[], &["1"], &["1", "1"]],
            _ => &[
                &["T", "6", "4"],
                &["24*T"],
                &["T", "24"],
                &["6*T", "4"],
                &["1", "T", "2", "12"],
                &["T", "1", "6", "4", "1"],
                &["T", "3", "8"],
                &["2*T", "3", "4"],
                &["4", "T", "6"],
            ],
        };
        let mut shape =
            || -> Vec<Dim> { self.0.pick(shapes).unwrap().iter().map(|dim| dim.parse().unwrap()).collect() };
        let (from, to) = (shape(), shape());
        (Reshape { shape: to }.into(), vec![TensorType::new(self.any(), from)])
    }

    fn rope_freqs(&mut self) -> RopeFreqs {
        let factor = self.number();
        let original_max_position_embeddings = 1 + self.below(4096) as u32;
        let scaling = match self.below(4) {
            0 => RopeScaling::None,
            1 => RopeScaling::Linear { factor },
            2 => RopeScaling::Llama3 {
                factor,
                low_freq_factor: Float(1.0),
                high_freq_factor: Float(1.5 + self.number().0),
                original_max_position_embeddings,
            },
            _ => RopeScaling::Yarn {
                factor,
                beta_fast: self.number(),
                beta_slow: self.number(),
                original_max_position_embeddings,
                truncate: self.flip(),
            },
        };
        RopeFreqs { dim: 2 + 2 * self.below(9) as u32, theta: Float(2.0 + self.number().0), scaling }
    }
}
