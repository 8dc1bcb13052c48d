//! ONNX: a model that viewers such as Netron can show. It cannot be run: the ops are ours.

pub mod proto;

use std::collections::{BTreeMap, BTreeSet};

use mscc_ir::attr::Attr;
use mscc_ir::plan::{Listing, Plan};
use mscc_ir::{DType, Graph, Leaf, NodeId, NodeKind, Sink, TensorType, Value};
use prost::Message;

use crate::{Kind, ReportError, kinds};
use proto::{
    AttributeProto, Dimension, DimensionValue, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, Tensor, TensorShapeProto, TypeProto, ValueInfoProto,
};

/// Domain of the ops. Functions are in one of their own for each variant, `mscc.main.any`.
pub const ONNX_DOMAIN: &str = "mscc";
/// Format written: the first whose functions have typed values.
const IR_VERSION: i64 = 10;
/// Version of the standard ops, of which only `Identity` occurs.
const STANDARD_VERSION: i64 = 21;
/// Most calls of a step that are shown.
const MAX_CALLS: usize = 4000;

/// A plan as an ONNX model: a function for each kind of layer, and a graph of the calls of a step, in which equal
/// layers that follow each other are one node. The graph is that of the last variant of `main`, which takes any step.
///
/// Weights are nodes `weight` that name the checkpoint's tensor; symbolic sizes are `dim_param`s.
///
/// Errors: a plan that lists no graphs, or whose step has more calls than can be looked at.
pub fn onnx(plan: &Plan) -> Result<Vec<u8>, ReportError> {
    let kinds = kinds(plan);
    let functions = kinds.iter().map(function).collect::<Result<Vec<_>, _>>()?;
    let mut domains: BTreeSet<String> = functions.iter().map(|function| function.domain.clone()).collect();
    domains.insert(ONNX_DOMAIN.to_owned());
    let meta = &plan.meta;
    let property = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: opsets(domains),
        producer_name: "mscc".to_owned(),
        producer_version: meta.producer.clone(),
        doc_string: "Written by `mscc inspect --onnx` to be looked at; runtimes of ONNX lack its ops."
            .to_owned(),
        graph: Some(Calls::new(plan).graph(plan)?),
        metadata_props: vec![
            property("family", &meta.family),
            property("target", &meta.target),
            property("compute_dtype", meta.compute_dtype.name()),
        ],
        functions,
    };
    Ok(model.encode_to_vec())
}

fn opsets(domains: impl IntoIterator<Item = String>) -> Vec<OperatorSetIdProto> {
    let ours = domains.into_iter().map(|domain| OperatorSetIdProto { domain: Some(domain), version: 1 });
    let standard = OperatorSetIdProto { domain: Some(String::new()), version: STANDARD_VERSION };
    std::iter::once(standard).chain(ours).collect()
}

fn domain(kind: &Kind<'_>) -> String {
    format!("{ONNX_DOMAIN}.{}.{}", kind.program.name, kind.variant.name)
}

/// What a function is given by its callers: leaves that are no weights.
fn parameters(graph: &Graph) -> impl Iterator<Item = (Value, &Leaf)> {
    graph.leaves().filter(|(_, leaf)| !matches!(leaf, Leaf::Weight(_)))
}

/// What it gives back: sinks that are no taps.
fn results(graph: &Graph) -> impl Iterator<Item = (&Sink, Value)> {
    let sinks = graph.sinks().iter().map(|(sink, value)| (sink, *value));
    sinks.filter(|(sink, _)| !matches!(sink, Sink::Tap(_)))
}

