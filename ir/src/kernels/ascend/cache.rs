//! Writing to paged caches and reading them.

use super::aclnn;
use crate::DType;

aclnn! {
    /// A row of keys and one of values for each token.
    CACHE_WRITE_PAIR = cache_write_pair: CacheWritePair, "aclnnScatterPaKvCache";
    since Later;
    executor Composite;
    args {
        key: tensor = operand(2, "[T, K, D]").strided();
        keyCacheRef: tensor = in_out(0, "[P, S, K, D]");
        slotMapping: tensor = operand(4, "[T]").strided();
        value: tensor = operand(3, "[T, K, V]").strided();
        valueCacheRef: tensor = in_out(1, "[P, S, K, V]");
        compressLensOptional: tensor = Source::Null;
        compressSeqOffsetOptional: tensor = Source::Null;
        seqLensOptional: tensor = Source::Null;
        cacheModeOptional: text = Source::Text("Norm");
        scatterModeOptional: text = Source::Null;
        stridesOptional: ints = Source::Null;
        offsetsOptional: ints = Source::Null;
    }
    dtypes {
        A2_A3: "f16 f16 i32 f16 f16", "bf16 bf16 i32 bf16 bf16";
    }
    limits {}
    unchecked {
        "slots differ and lie within the cache: values are not known before the call, the engine keeps it",
        "no slot is negative: values are not known before the call, the engine has one for every new token",
    }
    example "T=6 K=2 D=128 V=128 P=8 S=16", "";
    source "mirror-cann/ops-transformer:attention/scatter_pa_kv_cache/docs/aclnnScatterPaKvCache.md";
}

aclnn! {
    /// A latent and a rotated part for each token.
    CACHE_WRITE_PAIR_LATENT = cache_write_pair_latent: CacheWritePair, "aclnnScatterPaKvCache";
    since Later;
    executor Composite;
    args {
        key: tensor = operand(2, "[T, D]").seen_as("[T, 1, D]").strided();
        keyCacheRef: tensor = in_out(0, "[P, S, D]").seen_as("[P, S, 1, D]");
        slotMapping: tensor = operand(4, "[T]").strided();
        value: tensor = operand(3, "[T, V]").seen_as("[T, 1, V]").strided();
        valueCacheRef: tensor = in_out(1, "[P, S, V]").seen_as("[P, S, 1, V]");
        compressLensOptional: tensor = Source::Null;
        compressSeqOffsetOptional: tensor = Source::Null;
        seqLensOptional: tensor = Source::Null;
        cacheModeOptional: text = Source::Text("Norm");
        scatterModeOptional: text = Source::Null;
        stridesOptional: ints = Source::Null;
        offsetsOptional: ints = Source::Null;
    }
    dtypes {
        A2_A3: "f16 f16 i32 f16 f16", "bf16 bf16 i32 bf16 bf16";
    }
    limits {}
    unchecked {
        "slots differ and lie within the cache: values are not known before the call, the engine keeps it",
        "no slot is negative: values are not known before the call, the engine has one for every new token",
    }
    example "T=6 D=512 V=64 P=8 S=16", "";
    source "mirror-cann/ops-transformer:attention/scatter_pa_kv_cache/docs/aclnnScatterPaKvCache.md";
}

aclnn! {
    /// A row for each token, in one cache.
    CACHE_WRITE = cache_write: CacheWrite, "aclnnScatterNdUpdate";
    since Cann81;
    executor Composite;
    args {
        varRef: tensor = in_out(0, "[P, S, ..]").seen_as("[P*S, lead]");
        indices: tensor = operand(2, "[T]").seen_as("[T, 1]").strided();
        updates: tensor = operand(1, "[T, ..]").seen_as("[T, lead]").strided();
    }
    dtypes {
        ALL: "f16 i32 f16", "f32 i32 f32";
        A2_A3: "bf16 i32 bf16";
    }
    limits {}
    unchecked {
        "slots within the cache: values are not known before the call, the engine keeps it",
        "no slot is negative: values are not known before the call, the engine has one for every new token",
    }
    example "P=8 S=16 ..=2 ..=64 T=6", "";
    source "hicann/ops-nn:index/scatter_nd_update/docs/aclnnScatterNdUpdate.md";
}

