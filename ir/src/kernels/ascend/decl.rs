//! The form of a declaration: what an aclnn operator takes and where each argument comes from.

use std::sync::LazyLock;

use super::abi::ArgType;
use super::format::Format;
use super::limit::Limit;
use super::shape::Pattern;
use super::soc::Socs;
use crate::DType;
use crate::ops::OpKind;

/// One way of calling an aclnn operator.
///
/// An operator that is called in two ways, with a transposed weight or another layout, has a declaration for each.
#[derive(Debug)]
pub struct AclnnDecl {
    /// Name in plans, unique among declarations.
    pub name: &'static str,
    /// The op that the call computes.
    pub op: OpKind,
    /// The second phase's symbol; the first phase's is this and `GetWorkspaceSize`.
    pub entry: &'static str,
    /// Whether CANN 8.1 exports it; later ones are looked up and may be missing.
    pub since: Since,
    /// The declaration that takes its place where the library has no such symbol.
    pub fallback: Option<&'static str>,
    /// Arguments of the first phase in order, without workspace size and executor.
    pub args: &'static [ArgDecl],
    /// Element types of the tensors that are given, in order of arguments; one row must fit.
    pub dtypes: &'static [DtypeRow],
    /// Limits of sizes and attributes.
    pub limits: &'static [LimitDecl],
    /// Attributes of the op that say nothing but what types and shapes of the call say too.
    pub implied: &'static [&'static str],
    /// Attributes of the op that must be these for the call to compute it.
    pub only: &'static [Only],
    /// Values of integer attributes that are not written.
    pub defaults: &'static [(&'static str, i64)],
    /// Documented rules that a compiler cannot check, each with the reason.
    pub unchecked: &'static [&'static str],
    /// How its executor may be used.
    pub executor: Executor,
    /// A legal call, for tests: sizes of the named axes.
    pub example: Example,
    /// Where the facts stand: repository and path.
    pub source: &'static str,
    /// The parts in texts, parsed once.
    pub parsed: LazyLock<Parsed>,
}

/// The releases that have an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Declared in the headers of CANN 8.1.
    Cann81,
    /// Newer; which release first is not known.
    Later,
}

/// What a first phase makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// A list of kernels, helpers among them; handles of tensors must outlive it if it is repeated.
    Composite,
    /// One kernel, whose argument block is patched in place.
    Individual,
}

/// An argument of the first phase.
#[derive(Clone, Copy, Debug)]
pub struct ArgDecl {
    /// Its name in the header.
    pub name: &'static str,
    /// Its C type.
    pub ty: ArgType,
    /// Where its value comes from.
    pub source: Source,
}

