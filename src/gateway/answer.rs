//! What a call for one text or several brought.

use super::order::Order;
use crate::batch::share;
use crate::dialect::{Form, Looks, Vectors, read_embeddings, read_embeddings_at_all};
use crate::domain::{Embedding, Error, Observed};
use crate::upstream::{Head, Identity};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// [`Looks`] that last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appearance {
    pub form: Form,
    base64: bool,
    pub model: String,
}

/// What a call brought.
pub struct Answer {
    pub head: Head,
    pub body: Bytes,
    pub looks: Appearance,
    pub observed: Observed,
    /// Which upstream gave it, and what its model was there when it was asked.
    pub place: usize,
    pub identity: Identity,
    pub took: Duration,
    /// Bytes of each text.
    pub weights: Vec<usize>,
    /// Its vectors, once somebody has looked.
    pub read: OnceLock<Option<Vec<Embedding>>>,
}

/// How a call may end.
pub type Outcome = Result<Arc<Answer>, Error>;

impl Answer {
    /// The vector of its `nth` text; `None` where the answer is an error, or not understood to the last byte.
    pub fn embedding(&self, nth: usize) -> Option<&Embedding> {
        self.read.get_or_init(|| self.each(read_embeddings)).as_ref()?.get(nth)
    }

    /// The same, also where something else stands in the answer that is not understood.
    pub fn embedding_at_all(&self, nth: usize) -> Option<Embedding> {
        let exact = self.embedding(nth).cloned();
        exact.or_else(|| self.each(read_embeddings_at_all)?.into_iter().nth(nth))
    }

    /// Whether the upstream has done what it was asked.
    pub fn is_fine(&self) -> bool {
        self.head.status.as_u16() == 200
    }

    /// How many texts it is for.
    pub fn texts(&self) -> usize {
        self.weights.len()
    }

    fn each(&self, read: impl Fn(Looks<'_>, &[u8]) -> Option<Vectors>) -> Option<Vec<Embedding>> {
        if !self.is_fine() || !self.observed.complete {
            return None;
        }
        let vectors = read(self.looks.borrowed(), &self.body)?;
        let count = self.weights.len();
        if vectors.each.len() != count {
            return None;
        }
        let tokens = share(vectors.tokens, &self.weights);
        // `/v1/embeddings` does not say how long it took.
        let total = if vectors.total.is_zero() { self.took } else { vectors.total };
        let embedding = |(numbers, tokens)| Embedding {
            numbers,
            tokens,
            estimated: count > 1,
            total: total / count as u32,
            load: vectors.load,
        };
        Some(vectors.each.into_iter().zip(tokens).map(embedding).collect())
    }
}

impl Appearance {
    pub fn of(looks: Looks<'_>) -> Self {
        Appearance { form: looks.form, base64: looks.base64, model: looks.model.to_owned() }
    }

    pub fn borrowed(&self) -> Looks<'_> {
        Looks { form: self.form, base64: self.base64, model: &self.model }
    }
}

impl Order<'_> {
    /// How the client wants its answer.
    pub fn looks(&self) -> Looks<'_> {
        let base64 = self.call.texts.as_ref().is_some_and(|texts| texts.base64);
        Looks { form: self.request.form, base64, model: &self.call.model }
    }
}
