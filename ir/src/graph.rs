//! Graphs: arenas of nodes in SSA form.

use std::collections::HashMap;
use std::fmt;

use smallvec::SmallVec;

use crate::TensorType;
use crate::ops::{Op, TypeError};
use crate::template::Template;

/// A node of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    /// Position in the graph's arena.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One result of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// The node that makes it.
    pub node: NodeId,
    /// Which of its results it is.
    pub index: u32,
}

/// Where a value comes from that no op of the graph makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leaf {
    /// An input of the step, such as `token_ids`.
    Input(String),
    /// A value that an earlier call left under this name.
    State(String),
    /// The paged cache of the layer called for.
    Cache(CacheRef),
    /// A tensor of the checkpoint.
    Weight(Template),
}

/// Where a value goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sink {
    /// To later calls, under this name.
    State(String),
    /// Into the paged cache of the layer called for.
    Cache(CacheRef),
    /// Out of the step, under this name.
    Output(String),
    /// To those who ask for it: readable under this name while a step runs.
    Tap(Template),
}

/// One tensor of a cache group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct CacheRef {
    /// The group.
    pub group: String,
    /// The tensor in the group.
    pub tensor: String,
}

impl fmt::Display for CacheRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.tensor)
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Input(name) => write!(f, "input {name}"),
            Leaf::State(name) => write!(f, "state {name}"),
            Leaf::Cache(cache) => write!(f, "cache {cache}"),
            Leaf::Weight(template) => write!(f, "weight {:?}", template.as_str()),
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sink::State(name) => write!(f, "state {name}"),
            Sink::Cache(cache) => write!(f, "cache {cache}"),
            Sink::Output(name) => write!(f, "output {name}"),
            Sink::Tap(template) => write!(f, "tap {:?}", template.as_str()),
        }
    }
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Brings a value in.
    Leaf(Leaf),
    /// Computes.
    Op(Op),
}

/// A result's name and type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResultInfo {
    /// Unique in the graph; the path of the module that made it, in traces.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// A node: what it does, to what, with which results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// Values of earlier nodes.
    pub operands: SmallVec<[Value; 4]>,
    /// At least one.
    pub results: SmallVec<[ResultInfo; 1]>,
}

impl Node {
    /// Its op, if it is none that brings a value in.
    pub fn op(&self) -> Option<&Op> {
        match &self.kind {
            NodeKind::Op(op) => Some(op),
            NodeKind::Leaf(_) => None,
        }
    }
}

/// What it does, without operands: `rms_norm {eps=1e-6}`, `input token_ids`.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::Leaf(leaf) => write!(f, "{leaf}"),
            NodeKind::Op(op) => {
                f.write_str(op.kind().name())?;
                write_attrs(f, op)
            }
        }
    }
}

/// ` {name=value, ..}`; nothing if there are no attributes.
pub(crate) fn write_attrs(f: &mut impl fmt::Write, op: &Op) -> fmt::Result {
    let attrs: Vec<String> = op.attrs().iter().map(|(name, attr)| format!("{name}={attr}")).collect();
    if attrs.is_empty() { Ok(()) } else { write!(f, " {{{}}}", attrs.join(", ")) }
}

/// A function of the IR: nodes in an order in which operands come first, and where results go.
///
/// Equality compares structure, names and types, not provenance.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name of the function.
    pub name: String,
    nodes: Vec<Node>,
    sinks: Vec<(Sink, Value)>,
    names: HashMap<String, Value>,
    origins: Vec<Vec<String>>,
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.nodes == other.nodes && self.sinks == other.sinks
    }
}

impl Eq for Graph {}

impl Graph {
    /// An empty function.
    pub fn new(name: &str) -> Self {
        Graph { name: name.to_owned(), ..Graph::default() }
    }

    /// Brings a value in. The name is made unique by a suffix where need be.
    pub fn leaf(&mut self, leaf: Leaf, name: &str, ty: TensorType) -> Value {
        let id = self.push(NodeKind::Leaf(leaf), SmallVec::new(), vec![(name, ty)]);
        Value { node: id, index: 0 }
    }

