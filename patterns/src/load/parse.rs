//! One rule from its parts. The parts are read in the order in which names are bound, wherever they stand.

use std::collections::BTreeSet;

use mscc_ir::attr::{Attr, Float};
use mscc_ir::ops::{Arity, OpKind};
use mscc_ir::{Dim, Symbol};

use super::cursor::Cursor;
use super::scope::{Name, Role, Scope, Use};
use super::sections::Sections;
use crate::attrs;
use crate::error::{Problem, RuleError};
use crate::guards::{GUARDS, Guard, Param};
use crate::operand_orders::MAX_COMMUTATIVE;
use crate::rule::{
    Arg, AttrTerm, Axis, Clause, DTypeClass, Given, GuardArg, GuardCall, Numerics, Output, Phase, Rule,
    Shape, Term, bare_name,
};

/// Deepest nesting of nodes in a clause.
const MAX_DEPTH: u32 = 16;

pub(super) fn rule(sections: &Sections<'_>) -> Result<Rule, RuleError> {
    let name = only(sections.require("rule")?, |part| part.word("the rule's name"))?.to_owned();
    let prose = |keyword| {
        let mut part = sections.require(keyword)?;
        let start = part.clone();
        Some(part.prose()).filter(|text| !text.is_empty()).ok_or_else(|| start.clone().expected("a sentence"))
    };
    let (doc, gain) = (prose("doc")?, prose("gain")?);
    let phase = only(sections.require("phase")?, |part| one_of(part, "phase", &Phase::ALL, Phase::name))?;
    let numerics =
        only(sections.require("numerics")?, |part| one_of(part, "numerics", &Numerics::ALL, Numerics::name))?;
    let mut parser = Parser::default();
    let (shape, matches) = only(sections.require("match")?, |part| parser.matches(part))?;
    let given = match sections.get("given") {
        Some(part) => only(part, |part| parser.given(part))?,
        None => Vec::new(),
    };
    let matched = sections.require("match")?;
    for (name, entry) in parser.scope.iter().filter(|(_, entry)| entry.role == Role::Operand) {
        entry.check_results(&matched, name)?;
        if !given.iter().any(|given| given.var == *name) {
            return Err(matched.error_at(entry.place, Problem::NoType(name.clone())));
        }
    }
    let makes = match sections.get("make") {
        Some(part) => only(part, |part| parser.makes(part))?,
        None => Vec::new(),
    };
    let equal = sections.require("equal")?;
    let equals = only(equal.clone(), |part| parser.equals(part))?;
    if let Some(first) =
        matches.first().filter(|first| equals.iter().all(|(left, _)| left.name != first.bind))
    {
        return Err(equal.error_at(equal.at, Problem::FirstNotEqual(first.bind.clone())));
    }
    for (name, place) in &parser.read_axes {
        if !parser.bound_axes.contains(name) {
            return Err(matched.error_at(*place, Problem::UnboundAxis(name.name().to_owned())));
        }
    }
    if numerics == Numerics::MoreRoundings && !matches!(phase, Phase::Choose | Phase::Expand) {
        let part = sections.require("numerics")?;
        return Err(part.error_at(part.at, Problem::MoreRoundings));
    }
    let guards = match sections.get("where") {
        Some(part) => only(part, |part| parser.guards(part))?,
        None => Vec::new(),
    };
    let rule = Rule { name, phase, doc, gain, numerics, given, shape, matches, guards, makes, equals };
    if rule.commutative_nodes() > MAX_COMMUTATIVE {
        let problem =
            Problem::TooLarge("the left side has more than 4 nodes whose operands may change places");
        return Err(matched.error_at(matched.at, problem));
    }
    Ok(rule)
}

/// Reads a part to its end.
fn only<'a, T>(
    mut part: Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, RuleError>,
) -> Result<T, RuleError> {
    let value = read(&mut part)?;
    if part.is_done() { Ok(value) } else { Err(part.expected("the end of this part")) }
}

