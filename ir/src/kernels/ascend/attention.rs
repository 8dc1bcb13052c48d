//! Attention over caches and over ragged keys.
//!
//! `FusedInferAttentionScore` wants the lengths of sequences in host memory. It has many inputs that are null here:
//! shifts of scores, scales of quantised caches, padding, a shared prefix.

use super::aclnn;
use crate::DType;

/// What attention sees at most where it is not limited.
const ALL_TOKENS: i64 = 2_147_483_647;

macro_rules! fused_infer {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident: $op:ident;
        fallback $v3_upper:ident = $v3:ident, $v3_text:literal;
        query $query:expr, key $key:expr, value $value:expr, out $out:expr;
        rope $query_rope:expr, $key_rope:expr;
        lengths $lengths:expr, $lengths_kv:expr;
        table $table:expr;
        heads $heads:literal, $kv_heads:literal;
        layout $layout:literal, block $block:expr;
        mask $mask:expr, $sparse:literal, $before:expr, $after:expr;
        dtypes $dtypes:tt
        limits $limits:tt
        unchecked $unchecked:tt
        example $sizes:literal, $attrs:literal;
    ) => {
        fused_infer_v4! {
            $(#[$doc])*
            $upper = $name: $op;
            fallback $v3_text;
            query $query, key $key, value $value, out $out;
            rope $query_rope, $key_rope;
            sink Source::Null;
            lengths $lengths, $lengths_kv;
            table $table;
            heads $heads, $kv_heads;
            layout $layout, block $block;
            mask $mask, $sparse, $before, $after;
            dtypes $dtypes
            limits $limits
            unchecked $unchecked
            example $sizes, $attrs;
        }

        aclnn! {
            /// The same of CANN 8.1.
            $v3_upper = $v3: $op, "aclnnFusedInferAttentionScoreV3";
            since Cann81;
            executor Composite;
            args {
                query: tensor = $query;
                key: list = $key;
                value: list = $value;
                pseShiftOptional: tensor = Source::Null;
                attenMaskOptional: tensor = $mask;
                actualSeqLengthsOptional: ints = $lengths;
                actualSeqLengthsKvOptional: ints = $lengths_kv;
                deqScale1Optional: tensor = Source::Null;
                quantScale1Optional: tensor = Source::Null;
                deqScale2Optional: tensor = Source::Null;
                quantScale2Optional: tensor = Source::Null;
                quantOffset2Optional: tensor = Source::Null;
                antiquantScaleOptional: tensor = Source::Null;
                antiquantOffsetOptional: tensor = Source::Null;
                blockTableOptional: tensor = $table;
                queryPaddingSizeOptional: tensor = Source::Null;
                kvPaddingSizeOptional: tensor = Source::Null;
                keyAntiquantScaleOptional: tensor = Source::Null;
                keyAntiquantOffsetOptional: tensor = Source::Null;
                valueAntiquantScaleOptional: tensor = Source::Null;
                valueAntiquantOffsetOptional: tensor = Source::Null;
                keySharedPrefixOptional: tensor = Source::Null;
                valueSharedPrefixOptional: tensor = Source::Null;
                actualSharedPrefixLenOptional: ints = Source::Null;
                queryRopeOptional: tensor = $query_rope;
                keyRopeOptional: tensor = $key_rope;
                keyRopeAntiquantScaleOptional: tensor = Source::Null;
                numHeads: i64 = Source::Size($heads);
                scaleValue: f64 = Source::Attr("scale");
                preTokens: i64 = $before;
                nextTokens: i64 = $after;
                inputLayout: text = Source::Text($layout);
                numKeyValueHeads: i64 = Source::Size($kv_heads);
                sparseMode: i64 = Source::Int($sparse);
                innerPrecise: i64 = Source::Int(0);
                blockSize: i64 = $block;
                antiquantMode: i64 = Source::Int(0);
                softmaxLseFlag: bool = Source::Bool(false);
                keyAntiquantMode: i64 = Source::Int(0);
                valueAntiquantMode: i64 = Source::Int(0);
                attentionOut: tensor = $out;
                softmaxLse: tensor = extra(DType::F32, "[1]");
            }
            dtypes $dtypes
            limits $limits
            unchecked $unchecked
            example $sizes, $attrs;
            source "mirror-cann/ops-transformer:attention/fused_infer_attention_score/docs/aclnnFusedInferAttentionScoreV3.md";
        }
    };
}

