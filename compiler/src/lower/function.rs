//! Lowering of one function: a launch for each op that computes, views for those that only look.

use std::collections::HashMap;

use mscc_ir::graph::{CacheRef, Graph, Leaf, NodeId, NodeKind, Sink, Value};
use mscc_ir::kernels::{KernelDecl, Layout};
use mscc_ir::ops::{Cast, Effect, Op};
use mscc_ir::plan::{InputDecl, OutputDecl, Place, WeightParam};
use mscc_ir::view::ViewLayout;
use mscc_ir::{Dim, Template, TensorType};

use super::LowerError;
use super::draft::{Claim, Draft, DraftBuffer, DraftLaunch, Home, Location};
use super::recipes::Recipes;
use crate::passes::fit::fit;
use crate::target::{Kernel, NoKernel, Target};

/// Turns a function into launches.
pub struct Lowerer<'a> {
    pub(super) graph: &'a Graph,
    /// Of each node, whether it depends on weights alone.
    weight_only: Vec<bool>,
    target: &'a Target,
    inputs: &'a [InputDecl],
    outputs: &'a [OutputDecl],
    pub(super) recipes: &'a mut Recipes,
    weight_index: HashMap<WeightParam, u32>,
    locations: HashMap<Value, Location>,
    pub(super) draft: Draft,
}

impl<'a> Lowerer<'a> {
    pub fn new(
        graph: &'a Graph,
        target: &'a Target,
        inputs: &'a [InputDecl],
        outputs: &'a [OutputDecl],
        recipes: &'a mut Recipes,
    ) -> Self {
        Lowerer {
            graph,
            weight_only: graph.weight_only(),
            target,
            inputs,
            outputs,
            recipes,
            weight_index: HashMap::new(),
            locations: HashMap::new(),
            draft: Draft { name: graph.name.clone(), ..Draft::default() },
        }
    }

    pub fn lower(mut self) -> Result<Draft, LowerError> {
        for (id, node) in self.graph.nodes() {
            // What depends on weights alone becomes a recipe where something else reads it.
            if self.weight_only[id.index()] {
                continue;
            }
            match &node.kind {
                NodeKind::Leaf(leaf) => self.leaf(id, leaf)?,
                NodeKind::Op(op) => self.op(id, op)?,
            }
        }
        self.sinks()?;
        Ok(self.draft)
    }

    fn unsupported(&self, value: Value, problem: &str) -> LowerError {
        LowerError::Unsupported {
            function: self.graph.name.clone(),
            value: self.graph.value_name(value).to_owned(),
            problem: problem.to_owned(),
        }
    }

    fn leaf(&mut self, id: NodeId, leaf: &Leaf) -> Result<(), LowerError> {
        let value = Value { node: id, index: 0 };
        let home = match leaf {
            Leaf::Input(name) => {
                let index = self.inputs.iter().position(|input| input.name == *name);
                let index = index.ok_or_else(|| self.unsupported(value, "is no input of the plan"))?;
                Home::Fixed(Place::Input(index as u32))
            }
            Leaf::State(name) => Home::State(name.clone()),
            Leaf::Cache(cache) => {
                self.draft.caches.push(cache.clone());
                Home::Fixed(Place::Cache(self.draft.caches.len() as u32 - 1))
            }
            Leaf::Weight(_) => return Ok(()),
        };
        let ty = self.graph.ty(value);
        let layout = ViewLayout::contiguous(&ty.shape);
        self.locations.insert(value, Location { home, dtype: ty.dtype, layout });
        Ok(())
    }

    /// Where an operand lies; brings in weights on first use.
    pub(super) fn locate(&mut self, value: Value) -> Location {
        if let Some(location) = self.locations.get(&value) {
            return location.clone();
        }
        let param = self.recipes.param(self.graph, value);
        let layout = self.lies(value);
        let location = Location { layout, ..self.weight(param, self.graph.ty(value)) };
        self.locations.insert(value, location.clone());
        location
    }

    /// How a value that depends on weights alone lies.
    fn lies(&self, value: Value) -> ViewLayout {
        let shape = &self.graph.ty(value).shape;
        match (self.recipes.is_turned(self.graph, value), &shape[..]) {
            (true, [rows, columns]) => {
                ViewLayout::contiguous(&[columns.clone(), rows.clone()]).permute(&[1, 0])
            }
            _ => ViewLayout::contiguous(shape),
        }
    }

