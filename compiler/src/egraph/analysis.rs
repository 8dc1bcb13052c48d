//! What is known of every class: types, and whether weights alone decide its value.

use egg::{Analysis, DidMerge, EGraph, Id};
use mscc_ir::{Leaf, TensorType};
use smallvec::SmallVec;

use super::language::{ENode, Head};

pub(super) type Classes = EGraph<ENode, Types>;

/// The analysis: types by the ops' own rules.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// The leaves that [`Head::Leaf`] counts.
    pub leaves: Vec<(Leaf, TensorType)>,
    /// Their names, in the same order.
    pub leaf_names: Vec<String>,
    /// The rule being applied, for blame; empty while the function is put in.
    pub rule: String,
    /// What must not happen: classes of different types made equal, or a node without a type.
    pub unsound: Option<Unsound>,
}

/// A rule broke the e-graph's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsound {
    /// The rule applied when it showed.
    pub rule: String,
    /// The types that disagree, or an op and why it has no type.
    pub reason: String,
}

/// What is known of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClassData {
    /// Types of its results; more than one makes it a tuple.
    pub types: SmallVec<[TensorType; 1]>,
    /// Whether a member depends on weights alone; all members are equal, so then all do.
    pub weight_only: bool,
    /// Whether it is a weight as the function came with it: a tensor of the checkpoint, cast or laid out otherwise
    /// perhaps, but by no rule.
    pub source_weight: bool,
    /// How many of its results, the first ones, are memory written that outlives the step.
    pub writes: usize,
    /// The least id that any of its members was added as: older classes stand for earlier nodes of the function,
    /// and the operands of a class's first member are older than the class.
    pub born: u32,
}

impl ClassData {
    /// Whether it stands for a tuple of results.
    pub fn is_tuple(&self) -> bool {
        self.types.len() > 1
    }
}

impl Analysis<ENode> for Types {
    type Data = ClassData;

    fn make(egraph: &mut Classes, node: &ENode, id: Id) -> ClassData {
        let born = u32::try_from(usize::from(id)).unwrap_or(u32::MAX);
        // While no rule is being applied, nodes are those of the function.
        let is_given = egraph.analysis.rule.is_empty();
        let data = |types, weight_only| ClassData {
            types,
            weight_only,
            source_weight: weight_only && is_given,
            writes: 0,
            born,
        };
        match &node.head {
            Head::Leaf(index) => {
                let (leaf, ty) = &egraph.analysis.leaves[*index as usize];
                let is_weight = matches!(leaf, Leaf::Weight(_));
                data(SmallVec::from_iter([ty.clone()]), is_weight)
            }
            Head::Op(op) => {
                let types: Vec<TensorType> =
                    node.args.iter().flat_map(|arg| egraph[*arg].data.types.first().cloned()).collect();
                let weight_only = node.args.iter().all(|arg| egraph[*arg].data.weight_only);
                let results = op.infer(&types).unwrap_or_else(|error| {
                    let reason = error.to_string();
                    egraph.analysis.blame(reason);
                    Vec::new()
                });
                ClassData {
                    writes: op.kind().num_written(),
                    ..data(SmallVec::from_vec(results), weight_only)
                }
            }
            Head::Proj(index) => {
                let tuple = &egraph[node.args[0]].data;
                let types = tuple.types.get(*index as usize).cloned().into_iter().collect();
                ClassData {
                    writes: usize::from((*index as usize) < tuple.writes),
                    ..data(types, tuple.weight_only)
                }
            }
            Head::Root => data(SmallVec::new(), false),
        }
    }

    fn merge(&mut self, kept: &mut ClassData, other: ClassData) -> DidMerge {
        let before = kept.clone();
        if kept.types != other.types {
            let list =
                |types: &[TensorType]| types.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ");
            self.blame(format!("{} made equal to {}", list(&kept.types), list(&other.types)));
        }
        if other.types < kept.types {
            kept.types.clone_from(&other.types);
        }
        kept.weight_only |= other.weight_only;
        kept.source_weight |= other.source_weight;
        kept.writes = kept.writes.max(other.writes);
        kept.born = kept.born.min(other.born);
        DidMerge(kept.known() != before.known(), kept.known() != other.known())
    }
}

impl ClassData {
    /// What users of the class depend on: not the birth.
    fn known(&self) -> (&[TensorType], bool, usize) {
        (&self.types, self.weight_only, self.writes)
    }
}

impl Types {
    fn blame(&mut self, reason: String) {
        self.unsound.get_or_insert_with(|| Unsound { rule: self.rule.clone(), reason });
    }
}
