//! Weight recipes: what depends on weights alone is computed when a plan is loaded.

use std::collections::{HashMap, HashSet};

use mscc_ir::Template;
use mscc_ir::graph::{Graph, Leaf, NodeId, NodeKind, Sink, Value};
use mscc_ir::kernels::ascend::{Constant, Format};
use mscc_ir::ops::{CausalMask, Op, Transpose};
use mscc_ir::plan::{Recipe, WeightParam};

use crate::passes::rebuild::Rebuild;
use crate::passes::recut::layer_offset;

/// Collects the recipes of all functions, each once.
#[derive(Default)]
pub struct Recipes {
    recipes: Vec<Recipe>,
    names: HashSet<String>,
    /// Bodies of matrices that lie turned about.
    turned: Vec<Graph>,
}

impl Recipes {
    /// The parameter that brings in `value`, which depends on weights alone; turned about if [`Recipes::turn`] was told so.
    pub fn param(&mut self, graph: &Graph, value: Value) -> WeightParam {
        let nodes = ancestors(graph, value);
        let templates = templates(graph, &nodes);
        let offset = offset(&templates);
        let name = recipe_name(graph.value_name(value), &templates, graph.node(value.node)).shift(-offset);
        let mut body = recipe_body(graph, &nodes, value, offset);
        if self.turned.contains(&body) {
            body = turned(&body);
        }
        WeightParam { recipe: self.intern(name, body) as u32, layer_offset: offset }
    }

    /// Lets the matrix `value` lie with its axes changed, for all that reads it.
    pub fn turn(&mut self, graph: &Graph, value: Value) {
        let body = plain_body(graph, value);
        if !self.turned.contains(&body) {
            self.turned.push(body);
        }
    }

    /// Whether a value lies with its axes changed.
    pub fn is_turned(&self, graph: &Graph, value: Value) -> bool {
        !self.turned.is_empty() && self.turned.contains(&plain_body(graph, value))
    }

    /// The parameter that brings in a tensor that an operator wants beside its operands.
    pub fn constant(&mut self, constant: Constant) -> WeightParam {
        let (name, op) = match constant {
            Constant::CausalMask => ("causal_mask", Op::from(CausalMask { size: 2048 })),
        };
        let mut body = Graph::new("recipe");
        let values = body.op(op, &[], &["t0"]).expect("a constant has no operands that could be wrong");
        body.sink(Sink::Output("weight".to_owned()), values[0]);
        let name = Template::new(name).expect("a plain name is a template");
        WeightParam { recipe: self.intern(name, body) as u32, layer_offset: 0 }
    }

    /// Recipes of equal bodies make equal tensors, whatever they are called: tied weights are one.
    fn intern(&mut self, name: Template, body: Graph) -> usize {
        if let Some(index) = self.recipes.iter().position(|recipe| recipe.body == body) {
            return index;
        }
        let mut candidate = name.as_str().to_owned();
        for k in 1u32.. {
            if !self.names.contains(&candidate) {
                break;
            }
            candidate = format!("{name}.{k}");
        }
        let name = Template::new(&candidate)
            .expect("a number behind a template leaves its placeholders as they are");
        self.names.insert(candidate);
        self.recipes.push(Recipe { name, body, format: Format::Nd });
        self.recipes.len() - 1
    }

    /// All recipes.
    pub fn finish(self) -> Vec<Recipe> {
        self.recipes
    }
}

fn templates<'a>(graph: &'a Graph, nodes: &[NodeId]) -> Vec<&'a Template> {
    let template = |id: &NodeId| match &graph.node(*id).kind {
        NodeKind::Leaf(Leaf::Weight(template)) => Some(template),
        NodeKind::Leaf(_) | NodeKind::Op(_) => None,
    };
    nodes.iter().filter_map(template).collect()
}

/// The same tensor of another layer is the same recipe, called with another layer.
fn offset(templates: &[&Template]) -> i64 {
    templates.iter().filter_map(|template| layer_offset(template)).max().unwrap_or(0)
}

fn plain_body(graph: &Graph, value: Value) -> Graph {
    let nodes = ancestors(graph, value);
    recipe_body(graph, &nodes, value, offset(&templates(graph, &nodes)))
}

