//! What lies in the arena while a step runs.

use std::collections::{BTreeMap, BTreeSet};

use mscc_ir::plan::{ALIGNMENT, Function, Launch, Operand, Place, Plan, Variant};
use mscc_ir::{Dim, SymbolTable};

use crate::figures;

/// The arena of a variant over the launches of a step, each function taken once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The functions in the order in which they are first called: index and number of launches.
    pub functions: Vec<(usize, usize)>,
    /// Live bytes at each launch, at the greatest sizes.
    pub live: Vec<u64>,
    /// The same at likely sizes.
    pub live_likely: Vec<u64>,
    /// What lies where, in order of first use.
    pub slots: Vec<Slot>,
    /// Bytes of the arena at the greatest sizes.
    pub arena: u64,
    /// Bytes of the arena at likely sizes.
    pub arena_likely: u64,
}

/// A place in the arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Most bytes of a value in it, at the greatest sizes.
    pub bytes: u64,
    /// Values that lie there, one after the other.
    pub spans: Vec<Span>,
}

/// A value from the launch that makes it to the last that reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name, or what it is.
    pub name: String,
    /// First launch, counted over all functions.
    pub first: usize,
    /// Last launch.
    pub last: usize,
    /// Bytes at the greatest sizes.
    pub bytes: u64,
    /// Bytes at likely sizes.
    pub bytes_likely: u64,
}

/// Most launches, and most places, that are followed.
const MAX_CELLS: usize = 4000;

/// Follows the arena through a step; `None` if there is too much to look at or sizes are not known.
pub fn timeline(plan: &Plan, variant: &Variant) -> Option<Timeline> {
    let table = figures::symbols(plan);
    let order = call_order(variant);
    let functions: Vec<&Function> = order.iter().map(|index| &variant.functions[*index]).collect();
    if functions.iter().map(|function| function.launches.len()).sum::<usize>() > MAX_CELLS {
        return None;
    }
    let mut slots: Vec<&Dim> = Vec::new();
    let operands = functions.iter().flat_map(|function| &function.launches);
    let operands = operands.flat_map(|launch| launch.operands.iter().chain(&launch.results));
    for operand in operands.filter(|operand| operand.place == Place::Arena) {
        if !slots.contains(&&operand.base_bytes) {
            if slots.len() >= MAX_CELLS / 10 {
                return None;
            }
            slots.push(&operand.base_bytes);
        }
    }
    let traces: Vec<Trace> = functions.iter().map(|function| Trace::new(function, &slots)).collect();
    let live_out = live_out(variant, &order, &traces);
    let carried = carried(&table, &traces, &live_out)?;
    let mut timeline = Timeline {
        slots: vec![Slot::default(); slots.len()],
        arena: figures::greatest(&table, &variant.arena_bytes)?,
        arena_likely: figures::likely(&table, &variant.arena_bytes)?,
        ..Timeline::default()
    };
    let mut start = 0;
    for (at, trace) in traces.iter().enumerate() {
        let count = functions[at].launches.len();
        timeline.functions.push((order[at], count));
        for (slot, events) in &trace.slots {
            let spans = spans(&table, events, live_out[at].contains(slot), count, carried.get(slot))?;
            let moved = spans.into_iter().map(|span| Span {
                first: span.first + start,
                last: span.last + start,
                ..span
            });
            timeline.slots[*slot].spans.extend(moved);
        }
        // State that only passes.
        for slot in live_out[at].iter().filter(|slot| !trace.slots.contains_key(*slot) && count > 0) {
            let Some((bytes, bytes_likely)) = carried.get(slot).copied() else { continue };
            let span =
                Span { name: "state".into(), first: start, last: start + count - 1, bytes, bytes_likely };
            timeline.slots[*slot].spans.push(span);
        }
        start += count;
    }
    (timeline.live, timeline.live_likely) = (vec![0; start], vec![0; start]);
    for slot in &mut timeline.slots {
        for span in &slot.spans {
            slot.bytes = slot.bytes.max(span.bytes);
            for at in span.first..=span.last {
                timeline.live[at] = timeline.live[at].saturating_add(span.bytes);
                timeline.live_likely[at] = timeline.live_likely[at].saturating_add(span.bytes_likely);
            }
        }
    }
    Some(timeline)
}

/// Functions in the order of their first call.
fn call_order(variant: &Variant) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let called = variant.calls.iter().map(|(function, _)| *function as usize);
    called.filter(|index| *index < variant.functions.len() && seen.insert(*index)).collect()
}

/// What a function does to the arena.
struct Trace<'a> {
    /// By slot, in order: the launch and what it does.
    slots: BTreeMap<usize, Vec<(usize, Event<'a>)>>,
}

#[derive(Clone, Copy)]
enum Event<'a> {
    Read,
    Write(&'a str, &'a Operand),
}

