//! Mixtures of experts: gating, sorting rows by expert, bringing them back.

use super::aclnn;
use crate::DType;

macro_rules! gating_top_k {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident;
        norm $norm:literal, renorm $renorm:expr;
        only $only:tt;
        example $attrs:literal;
    ) => {
        aclnn! {
            $(#[$doc])*
            $upper = $name: MoeGating, "aclnnMoeGatingTopK";
            since Later;
            executor Composite;
            args {
                x: tensor = operand(0, "[T, E]").strided();
                biasOptional: tensor = operand(1, "[E]").strided().optional();
                k: i64 = Source::Attr("k");
                kGroup: i64 = Source::Size("kept");
                groupCount: i64 = Source::Size("groups");
                groupSelectMode: i64 = Source::Size("best - 1");
                renorm: i64 = $renorm;
                normType: i64 = Source::Int($norm);
                outFlag: bool = Source::Bool(false);
                routedScalingFactor: f64 = Source::AttrOr("scale", 1.0);
                eps: f64 = Source::AttrOr("eps", 0.0);
                yOut: tensor = result(0, "[T, k]");
                expertIdxOut: tensor = result(1, "[T, k]");
                outOut: tensor = extra(DType::F32, "[T, E]");
            }
            dtypes {
                A2_A3: "f16 f16 -> f16 i32 f32", "f32 f32 -> f32 i32 f32", "bf16 bf16 -> bf16 i32 f32";
            }
            limits {
                A2_A3: "E <= 2048", "best in {1, 2}", "32*groups <= 2048";
            }
            only $only
            defaults { "groups": 1; "kept": 1; "best": 1; }
            unchecked {
                "groups rounded up to 32 experts are 2048 at most together: held for groups of up to 32 experts, and for \
                 larger ones by E where they are multiples of 32",
            }
            example "T=3 E=256", $attrs;
            source "mirror-cann/ops-transformer:moe/moe_gating_top_k/docs/aclnnMoeGatingTopK.md";
        }
    };
}

gating_top_k! {
    /// Weights are sigmoids, which the operator always divides by their sum.
    MOE_GATING_SIGMOID = moe_gating_sigmoid;
    norm 1, renorm Source::Int(0);
    only { "scoring": "sigmoid", not "softmax"; "renormalize": "true", not "false"; };
    example "k=8, scoring=sigmoid, groups=[8], kept=4, best=2, renormalize=true, scale=2.5";
}

gating_top_k! {
    /// Weights are the softmax over all experts, divided by their sum or not.
    MOE_GATING_SOFTMAX = moe_gating_softmax;
    norm 0, renorm Source::Attr("renormalize");
    only { "scoring": "softmax", not "sigmoid"; };
    example "k=8, scoring=softmax, groups=[8], kept=4, best=1, renormalize=true";
}

aclnn! {
    /// Weights are the softmax over all experts.
    MOE_GATING_SOFTMAX_V2 = moe_gating_softmax_v2: MoeGating, "aclnnMoeGatingTopKSoftmaxV2";
    since Cann81;
    executor Individual;
    args {
        x: tensor = operand(0, "[T, E]").strided();
        finishedOptional: tensor = Source::Null;
        k: i64 = Source::Attr("k");
        renorm: i64 = Source::Int(0);
        outputSoftmaxResultFlag: bool = Source::Bool(false);
        yOut: tensor = result(0, "[T, k]");
        expertIdxOut: tensor = result(1, "[T, k]");
        softmaxResultOutOptional: tensor = Source::Null;
    }
    dtypes {
        A2_A3: "f16 -> f16 i32", "f32 -> f32 i32", "bf16 -> bf16 i32";
    }
    limits {
        A2_A3: "k <= 1024";
    }
    only { "scoring": "softmax", not "softmax_of_chosen"; }
    unchecked {}
    example "T=3 E=2048", "k=8, scoring=softmax";
    source "mirror-cann/ops-transformer:moe/moe_gating_top_k_softmax_v2/docs/aclnnMoeGatingTopKSoftmaxV2.md";
}

