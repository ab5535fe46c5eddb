//! How the cache does, in figures: anybody may see them, as they may see the metrics. Nothing of what is kept is
//! shown.
//!
//! Two pages, under the names and in the shapes that the predecessors' users know: Simpleton's
//! `/analytics/cache`, and LocalChat's `/api/cache/stats` with its levels and targets.

use super::{Parts, answer};
use crate::cache::{Counts, Prefix, TierName};
use crate::domain::Operation;
use crate::telemetry::{CallFigures, TierFigures};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that is told.
struct Figures {
    counts: Arc<Counts>,
    tiers: BTreeMap<(String, Operation), TierFigures>,
    calls: BTreeMap<(String, Operation), CallFigures>,
    evictions: BTreeMap<String, u64>,
    capacity: u64,
    enabled: bool,
}

/// A level of LocalChat's, the tier that is one here, and what its users want of it: hits in a hundred look-ups,
/// and milliseconds.
struct Level {
    name: &'static str,
    tier: TierName,
    hit_rate: f64,
    latency: u32,
}

const LEVELS: [Level; 3] = [
    Level { name: "l1", tier: TierName::Memory, hit_rate: 80.0, latency: 1 },
    Level { name: "l2", tier: TierName::Redis, hit_rate: 60.0, latency: 5 },
    Level { name: "l3", tier: TierName::Database, hit_rate: 40.0, latency: 50 },
];

/// `GET /analytics/cache`
pub async fn analytics(State(parts): State<Parts>) -> Response {
    let figures = Figures::of(&parts).await;
    answer(Ok(json!({ "status": "success", "cache": figures.cache() })))
}

/// `GET /api/cache/stats`
pub async fn stats(State(parts): State<Parts>) -> Response {
    let figures = Figures::of(&parts).await;
    let levels = LEVELS.iter().map(|level| (level.name.to_owned(), figures.level(level)));
    let mut told: Map<String, Value> = levels.collect();
    told.insert("success".into(), true.into());
    told.insert("cache".into(), figures.cache());
    answer(Ok(told))
}

impl Figures {
    async fn of(parts: &Parts) -> Self {
        Figures {
            counts: parts.stock.counts().await,
            tiers: parts.metrics.tier_figures(),
            calls: parts.metrics.call_figures(),
            evictions: parts.metrics.evictions(),
            capacity: parts.stock.capacity(),
            enabled: (parts.is_caching)(),
        }
    }

    /// All of it together, and by all that it can be told apart by.
    fn cache(&self) -> Value {
        let CallFigures { hits, misses, joined, bypassed } = self.sum(|_, _| true);
        let tiers: Vec<TierName> = self.counts.tiers.iter().map(|(tier, _)| *tier).collect();
        let held = tiers.iter().map(|tier| self.held(*tier, |_, _| true));
        json!({
            "enabled": self.enabled,
            // What is in one tier is mostly in those below it as well.
            "keys": held.map(|(entries, _)| entries).max(),
            "hits": hits,
            "misses": misses,
            "hit_rate": rate(hits, misses),
            "memory_usage": self.held(TierName::Memory, |_, _| true).1,
            "joined": joined,
            "bypassed": bypassed,
            "counted_seconds_ago": self.counts.at.elapsed().as_secs(),
            "tiers": tiers.iter().map(|tier| self.tier(*tier)).collect::<Vec<_>>(),
            "prefixes": Prefix::ALL.map(|prefix| {
                self.part("prefix", prefix.label(), |_, operation| Prefix::of(operation) == prefix)
            }),
            "operations": Operation::ALL.map(|operation| {
                self.part("operation", operation.label(), |_, other| other == operation)
            }),
            "models": self.models().map(|model| self.part("model", model, |other, _| other == model))
                .collect::<Vec<_>>(),
        })
    }

    fn tier(&self, tier: TierName) -> Value {
        let TierFigures { hits, misses, failed } = self.asked(tier);
        let (entries, bytes) = self.held(tier, |_, _| true);
        let mut told = json!({
            "tier": tier.label(),
            "hits": hits,
            "misses": misses,
            "failed": failed,
            "hit_rate": rate(hits, misses),
            "evictions": self.evictions.get(tier.label()).copied().unwrap_or(0),
            "entries": entries,
            "bytes": bytes,
        });
        if let Some(fault) = self.fault(tier) {
            (told["entries"], told["bytes"], told["fault"]) = (Value::Null, Value::Null, fault.into());
        }
        told
    }

