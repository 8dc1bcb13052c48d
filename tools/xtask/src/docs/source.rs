use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use syn::parse::ParseStream;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Fields, Item, Lit, LitStr, Meta, TypePath};

/// Crates whose errors a user can meet, and where they are; the command line first.
const PACKAGES: [(&str, &str); 9] = [
    ("mscc", "tools/mscc"),
    ("mscc-report", "tools/report"),
    ("mscc-compiler", "compiler"),
    ("mscc-models", "models"),
    ("mscc-checkpoint", "models/checkpoint"),
    ("mscc-patterns", "patterns"),
    ("mscc-ir", "ir"),
    ("mscc-runtime", "runtime"),
    ("mscc-text", "runtime/text"),
];

/// An error type: a struct with one message or an enum with several.
pub struct ErrorType {
    /// The crate it is of.
    pub package: &'static str,
    /// Its name.
    pub name: String,
    /// Its doc comment.
    pub docs: Docs,
    /// Its cases; that of a struct has no name.
    pub cases: Vec<Case>,
}

/// One thing that can go wrong.
pub struct Case {
    /// The variant.
    pub name: String,
    /// Its doc comment.
    pub docs: Docs,
    /// What a user reads, values in angle brackets; `None` if the field says all.
    pub message: Option<String>,
    /// Names of the types of its fields, those within them included.
    pub types: Vec<String>,
}

/// What a doc comment says.
#[derive(Default)]
pub struct Docs {
    /// The first paragraph.
    pub meaning: String,
    /// The paragraph that begins with `What to do:`, without that.
    pub what_to_do: Option<String>,
}

/// All error types, in the order of crates, files and lines.
pub fn error_types(root: &Path) -> anyhow::Result<Vec<ErrorType>> {
    let mut types = Vec::new();
    for (package, folder) in PACKAGES {
        for path in sources(&root.join(folder).join("src"))? {
            let file = parse(&path)?;
            for item in &file.items {
                types.extend(
                    error_type(package, item).with_context(|| format!("{} of {package}", path.display()))?,
                );
            }
        }
    }
    Ok(types)
}

/// A file of Rust.
pub fn parse(path: &Path) -> anyhow::Result<syn::File> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    syn::parse_file(&text).with_context(|| path.display().to_string())
}

fn error_type(package: &'static str, item: &Item) -> anyhow::Result<Option<ErrorType>> {
    let (attributes, name, cases) = match item {
        Item::Enum(item) => {
            let cases = item
                .variants
                .iter()
                .map(|variant| case(&variant.attrs, variant.ident.to_string(), &variant.fields));
            let cases: Vec<Case> = cases.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
            (&item.attrs, &item.ident, cases)
        }
        Item::Struct(item) => {
            let case = case(&item.attrs, String::new(), &item.fields)?;
            (&item.attrs, &item.ident, case.into_iter().collect())
        }
        _ => return Ok(None),
    };
    let found = ErrorType { package, name: name.to_string(), docs: docs(attributes), cases };
    Ok((!found.cases.is_empty()).then_some(found))
}

/// What has an attribute `#[error(…)]`.
fn case(attributes: &[Attribute], name: String, fields: &Fields) -> anyhow::Result<Option<Case>> {
    let error = attributes.iter().find(|attribute| attribute.path().is_ident("error"));
    let Some(Meta::List(error)) = error.map(|attribute| &attribute.meta) else { return Ok(None) };
    let mut types = Types::default();
    types.visit_fields(fields);
    let message = match error.tokens.to_string().as_str() {
        "transparent" => None,
        _ => {
            let (format, rest) = error.parse_args_with(format_arguments)?;
            let fields = fields.iter().filter_map(|field| field.ident.as_ref()).map(ToString::to_string);
            Some(message(&format, &rest, &fields.collect::<Vec<_>>()))
        }
    };
    Ok(Some(Case { name, docs: docs(attributes), message, types: types.0 }))
}

/// The literal, and the text of what stands behind it.
fn format_arguments(input: ParseStream<'_>) -> syn::Result<(String, String)> {
    let format: LitStr = input.parse()?;
    let rest = input.cursor().token_stream().to_string();
    while !input.is_empty() {
        input.step(|cursor| Ok(((), cursor.token_tree().map_or(*cursor, |(_, behind)| behind))))?;
    }
    Ok((format.value(), rest))
}

/// A format string with names for values: `cannot read {}` of `.path.display()` is `cannot read <path>`.
fn message(format: &str, arguments: &str, fields: &[String]) -> String {
    let mut arguments = split(arguments).into_iter().filter(|argument| !argument.contains('='));
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let (brace, behind) = rest[at..].split_at(1);
        if let Some(behind) = behind.strip_prefix(brace) {
            out.push_str(brace);
            rest = behind;
            continue;
        }
        let (placeholder, behind) = behind.split_once('}').unwrap_or((behind, ""));
        let name = placeholder.split(':').next().unwrap_or_default();
        let value = match name {
            "" => {
                let argument = arguments.next().unwrap_or_default();
                let words = argument.split(|c: char| !c.is_alphanumeric() && c != '_');
                words.filter(|word| fields.iter().any(|field| field == word)).map(str::to_owned).next()
            }
            name if name.starts_with(|c: char| c.is_ascii_digit()) => None,
            name => Some(name.to_owned()),
        };
        out.push_str(&value.map_or("<…>".to_owned(), |value| format!("<{value}>")));
        rest = behind;
    }
    out + rest
}

/// The parts between the outermost commas, empty ones left out.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for character in arguments.chars() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        match parts.last_mut() {
            Some(part) if character != ',' || depth > 0 => part.push(character),
            _ => parts.push(String::new()),
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The doc comment in an item's attributes.
fn docs(attributes: &[Attribute]) -> Docs {
    let lines = attributes.iter().filter_map(doc_line).map(|line| line.trim().to_owned());
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut found = Docs::default();
    for (index, paragraph) in text.split("\n\n").enumerate() {
        let paragraph = paragraph.replace('\n', " ");
        match paragraph.strip_prefix("What to do:") {
            Some(advice) => found.what_to_do = Some(advice.trim().to_owned()),
            None if index == 0 => found.meaning = paragraph,
            None => {}
        }
    }
    found
}

/// A line of a doc comment, if the attribute is one.
pub fn doc_line(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(value) => match &value.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Names of types.
#[derive(Default)]
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_type_path(&mut self, path: &'ast TypePath) {
        self.0.extend(path.path.segments.last().map(|segment| segment.ident.to_string()));
        visit::visit_type_path(self, path);
    }
}

/// All files of Rust in a folder and those within, sorted.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(text: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let item: Item = syn::parse_str(text).unwrap();
        let found = error_type("test", &item).unwrap().unwrap();
        found.cases.into_iter().map(|case| (case.name, case.message, case.docs.what_to_do)).collect()
    }

    #[test]
    fn messages_name_their_values() {
        let found = cases(
            r#"enum E {
                /// A file.
                ///
                /// What to do: look
                /// at it.
                #[error("{}, line {line}: {0} of {{i}}{hint:?}; {}", path.display(), join(.names, ", "), hint = hint())]
                A { path: PathBuf, line: u32, names: Vec<String> },
                #[error(transparent)]
                B(Box<Other>),
                C,
            }"#,
        );
        let message = "<path>, line <line>: <…> of {i}<hint>; <names>".to_owned();
        assert_eq!(found[0], ("A".to_owned(), Some(message), Some("look at it.".to_owned())));
        assert_eq!(found[1], ("B".to_owned(), None, None));
        assert_eq!(found.len(), 2);
    }
}
