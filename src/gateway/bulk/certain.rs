//! What becomes of a batch's texts, told once it is certain: vectors of two models must not stand in one answer,
//! however long it takes.

use crate::cache::{Kept, TierName};
use crate::dialect::native::{Failure, complaint};
use crate::domain::{CacheOutcome, Embedding, Error};
use crate::gateway::Way;
use crate::gateway::answer::Answer;
use crate::gateway::fan::{Fan, Found};
use crate::upstream::Identity;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Texts that wait to become certain, at the most.
const AHEAD: usize = 1024;

/// What became of one text.
pub type Fate = Result<Vector, Failure>;

#[derive(Debug, Clone)]
pub struct Vector {
    pub embedding: Embedding,
    /// It was kept.
    pub known: bool,
    /// And its time is over.
    pub stale: bool,
}

/// The texts of a batch that are not known, on their way. Dropping it gives them up.
pub struct Certain {
    way: Arc<Way>,
    fan: Fan,
    /// Nothing more will come of it.
    is_over: bool,
    model: String,
    /// Where nobody knows what the model's name means, every answer is taken for what it is.
    identity: Option<Identity>,
    /// In their order; with the upstream that must have had the model all the time, and what it was there.
    came: VecDeque<(Fate, Option<Home>)>,
    /// So many of them from the first are certain.
    certain: usize,
    asking: Option<Asking>,
    /// Some of those that came were under way for somebody else; the others were kept, the lowest there.
    joined: bool,
    lowest: TierName,
}

/// An upstream's number, and what the model was there.
type Home = (usize, Identity);

/// Whether the upstreams still have the model.
struct Asking {
    /// How many, from the first, want to know.
    texts: usize,
    answer: AbortOnDropHandle<bool>,
}

impl Vector {
    pub fn made(embedding: Embedding) -> Self {
        Vector { embedding, known: false, stale: false }
    }

    pub fn of(kept: Kept) -> Self {
        Vector { stale: kept.is_over(Instant::now()), known: true, embedding: kept.embedding }
    }
}

impl Certain {
    /// `tier`: the lowest that any other of the batch's texts came from.
    pub fn new(way: &Arc<Way>, fan: Fan, model: &str, identity: Option<Identity>, tier: TierName) -> Self {
        Certain {
            way: way.clone(),
            fan,
            is_over: false,
            model: model.to_owned(),
            identity,
            came: VecDeque::new(),
            certain: 0,
            asking: None,
            joined: false,
            lowest: tier,
        }
    }

    /// What became of the next text, in the order in which they were wanted; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Fate> {
        loop {
            if let Some(fate) = self.take_certain() {
                return Some(fate);
            }
            self.ask();
            let wants_more = !self.is_over && self.came.len() < AHEAD;
            tokio::select! {
                still = heard(&mut self.asking), if self.asking.is_some() => self.hear(still),
                news = self.fan.next(), if wants_more => match news {
                    Some((_, news)) => {
                        let came = self.judge(news);
                        self.came.push_back(came);
                    }
                    None => self.is_over = true,
                },
                else => return None,
            }
        }
    }

    /// Where nobody has been asked for its sake: how the texts that came were had.
    pub fn given(&self) -> Option<CacheOutcome> {
        let kept = if self.lowest == TierName::Memory { CacheOutcome::Hit } else { CacheOutcome::HitBelow };
        let given = if self.joined { CacheOutcome::Joined } else { kept };
        (!self.fan.has_departed()).then_some(given)
    }

    fn take_certain(&mut self) -> Option<Fate> {
        let (_, home) = self.came.front()?;
        if self.certain > 0 {
            self.certain -= 1;
        } else if home.is_some() {
            return None;
        } else if let Some(asking) = &mut self.asking {
            asking.texts = asking.texts.saturating_sub(1);
        }
        self.came.pop_front().map(|(fate, _)| fate)
    }

    /// Asks for all that have come, unless somebody is being asked.
    fn ask(&mut self) {
        let Some(identity) = &self.identity else { return };
        if self.asking.is_some() || self.came.is_empty() {
            return;
        }
        let first = (0, identity.clone());
        let homes = self.came.iter().filter_map(|(_, home)| home.as_ref()).chain([&first]);
        let homes: BTreeMap<_, _> = homes.map(|(place, then)| ((*place, then.since), then.clone())).collect();
        let (way, model) = (self.way.clone(), self.model.clone());
        // A task of its own: whoever reads the models' names keeps everybody waiting meanwhile, and this batch may
        // stand still as long as its client takes nothing.
        let asking = tokio::spawn(async move {
            for ((place, _), identity) in homes {
                if !way.fleet.confirm(place, &model, &identity).await {
                    return false;
                }
            }
            true
        });
        self.asking = Some(Asking { texts: self.came.len(), answer: AbortOnDropHandle::new(asking) });
    }

    fn hear(&mut self, still: bool) {
        let Some(Asking { texts, .. }) = self.asking.take() else { return };
        self.certain = texts;
        if !still {
            for (fate, _) in self.came.iter_mut().take(texts).filter(|(_, home)| home.is_some()) {
                *fate = Err(failure("model_changed", "the model may have changed meanwhile", 502));
            }
        }
    }

    fn judge(&mut self, news: Result<Found, Error>) -> (Fate, Option<Home>) {
        if let Ok(Found::Answered { .. }) = news {
            self.joined = true;
        }
        match news {
            Ok(Found::Kept(kept, tier)) => {
                self.lowest = self.lowest.max(tier);
                (Ok(Vector::of(kept)), None)
            }
            Ok(Found::Unfit) => {
                (Err(failure("not_cached", "what is kept is not as was asked for", 504)), None)
            }
            Ok(Found::Answered { answer, .. }) if !answer.is_fine() => (Err(refused(&answer)), None),
            Ok(Found::Answered { answer, nth, .. }) => match answer.embedding_at_all(nth) {
                Some(embedding) => {
                    let home = self.identity.is_some().then(|| (answer.place, answer.identity.clone()));
                    (Ok(Vector::made(embedding)), home)
                }
                None => (Err(failure("unreadable", "the upstream's answer cannot be read", 502)), None),
            },
            Err(error) => (Err(Failure::of(&error)), None),
        }
    }
}

/// Waits for the answer; for ever where nobody was asked. Cancel safe.
async fn heard(asking: &mut Option<Asking>) -> bool {
    match asking {
        Some(asking) => (&mut asking.answer).await.unwrap_or(false),
        None => std::future::pending().await,
    }
}

fn refused(answer: &Answer) -> Failure {
    let status = answer.head.status.as_u16();
    let message = complaint(&answer.body).unwrap_or_else(|| format!("the upstream answers {status}"));
    Failure { code: "refused", message, status }
}

fn failure(code: &'static str, message: &str, status: u16) -> Failure {
    Failure { code, message: message.to_owned(), status }
}
