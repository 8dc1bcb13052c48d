//! Shapes with named axes, `[.., N, D]`: matched against the shapes of a call, they give the names their sizes.

use std::collections::BTreeMap;

use crate::{Dim, Symbol};

/// A shape in a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Whether it begins with any leading axes.
    leading: bool,
    axes: Vec<Dim>,
}

/// Sizes of named axes and integer attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    sizes: BTreeMap<String, Dim>,
    leading: Option<Vec<Dim>>,
}

impl Pattern {
    /// Reads `[.., N, 2*D, 1]`.
    ///
    /// Errors: what is no list of sizes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inner = inner.ok_or("is not in brackets")?.trim();
        let mut parts: Vec<&str> = split(inner);
        let leading = parts.first() == Some(&"..");
        if leading {
            parts.remove(0);
        }
        let axes = parts.into_iter().map(|part| part.parse::<Dim>().map_err(|error| error.to_string()));
        Ok(Pattern { leading, axes: axes.collect::<Result<_, _>>()? })
    }

    /// Gives names that stand alone the sizes of `shape`.
    ///
    /// Errors: what the rank should have been, or the axis whose size is another than the name had before.
    pub fn bind(&self, shape: &[Dim], names: &mut Names) -> Result<(), String> {
        let count = shape.len();
        if count < self.axes.len() || (count > self.axes.len() && !self.leading) {
            return Err(format!("{self} has {} axes", self.axes.len()));
        }
        let (leading, axes) = shape.split_at(count - self.axes.len());
        if self.leading && names.leading.get_or_insert_with(|| leading.to_vec()) != leading {
            return Err(format!("the leading axes of {self} are those of the other tensors"));
        }
        for (pattern, size) in self.axes.iter().zip(axes) {
            if let Some(name) = lone_name(pattern) {
                names.set(&name, size)?;
            }
        }
        Ok(())
    }

    /// Whether `shape` is what the pattern says, once names have sizes.
    pub fn holds(&self, shape: &[Dim], names: &Names) -> Result<(), String> {
        let expected = self.shape(names)?;
        let text = |shape: &[Dim]| shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        if expected == shape { Ok(()) } else { Err(format!("{self} is [{}]", text(&expected))) }
    }

    /// The shape, once names have sizes.
    ///
    /// Errors: a name that nothing has given a size.
    pub fn shape(&self, names: &Names) -> Result<Vec<Dim>, String> {
        let leading = if self.leading { names.leading.clone().unwrap_or_default() } else { Vec::new() };
        leading.into_iter().map(Ok).chain(self.axes.iter().map(|axis| names.size(axis))).collect()
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let axes = self.axes.iter().map(Dim::to_string);
        let parts: Vec<String> = self.leading.then(|| "..".to_owned()).into_iter().chain(axes).collect();
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

    /// Gives `..` its axes.
    pub fn set_leading(&mut self, axes: &[Dim]) {
        self.leading = Some(axes.to_vec());
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
        assert_eq!(
            Pattern::parse("[N, D]").unwrap().bind(&shape("[4]"), &mut names),
            Err("[N, D] has 2 axes".into())
        );
    }
}
