//! Conditions of rules: named, typed predicates over the types and origins of what was matched.
//!
//! A guard must be monotone: once true of a match it stays true however many equal forms are found later. So it
//! may ask what a value *is* (its type, that it is a weight), never that something is absent.

use std::fmt;

use mscc_ir::attr::Attr;
use mscc_ir::{DType, Dim, TensorType};

use crate::rule::{GuardArg, GuardCall};

/// What guards see of a match. The engine that matches implements it.
///
/// Variables are named without `?` and star. Operands and matched results are both variables.
pub trait MatchView {
    /// Type of the value that `var` stands for; one for each sibling if it has a star; none if it is unknown.
    fn types(&self, var: &str) -> Vec<&TensorType>;

    /// Where these values come from, as many as `types` gives.
    fn origins(&self, var: &str) -> Vec<Origin>;

    /// The attribute value bound to `var`.
    fn attr(&self, var: &str) -> Option<&Attr>;

    /// The lists of sizes written among the attributes of the left side, each with what was found there.
    fn lists(&self) -> Vec<(&[Dim], Vec<Dim>)>;
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a tensor of the checkpoint, or one of those that the function as given computes from some.
    SourceWeight,
    /// A rule computes it from tensors of the checkpoint alone.
    Weight,
    /// It depends on the step's inputs.
    Activation,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::SourceWeight => "a weight that the function came with",
            Origin::Weight => "made of weights by a rule",
            Origin::Activation => "no weight",
        })
    }
}

/// Why a match was refused: the condition, and the values that disagreed with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{condition}: {}", .found.iter().map(Finding::to_string).collect::<Vec<_>>().join(", "))]
pub struct Refusal {
    /// The guard's call or the given type, as written.
    pub condition: String,
    /// What was found instead.
    pub found: Vec<Finding>,
}

/// One operand's part in a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The variable; `?w*[1]` for that of sibling 1.
    pub operand: String,
    /// Its type, origin or attribute value.
    pub value: String,
}

impl Finding {
    /// `operand` is `value`.
    pub fn new(operand: impl Into<String>, value: impl fmt::Display) -> Self {
        Finding { operand: operand.into(), value: value.to_string() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.operand, self.value)
    }
}

/// What a guard takes at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// A value, or all siblings' values of a starred variable.
    Values,
    /// One value.
    Value,
    /// An attribute's value.
    Attr,
    /// An axis: an integer, negative from the end.
    Axis,
}

/// A guard.
pub struct Guard {
    /// Its name in rules.
    pub name: &'static str,
    /// What holds where it holds, one line.
    pub doc: &'static str,
    /// What it takes, in order.
    pub params: &'static [Param],
    /// Whether the last parameter may be repeated.
    pub repeats: bool,
    /// Whether it judges each value by itself: then an engine may leave out the siblings for which it fails.
    pub each: bool,
    /// Whether the order of its arguments does not matter.
    pub symmetric: bool,
    check: fn(&[GuardArg], &dyn MatchView) -> Checked,
}

/// What a guard found: nothing, or values that disagree.
type Checked = Result<(), Vec<Finding>>;

impl Guard {
    /// The guard of this name.
    pub fn from_name(name: &str) -> Option<&'static Guard> {
        GUARDS.iter().find(|guard| guard.name == name)
    }

    /// What it takes at position `index`.
    pub fn param(&self, index: usize) -> Option<Param> {
        let last = self.params.last().filter(|_| self.repeats);
        self.params.get(index).or(last).copied()
    }
}