    /// A part of all calls, and of what is held for them in each tier.
    fn part(&self, by: &str, name: &str, is_part: impl Fn(&str, Operation) -> bool) -> Value {
        let CallFigures { hits, misses, joined, bypassed } = self.sum(&is_part);
        let held = |tier: TierName| (self.fault(tier).is_none()).then(|| self.held(tier, &is_part));
        let told = |which: fn((u64, u64)) -> u64| -> Map<String, Value> {
            let tiers = self.counts.tiers.iter();
            tiers.map(|(tier, _)| (tier.label().to_owned(), held(*tier).map(which).into())).collect()
        };
        json!({
            by: name,
            "hits": hits,
            "misses": misses,
            "hit_rate": rate(hits, misses),
            "joined": joined,
            "bypassed": bypassed,
            "entries": told(|(entries, _)| entries),
            "bytes": told(|(_, bytes)| bytes),
        })
    }

    /// As LocalChat tells of a level, with its targets beside it; `null` where there is no such tier.
    fn level(&self, level: &Level) -> Value {
        let Level { tier, hit_rate, latency, .. } = *level;
        if !self.counts.tiers.iter().any(|(other, _)| *other == tier) {
            return Value::Null;
        }
        let TierFigures { hits, misses, .. } = self.asked(tier);
        let (entries, bytes) = self.held(tier, |_, _| true);
        let reached = rate(hits, misses);
        let mut told = json!({
            "tier": tier.label(),
            "hits": hits,
            "misses": misses,
            "evictions": self.evictions.get(tier.label()).copied().unwrap_or(0),
            "size": entries,
            "size_mb": hundredths(bytes as f64 / f64::from(1 << 20)),
            "hit_rate": format!("{reached:.2}%"),
            "target_hit_rate": format!("{hit_rate:.2}%"),
            "meets_target": reached >= hit_rate,
            "target_latency_ms": latency,
        });
        if tier == TierName::Memory {
            let usage = bytes as f64 * 100.0 / self.capacity.max(1) as f64;
            told["max_size_mb"] = hundredths(self.capacity as f64 / f64::from(1 << 20)).into();
            told["usage"] = format!("{usage:.2}%").into();
        }
        if let Some(fault) = self.fault(tier) {
            (told["size"], told["size_mb"], told["fault"]) = (Value::Null, Value::Null, fault.into());
        }
        told
    }

    /// What `tier` was asked for.
    fn asked(&self, tier: TierName) -> TierFigures {
        let of_tier = self.tiers.iter().filter(|((other, _), _)| other == tier.label());
        of_tier.fold(TierFigures::default(), |sum, (_, one)| TierFigures {
            hits: sum.hits + one.hits,
            misses: sum.misses + one.misses,
            failed: sum.failed + one.failed,
        })
    }

    fn sum(&self, is_part: impl Fn(&str, Operation) -> bool) -> CallFigures {
        let parts = self.calls.iter().filter(|((model, operation), _)| is_part(model, *operation));
        parts.fold(CallFigures::default(), |sum, (_, one)| CallFigures {
            hits: sum.hits + one.hits,
            misses: sum.misses + one.misses,
            joined: sum.joined + one.joined,
            bypassed: sum.bypassed + one.bypassed,
        })
    }

    /// Entries, and their bytes, that `tier` has of a part.
    fn held(&self, tier: TierName, is_part: impl Fn(&str, Operation) -> bool) -> (u64, u64) {
        let tallies = self.counts.tiers.iter().filter(|(other, _)| *other == tier);
        let tallies = tallies.filter_map(|(_, told)| told.as_ref().ok()).flatten();
        let parts = tallies.filter(|tally| is_part(&tally.model, tally.operation));
        parts.fold((0, 0), |(entries, bytes), tally| (entries + tally.entries, bytes + tally.bytes))
    }

    /// Why `tier` does not tell what it has.
    fn fault(&self, tier: TierName) -> Option<String> {
        let (_, told) = self.counts.tiers.iter().find(|(other, _)| *other == tier)?;
        told.as_ref().err().map(ToString::to_string)
    }

    fn models(&self) -> impl Iterator<Item = &str> {
        let called = self.calls.keys().map(|(model, _)| model.as_str());
        let held = self.counts.tiers.iter().filter_map(|(_, told)| told.as_ref().ok()).flatten();
        let models: std::collections::BTreeSet<&str> =
            called.chain(held.map(|tally| &*tally.model)).collect();
        models.into_iter()
    }
}

/// Hits in a hundred look-ups, to two digits.
fn rate(hits: u64, misses: u64) -> f64 {
    match hits + misses {
        0 => 0.0,
        all => hundredths(hits as f64 * 100.0 / all as f64),
    }
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
