//! Kernels are what their declarations say, and compute what their ops say.

use std::collections::BTreeSet;

use mscc_ir::DType;
use mscc_ir::kernels::cpu::{KERNELS, kernel_for};
use mscc_ir::kernels::{KernelDecl, Layout, OperandDecl};
use mscc_ir::ops::{Effect, EvalError, Example, Op, OpKind};
use mscc_ir::reference::{Sampler, Tensor as Reference, check_size};

use super::element::is_compute_float;
use super::error::KernelError;
use super::table::with_kernel;
use super::testing::{Tensor, levels, run};
use super::view::{View, row_major};

const SEEDS: u64 = 400;

#[test]
fn what_is_declared_is_implemented_and_nothing_else() {
    for kind in OpKind::ALL {
        let declared = kernel_for(*kind).is_some();
        assert!(!(declared && kind.is_view()), "{kind:?}: a view is not launched, so it has no declaration");
        for seed in 0..SEEDS {
            let example = Example::random(*kind, seed);
            let results = example.op.infer(&example.operands).unwrap().len();
            let view = Tensor::zeros(DType::F32, &[1]).view();
            let (from, to) = (vec![view.clone(); example.operands.len()], vec![view.clone(); results]);
            let bound = with_kernel(&example.op, &from, &to, |_| Ok(()));
            let implemented = !matches!(bound, Err(KernelError::Unknown { .. } | KernelError::Arity { .. }));
            let what = "`KERNELS` and `table::with_kernel` disagree";
            assert_eq!(implemented, declared || kind.is_view(), "{kind:?}: {what}");
        }
    }
}

#[test]
fn declared_dtypes_and_layouts_suffice() {
    KERNELS.iter().for_each(conforms);
}

/// Views that cannot be expressed by strides become copies.
#[test]
fn views_are_copied_from_any_strides() {
    const ANY: OperandDecl = OperandDecl {
        dtypes: &[DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8],
        layout: Layout::Strided,
    };
    for kind in OpKind::ALL.iter().filter(|kind| kind.is_view()) {
        conforms(&KernelDecl { name: kind.name(), op: *kind, operands: &[ANY] });
    }
}

/// Runs random uses of the op that the declaration admits, operands no better laid out than it asks, and holds
/// the results against the op's definition.
fn conforms(kernel: &KernelDecl) {
    let mut seen = vec![BTreeSet::new(); kernel.operands.len()];
    for seed in 0..SEEDS {
        let example = Example::random(kernel.op, seed);
        if kernel.takes(&example.operands)
            && let Some((operands, expected)) = evaluate(&example, seed)
            && expected
                .iter()
                .all(|result| !result.dtype.is_float() || has_results(&example.op, result.dtype))
        {
            launch(kernel, &example, &operands, &expected);
            for (index, operand) in operands.iter().enumerate() {
                seen[index.min(kernel.operands.len() - 1)].insert(operand.dtype);
            }
        }
    }
    for (index, (seen, declared)) in seen.iter().zip(kernel.operands).enumerate() {
        let declared: BTreeSet<_> = declared.dtypes.iter().copied().collect();
        assert_eq!(*seen, declared, "{}: dtypes of operand {index} that were run", kernel.name);
    }
}

/// Attribute `dtype` of an op may ask for results of a type that kernels do not compute.
fn has_results(op: &Op, dtype: DType) -> bool {
    is_compute_float(dtype) || op.attrs().iter().all(|(name, _)| *name != "dtype")
}

/// Operands within their domains and the op's results; `None` where the sizes leave no such operands.
fn evaluate(example: &Example, seed: u64) -> Option<(Vec<Reference>, Vec<Reference>)> {
    let graph = example.graph().unwrap();
    let leaves = match Sampler::new(seed).leaves(&graph, &|symbol| example.size(symbol)) {
        Err(EvalError::Domain { .. }) => return None,
        leaves => leaves.unwrap(),
    };
    let operands: Vec<_> = graph.leaves().map(|(value, _)| leaves[graph.value_name(value)].clone()).collect();
    let types = example.op.infer(&example.operands).unwrap();
    let shapes: Vec<_> = types.iter().map(|ty| example.shape(ty).unwrap()).collect();
    shapes.iter().try_for_each(|shape| check_size(shape)).unwrap();
    match example.op.eval(&operands, &shapes) {
        Err(EvalError::Domain { .. }) => None,
        results => Some((operands, results.unwrap())),
    }
}