    /// Where a device tensor lies.
    pub(super) fn weight(&mut self, param: WeightParam, ty: &TensorType) -> Location {
        let next = self.draft.weights.len() as u32;
        let index = *self.weight_index.entry(param.clone()).or_insert(next);
        if index == next {
            self.draft.weights.push(param);
        }
        let layout = ViewLayout::contiguous(&ty.shape);
        Location { home: Home::Fixed(Place::Weight(index)), dtype: ty.dtype, layout }
    }

    fn op(&mut self, id: NodeId, op: &Op) -> Result<(), LowerError> {
        let node = self.graph.node(id);
        let types: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
        let name = node.results[0].name.as_str();
        if op.kind().is_view() {
            let operand = self.locate(node.operands[0]);
            let views = self.views(op, &operand, &types, id)?;
            for (index, (layout, ty)) in views.into_iter().zip(&types).enumerate() {
                let home = layout.0;
                let location = Location { home, dtype: ty.dtype, layout: layout.1 };
                self.locations.insert(Value { node: id, index: index as u32 }, location);
            }
            return Ok(());
        }
        let operand_types: Vec<TensorType> =
            node.operands.iter().map(|value| self.graph.ty(*value).clone()).collect();
        let kernel = match self.kernel(op, &operand_types, &types, name)? {
            Kernel::Cpu(kernel) => kernel,
            Kernel::Ascend(decl, call) => return self.call(id, op, decl, &call),
        };
        let operands = node.operands.iter().enumerate().map(|(index, value)| {
            let takes = |layout: &ViewLayout| fits(kernel, index, layout);
            self.weight_view(*value, &takes).unwrap_or_else(|| self.locate(*value))
        });
        let operands = operands.collect();
        let operands = self.arrange(kernel, operands, id)?;
        let results: Vec<Location> = match op.kind().effect() {
            Effect::Writes => operands[..types.len()].to_vec(),
            Effect::Pure => types.iter().map(|ty| self.new_buffer(ty)).collect(),
        };
        let origins = self.graph.origins(id).to_vec();
        self.launch(kernel.name, op.clone(), operands, results.clone(), name.to_owned(), origins);
        self.made(id, results);
        Ok(())
    }

    /// Notes where the results of a node lie.
    pub(super) fn made(&mut self, id: NodeId, results: Vec<Location>) {
        for (index, location) in results.into_iter().enumerate() {
            self.locations.insert(Value { node: id, index: index as u32 }, location);
        }
    }

