//! A batch being answered, text after text.

use super::certain::{Certain, Fate, Vector};
use super::spare::{Spare, means_down};
use crate::cache::Kept;
use crate::dialect::native::{Counts, Failure, Teller};
use crate::domain::{Durations, Embedding, Observed, Source, Usage};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// So many texts in a row for which the upstream itself was at fault: the rest is not asked for any more.
const GIVE_UP: usize = 8;
/// Between two lines that tell how far it has come, at the least.
const PROGRESS: Duration = Duration::from_millis(500);
/// So much is written at once where nobody waits.
const PIECE: usize = 32 << 10;

/// A batch, and how far it has come. Dropping it gives up what is under way.
pub struct Job {
    /// For each that was given, which of the different texts it is; `None` for what is no text.
    given: Vec<Option<usize>>,
    texts: Vec<Text>,
    rest: Option<Certain>,
    /// Why nobody is asked for the rest.
    left_out: Option<Failure>,
    /// For the time that the upstream is down.
    spare: Option<Spare>,
    /// Texts in a row for which the upstream was at fault.
    at_fault: usize,
    telling: Telling,
    /// The request's body counts as held until all is told.
    _body: Bytes,
}

/// One of the different texts.
#[derive(Default)]
struct Text {
    fate: Option<Fate>,
    /// How many of those that were given are still to be told.
    wanted: usize,
}

/// What has been told, and what that came to.
struct Telling {
    teller: Teller,
    streamed: bool,
    /// What is to be written next. Of a whole answer nothing is, until a text has a vector: it may be an error.
    ready: Vec<u8>,
    counts: Counts,
    begun: Instant,
    /// When it was told how far it has come.
    told: Instant,
    /// The first text's failure, as long as all others have failed for the same reason.
    all_failed: Option<Failure>,
    usage: Usage,
    durations: Durations,
}

impl Job {
    /// `places`: for each that was given, the how-manieth text it is.
    pub fn new(
        teller: Teller,
        streamed: bool,
        places: Vec<Option<usize>>,
        begun: Instant,
        body: Bytes,
    ) -> Self {
        let counts = Counts { of: places.len(), ..Counts::default() };
        let telling = Telling {
            teller,
            streamed,
            ready: Vec::new(),
            counts,
            begun,
            told: begun,
            all_failed: None,
            usage: Usage { source: Source::Upstream, ..Usage::default() },
            durations: Durations::default(),
        };
        let (texts, rest, left_out, spare) = (Vec::new(), None, None, None);
        Job { given: places, texts, rest, left_out, spare, at_fault: 0, telling, _body: body }
    }

    /// `which` of the different texts each text is, and what is `known` of those.
    pub fn take_known(&mut self, which: &[usize], known: Vec<Option<Kept>>) {
        let vector = |kept: Kept| Ok(Vector::of(kept));
        self.texts = known.into_iter().map(|kept| Text { fate: kept.map(vector), wanted: 0 }).collect();
        for given in self.given.iter_mut().flatten() {
            *given = which[*given];
            self.texts[*given].wanted += 1;
        }
    }

    /// What is not known is on its way.
    pub fn ask(&mut self, rest: Certain) {
        self.rest = Some(rest);
    }

    /// What is given where it turns out that the upstream is down.
    pub fn make_up_for(&mut self, spare: Option<Spare>) {
        self.spare = spare;
    }

    /// What is not known is not asked for.
    pub fn leave_out(&mut self, why: Failure) {
        (self.rest, self.left_out) = (None, Some(why));
    }

    pub async fn run(mut self, out: &Sender<Bytes>) -> Result<Observed, Failure> {
        let known = self.texts.iter().filter(|text| text.fate.is_some()).map(|text| text.wanted).sum();
        self.telling.begin(known);
        for index in 0..self.given.len() {
            let fate = match self.given[index] {
                Some(at) => self.fate(at, out).await,
                None => Err(no_text()),
            };
            self.telling.tell(index, &fate);
            self.telling.hand_over(PIECE, out).await;
        }
        if let Some(failure) = self.telling.all_failed.take().filter(|_| !self.telling.streamed) {
            return Err(failure);
        }
        self.telling.end();
        self.telling.send(out).await;
        Ok(self.telling.observed())
    }

