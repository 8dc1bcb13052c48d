//! Shapes with named axes, `[.., N, D]`: matched against the shapes of a call, they give the names their sizes.
//!
//! `..` stands for any axes, the same ones in all shapes of a declaration; `[*]` is any shape. Three names are given by
//! what is matched: `lead`, the product of the axes that `..` stands for; `axes`, how many axes the shapes with `..` or
//! `*` have at most; `bytes`, the bytes of an element of the op's first operand.

use std::collections::BTreeMap;

use crate::{Dim, Symbol};

/// A shape in a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    axes: Vec<Dim>,
    /// Before which axis any others stand.
    rest: Option<usize>,
    /// Whether it is `[*]`.
    any: bool,
}

/// Sizes of named axes and integer attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    sizes: BTreeMap<String, Dim>,
    rest: Option<Vec<Dim>>,
}

impl Pattern {
    /// Reads `[.., N, 2*D, 1]`, `[P, S, ..]` or `[*]`.
    ///
    /// Errors: what is no list of sizes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inner = inner.ok_or("is not in brackets")?.trim();
        if inner == "*" {
            return Ok(Pattern { axes: Vec::new(), rest: None, any: true });
        }
        let mut parts: Vec<&str> = split(inner);
        let rest = parts.iter().position(|part| *part == "..");
        if let Some(rest) = rest {
            parts.remove(rest);
        }
        let axes = parts.into_iter().map(|part| part.parse::<Dim>().map_err(|error| error.to_string()));
        Ok(Pattern { axes: axes.collect::<Result<_, _>>()?, rest, any: false })
    }

    /// How many axes it names, without those of `..`.
    pub fn num_named(&self) -> usize {
        self.axes.len()
    }

    /// Whether shapes of more axes match too.
    pub fn is_open(&self) -> bool {
        self.any || self.rest.is_some()
    }

    /// Gives names that stand alone the sizes of `shape`.
    ///
    /// Errors: what the rank should have been, or the axis whose size is another than the name had before.
    pub fn bind(&self, shape: &[Dim], names: &mut Names) -> Result<(), String> {
        let (count, named) = (shape.len(), self.axes.len());
        if self.is_open() {
            names.note_axes(count);
        }
        if self.any {
            return Ok(());
        }
        if count < named || (count > named && self.rest.is_none()) {
            return Err(format!("{self} has {named} axes"));
        }
        let at = self.rest.unwrap_or(named);
        let (before, others) = shape.split_at(at);
        let (rest, after) = others.split_at(count - named);
        if self.rest.is_some() && names.rest.as_deref().is_some_and(|known| known != rest) {
            return Err(format!("the axes that `..` stands for in {self} are those of the other tensors"));
        }
        if self.rest.is_some() {
            names.set_rest(rest);
        }
        for (pattern, size) in self.axes.iter().zip(before.iter().chain(after)) {
            if let Some(name) = lone_name(pattern) {
                names.set(&name, size)?;
            }
        }
        Ok(())
    }

    /// Whether `shape` is what the pattern says, once names have sizes.
    pub fn holds(&self, shape: &[Dim], names: &Names) -> Result<(), String> {
        if self.any {
            return Ok(());
        }
        let expected = self.shape(names)?;
        let text = |shape: &[Dim]| shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        if expected == shape { Ok(()) } else { Err(format!("{self} is [{}]", text(&expected))) }
    }

    /// The shape, once names have sizes.
    ///
    /// Errors: a name that nothing has given a size.
    pub fn shape(&self, names: &Names) -> Result<Vec<Dim>, String> {
        let rest = if self.is_open() { names.rest.as_deref().unwrap_or_default() } else { &[] };
        let sizes: Vec<Dim> = self.axes.iter().map(|axis| names.size(axis)).collect::<Result<_, _>>()?;
        let (before, after) = sizes.split_at(self.rest.unwrap_or(sizes.len()));
        Ok([before, rest, after].concat())
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.any {
            return f.write_str("[*]");
        }
        let mut parts: Vec<String> = self.axes.iter().map(Dim::to_string).collect();
        if let Some(rest) = self.rest {
            parts.insert(rest, "..".to_owned());
        }
        write!(f, "[{}]", parts.join(", "))
    }
}

