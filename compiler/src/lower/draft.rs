//! Functions between lowering and placement: launches over buffers that have no place yet.

use std::collections::{BTreeMap, HashMap};

use mscc_ir::graph::CacheRef;
use mscc_ir::ops::Op;
use mscc_ir::plan::{Function, Launch, Operand, Place, Tap, WeightParam};
use mscc_ir::view::ViewLayout;
use mscc_ir::{DType, Dim, Template, TensorType};

use crate::memory::{Buffer, Planner, Slot};

/// A lowered function whose buffers have no place yet.
#[derive(Default)]
pub struct Draft {
    /// Name of the function.
    pub name: String,
    /// Launches in order.
    pub launches: Vec<DraftLaunch>,
    /// Device tensors it reads.
    pub weights: Vec<WeightParam>,
    /// Cache tensors it reads and writes.
    pub caches: Vec<CacheRef>,
    /// Its buffers.
    pub buffers: Vec<DraftBuffer>,
    /// For each state that it reads, the last launch that does.
    pub state_reads: BTreeMap<String, usize>,
    /// Values that can be read: name, launch behind which, and where.
    pub taps: Vec<(Template, usize, Location)>,
}

/// Where a value lies while its place in the arena is not yet known.
#[derive(Clone, Debug)]
pub struct Location {
    /// What it is part of.
    pub home: Home,
    /// Element type.
    pub dtype: DType,
    /// Which elements of that.
    pub layout: ViewLayout,
}

impl Location {
    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.layout.shape.clone())
    }
}

/// What a location is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// A buffer of this function in the arena.
    Buffer(usize),
    /// State that earlier calls left, in the arena.
    State(String),
    /// Anything outside the arena.
    Fixed(Place),
}

/// A buffer in the making.
pub struct DraftBuffer {
    /// Size in bytes.
    pub bytes: Dim,
    /// The launch that writes it.
    pub first: usize,
    /// The last launch that reads it.
    pub last: usize,
    /// Where it is wanted in the end, if anywhere.
    pub claim: Option<Claim>,
}

/// Where a buffer is computed so that nobody need move it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// In the slot of the state as which it is left.
    State(String),
    /// In this output of the plan.
    Output(u32),
}

/// A launch whose operands have locations.
pub struct DraftLaunch {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// The op.
    pub op: Op,
    /// What is read.
    pub operands: Vec<Location>,
    /// What is written.
    pub results: Vec<Location>,
    /// Name of the first result.
    pub name: String,
    /// Names of the traced ops it came from.
    pub origins: Vec<String>,
}

/// A lowered function whose buffers have slots.
pub struct Placed {
    draft: Draft,
    buffer_homes: Vec<BufferHome>,
    state_slots: BTreeMap<String, Slot>,
}

impl Draft {
    /// Gives each buffer a slot; state has the slots given.
    pub fn place(self, states: &BTreeMap<String, Slot>, planner: &mut Planner<'_>) -> Placed {
        let end = self.launches.len();
        debug_assert!(
            self.buffers_live_where_they_are_read(),
            "@{}: a buffer is read while it is free",
            self.name
        );
        for (name, slot) in states {
            let claim = Claim::State(name.clone());
            let left = self.buffers.iter().find(|buffer| buffer.claim.as_ref() == Some(&claim));
            match (self.state_reads.get(name), left) {
                (Some(last), Some(buffer)) => {
                    planner.reserve(*slot, 0, *last);
                    planner.reserve(*slot, buffer.first, end);
                }
                (None, Some(buffer)) => planner.reserve(*slot, buffer.first, end),
                // Read here or not, a later call may read it.
                (_, None) => planner.reserve(*slot, 0, end),
            }
        }
        let free: Vec<usize> =
            (0..self.buffers.len()).filter(|index| self.buffers[*index].claim.is_none()).collect();
        let requests: Vec<Buffer> = free
            .iter()
            .map(|index| {
                let draft = &self.buffers[*index];
                Buffer { bytes: draft.bytes.clone(), first: draft.first, last: draft.last }
            })
            .collect();
        let arena: HashMap<usize, Slot> = free.into_iter().zip(planner.place(&requests)).collect();
        let homes = self.buffers.iter().enumerate().map(|(index, buffer)| match &buffer.claim {
            Some(Claim::State(name)) => BufferHome::Slot(states[name]),
            Some(Claim::Output(output)) => BufferHome::Output(*output),
            None => BufferHome::Slot(arena[&index]),
        });
        Placed { buffer_homes: homes.collect(), draft: self, state_slots: states.clone() }
    }
}

impl Draft {
    /// Whether each launch reads and writes buffers within their lives.
    fn buffers_live_where_they_are_read(&self) -> bool {
        self.launches.iter().enumerate().all(|(at, launch)| {
            launch.operands.iter().chain(&launch.results).all(|location| match location.home {
                Home::Buffer(index) => (self.buffers[index].first..=self.buffers[index].last).contains(&at),
                Home::State(_) | Home::Fixed(_) => true,
            })
        })
    }
}

/// Where a buffer lies in the end.
#[derive(Clone, Copy, Debug)]
enum BufferHome {
    Slot(Slot),
    Output(u32),
}

impl Placed {
    /// The function with the slots' offsets put in.
    pub fn finish(self, offsets: &[Dim]) -> Function {
        let slot = |slot: Slot| (Place::Arena, offsets[slot.index()].clone());
        let operand = |location: Location| {
            let (place, base_bytes) = match &location.home {
                Home::Buffer(index) => match self.buffer_homes[*index] {
                    BufferHome::Slot(of) => slot(of),
                    BufferHome::Output(index) => (Place::Output(index), Dim::ZERO),
                },
                Home::State(name) => slot(self.state_slots[name]),
                Home::Fixed(place) => (*place, Dim::ZERO),
            };
            Operand { place, dtype: location.dtype, base_bytes, layout: location.layout }
        };
        let launches = self.draft.launches.into_iter().map(|launch| Launch {
            kernel: launch.kernel.to_owned(),
            op: launch.op,
            operands: launch.operands.into_iter().map(operand).collect(),
            results: launch.results.into_iter().map(operand).collect(),
            name: launch.name,
            origins: launch.origins,
        });
        let launches = launches.collect();
        let taps = self.draft.taps.into_iter();
        let taps = taps.map(|(name, after, value)| Tap { name, after: after as u32, value: operand(value) });
        Function {
            name: self.draft.name,
            launches,
            weights: self.draft.weights,
            caches: self.draft.caches,
            taps: taps.collect(),
            listing: None,
        }
    }
}
