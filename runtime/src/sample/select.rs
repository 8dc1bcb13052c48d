use std::cmp::Ordering;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its score; no NaN.
    pub score: f32,
    /// Its probability, up to a common factor.
    pub weight: f64,
}

/// Puts the `k` highest scores into `kept`, in order of id, with all that equal the lowest of them.
///
/// Mostly one comparison per score: what is below the `k`-th highest so far is not looked at again.
pub(super) fn top_k(scores: &[f32], k: usize, kept: &mut Vec<Candidate>) {
    kept.clear();
    let mut least = f32::NEG_INFINITY;
    let mut full = 2 * k + 64;
    for (token, score) in (0u32..).zip(scores) {
        if *score >= least {
            kept.push(Candidate { token, score: *score, weight: 0.0 });
            if kept.len() == full {
                least = cut(kept, k);
                full = 2 * kept.len() + 64;
            }
        }
    }
    cut(kept, k);
}

/// A weight so low that `top_p` keeps no candidate that has less, given the weight of all and their number.
pub(super) fn negligible(total: f64, count: usize, top_p: f64) -> f64 {
    // All that are lighter together weigh less than what is to be cut off. Half of it leaves room for rounding.
    0.5 * (1.0 - top_p) * total / count.max(1) as f64
}

/// Keeps the likeliest that together weigh at least so much, in descending order; at least one.
pub(super) fn top_p(candidates: &mut Vec<Candidate>, least_weight: f64) {
    let (mut sum, mut sorted) = (0.0, 0);
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let head = (3 * sorted + 64).min(rest.len());
        if head < rest.len() {
            rest.select_nth_unstable_by(head, descending);
        }
        rest[..head].sort_unstable_by(descending);
        for (at, candidate) in rest[..head].iter().enumerate() {
            sum += candidate.weight;
            if sum >= least_weight {
                candidates.truncate(sorted + at + 1);
                return;
            }
        }
        sorted += head;
    }
}

/// Higher scores first, of equal ones the lower id.
pub(super) fn descending(a: &Candidate, b: &Candidate) -> Ordering {
    b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal).then(a.token.cmp(&b.token))
}

/// Drops what is lower than the `k`-th highest score, which it returns.
fn cut(kept: &mut Vec<Candidate>, k: usize) -> f32 {
    if kept.len() <= k {
        return f32::NEG_INFINITY;
    }
    let mut scores: Vec<f32> = kept.iter().map(|c| c.score).collect();
    let (_, least, _) = scores.select_nth_unstable_by(k.saturating_sub(1), |a, b| b.total_cmp(a));
    let least = *least;
    kept.retain(|c| c.score >= least);
    least
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scores with many ties.
    fn scores() -> impl Strategy<Value = Vec<f32>> {
        prop_oneof![
            prop::collection::vec((-4i8..4).prop_map(f32::from), 1..300),
            prop::collection::vec(-20.0f32..20.0, 1..600),
        ]
    }

    proptest! {
        #[test]
        fn top_k_is_what_sorting_gives(scores in scores(), k in 1usize..80) {
            let mut sorted = scores.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let least = sorted[k.min(sorted.len()) - 1];
            let expected: Vec<u32> = (0u32..).zip(&scores).filter(|(_, s)| **s >= least).map(|(t, _)| t).collect();
            let mut kept = Vec::new();
            top_k(&scores, k, &mut kept);
            prop_assert_eq!(kept.iter().map(|c| c.token).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn top_p_is_what_sorting_gives(scores in scores(), mass in 0.01f64..0.999) {
            let mut candidates: Vec<Candidate> = (0u32..)
                .zip(&scores)
                .map(|(token, score)| Candidate { token, score: *score, weight: f64::from(*score).exp() })
                .collect();
            let mut sorted = candidates.clone();
            sorted.sort_by(descending);
            let total: f64 = candidates.iter().map(|c| c.weight).sum();
            let mut before = 0.0;
            sorted.retain(|c| {
                let keep = before < mass * total;
                before += c.weight;
                keep
            });
            let least = negligible(total, candidates.len(), mass);
            candidates.retain(|c| c.weight >= least);
            top_p(&mut candidates, mass * total);
            prop_assert_eq!(candidates, sorted);
        }
    }
}
