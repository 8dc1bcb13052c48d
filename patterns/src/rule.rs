//! What a rule is, once its text is read.

use mscc_ir::attr::Attr;
use mscc_ir::ops::OpKind;
use mscc_ir::{Dim, Symbol};

/// A rewrite rule: where `matches` is found and `guards` hold, `makes` computes the same values.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique name, that of its file.
    pub name: String,
    /// When it runs.
    pub phase: Phase,
    /// What it does, one sentence.
    pub doc: String,
    /// Why the right side is better.
    pub gain: String,
    /// Whether it changes roundings.
    pub numerics: Numerics,
    /// Types of the variables, for the proof and as a condition of the match.
    pub given: Vec<Given>,
    /// What is looked for.
    pub shape: Shape,
    /// Nodes looked for; the first is the anchor, each later one is bound to an earlier one by a variable.
    pub matches: Vec<Clause>,
    /// Conditions, all of which must hold.
    pub guards: Vec<GuardCall>,
    /// Nodes made, operands before users.
    pub makes: Vec<Clause>,
    /// Which matched value equals which made value; the second may be a variable of the left side instead, the first
    /// another made value.
    pub equals: Vec<(Output, Output)>,
}

impl Rule {
    /// Whether `var` takes one value for each sibling.
    pub fn is_star(&self, var: &str) -> bool {
        let starred = |arg: &Arg| matches!(arg, Arg::Star(name) if name == var);
        let sibling = matches!(self.shape, Shape::Siblings { .. });
        sibling
            && self.matches.iter().any(|clause| clause.bind == var || clause.term.args.iter().any(starred))
    }

    /// Whether `name` is a node of the right side.
    pub fn is_made(&self, name: &str) -> bool {
        self.makes.iter().any(|clause| clause.bind == name)
    }

    /// The lists of sizes among the attributes of the left side.
    pub fn matched_lists(&self) -> Vec<&[Dim]> {
        let mut lists = Vec::new();
        self.matches.iter().for_each(|clause| clause.term.lists(&mut lists));
        lists
    }
}

/// When a rule runs; phases run in this order, each to saturation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Forms of which now one and now the other costs less, by the sizes of the step.
    Choose,
    /// Simpler ops in place of one that the target has no kernel for.
    Expand,
    /// Cancellation and motion of views, and what else later phases want to find simplified.
    Algebra,
    /// Joining of siblings that read the same value.
    Merge,
    /// Fused ops.
    Fuse,
}

/// Whether both sides round alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// Bit for bit equal.
    Exact,
    /// The right side rounds less often.
    FewerRoundings,
    /// The right side rounds more often; for the phases `choose` and `expand` alone.
    MoreRoundings,
}

/// How a rule is matched.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// One clause with a tree below it, or several, each later one computing an operand of an earlier one or reading
    /// one; of two clauses of one op that only read the same, the first found is the older node.
    Tree,
    /// All nodes that match the one clause and agree on the variable `shared`, two or more; variables with a
    /// star take one value for each of them.
    Siblings {
        /// The variable on which the nodes agree.
        shared: String,
    },
}

/// A variable's type: `?x: float[.., H]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The variable, without `?` and, where [`Rule::is_star`], without its star.
    pub var: String,
    /// Element types it takes.
    pub dtype: DTypeClass,
    /// Whether any number of leading axes comes before `axes` (written `..`). All `..` of a rule are the same axes.
    pub leading: bool,
    /// Sizes of the axes. A name that occurs with starred variables only stands for one size per sibling.
    pub axes: Vec<Axis>,
}

/// The size of an axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Axis {
    /// `_`: any.
    Any,
    /// A name that stands for the same size throughout the rule, a number, or an expression over names that stand
    /// elsewhere by themselves.
    Size(Dim),
}

/// The name, if the size is a name and no expression.
pub fn bare_name(size: &Dim) -> Option<Symbol> {
    let mut first = None;
    size.for_each_symbol(&mut |symbol| {
        first.get_or_insert_with(|| symbol.clone());
    });
    first.filter(|symbol| Dim::symbol(symbol.name()) == *size)
}

/// A class of element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DTypeClass {
    /// Any floating-point type; each variable its own, unless `same_type` or the ops ask for equal ones.
    Float,
    /// Any integer type.
    Int,
    /// Any type.
    Any,
}

/// `?a, ?b = (op args {attrs})`: a node and the names of its results.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// Names that stand for the node: a single name means its only result, or all of them, read as `?t.0`.
    pub bind: String,
    /// The node.
    pub term: Term,
}

/// A node pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Its op.
    pub op: OpKind,
    /// Operands in order. Optional operands that are not written must be absent.
    pub args: Vec<Arg>,
    /// Attributes: on the left a condition or a binding, on the right the value. Those not written must be at
    /// their default on the left and are at their default on the right.
    pub attrs: Vec<(String, AttrTerm)>,
}

impl Term {
    fn lists<'a>(&'a self, lists: &mut Vec<&'a [Dim]>) {
        for (_, attr) in &self.attrs {
            if let AttrTerm::Axes(list) = attr {
                lists.push(list);
            }
        }
        for arg in &self.args {
            if let Arg::Term(term) = arg {
                term.lists(lists);
            }
        }
    }
}

/// An operand pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// `?x`: any value, the same at each occurrence.
    Var(String),
    /// `?t.1`: result 1 of the node bound to `?t`.
    Output(Output),
    /// `?w*`: on the left of a siblings rule, each sibling's own value; on the right, all of them in order.
    Star(String),
    /// A nested node with one result.
    Term(Box<Term>),
}

/// Result `index` of what is bound to `name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// The name, without `?`.
    pub name: String,
    /// Which result, 0 where only the name is written; `None` for `?y*` paired with `?t.*`: the sibling's own position.
    pub index: Option<u32>,
}

/// An attribute pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum AttrTerm {
    /// A given value.
    Value(Attr),
    /// `?eps`: bound on the left, used on the right.
    Var(String),
    /// `sizes(?w*, 0)`: the sizes along axis 0 of each of the siblings' values.
    Sizes(String, usize),
    /// `[N, D + V]`: sizes by the names of axes, which on the left side are bound by standing there alone.
    Axes(Vec<Dim>),
    /// `dtype(?x)`: the element type of an operand.
    DType(String),
    /// `reciprocal(?cap)`: one divided by a number bound on the left.
    Reciprocal(String),
}

/// A named condition with its arguments: `same_type(?x, ?r)`.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardCall {
    /// A function of `guards.rs`.
    pub name: String,
    /// Variables (without `?`; a star is kept) or literals.
    pub args: Vec<GuardArg>,
}

/// An argument of a guard.
#[derive(Clone, Debug, PartialEq)]
pub enum GuardArg {
    /// A variable, one value.
    Var(String),
    /// All siblings' values of a variable.
    Star(String),
    /// A number.
    Int(i64),
    /// A bare word.
    Name(String),
}
