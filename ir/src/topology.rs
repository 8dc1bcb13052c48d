//! Graphs as petgraph sees them, so that its algorithms run on ours.

use std::fmt::Write;

use petgraph::Direction;
use petgraph::dot::{Config, Dot};
use petgraph::visit::{
    Data, EdgeRef, GraphBase, GraphProp, IntoEdgeReferences, IntoEdges, IntoEdgesDirected, IntoNeighbors,
    IntoNeighborsDirected, IntoNodeIdentifiers, IntoNodeReferences, NodeCompactIndexable, NodeCount,
    NodeIndexable, VisitMap, Visitable,
};

use crate::graph::{Graph, Node, NodeId, Value};

/// A graph with the users of its nodes. `&Topology` has petgraph's visit traits: nodes are [`Node`]s, edges are
/// [`Use`]s and lead from the node that makes a value to the one that reads it.
///
/// A node that reads another twice has two edges from it.
#[derive(Clone, Debug)]
pub struct Topology<'a> {
    graph: &'a Graph,
    uses: Vec<Vec<UseId>>,
}

/// An operand: the node that reads and the operand's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UseId {
    /// The node that reads.
    pub user: NodeId,
    /// Position among its operands.
    pub operand: u32,
}

/// An edge: an operand and the value it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'a> {
    /// Which operand it is.
    pub id: UseId,
    /// The value read.
    pub value: &'a Value,
}

impl Graph {
    /// The graph with its users, for petgraph's algorithms.
    pub fn topology(&self) -> Topology<'_> {
        let mut uses = vec![Vec::new(); self.len()];
        for (user, node) in self.nodes() {
            for (operand, value) in node.operands.iter().enumerate() {
                uses[value.node.index()].push(UseId { user, operand: operand as u32 });
            }
        }
        Topology { graph: self, uses }
    }
}

/// The graph in Graphviz's language: nodes labelled with what they do, their results and sinks, edges with the
/// operand's name.
pub fn to_dot(graph: &Graph) -> String {
    let topology = graph.topology();
    let edge = |_: &Topology<'_>, edge: Use<'_>| {
        let op = graph.node(edge.id.user).op();
        let operand = op.and_then(|op| op.kind().operand(edge.id.operand as usize));
        format!("label = {:?}", operand.map_or("", |operand| operand.name))
    };
    let node =
        |_: &Topology<'_>, (id, node): (NodeId, &Node)| format!("label = {:?}", label(graph, id, node));
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    let dot = Dot::with_attr_getters(&topology, &config, &edge, &node);
    format!("{dot:?}")
}

fn label(graph: &Graph, id: NodeId, node: &Node) -> String {
    let mut text = node.to_string();
    for result in &node.results {
        write!(text, "\n%{}: {}", result.name, result.ty).expect("writing to a string cannot fail");
    }
    for (sink, _) in graph.sinks().iter().filter(|(_, value)| value.node == id) {
        write!(text, "\n-> {sink}").expect("writing to a string cannot fail");
    }
    text
}

impl<'a> Topology<'a> {
    /// The graph.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// The operands that read results of `node`, in order.
    pub fn uses(&self, node: NodeId) -> &[UseId] {
        &self.uses[node.index()]
    }

    fn edge(&self, id: UseId) -> Use<'a> {
        Use { id, value: &self.graph.node(id.user).operands[id.operand as usize] }
    }

    /// The operands of `user`.
    fn operands(&self, user: NodeId) -> impl Iterator<Item = Use<'a>> + use<'a> {
        let operands = self.graph.node(user).operands.iter().enumerate();
        operands.map(move |(operand, value)| Use { id: UseId { user, operand: operand as u32 }, value })
    }
}

impl EdgeRef for Use<'_> {
    type NodeId = NodeId;
    type EdgeId = UseId;
    type Weight = Value;

    fn source(&self) -> NodeId {
        self.value.node
    }

    fn target(&self) -> NodeId {
        self.id.user
    }

    fn weight(&self) -> &Value {
        self.value
    }

    fn id(&self) -> UseId {
        self.id
    }
}