/// One of `all` by its name.
fn one_of<T: Copy>(
    part: &mut Cursor<'_>,
    what: &'static str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, RuleError> {
    let place = part.place();
    let word = part.word(what)?;
    let found = all.iter().copied().find(|item| name(*item) == word);
    let names = || all.iter().map(|item| name(*item));
    found.ok_or_else(|| part.error_at(place, Problem::unknown(what, word, names())))
}

#[derive(Default)]
struct Parser {
    scope: Scope,
    siblings: bool,
    /// Names of axes that the left side binds.
    bound_axes: BTreeSet<Symbol>,
    /// Names of axes that something is computed of, and where.
    read_axes: Vec<(Symbol, usize)>,
}

impl Parser {
    fn matches(&mut self, part: &mut Cursor<'_>) -> Result<(Shape, Vec<Clause>), RuleError> {
        if part.peek() != Some(b'?') {
            let place = part.place();
            match part.word("`siblings` or a clause such as `?y = (silu ?x)`")? {
                "siblings" => {}
                other => return Err(part.error_at(place, Problem::unknown("word", other, ["siblings"]))),
            }
            let (shared, place) = part.variable()?;
            self.siblings = true;
            let clause = self.left_clause(part, true)?;
            let reads = |arg: &Arg| matches!(arg, Arg::Var(name) if name == shared);
            if !clause.term.args.iter().any(reads) {
                return Err(part.error_at(place, Problem::Unbound(shared.to_owned())));
            }
            return Ok((Shape::Siblings { shared: shared.to_owned() }, vec![clause]));
        }
        let mut clauses = Vec::new();
        while clauses.is_empty() || !part.is_done() {
            clauses.push(self.left_clause(part, clauses.is_empty())?);
        }
        Ok((Shape::Tree, clauses))
    }

    fn left_clause(&mut self, part: &mut Cursor<'_>, first: bool) -> Result<Clause, RuleError> {
        let (name, place) = part.variable()?;
        if self.siblings && !part.eat_joined("*") {
            return Err(part.expected("`*`, as each sibling has its own result"));
        }
        part.expect("=")?;
        let known: BTreeSet<String> = self.scope.iter().map(|(name, _)| name.clone()).collect();
        let term = self.term(part, Side::Left, 0)?;
        if reads(&term, name) {
            return Err(part.error_at(place, Problem::ReadsItself(name.to_owned())));
        }
        let starts = first || known.iter().any(|known| reads(&term, known));
        self.scope.bind_matched(part, (name, place), term.op, self.siblings, starts)?;
        if self.siblings && term.op.results().len() != 1 {
            let problem = Problem::SeveralResults { name: name.to_owned(), op: term.op.name() };
            return Err(part.error_at(place, problem));
        }
        Ok(Clause { bind: name.to_owned(), term })
    }

    fn makes(&mut self, part: &mut Cursor<'_>) -> Result<Vec<Clause>, RuleError> {
        let mut clauses = Vec::new();
        while clauses.is_empty() || !part.is_done() {
            let (name, place) = part.variable()?;
            part.expect("=")?;
            let term = self.term(part, Side::Right, 0)?;
            self.scope.bind_made(part, (name, place), term.op)?;
            clauses.push(Clause { bind: name.to_owned(), term });
        }
        Ok(clauses)
    }

