//! A graph as boxes and curves.

use std::collections::BTreeSet;
use std::fmt::Write;

use mscc_ir::{Graph, NodeId};
use serde::Serialize;

use crate::clip;
use crate::diagram::{Item, describe, diagram, is_view};
use crate::layout::{Drawing, lay_out};

/// How many colours fusions have.
pub const COLORS: usize = 6;

/// Size of an op's box.
const BOX: (f64, f64) = (188.0, 62.0);
/// Size of a view's box.
const VIEW: (f64, f64) = (150.0, 44.0);
/// Size of an op's box where several stand side by side in a card.
const NARROW: (f64, f64) = (102.0, 62.0);
/// Size of what comes and goes.
const PILL: (f64, f64) = (168.0, 26.0);
/// Width of an opened box's card, as in the style sheet.
const CARD_WIDTH: f64 = 380.0;
/// Width of a graph in it.
const INNER_WIDTH: f64 = 342.0;

/// A drawn graph.
#[derive(Serialize)]
pub struct Canvas {
    width: f64,
    height: f64,
    nodes: Vec<NodeView>,
    edges: Vec<String>,
}

/// A box.
#[derive(Serialize)]
pub struct NodeView {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    /// `op`, `view` or `pill`.
    class: &'static str,
    color: Option<usize>,
    /// Number of the fusion that it belongs to.
    badge: Option<usize>,
    title: String,
    name: String,
    ty: String,
    /// Whether the card is to open to the left.
    leftwards: bool,
    card: Option<Card>,
}

/// What an opened box tells.
#[derive(Serialize)]
pub struct Card {
    /// What it is: `launch 4 of 14`.
    pub what: String,
    /// Name and value.
    pub attributes: Vec<(String, String)>,
    /// Name in the op's definition and what it is.
    pub reads: Vec<(String, String)>,
    /// Names and types.
    pub writes: Vec<(String, String)>,
    /// The source ops that it stands for.
    pub sources: Option<Canvas>,
}

/// How a node is marked: number of its fusion and its colour.
pub type Mark = Option<(usize, usize)>;

/// Draws a graph, or ops of it for a card; `None` if it is too large.
pub fn canvas(
    graph: &Graph,
    only: Option<&BTreeSet<NodeId>>,
    mark: &dyn Fn(NodeId) -> Mark,
    card: &mut dyn FnMut(NodeId) -> Option<Card>,
) -> Option<Canvas> {
    let diagram = diagram(graph, only);
    let place = |op: (f64, f64)| {
        let size = |item: &Item| match item {
            Item::Op(id) if only.is_none() && graph.node(*id).op().is_some_and(is_view) => VIEW,
            Item::Op(_) => op,
            Item::Arrival(_) | Item::Departure(_) => PILL,
        };
        let sizes: Vec<(f64, f64)> = diagram.items.iter().map(size).collect();
        Some((lay_out(&Drawing { sizes: sizes.clone(), edges: diagram.edges.clone() })?, sizes))
    };
    let (mut layout, mut sizes) = place(BOX)?;
    let is_narrow = only.is_some() && layout.width > INNER_WIDTH;
    if is_narrow {
        (layout, sizes) = place(NARROW)?;
    }
    let node = |(at, item): (usize, &Item)| {
        let (width, height) = sizes[at];
        let (x, y) = layout.corners[at];
        let mut view = NodeView {
            x,
            y,
            width,
            height,
            class: "pill",
            color: None,
            badge: None,
            title: String::new(),
            name: String::new(),
            ty: String::new(),
            leftwards: x + CARD_WIDTH > layout.width && x + width >= CARD_WIDTH,
            card: None,
        };
        match item {
            Item::Departure(name) => view.title = clip(&format!("{name} ↓")),
            Item::Arrival(id) => view.title = clip(&format!("↓ {}", graph.node(*id).results[0].name)),
            Item::Op(id) => {
                let node = graph.node(*id);
                view.class = if node.op().is_some_and(is_view) { "view" } else { "op" };
                (view.badge, view.color) = mark(*id).map(|(badge, color)| (badge, color % COLORS)).unzip();
                view.title = node.op().map_or("", |op| op.kind().name()).to_owned();
                let name = node.results[0].name.as_str();
                view.name = clip(if is_narrow { name.rsplit('.').next().unwrap_or(name) } else { name });
                view.ty = match node.results.len() {
                    1 => clip(&node.results[0].ty.to_string()),
                    many => clip(&format!("{} and {} more", node.results[0].ty, many - 1)),
                };
                view.card = card(*id);
            }
        }
        view
    };
    Some(Canvas {
        nodes: diagram.items.iter().enumerate().map(node).collect(),
        edges: layout.routes.iter().map(|route| path(route)).collect(),
        width: layout.width.ceil(),
        height: layout.height.ceil(),
    })
}

/// A curve through points that leaves and arrives downwards.
fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let mut last: Option<(f64, f64)> = None;
    for (x, y) in points {
        match last {
            None => write!(path, "M{x} {y}"),
            Some((before, _)) if before == *x => write!(path, "V{y}"),
            Some((before, above)) => {
                let middle = (above + y) / 2.0;
                write!(path, "C{before} {middle} {x} {middle} {x} {y}")
            }
        }
        .expect("writing to a string cannot fail");
        last = Some((*x, *y));
    }
    path
}

/// Most lines of a list in a card.
const MAX_LINES: usize = 12;

/// The card of an op.
pub fn card(graph: &Graph, weight_only: &[bool], id: NodeId, what: String, sources: Option<Canvas>) -> Card {
    let node = graph.node(id);
    let mut card = Card { what, attributes: Vec::new(), reads: Vec::new(), writes: Vec::new(), sources };
    if let Some(op) = node.op() {
        card.attributes =
            op.attrs().iter().map(|(name, attr)| ((*name).to_owned(), clip(&attr.to_string()))).collect();
        let operands = node.operands.iter().enumerate().take(MAX_LINES);
        card.reads = operands
            .map(|(index, operand)| {
                let name = op.kind().operand(index).map_or("", |operand| operand.name);
                let what = format!("{}: {}", describe(graph, weight_only, *operand), graph.ty(*operand));
                (name.to_owned(), clip(&what))
            })
            .collect();
        let left_out = node.operands.len().saturating_sub(MAX_LINES);
        if left_out > 0 {
            card.reads.push((String::new(), format!("and {left_out} more")));
        }
    }
    let results = node.results.iter().take(MAX_LINES);
    card.writes = results.map(|result| (clip(&result.name), clip(&result.ty.to_string()))).collect();
    card
}
