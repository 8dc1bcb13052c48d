//! Finds rules in plain graphs, and says what kept one from matching where it began to.
//!
//! This serves reports and those who write rules. Fusion itself matches in the compiler's e-graph, where forms that
//! other rules made are seen too.

use std::collections::BTreeMap;
use std::fmt;

use mscc_ir::TensorType;
use mscc_ir::attr::Attr;
use mscc_ir::graph::{Graph, Leaf, NodeId, NodeKind, Value};
use mscc_ir::ops::Op;

use crate::given::check_given;
use crate::guards::{Guard, MatchView, Origin, Refusal, check_guard};
use crate::rule::{Arg, AttrTerm, GuardArg, Rule, Shape, Term};

/// A place where a rule matches with all its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first node matched, for siblings that of the first of them.
    pub anchor: NodeId,
    /// What each variable and matched node stands for, one for each sibling where it has a star.
    pub values: BTreeMap<String, Vec<Value>>,
}

/// A place where a rule's first node matched, but not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// The node that matched the rule's first.
    pub anchor: NodeId,
    /// Nodes that had matched when it failed.
    pub matched: usize,
    /// What stood in the way.
    pub reason: Miss,
}

/// What kept a rule from matching.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// An operand is another node.
    #[error("`{value}` is {found}, expected {expected}")]
    Node {
        /// The operand's name in the graph.
        value: String,
        /// The pattern.
        expected: String,
        /// The op or leaf there.
        found: String,
    },
    /// An attribute has another value.
    #[error("`{op}` has {name}={found}, expected {expected}")]
    Attribute {
        /// The op.
        op: &'static str,
        /// The attribute.
        name: String,
        /// The pattern, or the default.
        expected: String,
        /// Its value.
        found: String,
    },
    /// A variable would stand for two values.
    #[error("`?{var}` is `{first}` and `{second}`")]
    TwoValues {
        /// The variable.
        var: String,
        /// One value.
        first: String,
        /// The other.
        second: String,
    },
    /// A condition refused what was matched.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// All matches of `rule` in `graph` and all near misses, one for each first node that does not match.
pub fn find(rule: &Rule, graph: &Graph) -> (Vec<Found>, Vec<NearMiss>) {
    let orders = rule.operand_orders();
    let weight_only = graph.weight_only();
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for (anchor, node) in graph.nodes() {
        if node.op().map(Op::kind) != rule.matches.first().map(|clause| clause.term.op) {
            continue;
        }
        let attempts: Vec<(Partial<'_>, Result<(), Miss>)> = orders
            .iter()
            .map(|order| {
                let mut partial = Partial::new(graph, &weight_only);
                let matched = partial.matches(order, anchor);
                (partial, matched)
            })
            .collect();
        let depth = |(partial, _): &(Partial<'_>, Result<(), Miss>)| partial.matched;
        let complete = attempts.iter().position(|(_, matched)| matched.is_ok());
        let best = complete.or_else(|| {
            let deepest = attempts.iter().map(depth).max()?;
            attempts.iter().position(|attempt| depth(attempt) == deepest)
        });
        match best.and_then(|best| attempts.into_iter().nth(best)) {
            Some((partial, Ok(()))) => found.push((anchor, partial)),
            // A node of which not even the attributes are right is no beginning of a match.
            Some((partial, Err(reason))) if partial.matched > 0 => {
                missed.push(NearMiss { anchor, matched: partial.matched, reason });
            }
            Some(_) | None => {}
        }
    }
    if let Shape::Siblings { shared } = &rule.shape {
        found = join(rule, shared, found);
    }
    let mut matches = Vec::new();
    for (anchor, partial) in found {
        let conditions = check_given(rule, &partial).map(|_| ());
        match rule.guards.iter().fold(conditions, |all, call| all.and_then(|()| check_guard(call, &partial)))
        {
            Ok(()) => matches.push(Found { anchor, values: partial.values }),
            Err(refusal) => {
                missed.push(NearMiss { anchor, matched: partial.matched, reason: refusal.into() })
            }
        }
    }
    missed.sort_by_key(|miss| miss.anchor);
    (matches, missed)
}

/// Siblings that read one value and may be joined, as one match.
fn join<'a>(rule: &Rule, shared: &str, found: Vec<(NodeId, Partial<'a>)>) -> Vec<(NodeId, Partial<'a>)> {
    let star = |arg: &GuardArg| matches!(arg, GuardArg::Star(_));
    let mut groups: Vec<(NodeId, Partial<'a>)> = Vec::new();
    for (anchor, partial) in found {
        let fits = rule.guards.iter().all(|call| {
            let each =
                Guard::from_name(&call.name).is_some_and(|guard| guard.each) && call.args.iter().all(star);
            !each || check_guard(call, &partial).is_ok()
        });
        if !fits {
            continue;
        }
        let agrees = |other: &Partial<'_>| {
            let one = |(var, _): &(&String, &Vec<Value>)| *var == shared || !rule.is_star(var);
            other.attrs == partial.attrs
                && other.values.iter().filter(one).eq(partial.values.iter().filter(one))
        };
        match groups.iter_mut().find(|(_, other)| agrees(other)) {
            None => groups.push((anchor, partial)),
            Some((_, group)) => {
                group.matched += partial.matched;
                for (var, values) in partial.values {
                    if rule.is_star(&var) {
                        group.values.entry(var).or_default().extend(values);
                    }
                }
            }
        }
    }
    groups.retain(|(_, group)| group.matched > 1);
    groups
}

