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
    check(RmsNorm { eps: Float(1e-5), dtype: None }, &[x.clone(), weight.clone()], &[2, 4], &expected, EXACT);
    let half = floats(&[2, 4], &x.floats().iter().map(|x| x / 2.0).collect::<Vec<_>>());
    check(
        AddRmsNorm { eps: Float(1e-5), dtype: None },
        &[half.clone(), half, weight],
        &[2, 4],
        &expected,
        EXACT,
    );
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

#[test]
fn activations() {
    let x = floats(&[5], &[-20.0, -1.0, 0.0, 0.5, 3.0]);
    let check = |op: Op, expected: [f64; 5]| check(op, std::slice::from_ref(&x), &[5], &expected, EXACT);
    let sigmoid = [2.0611536181902037e-09, 0.2689414213699951, 0.5, 0.6224593312018546, 0.9525741268224334];
    check(Sigmoid.into(), sigmoid);
    let gelu = [0.0, -0.15865525393145702, 0.0, 0.34573123063700656, 2.99595030590511];
    check(Gelu { tanh: false }.into(), gelu);
    let tanh = [0.0, -0.15880800939172324, 0.0, 0.34571400982514394, 2.996362607918227];
    check(Gelu { tanh: true }.into(), tanh);
    let capped = [-2.4999994373241896, -0.9498724056380623, 0.0, 0.49343830056226, 2.084136517530388];
    check(SoftCap { cap: Float(2.5) }.into(), capped);
    check(Clamp { least: Float(-2.0), greatest: Float(0.75) }.into(), [-2.0, -1.0, 0.0, 0.5, 0.75]);
    check(Relu.into(), [0.0, 0.0, 0.0, 0.5, 3.0]);
    check(Scale { by: Float(-0.5) }.into(), [10.0, 0.5, 0.0, -0.25, -1.5]);
    check(Shift { by: Float(1.0) }.into(), [-19.0, 0.0, 1.0, 1.5, 4.0]);
}

#[test]
fn over_rows() {
    let x = floats(&[2, 4], &[1.0, -2.0, 3.0, 0.5, 0.0, 0.25, -0.125, 8.0]);
    let softmax = [
        0.11055375036173921,
        0.005504147127583673,
        0.8168878633700657,
        0.06705423914061147,
        0.00033510666088598727,
        0.00043028546987896747,
        0.00029573059026735015,
        0.9989388772789677,
    ];
    check(Softmax, std::slice::from_ref(&x), &[2, 4], &softmax, EXACT);
    let plain = [
        0.21055838998863707,
        -1.4739087299204596,
        1.333536469928035,
        -0.07018612999621236,
        -0.5889892371759059,
        -0.5164982541388714,
        -0.6252347286944232,
        1.7307222200092005,
    ];
    let layer_norm = LayerNorm { eps: Float(1e-5), dtype: None };
    check(layer_norm.clone(), std::slice::from_ref(&x), &[2, 4], &plain, EXACT);
    let affine = [
        0.35527919499431854,
        -1.4739087299204596,
        -3.0003047048920526,
        2.8596277400075754,
        -0.04449461858795295,
        -0.5164982541388714,
        -0.062147906958365196,
        6.461444440018401,
    ];
    let (weight, bias) = (floats(&[4], &[0.5, 1.0, -1.5, 2.0]), floats(&[4], &[0.25, 0.0, -1.0, 3.0]));
    check(layer_norm, &[x.clone(), weight, bias], &[2, 4], &affine, EXACT);
    check(Sum, std::slice::from_ref(&x), &[2], &[2.5, 8.125], EXACT);
    let factors = floats(&[2], &[2.0, -1.0]);
    check(ScaleRows, &[x, factors], &[2, 4], &[2.0, -4.0, 6.0, 1.0, -0.0, -0.25, 0.125, -8.0], EXACT);
    let weights = floats(&[2, 3], &[0.5, 0.25, 0.125, 1.0, 0.0, 3.0]);
    let shares = [0.5714285714285714, 0.2857142857142857, 0.14285714285714285, 0.25, 0.0, 0.75];
    check(Renormalize { eps: Float(1e-20), least: Float(0.0) }, &[weights], &[2, 3], &shares, EXACT);
}

