//! Names templated over layers: `model.layers.{i}.mlp.up_proj.weight`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name with placeholders for the layer a function is called for: `{i}`, `{i-1}`, `{i+2}`.
///
/// Braces stand for nothing else, so a name from outside that holds other braces is refused.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: Arc<str>,
}

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad placeholder in `{0}`: expected {{i}}, {{i-K}} or {{i+K}}")]
pub struct BadTemplate(pub String);

impl Template {
    /// Reads a template.
    pub fn new(text: &str) -> Result<Self, BadTemplate> {
        for_each_piece(text, |_| {}).ok_or_else(|| BadTemplate(text.to_owned()))?;
        Ok(Template { text: Arc::from(text) })
    }

    /// The text with its placeholders.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it depends on the layer.
    pub fn is_layered(&self) -> bool {
        self.text.contains('{')
    }

    /// The name at layer `i`.
    pub fn render(&self, i: i64) -> String {
        let mut name = String::with_capacity(self.text.len() + 4);
        self.rewrite(|piece| match piece {
            Piece::Text(text) => name.push_str(text),
            Piece::Layer(offset) => name.push_str(&i.saturating_add(offset).to_string()),
        });
        name
    }

    /// The template that gives at layer `i` what this one gives at `i + by`; distances end at 10^9 - 1.
    pub fn shift(&self, by: i64) -> Self {
        let mut text = String::with_capacity(self.text.len() + 2);
        self.rewrite(|piece| match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Layer(offset) => match offset.saturating_add(by).clamp(-MAX_OFFSET, MAX_OFFSET) {
                0 => text.push_str("{i}"),
                sum => text.push_str(&format!("{{i{sum:+}}}")),
            },
        });
        Template { text: text.into() }
    }

    fn rewrite(&self, visit: impl FnMut(Piece<'_>)) {
        for_each_piece(&self.text, visit).expect("checked when made");
    }
}

/// Greatest distance of a placeholder from the layer: what nine digits can say.
const MAX_OFFSET: i64 = 999_999_999;

enum Piece<'a> {
    Text(&'a str),
    Layer(i64),
}

fn for_each_piece(text: &str, mut visit: impl FnMut(Piece<'_>)) -> Option<()> {
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        visit(Piece::Text(&rest[..open]));
        let inner = rest[open..].strip_prefix("{i")?;
        let close = inner.find('}')?;
        let offset = match &inner[..close] {
            "" => 0,
            offset if offset.starts_with(['+', '-']) && offset.len() <= 10 => offset.parse().ok()?,
            _ => return None,
        };
        visit(Piece::Layer(offset));
        rest = &inner[close + 1..];
    }
    visit(Piece::Text(rest));
    Some(())
}

impl TryFrom<String> for Template {
    type Error = BadTemplate;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Template::new(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text.as_ref().to_owned()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_and_shifts() {
        let template = Template::new("model.layers.{i}.mlp").unwrap();
        assert_eq!(template.render(3), "model.layers.3.mlp");
        assert_eq!(template.shift(-1).as_str(), "model.layers.{i-1}.mlp");
        assert_eq!(template.shift(-1).render(3), "model.layers.2.mlp");
        assert_eq!(template.shift(-1).shift(1), template);
        assert_eq!(template.shift(i64::MAX).shift(i64::MIN).render(0), "model.layers.-999999999.mlp");
        assert!(!Template::new("lm_head.weight").unwrap().is_layered());
    }

    #[test]
    fn refuses_other_braces() {
        for bad in ["a{", "a}b", "{j}", "{i*2}", "{i-}", "{i+99999999999}"] {
            assert!(Template::new(bad).is_err(), "{bad}");
        }
    }
}
