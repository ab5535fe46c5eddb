//! Who pays for what, when requests share a trip, are answered by the cache, are cut short, or fail.
//!
//! `docs/billing.md` says the same in words, one line for each test here.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

use super::config::Unknown;
use super::price::{Shares, Used};
use super::prices::{Price, Prices};
use crate::domain::{CacheOutcome, Money, Observed, Operation};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What something comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    Known(Money),
    /// The model has no price.
    Unpriced,
    /// More than an amount can be: the figures are nonsense, and stand in the books as such.
    TooMuch,
}

/// What is charged, and under which price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub cost: Cost,
    /// What a known cost is made of, where tokens and GPU seconds were paid for.
    pub shares: Shares,
    pub price: Option<Arc<str>>,
}

/// What a request is charged for its answer, beside the trips that it began, and what it is credited with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub charge: Charge,
    /// What the answer took when it was made, where somebody else has paid for that.
    pub saved: Option<Saved>,
}

/// What an answer that was not made again would have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    /// Less what was charged instead; nothing where the model has no price.
    pub cost: Money,
    pub prompt: u64,
    pub completion: u64,
    pub gpu: Duration,
}

/// Of which model something is asked, and when.
#[derive(Debug, Clone, Copy)]
pub struct Matter<'a> {
    pub operation: Operation,
    pub model: &'a str,
    pub at: SystemTime,
}

impl Charge {
    const NOTHING: Charge = Charge {
        cost: Cost::Known(Money::ZERO),
        shares: Shares { prompt: Money::ZERO, completion: Money::ZERO, gpu: Money::ZERO },
        price: None,
    };
}

/// A million: from there on it is no price of one answer, and thousands of such figures would be more than any sum
/// can hold.
pub(super) const TOO_MUCH: Money = Money::from_nanos(1_000_000_000_000_000);

impl Cost {
    pub fn known(self) -> Option<Money> {
        match self {
            Cost::Known(money) => Some(money),
            Cost::Unpriced | Cost::TooMuch => None,
        }
    }
}

impl Prices {
    /// What a trip comes to, which the request pays that began it: for whatever was produced, however the
    /// trip ended and whoever has read it.
    pub fn trip(&self, matter: Matter<'_>, observed: &Observed) -> Charge {
        let used = Used::of(matter.operation, observed);
        if used == Used::default() {
            return Charge::NOTHING;
        }
        let price = self.find(matter.model, matter.at);
        let (cost, shares) = match (price.map(|price| price.rates.split(&used)), self.unknown) {
            (Some(Some((cost, shares))), _) if cost < TOO_MUCH => (Cost::Known(cost), shares),
            (Some(_), _) => (Cost::TooMuch, Shares::default()),
            (None, Unknown::Free) => (Cost::Known(Money::ZERO), Shares::default()),
            (None, Unknown::Unpriced | Unknown::Reject) => (Cost::Unpriced, Shares::default()),
        };
        Charge { cost, shares, price: price.map(|price: &Price| price.version.clone()) }
    }

    /// What a request comes to beside its trips. `is_complete`: its answer came to its end; `observed`: what that
    /// took when it was made.
    pub fn answer(
        &self,
        matter: Matter<'_>,
        cache: CacheOutcome,
        is_complete: bool,
        observed: Option<&Observed>,
    ) -> Settlement {
        let nothing = Settlement { charge: Charge::NOTHING, saved: None };
        let (Some(observed), true) = (observed, is_complete) else { return nothing };
        if !cache.is_given() {
            return nothing;
        }
        let original = self.trip(matter, observed);
        let asked = if cache.is_hit() { self.hit } else { Money::ZERO };
        let saved = Saved {
            cost: original.cost.known().and_then(|cost| cost.checked_sub(asked)).unwrap_or_default(),
            prompt: observed.usage.prompt,
            completion: observed.usage.completion,
            gpu: observed.durations.gpu(),
        };
        let charge = Charge { cost: Cost::Known(asked), shares: Shares::default(), price: original.price };
        Settlement { charge, saved: Some(saved) }
    }

    /// Whether a request for `model` is to be refused because nobody knows what it costs.
    pub fn refuses(&self, model: &str, now: impl FnOnce() -> SystemTime) -> bool {
        self.unknown == Unknown::Reject && self.find(model, now()).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{PriceConfig, PriceEntry};
    use super::*;
    use crate::domain::{Durations, Source, Usage};

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn prices(unknown: Unknown, hit: &str) -> Prices {
        let text = "model = \"m\"\nprompt = \"1\"\ncompletion = \"2\"\ngpu_second = \"0.5\"";
        let models: Vec<PriceEntry> = vec![toml::from_str(text).unwrap()];
        let hit = hit.parse().unwrap();
        Prices::new(&PriceConfig { currency: "USD".into(), builtin: false, unknown, hit, models }).unwrap()
    }

    fn observed() -> Observed {
        Observed {
            usage: Usage { source: Source::Upstream, prompt: 100, completion: 50, ..Usage::default() },
            durations: Durations {
                prompt_eval: Duration::from_millis(10),
                eval: Duration::from_millis(190),
                ..Durations::default()
            },
            complete: true,
            ..Observed::default()
        }
    }

    fn of(model: &str) -> Matter<'_> {
        Matter { operation: Operation::Chat, model, at: AT }
    }