/// All guards, in order of name.
pub const GUARDS: &[Guard] = &[
    Guard {
        name: "at_most",
        doc: "the first number is at most the second times the size of the value's innermost axis",
        params: &[Param::Attr, Param::Attr, Param::Value],
        repeats: false,
        each: false,
        symmetric: false,
        check: at_most,
    },
    Guard {
        name: "f32_holds",
        doc: "every value of their dtypes is one of f32",
        params: &[Param::Values],
        repeats: true,
        each: true,
        symmetric: true,
        check: f32_holds,
    },
    Guard {
        name: "inverse",
        doc: "one permutation undoes the other",
        params: &[Param::Attr, Param::Attr],
        repeats: false,
        each: false,
        symmetric: true,
        check: inverse,
    },
    Guard {
        name: "lossless",
        doc: "every value of the first's dtype is one of the second's",
        params: &[Param::Value, Param::Value],
        repeats: false,
        each: false,
        symmetric: false,
        check: lossless,
    },
    Guard {
        name: "same_dtype",
        doc: "all have one dtype",
        params: &[Param::Values],
        repeats: true,
        each: false,
        symmetric: true,
        check: same_dtype,
    },
    Guard {
        name: "same_type",
        doc: "all have one dtype and shape",
        params: &[Param::Values],
        repeats: true,
        each: false,
        symmetric: true,
        check: same_type,
    },
    Guard {
        name: "source_weight",
        doc: "all are weights that the function came with, not made by a rule",
        params: &[Param::Values],
        repeats: true,
        each: true,
        symmetric: true,
        check: |args, view| all_origins(args, view, |origin| origin == Origin::SourceWeight),
    },
    Guard {
        name: "static_but_last",
        doc: "sizes along the axis are known at compile time, but for that of the last",
        params: &[Param::Values, Param::Axis],
        repeats: false,
        each: false,
        symmetric: false,
        check: static_but_last,
    },
    Guard {
        name: "weight",
        doc: "all depend on tensors of the checkpoint alone",
        params: &[Param::Values],
        repeats: true,
        each: true,
        symmetric: true,
        check: |args, view| all_origins(args, view, |origin| origin != Origin::Activation),
    },
    Guard {
        name: "width_of",
        doc: "the number is the size of the value's innermost axis",
        params: &[Param::Attr, Param::Value],
        repeats: false,
        each: false,
        symmetric: false,
        check: width_of,
    },
];

/// Whether the guard called holds of a match.
pub fn check_guard(call: &GuardCall, view: &dyn MatchView) -> Result<(), Refusal> {
    let refuse = |found| Refusal { condition: call.to_string(), found };
    match Guard::from_name(&call.name) {
        Some(guard) => (guard.check)(&call.args, view).map_err(refuse),
        None => Err(refuse(vec![Finding::new(&call.name, "no guard")])),
    }
}

/// All values of the arguments, with what to call them.
fn values<'a>(
    args: &[GuardArg],
    view: &'a dyn MatchView,
) -> Result<Vec<(String, &'a TensorType)>, Vec<Finding>> {
    let mut values = Vec::new();
    for arg in args {
        let (GuardArg::Var(var) | GuardArg::Star(var)) = arg else { continue };
        let types = view.types(var);
        if types.is_empty() {
            return Err(vec![Finding::new(arg.to_string(), "of unknown type")]);
        }
        let star = matches!(arg, GuardArg::Star(_));
        values.extend(types.into_iter().enumerate().map(|(nth, ty)| (operand(arg, star, nth), ty)));
    }
    Ok(values)
}

fn operand(arg: &GuardArg, star: bool, nth: usize) -> String {
    if star { format!("{arg}[{nth}]") } else { arg.to_string() }
}

/// All values must agree with the first; `of` is what they must agree on.
fn all_equal<T: PartialEq + fmt::Display>(
    args: &[GuardArg],
    view: &dyn MatchView,
    of: impl Fn(&TensorType) -> T,
) -> Checked {
    let values = values(args, view)?;
    let Some((first, ty)) = values.first() else { return Ok(()) };
    match values.iter().find(|(_, other)| of(other) != of(ty)) {
        None => Ok(()),
        Some((name, other)) => Err(vec![Finding::new(first, of(ty)), Finding::new(name, of(other))]),
    }
}

fn same_dtype(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    all_equal(args, view, |ty| ty.dtype)
}

fn same_type(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    all_equal(args, view, TensorType::clone)
}

fn all_origins(args: &[GuardArg], view: &dyn MatchView, holds: fn(Origin) -> bool) -> Checked {
    for arg in args {
        let (GuardArg::Var(var) | GuardArg::Star(var)) = arg else { continue };
        let star = matches!(arg, GuardArg::Star(_));
        let origins = view.origins(var);
        if origins.is_empty() {
            return Err(vec![Finding::new(arg.to_string(), "of unknown origin")]);
        }
        if let Some(nth) = origins.iter().position(|origin| !holds(*origin)) {
            return Err(vec![Finding::new(operand(arg, star, nth), origins[nth])]);
        }
    }
    Ok(())
}

fn static_but_last(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    let [of, GuardArg::Int(axis)] = args else { return Ok(()) };
    let values = values(std::slice::from_ref(of), view)?;
    for (nth, (name, ty)) in values.iter().enumerate() {
        let size = mscc_ir::tensor_type::resolve_axis(*axis, ty.rank()).map(|axis| &ty.shape[axis]);
        let known = size.is_some_and(|size| size.as_const().is_some());
        if size.is_none() || (!known && nth + 1 < values.len()) {
            return Err(vec![Finding::new(name, ty)]);
        }
    }
    Ok(())
}

