//! Takes the usage out of a stream whose client did not ask for it: Pannier asked in its place.

use crate::dialect::Form;
use crate::dialect::frame::{self, Framing, Splitter};
use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::LazyLock;

/// Passes a stream's pieces on without what `include_usage` put in, everything else byte for byte:
/// the chunk with `"choices":[]` goes, and of `/v1/completions` the `usage` of every other chunk too.
#[derive(Debug)]
pub struct UsageStrip {
    form: Form,
    splitter: Splitter,
    /// A frame grew beyond [`frame::LONGEST`]: from here on everything passes as it is.
    unread: bool,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: &'a RawValue,
    #[serde(borrow)]
    usage: &'a RawValue,
}

static USAGE: LazyLock<Finder> = LazyLock::new(|| Finder::new("\"usage\":"));

impl UsageStrip {
    pub fn new(form: Form) -> Self {
        UsageStrip { form, splitter: Splitter::new(Framing::Events), unread: false }
    }

    /// What of the stream can be sent now that `piece` has come; `None` for nothing. A frame is sent
    /// when it is there in full.
    pub fn pass(&mut self, piece: Bytes) -> Option<Bytes> {
        let plain =
            self.splitter.open().is_empty() && piece.ends_with(b"\n\n") && USAGE.find(&piece).is_none();
        if self.unread || plain {
            return Some(piece).filter(|piece| !piece.is_empty());
        }
        let mut kept = Vec::with_capacity(self.splitter.open().len() + piece.len());
        let form = self.form;
        self.splitter.feed(&piece, |frame| keep(form, frame, &mut kept));
        if self.splitter.open().len() > frame::LONGEST {
            self.unread = true;
            kept.append(&mut self.splitter.take_open());
        }
        (!kept.is_empty()).then(|| Bytes::from(kept))
    }

    /// What is left when the stream has ended: a frame without its end, unchanged.
    pub fn finish(&mut self) -> Option<Bytes> {
        let open = self.splitter.take_open();
        (!open.is_empty()).then(|| Bytes::from(open))
    }
}

/// Appends what stays of a frame.
fn keep(form: Form, frame: &[u8], kept: &mut Vec<u8>) {
    let chunk = USAGE.find(frame).and_then(|_| frame::event(frame).data);
    let chunk = chunk.and_then(|data| serde_json::from_slice::<Chunk>(data).ok());
    let Some(Chunk { choices, usage }) = chunk.filter(|chunk| chunk.usage.get().starts_with('{')) else {
        return kept.extend_from_slice(frame);
    };
    let has_choices = choices.get().trim_start_matches('[').trim_start() != "]";
    match member(frame, usage) {
        _ if !has_choices => {}
        Some((start, end)) if form == Form::OpenAiText => {
            kept.extend_from_slice(&frame[..start]);
            kept.extend_from_slice(&frame[end..]);
        }
        _ => kept.extend_from_slice(frame),
    }
}

/// Where the member with this value stands in a frame, one comma included.
fn member(frame: &[u8], value: &RawValue) -> Option<(usize, usize)> {
    let at = (value.get().as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
    let end = at + value.get().len();
    let before = frame.get(..at)?.trim_ascii_end().strip_suffix(b"\"usage\":")?.trim_ascii_end();
    if let Some(before) = before.strip_suffix(b",") {
        return Some((before.len(), end));
    }
    let after = frame.get(end..)?;
    let comma = after.len() - after.trim_ascii_start().len();
    let comma = if after.get(comma) == Some(&b',') { comma + 1 } else { 0 };
    Some((before.len(), end + comma))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::frame::LONGEST;
    use proptest::prelude::*;

    const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"}}],\"usage\":{\"prompt_tokens\":0}}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn strip(form: Form, pieces: &[&[u8]]) -> String {
        let mut strip = UsageStrip::new(form);
        let mut sent = Vec::new();
        for piece in pieces {
            sent.extend(strip.pass(Bytes::copy_from_slice(piece)));
        }
        sent.extend(strip.finish());
        String::from_utf8_lossy(&sent.concat()).into_owned()
    }

    #[test]
    fn a_piece_without_usage_is_passed_on_as_it_is() {
        let piece = Bytes::from_static(b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n");
        let passed = UsageStrip::new(Form::OpenAiChat).pass(piece.clone()).expect("two frames");
        assert_eq!(passed.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn only_the_usage_goes_wherever_it_stands() {
        for (before, after) in [
            (r#"{"id":1,"choices":[{}],"usage":{"a":[1,2]}}"#, r#"{"id":1,"choices":[{}]}"#),
            (r#"{"usage": {} , "choices":[{}]}"#, r#"{ "choices":[{}]}"#),
            (r#"{"choices":[{"usage":{}}] , "usage":{} ,"x":1}"#, r#"{"choices":[{"usage":{}}]  ,"x":1}"#),
            (r#"{"choices":[{}],"usage":null}"#, r#"{"choices":[{}],"usage":null}"#),
            (r#"{"choices":[{}],"usage":"#, r#"{"choices":[{}],"usage":"#),
            (r#"{"error":{"usage":{}}}"#, r#"{"error":{"usage":{}}}"#),
        ] {
            let frame = format!("data: {before}\n\n");
            assert_eq!(strip(Form::OpenAiText, &[frame.as_bytes()]), format!("data: {after}\n\n"));
            assert_eq!(strip(Form::OpenAiChat, &[frame.as_bytes()]), frame);
        }
        assert_eq!(strip(Form::OpenAiChat, &[b"data: {\"choices\":[ ],\"usage\":{}}\r\n\r\nrest"]), "rest");
    }

    #[test]
    fn a_frame_without_end_is_let_through() {
        let mut strip = UsageStrip::new(Form::OpenAiChat);
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let sent: usize =
            (0..LONGEST / piece.len() + 3).filter_map(|_| strip.pass(piece.clone())).map(|b| b.len()).sum();
        assert_eq!(sent, LONGEST + 3 * piece.len());
        assert_eq!(strip.finish(), None);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_stream(
            frames in proptest::collection::vec(proptest::sample::select(vec![TEXT, USAGE, DONE, ": ping\n\n", "data: {\n\n"]), 0..8),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
            text in any::<bool>(),
        ) {
            let form = if text { Form::OpenAiText } else { Form::OpenAiChat };
            let body = frames.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body.as_bytes()[pair[0]..pair[1]]).collect();
            let expected: String = frames.iter().filter(|&&frame| frame != USAGE).map(|&frame| match frame {
                TEXT if text => TEXT.replace(",\"usage\":{\"prompt_tokens\":0}", ""),
                frame => frame.to_owned(),
            }).collect();
            prop_assert_eq!(strip(form, &pieces), expected);
        }
    }
}
