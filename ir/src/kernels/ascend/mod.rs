//! Kernels of Ascend NPUs: operators of the aclnn library, one declaration for each way of calling one.
//!
//! A declaration says where each argument of the call comes from, which element types and sizes the operator's
//! documents allow on which devices, and what cannot be known before the call. Lowering, legality and launching read
//! it; the typed function pointers of both phases come from it too.
//!
//! To add one: an `aclnn!` in the file of its group, and its name in [`DECLS`]. A test holds it against the reference
//! data.

pub mod abi;
pub mod attention;
pub mod cache;
mod call;
mod decl;
pub mod elementwise;
mod example;
mod format;
pub mod grouped_matmul;
pub mod index;
mod limit;
pub mod matmul;
pub mod mla_prolog;
pub mod moe;
pub mod norm;
pub mod reduce;
pub mod rope;
mod shape;
mod soc;

pub use call::{Arg, Call, TensorArg, Usage, Violation};
pub use decl::{
    AclnnDecl, ArgDecl, Constant, DtypeRow, Example, Executor, LimitDecl, Only, Parsed, Since, Source,
    TensorOf, TensorSource,
};
pub use example::Instance;
pub use format::{Format, nz_storage};
pub use limit::{Bound, Limit};
pub use shape::{Names, Pattern};
pub use soc::{Family, SOCS, Soc, Socs};

use crate::ops::OpKind;