/// What a match has bound so far.
struct Partial<'a> {
    graph: &'a Graph,
    weight_only: &'a [bool],
    values: BTreeMap<String, Vec<Value>>,
    attrs: BTreeMap<String, Option<Attr>>,
    /// Nodes whose op and attributes matched.
    matched: usize,
}

impl<'a> Partial<'a> {
    fn new(graph: &'a Graph, weight_only: &'a [bool]) -> Self {
        Partial { graph, weight_only, values: BTreeMap::new(), attrs: BTreeMap::new(), matched: 0 }
    }

    fn matches(&mut self, rule: &Rule, anchor: NodeId) -> Result<(), Miss> {
        for (index, clause) in rule.matches.iter().enumerate() {
            let root = match self.values.get(&clause.bind) {
                Some(root) => root[0],
                None if index == 0 => Value { node: anchor, index: 0 },
                // The loader sees to it that an earlier clause reads every later one.
                None => continue,
            };
            self.values.insert(clause.bind.clone(), vec![root]);
            self.term(&clause.term, root)?;
        }
        Ok(())
    }

    fn term(&mut self, term: &Term, value: Value) -> Result<(), Miss> {
        let node = self.graph.node(value.node);
        let op = node.op().filter(|op| op.kind() == term.op && node.operands.len() == term.args.len());
        let Some(op) = op else {
            let found = match &node.kind {
                NodeKind::Op(op) => format!("`{}` of {} operands", op.kind().name(), node.operands.len()),
                NodeKind::Leaf(_) => "no node of an op".to_owned(),
            };
            return Err(Miss::Node { value: self.name(value), expected: term.to_string(), found });
        };
        self.attributes(term, op)?;
        self.matched += 1;
        for (arg, operand) in term.args.iter().zip(&node.operands) {
            match arg {
                Arg::Var(var) | Arg::Star(var) => self.bind(var, *operand)?,
                Arg::Term(term) => self.term(term, *operand)?,
                Arg::Output(output) => {
                    let index = output.index.unwrap_or(0);
                    if operand.index != index {
                        let (value, expected) = (self.name(*operand), arg.to_string());
                        let found = format!("result {}", operand.index);
                        return Err(Miss::Node { value, expected, found });
                    }
                    self.bind(&output.name, Value { index: 0, ..*operand })?;
                }
            }
        }
        Ok(())
    }

    fn attributes(&mut self, term: &Term, op: &Op) -> Result<(), Miss> {
        let attrs = op.attrs();
        let miss = |name: &str, expected: &dyn fmt::Display, found: Option<&Attr>| Miss::Attribute {
            op: op.kind().name(),
            name: name.to_owned(),
            expected: expected.to_string(),
            found: found.map_or("its default".to_owned(), Attr::to_string),
        };
        if let Some((name, value)) =
            attrs.iter().find(|(name, _)| term.attrs.iter().all(|(other, _)| other != name))
        {
            return Err(miss(name, &"its default", Some(value)));
        }
        for (name, pattern) in &term.attrs {
            let found = attrs.iter().find(|(other, _)| other == name).map(|(_, attr)| attr);
            let fits = match pattern {
                AttrTerm::Value(value) => {
                    term.op.with_attrs(&with(op, name, value)).is_ok_and(|same| same == *op)
                }
                AttrTerm::Var(var) => {
                    self.attrs.entry(var.clone()).or_insert_with(|| found.cloned()).as_ref() == found
                }
                AttrTerm::Sizes(..) => false,
            };
            if !fits {
                return Err(miss(name, pattern, found));
            }
        }
        Ok(())
    }

