//! Products of matrices.
//!
//! Results have the operands' element type: on these devices no call gives f32 of bf16. `cubeMathType` is 0, which keeps
//! the type; 310P refuses that for f32, and the others would lower it to f16 there.

use super::aclnn;

aclnn! {
    /// A product with a weight that is stored in blocks of the cube unit, for operands that are weights.
    MATMUL_NZ = matmul_nz: Matmul, "aclnnMatmulWeightNz";
    since Later;
    fallback "matmul";
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., K]").seen_as("[lead, K]").strided();
        mat2: tensor = operand(1, "[K, N]").swapped_if("trans_b").nz();
        out: tensor = result(0, "[.., N]").seen_as("[lead, N]");
        cubeMathType: i8 = Source::Int(0);
    }
    dtypes {
        ALL: "f16 f16 -> f16";
        A2_A3: "bf16 bf16 -> bf16";
    }
    limits {
        ALL: "K >= 2", "N >= 2";
    }
    implied { "dtype" }
    unchecked {
        "the weight is converted by aclnnTransMatmulWeight: what loads weights does it",
    }
    example "..=3 K=32 N=64", "trans_b=true";
    source "hicann/ops-nn:matmul/mat_mul_v3/docs/aclnnMatmulWeightNz.md";
}

aclnn! {
    /// A product with a matrix that all rows share.
    MATMUL = matmul: Matmul, "aclnnMatmul";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., K]").seen_as("[lead, K]").strided();
        mat2: tensor = operand(1, "[K, N]").swapped_if("trans_b").strided();
        out: tensor = result(0, "[.., N]").seen_as("[lead, N]");
        cubeMathType: i8 = Source::Int(0);
    }
    dtypes {
        ALL: "f16 f16 -> f16";
        A2_A3: "bf16 bf16 -> bf16", "f32 f32 -> f32";
    }
    limits {}
    implied { "dtype" }
    unchecked {
        "the same bits in each run need an option of the context: whoever opens the device sets it",
    }
    example "..=3 K=32 N=64", "trans_b=true";
    source "hicann/ops-nn:matmul/mat_mul_v3/docs/aclnnMatmul.md";
}

aclnn! {
    /// A product of as many matrices as there are leading axes.
    BATCH_MATMUL = batch_matmul: Matmul, "aclnnBatchMatMul";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., M, K]").seen_as("[lead, M, K]").strided();
        mat2: tensor = operand(1, "[.., K, N]").swapped_if("trans_b").seen_as("[lead, K, N]").strided();
        out: tensor = result(0, "[.., M, N]").seen_as("[lead, M, N]");
        cubeMathType: i8 = Source::Int(0);
    }
    dtypes {
        ALL: "f16 f16 -> f16";
        A2_A3: "bf16 bf16 -> bf16", "f32 f32 -> f32";
    }
    limits {
        ALL: "axes >= 3";
    }
    implied { "dtype" }
    unchecked {}
    example "..=4 M=3 K=32 N=64", "trans_b=true";
    source "hicann/ops-nn:matmul/batch_mat_mul_v3/docs/aclnnBatchMatMul.md";
}

aclnn! {
    /// A product with a weight in blocks, and a bias.
    MATMUL_BIAS_NZ = matmul_bias_nz: Matmul, "aclnnAddmmWeightNz";
    since Later;
    fallback "matmul_bias";
    executor Composite;
    args {
        self_: tensor = operand(2, "[N]").strided();
        mat1: tensor = operand(0, "[.., K]").seen_as("[lead, K]").strided();
        mat2: tensor = operand(1, "[K, N]").swapped_if("trans_b").nz();
        beta: scalar = Source::Float(1.0);
        alpha: scalar = Source::Float(1.0);
        out: tensor = result(0, "[.., N]").seen_as("[lead, N]");
        cubeMathType: i8 = Source::Int(0);
    }
    dtypes {
        ALL: "f16 f16 f16 -> f16";
        A2_A3: "bf16 bf16 bf16 -> bf16";
    }
    limits {
        ALL: "K >= 2", "N >= 2";
    }
    implied { "dtype" }
    unchecked {
        "the weight is converted by aclnnTransMatmulWeight: what loads weights does it",
    }
    example "..=3 K=32 N=64", "trans_b=true";
    source "hicann/ops-nn:matmul/mat_mul_v3/docs/aclnnAddmmWeightNz.md";
}