fn function(kind: &Kind<'_>) -> Result<FunctionProto, ReportError> {
    let listing = kind.listing()?;
    let graph = &listing.fused;
    let mut nodes = Vec::new();
    let mut value_info = Vec::new();
    for (id, node) in graph.nodes() {
        value_info.extend(node.results.iter().map(|result| value(&result.name, &result.ty)));
        nodes.extend(node_proto(listing, id));
    }
    // A value goes out under one name once, and not if it came in.
    let mut names: Names = value_info.iter().map(|value: &ValueInfoProto| (value.name.clone(), 0)).collect();
    let mut taken = BTreeSet::new();
    let mut output = Vec::new();
    for (_, result) in results(graph) {
        let name = graph.value_name(result).to_owned();
        if graph.node(result.node).op().is_some() && taken.insert(result) {
            output.push(name);
            continue;
        }
        let copy = fresh(&mut names, &name);
        nodes.push(NodeProto {
            input: vec![name],
            output: vec![copy.clone()],
            name: copy.clone(),
            op_type: "Identity".to_owned(),
            ..NodeProto::default()
        });
        value_info.push(value(&copy, graph.ty(result)));
        output.push(copy);
    }
    let taps = graph.sinks().iter().filter_map(|(sink, value)| match sink {
        Sink::Tap(name) => Some(format!("{name} = {}", graph.value_name(*value))),
        Sink::State(_) | Sink::Cache(_) | Sink::Output(_) => None,
    });
    let taps: Vec<String> = taps.collect();
    let taps = if taps.is_empty() { String::new() } else { format!("; taps: {}", taps.join(", ")) };
    Ok(FunctionProto {
        name: graph.name.clone(),
        input: parameters(graph).map(|(value, _)| graph.value_name(value).to_owned()).collect(),
        output,
        node: nodes,
        doc_string: format!("called {} times in a step{taps}", kind.calls),
        opset_import: opsets([ONNX_DOMAIN.to_owned()]),
        domain: domain(kind),
        value_info,
    })
}

fn node_proto(listing: &Listing, id: NodeId) -> Option<NodeProto> {
    let graph = &listing.fused;
    let node = graph.node(id);
    let name = node.results[0].name.clone();
    let (op_type, attribute, doc_string) = match &node.kind {
        NodeKind::Leaf(Leaf::Weight(template)) => {
            ("weight", vec![attribute("tensor", &Attr::Name(template.as_str().to_owned()))], String::new())
        }
        NodeKind::Leaf(_) => return None,
        NodeKind::Op(op) => {
            let attributes = op.attrs();
            let attributes = attributes.iter().map(|(name, attr)| attribute(name, attr)).collect();
            (op.kind().name(), attributes, sources(listing, id))
        }
    };
    Some(NodeProto {
        input: node.operands.iter().map(|operand| graph.value_name(*operand).to_owned()).collect(),
        output: node.results.iter().map(|result| result.name.clone()).collect(),
        name,
        op_type: op_type.to_owned(),
        attribute,
        doc_string,
        domain: ONNX_DOMAIN.to_owned(),
    })
}

/// The ops of the source that a node stands for, if they are more than one.
fn sources(listing: &Listing, id: NodeId) -> String {
    let origins = listing.origins.get(id.index()).map_or(&[][..], Vec::as_slice);
    let known = origins.iter().filter(|origin| (**origin as usize) < listing.source.len());
    let sources: Vec<String> = known
        .filter_map(|origin| {
            let node = listing.source.node(NodeId(*origin));
            Some(format!("{} {}", node.op()?.kind().name(), node.results[0].name))
        })
        .collect();
    if sources.len() > 1 { format!("stands for {}", sources.join(", ")) } else { String::new() }
}

fn attribute(name: &str, attr: &Attr) -> AttributeProto {
    let new = |r#type| AttributeProto { name: name.to_owned(), r#type, ..AttributeProto::default() };
    match attr {
        Attr::Float(value) => AttributeProto { f: Some(value.0 as f32), ..new(1) },
        Attr::Int(value) => AttributeProto { i: Some(*value), ..new(2) },
        Attr::Bool(value) => AttributeProto { i: Some(i64::from(*value)), ..new(2) },
        Attr::Floats(values) => {
            AttributeProto { floats: values.iter().map(|value| value.0 as f32).collect(), ..new(6) }
        }
        Attr::Name(value) => AttributeProto { s: Some(value.clone().into_bytes()), ..new(3) },
        Attr::Dims(dims) => match dims.iter().map(|dim| dim.as_const()).collect::<Option<Vec<i64>>>() {
            Some(ints) => AttributeProto { ints, ..new(7) },
            None => AttributeProto {
                strings: dims.iter().map(|dim| dim.to_string().into_bytes()).collect(),
                ..new(8)
            },
        },
    }
}

