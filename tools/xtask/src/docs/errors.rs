use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Arm, Expr, Lit, Pat};

use super::source::{self, ErrorType};

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
            Some((case, codes, case.message.as_ref()?))
        });
        let cases: Vec<_> = cases.collect();
        if cases.is_empty() {
            continue;
        }
        if package != error.package {
            package = error.package;
            write!(page, "\n## {package}\n")?;
        }
        write!(page, "\n### {}\n\n{}\n\n", error.name, error.docs.meaning)?;
        for (case, codes, message) in cases {
            let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
            writeln!(page, "- `` {message} `` ({})", codes.join(" or "))?;
            // A struct has one message, and its meaning stands above.
            let meaning = if case.name.is_empty() { "" } else { case.docs.meaning.as_str() };
            let advice = case.docs.what_to_do.as_deref();
            let advice = advice.map(|advice| format!("What to do: {advice}")).unwrap_or_default();
            let text = [meaning, &advice].map(str::trim).join(" ");
            if !text.trim().is_empty() {
                writeln!(page, "  <br>{}", text.trim())?;
            }
        }
    }
    Ok(page)
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
                let within: Vec<&Pat> = variant
                    .elems
                    .iter()
                    .filter(|pattern| matches!(pattern, Pat::TupleStruct(_) | Pat::Struct(_) | Pat::Or(_)))
                    .collect();
                if !within.is_empty() {
                    return within.into_iter().for_each(|pattern| self.take(pattern, code));
                }
                &variant.path
            }
            Pat::Struct(variant) => &variant.path,
            Pat::Path(variant) => &variant.path,
            _ => return,
        };
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [error, case] = names.as_slice() {
            self.0.entry((error.clone(), case.clone())).or_insert(code);
        }
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