/// Where an argument's value comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A tensor.
    Tensor(TensorSource),
    /// Nothing: a null handle.
    Null,
    /// The op's attribute of this name; a flag that is not written is false, and 0 or 1 where the call wants an integer.
    Attr(&'static str),
    /// The op's attribute of this name, or this where it is not written.
    AttrOr(&'static str, f64),
    /// A size computed of named axes and integer attributes.
    Size(&'static str),
    /// Always this.
    Bool(bool),
    /// Always this.
    Int(i64),
    /// Always this.
    Float(f64),
    /// Always this.
    Text(&'static str),
    /// Always these.
    Ints(&'static [i64]),
    /// These sizes, which must be constant.
    Sizes(&'static [&'static str]),
    /// The values of an operand, which the host knows too, without the first `skip`.
    Host {
        /// The operand.
        operand: usize,
        /// Its axes.
        shape: &'static str,
        /// How many values are left out.
        skip: usize,
    },
    /// The running sums of the values of an operand, which the host knows too.
    HostSums {
        /// The operand.
        operand: usize,
        /// Its axes.
        shape: &'static str,
    },
    /// The element type of the first result.
    ResultType,
}

/// A tensor among the arguments, and how the call sees it.
#[derive(Clone, Copy, Debug)]
pub struct TensorSource {
    /// Which.
    pub of: TensorOf,
    /// Its axes as the op has them. A name alone stands for a size, `..` for leading axes.
    pub shape: &'static str,
    /// Its axes as the call sees them, if that is different.
    pub seen_as: Option<&'static str>,
    /// The attribute by which the two last axes change places, as a view.
    pub swapped_if: Option<&'static str>,
    /// Whether the two last axes always change places, and the tensor has to lie so: a weight's recipe turns it.
    pub turned: bool,
    /// Whether a strided view will do.
    pub strided: bool,
    /// The element type that the call wants or gives, where it is not the op's: a cast stands before or behind it.
    pub cast: Option<DType>,
    /// The element type as which the call sees what is as wide, where only bits matter.
    pub bits_as: Option<DType>,
    /// How its elements are stored.
    pub format: Format,
    /// Whether the call does without it.
    pub optional: bool,
    /// The axis of `seen_as` along which all elements are the same; the op's tensor lacks it.
    pub repeated: Option<usize>,
}

/// Which tensor an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorOf {
    /// This operand of the op; absent ones are null.
    Operand(usize),
    /// This result.
    Result(usize),
    /// This operand, which is written in place and so the result too.
    InOut(usize),
    /// All operands of the op, as a list; the pattern is that of the first.
    All,
    /// A result that the op does not have and nobody reads.
    Extra(DType),
    /// Such a result of the element type of this operand.
    ExtraLike(usize),
    /// A tensor that comes with the plan.
    Constant(Constant),
}

/// Tensors that operators want beside the op's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Constant {
    /// `[2048, 2048]` of u8, 1 above the diagonal: what attention must not see.
    CausalMask,
}

/// A row of element types.
#[derive(Clone, Copy, Debug)]
pub struct DtypeRow {
    /// Where it is supported.
    pub socs: Socs,
    /// `f16 f16 -> f16 f32`; the arrow is for the reader.
    pub types: &'static str,
}

/// A limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitDecl {
    /// Where it holds.
    pub socs: Socs,
    /// `H <= 8192`, `N % 16 == 0`, `D in {64, 128}`, `K == 1`, over named axes and integer attributes.
    pub rule: &'static str,
}

/// An attribute that must have one value.
#[derive(Clone, Copy, Debug)]
pub struct Only {
    /// The attribute.
    pub attr: &'static str,
    /// Its value as the IR's text has it; flags that are not written are false.
    pub value: &'static str,
    /// Another value that the op may have, for tests.
    pub other: &'static str,
}

/// A legal call.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Sizes of the named axes, `T=3 H=64`; `..=2` is one leading axis of 2. Attributes of the op are not among them.
    pub sizes: &'static str,
    /// The op's attributes as the IR's text has them, without braces.
    pub attrs: &'static str,
}

/// The texts of a declaration, parsed.
#[derive(Debug)]
pub struct Parsed {
    /// For each argument that is a tensor or a host's copy of one, the patterns of its shape and of how it is seen.
    pub shapes: Vec<Option<(Pattern, Option<Pattern>)>>,
    /// The limits.
    pub limits: Vec<(Socs, Limit)>,
    /// The rows of element types, one for each tensor; `None` for any.
    pub rows: Vec<(Socs, Vec<Option<DType>>)>,
}

impl Parsed {
    /// Parses the texts of a declaration.
    ///
    /// Panics: a text is wrong. All declarations are parsed in a test.
    pub fn new(args: &[ArgDecl], dtypes: &[DtypeRow], limits: &[LimitDecl]) -> Self {
        let pattern = |text| Pattern::parse(text).unwrap_or_else(|error| panic!("shape {text}: {error}"));
        let shapes = args.iter().map(|arg| match arg.source {
            Source::Tensor(tensor) => Some((pattern(tensor.shape), tensor.seen_as.map(pattern))),
            Source::Host { shape, .. } | Source::HostSums { shape, .. } => Some((pattern(shape), None)),
            _ => None,
        });
        let limits = limits.iter().map(|limit| {
            let parsed = Limit::parse(limit.rule).unwrap_or_else(|error| panic!("{}: {error}", limit.rule));
            (limit.socs, parsed)
        });
        let rows = dtypes.iter().map(|row| {
            let cells = row.types.split_whitespace().filter(|cell| *cell != "->");
            let dtype = |cell: &str| match cell {
                "*" => None,
                name => Some(name.parse().unwrap_or_else(|_| panic!("{}: no type `{name}`", row.types))),
            };
            (row.socs, cells.map(dtype).collect())
        });
        Parsed { shapes: shapes.collect(), limits: limits.collect(), rows: rows.collect() }
    }
}

