//! Binding: an op at hand and a declaration give a call with all its arguments, or the rules that forbid it.

use std::fmt;

use super::abi::ArgType;
use super::decl::{AclnnDecl, Constant, Only, Source, TensorOf, TensorSource};
use super::format::Format;
use super::shape::Names;
use super::soc::Family;
use crate::attr::{Attr, Attrs};
use crate::ops::Op;
use crate::view::ViewLayout;
use crate::{DType, Dim, Symbol, SymbolTable, TensorType};

/// Symbols of the step that limits may name: `Q`, the most new tokens of a sequence.
pub(super) const STEP_SIZES: &[&str] = &["Q"];

/// An op with the types of what it reads and writes.
#[derive(Clone, Copy)]
pub struct Usage<'a> {
    /// The op.
    pub op: &'a Op,
    /// Its operands.
    pub operands: &'a [TensorType],
    /// Its results.
    pub results: &'a [TensorType],
    /// Bounds of the symbols in them.
    pub symbols: &'a SymbolTable,
    /// Where it is to run.
    pub family: Family,
}

/// A legal call: arguments of the first phase, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The arguments.
    pub args: Vec<Arg>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A tensor, or a list of one.
    Tensor(TensorArg),
    /// A list of tensors.
    Tensors(Vec<TensorArg>),
    /// A null handle.
    Null,
    /// A flag.
    Bool(bool),
    /// An integer.
    Int(Dim),
    /// A number.
    Float(f64),
    /// A string.
    Text(&'static str),
    /// An array in host memory.
    Ints(Vec<i64>),
    /// The host's copy of an operand, without the first `skip` values.
    Host {
        /// The operand.
        operand: usize,
        /// How many values are left out.
        skip: usize,
    },
    /// The running sums of the host's copy of an operand: its first value, the first two added, and so on.
    HostSums {
        /// The operand.
        operand: usize,
    },
    /// An element type.
    Type(DType),
}

/// A tensor as a call sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorArg {
    /// Which.
    pub of: TensorOf,
    /// Element type and shape that the call sees.
    pub ty: TensorType,
    /// Whether the two last axes have changed places.
    pub swapped: bool,
    /// Whether the tensor has to lie with them changed.
    pub turned: bool,
    /// Whether a strided view will do.
    pub strided: bool,
    /// How its elements are stored.
    pub format: Format,
    /// The axis of `ty` that the op's tensor lacks: all elements along it are the same.
    pub repeated: Option<usize>,
    /// Whether elements of any type will do that are as wide.
    pub bits: bool,
}

impl Call {
    /// All tensors among the arguments, in order, those of lists one by one.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorArg> {
        self.args.iter().flat_map(|arg| match arg {
            Arg::Tensor(tensor) => std::slice::from_ref(tensor),
            Arg::Tensors(tensors) => tensors,
            _ => &[],
        })
    }
}

/// A documented rule that a call would break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: String,
    /// What is there instead.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.found)
    }
}

impl TensorArg {
    /// Whether the call takes a tensor of this element type.
    pub fn takes(&self, dtype: DType) -> bool {
        self.ty.dtype == dtype || (self.bits && self.ty.dtype.bits() == dtype.bits())
    }

    /// The layout that the call sees of a tensor that lies so; `None` if strides cannot express it, or the call wants
    /// it densely packed.
    pub fn layout(&self, lies: &ViewLayout) -> Option<ViewLayout> {
        let rank = lies.shape.len();
        let seen = |view: ViewLayout| match view.shape == self.ty.shape {
            true => Some(view),
            false => view.reshape(&self.ty.shape),
        };
        if self.swapped {
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.swap(rank - 2, rank - 1);
            let swapped = lies.permute(&axes);
            let packed = swapped.is_contiguous() || (lies.is_contiguous() && !self.turned);
            return if self.strided || packed { seen(swapped) } else { None };
        }
        if !self.strided && !lies.is_contiguous() {
            return None;
        }
        if self.repeated.is_some() {
            return self.repeat(lies).filter(|repeated| self.strided || repeated.is_contiguous());
        }
        seen(lies.clone())
    }
    /// A view with the repeated axis, its stride 0: what has to be copied where the call wants it densely packed.
    pub fn repeat(&self, lies: &ViewLayout) -> Option<ViewLayout> {
        let axis = self.repeated?;
        let mut without = self.ty.shape.to_vec();
        let size = without.remove(axis);
        let mut view = lies.reshape(&without)?;
        view.shape.insert(axis, size);
        view.strides.insert(axis, Dim::ZERO);
        Some(view)
    }
}