aclnn! {
    /// Weights are the softmax over the chosen experts.
    MOE_GATING_CHOSEN = moe_gating_chosen: MoeGating, "aclnnMoeGatingTopKSoftmaxV2";
    since Cann81;
    executor Individual;
    args {
        x: tensor = operand(0, "[T, E]").strided();
        finishedOptional: tensor = Source::Null;
        k: i64 = Source::Attr("k");
        renorm: i64 = Source::Int(1);
        outputSoftmaxResultFlag: bool = Source::Bool(false);
        yOut: tensor = result(0, "[T, k]");
        expertIdxOut: tensor = result(1, "[T, k]");
        softmaxResultOutOptional: tensor = Source::Null;
    }
    dtypes {
        A2_A3: "f16 -> f16 i32", "f32 -> f32 i32", "bf16 -> bf16 i32";
    }
    limits {
        A2_A3: "k <= 1024";
    }
    only { "scoring": "softmax_of_chosen", not "softmax"; }
    unchecked {}
    example "T=3 E=2048", "k=8, scoring=softmax_of_chosen";
    source "mirror-cann/ops-transformer:moe/moe_gating_top_k_softmax_v2/docs/aclnnMoeGatingTopKSoftmaxV2.md";
}

aclnn! {
    /// Weights are the softmax over all experts, on the older devices too.
    MOE_GATING_SOFTMAX_V1 = moe_gating_softmax_v1: MoeGating, "aclnnMoeGatingTopKSoftmax";
    since Cann81;
    executor Individual;
    args {
        x: tensor = operand(0, "[T, E]").strided();
        finishedOptional: tensor = Source::Null;
        k: i64 = Source::Attr("k");
        yOut: tensor = result(0, "[T, k]");
        expertIdxOut: tensor = result(1, "[T, k]");
        rowIdxOut: tensor = extra(DType::I32, "[T, k]");
    }
    dtypes {
        ALL: "f16 -> f16 i32 i32", "f32 -> f32 i32 i32";
        A2_A3: "bf16 -> bf16 i32 i32";
    }
    limits {}
    only { "scoring": "softmax", not "softmax_of_chosen"; }
    unchecked {}
    example "T=3 E=64", "k=8, scoring=softmax";
    source "mirror-cann/ops-transformer:moe/moe_gating_top_k_softmax/docs/aclnnMoeGatingTopKSoftmax.md";
}

aclnn! {
    /// Rows sorted by expert, and i64 counts, as grouped products want them.
    MOE_INIT_ROUTING = moe_init_routing: MoeInitRouting, "aclnnMoeInitRoutingV3";
    since Later;
    executor Composite;
    args {
        x: tensor = operand(0, "[T, H]");
        expertIdx: tensor = operand(1, "[T, k]");
        scaleOptional: tensor = Source::Null;
        offsetOptional: tensor = Source::Null;
        activeNum: i64 = Source::Size("T*k");
        expertCapacity: i64 = Source::Int(0);
        expertNum: i64 = Source::Size("experts");
        dropPadMode: i64 = Source::Int(0);
        expertTokensNumType: i64 = Source::Int(1);
        expertTokensNumFlag: bool = Source::Bool(true);
        quantMode: i64 = Source::Int(-1);
        activeExpertRangeOptional: ints = Source::Sizes(&["0", "experts"]);
        rowIdxType: i64 = Source::Int(0);
        expandedXOut: tensor = result(0, "[T*k, H]");
        expandedRowIdxOut: tensor = result(1, "[T*k]");
        expertTokensCountOrCumsumOut: tensor = result(2, "[experts]");
        expandedScaleOut: tensor = extra(DType::F32, "[T*k]");
    }
    dtypes {
        A2_A3: "f16 i32 -> f16 i32 i64 f32", "bf16 i32 -> bf16 i32 i64 f32", "f32 i32 -> f32 i32 i64 f32";
    }
    limits {
        A2_A3: "experts <= 10240";
    }
    implied { "dtype" }
    unchecked {}
    example "T=3 H=64 k=2", "experts=8, dtype=i64";
    source "mirror-cann/ops-transformer:moe/moe_init_routing_v3/docs/aclnnMoeInitRoutingV3.md";
}

