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
