//! The memory that steps work in: arena, inputs, outputs and caches.

use mscc_ir::module::{CacheGroup, CacheTensor};

use crate::device::Device;
use crate::error::RuntimeError;

/// The memory that steps work in. Everything but the caches grows with the largest step so far.
pub struct Buffers<D: Device> {
    arena: Grown<D>,
    inputs: Vec<Grown<D>>,
    outputs: Vec<Grown<D>>,
    /// For each cache group its tensors.
    caches: Vec<Vec<Cache<D>>>,
    generation: u64,
}

/// A cache tensor of all layers: [layers, P, block, ..row].
struct Cache<D: Device> {
    memory: D::Memory,
    /// Bytes of one layer's part.
    layer_bytes: usize,
    /// Bytes of all layers.
    bytes: u64,
}

/// Memory that is replaced by larger one where it is too small; its content is lost then.
struct Grown<D: Device> {
    memory: Option<D::Memory>,
    capacity: usize,
}

/// Bytes that a step needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Of the arena.
    pub arena: usize,
    /// Of each input.
    pub inputs: Vec<usize>,
    /// Of each output.
    pub outputs: Vec<usize>,
}

impl Needs {
    /// All of it together.
    pub fn bytes(&self) -> u64 {
        let all = self.inputs.iter().chain(&self.outputs);
        all.fold(self.arena as u64, |sum, bytes| sum.saturating_add(*bytes as u64))
    }
}

impl<D: Device> Buffers<D> {
    /// No memory yet, for so many inputs and outputs.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        let none = |count: usize| (0..count).map(|_| Grown { memory: None, capacity: 0 }).collect();
        let arena = Grown { memory: None, capacity: 0 };
        Buffers { arena, inputs: none(inputs), outputs: none(outputs), caches: Vec::new(), generation: 0 }
    }

    /// Changes whenever memory has moved, so that addresses taken before are void.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes room for a step.
    ///
    /// Errors: the memory is not to be had.
    pub fn reserve(&mut self, device: &D, needs: &Needs) -> Result<(), RuntimeError> {
        let inputs = self.inputs.iter_mut().zip(&needs.inputs).map(|pair| (pair, "inputs"));
        let outputs = self.outputs.iter_mut().zip(&needs.outputs).map(|pair| (pair, "outputs"));
        let arena = std::iter::once(((&mut self.arena, &needs.arena), "activations"));
        for ((buffer, bytes), what) in arena.chain(inputs).chain(outputs) {
            let moved = buffer.reserve(device, *bytes, what);
            // A failure has dropped memory, too.
            self.generation += u64::from(moved.as_ref().map_or(true, |moved| *moved));
            moved?;
        }
        Ok(())
    }

    /// Takes zeroed memory for so many pages of each group, dropping what was there.
    ///
    /// Errors: the memory is not to be had; there are no caches then.
    pub fn allocate_caches(
        &mut self,
        device: &D,
        groups: &[CacheGroup],
        pages: &[u32],
    ) -> Result<(), RuntimeError> {
        self.caches.clear();
        self.generation += 1;
        let mut caches = Vec::with_capacity(groups.len());
        for (group, pages) in groups.iter().zip(pages) {
            let tensors = group.tensors.iter().map(|tensor| Cache::new(device, group, tensor, *pages));
            caches.push(tensors.collect::<Result<_, _>>()?);
        }
        self.caches = caches;
        Ok(())
    }

    /// Where the arena starts; `None` before the first step.
    pub fn arena(&self) -> Option<&D::Memory> {
        self.arena.memory.as_ref()
    }

    /// How many inputs there are.
    pub fn num_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// How many outputs there are.
    pub fn num_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// An input.
    pub fn input(&self, index: usize) -> Option<&D::Memory> {
        self.inputs.get(index)?.memory.as_ref()
    }

    /// An input, to be written.
    pub fn input_mut(&mut self, index: usize) -> Option<&mut D::Memory> {
        self.inputs.get_mut(index)?.memory.as_mut()
    }

    /// An output.
    pub fn output(&self, index: usize) -> Option<&D::Memory> {
        self.outputs.get(index)?.memory.as_ref()
    }

    /// A cache tensor of all layers, and the bytes of each layer's part; `None` before caches are allocated.
    pub fn cache(&self, group: usize, tensor: usize) -> Option<(&D::Memory, usize)> {
        let cache = self.caches.get(group)?.get(tensor)?;
        Some((&cache.memory, cache.layer_bytes))
    }
}

impl<D: Device> Buffers<D> {
    /// Bytes of all caches.
    pub fn cache_bytes(&self) -> u64 {
        self.caches.iter().flatten().map(|cache| cache.bytes).sum()
    }
}

impl<D: Device> Cache<D> {
    fn new(device: &D, group: &CacheGroup, tensor: &CacheTensor, pages: u32) -> Result<Self, RuntimeError> {
        let slots = u64::from(pages).checked_mul(u64::from(group.block_size));
        let sizes = tensor.row.iter().map(|size| u64::from(*size));
        let elements = slots.and_then(|slots| sizes.into_iter().try_fold(slots, u64::checked_mul));
        let layer_bytes = elements.and_then(|elements| tensor.dtype.packed_bytes(elements));
        let bytes = layer_bytes.and_then(|bytes| bytes.checked_mul(group.num_layers()));
        let allocated = layer_bytes.zip(bytes).and_then(|(layer_bytes, bytes)| {
            let memory = device.allocate(usize::try_from(bytes).ok()?)?;
            Some(Cache { memory, layer_bytes: usize::try_from(layer_bytes).ok()?, bytes })
        });
        allocated.ok_or_else(|| RuntimeError::Memory {
            bytes: bytes.unwrap_or(u64::MAX),
            what: format!("{pages} pages of cache `{}.{}`", group.name, tensor.name),
        })
    }
}

impl<D: Device> Grown<D> {
    /// Makes room; whether the memory has moved.
    fn reserve(&mut self, device: &D, bytes: usize, what: &str) -> Result<bool, RuntimeError> {
        if self.memory.is_some() && bytes <= self.capacity {
            return Ok(false);
        }
        // The old memory goes first, and some growth is taken in advance, as steps often grow little by little.
        self.memory = None;
        let roomy = bytes.max(self.capacity.saturating_add(self.capacity / 2));
        self.capacity = 0;
        for bytes in [roomy, bytes] {
            if let Some(memory) = device.allocate(bytes) {
                (self.memory, self.capacity) = (Some(memory), bytes);
                return Ok(true);
            }
        }
        Err(RuntimeError::Memory { bytes: bytes as u64, what: what.to_owned() })
    }
}
