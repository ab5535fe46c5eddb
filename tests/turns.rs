//! Answers in the other mode: a stream that is told whole, and a whole answer that is streamed, compared
//! with what a real Ollama said in that mode, member by member and in the order of the wire.

mod ordered;

use bytes::Bytes;
use ordered::Node;
use pannier::dialect::frame::{self, Framing};
use pannier::dialect::openai::UsageStrip;
use pannier::dialect::{Form, Grain, Scanner, cut, decode};
use pannier::domain::Observed;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// One question, and its answers.
struct Pair {
    form: Form,
    name: String,
    request: Bytes,
    whole: Vec<Bytes>,
    stream: Vec<Bytes>,
}

const FORMS: [(Form, &str); 6] = [
    (Form::Chat, "chat"),
    (Form::Generate, "generate"),
    (Form::OpenAiChat, "chat_completions"),
    (Form::OpenAiText, "completions"),
    (Form::Responses, "responses"),
    (Form::Messages, "messages"),
];

fn pairs() -> Vec<Pair> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pairs");
    let mut pairs = Vec::new();
    for (form, folder) in FORMS {
        let cases = std::fs::read_dir(root.join(folder)).expect("a folder for every form that streams");
        pairs.extend(cases.map(|case| pair(form, &case.expect("a case").path())));
    }
    pairs
}

