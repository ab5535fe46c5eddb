//! One text's vector, and the texts of a call, each by itself.

use super::Fingerprint;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// One text's vector, and what making it had cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// All finite, and at least one.
    pub numbers: Arc<[f32]>,
    /// Of the text.
    pub tokens: u32,
    /// `tokens` is this text's share of what several texts took together.
    pub estimated: bool,
    /// What the server says that it took, and how much of it to load the model; zero where it said nothing.
    pub total: Duration,
    pub load: Duration,
}

/// The texts of one embedding call. Two texts of any calls get the same vector from the same model when
/// their calls' `manner` and their own fingerprints are equal.
#[derive(Debug, Clone)]
pub struct Texts {
    /// Over everything but the text that decides a vector.
    pub manner: Fingerprint,
    /// Where the call asks for the first so many numbers of each vector: how many, and the manner of one
    /// that does not.
    pub shortened: Option<(usize, Fingerprint)>,
    /// The answer's vectors are to be base64 rather than numbers.
    pub base64: bool,
    /// Where `input` stands in the call's body.
    pub input: Range<usize>,
    /// In order, and never empty.
    pub items: Vec<Item>,
}

/// One text of a call.
#[derive(Debug, Clone)]
pub struct Item {
    /// Over the text alone.
    pub text: Fingerprint,
    /// Where it stands in the call's body, as a JSON string with its quotes.
    pub place: Range<usize>,
}

impl Embedding {
    /// Bytes of the numbers.
    pub fn size(&self) -> usize {
        size_of_val(&*self.numbers)
    }
}
