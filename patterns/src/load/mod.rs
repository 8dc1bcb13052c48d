//! Reading rules: those built in and those of a user's file, by the same loader.

mod cursor;
mod parse;
mod scope;
mod sections;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::error::{Problem, RuleError};
use crate::rule::Rule;
use cursor::Cursor;

/// Longest text of rules that is read, in bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

mod files {
    include!(concat!(env!("OUT_DIR"), "/rules.rs"));
}

/// The rules under `rules/`, in order of name; read once.
///
/// Errors: a rule that does not load, which is a bug of this crate that its tests find.
pub fn builtin() -> Result<Vec<Rule>, RuleError> {
    static RULES: OnceLock<Result<Vec<Rule>, RuleError>> = OnceLock::new();
    let load_all = || files::RULES.iter().map(|(name, text)| load_one(text, name)).collect();
    RULES.get_or_init(load_all).clone()
}

/// Reads the rules of a file; `file_name` is for errors. Their names are distinct within the file.
///
/// Errors: the first thing wrong, with its place.
pub fn load(text: &str, file_name: &str) -> Result<Vec<Rule>, RuleError> {
    let start = Cursor { file: file_name, text, at: 0, end: text.len() };
    if text.len() > MAX_TEXT_BYTES {
        return Err(start.error_at(0, Problem::TooLarge("the text is longer than 1 MiB")));
    }
    let mut rules: Vec<Rule> = Vec::new();
    let mut names = BTreeSet::new();
    for sections in sections::cut(&start)? {
        let rule = parse::rule(&sections)?;
        if !names.insert(rule.name.clone()) {
            return Err(start.error_at(sections.place(), Problem::Twice(format!("rule {}", rule.name))));
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// The one rule of a file that is named after it.
fn load_one(text: &str, file: &str) -> Result<Rule, RuleError> {
    let name = file.trim_end_matches(".rule");
    let start = Cursor { file, text, at: 0, end: text.len() };
    match <[Rule; 1]>::try_from(load(text, file)?) {
        Ok([rule]) if rule.name == name => Ok(rule),
        _ => Err(start.error_at(0, Problem::FileName(name.to_owned()))),
    }
}

#[cfg(test)]
mod tests;