impl GraphBase for Topology<'_> {
    type EdgeId = UseId;
    type NodeId = NodeId;
}

impl GraphProp for Topology<'_> {
    type EdgeType = petgraph::Directed;
}

impl Data for Topology<'_> {
    type NodeWeight = Node;
    type EdgeWeight = Value;
}

impl NodeCount for Topology<'_> {
    fn node_count(&self) -> usize {
        self.graph.len()
    }
}

impl NodeIndexable for Topology<'_> {
    fn node_bound(&self) -> usize {
        self.graph.len()
    }

    fn to_index(&self, node: NodeId) -> usize {
        node.index()
    }

    fn from_index(&self, index: usize) -> NodeId {
        NodeId(u32::try_from(index).expect("an index below `node_bound`, which fits"))
    }
}

impl NodeCompactIndexable for Topology<'_> {}

/// The nodes that a traversal has seen.
#[derive(Clone, Debug, Default)]
pub struct Visited(Vec<bool>);

impl VisitMap<NodeId> for Visited {
    fn visit(&mut self, node: NodeId) -> bool {
        !std::mem::replace(&mut self.0[node.index()], true)
    }

    fn is_visited(&self, node: &NodeId) -> bool {
        self.0[node.index()]
    }

    fn unvisit(&mut self, node: NodeId) -> bool {
        std::mem::replace(&mut self.0[node.index()], false)
    }
}

impl Visitable for Topology<'_> {
    type Map = Visited;

    fn visit_map(&self) -> Visited {
        Visited(vec![false; self.graph.len()])
    }

    fn reset_map(&self, map: &mut Visited) {
        *map = self.visit_map();
    }
}

/// Node ids or edges, however they are found.
type Boxed<'b, T> = Box<dyn Iterator<Item = T> + 'b>;

impl<'b> IntoNeighbors for &'b Topology<'_> {
    type Neighbors = Boxed<'b, NodeId>;

    fn neighbors(self, node: NodeId) -> Self::Neighbors {
        self.neighbors_directed(node, Direction::Outgoing)
    }
}

impl<'b> IntoNeighborsDirected for &'b Topology<'_> {
    type NeighborsDirected = Boxed<'b, NodeId>;

    fn neighbors_directed(self, node: NodeId, direction: Direction) -> Self::NeighborsDirected {
        match direction {
            Direction::Outgoing => Box::new(self.uses(node).iter().map(|id| id.user)),
            Direction::Incoming => Box::new(self.operands(node).map(|edge| edge.value.node)),
        }
    }
}

impl<'a, 'b> IntoEdges for &'b Topology<'a> {
    type Edges = Boxed<'b, Use<'a>>;

    fn edges(self, node: NodeId) -> Self::Edges {
        self.edges_directed(node, Direction::Outgoing)
    }
}

impl<'a, 'b> IntoEdgesDirected for &'b Topology<'a> {
    type EdgesDirected = Boxed<'b, Use<'a>>;

    fn edges_directed(self, node: NodeId, direction: Direction) -> Self::EdgesDirected {
        match direction {
            Direction::Outgoing => Box::new(self.uses(node).iter().map(|id| self.edge(*id))),
            Direction::Incoming => Box::new(self.operands(node)),
        }
    }
}

impl<'a, 'b> IntoEdgeReferences for &'b Topology<'a> {
    type EdgeRef = Use<'a>;
    type EdgeReferences = Boxed<'b, Use<'a>>;

    fn edge_references(self) -> Self::EdgeReferences {
        Box::new(self.graph.nodes().flat_map(|(id, _)| self.operands(id)))
    }
}

impl<'b> IntoNodeIdentifiers for &'b Topology<'_> {
    type NodeIdentifiers = Boxed<'b, NodeId>;

    fn node_identifiers(self) -> Self::NodeIdentifiers {
        Box::new(self.graph.nodes().map(|(id, _)| id))
    }
}

impl<'a, 'b> IntoNodeReferences for &'b Topology<'a> {
    type NodeRef = (NodeId, &'a Node);
    type NodeReferences = Boxed<'b, (NodeId, &'a Node)>;

