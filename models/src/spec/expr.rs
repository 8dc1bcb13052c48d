//! Expressions over config keys.

use std::cell::Cell;
use std::fmt;

use super::expr_eval::{MAX_WORK, Work, eval, sources};
use super::expr_parse::parse;
use super::setting::Setting;

/// A small expression over the keys of a config.
///
/// | form                              | value                                                       |
/// |-----------------------------------|-------------------------------------------------------------|
/// | `hidden_size`, `rope_parameters.factor` | the key's value                                       |
/// | `i`                               | index of the layer, in what is said of a layer              |
/// | `1`, `1e-6`, `'silu'`, `true`, `null`, `[1, 2]` | itself                                        |
/// | `if a then b else c`              | `b` or `c`                                                  |
/// | `a or b`, `a and b`, `not a`      | truth values; `null` counts as false                        |
/// | `a == b`, `!=`, `<`, `<=`, `>`, `>=`, `a in b` | a truth value; order is of numbers, `in` of lists |
/// | `a ?? b`                          | `a`, or `b` if `a` is null                                  |
/// | `a + b`, `-`, `*`, `/`            | a number; integers divide without remainder                 |
/// | `a % b`                           | what is left of integer `a`, from 0 to `b - 1`              |
/// | `a[b]`                            | an item of a list, from 0                                   |
/// | `only(a, b)`                      | whether all items of list `a` equal `b`                     |
/// | `within(a, b, n)`                 | whether list `a` has `n` items, all of them in list `b`     |
/// | `sqrt(a)`, `min(a, b)`, `max(a, b)` | a number                                                  |
/// | `floor(a)`                        | an integer                                                  |
///
/// From loosest to tightest: `if`, `or`, `and`, `not`, comparisons, `??`, sums, products, sign, index.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    text: String,
    root: Term,
}

/// What is wrong with an expression or with the values in it, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("in `{}`, at character {at}: {problem}", excerpt(text, *at))]
pub struct ExprError {
    /// The expression.
    pub text: String,
    /// The place in it, in characters from 1.
    pub at: usize,
    /// What is wrong there.
    pub problem: ExprProblem,
}

/// Most characters of an expression that a message shows.
const SHOWN: usize = 80;

/// A long text around a character, counted from 1.
fn excerpt(text: &str, at: usize) -> String {
    let count = text.chars().count();
    if count <= SHOWN {
        return text.to_owned();
    }
    let start = at.saturating_sub(SHOWN / 2).min(count - SHOWN);
    let shown: String = text.chars().skip(start).take(SHOWN).collect();
    let ellipsis = |is_cut: bool| if is_cut { "…" } else { "" };
    format!("{}{shown}{}", ellipsis(start > 0), ellipsis(start + SHOWN < count))
}

/// What can be wrong with an expression.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExprProblem {
    /// Something else should stand there.
    #[error("expected {expected}, found {found}")]
    Syntax {
        /// What should stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// Longer or deeper than any sensible expression.
    #[error("the expression is too long or nested too deep")]
    TooLarge,
    /// No such function.
    #[error("there is no function `{name}` of {arguments} arguments: expected {}", functions())]
    NoFunction {
        /// Its name.
        name: String,
        /// How many arguments it was given.
        arguments: usize,
    },
    /// A value that the operator does not take.
    #[error("`{operator}` takes {expected}, found {found}")]
    Operand {
        /// The operator or function.
        operator: &'static str,
        /// What it takes.
        expected: &'static str,
        /// The value.
        found: Setting,
    },
    /// Integers that leave a remainder.
    #[error("{dividend} is no multiple of {divisor}")]
    Remainder {
        /// What was divided.
        dividend: i64,
        /// By what.
        divisor: i64,
    },
    /// Division by zero, a root of a negative number, or a result that is too large.
    #[error("the result of `{operator}` is no number, or too large")]
    NoNumber {
        /// The operator or function.
        operator: &'static str,
    },
    /// An index that the list does not have.
    #[error("the list has {len} items, item {index} is none of them")]
    NoItem {
        /// How many items it has.
        len: usize,
        /// Which was asked for.
        index: i64,
    },
    /// More to compute than any family has: with every expression of a family and all layers counted.
    #[error("too much to compute, with all expressions of all layers counted")]
    TooMuchWork,
}

