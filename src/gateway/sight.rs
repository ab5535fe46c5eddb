//! What a tier has to say of a request, in words.

use super::explain::Subject;
use super::explanation::TierSays;
use crate::cache::{Entry, Look, Payload, Sight, Told};
use crate::domain::Reason;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of an answer that the request would get.
pub const KNOWN: &str = "known";
pub const NOTHING: &str = "nothing";

impl Subject<'_> {
    pub fn says(&self, look: &Look) -> TierSays {
        let says = match &look.told {
            Told::Unused => TierSays::of("no such entries are kept there"),
            Told::LeftOut(_) => TierSays::unfit(Reason::TierDown, "left alone: it has failed of late"),
            Told::Failed(_) => TierSays::unfit(Reason::TierDown, "it cannot be asked"),
            Told::Has(sights) => match sights.first() {
                Some(sight) => self.sight(sight, look.ttl),
                None => TierSays::of(NOTHING),
            },
        };
        says.by(look.tier)
    }

    pub fn sight(&self, sight: &Sight, most: Duration) -> TierSays {
        match sight {
            Sight::Nothing => TierSays::of(NOTHING),
            Sight::Unopenable => TierSays::unfit(Reason::Unopened, "something that cannot be opened"),
            Sight::There(payload) => self.judge(payload, most),
        }
    }

    /// Whether this request may have `payload`, which is used for at most so long.
    pub fn judge(&self, payload: &Payload, most: Duration) -> TierSays {
        let says = self.age(payload.stored(), payload.ttl(), most);
        let tellable = |entry: &Arc<Entry>| self.order.in_mode(entry).is_some();
        match payload {
            Payload::Answer(entry) if says.says == KNOWN && !tellable(entry) => {
                let but = "known, but it cannot be told in this mode without a doubt";
                TierSays { says: but, why: Some(Reason::Mode), ..says }
            }
            _ => says,
        }
    }

    pub fn age(&self, stored: Instant, ttl: Duration, most: Duration) -> TierSays {
        let age = Instant::now().saturating_duration_since(stored);
        let life = ttl.min(self.terms.ttl);
        let directives = &self.order.directives;
        let wanted = || if directives.may_look_up() { directives.accept(age, life) } else { Ok(()) };
        let says = if age >= ttl {
            TierSays::unfit(Reason::Expired, "it was known, and is over")
        } else if age >= most || age >= life {
            TierSays::unfit(Reason::Expired, "it is older than the settings allow")
        } else if let Err(why) = wanted() {
            TierSays::unfit(why, "known, but not as fresh as the request wants it")
        } else {
            TierSays::of(KNOWN)
        };
        TierSays { age: Some(age.as_secs()), ttl: Some(life.as_secs()), ..says }
    }
}