impl AclnnDecl {
    /// The operands that the call wants in blocks of the cube unit.
    pub fn in_blocks(&self) -> Vec<usize> {
        self.operands_that(|tensor| tensor.format == Format::Nz)
    }

    /// The operands whose two last axes lie in the other order.
    pub fn turned(&self) -> Vec<usize> {
        self.operands_that(|tensor| tensor.turned)
    }

    fn operands_that(&self, holds: fn(&TensorSource) -> bool) -> Vec<usize> {
        let operand = |source: Source| match source {
            Source::Tensor(tensor) if holds(&tensor) => match tensor.of {
                TensorOf::Operand(index) => Some(index),
                _ => None,
            },
            _ => None,
        };
        self.args.iter().filter_map(|arg| operand(arg.source)).collect()
    }

    /// How many tensors the call takes that come with the plan.
    pub fn num_constants(&self) -> usize {
        let sources = self.args.iter().map(|arg| arg.source);
        sources.filter(|source| matches!(source, Source::Tensor(tensor) if matches!(tensor.of, TensorOf::Constant(_)))).count()
    }

    /// The op's types of tensors, of which `types` are the call's: what the call wants in i64, ops have in i32.
    pub fn op_types(&self, of: fn(usize) -> TensorOf, types: &[TensorType]) -> Vec<TensorType> {
        let is_long = |index: usize| {
            self.args.iter().any(|arg| {
                let Source::Tensor(tensor) = arg.source else { return false };
                tensor.of == of(index) && tensor.cast == Some(DType::I64)
            })
        };
        let types = types.iter().enumerate();
        types.map(|(index, ty)| if is_long(index) { ty.with_dtype(DType::I32) } else { ty.clone() }).collect()
    }

    /// The call that computes `usage.op`.
    ///
    /// Errors: each rule that it would break at some sizes within bounds.
    pub fn bind(&self, usage: Usage<'_>) -> Result<Call, Vec<Violation>> {
        let mut binder = Binder { decl: self, usage, attrs: usage.op.attrs(), names: Names::default() };
        let mut violations = binder.unheeded();
        violations.extend(binder.only());
        violations.extend(binder.shapes());
        violations.extend(binder.dtypes());
        violations.extend(binder.limits());
        if !violations.is_empty() {
            return Err(violations);
        }
        let args = self.args.iter().enumerate().map(|(index, arg)| {
            binder
                .arg(index, arg.source)
                .map_err(|found| vec![Violation { rule: arg.name.to_owned(), found }])
        });
        Ok(Call { args: args.collect::<Result<_, _>>()? })
    }
}

struct Binder<'a> {
    decl: &'a AclnnDecl,
    usage: Usage<'a>,
    attrs: Attrs,
    names: Names,
}