macro_rules! fused_infer_v4 {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident: $op:ident;
        $(fallback $fallback:literal;)?
        query $query:expr, key $key:expr, value $value:expr, out $out:expr;
        rope $query_rope:expr, $key_rope:expr;
        sink $sink:expr;
        lengths $lengths:expr, $lengths_kv:expr;
        table $table:expr;
        heads $heads:literal, $kv_heads:literal;
        layout $layout:literal, block $block:expr;
        mask $mask:expr, $sparse:literal, $before:expr, $after:expr;
        dtypes $dtypes:tt
        limits $limits:tt
        unchecked $unchecked:tt
        example $sizes:literal, $attrs:literal;
    ) => {
        aclnn! {
            $(#[$doc])*
            $upper = $name: $op, "aclnnFusedInferAttentionScoreV4";
            since Later;
            $(fallback $fallback;)?
            executor Composite;
            args {
                query: tensor = $query;
                key: list = $key;
                value: list = $value;
                pseShiftOptional: tensor = Source::Null;
                attenMaskOptional: tensor = $mask;
                actualSeqLengthsOptional: ints = $lengths;
                actualSeqLengthsKvOptional: ints = $lengths_kv;
                deqScale1Optional: tensor = Source::Null;
                quantScale1Optional: tensor = Source::Null;
                deqScale2Optional: tensor = Source::Null;
                quantScale2Optional: tensor = Source::Null;
                quantOffset2Optional: tensor = Source::Null;
                antiquantScaleOptional: tensor = Source::Null;
                antiquantOffsetOptional: tensor = Source::Null;
                blockTableOptional: tensor = $table;
                queryPaddingSizeOptional: tensor = Source::Null;
                kvPaddingSizeOptional: tensor = Source::Null;
                keyAntiquantScaleOptional: tensor = Source::Null;
                keyAntiquantOffsetOptional: tensor = Source::Null;
                valueAntiquantScaleOptional: tensor = Source::Null;
                valueAntiquantOffsetOptional: tensor = Source::Null;
                keySharedPrefixOptional: tensor = Source::Null;
                valueSharedPrefixOptional: tensor = Source::Null;
                actualSharedPrefixLenOptional: ints = Source::Null;
                queryRopeOptional: tensor = $query_rope;
                keyRopeOptional: tensor = $key_rope;
                keyRopeAntiquantScaleOptional: tensor = Source::Null;
                dequantScaleQueryOptional: tensor = Source::Null;
                learnableSinkOptional: tensor = $sink;
                numHeads: i64 = Source::Size($heads);
                scaleValue: f64 = Source::Attr("scale");
                preTokens: i64 = $before;
                nextTokens: i64 = $after;
                inputLayout: text = Source::Text($layout);
                numKeyValueHeads: i64 = Source::Size($kv_heads);
                sparseMode: i64 = Source::Int($sparse);
                innerPrecise: i64 = Source::Int(0);
                blockSize: i64 = $block;
                antiquantMode: i64 = Source::Int(0);
                softmaxLseFlag: bool = Source::Bool(false);
                keyAntiquantMode: i64 = Source::Int(0);
                valueAntiquantMode: i64 = Source::Int(0);
                queryQuantMode: i64 = Source::Int(0);
                attentionOut: tensor = $out;
                softmaxLse: tensor = extra(DType::F32, "[1]");
            }
            dtypes $dtypes
            limits $limits
            unchecked $unchecked
            example $sizes, $attrs;
            source "mirror-cann/ops-transformer:attention/fused_infer_attention_score/docs/aclnnFusedInferAttentionScoreV4.md";
        }
    };
}