fn inverse(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    let [GuardArg::Var(first), GuardArg::Var(second)] = args else { return Ok(()) };
    let (p, q) = (view.attr(first), view.attr(second));
    let undone = match (p.and_then(permutation), q.and_then(permutation)) {
        (Some(p), Some(q)) => {
            p.len() == q.len() && q.iter().enumerate().all(|(nth, axis)| p.get(*axis) == Some(&nth))
        }
        _ => false,
    };
    if undone {
        return Ok(());
    }
    let show = |attr: Option<&Attr>| attr.map_or("unknown".to_owned(), Attr::to_string);
    Err(vec![Finding::new(format!("?{first}"), show(p)), Finding::new(format!("?{second}"), show(q))])
}

fn at_most(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    let [GuardArg::Var(number), GuardArg::Var(factor), of] = args else { return Ok(()) };
    let values = values(std::slice::from_ref(of), view)?;
    // An attribute that is not written is a count of one.
    let int = |name: &str| match view.attr(name) {
        None => Some(1),
        Some(Attr::Int(value)) => Some(*value),
        Some(_) => None,
    };
    for (name, ty) in values {
        let bound =
            int(factor).zip(ty.last().as_const()).and_then(|(factor, width)| factor.checked_mul(width));
        if int(number).zip(bound).is_none_or(|(number, bound)| number > bound) {
            let show = |name: &str| view.attr(name).map_or("unknown".to_owned(), Attr::to_string);
            return Err(vec![
                Finding::new(format!("?{number}"), show(number)),
                Finding::new(format!("?{factor}"), show(factor)),
                Finding::new(name, ty),
            ]);
        }
    }
    Ok(())
}

fn width_of(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    let [GuardArg::Var(number), of] = args else { return Ok(()) };
    let values = values(std::slice::from_ref(of), view)?;
    let found = view.attr(number);
    for (name, ty) in values {
        if !matches!(found, Some(Attr::Int(number)) if ty.last().as_const() == Some(*number)) {
            let number =
                Finding::new(format!("?{number}"), found.map_or("unknown".to_owned(), Attr::to_string));
            return Err(vec![number, Finding::new(name, ty)]);
        }
    }
    Ok(())
}

fn permutation(attr: &Attr) -> Option<Vec<usize>> {
    let Attr::Dims(axes) = attr else { return None };
    axes.iter().map(|axis| usize::try_from(axis.as_const()?).ok()).collect()
}

fn lossless(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    let values = values(args, view)?;
    let [(from, x), (to, y)] = values.as_slice() else { return Ok(()) };
    if embeds(x.dtype, y.dtype) {
        return Ok(());
    }
    Err(vec![Finding::new(from, x.dtype), Finding::new(to, y.dtype)])
}

fn f32_holds(args: &[GuardArg], view: &dyn MatchView) -> Checked {
    match values(args, view)?.into_iter().find(|(_, ty)| !embeds(ty.dtype, DType::F32)) {
        None => Ok(()),
        Some((name, ty)) => Err(vec![Finding::new(name, ty.dtype)]),
    }
}

