//! Every tensor that a model reads.

use std::collections::HashSet;
use std::ops::Range;

use mscc_ir::graph::Leaf;
use mscc_ir::{DType, Module, Template};

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

/// All tensors that a module reads, each once, in the order of the program.
///
/// Names are made when asked for, so that models of any number of tensors take no memory.
#[derive(Clone, Debug)]
pub struct SourceWeights {
    /// For each function, its tensors.
    functions: Vec<Vec<Tensor>>,
    /// For each function, whether it was called before, so that what all its layers share is done.
    called: Vec<bool>,
    runs: Vec<(usize, Range<u32>)>,
    run: usize,
    layer: u32,
    tensor: usize,
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
            let mut tensors = Vec::new();
            for (value, leaf) in function.leaves() {
                let Leaf::Weight(name) = leaf else { continue };
                // Of a layered template each function reads other layers' tensors.
                if !name.is_layered() && !seen.insert(name.clone()) {
                    continue;
                }
                let ty = function.ty(value);
                let sizes = ty.shape.iter().filter_map(|dim| u64::try_from(dim.as_const()?).ok());
                tensors.push(Tensor { name: name.clone(), shape: sizes.collect(), dtype: ty.dtype });
            }
            functions.push(tensors);
        }
        let runs: Vec<_> = module.program.iter().map(|call| (call.function, call.layers.clone())).collect();
        let layer = runs.first().map_or(0, |(_, layers)| layers.start);
        SourceWeights { called: vec![false; functions.len()], functions, runs, run: 0, layer, tensor: 0 }
    }
}

impl Iterator for SourceWeights {
    type Item = SourceWeight;

    fn next(&mut self) -> Option<SourceWeight> {
        loop {
            let (function, layers) = self.runs.get(self.run)?;
            if self.layer >= layers.end {
                self.run += 1;
                self.layer = self.runs.get(self.run).map_or(0, |(_, layers)| layers.start);
            } else if let Some(tensor) = self.functions.get(*function).and_then(|all| all.get(self.tensor)) {
                self.tensor += 1;
                if !tensor.name.is_layered() && self.called[*function] {
                    continue;
                }
                let name = tensor.name.render(i64::from(self.layer));
                return Some(SourceWeight { name, shape: tensor.shape.clone(), dtype: tensor.dtype });
            } else {
                if let Some(called) = self.called.get_mut(*function) {
                    *called = true;
                }
                self.layer += 1;
                self.tensor = 0;
            }
        }
    }
}