    fn node_references(self) -> Self::NodeReferences {
        Box::new(self.graph.nodes())
    }
}

#[cfg(test)]
mod tests {
    use petgraph::algo::{dominators, is_cyclic_directed, toposort};
    use petgraph::visit::{Bfs, Reversed};

    use super::*;
    use crate::text::parse_function;

    /// A diamond: both halves of a split meet again.
    const DIAMOND: &str = r#"func @swiglu {
      %x = input x : f32[T, 8]
      %gate, %up = split %x {axis=1, sizes=[4, 4]}
      %active = silu %gate
      %y = mul %active, %up
      %squared = mul %y, %y
      output y = %squared
      tap "mlp \"{i}\"" = %y
    }"#;

    fn node(graph: &Graph, name: &str) -> NodeId {
        graph.by_name(name).unwrap().node
    }

    #[test]
    fn sorts_and_has_no_cycle() {
        let graph = parse_function(DIAMOND).unwrap();
        let topology = graph.topology();
        let order = toposort(&topology, None).unwrap();
        assert_eq!(order.len(), graph.len());
        let place = |id: NodeId| order.iter().position(|other| *other == id).unwrap();
        for edge in topology.edge_references() {
            assert!(place(edge.source()) < place(edge.target()));
        }
        assert!(!is_cyclic_directed(&topology));
        assert_eq!(petgraph::algo::kosaraju_scc(&topology).len(), graph.len());
    }

    #[test]
    fn dominators_cut_where_all_paths_meet() {
        let graph = parse_function(DIAMOND).unwrap();
        let topology = graph.topology();
        let split = node(&graph, "gate");
        let forward = dominators::simple_fast(&topology, node(&graph, "x"));
        assert_eq!(forward.immediate_dominator(node(&graph, "y")), Some(split));
        assert_eq!(forward.immediate_dominator(node(&graph, "active")), Some(split));
        let backward = dominators::simple_fast(Reversed(&topology), node(&graph, "squared"));
        assert_eq!(backward.immediate_dominator(split), Some(node(&graph, "y")));
    }

    #[test]
    fn edges_agree_in_both_directions() {
        let graph = parse_function(DIAMOND).unwrap();
        let topology = graph.topology();
        let mut all: Vec<UseId> = topology.edge_references().map(|edge| edge.id()).collect();
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let ids = topology.node_identifiers();
            let mut seen: Vec<UseId> =
                ids.flat_map(|id| topology.edges_directed(id, direction)).map(|edge| edge.id()).collect();
            seen.sort();
            all.sort();
            assert_eq!(seen, all);
        }
        let squared = node(&graph, "squared");
        assert_eq!(
            topology.neighbors_directed(squared, Direction::Incoming).count(),
            2,
            "one edge an operand"
        );
        let mut reached = 0;
        let mut bfs = Bfs::new(&topology, node(&graph, "active"));
        while bfs.next(&topology).is_some() {
            reached += 1;
        }
        assert_eq!(reached, 3);
    }

    #[test]
    fn dot_names_ops_results_and_operands() {
        let dot = to_dot(&parse_function(DIAMOND).unwrap());
        assert!(dot.starts_with("digraph {"), "{dot}");
        for part in [
            r#"0 [ label = "input x\n%x: f32[T, 8]"]"#,
            r#"split {axis=1, sizes=[4, 4]}\n%gate: f32[T, 4]\n%up: f32[T, 4]"#,
            r#"%y: f32[T, 4]\n-> tap \"mlp"#,
            r#"2 -> 3 [ label = "a"]"#,
            r#"1 -> 3 [ label = "b"]"#,
        ] {
            assert!(dot.contains(part), "{part} is not in\n{dot}");
        }
    }

    #[test]
    fn an_empty_graph_will_do() {
        let graph = Graph::new("empty");
        assert_eq!(toposort(&graph.topology(), None).unwrap(), []);
        assert_eq!(to_dot(&graph), "digraph {\n}\n");
    }
}
