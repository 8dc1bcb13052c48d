//! Values of expressions.

use std::cell::Cell;

use super::expr::{Binary, ExprProblem, Term, TermKind};
use super::setting::Setting;

/// What all expressions of a family may cost together, in terms and items of lists: a hundred times what they do.
pub const MAX_WORK: u64 = 1 << 24;

/// Values of keys, and how much may still be computed.
pub(super) struct Work<'w> {
    pub lookup: &'w dyn Fn(&str) -> Setting,
    pub left: &'w Cell<u64>,
}

impl Work<'_> {
    fn spend(&self, cost: u64) -> Result<(), ExprProblem> {
        let left = self.left.get().checked_sub(cost);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(ExprProblem::TooMuchWork)
    }
}

pub(super) fn sources<'a>(term: &'a Term, work: &Work<'_>, keys: &mut Vec<&'a str>) {
    if let TermKind::Key(key) = &term.kind
        && !keys.contains(&key.as_str())
    {
        keys.push(key);
    }
    let mut all = |terms: &[&'a Term]| terms.iter().for_each(|term| sources(term, work, keys));
    match &term.kind {
        TermKind::Const(_) | TermKind::Key(_) => {}
        TermKind::Binary(Binary::Else, terms) => {
            let [left, right] = &**terms;
            let taken = match eval(left, work) {
                Ok(Setting::Null) if matches!(right.kind, TermKind::Const(_)) => left,
                Ok(Setting::Null) => right,
                Ok(_) | Err(_) => left,
            };
            all(&[taken]);
        }
        TermKind::If(terms) => {
            let [condition, then, otherwise] = &**terms;
            match eval(condition, work) {
                Ok(Setting::Bool(true)) => all(&[then]),
                Ok(Setting::Bool(false) | Setting::Null) => all(&[otherwise]),
                Ok(_) | Err(_) => all(&[condition]),
            }
        }
        TermKind::Not(term) | TermKind::Negative(term) => all(&[term]),
        TermKind::Binary(_, terms) | TermKind::Item(terms) => all(&[&terms[0], &terms[1]]),
        TermKind::Call(_, terms) | TermKind::List(terms) => all(&Vec::from_iter(terms)),
    }
}

type Evaluated<T> = Result<T, (usize, ExprProblem)>;

pub(super) fn eval(term: &Term, work: &Work<'_>) -> Evaluated<Setting> {
    let value = |term: &Term| eval(term, work);
    let truth = |operator: &'static str, term: &Term| match eval(term, work)? {
        Setting::Bool(value) => Ok(value),
        Setting::Null => Ok(false),
        found => Err((term.at, ExprProblem::Operand { operator, expected: "true, false or null", found })),
    };
    let at = |problem: ExprProblem| (term.at, problem);
    let equal = |left: &Term, right: &Term| {
        let (left, right) = (value(left)?, value(right)?);
        work.spend(left.items().min(right.items())).map_err(at)?;
        Ok(left.equals(&right))
    };
    work.spend(1).map_err(at)?;
    Ok(match &term.kind {
        TermKind::Const(value) => value.clone(),
        TermKind::Key(key) => (work.lookup)(key),
        TermKind::Not(term) => Setting::Bool(!truth("not", term)?),
        TermKind::Negative(inner) => {
            arithmetic(Binary::Subtract, Setting::Int(0), value(inner)?).map_err(at)?
        }
        TermKind::If(terms) => {
            let [condition, then, otherwise] = &**terms;
            if truth("if", condition)? { value(then)? } else { value(otherwise)? }
        }
        TermKind::List(items) => Setting::List(items.iter().map(value).collect::<Evaluated<_>>()?),
        TermKind::Item(terms) => item(value(&terms[0])?, value(&terms[1])?).map_err(at)?,
        TermKind::Call(name, arguments) => {
            let arguments: Vec<Setting> = arguments.iter().map(value).collect::<Evaluated<_>>()?;
            call(name, &arguments, work).map_err(at)?
        }
        TermKind::Binary(binary, terms) => {
            let [left, right] = &**terms;
            match binary {
                Binary::Or => Setting::Bool(truth("or", left)? || truth("or", right)?),
                Binary::And => Setting::Bool(truth("and", left)? && truth("and", right)?),
                Binary::Else => match value(left)? {
                    Setting::Null => value(right)?,
                    value => value,
                },
                Binary::Equal => Setting::Bool(equal(left, right)?),
                Binary::Unequal => Setting::Bool(!equal(left, right)?),
                Binary::In => is_in(value(left)?, value(right)?, work).map_err(at)?,
                Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                    compare(*binary, value(left)?, value(right)?).map_err(at)?
                }
                Binary::Modulo => modulo(value(left)?, value(right)?).map_err(at)?,
                Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide => {
                    arithmetic(*binary, value(left)?, value(right)?).map_err(at)?
                }
            }
        }
    })
}

fn number(operator: &'static str, found: Setting) -> Result<f64, ExprProblem> {
    found.as_f64().ok_or(ExprProblem::Operand { operator, expected: "numbers", found })
}

