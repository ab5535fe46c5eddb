//! A kept answer in the mode that a request asks for: whole or streamed, whichever way it was given first.

use super::order::Order;
use crate::cache::{Entry, Hits};
use crate::dialect;
use crate::domain::Operation;
use std::sync::Arc;

impl Order<'_> {
    /// `None` where the answer cannot be told in the other mode without a doubt.
    pub fn in_mode(&self, stored: &Arc<Entry>) -> Option<Arc<Entry>> {
        let (form, was_streamed) = (self.request.form, !stored.frames.is_empty());
        if was_streamed == self.call.streamed || self.call.operation == Operation::Embed {
            return Some(stored.clone());
        }
        let grain = self.replay.grain();
        let pieces = dialect::turn(form, was_streamed, &stored.pieces(), self.call.offers_tools, grain)?;
        let mut end = 0;
        let ends = pieces.iter().map(|piece| {
            end += piece.len();
            u32::try_from(end).ok()
        });
        let ends = ends.collect::<Option<Box<[u32]>>>()?;
        Some(Arc::new(Entry {
            frames: if self.call.streamed { ends } else { Box::default() },
            headers: dialect::head(form, self.call.streamed).into(),
            body: pieces.concat().into(),
            model: stored.model.clone(),
            observed: stored.observed,
            took: stored.took,
            stored: stored.stored,
            ttl: stored.ttl,
            question: None,
            hits: Hits::default(),
        }))
    }

    /// Whether `entry`, which comes from outside of this process, is what a replay needs.
    pub fn can_show(&self, entry: &Entry) -> bool {
        let streamed = !entry.frames.is_empty();
        dialect::cut(self.request.form, streamed, &entry.pieces(), &entry.model).is_some()
    }
}
