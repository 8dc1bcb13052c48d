//! Modules: functions, what they share, and the program that calls them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::{DType, Dim, SymbolTable, TensorType};

/// A model: one function per kind of layer, and the order in which they are called.
///
/// Calls pass values by name: a function's `state` leaves read what earlier calls left, its `state` sinks leave
/// values for later ones. So work and text grow with the kinds of layers, not with their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Name of the model.
    pub name: String,
    /// The sizes that are known only when a step runs.
    pub symbols: SymbolTable,
    /// State kept between steps.
    pub caches: Vec<CacheGroup>,
    /// The functions.
    pub functions: Vec<Graph>,
    /// The calls of a step, in order.
    pub program: Vec<Call>,
}

/// Calls of one function for each layer of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Index of the function in the module.
    pub function: usize,
    /// Values of `i`, one call each.
    pub layers: Range<u32>,
}

/// State of the same kind, kept per token and layer in pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheGroup {
    /// Name, which its inputs and symbols carry: `block_table.NAME`, `P_NAME`.
    pub name: String,
    /// Which tokens it keeps.
    pub kind: CacheKind,
    /// Tokens of a page.
    pub block_size: u32,
    /// The tensors kept per token.
    pub tensors: Vec<CacheTensor>,
    /// The layers that have one, ascending and disjoint.
    pub layers: Vec<Range<u32>>,
}

/// Which tokens a cache group keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheKind {
    /// All, keys and values.
    Full,
    /// The last so many.
    Window(u32),
    /// All, as latents from which keys and values are made.
    Latent,
}

/// A tensor of a cache group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheTensor {
    /// Name in the group.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape of one token's part.
    pub row: Vec<u32>,
}

impl CacheGroup {
    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&CacheTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The symbol that counts its pages.
    pub fn pages_symbol(&self) -> String {
        format!("P_{}", self.name)
    }

    /// The type of one layer's tensor: `[P, block_size, ..row]`.
    pub fn tensor_type(&self, tensor: &CacheTensor) -> TensorType {
        let mut shape = vec![Dim::symbol(&self.pages_symbol()), Dim::from(self.block_size)];
        shape.extend(tensor.row.iter().map(|size| Dim::from(*size)));
        TensorType::new(tensor.dtype, shape)
    }

    /// How many layers have one.
    pub fn num_layers(&self) -> u64 {
        self.layers.iter().map(|range| u64::from(range.end.saturating_sub(range.start))).sum()
    }

    /// Position of `layer` among the layers that have one.
    pub fn ordinal(&self, layer: u32) -> Option<u32> {
        let mut before = 0u32;
        for range in &self.layers {
            if range.contains(&layer) {
                return before.checked_add(layer - range.start);
            }
            before = before.checked_add(range.end.saturating_sub(range.start))?;
        }
        None
    }

    /// The first of `layers` that has none.
    pub fn first_without(&self, layers: &Range<u32>) -> Option<u32> {
        let mut layer = layers.start;
        for range in self.layers.iter().filter(|range| range.end > layers.start) {
            if !range.contains(&layer) {
                break;
            }
            layer = range.end;
        }
        (layer < layers.end).then_some(layer)
    }

    /// Bytes that one token takes in all layers; `None` if they do not fit 64 bits.
    pub fn bytes_per_token(&self) -> Option<u64> {
        let mut sum = 0u64;
        for tensor in &self.tensors {
            let elements = tensor.row.iter().try_fold(1u64, |n, size| n.checked_mul(u64::from(*size)))?;
            sum = sum.checked_add(tensor.dtype.packed_bytes(elements)?)?;
        }
        sum.checked_mul(self.num_layers())
    }
}

impl Module {
    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<&Graph> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The cache group of this name.
    pub fn cache(&self, name: &str) -> Option<&CacheGroup> {
        self.caches.iter().find(|group| group.name == name)
    }

    /// Appends a call, joining it with the last where it goes on.
    pub fn call(&mut self, function: usize, layers: Range<u32>) {
        match self.program.last_mut() {
            Some(last) if last.function == function && last.layers.end == layers.start => {
                last.layers.end = layers.end;
            }
            _ => self.program.push(Call { function, layers }),
        }
    }
}
