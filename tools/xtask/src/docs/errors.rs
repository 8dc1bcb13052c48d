use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Arm, Expr, Lit, Pat};

use super::source::{self, Case, Docs, ErrorType};

const INTRODUCTION: &str = "\
# Errors

<!-- Made from the source by `cargo xtask docs`: change the doc comments and `#[error(\"…\")]` there. -->

What `mscc` can say on standard error after `error: `, by crate and type, with the exit code: 1 if something failed though
the input was right, 2 for bad input. Values stand in angle brackets. An option that does not exist or cannot be what it is
gives 2 with the usage, an interrupt (Ctrl-C) 130 without a message.
";

/// The bad input that nothing else is said of.
const DEFAULT_CODE: u8 = 2;
/// The type that `main` prints; all that a user can meet is reached from it.
const ROOT: &str = "CliError";

/// The page of all errors that a user can meet.
pub fn page(root: &Path) -> anyhow::Result<String> {
    let types = source::error_types(root)?;
    let codes = ExitCodes::read(&root.join("tools/mscc/src/error.rs"))?;
    let met = met(&types, &codes);
    let mut page = INTRODUCTION.to_owned();
    let mut package = "";
    for (index, error) in types.iter().enumerate() {
        let cases = error.cases.iter().enumerate().filter_map(|(at, case)| {
            let codes = met.get(&(index, at))?;
            let message = case.message.as_ref()?;
            let only_wraps = !case.types.is_empty() && is_without_words(message);
            (!only_wraps || !wraps_error(&types, error.package, case)).then_some((case, codes, message))
        });
        let cases: Vec<_> = cases.collect();
        if cases.is_empty() {
            continue;
        }
        if package != error.package {
            package = error.package;
            write!(page, "\n## {package}\n")?;
        }
        write!(page, "\n### {}\n\n{}\n\n", error.name, text(&error.docs.meaning, &error.docs))?;
        for (case, codes, message) in cases {
            let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
            let message = match message.as_str() {
                // The place it comes from has all the words.
                "<…>" => "any other message".to_owned(),
                message => format!("`` {} ``", message.split_whitespace().collect::<Vec<_>>().join(" ")),
            };
            writeln!(page, "- {message} ({})", codes.join(" or "))?;
            // A struct has one message, and all is said above.
            if !case.name.is_empty() {
                writeln!(page, "  <br>{}", text(&case.docs.meaning, &case.docs))?;
            }
        }
    }
    Ok(page)
}

/// What is meant and what to do about it. Links of the source lead nowhere here.
fn text(meaning: &str, docs: &Docs) -> String {
    let mut text = meaning.replace("](crate::", "](").to_owned();
    while let Some((before, rest)) = text.split_once("](") {
        let (name, behind) =
            (before.rsplit_once('[').map_or(before.to_owned(), |(a, b)| format!("{a}{b}")), rest);
        text = name + behind.split_once(')').map_or("", |(_, behind)| behind);
    }
    let text = text.replace("[`", "`").replace("`]", "`");
    match &docs.what_to_do {
        Some(advice) => format!("{text} *What to do:* {advice}"),
        None => text,
    }
}

/// Cases that a user can meet, by type and place, with the exit codes they end with.
fn met(types: &[ErrorType], codes: &ExitCodes) -> BTreeMap<(usize, usize), BTreeSet<u8>> {
    let mut met: BTreeMap<(usize, usize), BTreeSet<u8>> = BTreeMap::new();
    let mut open: Vec<(usize, u8)> =
        find(types, "mscc", ROOT).map(|root| (root, DEFAULT_CODE)).into_iter().collect();
    while let Some((index, inherited)) = open.pop() {
        let error = &types[index];
        for (at, case) in error.cases.iter().enumerate() {
            let code = codes.of(&error.name, &case.name).unwrap_or(inherited);
            // Those that end without a message.
            if code == 0 || code >= 128 || !met.entry((index, at)).or_default().insert(code) {
                continue;
            }
            let within = case.types.iter().filter_map(|name| find(types, error.package, name));
            open.extend(within.filter(|within| *within != index).map(|within| (within, code)));
        }
    }
    met.retain(|_, codes| !codes.is_empty());
    met
}

/// Whether a message is of values alone, such as `<path>: <source>`.
fn is_without_words(message: &str) -> bool {
    let outside = message.split('<').map(|part| part.split_once('>').map_or(part, |(_, outside)| outside));
    !outside.collect::<String>().contains(char::is_alphanumeric)
}

/// Whether a case holds an error that is listed itself.
fn wraps_error(types: &[ErrorType], package: &str, case: &Case) -> bool {
    case.types.iter().any(|name| find(types, package, name).is_some())
}

/// A type of this name, preferably of this crate.
fn find(types: &[ErrorType], package: &str, name: &str) -> Option<usize> {
    let named = |index: &usize| types[*index].name == name;
    let own = (0..types.len()).filter(named).find(|index| types[*index].package == package);
    own.or_else(|| (0..types.len()).find(named))
}

/// What `exit_code` of the command line says, variant by variant.
struct ExitCodes(BTreeMap<(String, String), u8>);

impl ExitCodes {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let mut codes = ExitCodes(BTreeMap::new());
        codes.visit_file(&source::parse(path)?);
        anyhow::ensure!(!codes.0.is_empty(), "{}: no exit codes are found there", path.display());
        Ok(codes)
    }

    fn of(&self, error: &str, case: &str) -> Option<u8> {
        self.0.get(&(error.to_owned(), case.to_owned())).copied()
    }

    /// Takes a pattern's innermost variants.
    fn take(&mut self, pattern: &Pat, code: u8) {
        let path = match pattern {
            Pat::Or(any) => return any.cases.iter().for_each(|case| self.take(case, code)),
            Pat::TupleStruct(variant) => {
                if self.take_inner(variant.elems.iter(), code) {
                    return;
                }
                &variant.path
            }
            Pat::Struct(variant) => {
                if self.take_inner(variant.fields.iter().map(|field| &*field.pat), code) {
                    return;
                }
                &variant.path
            }
            Pat::Path(variant) => &variant.path,
            _ => return,
        };
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [error, case] = names.as_slice() {
            self.0.entry((error.clone(), case.clone())).or_insert(code);
        }
    }
}

impl ExitCodes {
    /// Takes the variants among the patterns of fields; false if there are none.
    fn take_inner<'a>(&mut self, patterns: impl Iterator<Item = &'a Pat>, code: u8) -> bool {
        let is_variant =
            |pattern: &&Pat| matches!(pattern, Pat::TupleStruct(_) | Pat::Struct(_) | Pat::Or(_));
        let inner: Vec<&Pat> = patterns.filter(is_variant).collect();
        inner.iter().for_each(|pattern| self.take(pattern, code));
        !inner.is_empty()
    }
}

impl<'ast> Visit<'ast> for ExitCodes {
    fn visit_arm(&mut self, arm: &'ast Arm) {
        if let Expr::Lit(literal) = &*arm.body
            && let Lit::Int(code) = &literal.lit
            && let Ok(code) = code.base10_parse()
        {
            self.take(&arm.pat, code);
        }
        visit::visit_arm(self, arm);
    }
}