/// Two tokens choose two of four experts in two groups; each expert's rows are multiplied by its matrix and brought
/// back, as in a mixture of experts.
#[test]
fn routing() {
    let scores = floats(&[2, 4], &[0.1, 0.4, 0.3, 0.4, f64::NAN, 0.0, -0.0, -1.0]);
    let top = Topk { k: 2 }.eval(std::slice::from_ref(&scores), &[vec![2, 2], vec![2, 2]]).unwrap();
    assert_eq!(top[1].ints(), [1, 3, 0, 1], "equals by their place, NaN first");
    let grouped = floats(&[2, 2, 2], &[0.1, 0.4, 0.3, 0.5, 4.0, 3.0, 2.0, 1.0]);
    let kept = KeepGroups { fill: Float(-9.0) };
    let expected = [-9.0, -9.0, 0.3, 0.5, 4.0, 3.0, -9.0, -9.0];
    check(kept, &[grouped, ints(&[2, 1], &[1, 0])], &[2, 2, 2], &expected, EXACT);
    let chosen = ints(&[2, 2], &[3, 1, 0, 1]);
    let plain = floats(&[2, 4], &[0.1, 0.4, 0.3, 0.5, 4.0, 3.0, 2.0, 1.0]);
    check(TakeAlong, &[plain, chosen.clone()], &[2, 2], &[0.5, 0.4, 4.0, 3.0], EXACT);
    let counts = Bincount { size: 4 }.eval(std::slice::from_ref(&chosen), &[vec![4]]).unwrap().remove(0);
    assert_eq!(counts.ints(), [1, 2, 0, 1]);
    let order = Argsort.eval(&[ints(&[4], chosen.ints())], &[vec![4]]).unwrap().remove(0);
    assert_eq!(order.ints(), [2, 1, 3, 0]);
    let tokens = FloorDiv { by: 2 }.eval(std::slice::from_ref(&order), &[vec![4]]).unwrap().remove(0);
    assert_eq!(tokens.ints(), [1, 0, 1, 0]);
    let rows = floats(&[4, 1], &[7.0, 2.0, 7.0, 2.0]);
    let matrices = floats(&[4, 1, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]);
    let product = GroupedMatmul { trans_b: false, dtype: None };
    let product = product.eval(&[rows, matrices, counts], &[vec![4, 2]]).unwrap().remove(0);
    assert_eq!(product.floats(), [7.0, 70.0, 4.0, 40.0, 14.0, 140.0, 8.0, 80.0]);
    let back = IndexAdd { rows: Dim::constant(3) };
    check(back, &[product, tokens], &[3, 2], &[12.0, 120.0, 21.0, 210.0, 0.0, 0.0], EXACT);
    let negative = FloorDiv { by: 2 }.eval(&[ints(&[2], &[-1, -2])], &[vec![2]]).unwrap();
    assert_eq!(negative[0].ints(), [-1, -1]);
}

/// Scores, bias, groups and weights of a router at once; the numbers are Python's.
#[test]
fn gating() {
    let x = floats(&[1, 6], &[0.5, -1.0, 2.0, 0.25, 1.5, -0.5]);
    let bias = floats(&[6], &[0.0, 1.5, -1.0, 0.25, 0.0, 0.5]);
    let gating = MoeGating {
        k: 3,
        scoring: Scoring::Sigmoid,
        groups: 3,
        kept: 2,
        best: 2,
        renormalize: true,
        eps: Float(0.0),
        scale: Float(2.5),
    };
    let check = |gating: MoeGating, operands: &[Tensor], ids: &[i64], weights: &[f64]| {
        let shape = vec![1, ids.len()];
        let results = gating.eval(operands, &[shape.clone(), shape]).unwrap();
        assert_eq!(results[1].ints(), ids);
        super::known::check(gating, operands, &[1, ids.len()], weights, EXACT);
    };
    let weights = [0.45924014745946773, 0.6446825168380328, 1.3960773357024994];
    check(gating.clone(), &[x.clone(), bias], &[1, 5, 4], &weights);
    let plain =
        MoeGating { k: 2, groups: 1, kept: 1, best: 1, renormalize: false, scale: Float(1.0), ..gating };
    let softmax = MoeGating { scoring: Scoring::Softmax, ..plain.clone() };
    check(softmax, std::slice::from_ref(&x), &[2, 4], &[0.4683167710646872, 0.28404848010835504]);
    let of_chosen = MoeGating { scoring: Scoring::SoftmaxOfChosen, ..plain };
    check(of_chosen, &[x], &[2, 4], &[0.6224593312018546, 0.3775406687981454]);
}

/// Two tokens choose two of three experts: their rows by expert, where each pair's row is, and back.
#[test]
fn routing_in_one_pass() {
    let ids = ints(&[2, 2], &[2, 0, 0, 1]);
    let x = floats(&[2, 1], &[5.0, 7.0]);
    let shapes = [vec![4, 1], vec![4], vec![3]];
    let routed = MoeInitRouting { experts: 3, dtype: DType::I64 }.eval(&[x, ids], &shapes).unwrap();
    assert_eq!(routed[0].floats(), [5.0, 7.0, 7.0, 5.0]);
    assert_eq!(routed[1].ints(), [3, 0, 1, 2]);
    assert_eq!(routed[2].ints(), [2, 1, 1]);
    let rows = floats(&[4, 1], &[1.0, 10.0, 100.0, 1000.0]);
    let weights = floats(&[2, 2], &[0.5, 2.0, 1.0, 3.0]);
    let operands = [rows, routed[1].clone(), weights, floats(&[2, 1], &[0.25, 0.5])];
    check(MoeFinalizeRouting, &operands[..3], &[2, 1], &[502.0, 310.0], EXACT);
    check(MoeFinalizeRouting, &operands, &[2, 1], &[502.25, 310.5], EXACT);
}