impl Names {
    /// Gives a name a size.
    ///
    /// Errors: it has another.
    pub fn set(&mut self, name: &str, size: &Dim) -> Result<(), String> {
        match self.sizes.get(name) {
            Some(known) if known != size => Err(format!("{name} is {known} here and {size} there")),
            Some(_) => Ok(()),
            None => {
                self.sizes.insert(name.to_owned(), size.clone());
                Ok(())
            }
        }
    }

    /// Gives `..` its axes and `lead` their product.
    pub fn set_rest(&mut self, axes: &[Dim]) {
        self.rest = Some(axes.to_vec());
        let product = axes.iter().fold(Dim::ONE, |product, axis| product * axis.clone());
        self.sizes.insert("lead".to_owned(), product);
    }

    /// Notes that a shape has so many axes.
    fn note_axes(&mut self, count: usize) {
        let most = self.sizes.get("axes").and_then(Dim::as_const).unwrap_or(0).max(count as i64);
        self.sizes.insert("axes".to_owned(), Dim::constant(most));
    }

    /// Whether the name has a size.
    pub fn has(&self, name: &str) -> bool {
        self.sizes.contains_key(name)
    }

    /// The value of an expression over names.
    ///
    /// Errors: a name without a size.
    pub fn size(&self, expr: &Dim) -> Result<Dim, String> {
        let mut missing = None;
        expr.for_each_symbol(&mut |symbol: &Symbol| {
            if !self.sizes.contains_key(symbol.name()) {
                missing.get_or_insert_with(|| symbol.name().to_owned());
            }
        });
        match missing {
            Some(name) => Err(format!("`{name}` is not given")),
            None => Ok(expr.substitute(&|symbol| self.sizes.get(symbol.name()).cloned())),
        }
    }
}

/// The name, if the expression is nothing else.
fn lone_name(expr: &Dim) -> Option<String> {
    let mut name = None;
    expr.for_each_symbol(&mut |symbol: &Symbol| name = Some(symbol.name().to_owned()));
    name.filter(|name| Dim::symbol(name) == *expr)
}

/// The parts between commas that stand in no parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text.trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<Dim> {
        Pattern::parse(text).unwrap().axes
    }

    #[test]
    fn rest_stands_anywhere() {
        let cache = Pattern::parse("[P, S, ..]").unwrap();
        let mut names = Names::default();
        cache.bind(&shape("[4, 16, 2, 8]"), &mut names).unwrap();
        let seen = Pattern::parse("[P*S, lead]").unwrap();
        assert_eq!(seen.shape(&names).unwrap(), shape("[64, 16]"));
        assert_eq!(cache.shape(&names).unwrap(), shape("[4, 16, 2, 8]"));
        assert_eq!(
            Pattern::parse("[T, ..]").unwrap().bind(&shape("[T, 3, 8]"), &mut names),
            Err("the axes that `..` stands for in [T, ..] are those of the other tensors".into())
        );
        let any = Pattern::parse("[*]").unwrap();
        assert_eq!(any.bind(&shape("[1, 2, 3, 4, 5]"), &mut names), Ok(()));
        assert_eq!(names.size(&"axes".parse().unwrap()), Ok(Dim::constant(5)));
    }

    #[test]
    fn names_get_sizes() {
        let pattern = Pattern::parse("[.., N, max(D, 4)]").unwrap();
        let mut names = Names::default();
        pattern.bind(&shape("[T, 3, 5, 8]"), &mut names).unwrap();
        assert_eq!(names.size(&"2*N".parse().unwrap()).unwrap(), Dim::constant(10));
        names.set("D", &Dim::constant(8)).unwrap();
        assert_eq!(pattern.holds(&shape("[T, 3, 5, 8]"), &names), Ok(()));
        assert_eq!(
            pattern.holds(&shape("[T, 3, 5, 9]"), &names),
            Err("[.., N, max(4, D)] is [T, 3, 5, 8]".into())
        );
        assert_eq!(names.set("N", &Dim::constant(6)), Err("N is 5 here and 6 there".into()));
        let size = |text: &str| names.size(&text.parse().unwrap()).unwrap().to_string();
        assert_eq!((size("lead"), size("axes")), ("3*T".into(), "4".into()));
        assert_eq!(
            Pattern::parse("[N, D]").unwrap().bind(&shape("[4]"), &mut names),
            Err("[N, D] has 2 axes".into())
        );
    }
}