/// A part of an expression and where it starts, in characters from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub at: usize,
    pub kind: TermKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TermKind {
    Const(Setting),
    Key(String),
    Not(Box<Term>),
    Negative(Box<Term>),
    Binary(Binary, Box<[Term; 2]>),
    If(Box<[Term; 3]>),
    Call(String, Vec<Term>),
    Item(Box<[Term; 2]>),
    List(Vec<Term>),
}

/// Operators between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Else,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// All of [`Binary`] with their spelling and how tightly they bind.
pub(super) const BINARY: [(Binary, &str, u8); 15] = [
    (Binary::Or, "or", 1),
    (Binary::And, "and", 2),
    (Binary::Equal, "==", 4),
    (Binary::Unequal, "!=", 4),
    (Binary::LessOrEqual, "<=", 4),
    (Binary::GreaterOrEqual, ">=", 4),
    (Binary::Less, "<", 4),
    (Binary::Greater, ">", 4),
    (Binary::In, "in", 4),
    (Binary::Else, "??", 5),
    (Binary::Add, "+", 6),
    (Binary::Subtract, "-", 6),
    (Binary::Multiply, "*", 7),
    (Binary::Divide, "/", 7),
    (Binary::Modulo, "%", 7),
];

impl Binary {
    pub(super) fn symbol(self) -> &'static str {
        BINARY.iter().find(|(binary, ..)| *binary == self).map_or("", |(_, symbol, _)| symbol)
    }
}

/// Functions and how many arguments they take. Whether there are such is seen when they are called.
const FUNCTIONS: [(&str, usize); 6] =
    [("only", 2), ("within", 3), ("sqrt", 1), ("floor", 1), ("min", 2), ("max", 2)];

fn functions() -> String {
    let names: Vec<String> = FUNCTIONS.iter().map(|(name, count)| format!("{name} of {count}")).collect();
    names.join(", ")
}

impl Expr {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        Expr::part(text, &parse(text)?)
    }

    /// The expression that `root` is, a part of `text`.
    pub(super) fn part(text: &str, root: &Term) -> Result<Expr, ExprError> {
        let expr = Expr { text: text.to_owned(), root: root.clone() };
        let mut unknown = None;
        expr.root.visit(&mut |term| {
            if let TermKind::Call(name, arguments) = &term.kind
                && !FUNCTIONS.contains(&(name.as_str(), arguments.len()))
            {
                let problem = ExprProblem::NoFunction { name: name.clone(), arguments: arguments.len() };
                unknown.get_or_insert((term.at, problem));
            }
        });
        match unknown {
            None => Ok(expr),
            Some((at, problem)) => Err(expr.error(at, problem)),
        }
    }

    /// An expression that is one value.
    pub fn constant(value: Setting) -> Expr {
        Expr { text: value.to_string(), root: Term { at: 1, kind: TermKind::Const(value) } }
    }

    /// The same, where keys of `object` are those of its part `part`, or where that has none, its own.
    pub(super) fn of_part(mut self, object: &str, part: &str) -> Expr {
        self.root.of_part(object, part);
        self
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The key that it is, if it is just one.
    pub fn as_key(&self) -> Option<&str> {
        match &self.root.kind {
            TermKind::Key(key) => Some(key),
            _ => None,
        }
    }

    /// The keys that its value comes from, each once: of `a ?? b` and `if` only those of the branch taken.
    pub fn sources(&self, lookup: &dyn Fn(&str) -> Setting) -> Vec<&str> {
        let mut keys = Vec::new();
        sources(&self.root, &Work { lookup, left: &Cell::new(MAX_WORK) }, &mut keys);
        keys
    }

    /// Calls `visit` with every key in it.
    pub fn keys<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        self.root.visit(&mut |term| {
            if let TermKind::Key(key) = &term.kind {
                visit(key);
            }
        });
    }

    /// Its value, with the values of the keys from `lookup`. Takes what it costs, in terms and items of lists, from
    /// `left`, which begins as [`MAX_WORK`] for all that is computed of a config.
    ///
    /// Errors: values that an operator does not take; numbers that are none or too large; more work than is left.
    pub fn eval(&self, lookup: &dyn Fn(&str) -> Setting, left: &Cell<u64>) -> Result<Setting, ExprError> {
        eval(&self.root, &Work { lookup, left }).map_err(|(at, problem)| self.error(at, problem))
    }

    fn error(&self, at: usize, problem: ExprProblem) -> ExprError {
        ExprError { text: self.text.clone(), at, problem }
    }
}

