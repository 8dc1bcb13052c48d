//! Choice of rows and elements, and joining.

use super::aclnn;

aclnn! {
    /// Rows of a table.
    GATHER = gather: Gather, "aclnnEmbedding";
    since Cann81;
    executor Composite;
    args {
        weight: tensor = operand(0, "[V, H]").strided();
        indices: tensor = operand(1, "[..]").strided();
        out: tensor = result(0, "[.., H]").strided();
    }
    dtypes {
        ALL: "f16 i32 -> f16", "f32 i32 -> f32", "i32 i32 -> i32", "i64 i32 -> i64", "f16 i64 -> f16",
            "f32 i64 -> f32", "i32 i64 -> i32", "i64 i64 -> i64";
        A2_A3: "bf16 i32 -> bf16", "bf16 i64 -> bf16";
    }
    limits {}
    unchecked {
        "indices within the table, or what is read is undefined: the op's domain says so, the engine keeps it",
    }
    example "V=16 H=64 ..=3", "";
    source "hicann/ops-nn:index/embedding/docs/aclnnEmbedding.md";
}

aclnn! {
    /// Parts of a table of any rank along its first axis, by a list of them.
    GATHER_PARTS = gather_parts: Gather, "aclnnGatherV2";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[V, ..]").strided();
        dim: i64 = Source::Int(0);
        index: tensor = operand(1, "[I]").strided();
        out: tensor = result(0, "[I, ..]");
    }
    dtypes {
        ALL: "f16 i32 -> f16", "f32 i32 -> f32", "i32 i32 -> i32", "i64 i32 -> i64", "f16 i64 -> f16",
            "f32 i64 -> f32", "i32 i64 -> i32", "i64 i64 -> i64";
        A2_A3: "bf16 i32 -> bf16", "bf16 i64 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {
        "indices within the table: the op's domain says so, the engine keeps it",
    }
    example "V=16 ..=8 I=4", "";
    source "hicann/ops-nn:index/gather_v2/docs/aclnnGatherV2.md";
}

aclnn! {
    /// Elements of each row.
    TAKE_ALONG = take_along: TakeAlong, "aclnnGather";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., D]").strided();
        dim: i64 = Source::Int(-1);
        index: tensor = operand(1, "[.., K]").strided();
        out: tensor = result(0, "[.., K]").strided();
    }
    dtypes {
        A2_A3: "f16 i32 -> f16", "bf16 i32 -> bf16", "f32 i32 -> f32", "i32 i32 -> i32", "i64 i32 -> i64";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {
        "indices within the row: the op's domain says so",
    }
    example "..=3 D=64 K=4", "";
    source "hicann/ops-nn:index/gather_elements_v2/docs/aclnnGather.md";
}

aclnn! {
    /// Parts joined along an axis.
    CONCAT = concat: Concat, "aclnnCat";
    since Cann81;
    executor Composite;
    args {
        tensors: list = all("[.., D]").strided();
        dim: i64 = Source::Attr("axis");
        out: tensor = result(0, "[*]");
    }
    dtypes {
        ALL: "f16 -> f16", "f32 -> f32", "i32 -> i32", "i64 -> i64";
        A2_A3: "bf16 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 D=64", "axis=-1";
    source "hicann/ops-math:conversion/concat_d/docs/aclnnCat.md";
}

aclnn! {
    /// Zeros behind each row. Only bits move, so that bf16 goes as f16, which the operator lists.
    PAD = pad: Pad, "aclnnConstantPadNd";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., W]").strided().bits_as(crate::DType::F16);
        pad: ints = Source::Sizes(&["0", "size - W"]);
        value: scalar = Source::Float(0.0);
        out: tensor = result(0, "[.., size]").bits_as(crate::DType::F16);
    }
    dtypes {
        ALL: "f16 -> f16", "f32 -> f32";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 W=40", "size=64";
    source "hicann/ops-math:conversion/pad_v3/docs/aclnnConstantPadNd.md";
}

aclnn! {
    /// The same row for each head. Only bits move, so that bf16 goes as f16, which the operator lists.
    REPEAT_HEADS = repeat_heads: RepeatHeads, "aclnnRepeat";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[T, D]").strided().seen_as("[T, 1, D]").bits_as(crate::DType::F16);
        repeats: ints = Source::Sizes(&["1", "heads", "1"]);
        out: tensor = result(0, "[T, heads, D]").bits_as(crate::DType::F16);
    }
    dtypes {
        ALL: "f16 -> f16", "f32 -> f32";
    }
    limits {}
    unchecked {}
    example "T=3 D=40", "heads=5";
    source "hicann/ops-math:math/tile/docs/aclnnRepeat.md";
}