/// Declares a way of calling an aclnn operator: a static with its data, and a module of the same name in small letters
/// with the types of its entry points.
macro_rules! aclnn {
    (
        $(#[$doc:meta])*
        $upper:ident = $name:ident: $op:ident, $entry:literal;
        since $since:ident;
        $(fallback $fallback:literal;)?
        executor $executor:ident;
        args { $($arg:ident: $ty:ident = $source:expr;)* }
        dtypes { $($socs:ident: $($row:literal),+;)* }
        limits { $($limit_socs:ident: $($limit:literal),+;)* }
        $(implied { $($implied:literal),* })?
        $(only { $($only:literal: $value:literal, not $other:literal;)* })?
        $(defaults { $($default:literal: $number:literal;)* })?
        unchecked { $($unchecked:literal),* $(,)? }
        example $sizes:literal, $attrs:literal;
        source $origin:literal;
    ) => {
        $(#[$doc])*
        pub static $upper: $crate::kernels::ascend::AclnnDecl = {
            #[allow(unused_imports)]
            use $crate::kernels::ascend::decl::*;
            use $crate::kernels::ascend::{Socs, abi};
            const ARGS: &[ArgDecl] = &[$(ArgDecl {
                name: abi::header_name(stringify!($arg)),
                ty: abi::arg_type!($ty),
                source: $source,
            }),*];
            const DTYPES: &[DtypeRow] = &[$($(DtypeRow { socs: Socs::$socs, types: $row }),+),*];
            const LIMITS: &[LimitDecl] = &[$($(LimitDecl { socs: Socs::$limit_socs, rule: $limit }),+),*];
            AclnnDecl {
                name: stringify!($name),
                op: $crate::ops::OpKind::$op,
                entry: $entry,
                since: Since::$since,
                fallback: [$(Some($fallback),)? None][0],
                args: ARGS,
                dtypes: DTYPES,
                limits: LIMITS,
                implied: &[$($($implied),*)?],
                only: &[$($(Only { attr: $only, value: $value, other: $other }),*)?],
                defaults: &[$($(($default, $number)),*)?],
                unchecked: &[$($unchecked),*],
                executor: Executor::$executor,
                example: Example { sizes: $sizes, attrs: $attrs },
                source: $origin,
                parsed: std::sync::LazyLock::new(|| Parsed::new(ARGS, DTYPES, LIMITS)),
            }
        };

        #[doc = concat!("The entry points of `", $entry, "`.")]
        #[allow(non_snake_case)]
        pub mod $name {
            use $crate::kernels::ascend::abi;
            #[doc = concat!("`", $entry, "GetWorkspaceSize`: the arguments, where the workspace's size in bytes and the executor go.")]
            pub type GetWorkspaceSize = unsafe extern "C" fn(
                $($arg: abi::arg_c_type!($ty),)*
                workspace_size: *mut u64,
                executor: *mut abi::AclOpExecutor,
            ) -> abi::AclStatus;
            #[doc = concat!("`", $entry, "`.")]
            pub type Launch = abi::Launch;
        }
    };
}
use aclnn;

/// All declarations; those of one op in order of preference.
pub static DECLS: &[&AclnnDecl] = &[
    &norm::RMS_NORM,
    &norm::ADD_RMS_NORM,
    &norm::LAYER_NORM,
    &norm::ADD_LAYER_NORM,
    &matmul::MATMUL_NZ,
    &matmul::MATMUL,
    &matmul::BATCH_MATMUL,
    &matmul::MATMUL_BIAS_NZ,
    &matmul::MATMUL_BIAS,
    &matmul::TRANSPOSE_BATCH_MATMUL,
    &matmul::TRANSPOSE_BATCH_MATMUL_TRANS,
    &matmul::TRANSPOSE_BATCH_MATMUL_BY_BATCH,
    &grouped_matmul::GROUPED_MATMUL_NZ,
    &grouped_matmul::GROUPED_MATMUL_NZ_V4,
    &grouped_matmul::GROUPED_MATMUL,
    &grouped_matmul::GROUPED_MATMUL_V4,
    &attention::ATTENTION,
    &attention::ATTENTION_V3,
    &attention::ATTENTION_WINDOW,
    &attention::ATTENTION_WINDOW_V3,
    &attention::ATTENTION_SINKS,
    &attention::ATTENTION_WINDOW_SINKS,
    &attention::TOKEN_ATTENTION,
    &attention::TOKEN_ATTENTION_V3,
    &attention::TOKEN_ATTENTION_310P,
    &attention::LATENT_ATTENTION_ROWS,
    &attention::LATENT_ATTENTION_ROWS_V3,
    &attention::LATENT_ATTENTION,
    &attention::LATENT_ATTENTION_V3,
    &attention::RAGGED_ATTENTION,
    &attention::RAGGED_ATTENTION_V3,
    &cache::CACHE_WRITE_PAIR,
    &cache::CACHE_WRITE_PAIR_LATENT,
    &cache::CACHE_WRITE,
    &cache::CACHE_READ,
    &cache::KV_RMS_NORM_ROPE_CACHE,
    &mla_prolog::MLA_PROLOG,
    &mla_prolog::MLA_PROLOG_V1,
    &rope::APPLY_ROTARY,
    &rope::APPLY_ROTARY_PAIR,
    &rope::APPLY_ROTARY_PAIR_V1,
    &rope::INTERLEAVE_ROPE,
    &moe::MOE_GATING_SIGMOID,
    &moe::MOE_GATING_SOFTMAX,
    &moe::MOE_GATING_SOFTMAX_V2,
    &moe::MOE_GATING_CHOSEN,
    &moe::MOE_GATING_SOFTMAX_V1,
    &moe::MOE_INIT_ROUTING,
    &moe::MOE_INIT_ROUTING_V2,
    &moe::MOE_FINALIZE_ROUTING,
    &moe::MOE_FINALIZE_ROUTING_310P,
    &elementwise::ADD,
    &elementwise::MUL,
    &elementwise::SCALE,
    &elementwise::SHIFT,
    &elementwise::SCALE_ROWS,
    &elementwise::DIV_ROWS,
    &elementwise::CLAMP,
    &elementwise::SILU,
    &elementwise::GELU,
    &elementwise::RELU,
    &elementwise::SIGMOID,
    &elementwise::TANH,
    &elementwise::SWIGLU_PACKED,
    &elementwise::GEGLU_PACKED,
    &elementwise::CAST,
    &elementwise::COPY,
    &reduce::SOFTMAX,
    &reduce::SUM,
    &reduce::TOPK,
    &reduce::ARGSORT,
    &reduce::BINCOUNT,
    &index::GATHER,
    &index::GATHER_PARTS,
    &index::TAKE_ALONG,
    &index::CONCAT,
    &index::PAD,
    &index::REPEAT_HEADS,
];

/// Ops that no call computes, and why plans do without.
pub static WITHOUT_CALL: &[(OpKind, &str)] = &[
    (OpKind::CausalMask, "a table made when weights are loaded"),
    (OpKind::FloorDiv, "no operator divides integers so; part of routing, which has operators of its own"),
    (
        OpKind::IndexAdd,
        "no operator adds rows by a list of places; part of routing, which has operators of its own",
    ),
    (OpKind::Iota, "a table made when weights are loaded"),
    (OpKind::KeepGroups, "no operator does it alone; part of gating, which has operators of its own"),
    (OpKind::Linear, "becomes a product before anything is lowered"),
    (OpKind::Renormalize, "becomes a sum, a bound and a division"),
    (OpKind::Reshape, "a view; where strides do not express it, of a copy"),
    (OpKind::Rope, "becomes `apply_rotary`, whose tables have a value for each element of a head"),
    (OpKind::RopeFreqs, "a table made when weights are loaded"),
    (
        OpKind::RopeTable,
        "tables of all positions are made when weights are loaded, and rows gathered from them",
    ),
    (OpKind::SoftCap, "becomes a product, a hyperbolic tangent and a product"),
    (OpKind::Split, "a view; the operators that take none get a copy"),
    (
        OpKind::Swiglu,
        "operators take both halves in one tensor: it is `swiglu_packed`, or `silu` and a product",
    ),
    (OpKind::Transpose, "a view; the operators that take none get a copy"),
];

/// The op with an operator that computes what a part without one is of.
pub fn part_of(part: OpKind) -> Option<OpKind> {
    match part {
        OpKind::FloorDiv => Some(OpKind::MoeInitRouting),
        OpKind::IndexAdd => Some(OpKind::MoeFinalizeRouting),
        OpKind::KeepGroups => Some(OpKind::MoeGating),
        _ => None,
    }
}

/// The declaration of this name.
pub fn decl(name: &str) -> Option<&'static AclnnDecl> {
    DECLS.iter().copied().find(|decl| decl.name == name)
}

/// The ways of computing an op, the preferred one first: on tensors stored row by row, or where there is none such, with
/// weights in blocks of the cube unit.
pub fn decls_for(op: OpKind) -> impl Iterator<Item = &'static AclnnDecl> {
    let of_op = || DECLS.iter().copied().filter(move |decl| decl.op == op);
    let by_rows = of_op().any(|decl| decl.in_blocks().is_empty());
    of_op().filter(move |decl| !by_rows || decl.in_blocks().is_empty())
}

