//! Shape programs as native code.
#![allow(unsafe_code, reason = "calls code that was generated at run time")]

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, UserFuncName, Value, types};
use cranelift_codegen::settings::{self, Configurable, Flags};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use mscc_ir::SymbolInfo;

use super::shape::{Tape, TapeOp};

/// Longest tape that is compiled; a longer one would take noticeable time.
const MAX_OPS: usize = 1 << 14;

/// A [`Tape`] compiled to native code, which fills the same slots with the same values.
pub struct Native {
    /// Owns the code that `entry` points to; `Option` because freeing consumes it.
    module: Option<JITModule>,
    entry: unsafe extern "C" fn(*const i64, *mut i64),
    /// Bounds within which no value overflows, one for each symbol.
    bounds: Vec<SymbolInfo>,
    slots: usize,
}

// SAFETY: after compilation the module is only kept to own the code, which is immutable and keeps no state; nothing
// of the module is used until it is dropped, by whoever owns it then.
unsafe impl Send for Native {}
// SAFETY: as above: `run` touches nothing but its arguments.
unsafe impl Sync for Native {}

impl Native {
    /// Native code for a tape with symbols within bounds.
    ///
    /// `None` if there is no code generator for this machine, the system does not let us make code executable, or
    /// it is not certain that all values fit 64 bits; the tape itself serves then.
    pub fn compile(tape: &Tape, bounds: &[SymbolInfo]) -> Option<Native> {
        if tape.ops().len() > MAX_OPS || tape.symbols().len() != bounds.len() {
            return None;
        }
        let ranges = ranges(tape, bounds)?;
        let mut flags = settings::builder();
        flags.set("opt_level", "speed").ok()?;
        flags.set("is_pic", "false").ok()?;
        flags.set("use_colocated_libcalls", "false").ok()?;
        flags.set("enable_verifier", if cfg!(test) { "true" } else { "false" }).ok()?;
        let isa = cranelift_native::builder().ok()?.finish(Flags::new(flags)).ok()?;
        let module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
        // Owned from here on, so that every way out frees the code.
        let mut native =
            Native { module: Some(module), entry: nothing, bounds: bounds.to_vec(), slots: tape.ops().len() };
        let module = native.module.as_mut()?;
        let mut context = module.make_context();
        let pointer = AbiParam::new(module.target_config().pointer_type());
        context.func.signature.params.extend([pointer, pointer]);
        context.func.signature.call_conv = module.target_config().default_call_conv;
        let id = module.declare_function("shape", Linkage::Local, &context.func.signature).ok()?;
        context.func.name = UserFuncName::user(0, id.as_u32());
        let mut builder_context = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut context.func, &mut builder_context);
        let block = builder.create_block();
        builder.switch_to_block(block);
        builder.append_block_params_for_function_params(block);
        emit(tape, &ranges, &mut builder, block)?;
        builder.seal_all_blocks();
        builder.finalize(module.target_config());
        module.define_function(id, &mut context).ok()?;
        module.finalize_definitions().ok()?;
        let code = module.get_finalized_function(id);
        // SAFETY: the code was just generated for this signature and the platform's C convention, and lives as long
        // as the module, which `native` owns.
        native.entry =
            unsafe { std::mem::transmute::<*const u8, unsafe extern "C" fn(*const i64, *mut i64)>(code) };
        Some(native)
    }

    /// Fills `values` with the values of all slots; `false`, with nothing done, if a symbol is out of its bounds or
    /// a length is not that of the tape.
    pub fn run(&self, symbols: &[i64], values: &mut [i64]) -> bool {
        let within = |(value, bounds): (&i64, &SymbolInfo)| (bounds.min..=bounds.max).contains(value);
        if symbols.len() != self.bounds.len()
            || values.len() != self.slots
            || !symbols.iter().zip(&self.bounds).all(within)
        {
            return false;
        }
        // SAFETY: the code reads `symbols` and writes `values` up to exactly these lengths; within the bounds it
        // neither overflows nor traps.
        unsafe { (self.entry)(symbols.as_ptr(), values.as_mut_ptr()) };
        true
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: `entry` is private and not used after this.
            unsafe { module.free_memory() };
        }
    }
}

/// Stands in until there is code.
extern "C" fn nothing(_: *const i64, _: *mut i64) {}