    /// Adds an op; its results take `names`, or `name.K` of the last name where there are too few. The operands must
    /// be values of this graph.
    pub fn op(
        &mut self,
        op: impl Into<Op>,
        operands: &[Value],
        names: &[&str],
    ) -> Result<SmallVec<[Value; 2]>, TypeError> {
        let op = op.into();
        let types: Vec<TensorType> = operands.iter().map(|value| self.ty(*value).clone()).collect();
        let results = op.infer(&types)?;
        let count = results.len();
        let base = names.last().copied().unwrap_or(op.kind().name());
        let extra: Vec<String> = (names.len()..count).map(|index| format!("{base}.{index}")).collect();
        let all = names.iter().copied().chain(extra.iter().map(String::as_str));
        let named = all.zip(results).collect();
        let id = self.push(NodeKind::Op(op), SmallVec::from_slice(operands), named);
        Ok((0..count as u32).map(|index| Value { node: id, index }).collect())
    }

    /// Adds an op with one result, named `name`.
    pub fn op1(&mut self, op: impl Into<Op>, operands: &[Value], name: &str) -> Result<Value, TypeError> {
        Ok(self.op(op, operands, &[name])?[0])
    }

    fn push(
        &mut self,
        kind: NodeKind,
        operands: SmallVec<[Value; 4]>,
        results: Vec<(&str, TensorType)>,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a graph of 2^32 nodes does not fit memory"));
        let mut infos = SmallVec::with_capacity(results.len());
        for (index, (name, ty)) in results.into_iter().enumerate() {
            let name = self.unique_name(name);
            self.names.insert(name.clone(), Value { node: id, index: index as u32 });
            infos.push(ResultInfo { name, ty });
        }
        let origin = match kind {
            NodeKind::Op(_) => infos.iter().take(1).map(|info: &ResultInfo| info.name.clone()).collect(),
            NodeKind::Leaf(_) => Vec::new(),
        };
        self.origins.push(origin);
        self.nodes.push(Node { kind, operands, results: infos });
        id
    }

    /// `name`, or with the least suffix `_K` that makes it new.
    pub fn unique_name(&self, name: &str) -> String {
        if !self.names.contains_key(name) {
            return name.to_owned();
        }
        let free = (1u32..).map(|k| format!("{name}_{k}")).find(|name| !self.names.contains_key(name));
        free.expect("fewer names than numbers")
    }

    /// Sends a value somewhere.
    pub fn sink(&mut self, sink: Sink, value: Value) {
        self.sinks.push((sink, value));
    }

    /// Where values go, in order.
    pub fn sinks(&self) -> &[(Sink, Value)] {
        &self.sinks
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node to break, for tests of what must be noticed.
    #[cfg(test)]
    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// All nodes, operands before users.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.info(value).ty
    }

    /// The name of a value.
    pub fn value_name(&self, value: Value) -> &str {
        &self.info(value).name
    }

    fn info(&self, value: Value) -> &ResultInfo {
        &self.node(value.node).results[value.index as usize]
    }

    /// The value of this name.
    pub fn by_name(&self, name: &str) -> Option<Value> {
        self.names.get(name).copied()
    }

    /// Names of the traced ops that this node stands for.
    pub fn origins(&self, id: NodeId) -> &[String] {
        &self.origins[id.index()]
    }

    /// Says which traced ops this node stands for.
    pub fn set_origins(&mut self, id: NodeId, origins: Vec<String>) {
        self.origins[id.index()] = origins;
    }

    /// All leaves that are of no op.
    pub fn leaves(&self) -> impl Iterator<Item = (Value, &Leaf)> {
        self.nodes().filter_map(|(node, data)| match &data.kind {
            NodeKind::Leaf(leaf) => Some((Value { node, index: 0 }, leaf)),
            NodeKind::Op(_) => None,
        })
    }