    /// The kernel for an op.
    pub(super) fn kernel(
        &self,
        op: &Op,
        operands: &[TensorType],
        results: &[TensorType],
        name: &str,
    ) -> Result<Kernel, LowerError> {
        let refused = |mut reasons: NoKernel| {
            if let Err(others) = fit(self.target, op, operands) {
                reasons.0.extend(others.0);
            }
            LowerError::NoKernel {
                target: self.target.name,
                function: self.graph.name.clone(),
                value: name.to_owned(),
                op: op.kind().name(),
                types: operands.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", "),
                reasons: Box::new(reasons),
            }
        };
        self.target.kernel(op, operands, results).map_err(refused)
    }

    /// Results that lie inside the operand's buffer, after a copy where strides cannot express them.
    fn views(
        &mut self,
        op: &Op,
        operand: &Location,
        types: &[TensorType],
        id: NodeId,
    ) -> Result<Vec<(Home, ViewLayout)>, LowerError> {
        if let Some(layouts) = op.views(&operand.layout, types) {
            return Ok(layouts.into_iter().map(|layout| (operand.home.clone(), layout)).collect());
        }
        let packed = self.copy(operand, id)?;
        let layouts = op.views(&packed.layout, types);
        let layouts = layouts.ok_or_else(|| {
            self.unsupported(Value { node: id, index: 0 }, "is no view even of a densely packed operand")
        })?;
        Ok(layouts.into_iter().map(|layout| (packed.home.clone(), layout)).collect())
    }

    /// A part of a device tensor, where that is all that `value` is and the kernel takes it as it lies.
    pub(super) fn weight_view(
        &mut self,
        value: Value,
        takes: &dyn Fn(&ViewLayout) -> bool,
    ) -> Option<Location> {
        let graph = self.graph;
        if !self.weight_only[value.node.index()] {
            return None;
        }
        let mut views: Vec<(&Op, Value)> = Vec::new();
        let mut whole = value;
        while let Some(op) = graph.node(whole.node).op().filter(|op| op.kind().is_view()) {
            views.push((op, whole));
            whole = graph.node(whole.node).operands[0];
        }
        if views.is_empty() {
            return None;
        }
        let mut layout = self.lies(whole);
        for (op, result) in views.into_iter().rev() {
            let types: Vec<TensorType> =
                graph.node(result.node).results.iter().map(|result| result.ty.clone()).collect();
            layout = op.views(&layout, &types)?.swap_remove(result.index as usize);
        }
        if !takes(&layout) {
            return None;
        }
        Some(Location { layout, ..self.locate(whole) })
    }

    /// Copies operands that do not lie as the kernel asks.
    fn arrange(
        &mut self,
        kernel: &KernelDecl,
        operands: Vec<Location>,
        id: NodeId,
    ) -> Result<Vec<Location>, LowerError> {
        let mut arranged = Vec::with_capacity(operands.len());
        for (index, operand) in operands.into_iter().enumerate() {
            let fits = fits(kernel, index, &operand.layout);
            arranged.push(if fits { operand } else { self.copy(&operand, id)? });
        }
        Ok(arranged)
    }

    /// A densely packed copy.
    pub(super) fn copy(&mut self, from: &Location, id: NodeId) -> Result<Location, LowerError> {
        let to = self.new_buffer(&from.ty());
        self.copy_to(from.clone(), to.clone(), &format!("{}.copy", self.graph.node(id).results[0].name))?;
        Ok(to)
    }

    /// A copy is a cast to the same element type.
    fn copy_to(&mut self, from: Location, to: Location, name: &str) -> Result<(), LowerError> {
        self.cast_to(from, to, name)
    }

    /// Writes `from` into `to`, in the element type of that.
    pub(super) fn cast_to(&mut self, from: Location, to: Location, name: &str) -> Result<(), LowerError> {
        let op = Op::from(Cast { dtype: to.dtype });
        let (given, made) = (from.ty(), to.ty());
        let kernel = self.kernel(&op, std::slice::from_ref(&given), std::slice::from_ref(&made), name)?;
        self.launch(kernel.name(), op, vec![from], vec![to], name.to_owned(), Vec::new());
        Ok(())
    }

    pub(super) fn new_buffer(&mut self, ty: &TensorType) -> Location {
        let at = self.draft.launches.len();
        self.draft.buffers.push(DraftBuffer { bytes: ty.bytes(), first: at, last: at, claim: None });
        let layout = ViewLayout::contiguous(&ty.shape);
        Location { home: Home::Buffer(self.draft.buffers.len() - 1), dtype: ty.dtype, layout }
    }

    pub(super) fn launch(
        &mut self,
        kernel: &'static str,
        op: Op,
        operands: Vec<Location>,
        results: Vec<Location>,
        name: String,
        origins: Vec<String>,
    ) {
        let at = self.draft.launches.len();
        for location in &results {
            // A copy in front of this launch moves it back; what is written in place is there already.
            let in_place = operands.iter().any(|operand| operand.home == location.home);
            if let (Home::Buffer(index), false) = (&location.home, in_place) {
                self.draft.buffers[*index].first = at;
            }
        }
        operands.iter().chain(&results).for_each(|location| self.touch(location, at));
        self.draft.launches.push(DraftLaunch { kernel, op, operands, results, name, origins });
    }

    /// Keeps what a location is part of alive until launch `at`.
    fn touch(&mut self, location: &Location, at: usize) {
        match &location.home {
            Home::Buffer(index) => {
                let buffer = &mut self.draft.buffers[*index];
                buffer.last = buffer.last.max(at);
            }
            Home::State(name) => {
                let last = self.draft.state_reads.entry(name.clone()).or_insert(at);
                *last = (*last).max(at);
            }
            Home::Fixed(_) => {}
        }
    }

    fn sinks(&mut self) -> Result<(), LowerError> {
        let graph = self.graph;
        let mut states: Vec<(&String, Location)> = Vec::new();
        for (sink, value) in graph.sinks() {
            let location = self.locate(*value);
            match sink {
                Sink::Tap(template) => self.tap(template, *value, location)?,
                Sink::Cache(cache) => self.cache_sink(cache, *value, &location)?,
                Sink::Output(name) => self.output(name, *value, location)?,
                Sink::State(name) => states.push((name, location)),
            }
        }
        // All that stays where it is first: the copies at the end may overwrite state that was read.
        let mut copies: Vec<(&String, Location)> = Vec::new();
        for (name, location) in states {
            if !self.leave_in_place(name, &location) {
                copies.push((name, location));
            }
        }
        for (name, location) in &mut copies {
            if matches!(location.home, Home::State(_)) {
                let ty = TensorType::new(location.dtype, location.layout.shape.clone());
                let apart = self.new_buffer(&ty);
                self.copy_to(location.clone(), apart.clone(), &format!("{name}.copy"))?;
                *location = apart;
            }
        }
        for (name, location) in copies {
            let ty = TensorType::new(location.dtype, location.layout.shape.clone());
            let to = self.new_buffer(&ty);
            self.copy_to(location, to.clone(), name)?;
            if let Home::Buffer(index) = to.home {
                self.draft.buffers[index].claim = Some(Claim::State(name.clone()));
            }
        }
        Ok(())
    }

    /// Leaves a value where it was computed, in the slot of the state, if nothing reads the old state any more by
    /// then.
    fn leave_in_place(&mut self, name: &str, location: &Location) -> bool {
        let Some(index) = self.whole_buffer(location) else { return false };
        let old_is_dead =
            self.draft.state_reads.get(name).is_none_or(|last| *last < self.draft.buffers[index].first);
        if old_is_dead {
            self.draft.buffers[index].claim = Some(Claim::State(name.to_owned()));
        }
        old_is_dead
    }

    /// The buffer that a location fills, if nobody has claimed it.
    fn whole_buffer(&self, location: &Location) -> Option<usize> {
        let Home::Buffer(index) = location.home else { return None };
        let bytes = TensorType::new(location.dtype, location.layout.shape.clone()).bytes();
        let fills = location.layout.is_contiguous()
            && location.layout.offset == Dim::ZERO
            && bytes == self.draft.buffers[index].bytes;
        (fills && self.draft.buffers[index].claim.is_none()).then_some(index)
    }

    fn tap(&mut self, template: &Template, value: Value, location: Location) -> Result<(), LowerError> {
        let after = match &location.home {
            Home::Buffer(index) => self.draft.buffers[*index].first,
            Home::State(_) | Home::Fixed(_) => 0,
        };
        if self.draft.launches.is_empty() || !location.layout.has_dense_rows() {
            return Err(
                self.unsupported(value, "cannot be tapped: no launch makes it, or its rows are not dense")
            );
        }
        self.touch(&location, after);
        self.draft.taps.push((template.clone(), after, location));
        Ok(())
    }

    fn cache_sink(&mut self, cache: &CacheRef, value: Value, location: &Location) -> Result<(), LowerError> {
        let index = self.draft.caches.iter().position(|own| own == cache);
        let in_place = index.is_some_and(|index| location.home == Home::Fixed(Place::Cache(index as u32)));
        if in_place { Ok(()) } else { Err(self.unsupported(value, "is no write into the cache it replaces")) }
    }

    /// Lets the launch that makes an output write it where it is wanted, or copies it there.
    fn output(&mut self, name: &str, value: Value, location: Location) -> Result<(), LowerError> {
        let index = self.outputs.iter().position(|output| output.name == name);
        let index = index.ok_or_else(|| self.unsupported(value, "is no output of the plan"))? as u32;
        if let Some(buffer) = self.whole_buffer(&location) {
            self.draft.buffers[buffer].claim = Some(Claim::Output(index));
            return Ok(());
        }
        let home = Home::Fixed(Place::Output(index));
        let to =
            Location { home, dtype: location.dtype, layout: ViewLayout::contiguous(&location.layout.shape) };
        self.copy_to(location, to, name)
    }
}

/// Whether a kernel takes operand `index` as it lies.
fn fits(kernel: &KernelDecl, index: usize, layout: &ViewLayout) -> bool {
    kernel.operand(index).is_none_or(|decl| match decl.layout {
        Layout::Strided => true,
        Layout::DenseRows => layout.has_dense_rows(),
        Layout::Contiguous => layout.is_contiguous(),
    })
}
