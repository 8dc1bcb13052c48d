//! The symbolic memory plan: where in the arena each value lies, for all sizes at once.
//!
//! The arena is a row of slots. A slot's size is an expression over the step's symbols; its offset is the sum of
//! those before it. Values whose lives do not meet share a slot when one's size is provably at most the other's.
//! State that passes between calls has a slot of its own, in which other values may lie while it is dead.

use mscc_ir::plan::ALIGNMENT;
use mscc_ir::{Dim, SymbolTable};

/// Index of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(usize);

/// A buffer that one function needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Its size in bytes.
    pub bytes: Dim,
    /// The launch that writes it.
    pub first: usize,
    /// The last launch that reads it, at least `first`.
    pub last: usize,
}

/// Places buffers of several functions in one arena.
#[derive(Debug)]
pub struct Planner<'a> {
    symbols: &'a SymbolTable,
    /// Bytes behind each value that kernels may touch.
    spare: i64,
    slots: Vec<SlotInfo>,
    function: usize,
}

#[derive(Debug)]
struct SlotInfo {
    bytes: Dim,
    /// Launches during which it is taken, by function.
    busy: Vec<(usize, std::ops::RangeInclusive<usize>)>,
}

impl<'a> Planner<'a> {
    /// A planner without slots. Behind each value there are `spare` bytes that kernels may touch.
    pub fn new(symbols: &'a SymbolTable, spare: i64) -> Self {
        Planner { symbols, spare, slots: Vec::new(), function: 0 }
    }

    /// A slot that holds `bytes` and is taken only where [`Planner::reserve`] says so.
    pub fn state_slot(&mut self, bytes: Dim) -> Slot {
        self.slots.push(SlotInfo { bytes, busy: Vec::new() });
        Slot(self.slots.len() - 1)
    }

    /// From here on, buffers are those of function `index`.
    pub fn start_function(&mut self, index: usize) {
        self.function = index;
    }

    /// Takes a slot from launch `first` to launch `last`.
    pub fn reserve(&mut self, slot: Slot, first: usize, last: usize) {
        self.slots[slot.0].busy.push((self.function, first..=last));
    }

    /// Places the buffers of the current function, the largest first. Gives the slot of each.
    pub fn place(&mut self, buffers: &[Buffer]) -> Vec<Slot> {
        let likely = |buffer: &Buffer| self.symbols.likely(&buffer.bytes).unwrap_or(i64::MAX);
        let mut order: Vec<(i64, usize)> =
            buffers.iter().enumerate().map(|(index, buffer)| (-likely(buffer), index)).collect();
        order.sort_unstable();
        let mut places = vec![Slot(0); buffers.len()];
        for (_, index) in order {
            places[index] = self.place_one(&buffers[index]);
        }
        places
    }

    fn place_one(&mut self, buffer: &Buffer) -> Slot {
        let fits = |slot: &SlotInfo| {
            slot.is_free(self.function, buffer) && self.symbols.prove_le(&buffer.bytes, &slot.bytes)
        };
        // The smallest that fits wastes least; which one is smallest is judged at the likely sizes.
        let size = |slot: &SlotInfo| self.symbols.likely(&slot.bytes).unwrap_or(i64::MAX);
        let best =
            self.slots.iter().enumerate().filter(|(_, slot)| fits(slot)).min_by_key(|(_, slot)| size(slot));
        let chosen = match best {
            Some((index, _)) => Slot(index),
            None => self.state_slot(buffer.bytes.clone()),
        };
        self.reserve(chosen, buffer.first, buffer.last);
        chosen
    }

    /// The offset of each slot in bytes, and the size of the arena.
    pub fn finish(self) -> (Vec<Dim>, Dim) {
        let mut offset = Dim::ZERO;
        let mut offsets = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            offsets.push(offset.clone());
            offset = offset + (slot.bytes.clone() + Dim::constant(self.spare)).round_up(ALIGNMENT);
        }
        (offsets, offset)
    }
}

