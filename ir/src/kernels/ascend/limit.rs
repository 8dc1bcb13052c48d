//! Limits over named axes and attributes: `H <= 8192`, `N % 16 == 0`, `D in {64, 128}`, `K == 1`.

use super::shape::Names;
use crate::{Dim, SymbolTable, step};

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is limited.
    pub quantity: Dim,
    /// How.
    pub bound: Bound,
}

/// What a quantity must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// At most.
    Most(Dim),
    /// At least.
    Least(Dim),
    /// Equal.
    Equal(Dim),
    /// A multiple of.
    MultipleOf(i64),
    /// One of.
    OneOf(Vec<i64>),
}

impl Limit {
    /// Reads a limit.
    ///
    /// Errors: what is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let dim = |text: &str| text.trim().parse::<Dim>().map_err(|error| error.to_string());
        if let Some((quantity, set)) = text.split_once(" in ") {
            let inner = set.trim().strip_prefix('{').and_then(|set| set.strip_suffix('}'));
            let values =
                inner.ok_or("the set is not in braces")?.split(',').map(|value| value.trim().parse());
            let values = values.collect::<Result<Vec<i64>, _>>().map_err(|error| error.to_string())?;
            return Ok(Limit { quantity: dim(quantity)?, bound: Bound::OneOf(values) });
        }
        if let Some((quantity, rest)) = text.split_once('%') {
            let divisor = rest.trim().strip_suffix("== 0").ok_or("`%` without `== 0`")?.trim();
            let divisor: i64 = divisor.parse().map_err(|_| format!("`{divisor}` is no number"))?;
            if divisor <= 0 {
                return Err("the divisor is not positive".into());
            }
            return Ok(Limit { quantity: dim(quantity)?, bound: Bound::MultipleOf(divisor) });
        }
        type Make = fn(Dim) -> Bound;
        let relations: [(&str, Make); 3] = [("<=", Bound::Most), (">=", Bound::Least), ("==", Bound::Equal)];
        for (sign, make) in relations {
            if let Some((quantity, bound)) = text.split_once(sign) {
                return Ok(Limit { quantity: dim(quantity)?, bound: make(dim(bound)?) });
            }
        }
        Err("is no relation".into())
    }

    /// Whether it holds for all sizes within bounds.
    ///
    /// Errors: the value that is at fault, or the range if some of it may be.
    pub fn check(&self, names: &Names, symbols: &SymbolTable) -> Result<(), String> {
        let value = names.size(&self.quantity)?;
        let holds = match &self.bound {
            Bound::Most(most) => symbols.prove_le(&value, &names.size(most)?),
            Bound::Least(least) => symbols.prove_le(&names.size(least)?, &value),
            Bound::Equal(other) => symbols.prove_eq(&value, &names.size(other)?),
            Bound::MultipleOf(divisor) => value.modulo(*divisor) == Dim::ZERO,
            Bound::OneOf(values) => value.as_const().is_some_and(|value| values.contains(&value)),
        };
        if holds {
            return Ok(());
        }
        let option = option(&value, step_size).or_else(|| option(&self.quantity, axis));
        let option = option.map_or(String::new(), |option| format!(" (option {option})"));
        let range = symbols.range(&value).filter(|_| value.as_const().is_none());
        Err(match range {
            Some(range) if value == self.quantity => {
                format!("{value} may be {} to {}{option}", range.min, range.max)
            }
            Some(range) => {
                format!("{} is {value}, which may be {} to {}{option}", self.quantity, range.min, range.max)
            }
            None => format!("{} is {value}{option}", self.quantity),
        })
    }
}

/// The option of a compilation by which the first symbol is set that has one.
fn option(size: &Dim, of: fn(&str) -> Option<&'static str>) -> Option<&'static str> {
    let mut option = None;
    size.for_each_symbol(&mut |symbol| option = option.or_else(|| of(symbol.name())));
    option
}

/// The option that bounds a size of the step.
fn step_size(name: &str) -> Option<&'static str> {
    match name {
        step::TABLE_WIDTH | step::MAX_CONTEXT | step::CONTEXT => Some("max_model_len"),
        step::TOKENS | step::LOGITS | step::MAX_NEW | step::DECODE_TOKENS => Some("max_num_batched_tokens"),
        step::SEQUENCES | step::DECODE_SEQUENCES => Some("max_num_seqs"),
        _ => None,
    }
}

/// The option that is the size of an axis that declarations name.
fn axis(name: &str) -> Option<&'static str> {
    (name == "S").then_some("block_size")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SymbolInfo;

    #[test]
    fn hold_over_the_whole_range_or_not() {
        let mut names = Names::default();
        names.set("H", &Dim::symbol("T")).unwrap();
        names.set("T", &Dim::symbol("T")).unwrap();
        names.set("D", &Dim::constant(96)).unwrap();
        names.set("S", &Dim::constant(24)).unwrap();
        let mut symbols = SymbolTable::default();
        symbols.declare("T", SymbolInfo { min: 1, max: 100, likely: 8 });
        let check = |text: &str| Limit::parse(text).unwrap().check(&names, &symbols);
        assert_eq!(check("H <= 100"), Ok(()));
        assert_eq!(
            check("H <= 99"),
            Err("H is T, which may be 1 to 100 (option max_num_batched_tokens)".into())
        );
        assert_eq!(check("H >= 1"), Ok(()));
        assert_eq!(check("D % 16 == 0"), Ok(()));
        assert_eq!(check("S % 16 == 0"), Err("S is 24 (option block_size)".into()));
        assert_eq!(check("T <= 99"), Err("T may be 1 to 100 (option max_num_batched_tokens)".into()));
        assert_eq!(check("D % 64 == 0"), Err("D is 96".into()));
        assert_eq!(check("D in {64, 128}"), Err("D is 96".into()));
        assert_eq!(check("2*D == 192"), Ok(()));
        assert_eq!(check("K == 1"), Err("`K` is not given".into()));
        assert!(Limit::parse("H").is_err() && Limit::parse("H % 0 == 0").is_err());
    }
}
