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
        P310: "H >= 16";
    }
    implied { "dtype" }
    unchecked {
        "no infinities and NaN on 310P: values are not known before the call",
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
    limits {}
    implied { "dtype" }
    unchecked {}
    example "..=3 H=64", "eps=1e-6";
    source "hicann/ops-nn:norm/add_rms_norm/docs/aclnnAddRmsNorm.md";
}
