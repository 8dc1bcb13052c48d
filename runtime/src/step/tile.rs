//! The tile stage: binds every launch of a step to addresses and cuts its work.
#![allow(unsafe_code, reason = "vouches for the memory behind launches")]

use mscc_ir::plan::{Function, Place, Plan, Variant};
use smallvec::SmallVec;

use super::buffers::Buffers;
use super::resolve::{Placed, ResolvedFunction};
use crate::device::{Device, Tensor};
use crate::error::RuntimeError;
use crate::load::weights::WeightStore;

/// A function called for one layer: which tensors its parameters stand for.
pub struct LayerCall {
    /// Index of the function.
    pub function: usize,
    /// The layer.
    pub layer: u32,
    /// Index in the store of each weight parameter.
    weights: Vec<usize>,
    /// Group, tensor and position among the group's layers of each cache parameter.
    caches: Vec<(usize, usize, u32)>,
}

/// A call whose launches are bound.
pub struct BoundCall<D: Device> {
    /// Its launches, with their positions in the function; those without results are left out.
    pub launches: Vec<(usize, D::Launch)>,
    bases: Bases,
}

/// Where the buffers of one call start.
struct Bases {
    arena: *mut u8,
    inputs: SmallVec<[*mut u8; 8]>,
    outputs: SmallVec<[*mut u8; 2]>,
    weights: SmallVec<[*mut u8; 8]>,
    caches: SmallVec<[*mut u8; 2]>,
}

// SAFETY: addresses are plain numbers; what they point to belongs to buffers and weights that are `Send` themselves.
unsafe impl Send for Bases {}

impl LayerCall {
    /// All calls of a variant, in order.
    pub fn all(plan: &Plan, variant: &Variant, store: &WeightStore) -> Vec<LayerCall> {
        let mut calls = Vec::new();
        for (index, layers) in &variant.calls {
            let Some(function) = variant.functions.get(*index as usize) else { continue };
            for layer in layers.clone() {
                calls.push(LayerCall::new(plan, *index as usize, function, layer, store));
            }
        }
        calls
    }

    fn new(plan: &Plan, index: usize, function: &Function, layer: u32, store: &WeightStore) -> LayerCall {
        let weights = function.weights.iter().map(|param| {
            let instance = param.instance(&plan.weights.recipes, layer);
            store.position(instance).expect("all instances of the plan are loaded")
        });
        let caches = function.caches.iter().map(|cache| {
            let found = plan.caches.iter().position(|group| group.name == cache.group).and_then(|group| {
                let tensor =
                    plan.caches[group].tensors.iter().position(|tensor| tensor.name == cache.tensor)?;
                Some((group, tensor, plan.caches[group].ordinal(layer)?))
            });
            found.expect("validation found the layer's cache")
        });
        LayerCall { function: index, layer, weights: weights.collect(), caches: caches.collect() }
    }
}

/// What launches are bound to.
pub struct Binder<'a, D: Device> {
    /// Where they run.
    pub device: &'a D,
    /// The functions of the variant.
    pub functions: &'a [Function],
    /// Where their operands lie in the buffers.
    pub resolved: &'a [ResolvedFunction],
    /// The buffers; bound launches are void when their generation changes.
    pub buffers: &'a Buffers<D>,
    /// The weights, which outlive bound launches.
    pub store: &'a WeightStore,
}

impl<D: Device> Binder<'_, D> {
    /// Binds the launches of one call.
    ///
    /// Errors: a kernel that refuses types, sizes or layouts; memory that a step lacks.
    pub fn bind(&self, call: &LayerCall) -> Result<BoundCall<D>, RuntimeError> {
        let function = &self.functions[call.function];
        let resolved = &self.resolved[call.function];
        let bases = self.bases(call).ok_or_else(|| RuntimeError::Launch {
            launch: function.name.clone(),
            problem: "its buffers are not allocated".to_owned(),
        })?;
        let mut launches = Vec::with_capacity(resolved.launches.len());
        for (index, launch) in resolved.launches.iter().enumerate() {
            if launch.results.iter().all(Placed::is_empty) {
                continue;
            }
            let operands: SmallVec<[Tensor<'_>; 8]> =
                launch.operands.iter().map(|it| bases.tensor(it)).collect();
            let results: SmallVec<[Tensor<'_>; 4]> =
                launch.results.iter().map(|it| bases.tensor(it)).collect();
            // SAFETY: the resolve stage has placed every tensor inside its buffer, aligned, results dense and apart
            // from all else; the buffers are live until their generation changes, weights as long as the store, and
            // the caller drops the launches before either. Caches are written through `slot_mapping` inputs only,
            // in which the batch's check finds every slot once.
            let bound = unsafe { self.device.prepare(&function.launches[index].op, &operands, &results) };
            let bound = bound.map_err(|error| RuntimeError::Launch {
                launch: function.launches[index].name.clone(),
                problem: error.to_string(),
            })?;
            launches.push((index, bound));
        }
        Ok(BoundCall { launches, bases })
    }

    fn bases(&self, call: &LayerCall) -> Option<Bases> {
        let (device, buffers) = (self.device, self.buffers);
        let address = |memory: Option<&D::Memory>| memory.map(|memory| device.address(memory));
        let cache = |&(group, tensor, ordinal): &(usize, usize, u32)| {
            let (memory, layer_bytes) = buffers.cache(group, tensor)?;
            Some(device.address(memory).wrapping_add(layer_bytes * ordinal as usize))
        };
        Some(Bases {
            arena: address(buffers.arena())?,
            inputs: (0..buffers.num_inputs())
                .map(|index| address(buffers.input(index)))
                .collect::<Option<_>>()?,
            outputs: (0..buffers.num_outputs())
                .map(|index| address(buffers.output(index)))
                .collect::<Option<_>>()?,
            weights: call.weights.iter().map(|position| self.store.address(*position)).collect(),
            caches: call.caches.iter().map(cache).collect::<Option<_>>()?,
        })
    }
}

impl<D: Device> BoundCall<D> {
    /// A value of the call, wherever it lies.
    pub fn tensor<'a>(&self, placed: &'a Placed) -> Tensor<'a> {
        self.bases.tensor(placed)
    }
}

impl Bases {
    fn tensor<'a>(&self, placed: &'a Placed) -> Tensor<'a> {
        let base = match placed.place {
            Place::Arena => self.arena,
            Place::Input(index) => self.inputs[index as usize],
            Place::Output(index) => self.outputs[index as usize],
            Place::Weight(index) => self.weights[index as usize],
            Place::Cache(index) => self.caches[index as usize],
        };
        let address = base.wrapping_add(placed.start);
        Tensor { address, dtype: placed.dtype, dims: &placed.dims, strides: &placed.strides }
    }
}