    fn term(&mut self, part: &mut Cursor<'_>, side: Side, depth: u32) -> Result<Term, RuleError> {
        part.expect("(")?;
        let place = part.place();
        if depth >= MAX_DEPTH {
            return Err(part.error_at(place, Problem::TooLarge("nodes are nested more than 16 deep")));
        }
        let word = part.word("an op")?;
        let names = || OpKind::ALL.iter().map(|op| op.name());
        let op = OpKind::from_name(word)
            .ok_or_else(|| part.error_at(place, Problem::unknown("op", word, names())))?;
        let mut args = Vec::new();
        let mut attrs = Vec::new();
        loop {
            match part.peek() {
                Some(b'?') => args.push(self.operand(part, side)?),
                Some(b'(') if self.siblings && side == Side::Left => {
                    return Err(part.expected("a variable, as siblings are single nodes"));
                }
                Some(b'(') => {
                    let inner = part.place();
                    let term = self.term(part, side, depth + 1)?;
                    if term.op.results().len() != 1 {
                        let problem = Problem::SeveralResults { name: "..".to_owned(), op: term.op.name() };
                        return Err(part.error_at(inner, problem));
                    }
                    args.push(Arg::Term(Box::new(term)));
                }
                Some(b'{') => {
                    attrs = self.attrs(part, side)?;
                    part.expect(")")?;
                    break;
                }
                Some(b')') => {
                    part.expect(")")?;
                    break;
                }
                _ => return Err(part.expected("an operand, `{` or `)`")),
            }
        }
        check_count(op, &args, side).map_err(|problem| part.error_at(place, problem))?;
        attrs::check(op, &attrs)
            .map_err(|error| part.error_at(place, Problem::Attribute { op: op.name(), error }))?;
        Ok(Term { op, args, attrs })
    }

    fn operand(&mut self, part: &mut Cursor<'_>, side: Side) -> Result<Arg, RuleError> {
        let (name, place) = part.variable()?;
        let (how, arg) = if part.eat_joined("*") {
            (Use::Star, Arg::Star(name.to_owned()))
        } else if part.eat_joined(".") {
            let index = part.integer()?;
            (Use::Output(index), Arg::Output(Output { name: name.to_owned(), index: Some(index) }))
        } else {
            (Use::Plain, Arg::Var(name.to_owned()))
        };
        match side {
            Side::Left if how == Use::Star && !self.siblings => {
                return Err(part.error_at(
                    place,
                    Problem::Expected {
                        expected: "one value: stars are for `match siblings`".to_owned(),
                        found: format!("`?{name}*`"),
                    },
                ));
            }
            Side::Left => self.scope.read_left(part, name, place, how)?,
            Side::Right => {
                self.scope.read(part, name, place, how)?;
                let matched = |name: &Name| matches!(name.role, Role::Matched(_));
                if self.scope.get(name).is_some_and(matched) {
                    let (is, used) = ("a node of the left side", "an operand of the right side");
                    return Err(part.error_at(place, Problem::Kind { name: name.to_owned(), is, used }));
                }
            }
        }
        Ok(arg)
    }

    fn attrs(&mut self, part: &mut Cursor<'_>, side: Side) -> Result<Vec<(String, AttrTerm)>, RuleError> {
        part.expect("{")?;
        let mut attrs: Vec<(String, AttrTerm)> = Vec::new();
        loop {
            let place = part.place();
            let name = part.word("an attribute's name")?;
            if attrs.iter().any(|(other, _)| other == name) {
                return Err(part.error_at(place, Problem::Twice(name.to_owned())));
            }
            part.expect("=")?;
            attrs.push((name.to_owned(), self.attr_term(part, side)?));
            if part.eat("}") {
                return Ok(attrs);
            }
            part.expect(",")?;
        }
    }