    /// The same function with what brings values in before what computes: inputs, states, caches, weights, each in
    /// the order of their first use.
    pub fn leaves_first(&self) -> Graph {
        let uses = self.nodes.iter().flat_map(|node| &node.operands).chain(self.sinks.iter().map(|(_, v)| v));
        let mut first_use = vec![usize::MAX; self.len()];
        for (at, value) in uses.enumerate() {
            let first = &mut first_use[value.node.index()];
            *first = at.min(*first);
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        // The sort is stable: ops, and leaves that nothing uses, stay in order.
        order.sort_by_key(|index| match &self.nodes[*index].kind {
            NodeKind::Leaf(Leaf::Input(_)) => (0, first_use[*index]),
            NodeKind::Leaf(Leaf::State(_)) => (1, first_use[*index]),
            NodeKind::Leaf(Leaf::Cache(_)) => (2, first_use[*index]),
            NodeKind::Leaf(Leaf::Weight(_)) => (3, first_use[*index]),
            NodeKind::Op(_) => (4, 0),
        });
        let mut new_ids = vec![NodeId(0); self.len()];
        for (new, old) in order.iter().enumerate() {
            new_ids[*old] = NodeId(new as u32);
        }
        let moved = |value: &Value| Value { node: new_ids[value.node.index()], index: value.index };
        let node = |index: &usize| {
            let node = &self.nodes[*index];
            Node { operands: node.operands.iter().map(moved).collect(), ..node.clone() }
        };
        Graph {
            name: self.name.clone(),
            nodes: order.iter().map(node).collect(),
            sinks: self.sinks.iter().map(|(sink, value)| (sink.clone(), moved(value))).collect(),
            names: self.names.iter().map(|(name, value)| (name.clone(), moved(value))).collect(),
            origins: order.iter().map(|index| self.origins[*index].clone()).collect(),
        }
    }

    /// For each node, the nodes that use any of its results, in order, each once.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); self.len()];
        for (id, node) in self.nodes() {
            for operand in &node.operands {
                let list = &mut users[operand.node.index()];
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        users
    }

    /// For each node, whether its value depends on weights alone.
    pub fn weight_only(&self) -> Vec<bool> {
        let mut only = vec![false; self.len()];
        for (id, node) in self.nodes() {
            only[id.index()] = match &node.kind {
                NodeKind::Leaf(leaf) => matches!(leaf, Leaf::Weight(_)),
                NodeKind::Op(_) => node.operands.iter().all(|operand| only[operand.node.index()]),
            };
        }
        only
    }
}

/// Functions are written as text, whose parser checks all of what it reads.
impl serde::Serialize for Graph {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::text::print_function(self))
    }
}

impl<'de> serde::Deserialize<'de> for Graph {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::text::parse_function(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use crate::text::{parse_function, print_function};

    #[test]
    fn leaves_come_first_in_order_of_use() {
        let graph = parse_function(
            r#"func @f {
                weight %unused: f32[T]
                %b = weight "b" : f32[T]
                %a = weight "a" : f32[T]
                %x = state x : f32[T]
                %ab = mul %a, %b
                %y = state y : f32[T]
                %z = input z : f32[T]
                %sum = add %ab, %y
                %out = add %sum, %x
                %w = cache full.w : f32[T]
                %v = cache full.v : f32[T]
                output out = %out
                cache full.v = %v
                output z = %z
            }"#,
        )
        .unwrap();
        let sorted = graph.leaves_first();
        assert_eq!(
            print_function(&sorted),
            r#"func @f {
  input %z: f32[T]
  state %y: f32[T], %x: f32[T]
  cache %v = full.v: f32[T], %w = full.w: f32[T]
  weight %a: f32[T], %b: f32[T], %unused: f32[T]
  %ab = mul %a, %b : f32[T]
  %sum = add %ab, %y : f32[T]
  %out = add %sum, %x : f32[T]
  output out = %out
  cache full.v = %v
  output z = %z
}
"#
        );
        let sum = sorted.by_name("sum").unwrap();
        assert_eq!(sorted.value_name(sum), "sum");
        assert_eq!(sorted.origins(sum.node), ["sum"]);
        assert_eq!(sorted.leaves_first(), sorted);
    }
}
