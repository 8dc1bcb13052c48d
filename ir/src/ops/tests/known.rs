//! Values computed elsewhere: with numpy in f64, from the formulas of the ops' sources.

use super::*;

fn floats(shape: &[usize], data: &[f64]) -> Tensor {
    Tensor::float(DType::F64, shape, data.to_vec())
}

fn ints(shape: &[usize], data: &[i64]) -> Tensor {
    Tensor::int(DType::I32, shape, data.to_vec())
}

/// The first result of `op`, which has the shape of the expected data.
#[track_caller]
fn check(op: impl Into<Op>, operands: &[Tensor], shape: &[usize], expected: &[f64], tolerance: f64) {
    let y = &op.into().eval(operands, &[shape.to_vec(), shape.to_vec()]).unwrap()[0];
    assert_eq!(y.numel(), expected.len());
    for (got, expected) in y.floats().iter().zip(expected) {
        assert!((got - expected).abs() <= tolerance * expected.abs().max(1e-12), "{got} is not {expected}");
    }
}

const EXACT: f64 = 1e-12;
/// What f32 arithmetic leaves.
const SINGLE: f64 = 1e-6;

#[test]
fn rms_norm() {
    let x = floats(&[2, 4], &[1.0, -2.0, 3.0, 0.5, 0.0, 0.25, -0.125, 8.0]);
    let weight = floats(&[4], &[0.5, 1.0, -1.5, 2.0]);
    let expected = [
        0.26490609961523515,
        -1.0596243984609406,
        -2.384154896537116,
        0.5298121992304703,
        0.0,
        0.06246186842091849,
        0.04684640131568887,
        3.9975595789387834,
    ];
    check(RmsNorm { eps: Float(1e-5) }, &[x.clone(), weight.clone()], &[2, 4], &expected, EXACT);
    let half = floats(&[2, 4], &x.floats().iter().map(|x| x / 2.0).collect::<Vec<_>>());
    check(AddRmsNorm { eps: Float(1e-5) }, &[half.clone(), half, weight], &[2, 4], &expected, EXACT);
}

#[test]
fn silu() {
    let x = floats(&[5], &[-20.0, -1.0, 0.0, 0.5, 3.0]);
    let expected = [-4.122307236380407e-08, -0.2689414213699951, 0.0, 0.3112296656009273, 2.8577223804672998];
    check(Silu, std::slice::from_ref(&x), &[5], &expected, EXACT);
    let up = floats(&[5], &[2.0; 5]);
    check(Swiglu, &[x, up], &[5], &expected.map(|y| 2.0 * y), EXACT);
}

/// Three new tokens behind two old ones, two query heads over one key head, pages of two tokens out of order.
#[test]
fn attention() {
    let q = floats(&[3, 2, 2], &[1.0, 0.5, 0.0, -1.0, 2.0, 1.0, 0.25, 0.75, -1.0, 1.0, 1.0, 1.0]);
    let nan = f64::NAN;
    let keys = [
        0.5, -0.5, 2.0, 1.0, // page 0: keys 2, 3
        -1.0, 0.25, nan, nan, // page 1: key 4
        nan, nan, nan, nan, // page 2: of nobody
        1.0, 0.0, 0.0, 1.0, // page 3: keys 0, 1
    ];
    let k = floats(&[4, 2, 1, 2], &keys);
    let v = floats(&[4, 2, 1, 1], &[4.0, -3.0, 0.5, nan, nan, nan, 1.0, 2.0]);
    let operands = [q, k, v, ints(&[1, 3], &[3, 0, 1]), ints(&[2], &[0, 3]), ints(&[1], &[5])];
    let attention = Attention { scale: Float(0.5), window: None, soft_cap: None };
    let check = |attention, expected: [f64; 6]| check(attention, &operands, &[3, 2, 1], &expected, EXACT);
    check(
        attention.clone(),
        [
            2.151891677994543,
            2.5424737635009613,
            -1.4240403643695934,
            0.36868781742135126,
            1.0202504325491524,
            -0.43894718052051385,
        ],
    );
    check(
        Attention { window: Some(2), ..attention.clone() },
        [
            2.9375812532524876,
            3.358357398350786,
            -2.3325537457062335,
            -0.754250894227751,
            -0.357797545963301,
            -2.5346251593075975,
        ],
    );
    check(
        Attention { soft_cap: Some(Float(1.5)), ..attention },
        [
            2.1601270415320144,
            2.5389665178495395,
            -0.1460844096768883,
            0.40515021139153884,
            1.0188153486378186,
            -0.02445382221128293,
        ],
    );
}

