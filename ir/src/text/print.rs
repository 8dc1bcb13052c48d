//! Printing.

use std::fmt::{self, Write};

use crate::graph::{Graph, Node, NodeKind, write_attrs};
use crate::module::{CacheGroup, CacheKind, Module};

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
        if width.saturating_add(item.len()) > LIST_WIDTH {
            write!(out, "{}{keyword} {item}", if width == usize::MAX { "" } else { "\n" })?;
            width = keyword.len() + 1 + item.len();
        } else {
            write!(out, ", {item}")?;
            width += 2 + item.len();
        }
    }
    if width == usize::MAX { Ok(()) } else { writeln!(out) }
}

/// Columns after which a list of declarations goes on in the next line.
const LIST_WIDTH: usize = 108;

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
    for (_, node) in graph.nodes() {
        out.push_str("  ");
        write_node(out, graph, node)?;
    }
    for (sink, value) in graph.sinks() {
        writeln!(out, "  {sink} = %{}", graph.value_name(*value))?;
    }
    out.push_str("}\n");
    Ok(())
}

fn write_node(out: &mut String, graph: &Graph, node: &Node) -> fmt::Result {
    for (at, result) in node.results.iter().enumerate() {
        write!(out, "{}%{}", if at > 0 { ", " } else { "" }, result.name)?;
    }
    out.push_str(" = ");
    match &node.kind {
        NodeKind::Leaf(leaf) => write!(out, "{leaf}")?,
        NodeKind::Op(op) => {
            out.push_str(op.kind().name());
            for (at, operand) in node.operands.iter().enumerate() {
                write!(out, "{} %{}", if at > 0 { "," } else { "" }, graph.value_name(*operand))?;
            }
            write_attrs(out, op)?;
        }
    }
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
