//! Softmax, sums, the greatest, order and counts.

use super::aclnn;
use crate::DType;

aclnn! {
    /// Softmax of the innermost axis.
    SOFTMAX = softmax: Softmax, "aclnnSoftmax";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., D]").strided();
        dim: i64 = Source::Int(-1);
        out: tensor = result(0, "[.., D]").strided();
    }
    dtypes {
        ALL: "f16 -> f16", "f32 -> f32";
        A2_A3: "bf16 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 D=64", "";
    source "hicann/ops-nn:activation/softmax_v2/docs/aclnnSoftmax.md";
}

aclnn! {
    /// Sum of the innermost axis.
    SUM = sum: Sum, "aclnnReduceSum";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., D]").strided();
        dims: ints = Source::Ints(&[-1]);
        keepDims: bool = Source::Bool(false);
        dtype: dtype = Source::ResultType;
        out: tensor = result(0, "[..]").strided();
    }
    dtypes {
        ALL: "f16 -> f16", "f32 -> f32";
        A2_A3: "bf16 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 D=64", "";
    source "hicann/ops-math:math/reduce_sum/docs/aclnnReduceSum.md";
}

aclnn! {
    /// The greatest of each row, in order.
    TOPK = topk: Topk, "aclnnTopk";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., D]").strided();
        k: i64 = Source::Attr("k");
        dim: i64 = Source::Int(-1);
        largest: bool = Source::Bool(true);
        sorted: bool = Source::Bool(true);
        valuesOut: tensor = result(0, "[.., k]").strided();
        indicesOut: tensor = result(1, "[.., k]").cast(DType::I64).strided();
    }
    dtypes {
        ALL: "f16 -> f16 i64", "f32 -> f32 i64";
        A2_A3: "bf16 -> bf16 i64";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {
        "which of equals come first is not documented: values are not known before the call",
    }
    example "..=3 D=64", "k=4";
    source "hicann/ops-math:math/topk/docs/aclnnTopk.md";
}

aclnn! {
    /// The permutation that sorts.
    ARGSORT = argsort: Argsort, "aclnnSort";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[M]").strided();
        stable: bool = Source::Bool(true);
        dim: i64 = Source::Int(-1);
        descending: bool = Source::Bool(false);
        valuesOut: tensor = extra(DType::I32, "[M]");
        indicesOut: tensor = result(0, "[M]").cast(DType::I64).strided();
    }
    dtypes {
        ALL: "i32 -> i32 i64";
    }
    limits {}
    unchecked {}
    example "M=64", "";
    source "hicann/ops-math:math/sort/docs/aclnnSort.md";
}

aclnn! {
    /// How often each number occurs. It runs on the device's scalar processors, and its executor cannot be repeated.
    BINCOUNT = bincount: Bincount, "aclnnBincount";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[..]").seen_as("[lead]").strided();
        weights: tensor = Source::Null;
        minlength: i64 = Source::Attr("size");
        out: tensor = result(0, "[size]").strided();
    }
    dtypes {
        ALL: "i32 -> i32";
    }
    limits {}
    unchecked {
        "no number beyond `size`: values are not known before the call, the op's domain says so",
    }
    example "..=3", "size=8";
    source "hicann/ops-math:math/bincount/docs/aclnnBincount.md";
}
