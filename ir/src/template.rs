//! Names templated over layers and experts: `model.layers.{i}.mlp.experts.{e}.up_proj.weight`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name with placeholders for the layer a function is called for: `{i}`, `{i-1}`, `{i+2}`; and for the expert, `{e}`.
///
/// A weight whose name holds `{e}` is a stack: its axis 0 counts the tensors, of which number e is called that.
/// Braces stand for nothing else, so a name from outside that holds other braces is refused.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: Arc<str>,
}

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad placeholder in `{0}`: expected {{i}}, {{i-K}}, {{i+K}} or {{e}}")]
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
        self.text.contains("{i")
    }

    /// Whether it depends on the expert.
    pub fn is_stacked(&self) -> bool {
        self.text.contains(EXPERT)
    }

    /// The name at layer `i`; that of a stack keeps its `{e}`.
    pub fn render(&self, i: i64) -> String {
        let mut name = String::with_capacity(self.text.len() + 4);
        self.rewrite(|piece| match piece {
            Piece::Text(text) => name.push_str(text),
            Piece::Layer(offset) => name.push_str(&i.saturating_add(offset).to_string()),
            Piece::Expert => name.push_str(EXPERT),
        });
        name
    }

    /// The name of tensor `e` of a stack, for all layers.
    pub fn member(&self, e: u32) -> Self {
        if !self.is_stacked() {
            return self.clone();
        }
        Template { text: self.text.replace(EXPERT, &e.to_string()).into() }
    }

    /// The template that gives at layer `i` what this one gives at `i + by`; distances end at 10^9 - 1.
    pub fn shift(&self, by: i64) -> Self {
        let mut text = String::with_capacity(self.text.len() + 2);
        self.rewrite(|piece| match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Expert => text.push_str(EXPERT),
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

/// The placeholder for the expert.
const EXPERT: &str = "{e}";

enum Piece<'a> {
    Text(&'a str),
    Layer(i64),
    Expert,
}

fn for_each_piece(text: &str, mut visit: impl FnMut(Piece<'_>)) -> Option<()> {
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        visit(Piece::Text(&rest[..open]));
        if let Some(behind) = rest[open..].strip_prefix(EXPERT) {
            visit(Piece::Expert);
            rest = behind;
            continue;
        }
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
    fn stacks_have_members() {
        let template = Template::new("layers.{i}.experts.{e}.w1").unwrap();
        assert_eq!(template.shift(-1).render(3), "layers.2.experts.{e}.w1");
        assert_eq!(template.member(7).as_str(), "layers.{i}.experts.7.w1");
        assert_eq!(template.member(7).render(3), "layers.3.experts.7.w1");
        assert!(template.is_stacked() && template.is_layered() && !template.member(0).is_stacked());
        let shared = Template::new("experts.{e}").unwrap();
        assert!(!shared.is_layered(), "an expert is no layer");
    }

    #[test]
    fn refuses_other_braces() {
        for bad in ["a{", "a}b", "{j}", "{e+1}", "{i*2}", "{i-}", "{i+99999999999}"] {
            assert!(Template::new(bad).is_err(), "{bad}");
        }
    }
}