impl Binder<'_> {
    /// Attributes and operands of the op that the call has no place for.
    fn unheeded(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (name, value) in &self.attrs {
            let heeded = self.decl.implied.contains(name)
                || self.decl.only.iter().any(|only| only.attr == *name)
                || self.decl.args.iter().any(|arg| arg.source.heeds(name));
            // A limit on it heeds it too.
            let limited = self.decl.parsed.limits.iter().any(|(_, limit)| {
                let mut found = false;
                limit.quantity.for_each_symbol(&mut |symbol| found |= symbol.name() == *name);
                found
            });
            if !heeded && !limited {
                let rule = format!("takes no `{name}`");
                violations.push(Violation { rule, found: format!("{name} is {value}") });
            }
        }
        let kind = self.usage.op.kind();
        for index in 0..self.usage.operands.len() {
            let read = self.decl.args.iter().any(|arg| match arg.source {
                Source::Tensor(tensor) => tensor.of.reads(index),
                Source::Host { operand, .. } | Source::HostSums { operand, .. } => operand == index,
                _ => false,
            });
            if !read {
                let name = kind.operand(index).map_or("operand", |operand| operand.name);
                let found = format!("{name} is {}", self.usage.operands[index]);
                violations.push(Violation { rule: format!("takes no `{name}`"), found });
            }
        }
        for (at, source) in self.tensors() {
            if let TensorOf::Operand(index) = source.of
                && !source.optional
                && index >= self.usage.operands.len()
            {
                let rule = format!("needs `{}`", self.decl.args[at].name);
                violations.push(Violation { rule, found: "the op has none".into() });
            }
        }
        violations
    }

    /// Attributes that the call has only one value of.
    fn only(&self) -> Vec<Violation> {
        let found = |name: &str| match self.attrs.iter().find(|(attr, _)| *attr == name) {
            Some((_, value)) => value.to_string(),
            None => Attr::Bool(false).to_string(),
        };
        let others = self.decl.only.iter().filter(|only| found(only.attr) != only.value);
        let violation = |only: &Only| Violation {
            rule: only.rule(),
            found: format!("{} is {}", only.attr, found(only.attr)),
        };
        others.map(violation).collect()
    }

    /// The op's type of a tensor, with the last axes as they lie if the attribute is not set.
    fn given(&self, source: &TensorSource) -> Option<TensorType> {
        let ty = match source.of {
            TensorOf::Operand(index) | TensorOf::InOut(index) => self.usage.operands.get(index)?.clone(),
            TensorOf::All => self.usage.operands.first()?.clone(),
            TensorOf::Result(index) => self.usage.results.get(index)?.clone(),
            TensorOf::Extra(_) | TensorOf::ExtraLike(_) | TensorOf::Constant(_) => return None,
        };
        let mut shape = ty.shape.to_vec();
        let rank = shape.len();
        if rank >= 2 && self.is_swapped(source) {
            shape.swap(rank - 2, rank - 1);
        }
        let bits = source.bits_as.filter(|dtype| dtype.bits() == ty.dtype.bits());
        Some(TensorType::new(source.cast.or(bits).unwrap_or(ty.dtype), shape))
    }

    fn is_swapped(&self, source: &TensorSource) -> bool {
        source.turned || source.swapped_if.is_some_and(|attr| self.flag(attr))
    }

    fn flag(&self, name: &str) -> bool {
        self.attrs.iter().any(|(attr, value)| *attr == name && *value == Attr::Bool(true))
    }

    /// Gives names their sizes, then holds all shapes against their patterns.
    fn shapes(&mut self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (name, value) in &self.attrs {
            let size = match value {
                Attr::Int(value) => Dim::constant(*value),
                Attr::Bool(value) => Dim::from(u32::from(*value)),
                Attr::Dims(dims) if dims.len() == 1 => dims[0].clone(),
                Attr::Float(_) | Attr::Name(_) | Attr::Dims(_) | Attr::Floats(_) => continue,
            };
            self.names.set(name, &size).unwrap_or_default();
        }
        for (name, value) in self.decl.defaults {
            if !self.names.has(name) {
                self.names.set(name, &Dim::constant(*value)).unwrap_or_default();
            }
        }
        if let Some(bits) = self.usage.operands.first().map(|ty| ty.dtype.bits())
            && bits % 8 == 0
        {
            self.names.set("bytes", &Dim::from(bits / 8)).unwrap_or_default();
        }
        let tensors = self.tensors().filter_map(|(at, source)| Some((at, self.given(&source)?)));
        let hosts = self.decl.args.iter().enumerate().filter_map(|(at, arg)| match arg.source {
            Source::Host { operand, .. } | Source::HostSums { operand, .. } => {
                Some((at, self.usage.operands.get(operand)?.clone()))
            }
            _ => None,
        });
        let given: Vec<(usize, TensorType)> = tensors.chain(hosts).collect();
        let pattern = |at: usize| self.decl.parsed.shapes[at].as_ref().map(|(own, _)| own);
        for (at, ty) in &given {
            let bound = pattern(*at).map_or(Ok(()), |pattern| pattern.bind(&ty.shape, &mut self.names));
            if let Err(rule) = bound {
                let arg = self.decl.args[*at].name;
                violations.push(Violation { rule, found: format!("{arg} is {ty}") });
            }
        }
        if violations.is_empty() {
            for (at, ty) in &given {
                let holds = pattern(*at).map_or(Ok(()), |pattern| pattern.holds(&ty.shape, &self.names));
                if let Err(rule) = holds {
                    let arg = self.decl.args[*at].name;
                    violations.push(Violation { rule, found: format!("{arg} is {ty}") });
                }
            }
        }
        violations
    }

    fn tensors(&self) -> impl Iterator<Item = (usize, TensorSource)> {
        self.decl.args.iter().enumerate().filter_map(|(at, arg)| match arg.source {
            Source::Tensor(tensor) => Some((at, tensor)),
            _ => None,
        })
    }

    /// One row of the table must be that of the tensors given.
    fn dtypes(&self) -> Option<Violation> {
        let types: Vec<Option<DType>> = self
            .tensors()
            .map(|(_, source)| match source.of {
                TensorOf::Extra(dtype) => Some(dtype),
                TensorOf::ExtraLike(index) => self.usage.operands.get(index).map(|ty| ty.dtype),
                TensorOf::Constant(constant) => Some(constant.ty().dtype),
                TensorOf::Operand(_) | TensorOf::Result(_) | TensorOf::InOut(_) | TensorOf::All => {
                    self.given(&source).map(|ty| ty.dtype)
                }
            })
            .collect();
        let fits = |row: &[Option<DType>]| {
            row.len() == types.len()
                && row.iter().zip(&types).all(|(cell, ty)| cell.is_none() || ty.is_none() || cell == ty)
        };
        let rows = &self.decl.parsed.rows;
        if rows.iter().any(|(socs, row)| socs.has(self.usage.family) && fits(row)) {
            return None;
        }
        if !rows.iter().any(|(socs, _)| socs.has(self.usage.family)) {
            let runs = |family: &&Family| rows.iter().any(|(socs, _)| socs.has(**family));
            let families: Vec<&str> = Family::ALL.iter().filter(runs).map(|family| family.name()).collect();
            let rule = format!("runs on {}", families.join(" and "));
            return Some(Violation { rule, found: format!("the device is {}", self.usage.family.name()) });
        }
        let names: Vec<&str> = self.tensors().map(|(at, _)| self.decl.args[at].name).collect();
        let rule = format!("element types of {} on {}", names.join(", "), self.usage.family.name());
        let rows = self.decl.dtypes.iter().filter(|row| row.socs.has(self.usage.family));
        let allowed: Vec<&str> = rows.map(|row| row.types).collect();
        let types = types.iter().map(|ty| ty.map_or("-".to_owned(), |ty| ty.to_string()));
        let found = types.collect::<Vec<_>>().join(" ");
        Some(Violation { rule: format!("{rule} are {}", allowed.join(", or ")), found })
    }

    fn limits(&self) -> Vec<Violation> {
        let mut names = self.names.clone();
        // As many sequences as new tokens: one for each.
        let rows = ["T", "B"].map(|name| names.size(&Dim::symbol(name)).ok());
        if rows[0].is_some() && rows[0] == rows[1] {
            names.set("Q", &Dim::ONE).unwrap_or_default();
        }
        // Sizes of the step that no tensor has are symbols of the plan.
        for name in STEP_SIZES.iter().filter(|name| self.usage.symbols.get(&Symbol::new(name)).is_some()) {
            if !names.has(name) {
                names.set(name, &Dim::symbol(name)).unwrap_or_default();
            }
        }
        let limits = self.decl.limits.iter().zip(&self.decl.parsed.limits);
        let holding = limits.filter(|(_, (socs, _))| socs.has(self.usage.family));
        holding
            .filter_map(|(text, (_, limit))| {
                let found = limit.check(&names, self.usage.symbols).err()?;
                Some(Violation { rule: text.rule.to_owned(), found })
            })
            .collect()
    }

    fn arg(&self, index: usize, source: Source) -> Result<Arg, String> {
        Ok(match source {
            Source::Tensor(tensor) => self.tensor(index, &tensor)?,
            Source::Null => Arg::Null,
            Source::Attr(name) => self.attr(name, self.decl.args[index].ty)?,
            Source::AttrOr(name, default) => match self.attrs.iter().any(|(attr, _)| *attr == name) {
                true => self.attr(name, self.decl.args[index].ty)?,
                false if self.decl.args[index].ty.is_integer() => Arg::Int(Dim::constant(default as i64)),
                false => Arg::Float(default),
            },
            Source::Sizes(sizes) => {
                Arg::Ints(sizes.iter().map(|size| self.constant(size)).collect::<Result<_, _>>()?)
            }
            Source::HostSums { operand, .. } => Arg::HostSums { operand },
            Source::Size(text) => {
                let expr: Dim = text.parse().map_err(|_| format!("`{text}` is no size"))?;
                Arg::Int(self.names.size(&expr)?)
            }
            Source::Bool(value) => Arg::Bool(value),
            Source::Int(value) => Arg::Int(Dim::constant(value)),
            Source::Float(value) => Arg::Float(value),
            Source::Text(text) => Arg::Text(text),
            Source::Ints(values) => Arg::Ints(values.to_vec()),
            Source::Host { operand, skip, .. } => Arg::Host { operand, skip },
            Source::ResultType => match self.usage.results.first() {
                Some(ty) => Arg::Type(ty.dtype),
                None => return Err("there is no result".into()),
            },
        })
    }

    fn constant(&self, text: &str) -> Result<i64, String> {
        let expr: Dim = text.parse().map_err(|_| format!("`{text}` is no size"))?;
        let size = self.names.size(&expr)?;
        size.as_const().ok_or_else(|| format!("{text} is {size}, which is not constant"))
    }

    fn attr(&self, name: &str, ty: ArgType) -> Result<Arg, String> {
        let flag = |value: bool| match ty.is_integer() {
            true => Arg::Int(Dim::from(u32::from(value))),
            false => Arg::Bool(value),
        };
        match self.attrs.iter().find(|(attr, _)| *attr == name) {
            Some((_, Attr::Bool(value))) => Ok(flag(*value)),
            Some((_, Attr::Int(value))) => Ok(Arg::Int(Dim::constant(*value))),
            Some((_, Attr::Float(value))) => Ok(Arg::Float(value.0)),
            Some((_, Attr::Dims(dims))) if dims.len() == 1 => Ok(Arg::Int(dims[0].clone())),
            Some((_, value @ (Attr::Name(_) | Attr::Dims(_) | Attr::Floats(_)))) => {
                Err(format!("{name} is {value}, which is no argument"))
            }
            // Flags at their default are not written.
            None => Ok(flag(false)),
        }
    }

    fn tensor(&self, index: usize, source: &TensorSource) -> Result<Arg, String> {
        let extra = |dtype: DType| -> Result<Option<TensorType>, String> {
            let pattern = self.decl.parsed.shapes[index].as_ref().map(|(own, _)| own.shape(&self.names));
            Ok(pattern.transpose()?.map(|shape| TensorType::new(dtype, shape)))
        };
        let given = match source.of {
            TensorOf::Extra(dtype) => extra(dtype)?,
            TensorOf::ExtraLike(index) => match self.usage.operands.get(index) {
                Some(ty) => extra(ty.dtype)?,
                None => None,
            },
            TensorOf::Constant(constant) => Some(constant.ty()),
            TensorOf::All => {
                let parts = self.usage.operands.iter().enumerate();
                let part = |(index, ty): (usize, &TensorType)| {
                    self.seen(source, TensorOf::Operand(index), ty.clone())
                };
                return Ok(Arg::Tensors(parts.map(part).collect()));
            }
            TensorOf::Operand(_) | TensorOf::Result(_) | TensorOf::InOut(_) => self.given(source),
        };
        let Some(given) = given else { return Ok(Arg::Null) };
        let seen = self.decl.parsed.shapes[index].as_ref().and_then(|(_, seen)| seen.as_ref());
        let ty = match seen {
            Some(pattern) => TensorType::new(given.dtype, pattern.shape(&self.names)?),
            None => given,
        };
        Ok(Arg::Tensor(self.seen(source, source.of, ty)))
    }

    fn seen(&self, source: &TensorSource, of: TensorOf, ty: TensorType) -> TensorArg {
        TensorArg {
            of,
            ty,
            swapped: self.is_swapped(source),
            turned: source.turned,
            strided: source.strided,
            format: source.format,
            repeated: source.repeated,
            bits: source.bits_as.is_some(),
        }
    }
}

