//! A remembered answer, finished but for what is fresh at each replay: one copy, a few patches, one write.

use super::respond::CACHE_STATUS;
use crate::cache::Entry;
use crate::domain::{Pour, Slot, Template};
use bytes::Bytes;
use http::header;
use std::time::SystemTime;

/// The bytes of an answer on the wire, head first.
pub struct Rendition {
    /// Status line and the fields that never change, the length among them.
    head: Box<[u8]>,
    /// The body as it stands on the wire (in chunks when it is streamed); none when it is the entry's own.
    body: Option<Bytes>,
    slots: Template,
    /// Bytes of the body itself, chunk framing not counted.
    pub content_len: usize,
}

/// A body up to this size is copied, and goes out with its head in one write.
const LONGEST: usize = 256 << 10;

/// What is fresh about one replay.
pub struct Fresh<'a> {
    pub now: SystemTime,
    pub seed: u64,
    /// `Date`, as RFC 9110 writes it.
    pub date: &'a [u8],
    pub id: &'a [u8; 36],
    /// Seconds.
    pub age: u64,
    pub ttl: u64,
}

impl Rendition {
    /// `template` is of `entry`, which is `stored` itself or the same in the other mode. `None` when the answer
    /// is too large for 32-bit offsets once it is cut into chunks.
    pub fn of(stored: &Entry, entry: &Entry, template: &Template) -> Option<Self> {
        let streamed = !entry.frames.is_empty();
        let content_len = template.body.len();
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        for (name, value) in entry.headers.iter() {
            field(&mut head, name.as_str(), value.as_bytes());
        }
        let (template, own) = if streamed {
            field(&mut head, header::TRANSFER_ENCODING.as_str(), b"chunked");
            (chunked(template)?, true)
        } else {
            field(&mut head, header::CONTENT_LENGTH.as_str(), content_len.to_string().as_bytes());
            let own = template.body.as_ptr() != stored.body.as_ptr();
            (template.clone(), own)
        };
        field(&mut head, header::CONNECTION.as_str(), b"keep-alive");
        let body = own.then(|| template.body.clone());
        let slots = Template { body: Bytes::new(), frames: Box::default(), slots: template.slots };
        Some(Rendition { head: head.into(), body, slots, content_len })
    }

    /// Bytes that it holds beside the entry's.
    pub fn weight(&self) -> usize {
        self.head.len()
            + self.body.as_ref().map_or(0, Bytes::len)
            + self.slots.slots.len() * size_of::<Slot>()
    }

    /// Appends head and body to `out`, `entry` being the stored one; a long body is returned instead, to be written as the client takes it.
    pub fn write(&self, entry: &Entry, fresh: &Fresh<'_>, out: &mut Vec<u8>) -> Option<Pour> {
        let body = self.body.as_ref().unwrap_or(&entry.body);
        let is_long = body.len() > LONGEST;
        out.reserve(self.head.len() + if is_long { 0 } else { body.len() } + 256);
        out.extend_from_slice(&self.head);
        field(out, header::DATE.as_str(), fresh.date);
        field(out, "x-request-id", fresh.id);
        let mut number = itoa::Buffer::new();
        field(out, header::AGE.as_str(), number.format(fresh.age).as_bytes());
        out.extend_from_slice(CACHE_STATUS.as_str().as_bytes());
        out.extend_from_slice(b": pannier; hit; ttl=");
        out.extend_from_slice(number.format(fresh.ttl).as_bytes());
        out.extend_from_slice(b"; detail=memory\r\n\r\n");
        if is_long {
            let template = Template { body: body.clone(), ..self.slots.clone() };
            return Some(Pour::new(template, fresh.now, fresh.seed));
        }
        let from = out.len();
        out.extend_from_slice(body);
        if !self.slots.slots.is_empty() {
            self.slots.fill(&mut out[from..], fresh.now, fresh.seed);
        }
        None
    }
}

/// `template` in HTTP chunks, one a frame: what reads a chunk reads a frame.
fn chunked(template: &Template) -> Option<Template> {
    let mut body = Vec::with_capacity(template.body.len() + template.frames.len() * 8 + 5);
    let mut slots = Vec::with_capacity(template.slots.len());
    let mut waiting = template.slots.iter().peekable();
    let mut from = 0usize;
    for &end in &template.frames {
        let frame = &template.body[from..end as usize];
        body.extend_from_slice(format!("{:X}\r\n", frame.len()).as_bytes());
        let shift = u32::try_from(body.len()).ok()?;
        while let Some(slot) = waiting.next_if(|slot| slot.at < end) {
            slots.push(Slot { at: slot.at - from as u32 + shift, ..*slot });
        }
        body.extend_from_slice(frame);
        body.extend_from_slice(b"\r\n");
        from = end as usize;
    }
    body.extend_from_slice(b"0\r\n\r\n");
    u32::try_from(body.len()).ok()?;
    Some(Template { body: body.into(), frames: Box::default(), slots: slots.into() })
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