    fn attr_term(&mut self, part: &mut Cursor<'_>, side: Side) -> Result<AttrTerm, RuleError> {
        let place = part.place();
        match part.peek() {
            Some(b'?') => {
                let (name, place) = part.variable()?;
                match side {
                    Side::Left => self.scope.attribute_left(part, name, place)?,
                    Side::Right => self.scope.attribute(part, name, place)?,
                }
                Ok(AttrTerm::Var(name.to_owned()))
            }
            Some(b'[') => self.list(part, side),
            Some(b'-' | b'0'..=b'9') => {
                let start = part.clone();
                let number = part.number()?;
                let attr = match number.parse::<i64>() {
                    Ok(value) => Some(Attr::Int(value)),
                    Err(_) if number.contains(['.', 'e', 'E']) => number
                        .parse()
                        .ok()
                        .filter(|value: &f64| value.is_finite())
                        .map(Float)
                        .map(Attr::Float),
                    Err(_) => None,
                };
                attr.map(AttrTerm::Value).ok_or_else(|| start.clone().expected("a number in range"))
            }
            _ => match part.word("an attribute's value")? {
                "true" => Ok(AttrTerm::Value(Attr::Bool(true))),
                "false" => Ok(AttrTerm::Value(Attr::Bool(false))),
                "sizes" if side == Side::Right && part.peek() == Some(b'(') => {
                    part.expect("(")?;
                    let (name, place) = part.variable()?;
                    part.expect("*")?;
                    self.scope.read(part, name, place, Use::Star)?;
                    part.expect(",")?;
                    let axis = part.integer()?;
                    part.expect(")")?;
                    Ok(AttrTerm::Sizes(name.to_owned(), axis))
                }
                "dtype" if side == Side::Right && part.peek() == Some(b'(') => {
                    part.expect("(")?;
                    let (name, place) = part.variable()?;
                    self.scope.read(part, name, place, Use::Plain)?;
                    if !self.scope.get(name).is_some_and(|name| name.role == Role::Operand) {
                        return Err(part.error_at(place, Problem::NotOperand(name.to_owned())));
                    }
                    part.expect(")")?;
                    Ok(AttrTerm::DType(name.to_owned()))
                }
                "reciprocal" if side == Side::Right && part.peek() == Some(b'(') => {
                    part.expect("(")?;
                    let (name, place) = part.variable()?;
                    self.scope.attribute(part, name, place)?;
                    part.expect(")")?;
                    Ok(AttrTerm::Reciprocal(name.to_owned()))
                }
                "sizes" => Err(part.error_at(
                    place,
                    Problem::Expected {
                        expected: "an attribute's value".to_owned(),
                        found: "`sizes`".to_owned(),
                    },
                )),
                word => Ok(AttrTerm::Value(Attr::Name(word.to_owned()))),
            },
        }
    }

    /// `H`, `_`, `64` or `2*H`.
    fn axis(&mut self, part: &mut Cursor<'_>) -> Result<Axis, RuleError> {
        let place = part.place();
        let text = part.operand_text();
        if text == "_" {
            return Ok(Axis::Any);
        }
        let size: Dim = text.parse().map_err(|_: mscc_ir::dim::ParseDimError| {
            part.clone_at(place).expected("an axis: a name, `_` or a size")
        })?;
        if size.as_const().is_some_and(|size| size <= 0) {
            return Err(part.clone_at(place).expected("a size above 0"));
        }
        self.size(place, &size, true);
        Ok(Axis::Size(size))
    }

    /// `[1, 0]`, or sizes by the names of axes, `[N, D + V]`; on the left side a name that stands alone is bound.
    fn list(&mut self, part: &mut Cursor<'_>, side: Side) -> Result<AttrTerm, RuleError> {
        let place = part.place();
        let list = dims(part)?;
        for size in &list {
            self.size(place, size, side == Side::Left);
        }
        let is_literal = list.iter().all(|size| size.as_const().is_some());
        Ok(if is_literal { AttrTerm::Value(Attr::Dims(list)) } else { AttrTerm::Axes(list) })
    }

    /// Notes the names of axes in a size.
    fn size(&mut self, place: usize, size: &Dim, binds: bool) {
        if let Some(name) = bare_name(size).filter(|_| binds) {
            self.bound_axes.insert(name);
            return;
        }
        size.for_each_symbol(&mut |name| self.read_axes.push((name.clone(), place)));
    }