impl TensorOf {
    /// Whether it is, or holds, this operand.
    fn reads(self, operand: usize) -> bool {
        match self {
            TensorOf::Operand(index) | TensorOf::InOut(index) => index == operand,
            TensorOf::All => true,
            TensorOf::Result(_) | TensorOf::Extra(_) | TensorOf::ExtraLike(_) | TensorOf::Constant(_) => {
                false
            }
        }
    }
}

impl Only {
    /// As errors quote it.
    pub fn rule(&self) -> String {
        format!("{} is {}", self.attr, self.value)
    }
}

impl Source {
    /// Whether an attribute of the op goes into it.
    fn heeds(&self, name: &str) -> bool {
        match self {
            Source::Attr(attr) | Source::AttrOr(attr, _) => *attr == name,
            Source::Size(text) => mentions(text, name),
            Source::Sizes(sizes) => sizes.iter().any(|text| mentions(text, name)),
            Source::Tensor(tensor) => tensor.swapped_if == Some(name),
            Source::Null
            | Source::Bool(_)
            | Source::Int(_)
            | Source::Float(_)
            | Source::Text(_)
            | Source::Ints(_)
            | Source::Host { .. }
            | Source::HostSums { .. }
            | Source::ResultType => false,
        }
    }
}

fn mentions(text: &str, name: &str) -> bool {
    text.parse::<Dim>().is_ok_and(|expr| {
        let mut found = false;
        expr.for_each_symbol(&mut |symbol| found |= symbol.name() == name);
        found
    })
}

impl Constant {
    /// Its type.
    pub fn ty(self) -> TensorType {
        match self {
            Constant::CausalMask => TensorType::new(DType::U8, vec![Dim::constant(2048); 2]),
        }
    }
}
