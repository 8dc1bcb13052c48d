//! The text of rules, which [`load`](crate::load) reads back to equal rules.

use std::fmt::{self, Display, Formatter, Write as _};

use mscc_ir::attr::Attr;

use crate::rule::{
    Arg, AttrTerm, Axis, Clause, DTypeClass, Given, GuardArg, GuardCall, Numerics, Output, Phase, Rule,
    Shape, Term,
};

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "rule {}", self.name)?;
        writeln!(f, "doc   {}", self.doc)?;
        writeln!(f, "phase {}", self.phase)?;
        let star = |name: &str| if self.is_star(name) { "*" } else { "" };
        if !self.given.is_empty() {
            let given = |given: &Given| format!("?{}{}: {given}", given.var, star(&given.var));
            writeln!(f, "given {}", self.given.iter().map(given).collect::<Vec<_>>().join("  "))?;
        }
        f.write_str("match ")?;
        let mut indent = "";
        if let Shape::Siblings { shared } = &self.shape {
            write!(f, "siblings ?{shared}")?;
            indent = "\n      ";
        }
        for clause in &self.matches {
            write!(f, "{indent}?{}{} = {}", clause.bind, star(&clause.bind), clause.term)?;
            indent = "\n      ";
        }
        f.write_char('\n')?;
        for (nth, Clause { bind, term }) in self.makes.iter().enumerate() {
            writeln!(f, "{} ?{bind} = {term}", if nth == 0 { "make " } else { "     " })?;
        }
        let equal = |(left, right): &(Output, Output)| match left.index {
            None => format!("?{}* = ?{}.*", left.name, right.name),
            Some(_) => format!("{} = {}", self.show(left), self.show(right)),
        };
        writeln!(f, "equal {}", self.equals.iter().map(equal).collect::<Vec<_>>().join("  "))?;
        if !self.guards.is_empty() {
            let guards: Vec<String> = self.guards.iter().map(GuardCall::to_string).collect();
            writeln!(f, "where {}", guards.join("  "))?;
        }
        writeln!(f, "numerics {}", self.numerics)?;
        writeln!(f, "gain  {}", self.gain)
    }
}

impl Rule {
    /// `?y`, or `?t.0` where the node has several results.
    fn show(&self, output: &Output) -> String {
        let clause = self.matches.iter().chain(&self.makes).find(|clause| clause.bind == output.name);
        match output.index {
            Some(index) if clause.is_some_and(|clause| clause.term.op.results().len() != 1) => {
                format!("?{}.{index}", output.name)
            }
            _ => format!("?{}", output.name),
        }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({}", self.op.name())?;
        for arg in &self.args {
            write!(f, " {arg}")?;
        }
        for (nth, (name, attr)) in self.attrs.iter().enumerate() {
            write!(f, "{}{name}={attr}", if nth == 0 { " {" } else { ", " })?;
        }
        f.write_str(if self.attrs.is_empty() { ")" } else { "})" })
    }
}

impl Display for Arg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Var(name) => write!(f, "?{name}"),
            Arg::Output(Output { name, index }) => write!(f, "?{name}.{}", index.unwrap_or(0)),
            Arg::Star(name) => write!(f, "?{name}*"),
            Arg::Term(term) => write!(f, "{term}"),
        }
    }
}

impl Display for AttrTerm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AttrTerm::Value(attr) => write!(f, "{attr}"),
            AttrTerm::Var(name) => write!(f, "?{name}"),
            AttrTerm::Sizes(name, axis) => write!(f, "sizes(?{name}*, {axis})"),
            AttrTerm::Axes(list) => write!(f, "{}", Attr::Dims(list.clone())),
            AttrTerm::DType(name) => write!(f, "dtype(?{name})"),
            AttrTerm::Reciprocal(name) => write!(f, "reciprocal(?{name})"),
        }
    }
}

impl Display for GuardCall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (nth, arg) in self.args.iter().enumerate() {
            write!(f, "{}{arg}", if nth == 0 { "" } else { ", " })?;
        }
        f.write_char(')')
    }
}

impl Display for GuardArg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            GuardArg::Var(name) => write!(f, "?{name}"),
            GuardArg::Star(name) => write!(f, "?{name}*"),
            GuardArg::Int(value) => write!(f, "{value}"),
            GuardArg::Name(name) => f.write_str(name),
        }
    }
}

/// The type alone, `float[.., H]`.
impl Display for Given {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let leading = self.leading.then(|| "..".to_owned()).into_iter();
        let axes: Vec<String> = leading.chain(self.axes.iter().map(Axis::to_string)).collect();
        write!(f, "{}[{}]", self.dtype.name(), axes.join(", "))
    }
}

impl Display for Axis {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Axis::Any => f.write_char('_'),
            Axis::Size(size) => write!(f, "{size}"),
        }
    }
}

impl DTypeClass {
    /// All classes.
    pub const ALL: [DTypeClass; 3] = [DTypeClass::Float, DTypeClass::Int, DTypeClass::Any];

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        match self {
            DTypeClass::Float => "float",
            DTypeClass::Int => "int",
            DTypeClass::Any => "any",
        }
    }
}

impl Phase {
    /// All phases in the order in which they run.
    pub const ALL: [Phase; 5] = [Phase::Choose, Phase::Expand, Phase::Algebra, Phase::Merge, Phase::Fuse];

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Choose => "choose",
            Phase::Expand => "expand",
            Phase::Algebra => "algebra",
            Phase::Merge => "merge",
            Phase::Fuse => "fuse",
        }
    }
}

impl Display for Phase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Numerics {
    /// All.
    pub const ALL: [Numerics; 3] = [Numerics::Exact, Numerics::FewerRoundings, Numerics::MoreRoundings];

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        match self {
            Numerics::Exact => "exact",
            Numerics::FewerRoundings => "fewer_roundings",
            Numerics::MoreRoundings => "more_roundings",
        }
    }
}

impl Display for Numerics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