/// Keys and values made of latents by a matrix each: attending to them, and attending to the latents with the matrices
/// moved to queries and results, is the same.
#[test]
fn latents_are_attended_to_in_either_form() {
    let mut random = Sampler::new(5);
    let mut draw = |shape: &[usize]| {
        Tensor::float(DType::F64, shape, (0..shape.iter().product()).map(|_| random.normal()).collect())
    };
    let (tokens, heads, nope, rope, rank, width, pages, block) = (4, 3, 5, 2, 7, 6, 5, 2);
    let (q, q_rope) = (draw(&[tokens, heads, nope]), draw(&[tokens, heads, rope]));
    let (latents, ropes) = (draw(&[pages, block, rank]), draw(&[pages, block, rope]));
    let (up_k, up_v) = (draw(&[heads, nope, rank]), draw(&[heads, width, rank]));
    let table = ints(&[2, 3], &[4, 1, 3, 0, 2, 0]);
    let (starts, contexts) = (ints(&[3], &[0, 3, 4]), ints(&[2], &[5, 3]));
    let scale = Float(0.3);
    let read = |cache: &Tensor, width: usize| {
        let operands = [cache.clone(), table.clone(), contexts.clone()];
        CacheRead { rows: Dim::constant(9) }.eval(&operands, &[vec![9, width]]).unwrap().remove(0)
    };
    let (context, context_rope) = (read(&latents, rank), read(&ropes, rope));
    assert!(context.floats()[8 * rank..].iter().all(|x| *x == 0.0), "past the last sequence");
    // [C, N, ..] from [C, R] and [N, .., R]
    let expand = |up: &Tensor| {
        let (heads, width) = (up.shape[0], up.shape[1]);
        let at = |c: usize, row: usize| -> f64 {
            (0..rank).map(|r| context.floats()[c * rank + r] * up.floats()[row * rank + r]).sum()
        };
        let data =
            (0..9).flat_map(|c| (0..heads * width).map(move |row| (c, row))).map(|(c, row)| at(c, row));
        Tensor::float(DType::F64, &[9, heads, width], data.collect())
    };
    let operands = [q.clone(), q_rope.clone(), expand(&up_k), context_rope, expand(&up_v), starts.clone()];
    let operands = [operands.as_slice(), std::slice::from_ref(&contexts)].concat();
    let expanded =
        RaggedAttention { scale }.eval(&operands, &[vec![tokens, heads, width]]).unwrap().remove(0);
    let absorb = |t: usize, h: usize, r: usize| -> f64 {
        let key = |d: usize| up_k.floats()[(h * nope + d) * rank + r];
        (0..nope).map(|d| q.floats()[(t * heads + h) * nope + d] * key(d)).sum()
    };
    let latent_q =
        (0..tokens * heads * rank).map(|at| absorb(at / rank / heads, at / rank % heads, at % rank));
    let latent_q = Tensor::float(DType::F64, &[tokens, heads, rank], latent_q.collect());
    let operands = [latent_q, q_rope, latents, ropes, table.clone(), starts, contexts.clone()];
    let shape = vec![tokens, heads, rank];
    let weighted = LatentAttention { scale }.eval(&operands, &[shape]).unwrap().remove(0);
    for (at, expected) in expanded.floats().iter().enumerate() {
        let (row, d) = (at / width, at % width);
        let value = |r: usize| up_v.floats()[(row % heads * width + d) * rank + r];
        let got: f64 = (0..rank).map(|r| weighted.floats()[row * rank + r] * value(r)).sum();
        assert!((got - expected).abs() < 1e-12 * expected.abs().max(1.0), "{got} is not {expected}");
    }
}

#[test]
fn a_sink_takes_weight_and_gives_nothing() {
    let operands = [
        floats(&[1, 2, 1], &[1.0, 1.0]),
        floats(&[1, 2, 1, 1], &[0.0, 0.0]),
        floats(&[1, 2, 1, 1], &[3.0, 6.0]),
        ints(&[1, 1], &[0]),
        ints(&[2], &[0, 1]),
        ints(&[1], &[2]),
        floats(&[2], &[0.0, f64::from(2f32.ln())]),
    ];
    let attention = Attention { scale: Float(1.0), window: None, soft_cap: None };
    check(attention, &operands, &[1, 2, 1], &[3.0, 9.0 / 4.0], SINGLE);
}
