//! All that is kept, a line for each entry: of the lowest tier, which has most; of the memory, where there is none.

use super::Gateway;
use super::shown::{InTier, ShownQuestion, answer};
use super::warm::sharers;
use crate::cache::{CacheKey, Held, Listing, Payload, Selection, Sight, TierName};
use crate::domain::Scope;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Entries are opened together up to so many bytes.
const TOGETHER: u64 = 4 << 20;
/// Pages of a list that may wait: whoever reads slowly slows down whoever lists.
const WAITING: usize = 1;

#[derive(Serialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    what: InTier,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<ShownQuestion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
}

impl Gateway {
    /// Writes a line on each entry that is meant, with its question where that is kept, and with its answer where
    /// that is wanted; last, whether these were all. Ends early when nobody reads the lines.
    pub async fn export(&self, selection: &Selection, answers: bool, lines: &mpsc::Sender<Bytes>) {
        let (entries, fault) = match self.way.tiers.is_empty() {
            true => (self.export_memory(selection, answers, lines).await, None),
            false => self.export_below(selection, answers, lines).await,
        };
        let end = json!({ "done": fault.is_none(), "entries": entries, "fault": fault });
        let _ = lines.send(written(&end)).await;
    }

    async fn export_below(
        &self,
        selection: &Selection,
        answers: bool,
        lines: &mpsc::Sender<Bytes>,
    ) -> (u64, Option<String>) {
        let (told, mut heard) = mpsc::channel(WAITING);
        let list = async move { self.way.tiers.list(selection, &told).await };
        let write = async move {
            let mut count = 0;
            while let Some((tier, listed)) = heard.recv().await {
                for some in together(&listed) {
                    for line in self.lines(tier, some, answers).await {
                        if lines.send(written(&line)).await.is_err() {
                            return count;
                        }
                        count += 1;
                    }
                }
            }
            count
        };
        let (listed, count) = tokio::join!(list, write);
        (count, listed.err().map(|fault| fault.to_string()))
    }

    async fn lines(&self, tier: TierName, listed: &[Listing], answers: bool) -> Vec<Line> {
        let policy = self.policy.load_full();
        let scopes = |listing: &Listing| -> Vec<Scope> {
            sharers(&policy, listing).iter().map(|consumer| consumer.scope).collect()
        };
        let sights = self.way.tiers.open_listed(listed, scopes).await;
        let line = |(listing, sight): (&Listing, Sight)| {
            let payload = match sight {
                Sight::There(payload) => Some(payload),
                Sight::Nothing | Sight::Unopenable => None,
            };
            Line::of(listing.key, InTier::below(tier, listing), payload.as_ref(), answers)
        };
        listed.iter().zip(sights).map(line).collect()
    }

    async fn export_memory(&self, selection: &Selection, answers: bool, lines: &mpsc::Sender<Bytes>) -> u64 {
        let (told, mut heard) = mpsc::channel::<(CacheKey, Held)>(WAITING);
        let list = self.way.stock.list(selection.clone(), told);
        let write = async move {
            let mut count = 0;
            while let Some((key, held)) = heard.recv().await {
                let line = Line::of(key, InTier::in_memory(&held), Some(&held.payload), answers);
                if lines.send(written(&line)).await.is_err() {
                    return count;
                }
                count += 1;
            }
            count
        };
        tokio::join!(list, write).1
    }
}

impl Line {
    fn of(key: CacheKey, what: InTier, payload: Option<&Payload>, answers: bool) -> Self {
        let question = payload.and_then(Payload::question).and_then(ShownQuestion::of);
        let answer = payload.filter(|_| answers).map(answer);
        Line { key: key.to_string(), what, question, answer }
    }
}

/// Parts of a list whose entries are not too large together; each has one at least.
fn together(listed: &[Listing]) -> impl Iterator<Item = &[Listing]> {
    let mut rest = listed;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |listing: &&Listing| {
            bytes += listing.bytes;
            bytes <= TOGETHER
        };
        let number = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (some, others) = rest.split_at(number);
        rest = others;
        (!some.is_empty()).then_some(some)
    })
}

fn written(line: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(line).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