fn list(operator: &'static str, found: Setting) -> Result<std::sync::Arc<[Setting]>, ExprProblem> {
    match found {
        Setting::List(items) => Ok(items),
        found => Err(ExprProblem::Operand { operator, expected: "a list", found }),
    }
}

fn is_in(item: Setting, items: Setting, work: &Work<'_>) -> Result<Setting, ExprProblem> {
    work.spend(items.items())?;
    Ok(Setting::Bool(list("in", items)?.iter().any(|other| other.equals(&item))))
}

fn item(items: Setting, index: Setting) -> Result<Setting, ExprProblem> {
    let items = list("[]", items)?;
    let Setting::Int(index) = index else {
        return Err(ExprProblem::Operand { operator: "[]", expected: "an integer", found: index });
    };
    let item = usize::try_from(index).ok().and_then(|index| items.get(index));
    item.cloned().ok_or(ExprProblem::NoItem { len: items.len(), index })
}

fn compare(binary: Binary, left: Setting, right: Setting) -> Result<Setting, ExprProblem> {
    let order = match (&left, &right) {
        (Setting::Int(left), Setting::Int(right)) => Some(left.cmp(right)),
        _ => number(binary.symbol(), left)?.partial_cmp(&number(binary.symbol(), right)?),
    };
    Ok(Setting::Bool(match binary {
        Binary::Less => order.is_some_and(|order| order.is_lt()),
        Binary::LessOrEqual => order.is_some_and(|order| order.is_le()),
        Binary::Greater => order.is_some_and(|order| order.is_gt()),
        _ => order.is_some_and(|order| order.is_ge()),
    }))
}

fn arithmetic(binary: Binary, left: Setting, right: Setting) -> Result<Setting, ExprProblem> {
    let operator = binary.symbol();
    let no_number = ExprProblem::NoNumber { operator };
    if let (Setting::Int(a), Setting::Int(b)) = (&left, &right) {
        let result = match binary {
            Binary::Add => a.checked_add(*b),
            Binary::Subtract => a.checked_sub(*b),
            Binary::Multiply => a.checked_mul(*b),
            _ => match a.checked_rem(*b) {
                Some(0) => a.checked_div(*b),
                Some(_) => return Err(ExprProblem::Remainder { dividend: *a, divisor: *b }),
                None => None,
            },
        };
        return result.map(Setting::Int).ok_or(no_number);
    }
    let (a, b) = (number(operator, left)?, number(operator, right)?);
    finite(
        operator,
        match binary {
            Binary::Add => a + b,
            Binary::Subtract => a - b,
            Binary::Multiply => a * b,
            _ => a / b,
        },
    )
}

fn modulo(left: Setting, right: Setting) -> Result<Setting, ExprProblem> {
    let integer = |found: Setting| match found {
        Setting::Int(int) => Ok(int),
        found => Err(ExprProblem::Operand { operator: "%", expected: "integers", found }),
    };
    let result = integer(left)?.checked_rem_euclid(integer(right)?);
    result.map(Setting::Int).ok_or(ExprProblem::NoNumber { operator: "%" })
}

fn call(name: &str, arguments: &[Setting], work: &Work<'_>) -> Result<Setting, ExprProblem> {
    match (name, arguments) {
        ("only", [items, value]) => {
            work.spend(items.items())?;
            let items = list("only", items.clone())?;
            Ok(Setting::Bool(items.iter().all(|item| item.equals(value))))
        }
        ("within", [items, allowed, count]) => {
            work.spend(items.items().saturating_mul(allowed.items()))?;
            let (items, allowed) = (list("within", items.clone())?, list("within", allowed.clone())?);
            let is_allowed = |item: &Setting| allowed.iter().any(|allowed| allowed.equals(item));
            let fits = count.equals(&Setting::Int(items.len() as i64)) && items.iter().all(is_allowed);
            Ok(Setting::Bool(fits))
        }
        ("sqrt", [value]) => finite("sqrt", number("sqrt", value.clone())?.sqrt()),
        ("floor", [value]) => {
            let floor = number("floor", value.clone())?.floor();
            // Integers up to 2^53 are exact as numbers.
            let fits = floor.abs() <= (1_i64 << 53) as f64;
            if fits {
                Ok(Setting::Int(floor as i64))
            } else {
                Err(ExprProblem::NoNumber { operator: "floor" })
            }
        }
        ("min" | "max", [a, b]) => {
            let operator = if name == "min" { "min" } else { "max" };
            let less = number(operator, a.clone())? < number(operator, b.clone())?;
            Ok(if less == (name == "min") { a.clone() } else { b.clone() })
        }
        (_, _) => Err(ExprProblem::NoFunction { name: name.to_owned(), arguments: arguments.len() }),
    }
}

fn finite(operator: &'static str, value: f64) -> Result<Setting, ExprProblem> {
    if value.is_finite() { Ok(Setting::Float(value)) } else { Err(ExprProblem::NoNumber { operator }) }
}