    fn bind(&mut self, var: &str, value: Value) -> Result<(), Miss> {
        let bound = self.values.entry(var.to_owned()).or_insert_with(|| vec![value])[0];
        if bound == value {
            return Ok(());
        }
        Err(Miss::TwoValues { var: var.to_owned(), first: self.name(bound), second: self.name(value) })
    }

    fn name(&self, value: Value) -> String {
        self.graph.value_name(value).to_owned()
    }
}

/// The attributes of `op` with `value` for `name`: the op itself if that is what it has, written or by default.
fn with(op: &Op, name: &str, value: &Attr) -> Vec<(String, Attr)> {
    let others = op.attrs().into_iter().filter(|(other, _)| *other != name);
    others.map(|(other, attr)| (other.to_owned(), attr)).chain([(name.to_owned(), value.clone())]).collect()
}

impl MatchView for Partial<'_> {
    fn types(&self, var: &str) -> Vec<&TensorType> {
        self.values.get(var).into_iter().flatten().map(|value| self.graph.ty(*value)).collect()
    }

    fn origins(&self, var: &str) -> Vec<Origin> {
        let origin = |value: &Value| match &self.graph.node(value.node).kind {
            NodeKind::Leaf(Leaf::Weight(_)) => Origin::SourceWeight,
            _ if self.weight_only[value.node.index()] => Origin::Weight,
            _ => Origin::Activation,
        };
        self.values.get(var).into_iter().flatten().map(origin).collect()
    }

    fn attr(&self, var: &str) -> Option<&Attr> {
        self.attrs.get(var)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::builtin;
    use mscc_ir::text::parse_module;

    const LAYER: &str = "
module layer
symbol T in 1..64 likely 8
func @layer {
  %x = state x : bf16[T, 8]
  %r = state r : bf16[T, 8]
  %norm = weight \"norm\" : bf16[8]
  %wq = weight \"q\" : bf16[8, 8]
  %wk = weight \"k\" : bf16[4, 8]
  %wv = weight \"v\" : f32[4, 8]
  %h = add %x, %r
  %y = rms_norm %h, %norm {eps=1e-6}
  %q = matmul %y, %wq {trans_b=true}
  %k = matmul %y, %wk {trans_b=true}
  %lone = rms_norm %x, %norm {eps=1e-6}
  %other = matmul %lone, %wv {trans_b=true}
  %gate = silu %q
  %act = mul %r, %gate
  %plain = mul %q, %r
  state y = %act
}
";

    /// Names of the values matched by a variable, and the near misses.
    fn check(text: &str, name: &str, var: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let module = parse_module(text).unwrap();
        let graph = &module.functions[0];
        let rule = builtin().unwrap().into_iter().find(|rule| rule.name == name).unwrap();
        let (found, missed) = find(&rule, graph);
        let names = |found: &Found| {
            found.values[var].iter().map(|value| graph.value_name(*value).to_owned()).collect()
        };
        (found.iter().map(names).collect(), missed.iter().map(|miss| miss.reason.to_string()).collect())
    }

    #[test]
    fn chains_are_found_and_near_misses_told() {
        let (found, missed) = check(LAYER, "add_rms_norm", "h");
        assert_eq!(found, [["h"]]);
        assert_eq!(missed, ["`x` is no node of an op, expected (add ?x ?r)"]);
    }

    #[test]
    fn operands_match_in_both_orders() {
        let (found, missed) = check(LAYER, "swiglu", "gate");
        assert_eq!(found, [["q"]]);
        assert_eq!(missed, ["`q` is `matmul` of 2 operands, expected (silu ?gate)"]);
    }

    #[test]
    fn siblings_are_grouped_by_what_they_read() {
        let (found, missed) = check(LAYER, "merge_matmul", "w");
        assert_eq!((found, missed), (vec![vec!["wq".to_owned(), "wk".to_owned()]], vec![]));
        let mixed = LAYER.replace("matmul %lone", "matmul %y");
        let (found, missed) = check(&mixed, "merge_matmul", "w");
        assert!(found.is_empty());
        assert_eq!(missed, ["same_dtype(?w*): ?w*[0] is bf16, ?w*[2] is f32"]);
    }
}
