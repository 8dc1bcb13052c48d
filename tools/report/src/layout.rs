//! Layered drawings of graphs: who reads a value stands below who makes it.
//!
//! The steps are those of Sugiyama, Tagawa and Toda (1981): layers by longest path, an order within each by barycentres
//! of neighbours, places that pull neighbours above each other. An edge that passes layers is led between their nodes.

use std::collections::BTreeMap;

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// Width and height of each node, in pixels.
    pub sizes: Vec<(f64, f64)>,
    /// From and to, the first always being the smaller.
    pub edges: Vec<(usize, usize)>,
}

/// Where everything lies, in pixels from the upper left corner.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Upper left corner of each node.
    pub corners: Vec<(f64, f64)>,
    /// Of each edge, the points through which it passes, from the lower side of a node to the upper side of another.
    pub routes: Vec<Vec<(f64, f64)>>,
    /// Width of the whole.
    pub width: f64,
    /// Height of the whole.
    pub height: f64,
}

/// Most nodes that are laid out, with those that lead edges past layers.
const MAX_CELLS: usize = 1500;
/// Most edges.
const MAX_EDGES: usize = 4 * MAX_CELLS;
/// Distance of neighbours in a layer.
const GAP_X: f64 = 18.0;
/// Distance of layers.
const GAP_Y: f64 = 34.0;
/// Width that an edge takes where it passes a layer.
const LANE: f64 = 10.0;
/// How often orders and places are improved, down and up.
const SWEEPS: usize = 12;

/// Lays a graph out; `None` if it is too large to be looked at.
pub fn lay_out(drawing: &Drawing) -> Option<Layout> {
    if drawing.sizes.len() > MAX_CELLS || drawing.edges.len() > MAX_EDGES {
        return None;
    }
    let mut grid = Grid::new(drawing)?;
    grid.order();
    let centres = grid.centres();
    Some(grid.finish(drawing, &centres))
}

/// Nodes and the lanes of edges that pass, in layers.
struct Grid {
    /// Width of each cell; nodes first, lanes behind them.
    widths: Vec<f64>,
    /// Cells of each layer, from left to right.
    layers: Vec<Vec<usize>>,
    /// Neighbours in the layer above.
    above: Vec<Vec<usize>>,
    /// Neighbours in the layer below.
    below: Vec<Vec<usize>>,
    /// Layer of each cell.
    layer_of: Vec<usize>,
    /// The lane in which the edges of a node pass a layer: one for all of them.
    lanes: BTreeMap<(usize, usize), usize>,
}

impl Grid {
    fn new(drawing: &Drawing) -> Option<Grid> {
        let layer_of = layers(drawing);
        let count = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut grid = Grid {
            widths: drawing.sizes.iter().map(|(width, _)| *width).collect(),
            layers: vec![Vec::new(); count],
            above: vec![Vec::new(); drawing.sizes.len()],
            below: vec![Vec::new(); drawing.sizes.len()],
            layer_of,
            lanes: BTreeMap::new(),
        };
        for node in 0..drawing.sizes.len() {
            grid.layers[grid.layer_of[node]].push(node);
        }
        for (from, to) in &drawing.edges {
            let mut last = *from;
            for layer in grid.layer_of[*from] + 1..grid.layer_of[*to] {
                last = match grid.lanes.get(&(*from, layer)) {
                    Some(lane) => *lane,
                    None => grid.lane(*from, last, layer)?,
                };
            }
            grid.connect(last, *to);
        }
        Some(grid)
    }

    fn lane(&mut self, from: usize, last: usize, layer: usize) -> Option<usize> {
        let lane = self.widths.len();
        if lane >= MAX_CELLS {
            return None;
        }
        self.widths.push(LANE);
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.layer_of.push(layer);
        self.layers[layer].push(lane);
        self.lanes.insert((from, layer), lane);
        self.connect(last, lane);
        Some(lane)
    }

