//! From a selection of forms back to a graph.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mscc_ir::verify::{VerifyError, verify};
use mscc_ir::{Graph, Module, NodeId, SymbolTable, Value};

use super::language::Head;
use super::price::{Selection, chosen, order};
use super::space::{Class, Space};

/// The graph that computes what `given` does by the chosen forms, and of each of its nodes the nodes of `given` that it
/// stands for. The error says why it must not be used.
pub(super) fn emit(
    space: &Space,
    selection: &Selection,
    given: &Graph,
    symbols: &SymbolTable,
) -> Result<(Graph, Vec<Vec<NodeId>>), String> {
    let mut emitter = Emitter {
        space,
        selection,
        given,
        graph: Graph::new(&given.name),
        nodes: BTreeMap::new(),
        origins: HashMap::new(),
        reserved: given
            .nodes()
            .flat_map(|(_, node)| node.results.iter().map(|result| result.name.as_str()))
            .collect(),
    };
    for class in order(space, selection).ok_or("a value needs itself")? {
        if space.classes[class].writes && !writes(space, selection, class) {
            return Err(format!("`{}` lost its effect", space.classes[class].name));
        }
    }
    for class in emitter.schedule()? {
        emitter.node(class)?;
    }
    let mut graph = emitter.graph;
    let sinks = &chosen(space, selection, space.root).args;
    for ((sink, old), class) in given.sinks().iter().zip(sinks) {
        let value = emitted(space, selection, &emitter.nodes, *class)?;
        if graph.ty(value) != given.ty(*old) {
            return Err(format!("`{}` changed its type", given.value_name(*old)));
        }
        graph.sink(sink.clone(), value);
    }
    check(&graph, given, symbols)?;
    let graph = graph.leaves_first();
    let origins = graph.nodes().map(|(_, node)| emitter.origins.remove(&node.results[0].name));
    let origins = origins.map(Option::unwrap_or_default).collect();
    Ok((graph, origins))
}

struct Emitter<'a> {
    space: &'a Space,
    selection: &'a Selection,
    given: &'a Graph,
    graph: Graph,
    /// Of each class emitted.
    nodes: BTreeMap<usize, NodeId>,
    /// Nodes of the function as given that each node emitted stands for, by the name of its first result.
    origins: HashMap<String, Vec<NodeId>>,
    /// Names of the function as given, which new values must not take.
    reserved: HashSet<&'a str>,
}

/// The class whose node makes the value of `class`, and which of its results that is.
fn maker(space: &Space, selection: &Selection, class: usize) -> (usize, u32) {
    let node = chosen(space, selection, class);
    match (&node.head, node.args.as_slice()) {
        (Head::Proj(index), [tuple]) => (*tuple, *index),
        _ => (class, 0),
    }
}

fn emitted(
    space: &Space,
    selection: &Selection,
    nodes: &BTreeMap<usize, NodeId>,
    class: usize,
) -> Result<Value, String> {
    let (maker, index) = maker(space, selection, class);
    let node = nodes.get(&maker).ok_or_else(|| format!("`{}` is not made", space.classes[class].name))?;
    Ok(Value { node: *node, index })
}