    /// What becomes of a text.
    async fn fate(&mut self, at: usize, out: &Sender<Bytes>) -> Fate {
        if self.texts[at].fate.is_none() {
            let fate = match (&mut self.rest, &self.left_out) {
                (Some(rest), _) => {
                    self.telling.hand_over(0, out).await;
                    rest.next().await.unwrap_or_else(|| Err(lost()))
                }
                (None, left_out) => Err(left_out.clone().unwrap_or_else(lost)),
            };
            self.heed(&fate);
            self.texts[at].fate = Some(self.or_spare(at, fate));
        }
        let text = &mut self.texts[at];
        text.wanted -= 1;
        let fate = if text.wanted == 0 { text.fate.take() } else { text.fate.clone() };
        fate.unwrap_or_else(|| Err(lost()))
    }

    fn or_spare(&self, at: usize, fate: Fate) -> Fate {
        match &fate {
            Err(failure) if means_down(failure) => {
                let kept = self.spare.as_ref().and_then(|spare| spare.find(at));
                kept.map_or(fate, |kept| Ok(Vector::of(kept)))
            }
            _ => fate,
        }
    }

    /// An upstream that is not there, or knows no such model, need not be asked for all the others.
    fn heed(&mut self, fate: &Fate) {
        match fate {
            Err(failure) if !is_of_text(failure) => self.at_fault += 1,
            _ => self.at_fault = 0,
        }
        if let (Err(failure), GIVE_UP) = (fate, self.at_fault) {
            self.leave_out(failure.clone());
        }
    }
}

impl Telling {
    fn begin(&mut self, known: usize) {
        self.teller.begin(&mut self.ready, self.counts.of, known);
    }

    fn tell(&mut self, index: usize, fate: &Fate) {
        self.counts.done += 1;
        match fate {
            Ok(Vector { embedding, known, stale }) => {
                self.counts.known += usize::from(*known);
                self.all_failed = None;
                self.add(embedding);
                self.teller.vector(&mut self.ready, index, embedding, *stale);
            }
            Err(failure) => {
                let is_like = |first: &Failure| (first.code, first.status) == (failure.code, failure.status);
                self.all_failed = match (self.counts.failed, self.all_failed.take()) {
                    (0, _) if self.counts.done == 1 => Some(failure.clone()),
                    (_, first) => first.filter(is_like),
                };
                self.counts.failed += 1;
                self.teller.failure(&mut self.ready, index, failure);
            }
        }
        if self.streamed && self.told.elapsed() >= PROGRESS && self.counts.done < self.counts.of {
            self.told = Instant::now();
            self.counts.took = self.begun.elapsed();
            self.teller.progress(&mut self.ready, &self.counts);
        }
    }

    fn add(&mut self, embedding: &Embedding) {
        if embedding.estimated {
            self.usage.source = Source::Estimated;
        }
        self.usage.prompt += u64::from(embedding.tokens);
        self.counts.tokens = self.usage.prompt;
        self.durations.total += embedding.total;
        self.durations.load = self.durations.load.max(embedding.load);
    }

    fn end(&mut self) {
        self.counts.took = self.begun.elapsed();
        self.teller.end(&mut self.ready, &self.counts);
    }

    /// Gives away what is ready, where that is more than `least`.
    async fn hand_over(&mut self, least: usize, out: &Sender<Bytes>) {
        let may_begin = self.streamed || self.counts.succeeded() > 0;
        if may_begin && self.ready.len() > least {
            self.send(out).await;
        }
    }

    async fn send(&mut self, out: &Sender<Bytes>) {
        // Whoever takes it lives as long as this.
        let _ = out.send(Bytes::from(std::mem::take(&mut self.ready))).await;
    }

    fn observed(&self) -> Observed {
        let Telling { usage, durations, .. } = *self;
        Observed { usage, durations, complete: true, ..Observed::default() }
    }
}

/// Whether a text alone is at fault; to another one the upstream may say something else.
fn is_of_text(failure: &Failure) -> bool {
    failure.code == "refused" && matches!(failure.status, 400 | 413 | 422 | 500)
}

fn no_text() -> Failure {
    Failure { code: "bad_text", message: "this is no text".to_owned(), status: 400 }
}

fn lost() -> Failure {
    Failure { code: "internal", message: "the text was lost".to_owned(), status: 500 }
}