#[test]
fn attention_refuses_values_outside_their_domains() {
    let cache = floats(&[2, 2, 1, 1], &[0.0; 4]);
    let eval = |table: [i64; 2], start: [i64; 2], context: i64| {
        let operands = [
            floats(&[3, 1, 1], &[0.0; 3]),
            cache.clone(),
            cache.clone(),
            ints(&[1, 2], &table),
            ints(&[2], &start),
            ints(&[1], &[context]),
        ];
        let attention = Attention { scale: Float(1.0), window: None, soft_cap: None };
        attention.eval(&operands, &[vec![3, 1, 1]]).map(|_| ())
    };
    let domain = |operand, value| Err(EvalError::Domain { operand, value });
    assert_eq!(eval([0, 1], [0, 3], 4), Ok(()));
    assert_eq!(eval([0, 2], [0, 3], 4), domain("block_table", 2));
    assert_eq!(eval([-1, 1], [0, 3], 4), domain("block_table", -1));
    assert_eq!(eval([0, 1], [0, 4], 4), domain("query_start", 4));
    assert_eq!(eval([0, 1], [i64::MIN, i64::MAX], 4), domain("query_start", i64::MAX));
    assert_eq!(eval([0, 1], [3, 0], 4), domain("query_start", 0));
    assert_eq!(eval([0, 1], [0, 3], 5), domain("context_len", 5));
    assert_eq!(eval([0, 1], [0, 3], 2), domain("context_len", 2));
    assert_eq!(eval([0, 1], [0, 3], i64::MIN), domain("context_len", i64::MIN));
}

#[test]
fn rope() {
    let x = floats(&[1, 1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let angles = [0.5f64, 2.0];
    let operands = [x, floats(&[1, 2], &angles.map(f64::cos)), floats(&[1, 2], &angles.map(f64::sin))];
    let halves = [-0.5606940539222363, -4.469483380397012, 3.1121732242753213, 0.1540075074627938, 5.0, 6.0];
    check(Rope { interleaved: false }, &operands, &[1, 1, 6], &halves, EXACT);
    let neighbours =
        [-0.08126851531803325, 2.2345906623849485, -4.885630216944154, 1.0633049342884753, 5.0, 6.0];
    check(Rope { interleaved: true }, &operands, &[1, 1, 6], &neighbours, EXACT);
}

#[test]
fn rope_table() {
    let operands = [ints(&[2], &[0, 3]), floats(&[2], &[1.0, 0.5])];
    let expected = [2.0, 2.0, -1.9799849932008908, 0.1414744033354058];
    check(RopeTable { scale: Float(2.0) }, &operands, &[2, 2], &expected, SINGLE);
}

#[track_caller]
fn check_frequencies(dim: u32, theta: f64, scaling: RopeScaling, expected: &[f64]) {
    check(RopeFreqs { dim, theta: Float(theta), scaling }, &[], &[expected.len()], expected, SINGLE);
}

#[test]
fn rope_frequencies() {
    check_frequencies(8, 1e4, RopeScaling::None, &[1.0, 0.1, 0.01, 0.001]);
    let linear = RopeScaling::Linear { factor: Float(4.0) };
    check_frequencies(8, 1e4, linear, &[0.25, 0.025, 0.0025, 0.00025]);
    let llama3 = RopeScaling::Llama3 {
        factor: Float(8.0),
        low_freq_factor: Float(1.0),
        high_freq_factor: Float(4.0),
        original_max_position_embeddings: 64,
    };
    let expected = [
        1.0,
        0.0794030091792082,
        0.004700753866357992,
        0.0009115830911521387,
        0.00017677669529663688,
        3.428102195952591e-05,
        6.647869871181235e-06,
        1.2891731721515574e-06,
    ];
    check_frequencies(16, 5e5, llama3, &expected);
}

#[test]
fn yarn_frequencies() {
    let yarn = |factor, beta_fast, beta_slow, original, truncate| RopeScaling::Yarn {
        factor: Float(factor),
        beta_fast: Float(beta_fast),
        beta_slow: Float(beta_slow),
        original_max_position_embeddings: original,
        truncate,
    };
    let rounded = [
        1.0,
        0.24211188335664152,
        0.053125,
        0.009388011803624875,
        0.000625,
        0.0001976423537605237,
        6.25e-05,
        1.976423537605237e-05,
    ];
    check_frequencies(16, 1e4, yarn(16.0, 32.0, 1.0, 512, true), &rounded);
    let smooth = [
        1.0,
        0.29770115657020557,
        0.06299829579325598,
        0.010073505026118031,
        0.000625,
        0.0001976423537605237,
        6.25e-05,
        1.976423537605237e-05,
    ];
    check_frequencies(16, 1e4, yarn(16.0, 32.0, 1.0, 512, false), &smooth);
    // The upper end is clamped at dim - 1, not at dim / 2 - 1.
    check_frequencies(8, 1e4, yarn(4.0, 64.0, 1e-4, 100_000, true), &[1.0, 0.1, 0.01, 0.00085]);
}

#[test]
fn cache_write_keeps_what_it_does_not_write() {
    let cache = floats(&[2, 2, 1], &[0.0, 1.0, 2.0, 3.0]);
    let rows = floats(&[3, 1], &[10.0, 11.0, 12.0]);
    let eval =
        |slots: &[i64]| CacheWrite.eval(&[cache.clone(), rows.clone(), ints(&[3], slots)], &[vec![2, 2, 1]]);
    assert_eq!(eval(&[3, -1, 0]).unwrap()[0].floats(), [12.0, 1.0, 2.0, 10.0]);
    let outside = EvalError::Domain { operand: "slot_mapping", value: 4 };
    assert_eq!(eval(&[3, -1, 4]), Err(outside));
}
