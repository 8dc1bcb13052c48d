//! Products of rows in groups with a matrix for each.

use super::aclnn;

macro_rules! grouped_matmul {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident, $entry:literal;
        since $since:ident;
        $(fallback $fallback:literal;)?
        weight $weight:expr;
        behind { $($behind:ident: $ty:ident = $source:expr;)* }
        dtypes $dtypes:tt
        limits $limits:tt
        source $origin:literal;
    ) => {
        aclnn! {
            $(#[$doc])*
            $upper = $name: GroupedMatmul, $entry;
            since $since;
            $(fallback $fallback;)?
            executor Composite;
            args {
                x: list = operand(0, "[M, K]").strided();
                weight: list = $weight;
                biasOptional: list = Source::Null;
                scaleOptional: list = Source::Null;
                offsetOptional: list = Source::Null;
                antiquantScaleOptional: list = Source::Null;
                antiquantOffsetOptional: list = Source::Null;
                perTokenScaleOptional: list = Source::Null;
                groupListOptional: tensor = operand(2, "[E]");
                activationInputOptional: list = Source::Null;
                activationQuantScaleOptional: list = Source::Null;
                activationQuantOffsetOptional: list = Source::Null;
                splitItem: i64 = Source::Int(3);
                groupType: i64 = Source::Int(0);
                groupListType: i64 = Source::Int(1);
                actType: i64 = Source::Int(0);
                $($behind: $ty = $source;)*
                out: list = result(0, "[M, N]");
                activationFeatureOutOptional: list = Source::Null;
                dynQuantScaleOutOptional: list = Source::Null;
            }
            dtypes $dtypes
            limits $limits
            implied { "dtype" }
            unchecked {
                "rows behind the last group are not written: group sizes are not known before the call, and add up to all",
            }
            example "M=6 E=4 K=32 N=64", "trans_b=true";
            source $origin;
        }
    };
}

grouped_matmul! {
    /// Weights stored in blocks of the cube unit.
    GROUPED_MATMUL_NZ = grouped_matmul_nz, "aclnnGroupedMatmulWeightNz";
    since Later;
    fallback "grouped_matmul_nz_v4";
    weight operand(1, "[E, K, N]").swapped_if("trans_b").nz();
    behind {
        tuningConfigOptional: ints = Source::Null;
        quantGroupSize: i64 = Source::Int(0);
    }
    dtypes {
        ALL: "f16 f16 i64 -> f16";
        A2_A3: "bf16 bf16 i64 -> bf16";
    }
    limits {
        ALL: "K <= 65535", "N <= 65535";
    }
    source "mirror-cann/ops-transformer:gmm/grouped_matmul/docs/aclnnGroupedMatmulWeightNz.md";
}

grouped_matmul! {
    /// The same before CANN had an entry of its own for it.
    GROUPED_MATMUL_NZ_V4 = grouped_matmul_nz_v4, "aclnnGroupedMatmulV4";
    since Cann81;
    weight operand(1, "[E, K, N]").swapped_if("trans_b").nz();
    behind {}
    dtypes {
        ALL: "f16 f16 i64 -> f16";
        A2_A3: "bf16 bf16 i64 -> bf16";
    }
    limits {
        ALL: "K <= 65535", "N <= 65535";
    }
    source "mirror-cann/ops-transformer:gmm/grouped_matmul/docs/aclnnGroupedMatmulV4.md";
}

grouped_matmul! {
    /// Weights stored row by row.
    GROUPED_MATMUL = grouped_matmul, "aclnnGroupedMatmulV5";
    since Later;
    fallback "grouped_matmul_v4";
    weight operand(1, "[E, K, N]").swapped_if("trans_b").strided();
    behind {
        tuningConfigOptional: ints = Source::Null;
    }
    dtypes {
        ALL: "f16 f16 i64 -> f16";
        A2_A3: "bf16 bf16 i64 -> bf16", "f32 f32 i64 -> f32";
    }
    limits {
        ALL: "K <= 65535", "N <= 65535";
    }
    source "mirror-cann/ops-transformer:gmm/grouped_matmul/docs/aclnnGroupedMatmulV5.md";
}

grouped_matmul! {
    /// The same of CANN 8.1.
    GROUPED_MATMUL_V4 = grouped_matmul_v4, "aclnnGroupedMatmulV4";
    since Cann81;
    weight operand(1, "[E, K, N]").swapped_if("trans_b").strided();
    behind {}
    dtypes {
        ALL: "f16 f16 i64 -> f16";
        A2_A3: "bf16 bf16 i64 -> bf16", "f32 f32 i64 -> f32";
    }
    limits {
        ALL: "K <= 65535", "N <= 65535";
    }
    source "mirror-cann/ops-transformer:gmm/grouped_matmul/docs/aclnnGroupedMatmulV4.md";
}