impl Emitter<'_> {
    /// Classes whose chosen forms become nodes: operands first, of those ready the one that stands for the earliest
    /// node of the function as given, so that an edit elsewhere does not move them.
    fn schedule(&self) -> Result<Vec<usize>, String> {
        let (space, selection) = (self.space, self.selection);
        let needed = order(space, selection).ok_or("a value needs itself")?;
        let is_node =
            |class: &usize| matches!(chosen(space, selection, *class).head, Head::Op(_) | Head::Leaf(_));
        let mut waits_for: BTreeMap<usize, usize> = BTreeMap::new();
        let mut users: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut ready = BTreeSet::new();
        let rank = |class: usize| {
            let origins = &chosen(space, selection, class).from.origins;
            (origins.first().copied().unwrap_or(u32::MAX), class)
        };
        for class in needed.iter().copied().filter(is_node) {
            let args = &chosen(space, selection, class).args;
            let makers: BTreeSet<usize> = args.iter().map(|arg| maker(space, selection, *arg).0).collect();
            if makers.is_empty() {
                ready.insert(rank(class));
            }
            waits_for.insert(class, makers.len());
            for maker in makers {
                users.entry(maker).or_default().push(class);
            }
        }
        let mut scheduled = Vec::with_capacity(waits_for.len());
        while let Some((_, class)) = ready.pop_first() {
            scheduled.push(class);
            for user in users.get(&class).into_iter().flatten() {
                if let Some(count) = waits_for.get_mut(user) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(rank(*user));
                    }
                }
            }
        }
        Ok(scheduled)
    }

    fn node(&mut self, class: usize) -> Result<(), String> {
        let (space, selection) = (self.space, self.selection);
        let node = chosen(space, selection, class);
        let id = match &node.head {
            Head::Leaf(index) => {
                let (leaf, ty, name) = &space.leaves[*index as usize];
                self.graph.leaf(leaf.clone(), name, ty.clone()).node
            }
            Head::Op(op) => {
                let operands = node.args.iter().map(|arg| emitted(space, selection, &self.nodes, *arg));
                let operands: Vec<Value> = operands.collect::<Result<_, _>>()?;
                let names = self.names(class);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let results =
                    self.graph.op((**op).clone(), &operands, &names).map_err(|error| error.to_string())?;
                let id = results.first().ok_or("an op without results")?.node;
                let mut origins: Vec<String> = Vec::new();
                for origin in node.from.origins.iter().flat_map(|index| self.given.origins(NodeId(*index))) {
                    if !origins.contains(origin) {
                        origins.push(origin.clone());
                    }
                }
                self.graph.set_origins(id, origins);
                id
            }
            Head::Proj(_) | Head::Root => return Ok(()),
        };
        let origins = node.from.origins.iter().map(|index| NodeId(*index)).collect();
        self.origins.insert(self.graph.node(id).results[0].name.clone(), origins);
        self.nodes.insert(class, id);
        Ok(())
    }

    /// Names of the results: those of the values that they are, else new ones.
    fn names(&self, class: usize) -> Vec<String> {
        let data = &self.space.classes[class];
        if data.types.len() == 1 {
            return vec![self.name(data)];
        }
        let given = chosen(self.space, self.selection, class).from.original;
        let given = given.map(|node| &self.given.node(NodeId(node)).results);
        let result = |index: u32| {
            let is_chosen = |(_, value, form): &&(u32, usize, u32)| self.selection[*value] == *form;
            let mut takers = data.results.iter().filter(|(nth, ..)| *nth == index).peekable();
            let given = given.and_then(|results| results.get(index as usize));
            match (takers.peek().is_some(), takers.find(is_chosen), given) {
                (_, Some((_, value, _)), _) => self.name(&self.space.classes[*value]),
                (false, None, Some(unused)) => unused.name.clone(),
                // The value is made otherwise, and has its name there.
                _ => self.new_name(&format!("{}.{index}", data.name)),
            }
        };
        (0..data.types.len() as u32).map(result).collect()
    }

    fn name(&self, class: &Class) -> String {
        if class.is_given { class.name.clone() } else { self.new_name(&class.name) }
    }

    /// `name`, or with a suffix: names of the function as given stay with the values that had them.
    fn new_name(&self, name: &str) -> String {
        let taken = |name: &str| self.reserved.contains(name) || self.graph.by_name(name).is_some();
        let mut candidate = name.to_owned();
        let mut suffix = 1u32;
        while taken(&candidate) {
            candidate = format!("{name}_{suffix}");
            suffix += 1;
        }
        candidate
    }
}

/// Whether the chosen form of a class writes memory that outlives the step.
fn writes(space: &Space, selection: &Selection, class: usize) -> bool {
    let (maker, index) = maker(space, selection, class);
    match &chosen(space, selection, maker).head {
        Head::Op(op) => (index as usize) < op.kind().num_written(),
        Head::Leaf(_) | Head::Proj(_) | Head::Root => false,
    }
}

/// Verifies the graph by itself; what is wrong with the given one already does not count.
fn check(graph: &Graph, given: &Graph, symbols: &SymbolTable) -> Result<(), String> {
    let problems = |graph: &Graph| -> Vec<VerifyError> {
        let module = Module { symbols: symbols.clone(), functions: vec![graph.clone()], ..Module::default() };
        verify(&module)
    };
    let known = problems(given);
    let new =
        problems(graph).into_iter().find(|error| !known.iter().any(|known| known.problem == error.problem));
    match new {
        None => Ok(()),
        Some(error) => Err(error.to_string()),
    }
}
