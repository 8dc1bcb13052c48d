//! Calls that go element by element, casts and copies.

use super::aclnn;

macro_rules! unary {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident: $op:ident, $entry:literal;
        args { $($arg:ident: $ty:ident = $source:expr;)* }
        out $out:ident;
        $(least $least:literal;)?
        example $attrs:literal;
        source $origin:literal;
    ) => {
        aclnn! {
            $(#[$doc])*
            $upper = $name: $op, $entry;
            since Cann81;
            executor Composite;
            args {
                $($arg: $ty = $source;)*
                $out: tensor = result(0, "[*]").strided();
            }
            dtypes {
                ALL: "f16 -> f16", "f32 -> f32";
                A2_A3: "bf16 -> bf16";
            }
            limits {
                ALL: "axes <= 8" $(, $least)?;
            }
            unchecked {}
            example "..=3 ..=64", $attrs;
            source $origin;
        }
    };
}

unary! {
    /// `x * sigmoid(x)`.
    SILU = silu: Silu, "aclnnSilu";
    args { self_: tensor = operand(0, "[*]").strided(); }
    out out;
    example "";
    source "hicann/ops-nn:activation/swish/docs/aclnnSilu.md";
}

unary! {
    /// Gaussian error linear unit, exact or by tanh.
    GELU = gelu: Gelu, "aclnnGeluV2";
    args {
        x: tensor = operand(0, "[*]").strided();
        approximate: i64 = Source::Attr("tanh");
    }
    out y;
    example "tanh=true";
    source "hicann/ops-nn:activation/gelu_v2/docs/aclnnGeluV2.md";
}

unary! {
    /// `max(x, 0)`.
    RELU = relu: Relu, "aclnnRelu";
    args { self_: tensor = operand(0, "[*]").strided(); }
    out out;
    example "";
    source "hicann/ops-nn:activation/relu/docs/aclnnRelu&aclnnInplaceRelu.md";
}

unary! {
    /// `1 / (1 + e^-x)`.
    SIGMOID = sigmoid: Sigmoid, "aclnnSigmoid";
    args { self_: tensor = operand(0, "[*]").strided(); }
    out out;
    example "";
    source "hicann/ops-nn:activation/sigmoid/docs/aclnnSigmoid&aclnnInplaceSigmoid.md";
}

unary! {
    /// Hyperbolic tangent.
    TANH = tanh: Tanh, "aclnnTanh";
    args { self_: tensor = operand(0, "[*]").strided(); }
    out out;
    example "";
    source "hicann/ops-math:math/tanh/docs/aclnnTanh&aclnnInplaceTanh.md";
}

unary! {
    /// Times a number.
    SCALE = scale: Scale, "aclnnMuls";
    args {
        self_: tensor = operand(0, "[*]").strided();
        other: scalar = Source::Attr("by");
    }
    out out;
    example "by=0.5";
    source "hicann/ops-math:math/muls/docs/aclnnMuls&aclnnInplaceMuls.md";
}

unary! {
    /// Plus a number.
    SHIFT = shift: Shift, "aclnnAdds";
    args {
        self_: tensor = operand(0, "[*]").strided();
        other: scalar = Source::Attr("by");
        alpha: scalar = Source::Float(1.0);
    }
    out out;
    example "by=0.5";
    source "hicann/ops-math:math/add/docs/aclnnAdds.md";
}

unary! {
    /// Between two numbers.
    CLAMP = clamp: Clamp, "aclnnClamp";
    args {
        self_: tensor = operand(0, "[*]").strided();
        clipValueMin: scalar = Source::Attr("least");
        clipValueMax: scalar = Source::Attr("greatest");
    }
    out out;
    least "axes >= 1";
    example "least=-1.0, greatest=1.0";
    source "hicann/ops-math:conversion/clip_by_value_v2/docs/aclnnClamp.md";
}

macro_rules! binary {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident: $op:ident, $entry:literal;
        other $other:expr;
        behind { $($behind:ident: $ty:ident = $source:expr;)* }
        dtypes $dtypes:tt
        example $sizes:literal;
        source $origin:literal;
    ) => {
        aclnn! {
            $(#[$doc])*
            $upper = $name: $op, $entry;
            since Cann81;
            executor Composite;
            args {
                self_: tensor = operand(0, "[*]").strided();
                other: tensor = $other.strided();
                $($behind: $ty = $source;)*
                out: tensor = result(0, "[*]").strided();
            }
            dtypes $dtypes
            limits {
                ALL: "axes <= 8";
            }
            unchecked {}
            example $sizes, "";
            source $origin;
        }
    };
}

binary! {
    /// A sum.
    ADD = add: Add, "aclnnAdd";
    other operand(1, "[*]");
    behind { alpha: scalar = Source::Float(1.0); }
    dtypes {
        ALL: "f16 f16 -> f16", "f32 f32 -> f32";
        A2_A3: "bf16 bf16 -> bf16";
    }
    example "..=3 ..=64";
    source "hicann/ops-math:math/add/docs/aclnnAdd&aclnnInplaceAdd.md";
}

