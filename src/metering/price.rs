//! What a model costs: the price of each unit, and the exact sum for what was used.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use crate::domain::{Money, Observed, Operation};
use std::time::Duration;

/// Prices that hold together. What is not said costs nothing, with two exceptions: prompt tokens that the
/// server had cached, and tokens of an embedding, cost what other prompt tokens cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// A million tokens.
    pub prompt: Money,
    pub cached_prompt: Option<Money>,
    pub completion: Money,
    pub embedding: Option<Money>,
    /// One image.
    pub image: Money,
    /// A second.
    pub audio: Money,
    pub gpu: Money,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Those included that the server had cached.
    pub prompt: u64,
    pub cached_prompt: u64,
    pub completion: u64,
    pub embedding: u64,
    pub images: u64,
    pub audio: Duration,
    pub gpu: Duration,
}

/// What a sum is made of; what is left of it is for images and audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shares {
    /// Of all questions, texts to be embedded among them.
    pub prompt: Money,
    pub completion: Money,
    pub gpu: Money,
}

/// All prices are brought to parts of a billionth of a billionth: tokens by the million, seconds by the
/// nanosecond and single things have a common denominator there.
const PARTS: i128 = 1_000_000_000;
/// Of one token at the price of a million.
const TOKEN: i128 = PARTS / 1_000_000;

impl Used {
    /// What an answer took of the model.
    pub fn of(operation: Operation, observed: &Observed) -> Self {
        let usage = observed.usage;
        let gpu = observed.durations.gpu();
        match operation {
            Operation::Embed => Used { embedding: usage.prompt, gpu, ..Used::default() },
            // Models that listen count seconds, or tokens.
            Operation::Transcribe | Operation::Chat | Operation::Text => Used {
                prompt: usage.prompt,
                cached_prompt: usage.cached_prompt.min(usage.prompt),
                completion: usage.completion,
                images: usage.images,
                audio: usage.audio,
                gpu,
                ..Used::default()
            },
        }
    }
}

impl Rates {
    /// The exact sum, rounded once, to the nearest billionth (a half goes up), and what it is made of. Each share is
    /// what the sum grows by with it: together they are never a billionth more or less than the whole. `None` where
    /// it is no amount any more.
    pub fn split(&self, used: &Used) -> Option<(Money, Shares)> {
        let cached = used.cached_prompt.min(used.prompt);
        let nanos = |time: Duration| i128::try_from(time.as_nanos()).ok();
        let prompt = [
            (self.prompt, i128::from(used.prompt.saturating_sub(cached)).checked_mul(TOKEN)),
            (self.cached_prompt.unwrap_or(self.prompt), i128::from(cached).checked_mul(TOKEN)),
            (self.embedding.unwrap_or(self.prompt), i128::from(used.embedding).checked_mul(TOKEN)),
        ];
        let completion = [(self.completion, i128::from(used.completion).checked_mul(TOKEN))];
        let gpu = [(self.gpu, nanos(used.gpu))];
        let rest =
            [(self.image, i128::from(used.images).checked_mul(PARTS)), (self.audio, nanos(used.audio))];
        let (sum, prompt) = grown(0, &prompt)?;
        let (sum, completion) = grown(sum, &completion)?;
        let (sum, gpu) = grown(sum, &gpu)?;
        let (sum, _) = grown(sum, &rest)?;
        Some((rounded(sum)?, Shares { prompt, completion, gpu }))
    }
}

/// `sum` with these prices times amounts, and by how much it has grown, rounded.
fn grown(sum: i128, parts: &[(Money, Option<i128>)]) -> Option<(i128, Money)> {
    let all = parts.iter().try_fold(sum, |sum, (price, amount)| {
        sum.checked_add(i128::from(price.nanos()).checked_mul((*amount)?)?)
    })?;
    Some((all, rounded(all)?.checked_sub(rounded(sum)?)?))
}

