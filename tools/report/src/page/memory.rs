//! Memory over a step, as a chart.

use mscc_ir::plan::{Plan, Variant};
use serde::Serialize;

use super::MAX_ROWS;
use crate::arena::{Timeline, timeline};
use crate::clip;
use crate::figures::bytes;

/// The arena of a variant over the launches of a step.
#[derive(Serialize)]
pub struct MemoryView {
    /// Launches along the chart.
    columns: usize,
    /// Functions along the chart: name, launches and calls.
    functions: Vec<(String, usize, u64)>,
    /// Outline of live bytes, in launches and thousandths of the arena.
    outline: String,
    arena: String,
    arena_likely: String,
    peak: String,
    peak_at: String,
    peak_likely: String,
    slots: Vec<SlotView>,
    left_out: usize,
    rows: Vec<(usize, String, String, String)>,
}

/// A place in the arena.
#[derive(Serialize)]
struct SlotView {
    name: String,
    bytes: String,
    spans: Vec<SpanView>,
}

/// A value in it; left edge and width in percent of the chart.
#[derive(Serialize)]
struct SpanView {
    left: String,
    width: String,
    name: String,
    title: String,
}

impl MemoryView {
    /// `None` if there is nothing to show.
    pub fn new(plan: &Plan, variant: &Variant) -> Option<MemoryView> {
        let timeline = timeline(plan, variant)?;
        let columns = timeline.live.len();
        if columns == 0 {
            return None;
        }
        let names = names(variant, &timeline);
        let peak = timeline.live.iter().copied().max().unwrap_or(0);
        let peak_at = timeline.live.iter().position(|live| *live == peak).unwrap_or(0);
        let slots = timeline.slots.iter().enumerate().take(MAX_ROWS).map(|(index, slot)| SlotView {
            name: format!("a{index}"),
            bytes: bytes(Some(slot.bytes)),
            spans: slot
                .spans
                .iter()
                .map(|span| SpanView {
                    left: percent(span.first, columns),
                    width: percent(span.last + 1 - span.first, columns),
                    name: clip(&span.name),
                    title: clip(&format!(
                        "{}: {}, launches {} to {}",
                        span.name,
                        bytes(Some(span.bytes)),
                        span.first + 1,
                        span.last + 1
                    )),
                })
                .collect(),
        });
        let functions = timeline.functions.iter().map(|(index, count)| {
            (clip(&variant.functions[*index].name), *count, crate::figures::calls_of(variant, *index))
        });
        let rows = names.iter().enumerate().take(MAX_ROWS).map(|(at, name)| {
            (at + 1, name.clone(), bytes(Some(timeline.live[at])), bytes(Some(timeline.live_likely[at])))
        });
        Some(MemoryView {
            columns,
            functions: functions.collect(),
            outline: outline(&timeline.live, timeline.arena.max(peak)),
            arena: bytes(Some(timeline.arena)),
            arena_likely: bytes(Some(timeline.arena_likely)),
            peak: bytes(Some(peak)),
            peak_at: names.get(peak_at).cloned().unwrap_or_default(),
            peak_likely: bytes(timeline.live_likely.iter().copied().max()),
            slots: slots.collect(),
            left_out: timeline.slots.len().saturating_sub(MAX_ROWS),
            rows: rows.collect(),
        })
    }
}

/// Function and launch of each column.
fn names(variant: &Variant, timeline: &Timeline) -> Vec<String> {
    let functions = timeline.functions.iter().map(|(index, _)| &variant.functions[*index]);
    let launches = functions.flat_map(|function| {
        function.launches.iter().map(|launch| clip(&format!("@{}: {}", function.name, launch.name)))
    });
    launches.collect()
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.3}", part as f64 * 100.0 / whole as f64)
}

/// Steps over launches, `whole` being 1000 high.
fn outline(live: &[u64], whole: u64) -> String {
    let mut path = "M0 1000".to_owned();
    for (at, bytes) in live.iter().enumerate() {
        let y = 1000.0 - *bytes as f64 * 1000.0 / whole.max(1) as f64;
        path.push_str(&format!("V{y:.0}H{}", at + 1));
    }
    path.push_str("V1000Z");
    path
}
