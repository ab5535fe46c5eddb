//! What a trip upstream is for, and who may share it.

use crate::cache::{CacheKey, Era, Label, Lease, Question, Since, Terms};
use crate::dialect::Form;
use crate::domain::{CallFacts, Payer, Route, Scope};
use crate::upstream::Identity;

/// One trip under way is shared by those who ask for the same thing of the same model by the same name, in a
/// request that even an upstream which refuses it, or packs its answer, could not tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FlightKey {
    pub key: CacheKey,
    /// Since when the model is what the key says: before that, another may have answered.
    pub since: u64,
    /// Of the request as it goes upstream.
    pub likeness: [u8; 32],
}

/// What a trip is for.
pub struct Plan {
    pub form: Form,
    pub payer: Payer,
    pub route: Route,
    pub facts: CallFacts,
    /// The model's name as the client wrote it.
    pub model: String,
    pub estimated_prompt_tokens: u64,
    /// Pictures in the question.
    pub images: u64,
    /// How to remember the answer, when it may be.
    pub keep: Option<Keep>,
    /// No other replica asks the same meanwhile. Goes with what is kept.
    pub lease: Option<Lease>,
}

/// Under what name and terms an answer is remembered.
#[derive(Clone)]
pub struct Keep {
    pub key: CacheKey,
    pub scope: Scope,
    pub label: Label,
    pub era: Era,
    pub identity: Identity,
    pub terms: Terms,
    pub question: Option<Box<Question>>,
}

impl Keep {
    pub fn since(&self) -> Since<'_> {
        Since { label: &self.label, era: self.era }
    }
}
