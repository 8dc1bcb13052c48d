//! The e-graph's terms.

use std::sync::Arc;

use egg::{Id, Language};
use mscc_ir::ops::{Op, OpKind};
use smallvec::SmallVec;

/// A term: what computes, and of which classes.
///
/// An op with several results is a class of its own, a tuple; each of its results is a `Proj` of it. The derived
/// order compares the head first, so that nodes of one [`Discriminant`] stand together, as egg demands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ENode {
    pub head: Head,
    pub args: SmallVec<[Id; 4]>,
}

/// What a term does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Head {
    /// Brings a value in: an index into the table of leaves.
    Leaf(u32),
    /// Computes. Shared, because attributes may be long.
    Op(Arc<Op>),
    /// Takes one result of a tuple.
    Proj(u32),
    /// Holds all that the function sends somewhere; there is one.
    Root,
}

/// Terms that may match the same pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Discriminant {
    Leaf,
    Op(OpKind),
    Proj,
    Root,
}

impl ENode {
    pub fn new(head: Head, args: impl IntoIterator<Item = Id>) -> Self {
        ENode { head, args: args.into_iter().collect() }
    }

    /// Its op, if it is one of this kind.
    pub fn op_of(&self, kind: OpKind) -> Option<&Arc<Op>> {
        match &self.head {
            Head::Op(op) if op.kind() == kind => Some(op),
            Head::Op(_) | Head::Leaf(_) | Head::Proj(_) | Head::Root => None,
        }
    }
}

impl Language for ENode {
    type Discriminant = Discriminant;

    fn discriminant(&self) -> Discriminant {
        match &self.head {
            Head::Leaf(_) => Discriminant::Leaf,
            Head::Op(op) => Discriminant::Op(op.kind()),
            Head::Proj(_) => Discriminant::Proj,
            Head::Root => Discriminant::Root,
        }
    }

    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.args.len() == other.args.len()
    }

    fn children(&self) -> &[Id] {
        &self.args
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.args
    }
}
