//! What holds for every op, on random uses of each.

mod known;
mod views;

use super::*;
use crate::attr::Float;
use crate::reference::{Rounding, Sampler, check_size, interpret};
use crate::text::{parse_function, parse_module, print_module};
use crate::{DType, Module, SymbolInfo};

const SEEDS: u64 = 200;

fn for_each_case(mut check: impl FnMut(Example, u64)) {
    for kind in OpKind::ALL {
        for seed in 0..SEEDS {
            check(Example::random(*kind, seed), seed);
        }
    }
}

/// Operands for a case, or why there are no meaningful ones; the results as evaluation gives them.
fn evaluate(case: &Example, seed: u64) -> Result<Vec<Tensor>, EvalError> {
    let graph = case.graph().unwrap();
    let leaves = Sampler::new(seed).leaves(&graph, &|symbol| case.size(symbol))?;
    let operands: Vec<Tensor> =
        graph.leaves().map(|(value, _)| leaves[graph.value_name(value)].clone()).collect();
    let types = case.op.infer(&case.operands).unwrap();
    let shapes: Vec<Vec<usize>> = types.iter().map(|ty| case.shape(ty).unwrap()).collect();
    shapes.iter().try_for_each(|shape| check_size(shape))?;
    let results = case.op.eval(&operands, &shapes)?;
    for rounding in [Rounding::Exact, Rounding::Stored] {
        interpret(&graph, &|symbol| case.size(symbol), &leaves, rounding)?;
    }
    assert_eq!(results.len(), types.len(), "{case:?}");
    for ((result, ty), shape) in results.iter().zip(&types).zip(&shapes) {
        assert!(result.is_of(ty, shape), "{case:?}: {:?} is not {ty}", result.shape);
    }
    Ok(results)
}

/// Asserts that the op refuses operands of these types, with these attributes, and says so in these words.
pub(super) fn refuses(kind: OpKind, refusals: &[(&[&str], &str, &str)]) {
    for (operands, attrs, expected) in refusals {
        let mut text = "func @f {\n".to_owned();
        for (at, ty) in operands.iter().enumerate() {
            text += &format!("%x{at} = input x{at} : {ty}\n");
        }
        let names: Vec<String> = (0..operands.len()).map(|at| format!("%x{at}")).collect();
        text += &format!("%y = {} {} {{{attrs}}}\n}}", kind.name(), names.join(", "));
        let error = parse_function(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}\n{error}\nexpected {expected}");
    }
}

#[test]
fn evaluation_gives_what_inference_promises() {
    let mut refused = std::collections::BTreeMap::new();
    for_each_case(|case, seed| {
        let kind = case.op.kind();
        let types = case.op.infer(&case.operands).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        if !kind.results().is_empty() {
            assert_eq!(types.len(), kind.results().len(), "{case:?}");
        }
        match evaluate(&case, seed) {
            Ok(_) => {}
            // Rows of an empty table and contexts that fit no page are of no domain.
            Err(EvalError::Domain { .. }) => *refused.entry(kind).or_insert(0) += 1,
            Err(error) => panic!("{case:?}: {error}"),
        }
    });
    for (kind, count) in refused {
        let may = kind.operands().iter().any(|operand| operand.domain != Domain::Values);
        assert!(may, "{kind:?} refused operands though it takes any");
        assert!(count < SEEDS * 2 / 3, "{kind:?} was hardly tested: {count} refusals");
    }
}

#[test]
fn attributes_read_back() {
    for_each_case(|case, _| {
        let kind = case.op.kind();
        let mut attrs: Vec<(String, Attr)> =
            case.op.attrs().into_iter().map(|(name, attr)| (name.to_owned(), attr)).collect();
        assert_eq!(kind.with_attrs(&attrs).as_ref(), Ok(&case.op));
        for at in 0..attrs.len() {
            let mut other = attrs.clone();
            other[at].1 = Attr::Name("bogus".into());
            assert!(kind.with_attrs(&other).is_err(), "{other:?}");
        }
        attrs.push(("bogus".into(), Attr::Bool(true)));
        assert!(matches!(kind.with_attrs(&attrs), Err(AttrError::Unknown { .. })));
    });
}

