//! All of latent attention before the attention itself.
//!
//! The weights are the op's turned about, in blocks: what is by 1536 lies as [H, 1536].

use super::aclnn;
use crate::DType;

aclnn! {
    /// Queries, and latents and rotated keys in their caches.
    MLA_PROLOG = mla_prolog: MlaProlog, "aclnnMlaPrologV2WeightNz";
    since Later;
    fallback "mla_prolog_v1";
    executor Composite;
    args {
        tokenX: tensor = operand(2, "[T, H]");
        weightDq: tensor = operand(3, "[H, L]").turned().nz();
        weightUqQr: tensor = operand(5, "[L, N*(W + D)]").turned().nz();
        weightUk: tensor = operand(6, "[N, W, R]");
        weightDkvKr: tensor = operand(7, "[H, R + D]").turned().nz();
        rmsnormGammaCq: tensor = operand(4, "[L]");
        rmsnormGammaCkv: tensor = operand(8, "[R]");
        ropeSin: tensor = operand(10, "[T, D]");
        ropeCos: tensor = operand(9, "[T, D]");
        cacheIndex: tensor = operand(11, "[T]").cast(DType::I64);
        kvCacheRef: tensor = in_out(0, "[P, S, R]").seen_as("[P, S, 1, R]");
        krCacheRef: tensor = in_out(1, "[P, S, D]").seen_as("[P, S, 1, D]");
        dequantScaleXOptional: tensor = Source::Null;
        dequantScaleWDqOptional: tensor = Source::Null;
        dequantScaleWUqQrOptional: tensor = Source::Null;
        dequantScaleWDkvKrOptional: tensor = Source::Null;
        quantScaleCkvOptional: tensor = Source::Null;
        quantScaleCkrOptional: tensor = Source::Null;
        smoothScalesCqOptional: tensor = Source::Null;
        rmsnormEpsilonCq: f64 = Source::Attr("q_eps");
        rmsnormEpsilonCkv: f64 = Source::Attr("kv_eps");
        cacheModeOptional: text = Source::Text("PA_BSND");
        queryOut: tensor = result(2, "[T, N, R]");
        queryRopeOut: tensor = result(3, "[T, N, D]");
        dequantScaleQNopeOutOptional: tensor = Source::Null;
    }
    dtypes {
        A2_A3: "bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 i64 bf16 bf16 -> bf16 bf16";
    }
    limits {
        A2_A3: "H in {1024, 2048, 3072, 4096, 5120, 6144, 7168, 7680, 8192}", "L == 1536", "R == 512", "W == 128",
            "D == 64", "N in {1, 2, 4, 8, 16, 32, 64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16";
    }
    unchecked {
        "slots differ and lie within the cache: values are not known before the call, the engine keeps it",
        "weights are converted by aclnnTransMatmulWeight: what loads weights does it",
    }
    example "T=6 H=1024 L=1536 R=512 W=128 D=64 N=2 P=8 S=16", "q_eps=1e-6, kv_eps=1e-6";
    source "mirror-cann/ops-transformer:attention/mla_prolog_v2/docs/aclnnMlaPrologV2WeightNz.md";
}

aclnn! {
    /// The same where the newer entry is missing.
    MLA_PROLOG_V1 = mla_prolog_v1: MlaProlog, "aclnnMlaProlog";
    since Cann81;
    executor Composite;
    args {
        tokenX: tensor = operand(2, "[T, H]");
        weightDq: tensor = operand(3, "[H, L]").turned().nz();
        weightUqQr: tensor = operand(5, "[L, N*(W + D)]").turned().nz();
        weightUk: tensor = operand(6, "[N, W, R]");
        weightDkvKr: tensor = operand(7, "[H, R + D]").turned().nz();
        rmsnormGammaCq: tensor = operand(4, "[L]");
        rmsnormGammaCkv: tensor = operand(8, "[R]");
        ropeSin: tensor = operand(10, "[T, D]");
        ropeCos: tensor = operand(9, "[T, D]");
        cacheIndex: tensor = operand(11, "[T]").cast(DType::I64);
        kvCacheRef: tensor = in_out(0, "[P, S, R]").seen_as("[P, S, 1, R]");
        krCacheRef: tensor = in_out(1, "[P, S, D]").seen_as("[P, S, 1, D]");
        dequantScaleXOptional: tensor = Source::Null;
        dequantScaleWDqOptional: tensor = Source::Null;
        dequantScaleWUqQrOptional: tensor = Source::Null;
        dequantScaleWDkvKrOptional: tensor = Source::Null;
        quantScaleCkvOptional: tensor = Source::Null;
        quantScaleCkrOptional: tensor = Source::Null;
        smoothScalesCqOptional: tensor = Source::Null;
        rmsnormEpsilonCq: f64 = Source::Attr("q_eps");
        rmsnormEpsilonCkv: f64 = Source::Attr("kv_eps");
        cacheModeOptional: text = Source::Text("PA_BSND");
        queryOut: tensor = result(2, "[T, N, R]");
        queryRopeOut: tensor = result(3, "[T, N, D]");
    }
    dtypes {
        A2_A3: "bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 i64 bf16 bf16 -> bf16 bf16";
    }
    limits {
        A2_A3: "H in {1024, 2048, 3072, 4096, 5120, 6144, 7168, 7680, 8192}", "L == 1536", "R == 512", "W == 128",
            "D == 64", "N in {1, 2, 4, 8, 16, 32, 64, 128}", "S % 16 == 0", "S <= 1024", "S >= 16";
    }
    unchecked {
        "slots differ and lie within the cache: values are not known before the call, the engine keeps it",
        "weights are converted by aclnnTransMatmulWeight: what loads weights does it",
    }
    example "T=6 H=1024 L=1536 R=512 W=128 D=64 N=2 P=8 S=16", "q_eps=1e-6, kv_eps=1e-6";
    source "mirror-cann/ops-transformer:attention/mla_prolog/docs/aclnnMlaProlog.md";
}
