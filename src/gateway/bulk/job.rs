//! A batch being answered, text after text.

use super::certain::{Certain, Fate, Vector};
use super::spare::{Spare, means_down};
use super::telling::Telling;
use crate::cache::Kept;
use crate::dialect::native::{Failure, Teller};
use crate::domain::{CacheOutcome, Observed};
use bytes::Bytes;
use std::time::Instant;
use tokio::sync::mpsc::Sender;

/// So many texts in a row for which the upstream itself was at fault: the rest is not asked for any more.
const GIVE_UP: usize = 8;
/// So much is written at once where nobody waits.
const PIECE: usize = 32 << 10;

/// What a batch came to.
#[derive(Debug, Clone)]
pub struct End {
    pub observed: Observed,
    /// Where nobody was asked for its sake after all: how it was had.
    pub given: Option<CacheOutcome>,
}

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

impl Job {
    /// `places`: for each that was given, the how-manieth text it is.
    pub fn new(
        teller: Teller,
        streamed: bool,
        places: Vec<Option<usize>>,
        begun: Instant,
        body: Bytes,
    ) -> Self {
        let telling = Telling::new(teller, streamed, places.len(), begun);
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

    /// Tells it; in the end, what it came to.
    pub async fn run(mut self, out: &Sender<Bytes>) -> Result<End, Failure> {
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
        if let Some(failure) = self.telling.instead() {
            return Err(failure);
        }
        self.telling.end();
        self.telling.send(out).await;
        let is_whole = !self.telling.has_failures();
        let given = self.rest.as_ref().filter(|_| is_whole).and_then(Certain::given);
        Ok(End { observed: self.telling.observed(), given })
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
