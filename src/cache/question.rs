//! What an answer answers: kept beside it, so that it can be told from another question, and asked again.
//!
//! As private as the answer itself: outside of the process it is sealed with it, and only who holds the admin
//! key is ever shown anything of it.

use crate::domain::Scope;
use bytes::Bytes;
use std::sync::Arc;

/// Shorter bodies hardly ever get smaller.
const WORTH_PACKING: usize = 256;
/// zstd's quickest that is worth it: there is one for each answer.
const LEVEL: i32 = 1;

/// One request's body, and all that stands in a key beside it.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    pub scope: Scope,
    pub epoch: Arc<str>,
    pub upstream: Arc<str>,
    pub version: Arc<str>,
    pub digest: Arc<str>,
    /// Path and query.
    pub target: Bytes,
    /// Of the body, unpacked.
    length: u32,
    /// Packed where that makes it shorter than `length`.
    body: Bytes,
}

impl Question {
    /// `body` as it can be read. `None` where it is larger than `most`.
    pub fn of(body: Bytes, most: usize, beside: &Question) -> Option<Box<Question>> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= most)?;
        Some(Box::new(Question { length, body, ..beside.clone() }))
    }

    /// All but the body.
    pub fn without_body(scope: Scope, texts: [Arc<str>; 4], target: Bytes) -> Question {
        let [epoch, upstream, version, digest] = texts;
        Question { scope, epoch, upstream, version, digest, target, length: 0, body: Bytes::new() }
    }

    /// From what [`Question::stored`] gave. `None` where that cannot be.
    pub(super) fn read(beside: Question, length: u32, body: Bytes) -> Option<Box<Question>> {
        (body.len() <= length as usize).then(|| Box::new(Question { length, body, ..beside }))
    }

    /// The body's length, and the body as it is held.
    pub(super) fn stored(&self) -> (u32, &Bytes) {
        (self.length, &self.body)
    }

    /// In as little room as it takes.
    pub fn packed(mut self: Box<Self>) -> Box<Self> {
        if self.body.len() >= WORTH_PACKING
            && self.body.len() == self.length as usize
            && let Ok(packed) = zstd::bulk::compress(&self.body, LEVEL)
            && packed.len() < self.body.len()
        {
            self.body = packed.into();
        } else {
            // Its own bytes, not a part of something larger.
            self.body = Bytes::copy_from_slice(&self.body);
        }
        self.target = Bytes::copy_from_slice(&self.target);
        self
    }

    /// The request's body. `None` where it cannot be unpacked.
    pub fn body(&self) -> Option<Bytes> {
        let length = self.length as usize;
        if self.body.len() == length {
            return Some(self.body.clone());
        }
        let body = zstd::bulk::decompress(&self.body, length).ok()?;
        (body.len() == length).then(|| body.into())
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        let texts = [&self.epoch, &self.upstream, &self.version, &self.digest];
        let texts: usize = texts.into_iter().map(|text| text.len()).sum();
        size_of::<Self>() + texts + self.target.len() + self.body.len()
    }
}

/// Shows nothing of what was asked.
impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Question({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(body: Bytes) -> Box<Question> {
        let beside = Question::without_body(
            Scope([1; 32]),
            ["e", "u", "v", "d"].map(Arc::from),
            Bytes::from_static(b"/api/chat"),
        );
        Question::of(body, 1 << 20, &beside).expect("small enough")
    }

    #[test]
    fn a_long_one_takes_less_room_and_a_larger_one_is_not_kept() {
        let text = Bytes::from("why is the sky blue? ".repeat(100));
        let (plain, packed) = (question(text.clone()), question(text.clone()).packed());
        assert!(packed.weight() + 1500 < plain.weight(), "{} of {}", packed.weight(), plain.weight());
        assert_eq!((plain.body(), packed.body()), (Some(text.clone()), Some(text.clone())));
        assert_eq!(packed.clone().packed().body(), Some(text.clone()), "packed once");
        assert!(Question::of(text.clone(), text.len() - 1, &plain).is_none());
        assert!(Question::of(text.clone(), text.len(), &plain).is_some());
    }

    #[test]
    fn its_text_is_in_no_log() {
        let shown = format!("{:?}", question(Bytes::from_static(b"a secret")));
        assert_eq!(shown, "Question(8 bytes)");
    }

    proptest! {
        #[test]
        fn any_body_comes_back(body in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let body = Bytes::from(body);
            prop_assert_eq!(question(body.clone()).packed().body(), Some(body));
        }
    }
}