/// The least and greatest value of every slot; `None` if one may not fit 64 bits.
fn ranges(tape: &Tape, bounds: &[SymbolInfo]) -> Option<Vec<(i64, i64)>> {
    let mut ranges: Vec<(i64, i64)> = Vec::with_capacity(tape.ops().len());
    for op in tape.ops() {
        let at = |slot: u32| ranges.get(slot as usize).map(|(min, max)| (i128::from(*min), i128::from(*max)));
        let (min, max) = match *op {
            TapeOp::Const(value) => (i128::from(value), i128::from(value)),
            TapeOp::Symbol(index) => {
                let info = bounds.get(index as usize)?;
                (i128::from(info.min), i128::from(info.max))
            }
            TapeOp::Add(a, b) => {
                let (a, b) = (at(a)?, at(b)?);
                (a.0 + b.0, a.1 + b.1)
            }
            TapeOp::Mul(a, b) => {
                let (a, b) = (at(a)?, at(b)?);
                let corners = [a.0 * b.0, a.0 * b.1, a.1 * b.0, a.1 * b.1];
                (corners.into_iter().min()?, corners.into_iter().max()?)
            }
            TapeOp::FloorDiv(a, k) => {
                let (min, max) = at(a)?;
                (min.div_euclid(i128::from(k)), max.div_euclid(i128::from(k)))
            }
            TapeOp::Mod(_, k) => (0, i128::from(k) - 1),
            TapeOp::Min(a, b) => {
                let (a, b) = (at(a)?, at(b)?);
                (a.0.min(b.0), a.1.min(b.1))
            }
            TapeOp::Max(a, b) => {
                let (a, b) = (at(a)?, at(b)?);
                (a.0.max(b.0), a.1.max(b.1))
            }
        };
        ranges.push((i64::try_from(min).ok()?, i64::try_from(max).ok()?));
    }
    Some(ranges)
}

fn emit(
    tape: &Tape,
    ranges: &[(i64, i64)],
    builder: &mut FunctionBuilder<'_>,
    block: cranelift_codegen::ir::Block,
) -> Option<()> {
    let &[symbols, out] = builder.block_params(block) else { return None };
    let mut values: Vec<Value> = Vec::with_capacity(tape.ops().len());
    for (slot, op) in tape.ops().iter().enumerate() {
        let at = |slot: u32| values.get(slot as usize).copied();
        let never_negative = |slot: u32| ranges.get(slot as usize).is_some_and(|(min, _)| *min >= 0);
        let value = match *op {
            TapeOp::Const(value) => builder.ins().iconst(types::I64, value),
            TapeOp::Symbol(index) => {
                builder.ins().load(types::I64, MemFlagsData::trusted(), symbols, offset(index as usize)?)
            }
            TapeOp::Add(a, b) => builder.ins().iadd(at(a)?, at(b)?),
            TapeOp::Mul(a, b) => builder.ins().imul(at(a)?, at(b)?),
            TapeOp::FloorDiv(_, ..2) | TapeOp::Mod(_, ..2) => return None, // would trap
            TapeOp::FloorDiv(a, k) => {
                let divisor = builder.ins().iconst(types::I64, k);
                if never_negative(a) {
                    builder.ins().udiv(at(a)?, divisor)
                } else {
                    let quotient = builder.ins().sdiv(at(a)?, divisor);
                    let rest = builder.ins().srem(at(a)?, divisor);
                    let below = builder.ins().icmp_imm_s(IntCC::SignedLessThan, rest, 0);
                    let below = builder.ins().uextend(types::I64, below);
                    builder.ins().isub(quotient, below)
                }
            }
            TapeOp::Mod(a, k) => {
                let divisor = builder.ins().iconst(types::I64, k);
                if never_negative(a) {
                    builder.ins().urem(at(a)?, divisor)
                } else {
                    let rest = builder.ins().srem(at(a)?, divisor);
                    let below = builder.ins().icmp_imm_s(IntCC::SignedLessThan, rest, 0);
                    let raised = builder.ins().iadd(rest, divisor);
                    builder.ins().select(below, raised, rest)
                }
            }
            TapeOp::Min(a, b) => {
                let first = builder.ins().icmp(IntCC::SignedLessThan, at(a)?, at(b)?);
                builder.ins().select(first, at(a)?, at(b)?)
            }
            TapeOp::Max(a, b) => {
                let first = builder.ins().icmp(IntCC::SignedGreaterThan, at(a)?, at(b)?);
                builder.ins().select(first, at(a)?, at(b)?)
            }
        };
        builder.ins().store(MemFlagsData::trusted(), value, out, offset(slot)?);
        values.push(value);
    }
    builder.ins().return_(&[]);
    Some(())
}

/// Bytes from the start of an array of 64-bit values to one of them.
fn offset(index: usize) -> Option<i32> {
    i32::try_from(index.checked_mul(size_of::<i64>())?).ok()
}

