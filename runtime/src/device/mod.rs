//! Devices: where kernels run.
//!
//! A step is prepared once per combination of sizes ([`Device::prepare`], which also decides how work is cut) and
//! launched as often as the sizes stay the same ([`Device::launch`]).

#![allow(unsafe_code, reason = "who calls a device vouches for memory that no type can follow")]

pub mod cpu;
mod host;
mod memory;

use mscc_ir::DType;
use mscc_ir::ops::Op;

pub use host::Host;
pub use memory::{ALIGN, Memory};

use cpu::KernelError;

/// What a step needs of a device.
pub trait Device {
    /// A piece of the device's memory.
    type Memory;
    /// A launch with its operands bound and its work cut.
    type Launch;

    /// Zeroed memory, its start aligned to [`ALIGN`]; `None` if it is not to be had.
    fn allocate(&self, bytes: usize) -> Option<Self::Memory>;

    /// Where a piece of memory starts on the device.
    fn address(&self, memory: &Self::Memory) -> *mut u8;

    /// Copies integers to the start of a piece of memory. What does not fit is left out.
    fn write(&mut self, memory: &mut Self::Memory, values: &[i32]);

    /// Binds an op to operands and results, checks them and cuts the work.
    ///
    /// # Errors
    /// What the kernel says of types, sizes and layouts.
    ///
    /// # Safety
    /// Until the launch is dropped or used for the last time: every element of every tensor lies in live memory of
    /// the device, aligned to the element; results are writable, densely packed, and overlap neither each other nor
    /// an operand, other than the operand that the op writes in place. If the op writes rows through a mapping, the
    /// mapping names no row twice whenever the launch runs.
    unsafe fn prepare(
        &self,
        op: &Op,
        operands: &[Tensor<'_>],
        results: &[Tensor<'_>],
    ) -> Result<Self::Launch, KernelError>;

    /// Enqueues a prepared launch of `op`; launches take effect in order.
    ///
    /// # Errors
    /// An index outside what it points into, as far as the device notices at once.
    fn launch(&mut self, op: &Op, launch: &Self::Launch) -> Result<(), KernelError>;

    /// Waits until all launches are done.
    ///
    /// # Errors
    /// What was noticed only now.
    fn synchronize(&mut self) -> Result<(), KernelError>;

    /// The first `count` f32 values of a piece of memory, once all launches are done.
    fn floats<'a>(&'a self, memory: &'a Self::Memory, count: usize) -> &'a [f32];

    /// The elements of a tensor as f32, once all launches are done.
    ///
    /// # Errors
    /// An element type without conversion.
    ///
    /// # Safety
    /// The tensor's elements lie in live memory of the device.
    unsafe fn read(&mut self, tensor: Tensor<'_>) -> Result<Vec<f32>, KernelError>;
}

/// A strided tensor in the memory of a device. A description only: whoever uses it vouches for the memory.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Where its first element lies.
    pub address: *mut u8,
    /// Type of its elements.
    pub dtype: DType,
    /// Size along each axis.
    pub dims: &'a [usize],
    /// Distance of neighbours along each axis, in elements.
    pub strides: &'a [usize],
}