impl fmt::Display for Expr {
    /// Beginning and end of a long one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.text.chars().count();
        if count <= SHOWN {
            return f.write_str(&self.text);
        }
        let half = |skipped| self.text.chars().skip(skipped).take(SHOWN / 2).collect::<String>();
        write!(f, "{}…{}", half(0), half(count - SHOWN / 2))
    }
}

impl Term {
    fn of_part(&mut self, object: &str, part: &str) {
        let all = |terms: &mut [Term]| terms.iter_mut().for_each(|term| term.of_part(object, part));
        match &mut self.kind {
            TermKind::Const(_) => {}
            TermKind::Key(key) => {
                let inner = key.strip_prefix(object).and_then(|rest| rest.strip_prefix('.'));
                if let Some(inner) = inner {
                    let own = TermKind::Key(format!("{object}.{part}.{inner}"));
                    let both = [own, self.kind.clone()].map(|kind| Term { at: self.at, kind });
                    self.kind = TermKind::Binary(Binary::Else, Box::new(both));
                }
            }
            TermKind::Not(term) | TermKind::Negative(term) => term.of_part(object, part),
            TermKind::Binary(_, terms) | TermKind::Item(terms) => all(&mut **terms),
            TermKind::If(terms) => all(&mut **terms),
            TermKind::Call(_, terms) | TermKind::List(terms) => all(terms),
        }
    }