fn launch(kernel: &KernelDecl, example: &Example, operands: &[Reference], expected: &[Reference]) {
    let what = format!("{}: {example:?}", kernel.name);
    for isa in levels() {
        let laid_out = operands.iter().enumerate().map(|(index, operand)| {
            let layout = kernel.operand(index).unwrap().layout;
            let tensor =
                Tensor::with_strides(operand.dtype, &operand.shape, &strides(layout, &operand.shape));
            tensor.of(&values(operand))
        });
        let laid_out: Vec<Tensor> = laid_out.collect();
        let results: Vec<Tensor> = match kernel.op.effect() {
            Effect::Writes => vec![laid_out[0].clone()],
            Effect::Pure => expected.iter().map(|y| Tensor::zeros(y.dtype, &y.shape)).collect(),
        };
        let mut from: Vec<View> = laid_out.iter().map(Tensor::view).collect();
        let to: Vec<View> = results.iter().map(Tensor::view).collect();
        if kernel.op.effect() == Effect::Writes {
            from[0] = to[0].clone();
        }
        let ran = with_kernel(&example.op, &from, &to, |kernel| {
            kernel.check()?;
            run(isa, 2, kernel);
            Ok(())
        });
        match ran {
            // Pages and rows of no element are well-typed, and no model has them.
            Err(KernelError::Shape { .. }) if from.iter().any(View::is_empty) => return,
            ran => ran.unwrap_or_else(|error| panic!("{what}: {error}")),
        }
        let magnitude = |operand: &Reference| values(operand).iter().fold(1.0, |max, v| v.abs().max(max));
        let scale: f64 = operands.iter().filter(|x| x.dtype.is_float()).map(magnitude).product();
        // One result may be made of another one, as it was rounded.
        let epsilon = expected.iter().map(|result| epsilon(result.dtype)).fold(0.0, f64::max);
        for (result, expected) in results.iter().zip(expected) {
            compare(&result.get(), expected, (epsilon, scale), &format!("{what} by {}", isa.name()));
        }
    }
}

/// The least that a layout asks: gaps in all dims, and the outer dims the other way round.
fn strides(layout: Layout, dims: &[usize]) -> Vec<usize> {
    let Some((last, outer)) = dims.split_last() else { return Vec::new() };
    let inner = match layout {
        Layout::Contiguous => return row_major(dims).to_vec(),
        Layout::DenseRows => 1,
        Layout::Strided => 2,
    };
    let mut next = inner * (last + 3);
    let mut strides: Vec<usize> = Vec::new();
    for dim in outer {
        strides.push(next);
        next *= dim + 1;
    }
    strides.push(inner);
    strides
}

fn values(tensor: &Reference) -> Vec<f64> {
    if tensor.dtype.is_float() {
        tensor.floats().to_vec()
    } else {
        tensor.ints().iter().map(|value| *value as f64).collect()
    }
}

/// Relative error that a result's type allows for.
fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 1.0 / 128.0,
        DType::F16 => 1.0 / 1024.0,
        // Room for what cancels in a sum that is divided by.
        _ => 1e-4,
    }
}

/// Precision is the matter of each kernel's own tests; this finds elements that are not where they belong.
fn compare(got: &[f64], expected: &Reference, (epsilon, scale): (f64, f64), what: &str) {
    let most = if expected.dtype == DType::F16 { 65504.0 } else { f64::INFINITY };
    assert_eq!(got.len(), expected.numel(), "{what}");
    for (at, (got, want)) in got.iter().zip(values(expected)).enumerate() {
        let close = (got - want).abs() <= epsilon * want.abs() + 1e-3 * scale;
        let same = *got == want || (got.is_nan() && want.is_nan());
        assert!(close || same || want.abs() > most, "{what}: element {at} is {got}, expected {want}");
    }
}