impl SlotInfo {
    fn is_free(&self, function: usize, buffer: &Buffer) -> bool {
        let meets = |busy: &std::ops::RangeInclusive<usize>| {
            buffer.first <= *busy.end() && *busy.start() <= buffer.last
        };
        !self.busy.iter().any(|(of, busy)| *of == function && meets(busy))
    }
}

impl Slot {
    /// Position among the planner's slots.
    pub fn index(self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mscc_ir::SymbolInfo;
    use proptest::prelude::*;

    fn symbols() -> SymbolTable {
        let mut table = SymbolTable::default();
        table.declare("T", SymbolInfo { min: 1, max: 512, likely: 64 });
        table.declare("L", SymbolInfo { min: 0, max: 512, likely: 8 });
        table
    }

    proptest! {
        /// At random sizes, buffers that live at the same time never overlap, and all lie inside the arena.
        #[test]
        fn live_buffers_never_overlap(
            buffers in prop::collection::vec((0usize..2, 0i64..300, 0i64..300, 0i64..300, 0usize..12, 0usize..6), 0..24),
            t in 1i64..=512,
            l in 0i64..=512,
        ) {
            let symbols = symbols();
            let mut planner = Planner::new(&symbols, 0);
            let state = planner.state_slot(Dim::symbol("T") * Dim::constant(100));
            let mut placed: Vec<(usize, Buffer, Slot)> = Vec::new();
            for function in 0..2 {
                planner.start_function(function);
                planner.reserve(state, 0, 3);
                placed.push((function, Buffer { bytes: Dim::symbol("T") * Dim::constant(100), first: 0, last: 3 }, state));
                let own: Vec<Buffer> = buffers.iter().filter(|buffer| buffer.0 == function).map(|(_, a, b, c, first, len)| Buffer {
                    bytes: Dim::symbol("T") * Dim::constant(*a) + Dim::symbol("L") * Dim::constant(*b) + Dim::constant(*c),
                    first: *first,
                    last: first + len,
                }).collect();
                let slots = planner.place(&own);
                placed.extend(own.into_iter().zip(slots).map(|(buffer, slot)| (function, buffer, slot)));
            }
            let (offsets, arena) = planner.finish();
            let eval = |dim: &Dim| dim.eval(&|symbol| Some(if symbol.name() == "T" { t } else { l })).unwrap();
            let spans: Vec<_> = placed.iter().map(|(function, buffer, slot)| {
                let start = eval(&offsets[slot.index()]);
                (function, buffer, start, start + eval(&buffer.bytes))
            }).collect();
            for (index, (function, buffer, start, end)) in spans.iter().enumerate() {
                prop_assert!(*start % ALIGNMENT == 0 && *end <= eval(&arena));
                for (other_function, other, other_start, other_end) in &spans[index + 1..] {
                    let together = function == other_function && buffer.first <= other.last && other.first <= buffer.last;
                    prop_assert!(!together || end <= other_start || other_end <= start || start == end || other_start == other_end);
                }
            }
        }
    }

    #[test]
    fn kernels_may_touch_what_is_behind_a_value() {
        let symbols = symbols();
        let mut planner = Planner::new(&symbols, 32);
        planner.place(&[33, 32, 1].map(|bytes| Buffer { bytes: Dim::constant(bytes), first: 0, last: 0 }));
        let (offsets, arena) = planner.finish();
        let offsets: Vec<i64> = offsets.iter().filter_map(Dim::as_const).collect();
        assert_eq!((offsets, arena.as_const()), (vec![0, 128, 192], Some(256)));
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let symbols = symbols();
        let mut planner = Planner::new(&symbols, 0);
        let bytes = Dim::symbol("T") * Dim::constant(64);
        let chain: Vec<Buffer> =
            (0..6).map(|at| Buffer { bytes: bytes.clone(), first: at, last: at + 1 }).collect();
        planner.place(&chain);
        assert_eq!(planner.finish().1.to_string(), "128*T");
    }
}
