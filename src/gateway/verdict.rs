//! From all that was said of a request: what would become of it, and why.

use super::explanation::{Explanation, Texts};
use super::sight::{KNOWN, NOTHING};
use crate::cache::Directives;
use crate::domain::{CacheOutcome, Reason};

impl Explanation {
    /// Fills in the verdict, unless there is one.
    pub fn conclude(&mut self, directives: &Directives) {
        if !self.verdict.is_empty() {
            return;
        }
        let forbidden = directives.secrecy().or(directives.forbids());
        self.reason = forbidden.map(Reason::label);
        if let Some(why) = directives.secrecy() {
            let why = format!("the request itself says {}: nothing is looked up or kept", why.label());
            return self.end(CacheOutcome::Bypass, why);
        }
        if let Some(why) = directives.forbids() {
            let why =
                format!("the request itself wants a new answer ({}); that one may be kept", why.label());
            return self.end(CacheOutcome::Bypass, why);
        }
        let has_it = self.tiers.iter().find(|says| says.says == KNOWN).map(|says| says.tier);
        match (&self.texts, has_it) {
            (Some(texts), _) if texts.known == texts.of => {
                return self.end(CacheOutcome::Hit, "the vectors of all its texts are known");
            }
            (None, Some(tier)) => return self.end(CacheOutcome::Hit, format!("{tier} has it")),
            _ => {}
        }
        let whys = self.tiers.iter().map(|says| says.why);
        self.reason = whys.fold(None, Reason::telling).map(Reason::label);
        if self.under_way && !directives.only_if_cached {
            let why = "the same is under way for somebody: this request would get it from there";
            return self.end(CacheOutcome::Joined, why);
        }
        if self.elsewhere && !directives.only_if_cached {
            let why = "another replica has the lease and is asking the same: this request would wait for what it keeps";
            return self.end(CacheOutcome::Joined, why);
        }
        self.verdict = CacheOutcome::Miss.label();
        self.because.extend(self.reasons_of_a_miss());
        if directives.only_if_cached {
            self.because.push("the request wants a kept answer or none: it is told 504".into());
        }
    }

    fn reasons_of_a_miss(&self) -> Vec<String> {
        let mut because = Vec::new();
        if let Some(Texts { of, known, .. }) = self.texts {
            because.push(format!("of {of} different texts {known} are known"));
            let silent = self.tiers.iter().filter(|says| says.why == Some(Reason::TierDown));
            because.extend(silent.map(|says| format!("{}: {}", says.tier, says.says)));
        } else if self.tiers.iter().all(|says| says.says == NOTHING) {
            because.push("no tier has an answer under this key".to_owned());
        } else {
            let telling = self.tiers.iter().filter(|says| says.says != NOTHING);
            because.extend(telling.map(|says| format!("{}: {}", says.tier, says.says)));
        }
        for other in &self.known_to {
            because
                .push(format!("the very same is known to {other}, who shares no answers with {}", self.team));
        }
        if let Some(near) = &self.nearest.entry {
            let fields: Vec<&str> = near.differs.iter().map(|differs| differs.field.as_str()).collect();
            let named = fields.len().min(4);
            let more = if named < fields.len() { " and more" } else { "" };
            because
                .push(format!("the nearest that is known differs in {}{more}", fields[..named].join(", ")));
        }
        because
    }
}
