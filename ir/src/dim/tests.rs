use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;

use super::*;

/// A naive expression tree: the oracle for the canonical form.
#[derive(Clone, Debug)]
enum Tree {
    Const(i64),
    Symbol(&'static str),
    Add(Box<Tree>, Box<Tree>),
    Sub(Box<Tree>, Box<Tree>),
    Mul(Box<Tree>, Box<Tree>),
    FloorDiv(Box<Tree>, i64),
    CeilDiv(Box<Tree>, i64),
    Mod(Box<Tree>, i64),
    Min(Box<Tree>, Box<Tree>),
    Max(Box<Tree>, Box<Tree>),
}

impl Tree {
    fn dim(&self) -> Dim {
        match self {
            Tree::Const(value) => Dim::constant(*value),
            Tree::Symbol(name) => Dim::symbol(name),
            Tree::Add(a, b) => a.dim() + b.dim(),
            Tree::Sub(a, b) => a.dim() - b.dim(),
            Tree::Mul(a, b) => a.dim() * b.dim(),
            Tree::FloorDiv(a, k) => a.dim().floor_div(*k),
            Tree::CeilDiv(a, k) => a.dim().ceil_div(*k),
            Tree::Mod(a, k) => a.dim().modulo(*k),
            Tree::Min(a, b) => Dim::min([a.dim(), b.dim()]),
            Tree::Max(a, b) => Dim::max([a.dim(), b.dim()]),
        }
    }

