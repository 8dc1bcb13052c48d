//! Every tensor that a model reads.

use std::collections::HashSet;
use std::ops::Range;

use mscc_ir::graph::Leaf;
use mscc_ir::{DType, Module, Stored, Template};

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceWeight {
    /// Its name.
    pub name: String,
    /// Its shape, in elements.
    pub shape: Vec<u64>,
    /// Type of its elements.
    pub dtype: DType,
}

/// All tensors that a module reads, each once, in the order of the program; of stacks that follow on each other, all
/// tensors of one expert before those of the next.
///
/// Names are made when asked for, so that models of any number of tensors take no memory.
#[derive(Clone, Debug)]
pub struct SourceWeights {
    /// For each function, its tensors.
    functions: Vec<Vec<Group>>,
    /// For each function, whether it was called before, so that what all its layers share is done.
    called: Vec<bool>,
    runs: Vec<(usize, Range<u32>)>,
    run: usize,
    layer: u32,
    /// Index of the group, and the next of its tensors.
    group: usize,
    member: u32,
    tensor: usize,
}

/// Tensors that alternate: those of a run of stacks of one size, or a single one.
#[derive(Clone, Debug)]
struct Group {
    /// Members of each stack; `None` for a tensor by itself.
    members: Option<u32>,
    tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Tensor {
    name: Template,
    shape: Vec<u64>,
    dtype: DType,
}

impl SourceWeights {
    /// The tensors that `module` reads.
    pub fn new(module: &Module) -> Self {
        let mut seen = HashSet::new();
        let mut functions = Vec::new();
        for function in &module.functions {
            let mut groups: Vec<Group> = Vec::new();
            for (value, leaf) in function.leaves() {
                let Leaf::Weight(name) = leaf else { continue };
                // Of a layered template each function reads other layers' tensors.
                if !name.is_layered() && !seen.insert(name.clone()) {
                    continue;
                }
                // The verifier lets no stack without a count through.
                let Some(stored) = Stored::new(name, function.ty(value)) else { continue };
                let sizes = stored.ty().shape.iter().filter_map(|dim| u64::try_from(dim.as_const()?).ok());
                let tensor = Tensor { name: name.clone(), shape: sizes.collect(), dtype: stored.ty().dtype };
                let members = stored.is_stack().then(|| stored.count());
                match groups.last_mut() {
                    Some(last) if members.is_some() && last.members == members => last.tensors.push(tensor),
                    Some(_) | None => groups.push(Group { members, tensors: vec![tensor] }),
                }
            }
            functions.push(groups);
        }
        let runs: Vec<_> = module.program.iter().map(|call| (call.function, call.layers.clone())).collect();
        let layer = runs.first().map_or(0, |(_, layers)| layers.start);
        let called = vec![false; functions.len()];
        SourceWeights { functions, called, runs, run: 0, layer, group: 0, member: 0, tensor: 0 }
    }

    /// Goes on to the next tensor of a group.
    fn advance(&mut self, tensors: usize, members: u32) {
        self.tensor += 1;
        if self.tensor == tensors {
            (self.tensor, self.member) = (0, self.member + 1);
        }
        if self.member == members {
            (self.member, self.group) = (0, self.group + 1);
        }
    }
}

impl Iterator for SourceWeights {
    type Item = SourceWeight;

    fn next(&mut self) -> Option<SourceWeight> {
        loop {
            let (function, layers) = self.runs.get(self.run)?;
            let function = *function;
            if self.layer >= layers.end {
                self.run += 1;
                self.layer = self.runs.get(self.run).map_or(0, |(_, layers)| layers.start);
            } else if let Some(group) = self.functions.get(function).and_then(|all| all.get(self.group)) {
                let tensor = &group.tensors[self.tensor];
                let done = !tensor.name.is_layered() && self.called[function];
                let item = (!done).then(|| SourceWeight {
                    name: tensor.name.member(self.member).render(i64::from(self.layer)),
                    shape: tensor.shape.clone(),
                    dtype: tensor.dtype,
                });
                let (tensors, members) = (group.tensors.len(), group.members.unwrap_or(1));
                self.advance(tensors, members);
                if item.is_some() {
                    return item;
                }
            } else {
                if let Some(called) = self.called.get_mut(function) {
                    *called = true;
                }
                self.layer += 1;
                self.group = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mscc_ir::text::parse_module;

    use super::*;

    #[test]
    fn experts_come_one_after_the_other() {
        let text = r#"module m
func @layer {
  weight "l.{i}." %norm: f32[8]
  weight "l.{i}.{e}." %gate: bf16[2, 4, 8], %up: bf16[2, 4, 8]
  weight "shared.{e}." %down: bf16[2, 8, 4]
  weight "l.{i}.{e}." %other: bf16[3, 4]
  weight "l.{i}." %whole: bf16[2, 4, 8]
}
program { @layer [3..5] }
"#;
        let all: Vec<SourceWeight> = SourceWeights::new(&parse_module(text).unwrap()).collect();
        let names: Vec<&str> = all.iter().map(|weight| weight.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "l.3.norm",
                "l.3.0.gate",
                "l.3.0.up",
                "shared.0.down",
                "l.3.1.gate",
                "l.3.1.up",
                "shared.1.down",
                "l.3.0.other",
                "l.3.1.other",
                "l.3.2.other",
                "l.3.whole",
                "l.4.norm",
                "l.4.0.gate",
                "l.4.0.up",
                "l.4.1.gate",
                "l.4.1.up",
                "l.4.0.other",
                "l.4.1.other",
                "l.4.2.other",
                "l.4.whole",
            ]
        );
        let shape = |name: &str| all.iter().find(|weight| weight.name == name).unwrap().shape.clone();
        assert_eq!(
            (shape("l.4.1.up"), shape("l.4.2.other"), shape("l.3.whole")),
            (vec![4, 8], vec![4], vec![2, 4, 8])
        );
    }
}