binary! {
    /// A product.
    MUL = mul: Mul, "aclnnMul";
    other operand(1, "[*]");
    behind {}
    dtypes {
        ALL: "f16 f16 -> f16", "f32 f32 -> f32";
        A2_A3: "bf16 bf16 -> bf16";
    }
    example "..=3 ..=64";
    source "hicann/ops-math:math/mul/docs/aclnnMul&aclnnInplaceMul.md";
}

aclnn! {
    /// Each row times its factor; a factor in f32 makes the product f32 before it is rounded.
    SCALE_ROWS = scale_rows: ScaleRows, "aclnnMul";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., D]").strided();
        other: tensor = operand(1, "[..]").seen_as("[.., 1]").strided();
        out: tensor = result(0, "[.., D]").strided();
    }
    dtypes {
        ALL: "f16 f16 -> f16", "f32 f32 -> f32", "f16 f32 -> f16";
        A2_A3: "bf16 bf16 -> bf16", "bf16 f32 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 D=64", "";
    source "hicann/ops-math:math/mul/docs/aclnnMul&aclnnInplaceMul.md";
}

aclnn! {
    /// Each row by its divisor.
    DIV_ROWS = div_rows: DivRows, "aclnnDiv";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., D]").strided();
        other: tensor = operand(1, "[..]").seen_as("[.., 1]").strided();
        out: tensor = result(0, "[.., D]").strided();
    }
    dtypes {
        ALL: "f16 f16 -> f16", "f32 f32 -> f32";
        A2_A3: "bf16 bf16 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 D=64", "";
    source "hicann/ops-math:math/div/docs/aclnnDiv&aclnnInplaceDiv.md";
}

aclnn! {
    /// Another element type.
    CAST = cast: Cast, "aclnnCast";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[*]").strided();
        dtype: dtype = Source::ResultType;
        out: tensor = result(0, "[*]").strided();
    }
    dtypes {
        ALL: "f16 -> f32", "f32 -> f16", "i32 -> i64", "i64 -> i32";
        A2_A3: "bf16 -> f32", "f32 -> bf16", "bf16 -> f16", "f16 -> bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    implied { "dtype" }
    unchecked {}
    example "..=3 ..=64", "dtype=f32";
    source "hicann/ops-math:math/cast/docs/aclnnCast.md";
}

aclnn! {
    /// A copy: what makes a view densely packed. It is a cast to the same element type.
    COPY = copy: Cast, "aclnnInplaceCopy";
    since Cann81;
    executor Composite;
    args {
        selfRef: tensor = result(0, "[*]").strided();
        src: tensor = operand(0, "[*]").strided();
    }
    dtypes {
        ALL: "f16 f16", "f32 f32", "i32 i32", "i64 i64";
        A2_A3: "bf16 bf16";
    }
    limits {
        ALL: "axes <= 8", "axes >= 1";
    }
    implied { "dtype" }
    unchecked {}
    example "..=3 ..=64", "dtype=f16";
    source "hicann/ops-math:conversion/view_copy/docs/aclnnInplaceCopy.md";
}

aclnn! {
    /// `silu` of the first half of each row times the second.
    SWIGLU_PACKED = swiglu_packed: SwigluPacked, "aclnnSwiGlu";
    since Cann81;
    executor Individual;
    args {
        x: tensor = operand(0, "[.., 2*I]");
        dim: i64 = Source::Int(-1);
        out: tensor = result(0, "[.., I]");
    }
    dtypes {
        ALL: "f16 -> f16", "f32 -> f32";
        A2_A3: "bf16 -> bf16";
    }
    limits {
        P310: "I*bytes % 64 == 0", "I >= 1";
    }
    unchecked {}
    example "..=3 I=64", "";
    source "hicann/ops-nn:activation/swi_glu/docs/aclnnSwiGlu.md";
}

aclnn! {
    /// `gelu` of the first half of each row times the second.
    GEGLU_PACKED = geglu_packed: GegluPacked, "aclnnGeGluV3";
    since Cann81;
    executor Composite;
    args {
        self_: tensor = operand(0, "[.., 2*I]").strided();
        dim: i64 = Source::Int(-1);
        approximate: i64 = Source::Attr("tanh");
        activateLeft: bool = Source::Bool(true);
        out: tensor = result(0, "[.., I]").strided();
        outGelu: tensor = extra_like(0, "[.., I]");
    }
    dtypes {
        ALL: "f16 -> f16 f16", "f32 -> f32 f32";
        A2_A3: "bf16 -> bf16 bf16";
    }
    limits {
        ALL: "axes <= 8";
    }
    unchecked {}
    example "..=3 I=64", "tanh=true";
    source "hicann/ops-nn:activation/ge_glu_v2/docs/aclnnGeGluV3.md";
}