aclnn! {
    /// A product and a bias.
    MATMUL_BIAS = matmul_bias: Matmul, "aclnnAddmm";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(2, "[N]").strided();
        mat1: tensor = operand(0, "[.., K]").seen_as("[lead, K]").strided();
        mat2: tensor = operand(1, "[K, N]").swapped_if("trans_b").strided();
        beta: scalar = Source::Float(1.0);
        alpha: scalar = Source::Float(1.0);
        out: tensor = result(0, "[.., N]").seen_as("[lead, N]");
        cubeMathType: i8 = Source::Int(0);
    }
    dtypes {
        ALL: "f16 f16 f16 -> f16";
        A2_A3: "bf16 bf16 bf16 -> bf16", "f32 f32 f32 -> f32";
    }
    limits {}
    implied { "dtype" }
    unchecked {}
    example "..=3 K=32 N=64", "trans_b=true";
    source "hicann/ops-nn:matmul/mat_mul_v3/docs/aclnnAddmm&aclnnInplaceAddmm.md";
}

macro_rules! transpose_batch_matmul {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident;
        a $a:literal, $perm_a:expr;
        b $b:literal, $perm_b:expr;
        only $only:tt;
        example $attrs:literal;
    ) => {
        aclnn! {
            $(#[$doc])*
            $upper = $name: TransposeBatchMatmul, "aclnnTransposeBatchMatMul";
            since Later;
            executor Composite;
            args {
                x1: tensor = operand(0, $a).strided();
                x2: tensor = operand(1, $b).strided();
                bias: tensor = Source::Null;
                scale: tensor = Source::Null;
                permX1: ints = Source::Ints($perm_a);
                permX2: ints = Source::Ints($perm_b);
                permY: ints = Source::Ints(&[1, 0, 2]);
                cubeMathType: i8 = Source::Int(0);
                batchSplitFactor: i32 = Source::Int(1);
                out: tensor = result(0, "[M, B, N]");
            }
            dtypes {
                A2_A3: "f16 f16 -> f16", "bf16 bf16 -> bf16", "f32 f32 -> f32";
            }
            limits {
                A2_A3: "B <= 65535", "N <= 65535";
            }
            implied { "dtype" }
            only $only
            unchecked {}
            example "M=4 B=4 K=64 N=64", $attrs;
            source "hicann/ops-nn:matmul/transpose_batch_mat_mul/docs/aclnnTransposeBatchMatMul.md";
        }
    };
}

transpose_batch_matmul! {
    /// Rows of heads by heads, `[M, B, K]` by `[B, K, N]`.
    TRANSPOSE_BATCH_MATMUL = transpose_batch_matmul;
    a "[M, B, K]", &[1, 0, 2];
    b "[B, K, N]", &[0, 1, 2];
    only { "by_batch": "false", not "true"; "trans_b": "false", not "true"; };
    example "";
}

transpose_batch_matmul! {
    /// The same with `[B, N, K]`.
    TRANSPOSE_BATCH_MATMUL_TRANS = transpose_batch_matmul_trans;
    a "[M, B, K]", &[1, 0, 2];
    b "[B, N, K]", &[0, 2, 1];
    only { "by_batch": "false", not "true"; "trans_b": "true", not "false"; };
    example "trans_b=true";
}

transpose_batch_matmul! {
    /// The same with `[B, M, K]` by `[B, K, N]`.
    TRANSPOSE_BATCH_MATMUL_BY_BATCH = transpose_batch_matmul_by_batch;
    a "[B, M, K]", &[0, 1, 2];
    b "[B, K, N]", &[0, 1, 2];
    only { "by_batch": "true", not "false"; "trans_b": "false", not "true"; };
    example "by_batch=true";
}
