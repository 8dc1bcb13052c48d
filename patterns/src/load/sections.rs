//! Rules cut into their parts: a line that starts without a space starts a part, indented lines go on with it.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use crate::error::{Problem, RuleError};

const KEYWORDS: [&str; 10] =
    ["rule", "doc", "phase", "given", "match", "make", "equal", "where", "numerics", "gain"];

/// The parts of one rule by keyword.
pub(super) struct Sections<'a> {
    parts: BTreeMap<&'static str, Cursor<'a>>,
    start: Cursor<'a>,
}

impl<'a> Sections<'a> {
    /// Where the rule starts.
    pub fn place(&self) -> usize {
        self.start.at
    }

    /// The part, if it is there.
    pub fn get(&self, keyword: &'static str) -> Option<Cursor<'a>> {
        self.parts.get(keyword).cloned()
    }

    /// The part, which must be there.
    pub fn require(&self, keyword: &'static str) -> Result<Cursor<'a>, RuleError> {
        self.get(keyword).ok_or_else(|| self.start.error_at(self.start.at, Problem::Missing(keyword)))
    }
}

/// The rules of a text, each cut into parts.
pub(super) fn cut<'a>(text: &Cursor<'a>) -> Result<Vec<Sections<'a>>, RuleError> {
    let mut rules: Vec<Sections<'a>> = Vec::new();
    let mut current = None;
    let mut at = 0;
    for line in text.text.split_inclusive('\n') {
        let place = at;
        at += line.len();
        let indented = line.starts_with([' ', '\t']);
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if indented {
            match (&current, rules.last_mut()) {
                (Some(keyword), Some(rule)) => {
                    if let Some(part) = rule.parts.get_mut(keyword) {
                        part.end = at;
                    }
                }
                _ => return Err(Cursor { at: place, ..text.clone() }.expected("`rule`")),
            }
            continue;
        }
        let word: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(keyword) = KEYWORDS.into_iter().find(|keyword| *keyword == word) else {
            return Err(match word.is_empty() {
                true => Cursor { at: place, ..text.clone() }.expected("a part of a rule, such as `match`"),
                false => text.error_at(place, Problem::unknown("part of a rule", &word, KEYWORDS)),
            });
        };
        let part = Cursor { at: place + keyword.len(), end: at, ..text.clone() };
        if keyword == "rule" {
            rules.push(Sections { parts: BTreeMap::new(), start: Cursor { at: place, ..text.clone() } });
        }
        let Some(rule) = rules.last_mut() else {
            return Err(Cursor { at: place, ..text.clone() }.expected("`rule`"));
        };
        if rule.parts.insert(keyword, part).is_some() {
            return Err(text.error_at(place, Problem::Twice(keyword.to_owned())));
        }
        current = Some(keyword);
    }
    Ok(rules)
}
