//! Names of values and which nodes of the function each form stands for.

use std::collections::{BTreeSet, HashMap};

use egg::{Id, Language};

use super::analysis::Classes;
use super::language::ENode;

/// Most names of siblings that a joined name spells out.
const MAX_JOINED: usize = 4;

/// What is remembered of classes and forms beside their equality.
#[derive(Debug, Default)]
pub(super) struct Provenance {
    /// Name of each class by birth.
    names: Vec<String>,
    /// Of each form of an op, by canonical operands.
    forms: HashMap<ENode, Form>,
}

/// Where a form of a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Nodes of the function as given, by index.
    pub origins: BTreeSet<u32>,
    /// The node that it is in the function as given.
    pub original: Option<u32>,
}

impl Provenance {
    /// The name of a class.
    pub fn name(&self, classes: &Classes, id: Id) -> &str {
        self.names.get(classes[id].data.born as usize).map_or("", String::as_str)
    }

    /// Names the class added last, if it was new.
    pub fn name_new(&mut self, classes: &Classes, name: &str) {
        self.names.resize_with(classes.nodes().len(), || name.to_owned());
    }

    /// Remembers a form that stands in the function as node `origin`.
    pub fn record_original(&mut self, classes: &Classes, node: &ENode, name: &str, origin: u32) {
        self.name_new(classes, name);
        let form = self.forms.entry(node.clone()).or_default();
        form.original.get_or_insert(origin);
        form.origins.insert(origin);
    }

    /// Remembers a form made by a rule.
    pub fn record(&mut self, classes: &Classes, node: &ENode, name: String, origins: &BTreeSet<u32>) {
        self.name_new(classes, &name);
        let form = self.forms.entry(canonical(classes, node)).or_default();
        form.origins.extend(origins);
    }

    /// The form's provenance; to be asked when the e-graph is rebuilt and this has followed.
    pub fn form(&self, node: &ENode) -> Option<&Form> {
        self.forms.get(node)
    }

    /// Follows the classes made equal since the last time.
    pub fn rebuild(&mut self, classes: &Classes) {
        for (node, form) in std::mem::take(&mut self.forms) {
            let joined = self.forms.entry(canonical(classes, &node)).or_default();
            joined.origins.extend(form.origins);
            joined.original = joined.original.into_iter().chain(form.original).min();
        }
    }
}

/// The node with the names that its operands' classes have now.
pub(super) fn canonical(classes: &Classes, node: &ENode) -> ENode {
    node.clone().map_children(|id| classes.find(id))
}

/// One name for what takes the place of several: what their dotted paths share, with the differing parts joined.
///
/// `a.q_proj`, `a.k_proj`, `a.v_proj` give `a.q_k_v_proj`.
pub(super) fn join_names(names: &[&str]) -> String {
    let Some(first) = names.first() else { return String::new() };
    let paths: Vec<Vec<&str>> = names.iter().map(|name| name.split('.').collect()).collect();
    let parts = join(
        &paths,
        |middle| {
            let words: Vec<Vec<&str>> = middle.iter().map(|part| part.split('_').collect()).collect();
            join(
                &words,
                |stems| {
                    let mut stems: Vec<&str> = stems.iter().map(String::as_str).collect();
                    stems.dedup();
                    match stems.as_slice() {
                        [first, .., last] if stems.len() > MAX_JOINED => format!("{first}_to_{last}"),
                        stems => stems.join("_"),
                    }
                },
                "_",
            )
        },
        ".",
    );
    if parts.is_empty() { (*first).to_owned() } else { parts }
}

/// What all lists begin and end with, and between them `middle` of what differs.
fn join(lists: &[Vec<&str>], middle: impl Fn(&[String]) -> String, separator: &str) -> String {
    let Some(first) = lists.first() else { return String::new() };
    let shortest = lists.iter().map(Vec::len).min().unwrap_or(0);
    let agree =
        |at: &dyn Fn(&Vec<&str>) -> usize| lists.iter().all(|list| list[at(list)] == first[at(first)]);
    let head = (0..shortest).take_while(|at| agree(&|_| *at)).count();
    let tail = (0..shortest - head).take_while(|at| agree(&|list| list.len() - 1 - at)).count();
    let differing: Vec<String> =
        lists.iter().map(|list| list[head..list.len() - tail].join(separator)).collect();
    let middle = if differing.iter().all(String::is_empty) { String::new() } else { middle(&differing) };
    let parts = first[..head].iter().copied().chain((!middle.is_empty()).then_some(middle.as_str()));
    parts.chain(first[first.len() - tail..].iter().copied()).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::join_names;

    #[test]
    fn joins_what_differs() {
        assert_eq!(join_names(&["a.q_proj", "a.k_proj", "a.v_proj"]), "a.q_k_v_proj");
        assert_eq!(
            join_names(&["a.{i}.mlp.gate_proj.weight", "a.{i}.mlp.up_proj.weight"]),
            "a.{i}.mlp.gate_up_proj.weight"
        );
        assert_eq!(join_names(&["q", "k"]), "q_k");
        assert_eq!(join_names(&["x", "x"]), "x");
        assert_eq!(join_names(&["e0", "e1", "e2", "e3", "e4"]), "e0_to_e4");
        assert_eq!(join_names(&["a.norm", "a.b.add"]), "a.norm_b.add");
    }
}