    /// Calls `visit` with this term and all inside it.
    pub(super) fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Term)) {
        visit(self);
        match &self.kind {
            TermKind::Const(_) | TermKind::Key(_) => {}
            TermKind::Not(term) | TermKind::Negative(term) => term.visit(visit),
            TermKind::Binary(_, terms) | TermKind::Item(terms) => {
                terms.iter().for_each(|term| term.visit(visit))
            }
            TermKind::If(terms) => terms.iter().for_each(|term| term.visit(visit)),
            TermKind::Call(_, terms) | TermKind::List(terms) => {
                terms.iter().for_each(|term| term.visit(visit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(text: &str) -> String {
        let config = json!({
            "hidden_size": 64, "heads": 4, "eps": 1e-6, "act": "silu", "bias": true, "factor": 8.0,
            "types": ["full", "full", "window"],
        });
        let lookup = |key: &str| config.get(key).map_or(Setting::Null, Setting::from_json);
        match Expr::parse(text).and_then(|expr| expr.eval(&lookup, &Cell::new(MAX_WORK))) {
            Ok(value) => value.to_string(),
            Err(error) => format!("{}: {}", error.at, error.problem),
        }
    }

    #[test]
    fn computes() {
        for (text, expected) in [
            ("head_dim ?? hidden_size / heads", "16"),
            ("hidden_size ?? head_dim", "64"),
            ("1 + 2 * 3 - -4", "11"),
            ("(1 + 2) * 3", "9"),
            ("factor / 3 > 2.5 and not missing", "true"),
            ("act in ['silu', \"swish\"]", "true"),
            ("if bias then act else 0", "\"silu\""),
            ("if missing.key then 1 else if bias then 2 else 3", "2"),
            ("only(types, 'full') or types[2] == 'window'", "true"),
            ("only([], 1)", "true"),
            ("within(types, ['full', 'window'], 3)", "true"),
            ("within(types, ['full', 'window'], 2) or within(types, ['full'], 3)", "false"),
            ("8 == factor", "true"),
            ("null == missing", "true"),
            ("not bias == false", "true"),
            ("sqrt(hidden_size)", "8.0"),
            ("max(min(1, 2.5), 0)", "1"),
            ("7 % 3 + (0 - 1) % 3", "3"),
            ("floor(hidden_size * 0.4)", "25"),
        ] {
            assert_eq!(check(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_of_an_object_may_be_those_of_its_part() {
        let config = json!({"rope.full.factor": 8, "rope.factor": 2, "rope.theta": 3, "factor": 5});
        let lookup = |key: &str| config.get(key).map_or(Setting::Null, Setting::from_json);
        for (text, whole, part) in [
            ("rope.factor", "2", "8"),
            ("rope.theta ?? 7", "3", "3"),
            ("rope.none ?? 7", "7", "7"),
            ("factor + (if true then rope.factor else 0)", "7", "13"),
        ] {
            let eval = |expr: Expr| expr.eval(&lookup, &Cell::new(MAX_WORK)).unwrap().to_string();
            let expr = Expr::parse(text).unwrap();
            assert_eq!(
                (eval(expr.clone()), eval(expr.of_part("rope", "full"))),
                (whole.into(), part.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn knows_which_keys_decided() {
        let config = json!({"hidden_size": 64, "heads": 4, "bias": true, "word": "x"});
        let lookup = |key: &str| config.get(key).map_or(Setting::Null, Setting::from_json);
        for (text, expected) in [
            ("1 + 2", vec![]),
            ("heads", vec!["heads"]),
            ("heads + heads", vec!["heads"]),
            ("head_dim ?? hidden_size / heads", vec!["hidden_size", "heads"]),
            ("heads ?? hidden_size", vec!["heads"]),
            ("head_dim ?? 1", vec!["head_dim"]),
            ("if bias then heads else hidden_size", vec!["heads"]),
            ("if none then heads else hidden_size", vec!["hidden_size"]),
            ("if word then heads else hidden_size", vec!["word"]),
            ("min(heads, [hidden_size][0])", vec!["heads", "hidden_size"]),
        ] {
            assert_eq!(Expr::parse(text).unwrap().sources(&lookup), expected, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (text, expected) in [
            ("", "1: expected a value, found the end"),
            ("1 +", "4: expected a value, found the end"),
            ("1 2", "3: expected an operator or the end, found `2`"),
            ("(1", "3: expected `)`, found the end"),
            ("if 1 else 2", "6: expected `then`, found `else`"),
            ("'a", "1: expected a closing quote, found the end"),
            ("a # b", "3: expected an operator or the end, found `#`"),
            ("hidden_size / 3", "13: 64 is no multiple of 3"),
            ("1 % 0", "3: the result of `%` is no number, or too large"),
            ("1 % 0.5", "3: `%` takes integers, found 0.5"),
            ("floor(1e300)", "1: the result of `floor` is no number, or too large"),
            ("1 / 0", "3: the result of `/` is no number, or too large"),
            ("9223372036854775807 + 1", "21: the result of `+` is no number, or too large"),
            ("99999999999999999999", "1: expected a number in range, found `99999999999999999999`"),
            ("act * 2", "5: `*` takes numbers, found \"silu\""),
            ("bias and act", "10: `and` takes true, false or null, found \"silu\""),
            ("types[3]", "6: the list has 3 items, item 3 is none of them"),
            ("a.", "1: expected a key after the point, found `a.`"),
        ] {
            assert_eq!(check(text), expected, "{text}");
        }
        assert!(
            check("round(1)").starts_with("1: there is no function `round` of 1 arguments: expected only")
        );
        let many = format!("[{}]", vec!["[types, types]"; 30].join(","));
        let within = Expr::parse(&format!("within({many}, {many}, 1)")).unwrap();
        let types = Setting::from_json(&json!(vec!["full"; 100]));
        let error = within.eval(&|_| types.clone(), &Cell::new(MAX_WORK)).unwrap_err();
        assert_eq!((error.at, error.problem), (1, ExprProblem::TooMuchWork));
        assert!(check(&"(".repeat(200)).ends_with("nested too deep"));
        assert!(check(&"-".repeat(200)).ends_with("nested too deep"));
        assert!(check(&"1+".repeat(5000)).ends_with("nested too deep"));
    }

    #[test]
    fn long_ones_are_shown_in_part() {
        let long = |inner: &str| format!("{}{inner}{}", "1 + ".repeat(50), " + 1".repeat(50));
        let error = Expr::parse(&long("?")).unwrap_err().to_string();
        assert!(error.len() < 200 && error.contains("1 + ? + 1"), "{error}");
        let error = Expr::parse(&long(")")[..201]).unwrap_err().to_string();
        assert!(error.starts_with("in `…") && error.contains(")`, at character 201: "), "{error}");
        let shown = Expr::parse(&long("i")).unwrap().to_string();
        assert!(
            shown.chars().count() == 81 && shown.starts_with("1 + 1") && shown.ends_with("+ 1"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(if |then |else |not |in |and |or |\\?\\?|[a-z0-9.+*/()\\[\\],'<>=!é -]){0,30}") {
            check(&text);
        }

        #[test]
        fn no_characters_make_it_panic(text in any::<String>()) {
            check(&text);
        }
    }
}