    fn given(&mut self, part: &mut Cursor<'_>) -> Result<Vec<Given>, RuleError> {
        let mut all: Vec<Given> = Vec::new();
        while all.is_empty() || !part.is_done() {
            let (name, place) = part.variable()?;
            let star = part.eat_joined("*");
            match self.scope.get(name) {
                Some(entry) if entry.role == Role::Operand => {
                    self.scope.read(part, name, place, if star { Use::Star } else { Use::Plain })?;
                }
                _ => return Err(part.error_at(place, Problem::NotOperand(name.to_owned()))),
            }
            if all.iter().any(|given| given.var == name) {
                return Err(part.error_at(place, Problem::Twice(format!("?{name}"))));
            }
            part.expect(":")?;
            let dtype = one_of(part, "type", &DTypeClass::ALL, DTypeClass::name)?;
            part.expect("[")?;
            let leading = part.eat("..");
            let mut axes = Vec::new();
            if !part.eat("]") {
                if leading {
                    part.expect(",")?;
                }
                loop {
                    axes.push(self.axis(part)?);
                    if part.eat("]") {
                        break;
                    }
                    part.expect(",")?;
                }
            }
            all.push(Given { var: name.to_owned(), dtype, leading, axes });
        }
        Ok(all)
    }

    fn equals(&mut self, part: &mut Cursor<'_>) -> Result<Vec<(Output, Output)>, RuleError> {
        let mut equals: Vec<(Output, Output)> = Vec::new();
        while equals.is_empty() || !part.is_done() {
            let place = part.place();
            let left = self.output(part, Side::Left)?;
            part.expect("=")?;
            let right = self.output(part, Side::Right)?;
            if equals.iter().any(|(other, _)| *other == left) {
                return Err(part.error_at(place, Problem::Twice(format!("?{}", left.name))));
            }
            equals.push((left, right));
        }
        Ok(equals)
    }

    /// One side of an equality: `?y`, `?t.1`, or among siblings `?y*` on the left and `?t.*` on the right.
    fn output(&mut self, part: &mut Cursor<'_>, side: Side) -> Result<Output, RuleError> {
        let (name, place) = part.variable()?;
        let role = self.scope.get(name).map(|name| name.role);
        let fits = match (side, role) {
            (_, None) | (Side::Left, Some(Role::Matched(_))) => true,
            (Side::Left, Some(Role::Made(_))) => !self.siblings,
            (Side::Right, Some(Role::Made(_))) => true,
            (Side::Right, Some(Role::Operand)) => !self.siblings,
            (_, Some(_)) => false,
        };
        if !fits {
            let used = if side == Side::Left { "what is replaced" } else { "what replaces it" };
            let is = match role {
                Some(Role::Matched(_)) => "a node of the left side",
                Some(Role::Made(_)) => "a node of the right side",
                Some(Role::Attribute) => "an attribute's value",
                Some(Role::Operand) | None => "an operand",
            };
            return Err(part.error_at(place, Problem::Kind { name: name.to_owned(), is, used }));
        }
        let star = if side == Side::Left { "*" } else { ".*" };
        if self.siblings {
            if !part.eat_joined(star) {
                return Err(part.expected(format!("`{star}`")));
            }
            let how = if side == Side::Left { Use::Star } else { Use::Output(0) };
            self.scope.read(part, name, place, how)?;
            return Ok(Output { name: name.to_owned(), index: None });
        }
        let index = if part.eat_joined(".") { Some(part.integer()?) } else { None };
        self.scope.read(part, name, place, index.map_or(Use::Plain, Use::Output))?;
        Ok(Output { name: name.to_owned(), index: Some(index.unwrap_or(0)) })
    }

    fn guards(&mut self, part: &mut Cursor<'_>) -> Result<Vec<GuardCall>, RuleError> {
        let mut calls = Vec::new();
        while calls.is_empty() || !part.is_done() {
            let place = part.place();
            let word = part.word("a guard")?;
            let names = || GUARDS.iter().map(|guard| guard.name);
            let guard = Guard::from_name(word)
                .ok_or_else(|| part.error_at(place, Problem::unknown("guard", word, names())))?;
            part.expect("(")?;
            let mut args = Vec::new();
            while !part.eat(")") {
                if !args.is_empty() {
                    part.expect(",")?;
                }
                match guard.param(args.len()) {
                    Some(param) => args.push(self.guard_arg(part, param)?),
                    None => return Err(part.error_at(place, guard_count(guard, args.len() + 1))),
                }
            }
            if args.len() < guard.params.len() {
                return Err(part.error_at(place, guard_count(guard, args.len())));
            }
            calls.push(GuardCall { name: word.to_owned(), args });
        }
        Ok(calls)
    }

