//! Norms.

use super::aclnn;
use crate::DType;

aclnn! {
    /// Root mean square norm of the innermost axis.
    RMS_NORM = rms_norm: RmsNorm, "aclnnRmsNorm";
    since Cann81;
    executor Individual;
    args {
        x: tensor = operand(0, "[.., H]").strided();
        gamma: tensor = operand(1, "[H]").strided();
        epsilon: f64 = Source::Attr("eps");
        yOut: tensor = result(0, "[.., H]");
        rstdOut: tensor = extra(DType::F32, "[.., 1]");
    }
    dtypes {
        ALL: "f16 f16 -> f16 f32", "f32 f32 -> f32 f32";
        A2_A3: "bf16 bf16 -> bf16 f32", "f16 f32 -> f16 f32", "bf16 f32 -> bf16 f32";
    }
    limits {
        ALL: "axes <= 8";
        P310: "H*bytes >= 32";
    }
    implied { "dtype" }
    unchecked {
        "310P: no infinities and NaN: values are not known before the call",
    }
    example "..=3 H=64", "eps=1e-6";
    source "hicann/ops-nn:norm/rms_norm/docs/aclnnRmsNorm.md";
}

aclnn! {
    /// Adds the residual and normalises the sum.
    ADD_RMS_NORM = add_rms_norm: AddRmsNorm, "aclnnAddRmsNorm";
    since Cann81;
    executor Individual;
    args {
        x1: tensor = operand(0, "[.., H]").strided();
        x2: tensor = operand(1, "[.., H]").strided();
        gamma: tensor = operand(2, "[H]").strided();
        epsilon: f64 = Source::Attr("eps");
        yOut: tensor = result(0, "[.., H]");
        rstdOut: tensor = extra(DType::F32, "[.., 1]");
        xOut: tensor = result(1, "[.., H]");
    }
    dtypes {
        ALL: "f16 f16 f16 -> f16 f32 f16", "f32 f32 f32 -> f32 f32 f32";
        A2_A3: "bf16 bf16 bf16 -> bf16 f32 bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    implied { "dtype" }
    unchecked {}
    example "..=3 H=64", "eps=1e-6";
    source "hicann/ops-nn:norm/add_rms_norm/docs/aclnnAddRmsNorm.md";
}

aclnn! {
    /// Norm by mean and variance of the innermost axis.
    LAYER_NORM = layer_norm: LayerNorm, "aclnnLayerNorm";
    since Cann81;
    executor Composite;
    args {
        input: tensor = operand(0, "[.., H]").strided();
        normalizedShape: ints = Source::Sizes(&["H"]);
        weightOptional: tensor = operand(1, "[H]").strided().optional();
        biasOptional: tensor = operand(2, "[H]").strided().optional();
        eps: f64 = Source::Attr("eps");
        out: tensor = result(0, "[.., H]").strided();
        meanOutOptional: tensor = Source::Null;
        rstdOutOptional: tensor = Source::Null;
    }
    dtypes {
        ALL: "f16 f16 f16 -> f16", "f16 f32 f32 -> f16";
        A2_A3: "f32 f32 f32 -> f32", "bf16 bf16 bf16 -> bf16", "bf16 f32 f32 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    implied { "dtype" }
    unchecked {}
    example "..=3 H=64", "eps=1e-5";
    source "hicann/ops-nn:norm/layer_norm_v4/docs/aclnnLayerNorm&aclnnLayerNormWithImplMode.md";
}

aclnn! {
    /// Adds the residual and normalises the sum by mean and variance.
    ADD_LAYER_NORM = add_layer_norm: AddLayerNorm, "aclnnAddLayerNorm";
    since Cann81;
    executor Individual;
    args {
        x1: tensor = operand(0, "[.., H]").strided();
        x2: tensor = operand(1, "[.., H]").strided();
        gamma: tensor = operand(2, "[H]").strided();
        beta: tensor = operand(3, "[H]").strided();
        biasOptional: tensor = Source::Null;
        epsilon: f64 = Source::Attr("eps");
        additionalOutput: bool = Source::Bool(true);
        yOut: tensor = result(0, "[.., H]");
        meanOut: tensor = extra(DType::F32, "[.., 1]");
        rstdOut: tensor = extra(DType::F32, "[.., 1]");
        xOut: tensor = result(1, "[.., H]");
    }
    dtypes {
        ALL: "f16 f16 f16 f16 -> f16 f32 f32 f16", "f32 f32 f32 f32 -> f32 f32 f32 f32";
        A2_A3: "bf16 bf16 bf16 bf16 -> bf16 f32 f32 bf16", "f16 f16 f32 f32 -> f16 f32 f32 f16",
            "bf16 bf16 f32 f32 -> bf16 f32 f32 bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 H=64", "eps=1e-5";
    source "hicann/ops-nn:norm/add_layer_norm/docs/aclnnAddLayerNorm.md";
}
