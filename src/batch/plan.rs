//! How many texts go in one call, and what each of them cost: pure arithmetic.

use std::ops::Range;

/// Cuts `texts` texts into as few calls of at most `most` as there can be, none larger than another by more
/// than one. `most` of zero is one.
pub fn cut(texts: usize, most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let calls = texts.div_ceil(most.max(1));
    // In 128 bits nothing overflows.
    let edge = move |call: usize| (call as u128 * texts as u128 / calls as u128) as usize;
    (0..calls).map(move |call| edge(call)..edge(call + 1))
}

/// Shares `total` out by `weights`, so that the shares sum up to it and none is further than one from its
/// due. Where all weigh nothing, all weigh the same. What does not fit into 32 bits is left out.
pub fn share(total: u64, weights: &[usize]) -> Vec<u32> {
    let all: u128 = weights.iter().map(|weight| *weight as u128).sum();
    let (mut so_far, mut given) = (0u128, 0u64);
    weights
        .iter()
        .enumerate()
        .map(|(nth, weight)| {
            so_far += *weight as u128;
            let due = match all {
                0 => u128::from(total) * (nth as u128 + 1) / weights.len() as u128,
                _ => u128::from(total) * so_far / all,
            };
            let share = due as u64 - given;
            given += share;
            u32::try_from(share).unwrap_or(u32::MAX)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_cut_evenly() {
        let cuts = |texts, most| cut(texts, most).map(|call| call.len()).collect::<Vec<_>>();
        assert_eq!(cuts(0, 4), [0; 0]);
        assert_eq!(cuts(3, 1), [1, 1, 1]);
        assert_eq!(cuts(10, 4), [3, 3, 4]);
        assert_eq!(cuts(8, 4), [4, 4]);
        assert_eq!(cuts(2, 0), [1, 1]);
        assert_eq!(cut(usize::MAX, usize::MAX).last(), Some(0..usize::MAX));
    }

    #[test]
    fn tokens_are_shared_by_weight() {
        assert_eq!(share(10, &[1, 1, 3]), [2, 2, 6]);
        assert_eq!(share(7, &[0, 0]), [3, 4]);
        assert_eq!(share(5, &[9]), [5]);
        assert_eq!(share(0, &[1, 2]), [0, 0]);
        assert_eq!(share(5, &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn every_text_is_in_one_call(texts in 0usize..5000, most in 0usize..200) {
            let calls: Vec<_> = cut(texts, most).collect();
            let mut next = 0;
            for call in &calls {
                prop_assert_eq!(call.start, next);
                prop_assert!((1..=most.max(1)).contains(&call.len()));
                next = call.end;
            }
            prop_assert_eq!(next, texts);
            let sizes = calls.iter().map(|call| call.len());
            prop_assert!(sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0) <= 1);
        }

        #[test]
        fn shares_sum_up(total in 0u64..1_000_000, weights in prop::collection::vec(0usize..10_000, 1..100)) {
            let shares = share(total, &weights);
            prop_assert_eq!(shares.iter().map(|share| u64::from(*share)).sum::<u64>(), total);
            let all: usize = weights.iter().sum();
            for (share, weight) in shares.iter().zip(&weights).filter(|_| all > 0) {
                let due = total as f64 * *weight as f64 / all as f64;
                prop_assert!((f64::from(*share) - due).abs() <= 1.0, "{share} of {due}");
            }
        }
    }
}