fn rounded(sum: i128) -> Option<Money> {
    let rounded = sum.checked_add(PARTS / 2)?.div_euclid(PARTS);
    i64::try_from(rounded).ok().map(Money::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn cost(rates: &Rates, used: &Used) -> Option<Money> {
        rates.split(used).map(|(cost, _)| cost)
    }

    #[test]
    fn each_unit_has_its_price() {
        let rates = Rates {
            prompt: money("0.10"),
            cached_prompt: Some(money("0.01")),
            completion: money("0.20"),
            embedding: Some(money("0.02")),
            image: money("0.001"),
            audio: money("0.0001"),
            gpu: money("0.0005"),
        };
        let cost = |used: Used| cost(&rates, &used).unwrap().to_string();
        assert_eq!(cost(Used { prompt: 1_000, ..Used::default() }), "0.0001");
        assert_eq!(cost(Used { prompt: 1_000, cached_prompt: 1_000, ..Used::default() }), "0.00001");
        assert_eq!(cost(Used { prompt: 1_000, cached_prompt: 400, ..Used::default() }), "0.000064");
        assert_eq!(cost(Used { completion: 1_000_000, ..Used::default() }), "0.20");
        assert_eq!(cost(Used { embedding: 50, ..Used::default() }), "0.000001");
        assert_eq!(cost(Used { images: 3, ..Used::default() }), "0.003");
        assert_eq!(cost(Used { audio: Duration::from_millis(1_500), ..Used::default() }), "0.00015");
        assert_eq!(cost(Used { gpu: Duration::from_millis(250), ..Used::default() }), "0.000125");
    }

    #[test]
    fn what_is_not_said_of_prompts_costs_as_prompts() {
        let rates = Rates { prompt: money("1"), ..Rates::default() };
        let used = Used { prompt: 10, cached_prompt: 10, embedding: 5, ..Used::default() };
        assert_eq!(cost(&rates, &used), Some(money("0.000015")));
    }

    #[test]
    fn a_half_goes_up_once_for_all() {
        // 1.5 billionths each: together three, not two times two.
        let rates = Rates { prompt: money("0.0015"), completion: money("0.0015"), ..Rates::default() };
        let cost = |prompt, completion| cost(&rates, &Used { prompt, completion, ..Used::default() });
        assert_eq!(cost(1, 0), Some(Money::from_nanos(2)));
        assert_eq!(cost(1, 1), Some(Money::from_nanos(3)));
    }

    #[test]
    fn what_is_too_much_is_no_amount() {
        let dear = Rates { prompt: Money::from_nanos(i64::MAX), ..Rates::default() };
        assert_eq!(cost(&dear, &Used { prompt: u64::MAX, ..Used::default() }), None);
        assert_eq!(cost(&dear, &Used { prompt: 1_000_000, ..Used::default() }), Some(dear.prompt));
        assert_eq!(cost(&dear, &Used { prompt: 1_000_001, ..Used::default() }), None);
        let gpu = Rates { gpu: Money::from_nanos(i64::MAX), ..Rates::default() };
        assert_eq!(cost(&gpu, &Used { gpu: Duration::MAX, ..Used::default() }), None);
    }

    fn any_money() -> impl Strategy<Value = Money> {
        prop_oneof![0..=1_000_000_000_000_i64, 0..=i64::MAX].prop_map(Money::from_nanos)
    }

    prop_compose! {
        fn any_rates()(prices in prop::array::uniform5(any_money()),
                       cached in prop::option::of(any_money()), embedding in prop::option::of(any_money())) -> Rates {
            let [prompt, completion, image, audio, gpu] = prices;
            Rates { prompt, cached_prompt: cached, completion, embedding, image, audio, gpu }
        }
    }

    prop_compose! {
        fn any_use()(tokens in prop::array::uniform4(prop_oneof![0..=2_000_000_u64, any::<u64>()]),
                     images in 0..100_u64, audio in any::<u32>(), gpu in any::<u64>()) -> Used {
            let [prompt, cached_prompt, completion, embedding] = tokens;
            let audio = Duration::from_millis(audio.into());
            Used { prompt, cached_prompt, completion, embedding, images, audio, gpu: Duration::from_nanos(gpu) }
        }
    }

    /// In exact fractions: numerators over a billion, of unbounded size.
    fn exact(rates: &Rates, used: &Used) -> BigInt {
        let price = |money: Money| BigInt::from(money.nanos());
        let million = |tokens: u64| BigInt::from(tokens) * 1_000;
        let cached = used.cached_prompt.min(used.prompt);
        let sum = price(rates.prompt) * million(used.prompt.saturating_sub(cached))
            + price(rates.cached_prompt.unwrap_or(rates.prompt)) * million(cached)
            + price(rates.completion) * million(used.completion)
            + price(rates.embedding.unwrap_or(rates.prompt)) * million(used.embedding)
            + price(rates.image) * BigInt::from(used.images) * 1_000_000_000
            + price(rates.audio) * BigInt::from(used.audio.as_nanos())
            + price(rates.gpu) * BigInt::from(used.gpu.as_nanos());
        // Nearest, a half up: floor((2 * sum + denominator) / (2 * denominator)).
        (sum * 2 + 1_000_000_000) / 2_000_000_000_i64
    }

    proptest! {
        #[test]
        fn a_cost_is_the_exact_fraction_rounded_once(rates in any_rates(), used in any_use()) {
            let exact = exact(&rates, &used);
            match cost(&rates, &used) {
                Some(cost) => prop_assert_eq!(BigInt::from(cost.nanos()), exact),
                None => prop_assert!(exact > BigInt::from(i64::MAX), "{} is an amount", exact),
            }
        }

        #[test]
        fn shares_are_the_whole(rates in any_rates(), used in any_use()) {
            let used = Used { images: 0, audio: Duration::ZERO, ..used };
            if let Some((whole, Shares { prompt, completion, gpu })) = rates.split(&used) {
                let all = [prompt, completion, gpu].map(Money::nanos);
                prop_assert_eq!(whole.nanos(), all.iter().sum::<i64>());
                prop_assert!(all.iter().all(|share| *share >= 0));
                let alone = Used { completion: used.completion, ..Used::default() };
                let alone = cost(&rates, &alone).map_or(0, Money::nanos);
                prop_assert!((completion.nanos() - alone).abs() <= 1, "{} is {}", completion, alone);
            }
        }

        #[test]
        fn one_token_more_is_never_cheaper(rates in any_rates(), used in any_use(), more in 1..1_000_u64) {
            let dearer = Used { completion: used.completion.saturating_add(more), ..used };
            if let (Some(cost), Some(dearer)) = (cost(&rates, &used), cost(&rates, &dearer)) {
                prop_assert!(cost <= dearer);
            }
        }
    }
}