/// The body of the same matrix with its axes changed.
fn turned(body: &Graph) -> Graph {
    let (_, value) = &body.sinks()[0];
    let mut turned = Graph::new(&body.name);
    let mut rebuild = Rebuild::new(body);
    body.nodes().for_each(|(id, _)| rebuild.copy(&mut turned, id));
    let (op, name) = (Transpose { permutation: vec![1, 0] }, format!("t{}", turned.len()));
    let whole = turned.op1(op, &[rebuild.mapped(*value)], &name).expect("it is a matrix");
    turned.sink(Sink::Output("weight".to_owned()), whole);
    turned
}

fn ancestors(graph: &Graph, value: Value) -> Vec<NodeId> {
    let mut wanted = vec![false; graph.len()];
    wanted[value.node.index()] = true;
    for (id, node) in graph.nodes().rev() {
        if wanted[id.index()] {
            node.operands.iter().for_each(|operand| wanted[operand.node.index()] = true);
        }
    }
    graph.nodes().map(|(id, _)| id).filter(|id| wanted[id.index()]).collect()
}

/// The function that computes `value`, with templates relative to the recipe's own layer.
///
/// Values are numbered, so that the same tensor made under two names is one recipe.
fn recipe_body(graph: &Graph, nodes: &[NodeId], value: Value, offset: i64) -> Graph {
    let mut body = Graph::new("recipe");
    let mut made: HashMap<Value, Value> = HashMap::new();
    for id in nodes {
        let node = graph.node(*id);
        let name = format!("t{}", body.len());
        match &node.kind {
            NodeKind::Leaf(Leaf::Weight(template)) => {
                let leaf = Leaf::Weight(template.shift(-offset));
                made.insert(
                    Value { node: *id, index: 0 },
                    body.leaf(leaf, &name, node.results[0].ty.clone()),
                );
            }
            NodeKind::Op(op) => {
                let operands: Vec<Value> = node.operands.iter().map(|operand| made[operand]).collect();
                let results =
                    body.op(op.clone(), &operands, &[&name]).expect("the function has been verified");
                for (index, result) in results.iter().enumerate() {
                    made.insert(Value { node: *id, index: index as u32 }, *result);
                }
            }
            NodeKind::Leaf(Leaf::Input(_) | Leaf::State(_) | Leaf::Cache(_)) => {
                unreachable!("what depends on weights alone has no other leaves")
            }
        }
    }
    body.sink(Sink::Output("weight".to_owned()), made[&value]);
    body
}

/// The checkpoint's name for a tensor taken as it is; else the value's name under the prefix that its sources share.
fn recipe_name(value_name: &str, sources: &[&Template], node: &mscc_ir::graph::Node) -> Template {
    if let (NodeKind::Leaf(Leaf::Weight(template)), [_]) = (&node.kind, sources) {
        return template.clone();
    }
    let mut prefix: Vec<&str> =
        sources.first().map_or(Vec::new(), |first| first.as_str().split('.').collect());
    for source in sources {
        let same = prefix.iter().zip(source.as_str().split('.')).take_while(|(a, b)| **a == *b).count();
        prefix.truncate(same);
    }
    if prefix.len() > 1 && sources.len() == 1 {
        prefix.pop();
    }
    // What is made of a stack is one tensor for all experts.
    let experts = prefix.iter().position(|part| part.contains("{e}"));
    prefix.truncate(experts.unwrap_or(prefix.len()));
    let stem: Vec<&str> = value_name.split('.').collect();
    let overlap = (0..=stem.len()).rev().find(|count| prefix.ends_with(&stem[..*count])).unwrap_or(0);
    let layered = sources.iter().any(|source| source.is_layered());
    let mut parts = prefix;
    parts.extend(&stem[overlap..]);
    let mut name = parts.join(".");
    if layered && !name.contains('{') {
        name.push_str(".{i}");
    }
    Template::new(&name).unwrap_or_else(|_| {
        let plain = if layered { "weight.{i}" } else { "weight" };
        Template::new(plain).expect("a plain name is a template")
    })
}
