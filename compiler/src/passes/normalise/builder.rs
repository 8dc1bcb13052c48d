//! A function under construction, every node of it in its one spelling.

use std::collections::HashMap;

use mscc_ir::graph::{Graph, Leaf, Value};
use mscc_ir::ops::{Effect, Op};
use mscc_ir::{Dim, TensorType};

use super::{casts, products, scalars, splits, sums, views};

/// Results of a node.
pub(super) type Values = Vec<Value>;

/// Rewrites an op on operands that are in normal form, or leaves it.
type Spelling = fn(&mut Builder, &Op, &[Value], &str) -> Option<Values>;

/// In the order in which they are tried.
const SPELLINGS: [Spelling; 6] = [
    scalars::spelling,
    casts::spelling,
    products::spelling,
    splits::spelling,
    sums::spelling,
    views::spelling,
];

/// Makes nodes, equal ones once.
#[derive(Default)]
pub(super) struct Builder {
    /// What has been made.
    pub out: Graph,
    /// Of what is made next: names of the traced ops that it stands for.
    pub origins: Vec<String>,
    /// How often the values that stand for those of the source are read.
    pub readers: HashMap<Value, usize>,
    /// Whether nodes are spelled anew, not only merged.
    spells: bool,
    seen: HashMap<(Op, Vec<Value>), Values>,
    weight_only: Vec<bool>,
}

impl Builder {
    /// Makes nodes as they are asked for, or in their one spelling.
    pub fn new(name: &str, spells: bool) -> Self {
        Builder { out: Graph::new(name), spells, ..Builder::default() }
    }

    pub fn leaf(&mut self, leaf: &Leaf, name: &str, ty: TensorType) -> Value {
        self.weight_only.push(matches!(leaf, Leaf::Weight(_)));
        self.out.leaf(leaf.clone(), name, ty)
    }

    /// The results of `op` on `operands`, in their one spelling; `None` if the operands do not fit.
    pub fn make(&mut self, op: impl Into<Op>, operands: &[Value], names: &[&str]) -> Option<Values> {
        let op = op.into();
        op.infer(&self.types(operands)).ok()?;
        let name = names.first().copied().unwrap_or(op.kind().name());
        for spelling in if self.spells { SPELLINGS.as_slice() } else { &[] } {
            if let Some(values) = spelling(self, &op, operands, name) {
                return Some(values);
            }
        }
        let mut key = (op, operands.to_vec());
        if key.0.kind().is_commutative() {
            key.1[..2].sort_unstable();
        }
        if let Some(values) = self.seen.get(&key) {
            return Some(values.clone());
        }
        let (op, _) = &key;
        let values = self.out.op(op.clone(), operands, names).ok()?.to_vec();
        self.out.set_origins(values[0].node, self.origins.clone());
        self.weight_only.push(operands.iter().all(|operand| self.is_weight(*operand)));
        if op.kind().effect() == Effect::Pure {
            self.seen.insert(key, values.clone());
        }
        Some(values)
    }

    /// As [`Builder::make`], of an op with one result.
    pub fn make1(&mut self, op: impl Into<Op>, operands: &[Value], name: &str) -> Option<Value> {
        self.make(op, operands, &[name])?.first().copied()
    }

    /// Whether a value is read once, so that it need not be kept beside what takes its place.
    pub fn is_read_once(&self, value: Value) -> bool {
        self.readers.get(&value) == Some(&1)
    }

    /// What computes a value, if it is not brought in.
    pub fn maker(&self, value: Value) -> Option<(&Op, &[Value])> {
        let node = self.out.node(value.node);
        Some((node.op()?, &node.operands))
    }

    pub fn ty(&self, value: Value) -> &TensorType {
        self.out.ty(value)
    }

    pub fn types(&self, values: &[Value]) -> Vec<TensorType> {
        values.iter().map(|value| self.ty(*value).clone()).collect()
    }

    /// Whether it depends on weights alone.
    pub fn is_weight(&self, value: Value) -> bool {
        self.weight_only[value.node.index()]
    }

    /// The value under another shape.
    pub fn reshape(&mut self, value: Value, shape: &[Dim], name: &str) -> Option<Value> {
        self.make1(mscc_ir::ops::Reshape { shape: shape.to_vec() }, &[value], name)
    }
}
