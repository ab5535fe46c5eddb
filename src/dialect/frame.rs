//! Frames: the lines of an NDJSON answer and the events of an SSE answer, cut out of pieces that end
//! anywhere, and events written. Reads terminators only, never what stands in a frame.

use super::Form;
use bytes::Bytes;
use memchr::{memchr, memchr_iter};

/// A frame longer than this is not waited for. Ollama's own client gives up at 8 MB a line.
pub const LONGEST: usize = 4 << 20;

/// What ends a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `\n`: `application/x-ndjson`.
    Lines,
    /// An empty line: `text/event-stream`.
    Events,
}

/// Finds frames in pieces. Copies only a frame that lies in more than one piece.
#[derive(Debug)]
pub struct Splitter {
    framing: Framing,
    /// The beginning of the frame that the last piece left open.
    open: Vec<u8>,
}

/// One SSE event, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event<'a> {
    /// Empty where the event has no `event:` line.
    pub name: &'a [u8],
    /// `None` without a `data:` line (a comment), and with more than one (nobody sends that here).
    pub data: Option<&'a [u8]>,
}

impl Framing {
    /// How an answer to a call of this form is framed when it is streamed.
    pub fn of(form: Form) -> Framing {
        match form {
            Form::Generate | Form::Chat | Form::Embed | Form::Embeddings | Form::Transcription => {
                Framing::Lines
            }
            Form::OpenAiChat | Form::OpenAiText | Form::OpenAiEmbed | Form::Responses | Form::Messages => {
                Framing::Events
            }
        }
    }

    /// Offset just past the first frame that ends in `piece`; `open` is what came before of it.
    fn end(self, open: &[u8], piece: &[u8]) -> Option<usize> {
        let newline = match self {
            Framing::Lines => memchr(b'\n', piece),
            Framing::Events => memchr_iter(b'\n', piece).find(|&at| ends_in_new_line(open, &piece[..at])),
        };
        newline.map(|at| at + 1)
    }
}

/// Whether the line that begins at the end of `open` followed by `head` is empty so far (`\r` aside).
fn ends_in_new_line(open: &[u8], head: &[u8]) -> bool {
    let mut back = head.iter().rev().chain(open.iter().rev());
    match back.next() {
        None | Some(b'\n') => true,
        Some(b'\r') => matches!(back.next(), None | Some(b'\n')),
        Some(_) => false,
    }
}

impl Splitter {
    pub fn new(framing: Framing) -> Self {
        Splitter { framing, open: Vec::new() }
    }

    /// Hands every frame that ends in `piece` to `each`, terminator included.
    pub fn feed(&mut self, piece: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(end) = self.framing.end(&self.open, rest) {
            let (head, tail) = rest.split_at(end);
            if self.open.is_empty() {
                each(head);
            } else {
                self.open.extend_from_slice(head);
                each(&self.open);
                self.open.clear();
            }
            rest = tail;
        }
        self.open.extend_from_slice(rest);
    }

    /// The frame that has not ended yet. Whoever feeds on while it is longer than [`LONGEST`] keeps
    /// what the sender likes.
    pub fn open(&self) -> &[u8] {
        &self.open
    }

    /// The same, taken out.
    pub fn take_open(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.open)
    }
}

/// Cuts a stream that lies here whole into its frames, sharing its bytes. What follows the last
/// terminator is a frame too, so that the frames put together are `body` again.
pub fn split(framing: Framing, body: &Bytes) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut from = 0;
    while let Some(len) = framing.end(&[], &body[from..]) {
        frames.push(body.slice(from..from + len));
        from += len;
    }
    if from < body.len() {
        frames.push(body.slice(from..));
    }
    frames
}

/// Takes an SSE frame apart.
pub fn event(frame: &[u8]) -> Event<'_> {
    let mut event = Event::default();
    let mut lines_of_data = 0;
    for line in frame.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(name) = line.strip_prefix(b"event:") {
            event.name = name.strip_prefix(b" ").unwrap_or(name);
        } else if let Some(data) = line.strip_prefix(b"data:") {
            event.data = Some(data.strip_prefix(b" ").unwrap_or(data));
            lines_of_data += 1;
        }
    }
    event.data = event.data.filter(|_| lines_of_data == 1);
    event
}

/// An SSE event; `name` is empty for one without an `event:` line.
pub fn write_event(name: &str, data: &str) -> Bytes {
    let event = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
    Bytes::from(format!("{event}data: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames_of(framing: Framing, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut splitter = Splitter::new(framing);
        let mut frames = Vec::new();
        for piece in pieces {
            splitter.feed(piece, |frame| frames.push(frame.to_vec()));
        }
        (frames, splitter.open().to_vec())
    }

    #[test]
    fn an_event_ends_at_an_empty_line() {
        let body =
            Bytes::from_static(b"event: a\ndata: 1\n\ndata: 2\r\n\r\n: ping\n\r\n\ndata: [DONE]\n\nrest");
        let frames = split(Framing::Events, &body);
        let expected: [&[u8]; 6] = [
            b"event: a\ndata: 1\n\n",
            b"data: 2\r\n\r\n",
            b": ping\n\r\n",
            b"\n",
            b"data: [DONE]\n\n",
            b"rest",
        ];
        assert_eq!(frames, expected);
    }

    #[test]
    fn an_event_is_a_name_and_one_line_of_data() {
        let named = event(b"event: message_stop\r\ndata: {}\r\n\r\n");
        assert_eq!(named, Event { name: b"message_stop", data: Some(b"{}") });
        assert_eq!(event(b"data:[DONE]\n\n"), Event { name: b"", data: Some(b"[DONE]") });
        assert_eq!(event(b": ping\n\n"), Event::default());
        assert_eq!(event(b"data: 1\ndata: 2\n\n").data, None);
    }

    #[test]
    fn a_frame_within_a_piece_is_not_copied() {
        let mut splitter = Splitter::new(Framing::Lines);
        let piece = b"{}\n[]\n";
        splitter.feed(piece, |frame| assert!(piece.as_ptr_range().contains(&frame.as_ptr())));
        assert_eq!(splitter.open.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            body in proptest::collection::vec(proptest::sample::select(b"\n\n\n\rda: {}".to_vec()), 0..120),
            cuts in proptest::collection::vec(0usize..120, 0..12),
            lines in any::<bool>(),
        ) {
            let framing = if lines { Framing::Lines } else { Framing::Events };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();

            let (mut frames, open) = frames_of(framing, &pieces);
            prop_assert_eq!(&frames_of(framing, &[&body]), &(frames.clone(), open.clone()));
            if !open.is_empty() {
                frames.push(open);
            }
            prop_assert_eq!(frames.concat(), body.clone());
            prop_assert_eq!(frames, split(framing, &Bytes::from(body)));
        }
    }
}