impl<'a> Trace<'a> {
    fn new(function: &'a Function, places: &[&Dim]) -> Trace<'a> {
        let mut slots: BTreeMap<usize, Vec<(usize, Event<'a>)>> = BTreeMap::new();
        let slot = |operand: &Operand| {
            let place = places.iter().position(|place| **place == operand.base_bytes);
            place.filter(|_| operand.place == Place::Arena)
        };
        for (at, launch) in function.launches.iter().enumerate() {
            for read in launch.operands.iter().filter_map(slot) {
                slots.entry(read).or_default().push((at, Event::Read));
            }
            for (index, result) in launch.results.iter().enumerate() {
                if let Some(written) = slot(result) {
                    let name = result_name(function, launch, index);
                    slots.entry(written).or_default().push((at, Event::Write(name, result)));
                }
            }
            for tap in function.taps.iter().filter(|tap| tap.after as usize == at) {
                if let Some(read) = slot(&tap.value) {
                    slots.entry(read).or_default().push((at, Event::Read));
                }
            }
        }
        Trace { slots }
    }

    /// Slots whose values at entry it reads.
    fn needs(&self) -> BTreeSet<usize> {
        let reads_first = |events: &Vec<(usize, Event<'_>)>| matches!(events.first(), Some((_, Event::Read)));
        self.slots.iter().filter(|(_, events)| reads_first(events)).map(|(slot, _)| *slot).collect()
    }

    fn last_write(&self, slot: usize) -> Option<&'a Operand> {
        let events = self.slots.get(&slot)?.iter().rev();
        events.into_iter().find_map(|(_, event)| match event {
            Event::Write(_, operand) => Some(*operand),
            Event::Read => None,
        })
    }
}

/// The name of a result, which the graph tells; else that of the launch.
fn result_name<'a>(function: &'a Function, launch: &'a Launch, index: usize) -> &'a str {
    let fused = function.listing.as_ref().map(|listing| &listing.fused);
    let node = fused.and_then(|fused| Some(fused.node(fused.by_name(&launch.name)?.node)));
    let made = node.filter(|node| node.op() == Some(&launch.op));
    made.and_then(|node| node.results.get(index)).map_or(&launch.name, |result| &result.name)
}

/// Of each function, the slots whose values later calls read.
fn live_out(variant: &Variant, order: &[usize], traces: &[Trace<'_>]) -> Vec<BTreeSet<usize>> {
    let position: BTreeMap<usize, usize> =
        order.iter().enumerate().map(|(at, function)| (*function, at)).collect();
    let mut follows: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut last = None;
    for (function, layers) in variant.calls.iter().filter(|(_, layers)| !layers.is_empty()) {
        let Some(at) = position.get(&(*function as usize)).copied() else { continue };
        follows.extend(last.map(|last| (last, at)));
        if layers.len() > 1 {
            follows.insert((at, at));
        }
        last = Some(at);
    }
    let mut live_in: Vec<BTreeSet<usize>> = traces.iter().map(Trace::needs).collect();
    let mut live_out = vec![BTreeSet::new(); traces.len()];
    loop {
        let mut changed = false;
        for (from, to) in follows.iter().rev() {
            for slot in live_in[*to].clone() {
                if live_out[*from].insert(slot) {
                    changed = true;
                    if traces[*from].last_write(slot).is_none() {
                        live_in[*from].insert(slot);
                    }
                }
            }
        }
        if !changed {
            return live_out;
        }
    }
}

/// Bytes of the values that pass between functions, by slot: at the greatest and at likely sizes.
fn carried(
    table: &SymbolTable,
    traces: &[Trace<'_>],
    live_out: &[BTreeSet<usize>],
) -> Option<BTreeMap<usize, (u64, u64)>> {
    let mut carried: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for (trace, live_out) in traces.iter().zip(live_out) {
        for slot in live_out {
            if let Some(operand) = trace.last_write(*slot) {
                let (greatest, likely) = bytes(table, operand)?;
                let known = carried.entry(*slot).or_default();
                *known = (known.0.max(greatest), known.1.max(likely));
            }
        }
    }
    Some(carried)
}

/// Bytes that a value takes, at the greatest and at likely sizes, whole lines.
fn bytes(table: &SymbolTable, operand: &Operand) -> Option<(u64, u64)> {
    let bytes = operand.ty().bytes().round_up(ALIGNMENT);
    Some((figures::greatest(table, &bytes)?, figures::likely(table, &bytes)?))
}

/// The values that lie in a slot while a function of `count` launches runs.
fn spans(
    table: &SymbolTable,
    events: &[(usize, Event<'_>)],
    stays: bool,
    count: usize,
    carried: Option<&(u64, u64)>,
) -> Option<Vec<Span>> {
    let mut spans: Vec<Span> = Vec::new();
    for (at, event) in events {
        match event {
            Event::Read => {
                if spans.is_empty() {
                    let (bytes, bytes_likely) = carried.copied().unwrap_or_default();
                    spans.push(Span { name: "state".into(), first: 0, last: *at, bytes, bytes_likely });
                }
                if let Some(span) = spans.last_mut() {
                    span.last = *at;
                }
            }
            Event::Write(name, operand) => {
                let (bytes, bytes_likely) = bytes(table, operand)?;
                let name = (*name).to_owned();
                spans.push(Span { name, first: *at, last: *at, bytes, bytes_likely });
            }
        }
    }
    if let Some(span) = spans.last_mut().filter(|_| stays) {
        span.last = count.saturating_sub(1);
    }
    Some(spans)
}