#[cfg(test)]
mod tests {
    use mscc_ir::dim::DimError;
    use mscc_ir::{Dim, Symbol};
    use proptest::prelude::*;

    use super::super::shape::TapeBuilder;
    use super::*;

    const NAMES: [&str; 3] = ["T", "B", "S"];

    fn any_dim() -> impl Strategy<Value = Dim> {
        let leaf = prop_oneof![
            (-9i64..9).prop_map(Dim::constant),
            (1i64 << 40..1 << 62).prop_map(Dim::constant),
            prop::sample::select(&NAMES[..]).prop_map(Dim::symbol),
        ];
        leaf.prop_recursive(5, 24, 3, |inner| {
            let pair = (inner.clone(), inner.clone());
            let divided = (inner.clone(), 1i64..70);
            prop_oneof![
                pair.clone().prop_map(|(a, b)| a + b),
                pair.clone().prop_map(|(a, b)| a - b),
                pair.clone().prop_map(|(a, b)| a * b),
                divided.clone().prop_map(|(a, k)| a.floor_div(k)),
                divided.prop_map(|(a, k)| a.modulo(k)),
                pair.clone().prop_map(|(a, b)| Dim::min([a, b])),
                pair.prop_map(|(a, b)| Dim::max([a, b])),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn tape_and_native_code_agree_with_the_dims(
            dims in prop::collection::vec(any_dim(), 1..5),
            max in prop::sample::select(vec![1i64, 100, 1 << 31, i64::MAX]),
            points in prop::collection::vec((0f64..=1.0, 0f64..=1.0, 0f64..=1.0), 3),
        ) {
            let dims: Vec<Dim> = dims.into_iter().filter(|dim| !dim.is_invalid()).collect();
            let mut builder = TapeBuilder::default();
            let slots: Vec<u32> = dims.iter().map(|dim| builder.slot(dim).unwrap()).collect();
            let tape = builder.finish();
            let bounds = vec![SymbolInfo { min: 0, max, likely: 0 }; tape.symbols().len()];
            let native = Native::compile(&tape, &bounds);
            let corners = [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 0.0, 0.5)];
            for (a, b, c) in points.into_iter().chain(corners) {
                // `as` saturates, so that 1.0 is the bound itself.
                let at = |share: f64| ((max as f64 * share) as i64).min(max);
                let value_of = |symbol: &Symbol| {
                    NAMES.iter().position(|name| *name == symbol.name()).map(|index| at([a, b, c][index]))
                };
                let symbols: Vec<i64> = tape.symbols().iter().map(|symbol| value_of(symbol).unwrap()).collect();
                let expected: Result<Vec<i64>, DimError> = dims.iter().map(|dim| dim.eval(&value_of)).collect();
                let mut values = Vec::new();
                let evaluated = tape.evaluate(&symbols, &mut values);
                prop_assert_eq!(evaluated.is_ok(), expected.is_ok());
                let Ok(expected) = expected else {
                    prop_assert!(native.is_none(), "what may overflow must not be compiled");
                    continue;
                };
                let got: Vec<i64> = slots.iter().map(|slot| values[*slot as usize]).collect();
                prop_assert_eq!(&got, &expected);
                if let Some(native) = &native {
                    let mut filled = vec![0; values.len()];
                    prop_assert!(native.run(&symbols, &mut filled));
                    prop_assert_eq!(&filled, &values);
                }
            }
        }
    }

    #[test]
    fn compiles_on_this_machine_and_keeps_to_its_bounds() {
        let mut builder = TapeBuilder::default();
        let slot = builder.slot(&"floordiv(T + 127, 128)*128".parse().unwrap()).unwrap() as usize;
        let tape = builder.finish();
        let native = Native::compile(&tape, &[SymbolInfo { min: 1, max: 4096, likely: 1 }]);
        assert!(native.is_some() || cranelift_native::builder().is_err());
        let Some(native) = native else { return };
        let mut values = vec![0; tape.ops().len()];
        assert!(native.run(&[129], &mut values) && values[slot] == 256);
        assert!(!native.run(&[4097], &mut values) && !native.run(&[], &mut values));
        assert!(!native.run(&[1], &mut [0]));
    }

    #[test]
    fn what_may_overflow_is_not_compiled() {
        let mut builder = TapeBuilder::default();
        builder.slot(&"T*T*T".parse().unwrap()).unwrap();
        let tape = builder.finish();
        let bounds = |max| [SymbolInfo { min: 0, max, likely: 0 }];
        assert!(Native::compile(&tape, &bounds(1 << 21)).is_none());
        assert!(Native::compile(&tape, &bounds(1 << 20)).is_some() || cranelift_native::builder().is_err());
    }
}
