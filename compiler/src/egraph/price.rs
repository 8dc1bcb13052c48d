//! The cost of a whole selection of forms: what is shared counts once.

use mscc_ir::{Symbol, TensorType};

use super::language::Head;
use super::report::Diagnostic;
use super::space::{Node, Space};
use crate::cost::{CostModel, OpCost};

/// A byte of a weight kept on the device counts as the time that moving a 4096th of it takes: enough that a joined
/// weight and its parts are not both kept to save a launch.
const RESIDENT_SHIFT: u32 = 12;

/// The cost of a graph; less is better, fields compared in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price {
    /// Time of one call, picoseconds, with a small part for the weights kept.
    pub ps: u128,
    /// Kernel launches of one call.
    pub launches: u64,
    /// Bytes read and written in one call.
    pub bytes: u128,
    /// Bytes of the weights that the call reads.
    pub resident_bytes: u128,
    /// Ops of any kind.
    pub num_ops: u64,
    /// Ops that no rule made: of two equally good forms the rewritten one is chosen.
    pub num_original: u64,
}

/// An op that the target cannot run: dearer than any graph that runs, so that it is chosen only where there is none.
const NO_KERNEL: OpCost = OpCost { ps: 1 << 60, launches: 1, bytes: 0 };

impl Price {
    /// Whether it has more ops than `other` that the target cannot run.
    pub(super) fn lacks_more_kernels_than(&self, other: &Price) -> bool {
        let lacking = |price: &Price| price.ps / u128::from(NO_KERNEL.ps);
        lacking(self) > lacking(other)
    }
}

/// Which form of each class is chosen.
pub(super) type Selection = Vec<u32>;

/// Prices selections at one variant's sizes.
pub(super) struct Pricer<'a> {
    space: &'a Space,
    /// Of each class's forms.
    costs: Vec<Vec<OpCost>>,
    /// Of each class that depends on weights alone.
    pub resident_bytes: Vec<u64>,
    /// Picoseconds that count for so many bytes of weights kept.
    pub resident_ps_per_byte: (u128, u128),
    /// How many selections may still be priced.
    pub budget: u64,
}

/// Steps of pricing after which the search for better selections ends.
const MAX_STEPS: u64 = 2_000_000_000;

impl<'a> Pricer<'a> {
    /// At these sizes. An op of unknown cost counts as one launch, with a diagnostic.
    pub fn new(
        space: &'a Space,
        model: &CostModel,
        sizes: &dyn Fn(&Symbol) -> Option<i64>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut costs = Vec::with_capacity(space.classes.len());
        let mut resident_bytes = Vec::with_capacity(space.classes.len());
        for class in &space.classes {
            let mut cost = |node: &Node| match &node.head {
                Head::Op(_) if !class.weight_only && !node.runs => NO_KERNEL,
                Head::Op(op) if !class.weight_only => {
                    let types = |class: &usize| space.classes[*class].types.first().cloned();
                    let operands: Vec<TensorType> = node.args.iter().filter_map(types).collect();
                    model.op_cost(op, &operands, &class.types, sizes).unwrap_or_else(|error| {
                        let reason = error.to_string();
                        diagnostics.push(Diagnostic::Cost { value: class.name.clone(), reason });
                        OpCost { ps: model.launch_ps, launches: 1, bytes: 0 }
                    })
                }
                Head::Op(_) | Head::Leaf(_) | Head::Proj(_) | Head::Root => OpCost::default(),
            };
            costs.push(class.forms.iter().map(&mut cost).collect());
            let bytes = class.types.iter().filter_map(|ty| ty.bytes().eval(sizes).ok());
            resident_bytes.push(bytes.filter_map(|bytes| u64::try_from(bytes).ok()).sum());
        }
        let per_byte = (model.moving_ps(1 << 30), 30 + RESIDENT_SHIFT);
        let budget = MAX_STEPS / (space.classes.len() as u64 + 1);
        Pricer { space, costs, resident_bytes, resident_ps_per_byte: (per_byte.0, 1 << per_byte.1), budget }
    }

    /// Cost of a form by itself.
    pub fn own(&self, class: usize, form: u32) -> OpCost {
        self.costs[class][form as usize]
    }

    /// Cost of all that the root needs; `None` if a value would need itself.
    pub fn price(&self, selection: &Selection) -> Option<Price> {
        let mut price = Price::default();
        let mut resident = vec![false; selection.len()];
        for class in order(self.space, selection)? {
            let (weight_only, node) =
                (self.space.classes[class].weight_only, chosen(self.space, selection, class));
            let own = self.own(class, selection[class]);
            price.ps += u128::from(own.ps);
            price.launches += u64::from(own.launches);
            price.bytes += u128::from(own.bytes);
            if matches!(node.head, Head::Op(_)) {
                price.num_ops += 1;
                price.num_original += u64::from(node.from.original.is_some());
            }
            let weights =
                node.args.iter().filter(|arg| !weight_only && self.space.classes[**arg].weight_only);
            for arg in weights {
                if !std::mem::replace(&mut resident[*arg], true) {
                    price.resident_bytes += u128::from(self.resident_bytes[*arg]);
                }
            }
        }
        let (ps, per) = self.resident_ps_per_byte;
        price.ps += price.resident_bytes.saturating_mul(ps) / per;
        Some(price)
    }
}

/// The chosen form of a class.
pub(super) fn chosen<'a>(space: &'a Space, selection: &Selection, class: usize) -> &'a Node {
    &space.classes[class].forms[selection[class] as usize]
}

/// Of each class, whether the root needs it.
pub(super) fn needed(space: &Space, selection: &Selection) -> Vec<bool> {
    let mut needed = vec![false; selection.len()];
    order(space, selection).into_iter().flatten().for_each(|class| needed[class] = true);
    needed
}

/// The classes that the root needs, operands before users; `None` if one would need itself.
pub(super) fn order(space: &Space, selection: &Selection) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        New,
        Open,
        Done,
    }
    let mut visits = vec![Visit::New; selection.len()];
    let mut order = Vec::with_capacity(selection.len());
    let mut stack = vec![(space.root, 0)];
    visits[space.root] = Visit::Open;
    while let Some((class, next)) = stack.last_mut() {
        let args = &chosen(space, selection, *class).args;
        match args.get(*next) {
            None => {
                visits[*class] = Visit::Done;
                order.push(*class);
                stack.pop();
            }
            Some(arg) => {
                *next += 1;
                match visits[*arg] {
                    Visit::Done => {}
                    Visit::Open => return None,
                    Visit::New => {
                        visits[*arg] = Visit::Open;
                        stack.push((*arg, 0));
                    }
                }
            }
        }
    }
    Some(order)
}
