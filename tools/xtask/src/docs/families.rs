use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use mscc_models::blocks::{BLOCKS, Block, Param};
use syn::{Attribute, Item};

use super::source;

/// The page about families: the one there is, with what is between its marks made anew.
pub fn page(root: &Path) -> anyhow::Result<String> {
    let path = root.join("docs/families.md");
    let mut page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let spec = root.join("models/src/spec");
    let module = source::parse(&spec.join("mod.rs"))?;
    let expr = source::parse(&spec.join("expr.rs"))?;
    let expressions = expr.items.iter().find_map(|item| match item {
        Item::Struct(item) if item.ident == "Expr" => Some(comment(&item.attrs)),
        _ => None,
    });
    // Their first paragraphs say what they are to readers of the source.
    fill(&mut page, "keys", behind_first_paragraph(&comment(&module.attrs)))?;
    fill(&mut page, "expressions", behind_first_paragraph(&expressions.context("there is no `Expr`")?))?;
    let blocks = BLOCKS.iter().map(|block| section(root, block)).collect::<Result<Vec<_>, _>>()?;
    fill(&mut page, "blocks", &blocks.join("\n"))?;
    Ok(page)
}

/// Puts text between two marks.
pub(super) fn fill(page: &mut String, mark: &str, text: &str) -> anyhow::Result<()> {
    let begin = format!("<!-- {mark}: made from the source by `cargo xtask docs` -->\n");
    let end = format!("<!-- end of {mark} -->");
    let from = page.find(&begin).with_context(|| format!("the page lacks {begin}"))? + begin.len();
    let to = page[from..].find(&end).with_context(|| format!("the page lacks {end}"))? + from;
    page.replace_range(from..to, &format!("\n{}\n\n", text.trim()));
    Ok(())
}

/// What is said of a block: its doc comment and its parameters.
fn section(root: &Path, block: &Block) -> anyhow::Result<String> {
    let path = root.join(format!("models/src/blocks/{}.rs", block.name));
    let docs = source::parse(&path)?.items.iter().find_map(|item| match item {
        Item::Static(item) if item.ident == "BLOCK" => Some(comment(&item.attrs)),
        _ => None,
    });
    let docs = docs.with_context(|| format!("{}: there is no BLOCK", path.display()))?;
    // Each a paragraph of its own.
    let docs = docs.trim().replace("\nSource: ", "\n\nSource: ");
    let mut text = format!("### {}\n\n{docs}\n\n", block.name);
    writeln!(text, "| parameter | value | default |\n|---|---|---|")?;
    for Param { name, kind, default, nullable } in block.params {
        let or_null = if *nullable { ", or null" } else { "" };
        let default = default.map_or(String::new(), |default| format!("`{}`", default.replace('|', "\\|")));
        writeln!(text, "| `{name}` | {}{or_null} | {default} |", kind.describe())?;
    }
    if !block.modules.is_empty() {
        let modules: Vec<String> = block.modules.iter().map(|module| format!("`{module}`")).collect();
        writeln!(text, "\nNames that `names` can change: {}.", modules.join(", "))?;
    }
    Ok(text)
}

fn behind_first_paragraph(text: &str) -> &str {
    text.split_once("\n\n").map_or("", |(_, behind)| behind)
}

/// A doc comment as it stands, links of the source without their targets.
fn comment(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes.iter().filter_map(source::doc_line).collect();
    let lines = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").replace("[`", "`").replace("`]", "`")
}