aclnn! {
    /// The rows of all sequences, one sequence after the other; the operator reads two caches, so the cache is read twice.
    CACHE_READ = cache_read: CacheRead, "aclnnGatherPaKvCache";
    since Later;
    executor Composite;
    args {
        keyCache: tensor = operand(0, "[P, S, ..]").seen_as("[P, S, 1, lead]");
        valueCache: tensor = operand(0, "[P, S, ..]").seen_as("[P, S, 1, lead]");
        blockTables: tensor = operand(1, "[B, M]");
        seqLens: tensor = operand(2, "[B]");
        keyRef: tensor = result(0, "[rows, ..]").seen_as("[rows, 1, lead]");
        valueRef: tensor = extra_like(0, "[rows, 1, lead]");
        seqOffsetOptional: tensor = Source::Null;
        cacheMode: text = Source::Text("Norm");
        isSeqLensCumsum: bool = Source::Bool(false);
    }
    dtypes {
        A2_A3: "f16 f16 i32 i32 -> f16 f16", "bf16 bf16 i32 i32 -> bf16 bf16";
    }
    limits {}
    implied { "rows" }
    unchecked {
        "pages within the cache: values are not known before the call, the engine keeps it",
        "rows behind the last sequence are not written: there are none, as many are read as the step has",
    }
    example "P=8 S=16 ..=64 B=2 M=3 rows=20", "rows=[20]";
    source "mirror-cann/ops-transformer:attention/gather_pa_kv_cache/docs/aclnnGatherPaKvCache.md";
}

aclnn! {
    /// Latents normalised and keys rotated on their way into their caches; tokens in no slot are passed over.
    KV_RMS_NORM_ROPE_CACHE = kv_rms_norm_rope_cache: KvRmsNormRopeCache, "aclnnKvRmsNormRopeCache";
    since Later;
    executor Individual;
    args {
        kv: tensor = operand(2, "[T, R + D]").seen_as("[T, 1, 1, R + D]").strided();
        gamma: tensor = operand(3, "[R]").strided();
        cos: tensor = operand(4, "[T, D]").seen_as("[T, 1, 1, D]").strided();
        sin: tensor = operand(5, "[T, D]").seen_as("[T, 1, 1, D]").strided();
        index: tensor = operand(6, "[T]").cast(DType::I64).strided();
        kCacheRef: tensor = in_out(1, "[P, S, D]").seen_as("[P, S, 1, D]");
        ckvCacheRef: tensor = in_out(0, "[P, S, R]").seen_as("[P, S, 1, R]");
        kRopeScaleOptional: tensor = Source::Null;
        cKvScaleOptional: tensor = Source::Null;
        kRopeOffsetOptional: tensor = Source::Null;
        cKvOffsetOptional: tensor = Source::Null;
        epsilon: f64 = Source::Attr("eps");
        cacheModeOptional: text = Source::Text("PA_BNSD");
        isOutputKv: bool = Source::Bool(false);
        kRopeOut: tensor = extra_like(2, "[T, 1, 1, D]");
        cKvOut: tensor = extra_like(2, "[T, 1, 1, R]");
    }
    dtypes {
        A2_A3: "f16 f16 f16 f16 i64 f16 f16 -> f16 f16", "bf16 bf16 bf16 bf16 i64 bf16 bf16 -> bf16 bf16";
    }
    limits {
        A2_A3: "S % 16 == 0";
    }
    unchecked {
        "slots differ and lie within the cache: values are not known before the call, the engine keeps it",
    }
    example "T=6 R=512 D=64 P=8 S=16", "eps=1e-6";
    source "mirror-cann/ops-transformer:posembedding/kv_rms_norm_rope_cache/docs/aclnnKvRmsNormRopeCache.md";
}