fn pair(form: Form, case: &Path) -> Pair {
    let read = |path: PathBuf| {
        Bytes::from(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    };
    let framing = Framing::of(form);
    let stream = if framing == Framing::Lines { "stream.ndjson" } else { "stream.sse" };
    Pair {
        form,
        name: case.display().to_string(),
        request: read(case.join("request.json")),
        whole: vec![read(case.join("whole.json"))],
        stream: frame::split(framing, &read(case.join(stream))),
    }
}

/// In as few frames as may be.
fn turn(form: Form, from_streamed: bool, frames: &[Bytes], offers_tools: bool) -> Option<Vec<Bytes>> {
    pannier::dialect::turn(form, from_streamed, frames, offers_tools, Grain::Coarse)
}

impl Pair {
    fn offers_tools(&self) -> bool {
        decode(self.form, self.request.clone()).expect("a call").offers_tools
    }

    fn turned(&self, from_streamed: bool) -> Option<Vec<Bytes>> {
        let from = if from_streamed { &self.stream } else { &self.whole };
        turn(self.form, from_streamed, from, self.offers_tools())
    }

    /// What else is said in a stream is not in a whole answer with calls.
    fn is_one_way(&self) -> bool {
        self.form == Form::Responses && self.name.contains("tools")
    }
}

fn observed(form: Form, streamed: bool, frames: &[Bytes]) -> Observed {
    let mut scanner = Scanner::new(form, streamed);
    for frame in frames {
        scanner.feed(frame);
    }
    let observed = scanner.finish(Some(&frames.concat()));
    // What was counted on the way is told in other frames, and the time is another run's.
    Observed { content_frames: 0, durations: Default::default(), ..observed }
}

#[test]
fn a_stream_turned_is_the_whole_answer() {
    for pair in pairs() {
        let turned = pair.turned(true).unwrap_or_else(|| panic!("{} cannot be turned", pair.name));
        let [turned] = &turned[..] else { panic!("{}: {} pieces", pair.name, turned.len()) };
        let [whole] = &pair.whole[..] else { unreachable!("one piece") };
        let (mut one, mut other) = (Node::read(turned), Node::read(whole));
        one.mask();
        other.mask();
        assert_eq!(one, other, "{}", pair.name);
        assert_eq!(turned.ends_with(b"\n"), whole.ends_with(b"\n"), "{}", pair.name);
    }
}

#[test]
fn a_whole_answer_turned_is_the_stream() {
    for pair in pairs() {
        let turned = pair.turned(false);
        if pair.is_one_way() {
            assert_eq!(turned, None, "{}", pair.name);
            continue;
        }
        let turned = turned.unwrap_or_else(|| panic!("{} cannot be turned", pair.name));
        assert_eq!(ordered::said(&turned), ordered::said(&pair.stream), "{}", pair.name);
        let numbers: Vec<_> = turned.iter().filter_map(|frame| ordered::sequence_number(frame)).collect();
        assert!(numbers.iter().enumerate().all(|(index, number)| index == *number), "{}", pair.name);
    }
}

#[test]
fn an_answer_turned_costs_and_ends_the_same() {
    for pair in pairs() {
        let whole = observed(pair.form, false, &pair.whole);
        assert!(whole.complete, "{}", pair.name);
        assert_eq!(observed(pair.form, true, &pair.stream), whole, "{}", pair.name);
        let turned = pair.turned(true).expect("a whole answer");
        assert_eq!(observed(pair.form, false, &turned), whole, "{}", pair.name);
        if let Some(turned) = pair.turned(false) {
            assert_eq!(observed(pair.form, true, &turned), whole, "{}", pair.name);
        }
    }
}

#[test]
fn an_answer_turned_can_be_made_fresh() {
    for pair in pairs() {
        for from_streamed in [true, false] {
            let Some(turned) = pair.turned(from_streamed) else { continue };
            let template =
                cut(pair.form, !from_streamed, &turned, "another").unwrap_or_else(|| panic!("{}", pair.name));
            assert_eq!(template.frames.len(), turned.len(), "{}", pair.name);
            assert!(!template.slots.is_empty(), "{}", pair.name);
            assert!(
                String::from_utf8_lossy(&template.body).contains(r#""model":"another""#),
                "{}",
                pair.name
            );
        }
    }
}

#[test]
fn usage_that_was_not_asked_for_is_taken_out_of_a_turned_stream_too() {
    for pair in pairs().into_iter().filter(|pair| matches!(pair.form, Form::OpenAiChat | Form::OpenAiText)) {
        let turned = pair.turned(false).expect("a stream");
        assert!(String::from_utf8_lossy(&turned.concat()).contains("\"usage\""));
        let mut strip = UsageStrip::new(pair.form);
        let stripped: Vec<Bytes> = turned.iter().filter_map(|frame| strip.pass(frame.clone())).collect();
        assert_eq!(stripped.len() + 1, turned.len(), "{}", pair.name);
        assert!(!String::from_utf8_lossy(&stripped.concat()).contains("\"usage\""), "{}", pair.name);
    }
}

#[test]
fn there_and_back_is_the_same() {
    for pair in pairs() {
        let there = pair.turned(true).expect("a whole answer");
        let Some(back) = turn(pair.form, false, &there, true) else {
            assert!(pair.is_one_way(), "{}", pair.name);
            continue;
        };
        assert_eq!(turn(pair.form, true, &back, true), Some(there), "{}", pair.name);
    }
}

#[test]
fn a_stream_that_breaks_off_is_not_turned() {
    for pair in pairs() {
        for kept in 0..pair.stream.len() {
            assert_eq!(turn(pair.form, true, &pair.stream[..kept], true), None, "{} {kept}", pair.name);
        }
        let twice = [&pair.stream[..], &pair.stream[..]].concat();
        assert_eq!(turn(pair.form, true, &twice, true), None, "{}", pair.name);
        assert_eq!(turn(pair.form, false, &[], true), None);
        assert_eq!(turn(pair.form, false, &[pair.whole.clone(), pair.whole.clone()].concat(), true), None);
    }
}

#[test]
fn a_member_or_an_event_that_nobody_knows_is_a_miss() {
    for pair in pairs() {
        for number in 0..pair.stream.len() {
            let frame = &pair.stream[number];
            let strange = |frame: Bytes| {
                let mut stream = pair.stream.clone();
                stream[number] = frame;
                stream
            };
            // What a response's events say is told by the last one once more, and read there.
            let is_read = pair.form != Form::Responses || number + 1 == pair.stream.len();
            let depth = if is_read { usize::MAX } else { 1 };
            for node in ordered::value_of(frame).map(Node::strangers).into_iter().flatten().take(depth) {
                let stream = strange(ordered::with_value(frame, node.written().as_bytes()));
                assert_eq!(turn(pair.form, true, &stream, true), None, "{} {node:?}", pair.name);
            }
            let mut stream = pair.stream.clone();
            stream.insert(number, Bytes::from_static(b"event: strange\ndata: {\"type\":\"strange\"}\n\n"));
            assert_eq!(turn(pair.form, true, &stream, true), None, "{}", pair.name);
        }
        for node in Node::read(&pair.whole[0]).strangers() {
            let whole = [Bytes::from(node.written())];
            assert_eq!(turn(pair.form, false, &whole, true), None, "{} {node:?}", pair.name);
        }
    }
}

#[test]
fn calls_of_tools_that_nobody_offered_are_a_miss() {
    for pair in pairs().into_iter().filter(|pair| pair.name.contains("tools")) {
        assert!(pair.offers_tools());
        assert_eq!(turn(pair.form, true, &pair.stream, false), None, "{}", pair.name);
    }
}

#[test]
fn both_modes_are_one_question() {
    for pair in pairs() {
        let request = String::from_utf8(pair.request.to_vec()).expect("UTF-8");
        let with = |members: &str| {
            let body = request.replacen('{', &format!("{{{members}"), 1);
            decode(pair.form, body.into()).expect("a call")
        };
        let (whole, streamed) = (with("\"stream\":false,"), with("\"stream\":true,"));
        assert_eq!((whole.streamed, streamed.streamed), (false, true), "{}", pair.name);
        assert_eq!(whole.fingerprint, streamed.fingerprint, "{}", pair.name);
        if matches!(pair.form, Form::OpenAiChat | Form::OpenAiText) {
            for options in ["null", "{}", r#"{"include_usage":true}"#, r#"{"include_usage":false}"#] {
                let call = with(&format!("\"stream\":true,\"stream_options\":{options},"));
                assert_eq!(call.fingerprint, whole.fingerprint, "{options}");
            }
        }
    }
}

#[test]
fn answers_of_other_servers_and_models() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/answers");
    let turned = |form: Form, file: &str| {
        let body = Bytes::from(std::fs::read(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")));
        let streamed = !file.ends_with(".json");
        let frames = if streamed { frame::split(Framing::of(form), &body) } else { vec![body] };
        turn(form, streamed, &frames, true)
    };
    for (form, file) in [
        (Form::Chat, "ollama-0.33/chat_stream.ndjson"),
        (Form::Chat, "ollama-0.33/chat_nostream.json"),
        (Form::Generate, "ollama-0.33/generate_stream.ndjson"),
        (Form::Generate, "ollama-0.33/generate_nostream.json"),
        (Form::OpenAiChat, "ollama-0.33/v1_chat.json"),
        (Form::OpenAiChat, "ollama-0.33/v1_chat_stream_usage.sse"),
        (Form::OpenAiText, "ollama-0.33/v1_completions.json"),
        (Form::Responses, "ollama-0.33/v1_responses.json"),
        (Form::Messages, "ollama-0.33/v1_messages.json"),
        (Form::Chat, "ollama-0.34/chat_stream_tools.ndjson"),
        (Form::Messages, "ollama-0.34/v1_messages_stream_thinking.sse"),
        (Form::Responses, "ollama-0.34/v1_responses_reasoning.json"),
    ] {
        assert!(turned(form, file).is_some(), "{file}");
    }
    for (form, file) in [
        // No usage anywhere, and none is made up.
        (Form::OpenAiChat, "ollama-0.33/v1_chat_stream.sse"),
        (Form::OpenAiText, "ollama-0.34/v1_completions_stream.sse"),
        // What else was said is not in it.
        (Form::Responses, "ollama-0.34/v1_responses_tools.json"),
        // There is no other mode.
        (Form::Embed, "ollama-0.33/embed.json"),
    ] {
        assert_eq!(turned(form, file), None, "{file}");
    }
}

#[test]
fn an_older_stream_ends_with_its_last_text() {
    // Before August 2026: a role in every chunk, the reason on the last text, a time of its own each.
    let chunk = |created: u32, text: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-7\",\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":\"m\",\"system_fingerprint\":\"fp_ollama\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let usage = "data: {\"id\":\"chatcmpl-7\",\"object\":\"chat.completion.chunk\",\"created\":1795000002,\"model\":\"m\",\"system_fingerprint\":\"fp_ollama\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n";
    let first = chunk(1_795_000_001, "Hel", "null");
    let last = chunk(1_795_000_002, "lo", "\"stop\"");
    let turned = |frames: &[&str]| {
        let frames: Vec<Bytes> =
            frames.iter().map(|frame| Bytes::copy_from_slice(frame.as_bytes())).collect();
        Some(String::from_utf8(turn(Form::OpenAiChat, true, &frames, false)?.concat()).expect("UTF-8"))
    };
    let done = "data: [DONE]\n\n";
    let whole = "{\"id\":\"chatcmpl-7\",\"object\":\"chat.completion\",\"created\":1795000002,\"model\":\"m\",\"system_fingerprint\":\"fp_ollama\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n";
    assert_eq!(turned(&[&first, &last, usage, done]).as_deref(), Some(whole));
    assert_eq!(turned(&[&first, &last, &first, usage, done]), None, "nothing comes after the end");
    assert_eq!(turned(&[&first, usage, done]), None, "there is no reason");
    assert_eq!(turned(&[&first, ": ping\n\n", &last, usage, done]), None, "Ollama sends no comments");
    let torn = chunk(1_795_000_001, "\u{fffd}", "null");
    assert_eq!(turned(&[&torn, &last, usage, done]), None, "half a letter may be lost");
    let other = first.replace("chatcmpl-7", "chatcmpl-8");
    assert_eq!(turned(&[&other, &last, usage, done]), None, "two answers are not one");
}

#[test]
fn vectors_have_one_mode() {
    for form in [Form::Embed, Form::Embeddings, Form::OpenAiEmbed] {
        let vectors = [Bytes::from_static(br#"{"model":"m","embeddings":[[1]]}"#)];
        assert_eq!(turn(form, false, &vectors, false).or(turn(form, true, &vectors, false)), None);
    }
}

/// The answers with both thinking and text in them, which say these two.
const THOUGHTFUL: [&str; 5] = [
    "chat/thinking",
    "generate/thinking",
    "chat_completions/reasoning",
    "responses/reasoning",
    "messages/thinking",
];
const THOUGHT: &str = "\"Four and four.\"";
const TEXT: &str = "\"6\"";

/// Room for all that stands in a frame beside its text.
const FRAME: usize = 700;

/// Letters of every width, and those that JSON escapes.
fn text() -> impl Strategy<Value = String> {
    let letters: Vec<char> = "ab \"\\\n\u{1}\u{7f}</>&é€😀\u{2028}".chars().collect();
    prop::collection::vec(prop::sample::select(letters), 0..5000).prop_map(String::from_iter)
}

/// The same stream with its texts cut where `cuts` say.
fn cut_anew(form: Form, stream: &[Bytes], cuts: &[prop::sample::Index]) -> Vec<Bytes> {
    let cut = |frame: &Bytes| match ordered::value_of(frame) {
        Some(node) if form != Form::Responses => {
            let pieces = node.pieces(cuts);
            pieces.iter().map(|piece| ordered::with_value(frame, piece.written().as_bytes())).collect()
        }
        _ => vec![frame.clone()],
    };
    stream.iter().flat_map(cut).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_answer_does_no_harm(
        number in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        from_streamed in any::<bool>(),
    ) {
        let pairs = pairs();
        let pair = number.get(&pairs);
        let from = if from_streamed { &pair.stream } else { &pair.whole };
        let mut body = from.concat();
        let place = place.index(body.len());
        body[place] = byte;
        let body = Bytes::from(body);
        let frames = if from_streamed { frame::split(Framing::of(pair.form), &body) } else { vec![body] };
        if let Some(turned) = turn(pair.form, from_streamed, &frames, true) {
            prop_assert!(cut(pair.form, !from_streamed, &turned, "m").is_some() || cut(pair.form, from_streamed, &frames, "m").is_none());
        }
    }

    #[test]
    fn any_text_goes_there_and_back(
        thought in text(),
        text in text(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let json = |text: &str| serde_json::to_string(text).expect("a text");
        for pair in pairs().into_iter().filter(|pair| THOUGHTFUL.iter().any(|name| pair.name.ends_with(name))) {
            let whole = String::from_utf8(pair.whole[0].to_vec()).expect("UTF-8");
            let whole = whole.replace(THOUGHT, &json(&thought)).replace(TEXT, &json(&text));
            let whole = vec![Bytes::from(whole)];
            let stream = turn(pair.form, false, &whole, false).expect("a stream");
            let ends: usize = stream.iter().filter(|frame| frame.len() > 4096 + FRAME).count();
            prop_assert!(ends == 0 || pair.form == Form::Responses, "{}", pair.name);
            let back = turn(pair.form, true, &stream, false).expect("a whole answer");
            if !thought.is_empty() && !text.is_empty() {
                prop_assert_eq!(&back, &whole, "{}", &pair.name);
            }
            let again = turn(pair.form, false, &back, false).expect("a stream");
            prop_assert_eq!(&turn(pair.form, true, &again, false).expect("a whole answer"), &back);
            let fine = pannier::dialect::turn(pair.form, false, &back, false, Grain::Fine).expect("a stream");
            prop_assert!(fine.len() >= again.len());
            prop_assert_eq!(&turn(pair.form, true, &fine, false).expect("a whole answer"), &back);
            let anew = cut_anew(pair.form, &stream, &cuts);
            prop_assert_eq!(&turn(pair.form, true, &anew, false).expect("a whole answer"), &back, "{}", &pair.name);
        }
    }
}