    fn known(text: &str) -> Cost {
        Cost::Known(text.parse().unwrap())
    }

    fn answer(cache: CacheOutcome, is_complete: bool, hit: &str) -> Settlement {
        prices(Unknown::Unpriced, hit).answer(of("m"), cache, is_complete, Some(&observed()))
    }

    #[test]
    fn a_trip_is_paid_for_in_full() {
        let charge = prices(Unknown::Unpriced, "0").trip(of("m"), &observed());
        assert_eq!(charge.cost, known("0.1002"), "100 + 2 * 50 millionths, and 0.2 s");
        let Shares { prompt, completion, gpu } = charge.shares;
        assert_eq!([prompt, completion, gpu].map(|share| share.to_string()), ["0.0001", "0.0001", "0.10"]);
        assert!(charge.price.unwrap().starts_with("m from 0 prompt=1.00"));
    }

    #[test]
    fn what_had_been_produced_is_paid_for_where_an_answer_is_cut_short() {
        let usage = Usage { source: Source::Estimated, prompt: 100, completion: 7, ..Usage::default() };
        let cut = Observed { usage, complete: false, durations: Durations::default(), ..observed() };
        assert_eq!(prices(Unknown::Unpriced, "0").trip(of("m"), &cut).cost, known("0.000114"));
    }

    #[test]
    fn an_upstream_that_produced_nothing_is_paid_nothing() {
        let charge = prices(Unknown::Unpriced, "0").trip(of("unknown"), &Observed::default());
        assert_eq!(charge, Charge::NOTHING, "and nothing is unpriced about it");
    }

    #[test]
    fn whoever_joins_pays_nothing_and_saves_all() {
        let joined = answer(CacheOutcome::Joined, true, "0.01");
        assert_eq!(joined.charge.cost, known("0"));
        let saved = joined.saved.unwrap();
        assert_eq!((saved.cost.to_string().as_str(), saved.prompt, saved.completion), ("0.1002", 100, 50));
        assert_eq!(saved.gpu, Duration::from_millis(200));
    }

    #[test]
    fn a_hit_costs_its_price_and_saves_the_rest() {
        for cache in [CacheOutcome::Hit, CacheOutcome::HitBelow] {
            let free = answer(cache, true, "0");
            assert_eq!(
                (free.charge.cost, free.saved.unwrap().cost.to_string()),
                (known("0"), "0.1002".into())
            );
            let paid = answer(cache, true, "0.01");
            assert_eq!(
                (paid.charge.cost, paid.saved.unwrap().cost.to_string()),
                (known("0.01"), "0.0902".into())
            );
        }
    }

    #[test]
    fn a_hit_or_a_seat_that_was_left_early_costs_and_saves_nothing() {
        for cache in [CacheOutcome::Hit, CacheOutcome::Joined] {
            let left = answer(cache, false, "0.01");
            assert_eq!(left, Settlement { charge: Charge::NOTHING, saved: None });
        }
    }

    #[test]
    fn a_miss_pays_through_its_trip_alone() {
        for cache in [CacheOutcome::Miss, CacheOutcome::Bypass] {
            assert_eq!(answer(cache, true, "0.01").charge, Charge::NOTHING);
            assert_eq!(answer(cache, true, "0.01").saved, None);
        }
    }

    #[test]
    fn what_pannier_refuses_costs_nothing() {
        let settled = prices(Unknown::Unpriced, "1").answer(of("m"), CacheOutcome::Bypass, false, None);
        assert_eq!(settled, Settlement { charge: Charge::NOTHING, saved: None });
    }

    #[test]
    fn a_model_without_a_price_is_said_to_have_none() {
        let cost = |unknown| prices(unknown, "0").trip(of("other"), &observed()).cost;
        assert_eq!(cost(Unknown::Unpriced), Cost::Unpriced);
        assert_eq!(cost(Unknown::Free), known("0"));
        let hit = CacheOutcome::Hit;
        let hit = prices(Unknown::Unpriced, "0").answer(of("other"), hit, true, Some(&observed()));
        assert_eq!(hit.saved.unwrap().cost, Money::ZERO, "the tokens are saved all the same");
    }

    #[test]
    fn a_model_without_a_price_may_be_refused() {
        assert!(prices(Unknown::Reject, "0").refuses("other", || AT));
        assert!(!prices(Unknown::Reject, "0").refuses("m", || AT));
        assert!(!prices(Unknown::Unpriced, "0").refuses("other", || AT));
    }

    #[test]
    fn what_is_no_amount_any_more_is_an_error_in_the_books() {
        let usage = Usage { source: Source::Upstream, prompt: u64::MAX, ..Usage::default() };
        let charge = prices(Unknown::Unpriced, "0").trip(of("m"), &Observed { usage, ..observed() });
        assert_eq!(charge.cost, Cost::TooMuch);
        let most = |completion| {
            let usage = Usage { source: Source::Upstream, completion, ..Usage::default() };
            let durations = Durations::default();
            prices(Unknown::Unpriced, "0").trip(of("m"), &Observed { usage, durations, ..observed() })
        };
        assert_eq!(most(499_999_999_999).cost, known("999999.999998"));
        let beyond = most(500_000_000_000);
        assert_eq!((beyond.cost, beyond.shares), (Cost::TooMuch, Shares::default()));
    }
}
