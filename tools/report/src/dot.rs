//! Graphviz: fused graphs as text that `dot` draws.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use mscc_ir::NodeId;
use mscc_ir::plan::Listing;

use crate::diagram::{self, Diagram, Fusion, Item};
use crate::{Kind, ReportError, clip};

/// Fill colours of fusions, by [`Fusion::color`].
const COLORS: [&str; 6] = ["#cfe2ff", "#ffe0b8", "#cdeccd", "#f3d1ea", "#d9d3f5", "#c9ecec"];

/// The fused graph of each kind of layer, as a cluster. What fused has a colour and lists its source ops.
///
/// Errors: a plan that lists no graphs.
pub fn dot(kinds: &[Kind<'_>]) -> Result<String, ReportError> {
    let mut out = String::new();
    let mut colors = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let listing = kind.listing()?;
        let fusions = diagram::fusions(listing, &mut colors);
        write_kind(&mut out, index, kind, listing, &fusions).expect("writing to a string cannot fail");
    }
    Ok(format!(
        "digraph mscc {{\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"]\n\
         {out}}}\n"
    ))
}

fn write_kind(
    out: &mut String,
    index: usize,
    kind: &Kind<'_>,
    listing: &Listing,
    fusions: &[Fusion],
) -> fmt::Result {
    let graph = &listing.fused;
    let weight_only = graph.weight_only();
    let diagram = diagram::diagram(graph, None);
    let drawn = diagram.nodes();
    let Diagram { items, edges } = diagram;
    let fusion_of = diagram::fusion_of(fusions, graph.len(), false);
    writeln!(out, "  subgraph cluster_{index} {{")?;
    writeln!(out, "    label={}", quoted(&format!("@{} × {}", kind.function.name, kind.calls)))?;
    for (at, item) in items.iter().enumerate() {
        write!(out, "    n{index}_{at} ")?;
        match item {
            Item::Arrival(id) => {
                let label = clip(&graph.node(*id).to_string());
                writeln!(out, "[shape=ellipse, label={}]", quoted(&label))?;
            }
            Item::Departure(name) => {
                writeln!(out, "[shape=ellipse, label={}]", quoted(&clip(&format!("→ {name}"))))?
            }
            Item::Op(id) => {
                let fusion = fusion_of[id.index()].map(|index| &fusions[index]);
                let label = label(listing, *id, &weight_only, &drawn, fusion);
                match fusion {
                    Some(fusion) => {
                        let color = COLORS[fusion.color % COLORS.len()];
                        writeln!(out, "[fillcolor=\"{color}\", label={}]", quoted(&label))?;
                    }
                    None => writeln!(out, "[label={}]", quoted(&label))?,
                }
            }
        }
    }
    for (from, to) in edges {
        writeln!(out, "    n{index}_{from} -> n{index}_{to}")?;
    }
    out.push_str("  }\n");
    Ok(())
}

fn label(
    listing: &Listing,
    id: NodeId,
    weight_only: &[bool],
    drawn: &BTreeSet<NodeId>,
    fusion: Option<&Fusion>,
) -> String {
    let graph = &listing.fused;
    let node = graph.node(id);
    let mut lines = vec![clip(&node.to_string())];
    for result in &node.results {
        lines.push(clip(&format!("{}: {}", result.name, result.ty)));
    }
    for operand in &node.operands {
        if !drawn.contains(&operand.node) {
            lines.push(clip(&format!("← {}", diagram::describe(graph, weight_only, *operand))));
        }
    }
    if let Some(fusion) = fusion {
        let source = |id: &NodeId| {
            let node = listing.source.node(*id);
            format!("{} {}", node.op().map_or("", |op| op.kind().name()), node.results[0].name)
        };
        let sources: Vec<String> = fusion.sources.iter().map(source).collect();
        lines.push(clip(&format!("from {}", sources.join(", "))));
    }
    lines.join("\n")
}

/// A string of Graphviz's language: lines end in `\n`, nothing else has a meaning.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
