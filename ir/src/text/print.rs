//! Printing.

use std::fmt::{self, Write};

use super::MAX_PREFIX_BYTES;
use crate::graph::{Graph, Leaf, Node, NodeKind, ResultInfo, Sink, write_attrs};
use crate::module::{CacheGroup, CacheKind, Module};
use crate::ops::Op;

/// The text of a module.
pub fn print_module(module: &Module) -> String {
    let mut out = String::new();
    write_module(&mut out, module).expect("writing to a string cannot fail");
    out
}

/// The text of one function.
pub fn print_function(graph: &Graph) -> String {
    let mut out = String::new();
    write_function(&mut out, graph).expect("writing to a string cannot fail");
    out
}

fn write_module(out: &mut String, module: &Module) -> fmt::Result {
    writeln!(out, "module {}", quote_unless_name(&module.name))?;
    let symbols = module.symbols.iter();
    let symbols = symbols
        .map(|(symbol, info)| format!("{symbol} in {}..{} likely {}", info.min, info.max, info.likely));
    write_list(out, "symbol", symbols)?;
    let facts = module.symbols.facts().iter();
    write_list(out, "fact", facts.map(|fact| format!("{} <= {}", fact.lesser, fact.greater)))?;
    for group in &module.caches {
        write_cache(out, group)?;
    }
    for function in &module.functions {
        out.push('\n');
        write_function(out, function)?;
    }
    if !module.program.is_empty() {
        out.push_str("\nprogram {\n");
        for call in &module.program {
            let name = module.functions.get(call.function).map_or("?", |function| function.name.as_str());
            match call.layers.len() {
                1 => writeln!(out, "  @{name} [{}]", call.layers.start)?,
                _ => writeln!(out, "  @{name} [{}..{}]", call.layers.start, call.layers.end)?,
            }
        }
        out.push_str("}\n");
    }
    Ok(())
}

/// `keyword a, b, ..` in as many lines as it takes.
fn write_list(out: &mut String, keyword: &str, items: impl Iterator<Item = String>) -> fmt::Result {
    let mut width = usize::MAX;
    for item in items {
        if width.saturating_add(2 + item.len()) > LIST_WIDTH {
            write!(out, "{}{keyword} {item}", if width == usize::MAX { "" } else { "\n" })?;
            width = keyword.len() + 1 + item.len();
        } else {
            write!(out, ", {item}")?;
            width += 2 + item.len();
        }
    }
    if width == usize::MAX { Ok(()) } else { writeln!(out) }
}

/// Longest line of a list that has more than one item, in bytes.
const LIST_WIDTH: usize = 120;

fn write_cache(out: &mut String, group: &CacheGroup) -> fmt::Result {
    let kind = match group.kind {
        CacheKind::Full => "full".to_owned(),
        CacheKind::Window(tokens) => format!("window {tokens}"),
        CacheKind::Latent => "latent".to_owned(),
    };
    let layers: Vec<String> =
        group.layers.iter().map(|range| format!("{}..{}", range.start, range.end)).collect();
    let tensors: Vec<String> = group
        .tensors
        .iter()
        .map(|tensor| {
            let row: Vec<String> = tensor.row.iter().map(u32::to_string).collect();
            format!("{}: {}[{}]", tensor.name, tensor.dtype, row.join(", "))
        })
        .collect();
    writeln!(
        out,
        "cache {} {kind} block {} layers [{}] {{ {} }}",
        group.name,
        group.block_size,
        layers.join(", "),
        tensors.join(", ")
    )
}

fn write_function(out: &mut String, graph: &Graph) -> fmt::Result {
    writeln!(out, "func @{} {{", graph.name)?;
    let mut list = List::default();
    for (_, node) in graph.nodes() {
        match &node.kind {
            NodeKind::Leaf(leaf) => {
                let (keyword, item) = leaf_item(leaf, &node.results[0], &list.keyword);
                list.push(out, keyword, item)?;
            }
            NodeKind::Op(op) => {
                list.flush(out)?;
                write_op(out, graph, op, node)?;
            }
        }
    }
    list.flush(out)?;
    for (sink, value) in graph.sinks() {
        let (keyword, name) = match sink {
            Sink::State(name) => ("  state", name.clone()),
            Sink::Cache(cache) => ("  cache", cache.to_string()),
            Sink::Output(name) => ("  output", name.clone()),
            Sink::Tap(template) => ("  tap", format!("{:?}", template.as_str())),
        };
        list.push(out, keyword.to_owned(), format!("{name} = %{}", graph.value_name(*value)))?;
    }
    list.flush(out)?;
    out.push_str("}\n");
    Ok(())
}

/// Items behind one keyword that are still to be written.
#[derive(Default)]
struct List {
    keyword: String,
    items: Vec<String>,
}

impl List {
    fn push(&mut self, out: &mut String, keyword: String, item: String) -> fmt::Result {
        if keyword != self.keyword {
            self.flush(out)?;
            self.keyword = keyword;
        }
        self.items.push(item);
        Ok(())
    }

    fn flush(&mut self, out: &mut String) -> fmt::Result {
        write_list(out, &self.keyword, self.items.drain(..))?;
        self.keyword.clear();
        Ok(())
    }
}

/// How a leaf is declared, behind which keyword; with its whole name it fits in any list of its kind, so in the one
/// behind `open`.
fn leaf_item(leaf: &Leaf, result: &ResultInfo, open: &str) -> (String, String) {
    let ResultInfo { name, ty } = result;
    let (kind, own) = match leaf {
        Leaf::Input(own) => ("  input", own.clone()),
        Leaf::State(own) => ("  state", own.clone()),
        Leaf::Cache(own) => ("  cache", own.to_string()),
        Leaf::Weight(own) => ("  weight", format!("{:?}", own.as_str())),
    };
    let prefix = match leaf {
        Leaf::Weight(template) => prefix(template.as_str(), name),
        Leaf::Input(_) | Leaf::State(_) | Leaf::Cache(_) => (own == *name).then_some(""),
    };
    match prefix {
        Some("") => (kind.to_owned(), format!("%{name}: {ty}")),
        Some(prefix) => (format!("{kind} {prefix:?}"), format!("%{name}: {ty}")),
        None => {
            let keyword = if open.starts_with(kind) { open } else { kind };
            (keyword.to_owned(), format!("%{name} = {own}: {ty}"))
        }
    }
}

/// What stands before `name` in a weight's template, if it is one or more whole parts of a path, or nothing.
fn prefix<'a>(template: &'a str, name: &str) -> Option<&'a str> {
    let prefix = template.strip_suffix(name)?;
    (prefix.is_empty() || prefix.ends_with('.') && prefix.len() <= MAX_PREFIX_BYTES).then_some(prefix)
}

fn write_op(out: &mut String, graph: &Graph, op: &Op, node: &Node) -> fmt::Result {
    for (at, result) in node.results.iter().enumerate() {
        write!(out, "{}%{}", if at > 0 { ", " } else { "  " }, result.name)?;
    }
    write!(out, " = {}", op.kind().name())?;
    for (at, operand) in node.operands.iter().enumerate() {
        write!(out, "{} %{}", if at > 0 { "," } else { "" }, graph.value_name(*operand))?;
    }
    write_attrs(out, op)?;
    for (at, result) in node.results.iter().enumerate() {
        write!(out, "{} {}", if at > 0 { "," } else { " :" }, result.ty)?;
    }
    out.push('\n');
    Ok(())
}

/// Names that the lexer reads as one word stay bare.
fn quote_unless_name(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let word = !name.is_empty() && !name.contains("..");
    if word && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}