    fn connect(&mut self, upper: usize, lower: usize) {
        if !self.below[upper].contains(&lower) {
            self.below[upper].push(lower);
            self.above[lower].push(upper);
        }
    }

    /// Sorts layers by the mean place of neighbours, and keeps the orders with the fewest crossings.
    fn order(&mut self) {
        let (mut best, mut fewest) = (self.layers.clone(), self.crossings());
        for sweep in 0..SWEEPS {
            let count = self.layers.len();
            for step in 1..count {
                let (layer, neighbours) = match sweep % 2 {
                    0 => (step, &self.above),
                    _ => (count - 1 - step, &self.below),
                };
                let places = self.places();
                let mut cells = std::mem::take(&mut self.layers[layer]);
                let key = |cell: &usize| {
                    let near = &neighbours[*cell];
                    match near.len() {
                        0 => places[*cell] as f64,
                        many => near.iter().map(|near| places[*near] as f64).sum::<f64>() / many as f64,
                    }
                };
                cells.sort_by(|a, b| key(a).total_cmp(&key(b)));
                self.layers[layer] = cells;
            }
            let crossings = self.crossings();
            if crossings < fewest {
                (best, fewest) = (self.layers.clone(), crossings);
            }
        }
        self.layers = best;
    }

    /// Place of each cell in its layer.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.widths.len()];
        for layer in &self.layers {
            layer.iter().enumerate().for_each(|(place, cell)| places[*cell] = place);
        }
        places
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let mut sum = 0;
        for layer in &self.layers {
            let mut ends: Vec<usize> = Vec::new();
            for cell in layer {
                let mut lower: Vec<usize> = self.below[*cell].iter().map(|lower| places[*lower]).collect();
                lower.sort_unstable();
                sum += lower
                    .iter()
                    .map(|end| ends.len() - ends.partition_point(|other| other <= end))
                    .sum::<usize>();
                ends.extend(lower);
                ends.sort_unstable();
            }
        }
        sum
    }

    /// Horizontal centres of all cells: as near to those of their neighbours as the order allows.
    fn centres(&self) -> Vec<f64> {
        let mut centres = vec![0.0; self.widths.len()];
        for layer in &self.layers {
            let mut left = 0.0;
            for cell in layer {
                centres[*cell] = left + self.widths[*cell] / 2.0;
                left += self.widths[*cell] + GAP_X;
            }
        }
        for sweep in 0..2 * SWEEPS {
            for step in 0..self.layers.len() {
                let layer = if sweep % 2 == 0 { step } else { self.layers.len() - 1 - step };
                self.settle(layer, sweep, &mut centres);
            }
        }
        let left =
            (0..centres.len()).map(|cell| centres[cell] - self.widths[cell] / 2.0).fold(f64::MAX, f64::min);
        centres.iter().map(|centre| centre - left).collect()
    }

    /// Moves the cells of a layer to where their neighbours want them, apart from each other: least squares under the
    /// order, by pooling neighbours that would overlap.
    fn settle(&self, layer: usize, sweep: usize, centres: &mut [f64]) {
        let cells = &self.layers[layer];
        let mut shift = 0.0;
        let mut shifts = Vec::with_capacity(cells.len());
        // Pools of cells that move together: sum of wishes, sum of weights, number.
        let mut pools: Vec<(f64, f64, usize)> = Vec::new();
        for (place, cell) in cells.iter().enumerate() {
            if let Some(left) = place.checked_sub(1).map(|left| cells[left]) {
                shift += (self.widths[left] + self.widths[*cell]) / 2.0 + GAP_X;
            }
            shifts.push(shift);
            let (near, far) = match sweep % 2 {
                0 => (&self.above[*cell], &self.below[*cell]),
                _ => (&self.below[*cell], &self.above[*cell]),
            };
            let wanted = if near.is_empty() { far.iter() } else { near.iter() };
            let count = wanted.len();
            let wish = match count {
                0 => centres[*cell],
                _ => wanted.map(|cell| centres[*cell]).sum::<f64>() / count as f64,
            };
            // A lane that bends is uglier than a node beside its neighbour.
            let weight = if self.widths[*cell] == LANE { 4.0 } else { 1.0 };
            pools.push(((wish - shift) * weight, weight, 1));
            while let [.., (a, wa, na), (b, wb, nb)] = pools.as_slice() {
                if a / wa <= b / wb {
                    break;
                }
                let joined = (a + b, wa + wb, na + nb);
                pools.truncate(pools.len() - 2);
                pools.push(joined);
            }
        }
        let mut at = 0;
        for (sum, weight, count) in pools {
            for _ in 0..count {
                centres[cells[at]] = sum / weight + shifts[at];
                at += 1;
            }
        }
    }

    fn finish(&self, drawing: &Drawing, centres: &[f64]) -> Layout {
        let mut tops = Vec::with_capacity(self.layers.len());
        let mut heights = Vec::with_capacity(self.layers.len());
        let mut y = 0.0;
        for layer in &self.layers {
            let nodes = layer.iter().filter_map(|cell| drawing.sizes.get(*cell));
            let height = nodes.map(|(_, height)| *height).fold(0.0, f64::max);
            tops.push(y);
            heights.push(height);
            y += height + GAP_Y;
        }
        let top = |node: usize| {
            let layer = self.layer_of[node];
            tops[layer] + (heights[layer] - drawing.sizes[node].1) / 2.0
        };
        let corners: Vec<(f64, f64)> = (0..drawing.sizes.len())
            .map(|node| ((centres[node] - self.widths[node] / 2.0).round(), top(node).round()))
            .collect();
        let arrivals = self.arrivals(drawing, centres);
        let route = |(edge, (from, to)): (usize, &(usize, usize))| {
            let mut points = vec![(centres[*from], top(*from) + drawing.sizes[*from].1)];
            for layer in self.layer_of[*from] + 1..self.layer_of[*to] {
                let x = centres[self.lanes[&(*from, layer)]];
                points.extend([(x, tops[layer]), (x, tops[layer] + heights[layer])]);
            }
            points.push((arrivals[edge], top(*to)));
            points.into_iter().map(|(x, y)| (x.round(), y.round())).collect()
        };
        Layout {
            routes: drawing.edges.iter().enumerate().map(route).collect(),
            width: (0..centres.len()).map(|cell| centres[cell] + self.widths[cell] / 2.0).fold(0.0, f64::max),
            height: (y - GAP_Y).max(0.0),
            corners,
        }
    }

    /// Where along the upper side of its node each edge arrives: side by side, in the order in which they come.
    fn arrivals(&self, drawing: &Drawing, centres: &[f64]) -> Vec<f64> {
        let mut of_node: BTreeMap<usize, Vec<(f64, usize)>> = BTreeMap::new();
        for (edge, (from, to)) in drawing.edges.iter().enumerate() {
            let above = self.layer_of[*to] - 1;
            let last = self.lanes.get(&(*from, above)).copied().unwrap_or(*from);
            of_node.entry(*to).or_default().push((centres[last], edge));
        }
        let mut arrivals = vec![0.0; drawing.edges.len()];
        for (node, mut edges) in of_node {
            edges.sort_by(|a, b| a.0.total_cmp(&b.0));
            let spread = drawing.sizes[node].0 * 0.7;
            let count = edges.len() as f64;
            for (place, (_, edge)) in edges.into_iter().enumerate() {
                arrivals[edge] = centres[node] + spread * ((place as f64 + 0.5) / count - 0.5);
            }
        }
        arrivals
    }
}