/// The ways of computing an op with operands in blocks of the cube unit, and which operands those are.
pub fn decls_for_blocks(op: OpKind) -> impl Iterator<Item = (&'static AclnnDecl, Vec<usize>)> {
    let of_op = DECLS.iter().copied().filter(move |decl| decl.op == op);
    of_op.map(|decl| (decl, decl.in_blocks())).filter(|(_, at)| !at.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SymbolTable;

    #[test]
    fn each_op_has_a_call_or_a_reason() {
        for kind in OpKind::ALL {
            let reason = WITHOUT_CALL.iter().any(|(other, _)| other == kind);
            assert_eq!(decls_for(*kind).next().is_none(), reason, "{}", kind.name());
        }
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = DECLS.iter().map(|decl| decl.name).collect();
        assert_eq!(names.len(), DECLS.len());
    }

    #[test]
    fn examples_are_legal_and_fallbacks_compute_the_same() {
        for decl in DECLS {
            let mut families = 0;
            for family in Family::ALL {
                if !decl.parsed.rows.iter().any(|(socs, _)| socs.has(family)) {
                    continue;
                }
                let instance = decl.example(family, &[]);
                let instance =
                    instance.unwrap_or_else(|| panic!("{}: no example on {}", decl.name, family.name()));
                let call = decl.bind(instance.usage(family));
                assert!(call.is_ok(), "{} on {}: {call:?}", decl.name, family.name());
                families += 1;
            }
            assert!(families > 0, "{} runs nowhere", decl.name);
            if let Some(fallback) = decl.fallback {
                let other = super::decl(fallback).unwrap_or_else(|| panic!("{}: no {fallback}", decl.name));
                assert_eq!(other.op, decl.op, "{}", decl.name);
            }
        }
    }

    #[test]
    fn one_step_beyond_each_limit_is_refused_for_that_reason() {
        for decl in DECLS {
            for family in Family::ALL {
                for (rule, instance) in decl.illegal(family) {
                    if decl.example(family, &[]).is_none() {
                        continue;
                    }
                    let Some(instance) = instance else {
                        panic!("{}: nothing is beyond `{rule}` on {}", decl.name, family.name());
                    };
                    let violations = decl.bind(instance.usage(family)).unwrap_err();
                    assert!(
                        violations.iter().any(|violation| violation.rule == rule),
                        "{rule}: {violations:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_a_call_has_no_place_for_is_refused() {
        let symbols = SymbolTable::default();
        let ty = |text: &str| {
            let graph =
                crate::text::parse_function(&format!("func @f {{\n  input %x: {text}\n  output y = %x\n}}"));
            let graph = graph.unwrap();
            graph.ty(graph.sinks()[0].1).clone()
        };
        let refused = |decl: &AclnnDecl, operands: &[&str], attrs: &str| {
            let operands: Vec<_> = operands.iter().map(|text| ty(text)).collect();
            let op = decl.op.with_attrs(&crate::text::parse_attrs(attrs).unwrap()).unwrap();
            let results = op.infer(&operands).unwrap();
            let usage = Usage {
                op: &op,
                operands: &operands,
                results: &results,
                symbols: &symbols,
                family: Family::P310,
            };
            decl.bind(usage).unwrap_err().iter().map(Violation::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            refused(&norm::RMS_NORM, &["bf16[T, 8]", "bf16[8]"], "{eps=1e-6}"),
            [
                "element types of x, gamma, yOut, rstdOut on 310P are f16 f16 -> f16 f32, or f32 f32 -> f32 f32: \
             bf16 bf16 bf16 f32",
                "H*bytes >= 32: H*bytes is 16",
            ]
        );
    }
}
