//! Operands that each op must refuse.

use super::*;
use crate::text::parse_function;

/// Types of the operands, attributes, and a part of the error.
type Refusal = (&'static [&'static str], &'static str, &'static str);

fn refusals(kind: OpKind) -> &'static [Refusal] {
    match kind {
        OpKind::Add => &[
            (&["f32[T, 4]", "bf16[4]"], "", "`b` is bf16, expected f32"),
            (&["i32[T]", "i32[T]"], "", "`a` is i32, expected a float type"),
            (&["f32[T, 4]", "f32[T]"], "", "`b` has size T along axis 0, expected 4"),
            (&["f32[1]", "f32[T, 4]"], "", "`a` has size 1 along axis 0, expected 4"),
        ],
        OpKind::Mul => &[(&["f32[T, 4]", "f32[T, 1]"], "", "`b` has size 1 along axis 1, expected 4")],
        OpKind::AddRmsNorm => &[
            (&["f32[T, 4]", "f32[B, 4]", "f32[4]"], "eps=1.0", "`r` has size B along axis 0, expected T"),
            (&["f32[T, 4]", "f16[T, 4]", "f32[4]"], "eps=1.0", "`r` is f16, expected f32"),
            (&["f32[]", "f32[]", "f32[1]"], "eps=1.0", "`x` has 0 axes, expected at least 1"),
        ],
        OpKind::Attention => &[
            (
                &["f32[T, 3, 8]", "f32[P, 4, 2, 8]", "f32[P, 4, 2, 8]", "i32[B, M]", "i32[B + 1]", "i32[B]"],
                "scale=1.0",
                "`q` has size 3 along axis 1, expected 2",
            ),
            (
                &["f32[T, 2, 8]", "f32[P, 4, B, 8]", "f32[P, 4, B, 8]", "i32[B, M]", "i32[B + 1]", "i32[B]"],
                "scale=1.0",
                "`q` has size 2 along axis 1, expected B",
            ),
            (
                &["f32[T, 0, 8]", "f32[P, 4, 0, 8]", "f32[P, 4, 0, 8]", "f32[3]", "i32[B + 1]", "i32[B]"],
                "scale=1.0",
                "`block_table` is f32, expected i32",
            ),
            (
                &["f32[T, B, 8]", "f32[P, 4, B, 8]", "f32[P, 4, B, 8]", "i32[B]", "i32[B + 1]", "i32[B]"],
                "scale=1.0",
                "`block_table` has 1 axes, expected 2",
            ),
            (
                &["f32[T, 2, 8]", "f32[P, 4, 2, 8]", "f32[P, 5, 2, 8]", "i32[B, M]", "i32[B + 1]", "i32[B]"],
                "scale=1.0",
                "`v_cache` has size 5 along axis 1, expected 4",
            ),
            (
                &["f32[T, 2, 8]", "f32[P, 4, 2, 8]", "f32[P, 4, 2, 8]", "i32[B, M]", "i32[B]", "i32[B]"],
                "scale=1.0",
                "`query_start` has size B along axis 0, expected B + 1",
            ),
            (
                &["f32[T, 2, 8]", "f32[P, 4, 2, 8]", "f32[P, 4, 2, 8]", "i32[B, M]", "i32[B + 1]", "i32[B]"],
                "scale=1.0, soft_cap=0",
                "`soft_cap`: is not positive",
            ),
        ],
        OpKind::CacheWrite => &[
            (&["f32[P, 4, 2]", "f32[T, 3]", "i32[T]"], "", "`rows` has size 3 along axis 1, expected 2"),
            (&["f32[P, 4, 2]", "f32[T, 2]", "i64[T]"], "", "`slot_mapping` is i64, expected i32"),
            (&["f32[P, 4]", "f32[T]", "i32[T]"], "", "`cache` has 2 axes, expected at least 3"),
        ],
        OpKind::Cast => &[
            (&["i8[T]"], "dtype=f32", "`x` is i8, expected a float type"),
            (&["f32[T]"], "dtype=i8", "`dtype`: expected a float dtype, found `i8`"),
        ],
        OpKind::Concat => &[
            (&["f32[T]", "f32[T]"], "axis=1", "the parts have 1 axes"),
            (&["f32[T, 2]", "f32[B, 2]"], "axis=1", "size B along axis 0, expected T"),
            (&["f32[T]", "f16[T]"], "axis=0", "is f16, expected f32"),
            (&["i8[9223372036854775807]", "i8[1]"], "axis=0", "overflows"),
        ],
        OpKind::Gather => &[
            (&["f32[]", "i32[T]"], "", "`table` has 0 axes"),
            (&["f32[5]", "f32[T]"], "", "`indices` is f32, expected i32 or i64"),
            (&["i8[1, 4611686018427387904]", "i32[2]"], "", "overflows"),
        ],
        OpKind::Linear => &[
            (&["f32[T, 4]", "f32[3, 5]"], "", "`weight` has size 5 along axis 1, expected 4"),
            (&["f32[T, 4]", "f32[3, 4]", "f32[4]"], "", "`bias` has size 4 along axis 0, expected 3"),
            (&["f32[T, 4]", "i8[3, 4]"], "", "`weight` is i8"),
        ],
        OpKind::Matmul => &[
            (&["f32[T, 4]", "f32[3, 4]"], "", "`b` has size 3 along axis 0, expected 4"),
            (&["f32[T, 4]", "f32[4, 3]"], "trans_b=true", "`b` has size 3 along axis 1, expected 4"),
            (&["f32[4]", "f32[2, 4, 3]"], "", "`a` has 1 axes, expected at least 3"),
            (&["f32[T, 1, 4]", "f32[B, 4, 3]"], "", "`b` has size B along axis 0, expected T"),
            (&["f32[T, 4]", "f32[4]"], "", "`b` has 1 axes, expected at least 2"),
        ],
        OpKind::Reshape => &[
            (&["f32[T, 4]"], "shape=[T, 5]", "5*T elements do not fit 4*T"),
            (&["f32[T]"], "shape=[4611686018427387904, T, T]", "do not fit"),
        ],
        OpKind::RmsNorm => &[
            (&["f32[T, 4]", "f32[T]"], "eps=1.0", "`weight` has size T along axis 0, expected 4"),
            (&["f32[T, 4]", "f32[4]"], "eps=-1.0", "`eps`: is negative"),
        ],
        OpKind::Rope => &[
            (&["f32[T, 2, 5]", "f32[T, 3]", "f32[T, 3]"], "", "`cos` has size 3 along axis 1, expected 2"),
            (&["f32[T, 2, 6]", "f32[T, 3]", "f32[T, 2]"], "", "`sin` has size 2 along axis 1, expected 3"),
            (&["f32[T, 2, 6]", "f16[T, 3]", "f16[T, 3]"], "", "`cos` is f16, expected f32"),
            (&["f32[T, 2, B]", "f32[T, 3]", "f32[T, 3]"], "", "expected floordiv(B, 2)"),
        ],
        OpKind::RopeFreqs => &[
            (&[], "dim=7, theta=1e4", "odd or above 65536"),
            (&[], "dim=8, theta=1", "is not above 1"),
            (&[], "dim=8, theta=1e4, scaling=linear, factor=0", "`factor`: is not positive"),
            (&[], "dim=8, theta=1e4, scaling=linear", "`factor` is missing"),
            (&[], "dim=8, theta=1e4, scaling=dynamic", "expected linear, llama3 or yarn"),
            (
                &[],
                "dim=8, theta=1e4, scaling=llama3, factor=8, low_freq_factor=4, high_freq_factor=4, \
                original_max_position_embeddings=64",
                "is not above low_freq_factor",
            ),
            (
                &[],
                "dim=8, theta=1e4, scaling=yarn, factor=8, beta_fast=32, beta_slow=0, \
                original_max_position_embeddings=64",
                "`beta_slow`: is not positive",
            ),
        ],
        OpKind::RopeTable => &[
            (&["i64[T]", "f32[4]"], "", "`positions` is i64, expected i32"),
            (&["i32[T, 1]", "f32[4]"], "", "`positions` has 2 axes, expected 1"),
        ],
        OpKind::Silu => &[(&["bool[T]"], "", "`x` is bool, expected a float type")],
        OpKind::Split => &[
            (&["f32[T, 4]"], "axis=2, sizes=[4]", "`x` has 2 axes"),
            (&["f32[T, 4]"], "axis=-9223372036854775808, sizes=[4]", "`x` has 2 axes"),
            (&["f32[T, 4]"], "axis=1, sizes=[]", "`sizes`: is empty"),
            (&["f32[T, 4]"], "axis=1, sizes=[1, 2]", "the parts add up to 3"),
        ],
        OpKind::Swiglu => &[
            (&["f32[T, 4]", "f32[4]"], "", "`up` has 1 axes, expected 2"),
            (&["f32[T, 4]", "f16[T, 4]"], "", "`up` is f16, expected f32"),
        ],
        OpKind::Transpose => &[
            (&["f32[T, 4]"], "permutation=[0]", "each of the 2 axes"),
            (&["f32[T, 4]"], "permutation=[0, 0]", "each of the 2 axes"),
            (&["f32[T, 4]"], "permutation=[0, 4294967296]", "axes from 0 on"),
            (&["f32[T, 4]"], "permutation=[0, T]", "expected a list of integers"),
        ],
    }
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    for kind in OpKind::ALL {
        assert!(!refusals(*kind).is_empty());
        for (operands, attrs, expected) in refusals(*kind) {
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
}