/// The layer of each node: below all that it reads; what reads nothing, right above what reads it first.
fn layers(drawing: &Drawing) -> Vec<usize> {
    let nodes = drawing.sizes.len();
    let mut edges = drawing.edges.clone();
    edges.sort_unstable();
    let (mut reads, mut is_read) = (vec![false; nodes], vec![false; nodes]);
    for (from, to) in &edges {
        (reads[*to], is_read[*from]) = (true, true);
    }
    let mut layer_of = vec![0; nodes];
    for (from, to) in &edges {
        layer_of[*to] = layer_of[*to].max(layer_of[*from] + 1);
    }
    // Those that nobody reads hang below others and pull nobody up.
    let mut first_user = vec![usize::MAX; nodes];
    for (from, to) in edges.iter().filter(|(_, to)| is_read[*to]) {
        first_user[*from] = first_user[*from].min(layer_of[*to]);
    }
    for node in (0..nodes).filter(|node| !reads[*node] && first_user[*node] != usize::MAX) {
        layer_of[node] = first_user[node] - 1;
    }
    for (from, to) in edges.iter().filter(|(_, to)| !is_read[*to]) {
        layer_of[*to] = layer_of[*to].max(layer_of[*from] + 1);
    }
    layer_of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(nodes: usize, edges: &[(usize, usize)]) -> Drawing {
        Drawing { sizes: vec![(100.0, 40.0); nodes], edges: edges.to_vec() }
    }

    fn check(drawing: &Drawing) -> Layout {
        let layout = lay_out(drawing).unwrap();
        for (index, (x, y)) in layout.corners.iter().enumerate() {
            let (width, height) = drawing.sizes[index];
            assert!(*x >= 0.0 && *y >= 0.0, "{layout:?}");
            assert!(x + width <= layout.width + 1.0 && y + height <= layout.height + 1.0, "{layout:?}");
            for (other, (u, v)) in layout.corners.iter().enumerate().skip(index + 1) {
                let (w, h) = drawing.sizes[other];
                let apart = x + width <= *u || u + w <= *x || y + height <= *v || v + h <= *y;
                assert!(apart, "{index} and {other} overlap");
            }
        }
        for ((from, to), route) in drawing.edges.iter().zip(&layout.routes) {
            assert!(layout.corners[*from].1 < layout.corners[*to].1, "{from} is not above {to}");
            assert!(route.windows(2).all(|pair| pair[0].1 <= pair[1].1), "an edge goes up");
        }
        layout
    }

    #[test]
    fn a_chain_is_straight() {
        let layout = check(&drawing(4, &[(0, 1), (1, 2), (2, 3)]));
        assert_eq!(layout.width, 100.0);
        assert!(layout.corners.iter().all(|(x, _)| *x == 0.0));
    }

    #[test]
    fn a_long_edge_passes_beside_the_nodes() {
        let drawing = drawing(4, &[(0, 1), (1, 2), (2, 3), (0, 3)]);
        let layout = check(&drawing);
        let x = layout.routes[3][2].0;
        assert!(x < layout.corners[1].0 || x > layout.corners[1].0 + 100.0);
    }

    #[test]
    fn crossings_are_avoided() {
        let layout = check(&drawing(6, &[(0, 4), (1, 3), (2, 5), (0, 5)]));
        let left = |node: usize| layout.corners[node].0;
        assert_eq!(left(1) < left(0), left(3) < left(4));
        assert_eq!(left(0) < left(2), left(4) < left(5));
    }

    #[test]
    fn odd_graphs_will_do() {
        assert_eq!(check(&drawing(0, &[])).width, 0.0);
        check(&drawing(3, &[]));
        check(&drawing(3, &[(0, 2), (0, 2), (1, 2)]));
        let all: Vec<(usize, usize)> = (0..30).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
        check(&drawing(30, &all));
    }

    #[test]
    fn what_is_too_large_is_not_drawn() {
        assert_eq!(lay_out(&drawing(MAX_CELLS + 1, &[])), None);
        let fan: Vec<(usize, usize)> = (0..999).map(|from| (from, from + 1)).collect();
        let long: Vec<(usize, usize)> = (0..900).map(|from| (from, 999)).collect();
        assert_eq!(lay_out(&drawing(1000, &[fan, long].concat())), None);
    }
}
