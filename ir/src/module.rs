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
    /// The last so many: a token's own and those before it that it sees.
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

    /// How many tokens it keeps of a sequence, if not all.
    pub fn window(&self) -> Option<u32> {
        match self.kind {
            CacheKind::Window(window) => Some(window),
            CacheKind::Full | CacheKind::Latent => None,
        }
    }

    /// Most pages that one sequence holds in a step of `new` tokens, up to `len` tokens with them: those that the new
    /// tokens and what the first of them sees lie in.
    pub fn most_pages(&self, len: u64, new: u64) -> u64 {
        let block = u64::from(self.block_size.max(1));
        let all = len.div_ceil(block);
        let Some(window) = self.window() else { return all };
        // So many tokens in a row, wherever they begin.
        let span = u64::from(window.max(1)) - 1 + new.min(len);
        all.min(span.saturating_sub(1).div_ceil(block) + 1)
    }

    /// Most bytes that one sequence takes in all layers, in pages as [`most_pages`](Self::most_pages) counts them; `None`
    /// if they do not fit 64 bits.
    pub fn most_bytes(&self, len: u64, new: u64) -> Option<u64> {
        let tokens = self.most_pages(len, new).checked_mul(u64::from(self.block_size))?;
        tokens.checked_mul(self.bytes_per_token()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_sequence_cover_what_a_step_sees() {
        let cases: [(u32, u32, u64, u64); 7] = [
            (4, 1, 40, 1),
            (4, 5, 40, 1),
            (4, 6, 40, 3),
            (1, 3, 9, 2),
            (16, 7, 9, 9),
            (3, 100, 20, 4),
            (5, 8, 33, 40),
        ];
        for (block_size, window, len, new) in cases {
            let group =
                |kind| CacheGroup { name: "g".into(), kind, block_size, tensors: vec![], layers: vec![] };
            let block = u64::from(block_size);
            // Every step of up to `new` tokens of every sequence up to `len`.
            let steps = (0..len)
                .flat_map(|first| (1..=new.min(len - first)).map(move |count| (first, first + count)));
            let most = steps.map(|(first, end): (u64, u64)| {
                let oldest = (first + 1).saturating_sub(u64::from(window));
                end.div_ceil(block) - oldest / block
            });
            let window = group(CacheKind::Window(window));
            assert_eq!(window.most_pages(len, new), most.max().unwrap(), "{window:?}, {len}, {new}");
            assert_eq!(group(CacheKind::Full).most_pages(len, new), len.div_ceil(block));
        }
    }
}