fused_infer! {
    /// Causal attention over a paged cache, sequences of any lengths one after the other.
    ATTENTION = attention: Attention;
    fallback ATTENTION_V3 = attention_v3, "attention_v3";
    query operand(0, "[T, N, D]"),
        key operand(1, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        value operand(2, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        out result(0, "[T, N, D]");
    rope Source::Null, Source::Null;
    lengths Source::Host { operand: 4, shape: "[B + 1]", skip: 1 },
        Source::Host { operand: 5, shape: "[B]", skip: 0 };
    table operand(3, "[B, M]");
    heads "N", "K";
    layout "TND", block Source::Size("S");
    mask constant(Constant::CausalMask), 3, Source::Int(ALL_TOKENS), Source::Int(ALL_TOKENS);
    dtypes {
        A2_A3: "f16 f16 f16 u8 i32 -> f16 f32", "bf16 bf16 bf16 u8 i32 -> bf16 f32";
    }
    limits {
        A2_A3: "D in {64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16", "K*D <= 65535", "N <= 64*K", "T <= 1048576",
            "B <= 4096";
    }
    unchecked {
        "sequences of one new token are documented without a mask: steps mix them with longer ones, and it hides nothing of theirs",
        "pages within the cache: values are not known before the call, the engine keeps it",
        "an older document takes bf16 and pages of 128, 512 or 1024 tokens only: held are the rules of 2026",
    }
    example "T=6 N=4 K=2 D=128 P=8 S=16 B=2 M=3", "scale=0.1";
}

fused_infer! {
    /// The same where a query sees the last tokens only.
    ATTENTION_WINDOW = attention_window: Attention;
    fallback ATTENTION_WINDOW_V3 = attention_window_v3, "attention_window_v3";
    query operand(0, "[T, N, D]"),
        key operand(1, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        value operand(2, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        out result(0, "[T, N, D]");
    rope Source::Null, Source::Null;
    lengths Source::Host { operand: 4, shape: "[B + 1]", skip: 1 },
        Source::Host { operand: 5, shape: "[B]", skip: 0 };
    table operand(3, "[B, M]");
    heads "N", "K";
    layout "TND", block Source::Size("S");
    mask constant(Constant::CausalMask), 4, Source::Size("window - 1"), Source::Int(0);
    dtypes {
        A2_A3: "f16 f16 f16 u8 i32 -> f16 f32", "bf16 bf16 bf16 u8 i32 -> bf16 f32";
    }
    limits {
        A2_A3: "D in {64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16", "K*D <= 65535", "N <= 64*K", "T <= 1048576",
            "B <= 4096";
    }
    unchecked {
        "sequences of one new token are documented without a mask: steps mix them with longer ones, and it hides nothing of theirs",
        "pages within the cache: values are not known before the call, the engine keeps it",
        "an older document takes bf16 and pages of 128, 512 or 1024 tokens only: held are the rules of 2026",
        "an older document has no bands in the layout of sequences one after the other: held are the rules of 2026",
    }
    example "T=6 N=4 K=2 D=128 P=8 S=16 B=2 M=3", "scale=0.1, window=4";
}

fused_infer_v4! {
    /// Causal attention in which a learned score takes part.
    ATTENTION_SINKS = attention_sinks: Attention;
    query operand(0, "[T, N, D]"),
        key operand(1, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        value operand(2, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        out result(0, "[T, N, D]");
    rope Source::Null, Source::Null;
    sink operand(6, "[N]");
    lengths Source::Host { operand: 4, shape: "[B + 1]", skip: 1 },
        Source::Host { operand: 5, shape: "[B]", skip: 0 };
    table operand(3, "[B, M]");
    heads "N", "K";
    layout "TND", block Source::Size("S");
    mask constant(Constant::CausalMask), 3, Source::Int(ALL_TOKENS), Source::Int(ALL_TOKENS);
    dtypes {
        A2_A3: "f16 f16 f16 u8 i32 f16 -> f16 f32", "bf16 bf16 bf16 u8 i32 bf16 -> bf16 f32";
    }
    limits {
        A2_A3: "D in {64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16", "K*D <= 65535", "N <= 64*K", "T <= 1048576",
            "B <= 4096";
    }
    unchecked {
        "sequences of one new token are documented without a mask: steps mix them with longer ones, and it hides nothing of theirs",
        "pages within the cache: values are not known before the call, the engine keeps it",
        "an older document takes bf16 and pages of 128, 512 or 1024 tokens only: held are the rules of 2026",
    }
    example "T=6 N=4 K=2 D=64 P=8 S=16 B=2 M=3", "scale=0.1";
}

fused_infer_v4! {
    /// Both: a window and a learned score.
    ATTENTION_WINDOW_SINKS = attention_window_sinks: Attention;
    query operand(0, "[T, N, D]"),
        key operand(1, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        value operand(2, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        out result(0, "[T, N, D]");
    rope Source::Null, Source::Null;
    sink operand(6, "[N]");
    lengths Source::Host { operand: 4, shape: "[B + 1]", skip: 1 },
        Source::Host { operand: 5, shape: "[B]", skip: 0 };
    table operand(3, "[B, M]");
    heads "N", "K";
    layout "TND", block Source::Size("S");
    mask constant(Constant::CausalMask), 4, Source::Size("window - 1"), Source::Int(0);
    dtypes {
        A2_A3: "f16 f16 f16 u8 i32 f16 -> f16 f32", "bf16 bf16 bf16 u8 i32 bf16 -> bf16 f32";
    }
    limits {
        A2_A3: "D in {64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16", "K*D <= 65535", "N <= 64*K", "T <= 1048576",
            "B <= 4096";
    }
    unchecked {
        "sequences of one new token are documented without a mask: steps mix them with longer ones, and it hides nothing of theirs",
        "pages within the cache: values are not known before the call, the engine keeps it",
        "an older document takes bf16 and pages of 128, 512 or 1024 tokens only: held are the rules of 2026",
        "an older document has no bands in the layout of sequences one after the other: held are the rules of 2026",
    }
    example "T=6 N=4 K=2 D=64 P=8 S=16 B=2 M=3", "scale=0.1, window=4";
}

fused_infer! {
    /// Each token on its own, for widths of heads that longer queries are not taken with.
    TOKEN_ATTENTION = token_attention: TokenAttention;
    fallback TOKEN_ATTENTION_V3 = token_attention_v3, "token_attention_v3";
    query operand(0, "[T, N, D]").seen_as("[T, 1, N, D]"),
        key operand(1, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        value operand(2, "[P, S, K, D]").seen_as("[P, S, K*D]"),
        out result(0, "[T, N, D]").seen_as("[T, 1, N, D]");
    rope Source::Null, Source::Null;
    lengths Source::Null, Source::Host { operand: 4, shape: "[T]", skip: 0 };
    table operand(3, "[T, M]");
    heads "N", "K";
    layout "BSND", block Source::Size("S");
    mask Source::Null, 0, Source::Int(ALL_TOKENS), Source::Int(ALL_TOKENS);
    dtypes {
        A2_A3: "f16 f16 f16 i32 -> f16 f32", "bf16 bf16 bf16 i32 -> bf16 f32";
    }
    limits {
        A2_A3: "D % 16 == 0", "D <= 512", "S % 16 == 0", "S <= 512", "S >= 16", "K*D <= 65535", "N <= 64*K",
            "N <= 256", "T <= 65536";
    }
    unchecked {
        "pages within the cache: values are not known before the call, the engine keeps it",
    }
    example "T=6 N=4 K=2 D=96 P=8 S=16 M=3", "scale=0.1";
}

aclnn! {
    /// Each token on its own, as the older devices have it: as many key heads as query heads.
    TOKEN_ATTENTION_310P = token_attention_310p: TokenAttention, "aclnnIncreFlashAttentionV4";
    since Cann81;
    executor Composite;
    args {
        query: tensor = operand(0, "[T, N, D]").seen_as("[T, 1, N, D]");
        key: list = operand(1, "[P, S, K, D]").seen_as("[P, S, K*D]");
        value: list = operand(2, "[P, S, K, D]").seen_as("[P, S, K*D]");
        pseShift: tensor = Source::Null;
        attenMask: tensor = Source::Null;
        actualSeqLengths: ints = Source::Host { operand: 4, shape: "[T]", skip: 0 };
        dequantScale1: tensor = Source::Null;
        quantScale1: tensor = Source::Null;
        dequantScale2: tensor = Source::Null;
        quantScale2: tensor = Source::Null;
        quantOffset2: tensor = Source::Null;
        antiquantScale: tensor = Source::Null;
        antiquantOffset: tensor = Source::Null;
        blocktable: tensor = operand(3, "[T, M]");
        kvPaddingSize: tensor = Source::Null;
        numHeads: i64 = Source::Size("N");
        scaleValue: f64 = Source::Attr("scale");
        inputLayout: text = Source::Text("BSND");
        numKeyValueHeads: i64 = Source::Int(0);
        blockSize: i64 = Source::Size("S");
        innerPrecise: i64 = Source::Int(0);
        attentionOut: tensor = result(0, "[T, N, D]").seen_as("[T, 1, N, D]");
    }
    dtypes {
        P310: "f16 f16 f16 i32 -> f16";
    }
    limits {
        P310: "N == K", "N <= 256", "D % 16 == 0", "D <= 512", "S % 16 == 0", "S <= 512", "S >= 16", "K*D <= 65535",
            "M*S <= 65536", "T <= 256";
    }
    unchecked {
        "pages within the cache: values are not known before the call, the engine keeps it",
    }
    example "T=6 N=4 K=4 D=96 P=8 S=16 M=3", "scale=0.1";
    source "mirror-cann/ops-transformer:attention/incre_flash_attention/docs/aclnnIncreFlashAttentionV4.md";
}

fused_infer! {
    /// Attention over cached latents, which all heads share as keys and values.
    LATENT_ATTENTION = latent_attention: LatentAttention;
    fallback LATENT_ATTENTION_V3 = latent_attention_v3, "latent_attention_v3";
    query operand(0, "[T, N, R]"), key operand(2, "[P, S, R]"), value operand(2, "[P, S, R]"),
        out result(0, "[T, N, R]");
    rope operand(1, "[T, N, D]"), operand(3, "[P, S, D]");
    lengths Source::Host { operand: 5, shape: "[B + 1]", skip: 1 },
        Source::Host { operand: 6, shape: "[B]", skip: 0 };
    table operand(4, "[B, M]");
    heads "N", "1";
    layout "TND", block Source::Size("S");
    mask constant(Constant::CausalMask), 3, Source::Int(ALL_TOKENS), Source::Int(ALL_TOKENS);
    dtypes {
        A2_A3: "f16 f16 f16 u8 i32 f16 f16 -> f16 f32", "bf16 bf16 bf16 u8 i32 bf16 bf16 -> bf16 f32";
    }
    limits {
        A2_A3: "R == 512", "D == 64", "N in {1, 2, 4, 8, 16, 32, 64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16",
            "Q <= 16", "T <= 1048576", "B <= 4096";
    }
    unchecked {
        "sequences of one new token are documented without a mask: steps mix them with longer ones, and it hides nothing of theirs",
        "pages within the cache: values are not known before the call, the engine keeps it",
    }
    example "T=6 N=4 R=512 D=64 P=8 S=16 B=2 M=3 Q=16", "scale=0.1";
}

fused_infer! {
    /// The same for sequences of one new token each, which nothing is hidden from.
    LATENT_ATTENTION_ROWS = latent_attention_rows: LatentAttention;
    fallback LATENT_ATTENTION_ROWS_V3 = latent_attention_rows_v3, "latent_attention_rows_v3";
    query operand(0, "[T, N, R]"), key operand(2, "[P, S, R]"), value operand(2, "[P, S, R]"),
        out result(0, "[T, N, R]");
    rope operand(1, "[T, N, D]"), operand(3, "[P, S, D]");
    lengths Source::Host { operand: 5, shape: "[B + 1]", skip: 1 },
        Source::Host { operand: 6, shape: "[B]", skip: 0 };
    table operand(4, "[B, M]");
    heads "N", "1";
    layout "TND", block Source::Size("S");
    mask Source::Null, 0, Source::Int(ALL_TOKENS), Source::Int(ALL_TOKENS);
    dtypes {
        A2_A3: "f16 f16 f16 i32 f16 f16 -> f16 f32", "bf16 bf16 bf16 i32 bf16 bf16 -> bf16 f32";
    }
    limits {
        A2_A3: "R == 512", "D == 64", "N in {1, 2, 4, 8, 16, 32, 64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16",
            "Q <= 1", "T <= 1048576", "B <= 4096";
    }
    unchecked {
        "pages within the cache: values are not known before the call, the engine keeps it",
    }
    example "T=6 N=4 R=512 D=64 P=8 S=16 B=4 M=3 Q=1", "scale=0.1";
}

fused_infer! {
    /// Attention over all keys of each sequence, one sequence after the other.
    RAGGED_ATTENTION = ragged_attention: RaggedAttention;
    fallback RAGGED_ATTENTION_V3 = ragged_attention_v3, "ragged_attention_v3";
    query operand(0, "[T, N, D]"), key operand(2, "[C, N, D]"), value operand(4, "[C, N, D]"),
        out result(0, "[T, N, D]");
    rope operand(1, "[T, N, R]"), operand(3, "[C, N, R]");
    lengths Source::Host { operand: 5, shape: "[B + 1]", skip: 1 },
        Source::HostSums { operand: 6, shape: "[B]" };
    table Source::Null;
    heads "N", "N";
    layout "TND", block Source::Int(0);
    mask constant(Constant::CausalMask), 3, Source::Int(ALL_TOKENS), Source::Int(ALL_TOKENS);
    dtypes {
        A2_A3: "f16 f16 f16 u8 f16 f16 -> f16 f32", "bf16 bf16 bf16 u8 bf16 bf16 -> bf16 f32";
    }
    limits {
        A2_A3: "D == 128", "R == 64", "T <= 1048576", "C <= 1048576", "B <= 4096";
    }
    unchecked {}
    example "T=6 N=4 D=128 R=64 C=9 B=2", "scale=0.1";
}