/// Operand `index` of the op, with these axes.
pub const fn operand(index: usize, shape: &'static str) -> Source {
    tensor(TensorOf::Operand(index), shape)
}

/// Result `index` of the op.
pub const fn result(index: usize, shape: &'static str) -> Source {
    tensor(TensorOf::Result(index), shape)
}

/// Operand `index`, which the call writes in place.
pub const fn in_out(index: usize, shape: &'static str) -> Source {
    tensor(TensorOf::InOut(index), shape)
}

/// A result of the call that the op does not have.
pub const fn extra(dtype: DType, shape: &'static str) -> Source {
    tensor(TensorOf::Extra(dtype), shape)
}

/// A result of the call that the op does not have, of the element type of operand `index`.
pub const fn extra_like(index: usize, shape: &'static str) -> Source {
    tensor(TensorOf::ExtraLike(index), shape)
}

/// All operands as a list; the first has these axes.
pub const fn all(shape: &'static str) -> Source {
    tensor(TensorOf::All, shape)
}

/// A tensor that comes with the plan.
pub const fn constant(constant: Constant) -> Source {
    match constant {
        Constant::CausalMask => tensor(TensorOf::Constant(constant), "[2048, 2048]"),
    }
}

const fn tensor(of: TensorOf, shape: &'static str) -> Source {
    Source::Tensor(TensorSource {
        of,
        shape,
        seen_as: None,
        swapped_if: None,
        turned: false,
        strided: false,
        cast: None,
        format: Format::Nd,
        optional: false,
        repeated: None,
        bits_as: None,
    })
}

impl Source {
    /// Strided views will do.
    pub const fn strided(self) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { strided: true, ..tensor }),
            other => other,
        }
    }

    /// The call sees other axes over the same elements.
    pub const fn seen_as(self, shape: &'static str) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { seen_as: Some(shape), ..tensor }),
            other => other,
        }
    }

    /// The two last axes change places, as a view, where the op has this attribute; `shape` is how they lie then not.
    pub const fn swapped_if(self, attr: &'static str) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { swapped_if: Some(attr), ..tensor }),
            other => other,
        }
    }

    /// The two last axes change places, and the tensor lies so; `shape` is how the call sees it.
    pub const fn turned(self) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { turned: true, ..tensor }),
            other => other,
        }
    }

    /// The call takes or gives another element type than the op.
    pub const fn cast(self, dtype: DType) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { cast: Some(dtype), ..tensor }),
            other => other,
        }
    }

    /// The call moves bits and sees them as of this type, if the op's is as wide.
    pub const fn bits_as(self, dtype: DType) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { bits_as: Some(dtype), ..tensor }),
            other => other,
        }
    }

    /// A weight in blocks of the cube unit.
    pub const fn nz(self) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { format: Format::Nz, ..tensor }),
            other => other,
        }
    }

    /// The call does without it where the op has none.
    pub const fn optional(self) -> Self {
        match self {
            Source::Tensor(tensor) => Source::Tensor(TensorSource { optional: true, ..tensor }),
            other => other,
        }
    }

    /// The call sees one axis more, along which all elements are the same.
    pub const fn repeated(self, axis: usize, seen_as: &'static str) -> Self {
        match self {
            Source::Tensor(tensor) => {
                Source::Tensor(TensorSource { repeated: Some(axis), seen_as: Some(seen_as), ..tensor })
            }
            other => other,
        }
    }
}