/// Whether every value of type `a` is one of type `b`, as far as casts go.
pub fn embeds(a: DType, b: DType) -> bool {
    match a {
        DType::F64 => b == DType::F64,
        DType::F32 => matches!(b, DType::F64 | DType::F32),
        DType::F16 => matches!(b, DType::F64 | DType::F32 | DType::F16),
        DType::BF16 => matches!(b, DType::F64 | DType::F32 | DType::BF16),
        DType::F8E4M3 => b.is_float(),
        DType::I64 => b == DType::I64,
        DType::I32 => matches!(b, DType::I64 | DType::I32),
        DType::I8 | DType::U8 | DType::I4 | DType::Bool => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mscc_ir::reference::round_to;

    struct Types(Vec<TensorType>, Vec<Attr>);

    impl MatchView for Types {
        fn types(&self, var: &str) -> Vec<&TensorType> {
            match var {
                "w" => self.0.iter().collect(),
                var => var.parse().ok().and_then(|nth: usize| self.0.get(nth)).into_iter().collect(),
            }
        }
        fn origins(&self, _: &str) -> Vec<Origin> {
            self.0.iter().map(|_| Origin::Weight).collect()
        }
        fn attr(&self, var: &str) -> Option<&Attr> {
            self.1.get(var.parse::<usize>().ok()?)
        }
        fn lists(&self) -> Vec<(&[Dim], Vec<Dim>)> {
            Vec::new()
        }
    }

    fn call(name: &str, args: Vec<GuardArg>, view: &dyn MatchView) -> Result<(), String> {
        let call = GuardCall { name: name.to_owned(), args };
        check_guard(&call, view).map_err(|refusal| refusal.to_string())
    }

    fn var(name: &str) -> GuardArg {
        GuardArg::Var(name.to_owned())
    }

    #[test]
    fn refusals_name_operands_and_values() {
        let t = Dim::symbol("T");
        let types = vec![
            TensorType::new(DType::F32, [t.clone(), Dim::from(8u32)]),
            TensorType::new(DType::BF16, [Dim::from(4u32), Dim::from(8u32)]),
        ];
        let view = Types(types, Vec::new());
        let star = || GuardArg::Star("w".to_owned());
        assert_eq!(
            call("same_dtype", vec![star()], &view).unwrap_err(),
            "same_dtype(?w*): ?w*[0] is f32, ?w*[1] is bf16"
        );
        assert_eq!(
            call("static_but_last", vec![star(), GuardArg::Int(0)], &view).unwrap_err(),
            "static_but_last(?w*, 0): ?w*[0] is f32[T, 8]"
        );
        assert_eq!(call("static_but_last", vec![star(), GuardArg::Int(-1)], &view), Ok(()));
        assert_eq!(call("lossless", vec![var("1"), var("0")], &view), Ok(()));
        assert!(call("lossless", vec![var("0"), var("1")], &view).is_err());
        assert_eq!(call("weight", vec![star()], &view), Ok(()));
        assert!(call("source_weight", vec![star()], &view).is_err());
        assert!(call("same_type", vec![var("0"), var("7")], &view).is_err());
    }

    #[test]
    fn inverse_permutations() {
        let axes = |axes: &[i64]| Attr::Dims(axes.iter().map(|axis| Dim::from(*axis)).collect());
        let view =
            Types(Vec::new(), vec![axes(&[1, 2, 0]), axes(&[2, 0, 1]), axes(&[-1, 9, 0]), Attr::Int(1)]);
        assert_eq!(call("inverse", vec![var("0"), var("1")], &view), Ok(()));
        let width =
            Types(vec![TensorType::new(DType::I32, [Dim::symbol("T"), Dim::from(4u32)])], vec![Attr::Int(4)]);
        assert_eq!(call("width_of", vec![var("0"), var("0")], &width), Ok(()));
        assert_eq!(
            call("width_of", vec![var("1"), var("0")], &width).unwrap_err(),
            "width_of(?1, ?0): ?1 is unknown, ?0 is i32[T, 4]"
        );
        assert_eq!(call("at_most", vec![var("0"), var("0"), var("0")], &width), Ok(()));
        let wider = Types(width.0.clone(), vec![Attr::Int(9), Attr::Int(2)]);
        assert_eq!(
            call("at_most", vec![var("0"), var("1"), var("0")], &wider).unwrap_err(),
            "at_most(?0, ?1, ?0): ?0 is 9, ?1 is 2, ?0 is i32[T, 4]"
        );
        for other in ["0", "2", "3", "4"] {
            assert!(call("inverse", vec![var("0"), var(other)], &view).is_err());
        }
    }

    /// Extreme and odd values of each type, rounded to another that embeds it, must not change.
    #[test]
    fn lossless_casts_lose_nothing() {
        let floats = DType::ALL.into_iter().filter(|dtype| dtype.is_float());
        for (a, b) in floats.clone().flat_map(|a| floats.clone().map(move |b| (a, b))) {
            let raw = [1.0 / 3.0, 447.0, 3.3e38, 65504.0, 6e-8, 1e-40, 1e-300, 2f64.powi(-9)];
            let values = raw.map(|value| round_to(value, a)).into_iter().filter(|value| value.is_finite());
            let kept = values.clone().all(|value| round_to(value, b) == value);
            assert_eq!(kept, embeds(a, b), "{a} in {b}");
        }
    }

    #[test]
    fn guards_are_sorted_by_name() {
        assert!(GUARDS.is_sorted_by_key(|guard| guard.name));
    }
}