aclnn! {
    /// Rows sorted by expert, and i32 counts.
    MOE_INIT_ROUTING_V2 = moe_init_routing_v2: MoeInitRouting, "aclnnMoeInitRoutingV2";
    since Cann81;
    executor Composite;
    args {
        x: tensor = operand(0, "[T, H]").strided();
        expertIdx: tensor = operand(1, "[T, k]").strided();
        activeNumOptional: i64 = Source::Int(0);
        expertCapacityOptional: i64 = Source::Int(0);
        expertNumOptional: i64 = Source::Size("experts");
        dropPadModeOptional: i64 = Source::Int(0);
        expertTokensCountOrCumsumFlagOptional: i64 = Source::Int(2);
        expertTokensBeforeCapacityFlagOptional: bool = Source::Bool(false);
        expandedXOut: tensor = result(0, "[T*k, H]");
        expandedRowIdxOut: tensor = result(1, "[T*k]");
        expertTokensCountOrCumsumOutOptional: tensor = result(2, "[experts]");
        expertTokensBeforeCapacityOutOptional: tensor = Source::Null;
    }
    dtypes {
        ALL: "f16 i32 -> f16 i32 i32", "f32 i32 -> f32 i32 i32";
        A2_A3: "bf16 i32 -> bf16 i32 i32";
    }
    limits {
        P310: "H % 32 == 0";
    }
    implied { "dtype" }
    unchecked {}
    example "T=3 H=64 k=2", "experts=8, dtype=i32";
    source "mirror-cann/ops-transformer:moe/moe_init_routing_v2/docs/aclnnMoeInitRoutingV2.md";
}

aclnn! {
    /// Rows weighted and added per token, to what shared experts gave.
    MOE_FINALIZE_ROUTING = moe_finalize_routing: MoeFinalizeRouting, "aclnnMoeFinalizeRoutingV2";
    since Cann81;
    executor Composite;
    args {
        expandedX: tensor = operand(0, "[T*k, H]").strided();
        expandedRowIdx: tensor = operand(1, "[T*k]").strided();
        x1Optional: tensor = operand(3, "[T, H]").strided().optional();
        x2Optional: tensor = Source::Null;
        biasOptional: tensor = Source::Null;
        scalesOptional: tensor = operand(2, "[T, k]").strided();
        expertIdxOptional: tensor = Source::Null;
        dropPadMode: i64 = Source::Int(2);
        out: tensor = result(0, "[T, H]");
    }
    dtypes {
        A2_A3: "f16 i32 f16 f16 -> f16", "f32 i32 f32 f32 -> f32", "bf16 i32 bf16 bf16 -> bf16",
            "bf16 i32 bf16 f32 -> bf16";
    }
    limits {}
    unchecked {
        "f32 weights beside bf16 rows are documented, but not registered in CANN 8.1: which release is there is not known",
    }
    example "T=3 H=64 k=2", "";
    source "mirror-cann/ops-transformer:moe/moe_finalize_routing_v2/docs/aclnnMoeFinalizeRoutingV2.md";
}

aclnn! {
    /// Rows weighted and added per token, on the older devices, which add nothing else.
    MOE_FINALIZE_ROUTING_310P = moe_finalize_routing_310p: MoeFinalizeRouting, "aclnnMoeFinalizeRoutingV2";
    since Cann81;
    executor Composite;
    args {
        expandedX: tensor = operand(0, "[T*k, H]").strided();
        expandedRowIdx: tensor = operand(1, "[T*k]").strided();
        x1Optional: tensor = Source::Null;
        x2Optional: tensor = Source::Null;
        biasOptional: tensor = Source::Null;
        scalesOptional: tensor = operand(2, "[T, k]").strided().cast(DType::F16);
        expertIdxOptional: tensor = Source::Null;
        dropPadMode: i64 = Source::Int(2);
        out: tensor = result(0, "[T, H]");
    }
    dtypes {
        P310: "f16 i32 f16 -> f16";
    }
    limits {
        P310: "H % 32 == 0";
    }
    unchecked {}
    example "T=3 H=64 k=2", "";
    source "mirror-cann/ops-transformer:moe/moe_finalize_routing_v2/docs/aclnnMoeFinalizeRoutingV2.md";
}