    fn guard_arg(&mut self, part: &mut Cursor<'_>, param: Param) -> Result<GuardArg, RuleError> {
        if param == Param::Axis {
            return Ok(GuardArg::Int(part.integer()?));
        }
        let (name, place) = part.variable()?;
        let star = part.eat_joined("*");
        let made = |name: &Name| matches!(name.role, Role::Made(_));
        if self.scope.get(name).is_some_and(made) || (star && param != Param::Values) {
            let is = if star { "each sibling's value" } else { "a node of the right side" };
            let used = if star { "one value" } else { "part of a condition" };
            return Err(part.error_at(place, Problem::Kind { name: name.to_owned(), is, used }));
        }
        if param == Param::Attr {
            self.scope.attribute(part, name, place)?;
            return Ok(GuardArg::Var(name.to_owned()));
        }
        self.scope.read(part, name, place, if star { Use::Star } else { Use::Plain })?;
        Ok(if star { GuardArg::Star(name.to_owned()) } else { GuardArg::Var(name.to_owned()) })
    }
}

/// On which side of the rule something stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// `[T, 64]`
fn dims(part: &mut Cursor<'_>) -> Result<Vec<Dim>, RuleError> {
    part.expect("[")?;
    let (list, place) = part.until(']')?;
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut dims = Vec::new();
    let mut depth = 0usize;
    let inner = |c: char| {
        depth = (depth + usize::from(c == '(')).saturating_sub(usize::from(c == ')'));
        c == ',' && depth == 0
    };
    let mut at = place;
    for text in list.split(inner) {
        dims.push(text.parse().map_err(|error: mscc_ir::dim::ParseDimError| {
            let (expected, found) = (format!("a dim ({})", error.reason), format!("`{}`", text.trim()));
            part.error_at(at + error.offset, Problem::Expected { expected, found })
        })?);
        at += text.len() + 1;
    }
    Ok(dims)
}

/// Whether the node or one nested in it reads the variable.
fn reads(term: &Term, name: &str) -> bool {
    term.args.iter().any(|arg| match arg {
        Arg::Var(var) | Arg::Star(var) => var == name,
        Arg::Output(output) => output.name == name,
        Arg::Term(term) => reads(term, name),
    })
}

/// Holds the operands written against those that `op` has.
fn check_count(op: OpKind, args: &[Arg], side: Side) -> Result<(), Problem> {
    let declared = op.operands();
    let many = declared.iter().any(|operand| operand.arity == Arity::Many);
    let least = declared.iter().filter(|operand| operand.arity != Arity::Optional).count();
    // On the right a star stands for any number of operands, which only `Many` takes.
    let stars = side == Side::Right && args.iter().any(|arg| matches!(arg, Arg::Star(_)));
    if args.len() >= least && (many || (args.len() <= declared.len() && !stars)) {
        return Ok(());
    }
    let names = declared.iter().map(|operand| match operand.arity {
        Arity::One => operand.name.to_owned(),
        Arity::Optional => format!("{}?", operand.name),
        Arity::Many => format!("{}…", operand.name),
    });
    let expected = names.collect::<Vec<_>>().join(", ");
    Err(Problem::Count { of: op.name(), expected, given: args.len() })
}

fn guard_count(guard: &Guard, given: usize) -> Problem {
    let names = guard.params.iter().map(|param| match param {
        Param::Values => "?x or ?w*",
        Param::Value => "?x",
        Param::Attr => "an attribute's value",
        Param::Axis => "an axis",
    });
    let mut expected = names.collect::<Vec<_>>().join(", ");
    if guard.repeats {
        expected.push_str(", …");
    }
    Problem::Count { of: guard.name, expected, given }
}