#[test]
fn text_reads_back() {
    for_each_case(|case, _| {
        let mut module = Module { name: "case".into(), ..Module::default() };
        for symbol in Example::SYMBOLS {
            module.symbols.declare(symbol, SymbolInfo { min: 0, max: 7, likely: 3 });
        }
        module.functions.push(case.graph().unwrap());
        let text = print_module(&module);
        let parsed = parse_module(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(parsed, module);
        assert_eq!(print_module(&parsed), text);
        assert_eq!(crate::verify::verify(&module), [], "{text}");
    });
}

#[test]
fn work_is_a_count() {
    for_each_case(|case, _| {
        let results = case.op.infer(&case.operands).unwrap();
        let Work { read_bytes, written_bytes, flops } = case.op.work(&case.operands, &results);
        for dim in [read_bytes, written_bytes, flops] {
            let value = dim.eval(&|symbol| case.size(symbol)).unwrap();
            assert!(value >= 0, "{case:?}: {dim}");
        }
    });
}

#[test]
fn what_inference_accepts_can_be_evaluated() {
    let mut accepted = 0;
    for_each_case(|mut case, seed| {
        let mut random = Sampler::new(!seed);
        for _ in 0..8 {
            spoil(&mut case, &mut random);
            let Ok(results) = case.op.infer(&case.operands) else { continue };
            case.op.work(&case.operands, &results);
            let negative = |ty: &TensorType| {
                ty.shape.iter().any(|dim| dim.eval(&|symbol| case.size(symbol)).map_or(true, |size| size < 0))
            };
            if !case.operands.iter().chain(&results).any(negative) {
                accepted += usize::from(evaluate(&case, seed).is_ok());
            }
        }
    });
    assert!(accepted > 100, "{accepted}");
}

/// Changes an operand: its type, number of axes, a size; or how many there are.
fn spoil(case: &mut Example, random: &mut Sampler) {
    let dims =
        [Dim::ZERO, Dim::ONE, Dim::constant(2), Dim::symbol("T"), Dim::symbol("B"), Dim::constant(1 << 40)];
    let dim = random.pick(&dims).unwrap().clone();
    let dtype = *random.pick(&DType::ALL).unwrap();
    let operand = random.below(case.operands.len() as u64) as usize;
    let Some(ty) = case.operands.get_mut(operand) else {
        case.operands.push(TensorType::new(dtype, [dim]));
        return;
    };
    let axis = random.below(ty.shape.len() as u64) as usize;
    match random.below(6) {
        0 => ty.dtype = dtype,
        1 => ty.shape.insert(axis, dim),
        2 if !ty.shape.is_empty() => {
            ty.shape.remove(axis);
        }
        3 => {
            case.operands.remove(operand);
        }
        4 => case.operands.push(TensorType::new(dtype, [dim])),
        _ if !ty.shape.is_empty() => ty.shape[axis] = dim,
        _ => {}
    }
}

#[test]
fn too_few_too_many_or_too_large_operands_are_refused() {
    for kind in OpKind::ALL {
        let case = Example::random(*kind, 1);
        let least = kind.operands().iter().filter(|operand| operand.arity != Arity::Optional).count();
        let refuses = |operands: &[TensorType]| case.op.infer(operands).unwrap_err();
        if least > 0 {
            assert!(matches!(refuses(&case.operands[..least - 1]), TypeError::Arity { .. }));
            for shape in [vec![Dim::INVALID], vec![Dim::constant(i64::MAX); 2], vec![Dim::constant(i64::MAX)]]
            {
                let mut operands = case.operands.clone();
                operands[0] = TensorType::new(DType::F64, shape);
                assert_eq!(refuses(&operands), TypeError::Overflow { op: kind.name() });
            }
            let mut operands = case.operands.clone();
            operands[0] = TensorType::new(DType::F32, vec![Dim::ONE; 17]);
            assert!(matches!(refuses(&operands), TypeError::Rank { .. }));
        }
        if kind.operands().iter().all(|operand| operand.arity != Arity::Many) {
            let scalar = TensorType::new(DType::F32, []);
            let operands = vec![scalar; kind.operands().len() + 1];
            assert!(matches!(refuses(&operands), TypeError::Arity { .. }));
        }
    }
}

#[test]
fn attributes_that_no_text_can_say_are_refused() {
    let x = TensorType::new(DType::F32, [Dim::constant(4)]);
    let matrix = TensorType::new(DType::F32, [Dim::constant(4), Dim::constant(4)]);
    let refuses = |op: Op, operands: &[TensorType]| {
        assert!(matches!(op.infer(operands), Err(TypeError::Attribute { .. })), "{op:?}");
    };
    refuses(Cast { dtype: DType::I8 }.into(), std::slice::from_ref(&x));
    refuses(Matmul { trans_b: false, dtype: Some(DType::Bool) }.into(), &[x.clone(), matrix.clone()]);
    refuses(Linear { dtype: Some(DType::I32) }.into(), &[x.clone(), matrix]);
    refuses(RmsNorm { eps: Float(-1.0), dtype: None }.into(), &[x.clone(), x.clone()]);
    let freqs = |dim, theta| RopeFreqs { dim, theta: Float(theta), scaling: RopeScaling::None };
    refuses(freqs(3, 1e4).into(), &[]);
    refuses(freqs(1 << 17, 1e4).into(), &[]);
    refuses(freqs(4, f64::NAN).into(), &[]);
    let linear = RopeScaling::Linear { factor: Float(0.0) };
    refuses(RopeFreqs { scaling: linear, ..freqs(4, 1e4) }.into(), &[]);
    let Example { op: Op::Attention(attention), operands, .. } = Example::random(OpKind::Attention, 0) else {
        panic!()
    };
    refuses(Attention { window: Some(0), ..attention.clone() }.into(), &operands);
    refuses(Attention { soft_cap: Some(Float(0.0)), ..attention }.into(), &operands);
}

#[test]
fn names_are_unique_and_arities_in_order() {
    for kind in OpKind::ALL {
        assert_eq!(OpKind::from_name(kind.name()), Some(*kind));
        let operands = kind.operands();
        let first_optional = operands.iter().position(|operand| operand.arity == Arity::Optional);
        let last_one = operands.iter().rposition(|operand| operand.arity == Arity::One);
        assert!(first_optional.is_none_or(|first| last_one.is_none_or(|last| last < first)), "{kind:?}");
        let many = operands.iter().position(|operand| operand.arity == Arity::Many);
        assert!(many.is_none_or(|at| at + 1 == operands.len()), "{kind:?}");
    }
}
