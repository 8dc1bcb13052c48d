//! Choosing a form for each class.
//!
//! A seed is found bottom-up, then improved by moves that are judged by the cost of the whole graph. Moves switch all
//! results of a tuple at once: one by one they would never pay, since the tuple's op is paid with the first.

use mscc_ir::reference::Sampler;

use super::price::{self, Price, Pricer, Selection, order};
use super::space::{Class, Space};

/// Rounds of improvement.
const MAX_ROUNDS: usize = 8;
/// Passes over all classes in search of a seed.
const MAX_PASSES: usize = 32;
/// Classes beyond which the seed's sets of classes would take too much memory.
const MAX_SETS: usize = 20_000;

/// Combinations of forms that are tried in place of one tuple.
const MAX_WAYS: usize = 32;

/// Forms to switch to together: class and form.
type Move = Vec<(usize, u32)>;

/// The function as given: of each class the form with which it came, operands first.
pub(super) fn original(space: &Space) -> Selection {
    let classes = space.classes.iter().enumerate();
    let oldest = classes.map(|(index, class)| {
        let forms = class.forms.iter().enumerate();
        let older = forms.filter(|(_, node)| node.args.iter().all(|arg| *arg < index));
        older
            .min_by_key(|(form, node)| (node.from.original.is_none(), *form))
            .map_or(0, |(form, _)| form as u32)
    });
    oldest.collect()
}

/// The cheapest selection found.
pub(super) fn cheapest(space: &Space, pricer: &mut Pricer<'_>) -> Option<Selection> {
    let given = original(space);
    let greedy = greedy(space, pricer, &given);
    let seeds = [Some(given), greedy].into_iter().flatten();
    let found = seeds.filter_map(|seed| improve(space, pricer, seed, |new, old| new < old));
    Some(found.min_by_key(|(_, price)| *price)?.0)
}

/// The dearest selection found: for tests, since it takes rewrites that never pay.
pub(super) fn dearest(space: &Space, pricer: &mut Pricer<'_>) -> Option<Selection> {
    Some(improve(space, pricer, original(space), |new, old| new > old)?.0)
}

/// Any selection: for tests.
pub(super) fn random(space: &Space, seed: u64) -> Option<Selection> {
    let mut sampler = Sampler::new(seed);
    let moves = moves(space);
    let mut selection = original(space);
    for _ in 0..4 * moves.len() {
        if let Some(step) = sampler.pick(&moves) {
            let moved = apply(&selection, step);
            if order(space, &moved).is_some() {
                selection = moved;
            }
        }
    }
    Some(selection)
}

/// Takes moves that are `better` until a round finds none; `None` if a value of the seed needs itself.
fn improve(
    space: &Space,
    pricer: &mut Pricer<'_>,
    seed: Selection,
    better: impl Fn(&Price, &Price) -> bool,
) -> Option<(Selection, Price)> {
    let moves = moves(space);
    let mut price = pricer.price(&seed)?;
    let mut needed = price::needed(space, &seed);
    let mut selection = seed;
    for _ in 0..MAX_ROUNDS {
        let before = price;
        for step in &moves {
            if pricer.budget == 0 {
                return Some((selection, price));
            }
            // What is not computed costs nothing, whatever its form.
            if step.iter().all(|(class, form)| selection[*class] == *form || !needed[*class]) {
                continue;
            }
            pricer.budget -= 1;
            let moved = apply(&selection, step);
            if let Some(new) = pricer.price(&moved).filter(|new| better(new, &price)) {
                (selection, price) = (moved, new);
                needed = price::needed(space, &selection);
            }
        }
        if price == before {
            break;
        }
    }
    Some((selection, price))
}

fn apply(selection: &Selection, step: &Move) -> Selection {
    let mut moved = selection.clone();
    for (class, form) in step {
        moved[*class] = *form;
    }
    moved
}

/// All moves: each tuple's results together, taken from it or in other ways; each application of a rule undone; each form
/// of each class.
fn moves(space: &Space) -> Vec<Move> {
    let mut moves: Vec<Move> = Vec::new();
    for tuple in space.classes.iter().filter(|class| !class.results.is_empty()) {
        moves.push(tuple.results.iter().map(|(_, class, form)| (*class, *form)).collect());
        moves.extend(ways_without(space, tuple));
    }
    for applied in &space.applications {
        moves.push(applied.roots.iter().map(|(class, old, _)| (*class, *old)).collect());
    }
    for (index, class) in space.classes.iter().enumerate().filter(|(_, class)| class.forms.len() > 1) {
        moves.extend((0..class.forms.len() as u32).map(|form| vec![(index, form)]));
    }
    moves
}

/// Combinations of other forms for a tuple's results, the first ones if there are many.
fn ways_without(space: &Space, tuple: &Class) -> Vec<Move> {
    let mut ways: Vec<Move> = vec![Vec::new()];
    for (nth, (_, class, _)) in tuple.results.iter().enumerate() {
        let is_taken = |form: &u32| tuple.results.iter().any(|(_, of, taken)| (of, taken) == (class, form));
        let is_again = tuple.results[..nth].iter().any(|(_, of, _)| of == class);
        let others: Vec<u32> =
            (0..space.classes[*class].forms.len() as u32).filter(|form| !is_taken(form)).collect();
        if is_again || others.is_empty() {
            continue;
        }
        let longer = |way: &Move| {
            let way = way.clone();
            others.iter().map(move |form| way.iter().copied().chain([(*class, *form)]).collect())
        };
        ways = ways.iter().flat_map(longer).take(MAX_WAYS).collect();
    }
    ways
}

/// Bottom-up: for each class the form whose needs, shared ones counted once, cost least.
///
/// None if the choices made at different times contradict each other, or if there are too many classes.
fn greedy(space: &Space, pricer: &Pricer<'_>, given: &Selection) -> Option<Selection> {
    let count = space.classes.len();
    if count > MAX_SETS {
        return None;
    }
    let mut best: Vec<Option<(u128, Needs)>> = vec![None; count];
    let mut selection = given.clone();
    for _ in 0..MAX_PASSES {
        let mut changed = false;
        for (index, class) in space.classes.iter().enumerate() {
            for (form, node) in class.forms.iter().enumerate() {
                let mut needs = Needs::new(count);
                let known = node.args.iter().all(|arg| match &best[*arg] {
                    Some((_, of)) => {
                        needs.extend(of);
                        true
                    }
                    None => false,
                });
                if !known || needs.contains(index) {
                    continue;
                }
                let own = |class: usize, form: u32| u128::from(pricer.own(class, form).ps);
                let cost: u128 = needs.iter().map(|class| own(class, selection[class])).sum();
                let cost = cost + own(index, form as u32);
                if best[index].as_ref().is_none_or(|(least, _)| cost < *least) {
                    needs.insert(index);
                    best[index] = Some((cost, needs));
                    selection[index] = form as u32;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    order(space, &selection).map(|_| selection)
}

/// A set of classes.
#[derive(Clone)]
struct Needs(Vec<u64>);

impl Needs {
    fn new(count: usize) -> Self {
        Needs(vec![0; count.div_ceil(64)])
    }

    fn insert(&mut self, class: usize) {
        self.0[class / 64] |= 1 << (class % 64);
    }

    fn contains(&self, class: usize) -> bool {
        self.0[class / 64] >> (class % 64) & 1 == 1
    }

    fn extend(&mut self, other: &Needs) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    at * 64 + bit as usize
                })
            })
        })
    }
}
