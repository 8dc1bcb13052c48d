//! The launch stage: runs the bound launches of a step.
#![allow(unsafe_code, reason = "vouches for the memory behind values that are read out")]

use mscc_ir::plan::Function;

use super::batch::TapSink;
use super::resolve::ResolvedFunction;
use super::tile::{BoundCall, LayerCall};
use crate::device::Device;
use crate::device::cpu::KernelError;
use crate::error::RuntimeError;

/// A variant ready to run at the current sizes.
pub struct BoundVariant<'a, D: Device> {
    /// Its functions.
    pub functions: &'a [Function],
    /// Where their operands lie.
    pub resolved: &'a [ResolvedFunction],
    /// Its calls with their bound launches.
    pub calls: &'a [LayerCall],
    /// The bound launches, one entry for each call.
    pub bound: &'a [BoundCall<D>],
}

impl<D: Device> BoundVariant<'_, D> {
    /// Runs all launches in order, and hands over the values that `taps` wants as soon as they are there.
    ///
    /// Errors: an index outside what it points into.
    pub fn run(&self, device: &mut D, mut taps: Option<&mut dyn TapSink>) -> Result<(), RuntimeError> {
        for (call, bound) in self.calls.iter().zip(self.bound) {
            let function = &self.functions[call.function];
            let mut launches = bound.launches.iter().peekable();
            for (index, launch) in function.launches.iter().enumerate() {
                // Launches without results are not bound, but values may be read after them all the same.
                if let Some((_, prepared)) = launches.next_if(|(position, _)| *position == index) {
                    let problem = |error: KernelError| RuntimeError::Launch {
                        launch: format!("{} (layer {})", launch.name, call.layer),
                        problem: error.to_string(),
                    };
                    device.launch(&launch.op, prepared).map_err(problem)?;
                }
                if let Some(sink) = taps.as_deref_mut() {
                    self.read_taps(device, call, bound, index, sink)?;
                }
            }
        }
        device.synchronize().map_err(|error| RuntimeError::Launch {
            launch: "the step".to_owned(),
            problem: error.to_string(),
        })
    }

    /// Hands over what can be read after launch `after` of a call.
    fn read_taps(
        &self,
        device: &mut D,
        call: &LayerCall,
        bound: &BoundCall<D>,
        after: usize,
        sink: &mut dyn TapSink,
    ) -> Result<(), RuntimeError> {
        let taps = self.functions[call.function].taps.iter().zip(&self.resolved[call.function].taps);
        for (tap, placed) in taps.filter(|(tap, _)| tap.after as usize == after) {
            let name = tap.name.render(i64::from(call.layer));
            if !sink.wants(&name) {
                continue;
            }
            let problem = |error: KernelError| RuntimeError::Launch {
                launch: name.clone(),
                problem: error.to_string(),
            };
            device.synchronize().map_err(problem)?;
            // SAFETY: the value was placed inside its buffer, which lives while its launches are bound.
            let values = unsafe { device.read(bound.tensor(placed)) }.map_err(problem)?;
            sink.take(&name, &placed.dims, values);
        }
        Ok(())
    }
}
