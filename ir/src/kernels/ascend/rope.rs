//! Rotary position embeddings.

use super::aclnn;

aclnn! {
    /// Rotates one tensor; tables hold a value for each element of a head.
    APPLY_ROTARY = apply_rotary: ApplyRotary, "aclnnRotaryPositionEmbedding";
    since Later;
    executor Composite;
    args {
        x: tensor = operand(0, "[T, N, D]").seen_as("[1, T, N, D]").strided();
        cos: tensor = operand(1, "[T, D]").seen_as("[1, T, 1, D]").strided();
        sin: tensor = operand(2, "[T, D]").seen_as("[1, T, 1, D]").strided();
        mode: i64 = Source::Attr("interleaved");
        out: tensor = result(0, "[T, N, D]").seen_as("[1, T, N, D]");
    }
    dtypes {
        ALL: "f16 f16 f16 -> f16", "f32 f32 f32 -> f32";
        A2_A3: "bf16 bf16 bf16 -> bf16";
    }
    limits {
        A2_A3: "D <= 895", "N <= 999";
        P310: "interleaved == 0", "D <= 128", "D % 32 == 0";
    }
    defaults { "interleaved": 0; }
    unchecked {}
    example "T=6 N=4 D=64", "interleaved=false";
    source "mirror-cann/ops-transformer:posembedding/rotary_position_embedding/docs/aclnnRotaryPositionEmbedding.md";
}

macro_rules! apply_rotary_pair {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident, $entry:literal;
        since $since:ident;
        $(fallback $fallback:literal;)?
        behind { $($behind:ident: $ty:ident = $source:expr;)* }
        source $origin:literal;
    ) => {
        aclnn! {
            $(#[$doc])*
            $upper = $name: ApplyRotaryPair, $entry;
            since $since;
            $(fallback $fallback;)?
            executor Composite;
            args {
                queryRef: tensor = in_out(0, "[T, N, D]").seen_as("[1, T, N, D]").strided();
                keyRef: tensor = in_out(1, "[T, K, D]").seen_as("[1, T, K, D]").strided();
                cos: tensor = operand(2, "[T, D]").seen_as("[1, T, 1, D]").strided();
                sin: tensor = operand(3, "[T, D]").seen_as("[1, T, 1, D]").strided();
                layout: i64 = Source::Int(1);
                $($behind: $ty = $source;)*
            }
            dtypes {
                ALL: "f16 f16 f16 f16", "f32 f32 f32 f32";
                A2_A3: "bf16 bf16 bf16 bf16";
            }
            limits {
                ALL: "D in {64, 128}";
                A2_A3: "20*D*(N + K) + 16*D <= 196608";
                P310: "20*D*(N + K) + 16*D <= 262144";
            }
            unchecked {
                "f16 needs half of the local memory: it is held to the bound of the other types",
            }
            example "T=6 N=4 K=2 D=128", "";
            source $origin;
        }
    };
}

apply_rotary_pair! {
    /// Rotates queries and keys in place.
    APPLY_ROTARY_PAIR = apply_rotary_pair, "aclnnApplyRotaryPosEmbV2";
    since Later;
    fallback "apply_rotary_pair_v1";
    behind { rotaryMode: text = Source::Text("half"); }
    source "mirror-cann/ops-transformer:posembedding/apply_rotary_pos_emb/docs/aclnnApplyRotaryPosEmbV2.md";
}

apply_rotary_pair! {
    /// The same of CANN 8.1.
    APPLY_ROTARY_PAIR_V1 = apply_rotary_pair_v1, "aclnnApplyRotaryPosEmb";
    since Cann81;
    behind {}
    source "mirror-cann/ops-transformer:posembedding/apply_rotary_pos_emb/docs/aclnnApplyRotaryPosEmb.md";
}

aclnn! {
    /// Rotates neighbours and puts the first of all pairs before the second.
    INTERLEAVE_ROPE = interleave_rope: InterleaveRope, "aclnnInterleaveRope";
    since Later;
    executor Composite;
    args {
        x: tensor = operand(0, "[T, N, D]").seen_as("[T, N, 1, D]").strided();
        cos: tensor = operand(1, "[T, D]").seen_as("[T, 1, 1, D]").strided();
        sin: tensor = operand(2, "[T, D]").seen_as("[T, 1, 1, D]").strided();
        out: tensor = result(0, "[T, N, D]").seen_as("[T, N, 1, D]");
    }
    dtypes {
        A2_A3: "f16 f16 f16 -> f16", "bf16 bf16 bf16 -> bf16";
    }
    limits {
        A2_A3: "D == 64";
    }
    unchecked {}
    example "T=6 N=4 D=64", "";
    source "mirror-cann/ops-transformer:posembedding/interleave_rope/docs/aclnnInterleaveRope.md";
}