    fn eval(&self, values: &HashMap<&str, i64>) -> i128 {
        match self {
            Tree::Const(value) => i128::from(*value),
            Tree::Symbol(name) => i128::from(values[name]),
            Tree::Add(a, b) => a.eval(values) + b.eval(values),
            Tree::Sub(a, b) => a.eval(values) - b.eval(values),
            Tree::Mul(a, b) => a.eval(values) * b.eval(values),
            Tree::FloorDiv(a, k) => a.eval(values).div_euclid(i128::from(*k)),
            Tree::CeilDiv(a, k) => -(-a.eval(values)).div_euclid(i128::from(*k)),
            Tree::Mod(a, k) => a.eval(values).rem_euclid(i128::from(*k)),
            Tree::Min(a, b) => a.eval(values).min(b.eval(values)),
            Tree::Max(a, b) => a.eval(values).max(b.eval(values)),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (-20i64..200).prop_map(Tree::Const),
        prop_oneof![Just("T"), Just("B"), Just("C")].prop_map(Tree::Symbol),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            pair.clone().prop_map(|(a, b)| Tree::Add(a.into(), b.into())),
            pair.clone().prop_map(|(a, b)| Tree::Sub(a.into(), b.into())),
            pair.clone().prop_map(|(a, b)| Tree::Mul(a.into(), b.into())),
            (inner.clone(), 1i64..40).prop_map(|(a, k)| Tree::FloorDiv(a.into(), k)),
            (inner.clone(), 1i64..40).prop_map(|(a, k)| Tree::CeilDiv(a.into(), k)),
            (inner, 1i64..40).prop_map(|(a, k)| Tree::Mod(a.into(), k)),
            pair.clone().prop_map(|(a, b)| Tree::Min(a.into(), b.into())),
            pair.prop_map(|(a, b)| Tree::Max(a.into(), b.into())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_form_evaluates_like_the_tree(tree in tree(), t in 0i64..5000, b in 0i64..70, c in 0i64..9) {
        let values = HashMap::from([("T", t), ("B", b), ("C", c)]);
        let dim = tree.dim();
        if let Ok(value) = dim.eval(&|symbol| values.get(symbol.name()).copied()) {
            prop_assert_eq!(i128::from(value), tree.eval(&values));
        }
        let mut table = SymbolTable::default();
        for (name, value) in values {
            table.declare(name, SymbolInfo { min: 0, max: value.max(1), likely: value });
        }
        if let (Some(range), Ok(value)) = (table.range(&dim), table.likely(&dim)) {
            prop_assert!(range.min <= value && value <= range.max, "{dim}: {value} not in {range:?}");
        }
    }

    #[test]
    fn text_parses_back(tree in tree()) {
        let dim = tree.dim();
        if !dim.is_invalid() {
            prop_assert_eq!(dim.to_string().parse::<Dim>().unwrap(), dim);
        }
    }

    #[test]
    fn order_of_building_does_not_matter(a in tree(), b in tree(), c in tree()) {
        let hash = |dim: &Dim| {
            let mut hasher = DefaultHasher::new();
            dim.hash(&mut hasher);
            hasher.finish()
        };
        let left = (a.dim() + b.dim()) + c.dim();
        let right = c.dim() + (b.dim() + a.dim());
        if !left.is_invalid() && !right.is_invalid() {
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(hash(&left), hash(&right));
        }
        let left = Dim::min([a.dim(), Dim::min([b.dim(), c.dim()])]);
        let right = Dim::min([Dim::min([c.dim(), a.dim()]), b.dim()]);
        prop_assert_eq!(left, right);
    }

    #[test]
    fn parser_survives_anything(text in "[ -~]{0,60}") {
        let _ = text.parse::<Dim>();
    }
}

#[test]
fn multiples_leave_divisions() {
    let t = Dim::symbol("T");
    let padded = t.clone() * Dim::constant(128) + Dim::constant(130);
    assert_eq!(padded.floor_div(128).to_string(), "T + 1");
    assert_eq!(padded.modulo(128), Dim::constant(2));
    assert_eq!(t.floor_div(4).floor_div(8), t.floor_div(32));
    assert_eq!((t.clone() * Dim::constant(6)).floor_div(4).to_string(), "floordiv(3*T, 2)");
}

#[test]
fn exact_division() {
    let (t, b) = (Dim::symbol("T"), Dim::symbol("B"));
    let product = Dim::constant(6) * t.clone() * b.clone();
    assert_eq!(product.exact_div(&(Dim::constant(3) * t.clone())), Some(Dim::constant(2) * b));
    assert_eq!(product.exact_div(&Dim::constant(4)), None);
    assert_eq!(t.exact_div(&Dim::symbol("C")), None);
}

#[test]
fn overflow_is_a_value_not_a_panic() {
    let huge = Dim::constant(i64::MAX);
    assert!((huge.clone() + Dim::ONE).is_invalid());
    assert!((huge.clone() * huge + Dim::ONE).is_invalid());
    assert!(Dim::symbol("T").floor_div(0).is_invalid());
}

#[test]
fn facts_prove_what_bounds_do_not() {
    let mut table = SymbolTable::default();
    table.declare("T", SymbolInfo { min: 1, max: 4096, likely: 16 });
    table.declare("B", SymbolInfo { min: 1, max: 64, likely: 4 });
    let (t, b) = (Dim::symbol("T"), Dim::symbol("B"));
    assert!(!table.prove_le(&b, &t));
    table.assume_le(b.clone(), t.clone());
    assert!(table.prove_le(&b, &t));
    assert!(table.prove_le(&b, &(t + Dim::constant(3))));
}

#[test]
fn the_least_integer_does_no_harm() {
    let least = Dim::constant(i64::MIN);
    let t = Dim::symbol("T");
    let steep = Dim::constant(-i64::MAX) * t.clone() - t.clone();
    assert_eq!(steep.to_string(), "-9223372036854775808*T");
    assert_eq!(steep.exact_div(&-t.clone()), None);
    assert_eq!(steep.exact_div(&(Dim::constant(2) * t.clone())), Some(Dim::constant(i64::MIN / 2)));
    assert!((-steep.clone()).is_invalid() && (-least.clone()).is_invalid());
    assert!((steep.clone() * Dim::constant(-1)).is_invalid());
    assert_eq!(steep.eval(&|_| Some(1)), Ok(i64::MIN));
    assert_eq!(steep.eval(&|_| Some(2)), Err(DimError::Overflow));
    assert_eq!(least.floor_div(2), Dim::constant(i64::MIN / 2));
    assert_eq!(least.exact_div(&Dim::ONE), Some(least.clone()));
    assert_eq!(least.exact_div(&Dim::constant(-1)), None);
    for k in [2, 3, 7, i64::MAX] {
        for dim in [least.clone(), steep.clone(), t.clone() + least.clone()] {
            let (floor, rest) = (dim.floor_div(k), dim.modulo(k));
            let at = |dim: &Dim| i128::from(dim.eval(&|_| Some(1)).unwrap());
            assert_eq!(at(&floor) * i128::from(k) + at(&rest), at(&dim), "{dim} by {k}");
            assert!((0..i128::from(k)).contains(&at(&rest)));
        }
        least.ceil_div(k);
        steep.round_up(k);
    }
    let mut table = SymbolTable::default();
    table.declare("T", SymbolInfo { min: i64::MIN, max: i64::MAX, likely: i64::MIN });
    for dim in [steep.clone(), steep.clone() * steep.clone(), steep.floor_div(3), Dim::min([steep, least, t])]
    {
        table.range(&dim);
        assert!(!table.prove_le(&dim, &Dim::ZERO) || !table.likely(&dim).is_ok_and(|value| value > 0));
    }
}

#[test]
fn division_rounds_down() {
    let t = Dim::symbol("T");
    let below = t.clone() - Dim::constant(5);
    for (value, floor, rest) in [(0, -2, 1), (1, -2, 2), (2, -1, 0), (5, 0, 0), (7, 0, 2), (8, 1, 0)] {
        assert_eq!(below.floor_div(3).eval(&|_| Some(value)), Ok(floor));
        assert_eq!(below.modulo(3).eval(&|_| Some(value)), Ok(rest));
    }
    assert_eq!(Dim::constant(-5).ceil_div(3), Dim::constant(-1));
    assert_eq!(Dim::constant(-5).round_up(3), Dim::constant(-3));
}

#[test]
fn what_is_invalid_stays_so() {
    let t = Dim::symbol("T");
    let invalid = Dim::INVALID;
    assert_eq!(Dim::ZERO.exact_div(&invalid), None);
    assert_eq!(invalid.exact_div(&t), None);
    assert!("invalid".parse::<Dim>().is_err(), "it does not read back as a symbol");
    assert!(!SymbolTable::default().prove_eq(&invalid, &invalid));
    for dim in
        [invalid.floor_div(2), invalid.modulo(2), Dim::min([t.clone(), invalid.clone()]), t * invalid.clone()]
    {
        assert!(dim.is_invalid());
    }
    assert!(Dim::max([]).is_invalid());
}

#[test]
fn dims_cannot_grow_without_bound() {
    let mut deep = Dim::symbol("T");
    for _ in 0..2 * MAX_DEPTH {
        deep = (deep * Dim::constant(2) + Dim::ONE).modulo(7) + Dim::symbol("B");
    }
    assert!(deep.is_invalid());
    let mut wide = Dim::symbol("T");
    for level in 0..8 {
        let sum = wide + Dim::symbol(&format!("s{level}"));
        wide = (sum.clone() * sum.clone() * sum.clone() * sum).floor_div(7);
    }
    assert!(wide.is_invalid());
}