fn value(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dim = |dim: &mscc_ir::Dim| Dimension {
        value: Some(match dim.as_const() {
            Some(size) => DimensionValue::DimValue(size),
            None => DimensionValue::DimParam(dim.to_string()),
        }),
    };
    let shape = TensorShapeProto { dim: ty.shape.iter().map(dim).collect() };
    let tensor = Tensor { elem_type: data_type(ty.dtype), shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

/// ONNX's number for an element type.
fn data_type(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::BF16 => 16,
        DType::F8E4M3 => 17,
        DType::I4 => 22,
    }
}

/// Names taken, each with the last suffix given to it.
type Names = BTreeMap<String, u32>;

/// `name`, or with a suffix that makes it new; it is taken then.
fn fresh(names: &mut Names, name: &str) -> String {
    let Some(mut suffix) = names.get(name).copied() else {
        names.insert(name.to_owned(), 0);
        return name.to_owned();
    };
    let free = loop {
        suffix += 1;
        let free = format!("{name}.{suffix}");
        if !names.contains_key(&free) {
            break free;
        }
    };
    names.insert(name.to_owned(), suffix);
    names.insert(free.clone(), 0);
    free
}

/// The graph of calls in the making.
struct Calls {
    graph: GraphProto,
    names: Names,
    /// The value that each input, cache and state is now, with its type.
    now: BTreeMap<Leaf, (String, TensorType)>,
}

impl Calls {
    fn new(plan: &Plan) -> Calls {
        let mut calls = Calls {
            graph: GraphProto { name: plan.meta.model.clone(), ..GraphProto::default() },
            names: Names::new(),
            now: BTreeMap::new(),
        };
        for input in &plan.inputs {
            let ty = TensorType::new(input.dtype, input.shape.clone());
            calls.input(Leaf::Input(input.name.clone()), &input.name, ty);
        }
        calls
    }

    fn input(&mut self, leaf: Leaf, name: &str, ty: TensorType) -> String {
        let name = fresh(&mut self.names, name);
        self.graph.input.push(value(&name, &ty));
        self.now.insert(leaf, (name.clone(), ty));
        name
    }

    fn graph(mut self, plan: &Plan) -> Result<GraphProto, ReportError> {
        let main = plan.program("main").or(plan.programs.first());
        let Some((program, variant)) = main.and_then(|main| Some((main, main.variants.last()?))) else {
            return Ok(self.graph);
        };
        if variant.calls.len() > MAX_CALLS {
            return Err(ReportError::TooManyCalls(variant.calls.len()));
        }
        for (index, layers) in &variant.calls {
            let Some(function) = variant.functions.get(*index as usize) else { continue };
            let kind = Kind { program, variant, function, calls: 0 };
            self.call(&kind, layers)?;
        }
        for (leaf, (name, ty)) in &self.now {
            if matches!(leaf, Leaf::Cache(_)) {
                self.graph.output.push(value(name, ty));
            }
        }
        Ok(self.graph)
    }

    fn call(&mut self, kind: &Kind<'_>, layers: &std::ops::Range<u32>) -> Result<(), ReportError> {
        let graph = &kind.listing()?.fused;
        let mut input = Vec::new();
        for (value, leaf) in parameters(graph) {
            input.push(match self.now.get(leaf) {
                Some((name, _)) => name.clone(),
                None => self.input(leaf.clone(), graph.value_name(value), graph.ty(value).clone()),
            });
        }
        let mut output = Vec::new();
        for (sink, result) in results(graph) {
            let ty = graph.ty(result);
            let (leaf, name) = match sink {
                Sink::State(name) => (Leaf::State(name.clone()), name.clone()),
                Sink::Cache(cache) => (Leaf::Cache(cache.clone()), cache.to_string()),
                Sink::Output(name) => {
                    let name = fresh(&mut self.names, name);
                    self.graph.output.push(value(&name, ty));
                    output.push(name);
                    continue;
                }
                Sink::Tap(_) => continue,
            };
            let name = fresh(&mut self.names, &name);
            self.graph.value_info.push(value(&name, ty));
            self.now.insert(leaf, (name.clone(), ty.clone()));
            output.push(name);
        }
        let name = match layers.len() {
            1 => format!("{} [{}]", kind.function.name, layers.start),
            _ => format!("{} [{}..{}]", kind.function.name, layers.start, layers.end),
        };
        self.graph.node.push(NodeProto {
            input,
            output,
            name,
            op_type: graph.name.clone(),
            doc_string: format!("one node for {} layers", layers.len()),
            domain: domain(kind),
            ..NodeProto::default()
        });
        Ok(())
    }
}
