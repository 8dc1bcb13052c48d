//! The CPU that this process runs on, as a device.
#![allow(unsafe_code, reason = "turns addresses into views for kernels")]

use mscc_ir::DType;
use mscc_ir::ops::Op;
use smallvec::SmallVec;

use super::cpu::table::with_kernel;
use super::cpu::{Cast, Isa, KernelError, Pool, Split, View, launch};
use super::{Device, Memory, Tensor};

/// The CPU that this process runs on.
pub struct Host {
    pool: Pool,
    isa: Isa,
}

/// A kernel's operands and results with the cut of its work.
pub struct HostLaunch {
    views: SmallVec<[View; 4]>,
    operands: usize,
    split: Split,
}

impl Host {
    /// Kernels for `isa` on so many threads, the caller's included.
    pub fn new(threads: usize, isa: Isa) -> Host {
        Host { pool: Pool::new(threads), isa }
    }

    /// Threads that take part.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The instructions that kernels use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl Device for Host {
    type Memory = Memory;
    type Launch = HostLaunch;

    fn allocate(&self, bytes: usize) -> Option<Memory> {
        Memory::zeroed(bytes)
    }

    fn address(&self, memory: &Memory) -> *mut u8 {
        memory.address()
    }

    fn write(&mut self, memory: &mut Memory, values: &[i32]) {
        for (to, value) in memory.bytes_mut().chunks_exact_mut(size_of::<i32>()).zip(values) {
            to.copy_from_slice(&value.to_ne_bytes());
        }
    }

    unsafe fn prepare(
        &self,
        op: &Op,
        operands: &[Tensor<'_>],
        results: &[Tensor<'_>],
    ) -> Result<HostLaunch, KernelError> {
        // SAFETY: the caller vouches for the memory behind the tensors, for as long as the launch is used.
        let view = |tensor: &Tensor<'_>| unsafe {
            View::new(tensor.address, tensor.dtype, tensor.dims, tensor.strides)
        };
        let views: SmallVec<[View; 4]> = operands.iter().chain(results).map(view).collect();
        let (from, to) = views.split_at(operands.len());
        let split = with_kernel(op, from, to, |kernel| {
            kernel.check()?;
            Ok(kernel.split(self.pool.threads()))
        })?;
        Ok(HostLaunch { operands: operands.len(), split, views })
    }

    fn launch(&mut self, op: &Op, launch: &HostLaunch) -> Result<(), KernelError> {
        let (operands, results) = launch.views.split_at(launch.operands);
        let (isa, split) = (self.isa, launch.split);
        with_kernel(op, operands, results, |kernel| {
            // SAFETY: `prepare` checked and split these very views, and whoever called it vouched for their memory;
            // the pool runs each task once.
            self.pool.run_split(split, &|task, scratch| unsafe { kernel.run(isa, split, task, scratch) })
        })
    }

    fn synchronize(&mut self) -> Result<(), KernelError> {
        Ok(())
    }

    fn floats<'a>(&'a self, memory: &'a Memory, count: usize) -> &'a [f32] {
        memory.floats(count)
    }

    unsafe fn read(&mut self, tensor: Tensor<'_>) -> Result<Vec<f32>, KernelError> {
        // SAFETY: the caller vouches for the tensor.
        let x = unsafe { View::new(tensor.address, tensor.dtype, tensor.dims, tensor.strides) };
        let mut values = vec![0f32; x.len()];
        if x.is_empty() {
            return Ok(values);
        }
        // SAFETY: the vector holds exactly these elements, and nobody else has it.
        let y = unsafe { View::contiguous(values.as_mut_ptr().cast(), DType::F32, tensor.dims) };
        launch(&mut self.pool, self.isa, &Cast { x: &x, y: &y })?;
        Ok(values)
    }
}
