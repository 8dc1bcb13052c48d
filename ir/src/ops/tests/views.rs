//! Views pick the same elements as evaluation.

use super::*;
use crate::reference::Data;

/// The operand as part of a larger buffer: some axes sliced, at times two axes swapped.
fn embed(case: &Example, random: &mut Sampler) -> ViewLayout {
    let shape = &case.operands[0].shape;
    let swap =
        (shape.len() > 1 && random.below(4) == 0).then(|| random.below(shape.len() as u64 - 1) as usize);
    let mut order: Vec<usize> = (0..shape.len()).collect();
    if let Some(axis) = swap {
        order.swap(axis, axis + 1);
    }
    let around: Vec<(Dim, Dim)> = shape
        .iter()
        .map(|_| (Dim::from(random.below(2) as u32 * 2), Dim::from(random.below(2) as u32)))
        .collect();
    let base: Vec<Dim> = order
        .iter()
        .map(|axis| around[*axis].0.clone() + shape[*axis].clone() + around[*axis].1.clone())
        .collect();
    let mut layout = ViewLayout::contiguous(&base).permute(&order);
    for (axis, size) in shape.iter().enumerate() {
        layout = layout.slice(axis, &around[axis].0, size);
    }
    layout
}

/// The offsets of a layout's elements, in order.
fn offsets(case: &Example, layout: &ViewLayout) -> Vec<i64> {
    let value = |dim: &Dim| dim.eval(&|symbol| case.size(symbol)).unwrap();
    let mut all = vec![value(&layout.offset)];
    for (size, stride) in layout.shape.iter().zip(&layout.strides) {
        let (size, stride) = (value(size), value(stride));
        all = all.iter().flat_map(|start| (0..size).map(move |at| start + at * stride)).collect();
    }
    all
}

fn check(case: &Example, layout: &ViewLayout) -> bool {
    let results = case.op.infer(&case.operands).unwrap();
    let Some(views) = case.op.views(layout, &results) else { return false };
    let x = Tensor::int(DType::I64, &case.shape(&case.operands[0]).unwrap(), offsets(case, layout));
    let shapes: Vec<Vec<usize>> = results.iter().map(|ty| case.shape(ty).unwrap()).collect();
    let expected = case.op.eval(&[x], &shapes).unwrap();
    assert_eq!(views.len(), expected.len());
    for ((view, tensor), ty) in views.iter().zip(&expected).zip(&results) {
        assert_eq!(view.shape, ty.shape);
        assert_eq!(Data::Int(offsets(case, view)), tensor.data, "{case:?}: {layout:?} -> {view:?}");
    }
    true
}

#[test]
fn views_pick_what_evaluation_gives() {
    for kind in OpKind::ALL.iter().filter(|kind| kind.is_view()) {
        let mut strided = 0;
        for seed in 0..4 * SEEDS {
            let case = Example::random(*kind, seed);
            let contiguous = ViewLayout::contiguous(&case.operands[0].shape);
            assert!(check(&case, &contiguous), "{case:?}: contiguous operands are always viewed");
            let layout = embed(&case, &mut Sampler::new(seed));
            strided += usize::from(check(&case, &layout) && !layout.is_contiguous());
        }
        assert!(strided > 100, "{kind:?}: only {strided} strided views");
    }
}

#[test]
fn only_views_have_views() {
    for kind in OpKind::ALL.iter().filter(|kind| !kind.is_view()) {
        let case = Example::random(*kind, 3);
        let results = case.op.infer(&case.operands).unwrap();
        assert_eq!(case.op.views(&ViewLayout::contiguous(&results[0].shape), &results), None);
    }
}
